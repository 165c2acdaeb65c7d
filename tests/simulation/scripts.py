"""Runs with scripts: random ones, which rules start, and which are taken off their thread at any step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

import attrs

from tests.rulesets import EVENTS, TASKS, random_rules
from tests.simulation.parts import Disk, VirtualClock
from tests.simulation.run import RULE_SETS, Plan, Run
from then.abc import Job, Report, ReportTo
from then.core.causes import Ask, Told
from then.core.edition import SCRIPT, Edition
from then.core.scripts import Recorded
from then.core.tasks import Body, Outcome
from then.language.loading import load_text
from then.scripts.play import Play, ScriptDiffers, Unwound
from then.scripts.running import result_of, run_script

CAUGHT: Final = "(TaskFailed, TimeoutError)"


class ScriptWriter:
    """Writes a script at random. What it starts has a smaller `n`, as what rules start.

    One that is not wild comes to the same in whatever order what it waits for ends: at last it waits for all, so
    that each failure is taken up; and what it asks for follows from how things ended, never from which did first.
    """

    def __init__(self, chance: Random, types: Sequence[str], *, is_wild: bool) -> None:
        self.chance = chance
        self.types = types
        self.is_wild = is_wild
        self.handles: list[str] = []
        self.saved: list[str] = []
        self.starts = 0

    def text(self) -> str:
        lines = self.side_by_side() if self.chance.random() < 0.25 else self.one_by_one()
        return "\n".join(lines) + "\n"

    def one_by_one(self) -> list[str]:
        lines = [line for _ in range(self.chance.randint(3, 9)) for line in self.statement()]
        if not self.is_wild:
            lines += ["try:", "    wait()", "except TaskFailed:", "    pass"]
        if self.chance.random() < 0.15:
            lines.append('raise ValueError("as told")')
        head = ["def main(n, **rest):", "    if n <= 0:", '        return {"m": 0}']
        return [*head, *(f"    {line}" for line in lines), '    return {"m": n}']

    def statement(self) -> list[str]:
        chance, roll = self.chance, self.chance.random()
        if roll < 0.35 and self.starts < 4:
            self.starts += 1
            self.handles.append(f"h{self.starts}")
            return [f"h{self.starts} = {self.start('n - 1')}"]
        if roll < 0.65 and self.handles:
            return self.wait()
        if roll < 0.72:
            return [f'emit("{chance.choice(EVENTS)}", n=n - 1)']
        if roll < 0.8 and self.saved:
            return [f'load("{chance.choice(self.saved)}")']
        if roll < 0.85:
            self.saved.append(f"v{len(self.saved)}")
            return [f'save("{self.saved[-1]}", [n, {len(self.saved)}])']
        return [chance.choice(('sleep("10s")', "now()", "random()", 'log("here", n=n)', 'print("here")'))]

    def start(self, less: str) -> str:
        type = self.chance.choice(self.types)
        return f'{"call" if type[0] == "q" else "run"}("{type}", n={less})'

    def wait(self) -> list[str]:
        """For some of what was started; what follows depends on how it ended."""
        chance = self.chance
        one, some = (
            chance.choice(self.handles),
            ", ".join(chance.sample(self.handles, chance.randint(1, len(self.handles)))),
        )
        if chance.random() < 0.3:
            what = chance.choice((f"any=[{some}]", f'{one}, timeout="5s"', f'[{some}], timeout="1m"'))
            return ["try:", f"    wait({what})", f"except {CAUGHT}:", f"    {self.whatever()}"]
        what = chance.choice((one, one, f"[{some}]", f"{one}.name", ""))
        if self.is_wild and chance.random() < 0.3:
            return [f"wait({what})"]
        return ["try:", f"    wait({what})", "except TaskFailed:", f'    emit("{chance.choice(EVENTS)}", n=n - 1)']

    def whatever(self) -> str:
        """What may be done or not, where that depends on the order."""
        return self.start("n - 2") if self.is_wild else 'log("too late")'

    def side_by_side(self) -> list[str]:
        ends = ["    except TaskFailed:", f'        emit("{self.chance.choice(EVENTS)}", n=n - 1)']
        one = ["async def one(n):", "    try:", f"        await {self.start('n - 1')}", *ends]
        two = ["async def two(n):", "    now()", *one[1:3], f"        await {self.start('n - 2')}", *ends]
        body = ["    if n > 0:", "        await asyncio.gather(one(n), two(n), one(n - 1))", '    return {"m": n}']
        return ["import asyncio", *one, *two, "async def main(n, **rest):", *body]


@attrs.frozen
class Written:
    """Rules with the scripts that they start."""

    edition: Edition
    scripts: tuple[str, ...]


def written(number: int, root: Path, *, is_wild: bool) -> Written:
    """The rule set of a number, with scripts in a folder."""
    chance = Random(f"scripts {number} {is_wild}")
    rules = random_rules(number, is_wild=is_wild)
    procedures = tuple(name for name in ("q0", "q1", "q2") if f"procedure {name}" in rules)
    names = tuple(f"c{k}" for k in range(chance.randint(1, 3)))
    for k, name in enumerate(names):
        file = f"{'wild' if is_wild else 'calm'}_{number}_{name}.py"
        text = ScriptWriter(chance, [*TASKS, *procedures, *procedures, *names[:k]], is_wild=is_wild).text()
        (root / file).write_text(text)
        policy = chance.choice(("", "", "retry 1 times")) + (
            " timeout 30s" if is_wild and chance.random() < 0.3 else ""
        )
        rules += f'\ntask {name}(n: int) -> (m: int?) run script "{file}" {policy}'
        for rule in range(2):
            before = chance.choice((*(f"{one}" for one in EVENTS), *(f"{one} done" for one in TASKS)))
            rules += f"\nrule before{rule}{name} when {before} as x where n > 0 then {name}(n: x.n - 1)"
        after = chance.choice(("done", "failed", "finished"))
        rules += f"\nrule after{name} when {name} {after} as x where n > 0 then {chance.choice(EVENTS)}(n: x.n - 1)"
    return Written(Edition("v1", load_text(rules).rules), names)


class SimulatedScripts:
    """Runs real scripts in the thread of the simulation, one at a time, each as far as it goes, or as it is let go.

    Args:
        give: brings the loop what a script asks.
        recorded: what a script has done, by its id.
        is_taken_off: whether a script is taken off its thread at this step: as where others need the thread.
    """

    def __init__(
        self,
        report: ReportTo,
        give: Callable[[Ask], object],
        recorded: Callable[[str], Recorded | None],
        is_taken_off: Callable[[], bool],
        clock: VirtualClock,
        disk: Disk,
        root: Path,
        draw: Callable[[], float],
    ) -> None:
        self._report = report
        self._give = give
        self._recorded = recorded
        self._is_taken_off = is_taken_off
        self._clock = clock
        self._disk = disk
        self._root = root
        self._draw = draw
        self.ready: dict[str, Job] = {}
        self._parked: dict[str, Job] = {}
        self._asking = ""
        self._told: Told | None = None
        self._stopped: set[str] = set()
        self._broken: BaseException | None = None
        self.replays = 0
        """Runs of a script that had taken steps before."""

    # -- the seam -------------------------------------------------------------

    def start(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            id = job.task.id
            assert id in self._disk.born, "law 3: a script was started before what emitted it was durable"
            assert id not in self.ready, "a script is started twice"
            assert id not in self._parked, "a script is started while it waits"
            self.ready[id] = job

    def recover(self, jobs: Sequence[Job]) -> None:
        self.start(jobs)

    def inventory(self) -> Sequence[str]:
        return ()

    def stop(self, id: str, grace_s: float) -> None:
        if self._asking == id:
            self._stopped.add(id)
        elif self.ready.pop(id, None) or self._parked.pop(id, None):
            self._end(id, "", "cancelled", None, {"kind": "cancelled"})

    def forget(self, ids: Sequence[str]) -> None:
        pass

    def close(self, *, wait: bool) -> None:
        pass

    def tell(self, told: Told) -> None:
        """An answer, under the loop's lock."""
        if told.id == self._asking:
            self._told = told
        elif told.id in self._parked:
            self.ready[told.id] = self._parked.pop(told.id)

    # -- the simulation's side --------------------------------------------------

    def play(self, id: str) -> None:
        """Runs a script as far as it goes."""
        job = self.ready.pop(id)
        recorded = self._recorded(id)
        if recorded is not None and recorded.open is not None:
            self._parked[id] = job
            return
        self.replays += recorded is not None
        is_again: list[bool] = []

        def ask(ask: Ask | None, n: int) -> Told:
            return self._ask(id, ask, is_again)

        play = Play(job.task, recorded, ask, self._draw, self._clock.now_us, str(job.options["target"]))
        try:
            result, wrong = result_of(run_script(play, self._root))
            assert wrong is None
            self._end(id, job.task.flow, "done", result, None)
        except Unwound:
            if self._broken is not None:
                raise self._broken from None
            if id in self._stopped:
                self._end(id, job.task.flow, "cancelled", None, {"kind": "cancelled"})
            elif is_again:
                (self.ready if is_again[-1] else self._parked)[id] = job
        except Exception as error:
            if isinstance(error, ScriptDiffers):
                raise
            self._end(id, job.task.flow, "failed", None, {"kind": "exception", "type": type(error).__name__})

    def _ask(self, id: str, ask: Ask | None, is_again: list[bool]) -> Told:
        """Its answer; `is_again` tells of a script that is taken off whether it is to be run again at once."""
        assert ask is not None, "one that waits is not run"
        if self._broken is not None or id in self._stopped:
            raise Unwound
        if self._is_taken_off():
            is_again.append(True)
            raise Unwound
        self._asking = id
        self._told = None
        try:
            self._give(ask)
        except BaseException as error:
            # Nothing of the script runs any more that could be told of it.
            self._broken = error
            raise Unwound from error
        finally:
            self._asking = ""
        told = self._answer()
        if told is None or (not told.is_over and self._is_taken_off()):
            is_again.append(told is not None)
            raise Unwound
        return told

    def _answer(self) -> Told | None:
        """What the loop brought while it was given the step."""
        return self._told

    def _end(self, id: str, flow: str, outcome: Outcome, result: Body | None, error: Body | None) -> None:
        self._stopped.discard(id)
        now = self._clock.now_us()
        self._report([Report(id, outcome, result, error, now - 3, now, flow)])


