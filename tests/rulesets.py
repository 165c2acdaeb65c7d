"""Rule sets at random, from a seed: chains, `else`, guards, final and unmatched rules, failures; every flow of them ends.

Each record carries `n`; what a rule emits has a smaller one, and rules ask for
`n > 0`. So a flow is a tree of bounded depth.
"""

from __future__ import annotations

import re
import zlib
from random import Random
from typing import Final

from then.core.tasks import Outcome, Task

N_MAX: Final = 4
EVENTS: Final = ("e0", "e1", "e2")
TASKS: Final = {
    "p0": 'run process ["p"]',
    "p1": 'run process ["p"] priority 3',
    "p2": 'run process ["p"] may fail',
    "f0": 'run python "m:f"',
    "f1": 'run python "m:f" needs {slots: 0}',
    "u0": "",
}
ONCE: Final = {"f2": 'run python "m:f" once', "p3": 'run process ["p"] once'}
OUTCOMES: Final[tuple[Outcome, ...]] = ("done",) * 14 + ("failed",) * 3 + ("timed_out", "timed_out", "cancelled")
WORDS: Final = ("done", "done", "done", "failed", "failed or timed out", "finished", "cancelled")


def outcome_of(record: Task, seed: int) -> Outcome:
    """How a task ends: a function of what it is, so that a run with crashes can be held against one without."""
    text = f"{seed} {record.type} {record.body.get('n')} {record.rule} {record.attempt}"
    return OUTCOMES[zlib.crc32(text.encode()) % len(OUTCOMES)]


def random_rules(seed: int, *, is_wild: bool = False) -> str:
    """The text of a rule set.

    Args:
        is_wild: also with what makes the outcome depend on the order of completions: variables, ends of
            flows, `once`, `else` for several members, rules for what ends.
    """
    return _Writer(Random(f"rules {seed}"), is_wild).text()


class _Writer:
    def __init__(self, chance: Random, is_wild: bool) -> None:
        self.chance = chance
        self.is_wild = is_wild
        self.tasks = {**TASKS, **(ONCE if is_wild else {})}

    def text(self) -> str:
        lines = [f"event {name}(n: int)" for name in EVENTS]
        lines += [f"task {name}(n: int, x: any?) -> (m: int?) {rest}" for name, rest in self.tasks.items()]
        lines += [self.rule(k) for k in range(self.chance.randint(6, 14))]
        return "\n".join(lines)

    def rule(self, k: int) -> str:
        chance = self.chance
        roll = chance.random()
        if roll < 0.15:
            # Whether an event is waited for when its turn comes depends on what ended before.
            words = chance.choice(("any", "any", "e0", "f0 failed") if self.is_wild else ("any failed", "f0 cancelled"))
            return f"rule r{k} when unmatched {words} as x then e2(n: 0){', p0(n: 0)' if chance.random() < 0.3 else ''}"
        if self.is_wild and roll < 0.22:
            return f"rule r{k} when flow.ended as x then {chance.choice(('e0', 'p0'))}(n: 0)"
        is_final = "final " if chance.random() < 0.15 else ""
        type = chance.choice((*EVENTS, *self.tasks, "any"))
        outcome = "" if type in EVENTS else " " + chance.choice(WORDS)
        where = chance.choice(("n > 0", "n > 0 and n % 2 == 0", "n > 1", "n > 0 and attempt == 1", "n > 0 and n < 3"))
        # What `any` holds is not declared: its fields are those of the body.
        rule = f"{is_final}rule r{k} when {type}{outcome} as x where {where} then {self.steps()}"
        return re.sub(r"\bn (?=[<>%])", "body.n ", rule).replace("x.n", "x.body.n") if type == "any" else rule

    def steps(self) -> str:
        count = self.chance.choice((1, 1, 1, 2, 2, 3))
        has_else = count > 1 and self.chance.random() < 0.4
        steps: list[str] = []
        known = "x.n"
        for place in range(count):
            is_last_member = has_else and place == count - 2
            width = 1 if is_last_member and not self.is_wild else self.chance.choice((1, 1, 2))
            acts = [self.act(known, f" as y{place}" if at == 0 and place < count - 1 else "") for at in range(width)]
            steps.append(", ".join(acts))
            if " if " not in acts[0] and self.chance.random() < 0.3:
                known = f"(y{place}.m ?? 1)" if acts[0][0] != "e" and " as y" in acts[0] else known
        return " then ".join(steps) + (f" else {self.emit('x.n')}" if has_else else "")

    def act(self, known: str, alias: str) -> str:
        chance = self.chance
        if self.is_wild and not alias and chance.random() < 0.12:
            return chance.choice(("save v: x.n", 'end flow failed "as told" if x.n > 2', "cancel flow if x.n == 2"))
        emit = self.emit(known) + alias
        if not alias and chance.random() < 0.25:
            return f"{emit} if x.n > 1" + (f" otherwise {self.emit('0 + x.n')}" if chance.random() < 0.5 else "")
        return emit

    def emit(self, known: str) -> str:
        type = self.chance.choice((*EVENTS, *self.tasks, *self.tasks))
        more = ", x: load v" if self.is_wild and type not in EVENTS and self.chance.random() < 0.15 else ""
        return f"{type}(n: {known} - 1{more})"
