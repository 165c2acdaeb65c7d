"""Rule sets at random, from a seed: chains, calls, joins, sets, retries, times, failures; every flow of them ends.

Each record carries `n`; what a rule emits has a smaller one, and rules ask for
`n > 0`. So a flow is a tree of bounded depth. What a procedure begins has an
`n` below 0: only its own rules ask for that.
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
    "t0": 'run process ["p"] retry 2 times backoff 1s to 1m jitter',
    "t1": 'run python "m:f" retry 1 times while error.kind == "exit"',
    "u0": "",
    "l0": 'run process ["p"]',
    "l1": 'run process ["p"]',
}
TAKES: Final = {"p0": "needs {lock.l: shared}", "l0": "limit 2 at once by n", "l1": "needs {lock.l: exclusive}"}
"""What some of them take beside a slot."""
LEAVES: Final = {
    "s0": 'run process ["p"]',
    "s1": 'run python "m:f" retry 1 times backoff 10s',
    "s2": 'run python "m:f" finally e2(n: 0)',
}
"""What procedures alone emit."""
TIMED: Final = {
    "w0": 'run process ["p"] timeout 10s',
    "w1": 'run python "m:f" timeout 5s retry 2 times backoff 1s',
    "w2": 'run process ["p"] deadline 30s retry 5 times backoff 5s expires 1h',
}
"""Tasks whose end depends on when it comes."""
ONCE: Final = {"f2": 'run python "m:f" once', "p3": 'run process ["p"] once'}
OUTCOMES: Final[tuple[Outcome, ...]] = ("done",) * 14 + ("failed",) * 3 + ("timed_out", "timed_out", "cancelled")
NEVER: Final = "e9"
"""Nothing emits it."""
WORDS: Final = ("done", "done", "done", "failed", "failed or timed out", "finished", "cancelled")


def outcome_of(record: Task, seed: int) -> Outcome:
    """How a task ends: a function of what it is, so that a run with crashes can be held against one without."""
    text = f"{seed} {record.type} {record.body.get('n')} {record.rule} {record.attempt}"
    # Of what is tried again more attempts fail: else there were few of them.
    if record.policy is not None and record.policy.retry is not None and zlib.crc32(text.encode()) % 3 == 0:
        return "failed"
    return OUTCOMES[zlib.crc32(text.encode()) % len(OUTCOMES)]


def random_rules(seed: int, *, is_wild: bool = False, takes: bool = True) -> str:
    """The text of a rule set.

    Args:
        takes: some tasks take more than a slot: who of them starts first depends on when a step grants.
        is_wild: also with what makes the outcome depend on the order of completions: variables, ends of
            flows, `once`, `else` for several members, rules for what ends.
    """
    return _Writer(Random(f"rules {seed}"), is_wild, takes).text()


class _Writer:
    def __init__(self, chance: Random, is_wild: bool, takes: bool) -> None:
        self.chance = chance
        self.is_wild = is_wild
        declared = {name: f"{run} {TAKES[name]}" if takes and name in TAKES else run for name, run in TASKS.items()}
        self.tasks = {**declared, **({**ONCE, **TIMED} if is_wild else {})}
        self.procedures: list[str] = []

    def text(self) -> str:
        lines = [f"event {name}(n: int)" for name in (*EVENTS, NEVER)]
        declared = {**self.tasks, **LEAVES}
        lines += [f"task {name}(n: int, x: any?) -> (m: int?) {rest}" for name, rest in declared.items()]
        for k in range(self.chance.choice((0, 1, 2, 3))):
            lines.append(self.procedure(f"q{k}"))
            self.procedures.append(f"q{k}")
        lines += [self.rule(k) for k in range(self.chance.randint(6, 14))]
        return "\n".join(lines)

    def procedure(self, name: str) -> str:
        chance = self.chance
        one, other = chance.choice(list(LEAVES)), chance.choice(list(LEAVES))
        second = next(leaf for leaf in LEAVES if leaf != one)
        # A set among three and more, of which each may end after a restart.
        every = f"for i in [1, 2, 3, 4] emit {one}(n: 0 - i) when every {one} done then return (m: n)"
        # Two pairs: what the first used up is not there for the second.
        pairs = (
            f"{one}(n: 0 - 1), {one}(n: 0 - 2), {second}(n: 0 - 3), {second}(n: 0 - 4)"
            f" when all of {one} done, {second} done then e2(n: 0)"
        )
        bodies = [
            every,
            every,
            (
                f"for i in [{', '.join('123'[: chance.randint(0, 3)])}] emit {one}(n: 0 - i)"
                f" when every {one} done then return (m: n) else return (m: 0)"
            ),
            f"{one}(n: 0 - 1), {one}(n: 0 - 2), {other}(n: 0 - 3) when {one} done then return (m: n)",
            f"{one}(n: 0 - 1), {other}(n: 0 - 2)",
            f"{one}(n: 0 - 1) then {other}(n: 0 - 2) else e2(n: 0)",
            f"{one}(n: 0 - 1), {second}(n: 0 - 2) when all of {one} done, {second} done then return (m: n)"
            + (" else return (m: 0)" if chance.random() < 0.5 else f" when {one} failed then e2(n: 0)"),
            pairs,
            pairs,
            f"{one}(n: 0 - 1) when all of {one} done, {NEVER} within 1m then return (m: 0) on timeout then return (m: n)",
        ]
        if self.procedures:
            inner = chance.choice(self.procedures)
            end = chance.choice((f"when {inner} done as r then return (m: r.m ?? 0)", ""))
            bodies += [f"call {inner}(n: n) {end}", f"call {inner}(n: n), {one}(n: 0 - 1) {end}"]
        ending = " finally e2(n: 0)" if chance.random() < 0.2 else ""
        return f"procedure {name}(n: int) -> (m: int?) first {chance.choice(bodies)}{ending} end"

    def rule(self, k: int) -> str:
        chance = self.chance
        roll = chance.random()
        if roll < 0.15:
            # Whether an event is waited for when its turn comes depends on what ended before.
            words = chance.choice(
                ("any", "any", "e0", "f0 failed") if self.is_wild else ("any failed or timed out", "f0 cancelled")
            )
            return f"rule r{k} when unmatched {words} as x then e2(n: 0){', p0(n: 0)' if chance.random() < 0.3 else ''}"
        if self.is_wild and roll < 0.22:
            return f"rule r{k} when flow.ended as x then {chance.choice(('e0', 'p0'))}(n: 0)"
        is_final = "final " if chance.random() < 0.15 else ""
        if roll > 0.75:
            # Of the parts that a final join takes, the last one alone is hidden from those after it.
            return f"{is_final if self.is_wild else ''}rule r{k} when {self.join()}"
        type = chance.choice((*EVENTS, *self.tasks, *self.procedures, "any"))
        outcome = "" if type in EVENTS else " " + chance.choice(WORDS)
        where = chance.choice(("n > 0", "n > 0 and n % 2 == 0", "n > 1", "n > 0 and attempt == 1", "n > 0 and n < 3"))
        # What `any` holds is not declared: its fields are those of the body.
        rule = f"{is_final}rule r{k} when {type}{outcome} as x where {where} then {self.steps()}"
        return re.sub(r"\bn (?=[<>%])", "body.n ", rule).replace("x.n", "x.body.n") if type == "any" else rule

    def join(self) -> str:
        """What meets, and what follows. All but the wild ones come to the same in whatever order their parts end."""
        chance = self.chance
        one, other = chance.sample([*self.tasks, *self.procedures], 2)
        # Of a part that says `failed or timed out` and one that says `done` each record fits one.
        first, second = (f"{type} {chance.choice(('done', 'done', 'failed'))}" for type in (one, other))
        parts = f"{first} as x where n > 0, {second} where n > 0"
        then, late = f"then {self.emit('n')}", f"on timeout then {self.emit('n')}"
        never = f"all of {one} done where n > 0, {NEVER} by flow, n within 1h {then} {late}"
        kinds = [
            f"all of {parts} by flow, n {then}", f"any of {parts.replace(' as x', '')} by flow, n {then}", never,
            f"2 times {one} done where n > 0 by flow, n {then}",
        ]  # fmt: skip
        if self.is_wild:
            keyed, late_or_not = f"by n within {chance.choice(('1s', '1m', '1d'))}", chance.choice((late, ""))
            kinds += [
                f"all of {parts} {keyed} {then} {late_or_not}",
                f"all of {parts}, no {chance.choice(EVENTS)} {keyed} {then} {late_or_not}",
                (f"all of {one} done as x where n > 0, {other} done where n > 0 and n <= x.n by flow"
                f" then {self.emit('x.n')} else e2(n: 0)"),
                f"any of {parts} {keyed} then {self.emit('n')}", f"every {one} done then e2(n: 0) else p0(n: 0)",
                f"{one} done as x where n > 0 by n quiet for {chance.choice(('1s', '1m'))} then {self.emit('x.n')}",
                f"3 times {one} finished where n > 0 followed by {other} done where n > 0 {keyed} {then}",
            ]  # fmt: skip
        return chance.choice(kinds)

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
            return chance.choice(
                ("save v: x.n", 'end flow failed "as told" if x.n > 2', "cancel flow if x.n == 2",
                 f"cancel {chance.choice([*self.tasks, *self.procedures])} where n > 1")
            )  # fmt: skip
        emit = self.emit(known) + alias
        if chance.random() < 0.15:
            emit += " after 10s"
        elif self.is_wild and chance.random() < 0.1:
            emit += " at most once per 1m"
        elif self.is_wild and emit.startswith("call") and chance.random() < 0.4:
            emit += chance.choice((" fail fast", " timeout 5s", " retry 1 times backoff 1s"))
        if not alias and chance.random() < 0.25:
            return f"{emit} if x.n > 1" + (f" otherwise {self.emit('0 + x.n')}" if chance.random() < 0.5 else "")
        return emit

    def emit(self, known: str) -> str:
        type = self.chance.choice((*EVENTS, *self.tasks, *self.tasks, *self.procedures, *self.procedures))
        if type in self.procedures:
            return f"call {type}(n: {known} - 1)"
        more = ", x: load v" if self.is_wild and type not in EVENTS and self.chance.random() < 0.15 else ""
        return f"{type}(n: {known} - 1{more})"