class ScriptRun(Run):
    """A run whose rules start scripts."""

    def __init__(self, plan: Plan, root: Path) -> None:
        self.root = root
        self.written = written(plan.seed % RULE_SETS, root, is_wild=plan.is_wild)
        self.replays = 0
        super().__init__(plan)
        self.posts += [(self.written.scripts[-1], {"n": 3}, "script")]

    def _edition(self) -> Edition:
        return self.written.edition

    def _attach_others(self) -> None:
        self.scripts = SimulatedScripts(
            self.loop.reporter(SCRIPT, forgets=False), self.loop.give, self.loop.state.waits.scripts.recorded,
            lambda: self.chance.random() < 0.1, self.clock, self.disk, self.root, self.chance.random,
        )  # fmt: skip
        self.loop.attach(SCRIPT, self.scripts)
        self.loop.tell = self.scripts.tell

    def _turn(self) -> None:
        ready = self.scripts.ready
        if not ready or self.chance.random() < 0.5:
            super()._turn()
            return
        before = self.scripts.replays
        try:
            self.scripts.play(self.chance.choice(sorted(ready)))
        finally:
            self.replays += self.scripts.replays - before

    def _breakpoint(self, name: str) -> str:
        if self.chance.random() < 0.5:
            return f"breakpoint {name} on step of {self.chance.choice(self.written.scripts)}"
        return super()._breakpoint(name)
