"""Tests beside the rules: `test "…" … end`, from tree to `then.core.scenarios`.

They are compiled last, when all rules are there: a test that names a rule that
is gone is an error. All that a test says is known at load.

Who calls: `then.language.loader`, for the files that were asked for; the tests
of files that these use belong to whoever loads those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from then.core.errors import RuleError, UnknownName
from then.core.filters import Const
from then.core.rules import EventDecl, FieldDecl, ProcedureDecl, RuleSet, TaskDecl
from then.core.scenarios import (
    BEGIN_MIN_US,
    BEGIN_US,
    END_US,
    Advance,
    Answer,
    Expect,
    Given,
    Line,
    Posted,
    Scenario,
    Stub,
)
from then.core.tasks import Body
from then.language.breakpoints import check_step, rule_address
from then.language.compile import Compiler
from then.language.declare import constant_of, dotted
from then.language.findings import ArgumentMissing, Misplaced
from then.language.literals import duration_s, int_value, timestamp_s
from then.language.resolve import POISON
from then.language.scope import ENGINE_EVENTS, INT, Scope
from then.language.templates import read_text
from then.language.tree import Token, Tree, line_text

T = TypeVar("T")

_ENDINGS: Final = {"done": "done", "failed": "failed", "cancelled": "cancelled", "timed_out": "timed out"}


class ScenarioCompiler:
    """Compiles the tests of one unit.

    Args:
        rules: all that were loaded, and those that they stand beside.
        is_whole: no rule was refused, so that a rule that is not there is really not there.
    """

    def __init__(self, compiler: Compiler, rules: Iterable[RuleSet], *, is_whole: bool) -> None:
        self.compiler = compiler
        self.unit = compiler.unit
        self.declared = compiler.declared
        self.rules = tuple(rules)
        self.is_whole = is_whole

    def scenario(self, tree: Tree) -> Scenario | None:
        """The test of a `test` item; None where a part of it was refused."""
        name_token, *nodes = tree.children
        assert isinstance(name_token, Token)
        lines: list[Line] = []
        is_right = True
        for node in nodes:
            assert isinstance(node, Tree)
            line = self._kept(lambda node=node: self._line(node, lines), node)  # type: ignore[misc]
            if line is None:
                is_right = False
            else:
                lines.append(line)
        name = self._kept(lambda: read_text(name_token), name_token)
        is_right &= self._check_time(lines, tree)
        if name is None or not is_right:
            return None
        return Scenario(name, tuple(lines), self.unit.span(name_token))

    def _kept(self, read: Callable[[], T], node: Tree | Token) -> T | None:
        """What a part is; None where it was refused, now or by a pass below."""
        before = len(self.unit.findings.errors)
        try:
            found = read()
        except RuleError as error:
            self.unit.refuse(error, node)
            return None
        return found if len(self.unit.findings.errors) == before else None

    def _line(self, tree: Tree, before: list[Line]) -> Line:
        span = self.unit.span(tree)
        match tree.data:
            case "given":
                if any(not isinstance(line, Stub) for line in before):
                    raise Misplaced("`given now` says when the test begins: it stands before all else but stubs")
                return Given(timestamp_s(str(tree.children[0])) * 1_000_000, span)
            case "posted":
                return Posted(dotted(tree.children[0]), self._posted(tree), span)
            case "stub":
                return self._stub(tree)
            case "advance":
                return Advance(round(duration_s(str(tree.children[0])) * 1_000_000), span)
            case _:
                return self._expect(tree)

    def _check_time(self, lines: Iterable[Line], tree: Tree) -> bool:
        """Whether it ends in the time that ids can be made of."""
        now = BEGIN_US
        for line in lines:
            if isinstance(line, Given):
                now = line.now_us
            elif isinstance(line, Advance):
                now += line.by_us
        if BEGIN_MIN_US <= now < END_US:
            return True
        self.unit.refuse(Misplaced("a test takes place between the years 1970 and 2200"), tree.children[0])
        return False

    # -- what comes from outside ---------------------------------------------------------

    def _posted(self, tree: Tree) -> Body:
        name_node, args = tree.children
        scope = Scope("value", self.unit.constants)
        given = self._given(args)
        exprs = self.compiler.acts.arguments(
            dotted(name_node), name_node, given, lambda node: self.compiler.resolver.expr(node, scope), scope
        )
        nodes = {str(name): node for name, node in given}
        return {
            name: found.value
            for name, expr in exprs
            if (found := constant_of(expr, f'the value of "{name}"', self.unit, nodes[name])) is not None
        }

    def _given(self, args: Tree | Token) -> list[tuple[Token, Tree | Token]]:
        assert isinstance(args, Tree)
        found = []
        for arg in args.children:
            assert isinstance(arg, Tree)
            name, value = arg.children
            assert isinstance(name, Token)
            found.append((name, value))
        return found

    def _stub(self, tree: Tree) -> Stub:
        name_node, *answers = tree.children
        name = dotted(name_node)
        rules = self.declared.rules
        task = rules.tasks.get(name) or rules.procedures.get(name)
        if task is None:
            raise self._placed(self._no_task(name), name_node)
        return Stub(name, tuple(self._answer(node, task, name_node) for node in answers), self.unit.span(tree))

    def _placed(self, error: RuleError, node: Tree | Token) -> RuleError:
        error.span, error.line = self.unit.span(node), line_text(node)
        return error

    def _no_task(self, name: str) -> RuleError:
        rules = self.declared.rules
        if name in rules.events or name in ENGINE_EVENTS:
            return Misplaced(f'"{name}" is an event: nothing runs it, so there is nothing to stub')
        return UnknownName("task or procedure" if rules.procedures else "task", name, (*rules.tasks, *rules.procedures))

    def _answer(self, tree: Tree | Token, task: TaskDecl | ProcedureDecl, at: Tree | Token) -> Answer:
        assert isinstance(tree, Tree)
        first = tree.children[0]
        if isinstance(first, Token):
            return Answer(None)
        if first.data not in _ENDINGS:
            raise Misplaced(f"a stub says how an attempt ends: {', '.join(_ENDINGS.values())}, or that it hangs")
        times = None
        for child in tree.children:
            if isinstance(child, Token):
                times = int_value(str(child))
                if times < 1:
                    raise Misplaced("an answer is given at least once")
        args = tree.find("args")
        fields = self._result(args, task, first.data, at)
        return Answer(first.data, fields, times)  # type: ignore[arg-type]

    def _result(self, args: Tree | None, task: TaskDecl | ProcedureDecl, outcome: str, at: Tree | Token) -> Body:
        """The fields of an answer: of the result where it is done, else of result and error."""
        known = {field.name: field for field in task.result or ()}
        if isinstance(task, TaskDecl) and task.run is not None and task.run.kind == "process":
            known.setdefault("code", FieldDecl("code", INT))
        is_done = outcome == "done"
        fields: Body = {}
        given = self._given(args) if args is not None else []
        for name, node in given:
            if str(name) in fields:
                self.unit.refuse(Misplaced(f'"{name}" is there twice'), name)
            if str(name) not in known and is_done and task.result is not None:
                self.unit.refuse(UnknownName(f"result field of {task.name}", str(name), known), name)
                continue
            what = f"stub {task.name} {_ENDINGS[outcome]} ({name}: …)"
            value = self._value(node, known.get(str(name)), what)
            if value is not None:
                fields[str(name)] = value.value
        names = [name for name, _ in given]
        needed = [
            field for field in task.result or ()
            if is_done and field.name not in names and not field.type.optional and field.default is None
        ]  # fmt: skip
        if needed:
            shown = ", ".join(f"{field.name}: {field.type}" for field in needed)
            self.unit.refuse(ArgumentMissing(f"`stub {task.name} done` needs ({shown})"), args or at)
        return fields

    def _value(self, node: Tree | Token, field: FieldDecl | None, what: str) -> Const | None:
        """A value that is known at load and of the declared type; None where it was refused."""
        scope = Scope("value", self.unit.constants)
        expr = self.compiler.resolver.expr(node, scope)
        if expr is POISON:
            return None
        if field is not None:
            self.compiler.typer.check_value(expr, field.type, scope, what)
        else:
            self.compiler.typer.type_of(expr, scope)
        self.compiler.typer.end_clause(scope)
        return constant_of(expr, what, self.unit, node)

    # -- what is expected ---------------------------------------------------------------------

    def _expect(self, tree: Tree) -> Expect:
        is_absent, count, rule, fields = False, None, None, {}
        name_node: Tree | Token = tree
        for child in tree.children:
            if isinstance(child, Token) and child.type == "NO":
                is_absent = True
            elif isinstance(child, Token):
                count = 1 if child.type == "ONCE" else int_value(str(child))
            elif child.data == "tname":
                name_node = child
            elif child.data == "args":
                fields = self._expected(dotted(name_node), name_node, child)
            else:
                rule = self._rule(child)
        name = dotted(name_node)
        if self._fields(name) is None:
            known = (*self.declared.types(), *self.declared.rules.procedures)
            raise self._placed(UnknownName("task or event", name, known), name_node)
        if is_absent and count is not None:
            raise Misplaced("`expect no` says how often: leave the count out")
        return Expect(name, fields, 0 if is_absent else count, rule, self.unit.span(tree))

    def _fields(self, name: str) -> tuple[FieldDecl, ...] | None:
        """What a record of that type is emitted with; None where there is no such type."""
        declared = self.declared.type(name) or self.declared.rules.procedures.get(name)
        if declared is None:
            return None
        return declared.fields if isinstance(declared, EventDecl) else declared.inputs or ()

    def _expected(self, type: str, at: Tree | Token, args: Tree) -> Body:
        known = {field.name: field for field in self._fields(type) or ()}
        declared = self.declared.type(type)
        is_open = declared is None or (isinstance(declared, TaskDecl) and declared.inputs is None)
        fields: Body = {}
        for name, node in self._given(args):
            if str(name) in fields:
                self.unit.refuse(Misplaced(f'"{name}" is there twice'), name)
            if str(name) not in known and not is_open:
                results = declared.result or () if isinstance(declared, TaskDecl) else ()
                is_result = any(field.name == str(name) for field in results)
                hint = " (it is of the result; `expect` looks at what was emitted)" if is_result else ""
                self.unit.refuse(UnknownName(f"field of {type}", str(name), known, hint=hint), name)
                continue
            value = self._value(node, known.get(str(name)), f"{type}({name}: …)")
            if value is not None:
                fields[str(name)] = value.value
        return fields

    def _rule(self, tree: Tree) -> str:
        """`pack`, `approve.yes`, `pack/2`, `pack/2/else`."""
        text = rule_address(tree)
        base, _, step = text.partition("/")
        found = next((rule for rules in self.rules if (rule := rules.rule(base)) is not None), None)
        if found is None:
            if self.is_whole and not any(base in rules.continuations or base in rules.timers for rules in self.rules):
                self.unit.refuse(UnknownName("rule", base, self._rule_names()), tree)
        elif step.partition("/")[0].isdigit():
            check_step(found, step.partition("/")[0], self.unit, tree)
        return text

    def _rule_names(self) -> list[str]:
        names = []
        for rules in self.rules:
            names += [rule.name for rule in rules.rules]
            names += [rule.name for procedure in rules.procedures.values() for rule in procedure.rules]
            names += [*rules.procedures, *rules.continuations, *rules.timers]
        return names
