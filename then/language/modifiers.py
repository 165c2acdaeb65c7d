"""What stands after a task's run line: how often, how long, how many, with what, from tree to model.

Who calls: `then.language.declare`. Types are looked at there, once all is
declared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
from msgspec.structs import replace

from then.core.errors import NotYet, TypeMismatch, UnknownName
from then.core.filters import Const, Expr
from then.core.policies import Policy
from then.core.rules import Limit, Need, TaskDecl
from then.core.values import is_within_limits
from then.language.findings import Misplaced, NumberRefused
from then.language.policies import count_of, refuse_from, retry_of, span_us
from then.language.resolve import Resolver
from then.language.scope import Scope, Shape, shape_of
from then.language.tree import Token, Tree
from then.language.units import Unit

EXIT_CODES: Final = range(-64, 256)
"""What a process may end with: minus the signal's number when killed."""
FAILURES: Final = frozenset(("failed", "timed_out"))
"""The outcomes after which there may be another attempt."""
LOCK_WORDS: Final = ("shared", "exclusive")

_NO_MODIFIERS: Final = frozenset(("tname", "fields", "result", "run", "finally"))
_WORDS: Final = {"exits": "done on", "mayfail": "may fail", "idem": "idempotent by"}


class Modifiers:
    """Reads what is said of the tasks of one unit.

    Args:
        constant: gives a value that is known at load; None where it was refused.
    """

    def __init__(self, unit: Unit, resolver: Resolver, constant: Callable[[Tree | Token, str], Const | None]) -> None:
        self.unit = unit
        self.resolver = resolver
        self.constant = constant

    def modified(self, task: TaskDecl, tree: Tree) -> TaskDecl:
        """The task with all that its item says after the run line."""
        seen: set[str] = set()
        for mod in tree.children:
            if not isinstance(mod, Tree) or mod.data in _NO_MODIFIERS:
                continue
            word = mod.data.removeprefix("negative_")
            if word in seen:
                self.unit.refuse(Misplaced(f"`{_WORDS.get(word, word)}` is there twice"), mod)
            seen.add(word)
            task = self._with(task, mod)
        return task

    def _with(self, task: TaskDecl, mod: Tree) -> TaskDecl:
        policy = task.policy or Policy()
        match mod.data:
            case "once":
                return attrs.evolve(task, once=True)
            case "mayfail":
                return attrs.evolve(task, may_fail=True)
            case "priority" | "negative_priority":
                value = int(str(mod.children[0])[:10])
                return attrs.evolve(task, priority=value if mod.data == "priority" else -value)
            case "exits":
                return attrs.evolve(task, done_on=self._exit_codes(mod))
            case "retry":
                retry, clause = retry_of(mod, self.unit)
                refuse_from(mod, "a task", self.unit)
                found = self._while(clause, task) if clause is not None else None
                return attrs.evolve(task, policy=replace(policy, retry=retry), retry_while=found)
            case "timeout":
                return attrs.evolve(task, policy=replace(policy, timeout_us=span_us(mod, "timeout", self.unit)))
            case "deadline":
                return attrs.evolve(task, deadline_us=span_us(mod, "deadline", self.unit))
            case "expires":
                return attrs.evolve(task, expires_us=span_us(mod, "expires", self.unit))
            case "limit":
                return attrs.evolve(task, limit=self._limit(mod, task))
            case "idem":
                return attrs.evolve(task, idempotent_by=self._input(mod.children[0], task))
            case _:
                assert mod.data == "needs", mod.data
                return self._needs(mod, task)

    def _while(self, clause: Tree | Token, task: TaskDecl) -> Expr:
        scope = Scope("clause", self.unit.constants, shape_of(task, task.name, FAILURES))
        return self.resolver.expr(clause, scope)

    def _input(self, node: Tree | Token, task: TaskDecl) -> Expr:
        """An expression over the task's inputs, and constants."""
        body = {field.name: field.type for field in task.inputs or ()}
        return self.resolver.expr(node, Scope("run", self.unit.constants, Shape(task.name, body)))

    def _limit(self, mod: Tree, task: TaskDecl) -> Limit | None:
        count = count_of(mod.children[0], "how many `limit` lets run at once", self.unit)
        by = self._input(mod.children[1], task) if len(mod.children) > 1 else None
        return Limit(count, by, span=self.unit.span(mod)) if count is not None else None

    def _exit_codes(self, mod: Tree) -> tuple[int, ...]:
        codes = self.constant(mod.children[0], "`done on`")
        if codes is None:
            return (0,)
        listed = codes.value if isinstance(codes.value, list) else []
        if not listed or not all(type(code) is int and code in EXIT_CODES for code in listed):
            self.unit.refuse(TypeMismatch("`done on` takes exit codes, as in `done on [0, 3]`"), mod)
            return (0,)
        return tuple(dict.fromkeys(listed))

    # -- needs ------------------------------------------------------------------------

    def _needs(self, mod: Tree, task: TaskDecl) -> TaskDecl:
        slots = task.slots
        needs: dict[str, Need] = {}
        for node in mod.children:
            assert isinstance(node, Tree)
            name_node, value = node.children
            name = (
                ".".join(str(child) for child in name_node.children) if isinstance(name_node, Tree) else str(name_node)
            )
            if name in needs:
                self.unit.refuse(Misplaced(f'"{name}" is there twice'), name_node)
            if name == "slots":
                if str(value) in ("0", "1"):
                    slots = int(str(value))
                else:
                    self.unit.refuse(NotYet("`needs {slots: …}` with others than 0 and 1"), node)
                continue
            amount = self._lock(name, value) if name.startswith("lock.") else self._amount(name, value, task)
            if amount is not None:
                needs[name] = Need(name, amount, span=self.unit.span(node))
        return attrs.evolve(task, slots=slots, needs=tuple(needs.values()))

    def _lock(self, name: str, value: Tree | Token) -> Const | None:
        word = _lock_word(value)
        if word is not None:
            return Const(word, span=self.unit.span(value))
        shown = value.lines.text[value.start_pos : value.end_pos][:40]
        error = UnknownName("way to hold a lock", shown, LOCK_WORDS)
        error.message += f"; write {name}: shared, or {name}: exclusive"
        self.unit.refuse(error, value)
        return None

    def _amount(self, name: str, value: Tree | Token, task: TaskDecl) -> Expr | None:
        word = _lock_word(value)
        if word is not None and all(field.name != word for field in task.inputs or ()):
            self.unit.refuse(Misplaced(f"only a lock is held {word}: write lock.{name}: {word}"), value)
            return None
        amount = self._input(value, task)
        known = amount.value if isinstance(amount, Const) else 1
        if isinstance(known, int | float) and not isinstance(known, bool):
            if known <= 0 or not is_within_limits(known):
                message = f"`needs {{{name}: …}}` takes more than nothing; where it needs none, leave it out"
                self.unit.refuse(NumberRefused(message), value)
                return None
            if name == "memory" and isinstance(amount, Const) and not isinstance(known, int):
                self.unit.refuse(NumberRefused("memory is whole bytes, as in `needs {memory: 512MiB}`"), value)
                return None
        return amount


def _lock_word(value: Tree | Token) -> str | None:
    """`shared` or `exclusive`, where that alone stands there."""
    if isinstance(value, Tree) and value.data == "path" and len(value.children) == 1:
        word = str(value.children[0])
        return word if word in LOCK_WORDS else None
    return None
