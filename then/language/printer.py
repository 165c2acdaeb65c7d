"""Rules and declarations back to text: the model of `then.core.rules` in the language.

What the compiler makes of the text is the model again: `parse(print(x)) == x`.
Names of constants (`limits.max`) are kept, and a whole rule set begins with a
`let` for each. Python functions have no text; a rule set says where they were.

Who calls: `andthen show --as then`, and whatever shows a rule that came from
YAML.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from then.core.filters import Const, Expr, Steps, Template, walk
from then.core.rules import (
    ANY,
    EVENT,
    FINISHED,
    Act,
    CancelFlow,
    Consequence,
    Emit,
    EndFlow,
    EventDecl,
    FieldDecl,
    Pattern,
    RecordDecl,
    Rule,
    RuleSet,
    Run,
    Save,
    Start,
    Step,
    TaskDecl,
    Unmatched,
)
from then.core.tasks import Json
from then.language.compile import STRAYS
from then.language.executors import KINDS, Kinds
from then.language.format import format_text
from then.language.phrases import Phrases, Unprintable, constant_steps, is_dotted, is_name, value_text
from then.language.scope import ENGINE_EVENTS, Declared, Scope

_OUTCOMES: Final = {
    "done": "done", "failed": "failed", "timed_out": "timed out", "cancelled": "cancelled", "retried": "retried",
}  # fmt: skip
"""Words for outcomes, in the order in which they are listed."""


def print_rules(rules: RuleSet, kinds: Kinds = KINDS) -> str:
    """A whole rule set, in the one layout: constants, declarations, `start`, rules.

    Raises:
        Unprintable: a name or a form in it has no text in the language.
    """
    printer = _Printer(rules, kinds)
    return format_text("\n".join(printer.all()), "rules.then")


def print_rule(rule: Rule, rules: RuleSet) -> str:
    """One rule, in the one layout.

    Args:
        rule: what is printed.
        rules: what it stands among; they say which fields a record has.

    Raises:
        Unprintable: a name or a form in it has no text in the language.
    """
    return format_text(_Printer(rules, KINDS).rule(rule), "rules.then")


class _Printer:
    """Writes the parts of one rule set, on one line each."""

    def __init__(self, rules: RuleSet, kinds: Kinds) -> None:
        self._rules = rules
        self._declared = Declared(rules)
        self._kinds = kinds

    def all(self) -> Iterator[str]:
        for name, value in _constants(self._rules):
            yield f"let {name} = {value_text(value)}"
        for record in self._rules.records.values():
            yield f"record {self._name(record)}({self._fields(record.fields)})"
        for event in self._rules.events.values():
            yield f"event {self._name(event)}({self._fields(event.fields)})"
        for task in self._rules.tasks.values():
            yield f"# task {task.name} is a Python function" if task.function is not None else self._task(task)
        for start in self._rules.starts:
            yield f"start {self._type(start.type, start)}({self._args(start.type, start.args, Scope('value', {}))})"
        for rule in self._rules:
            yield f"# rule {rule.name} is a Python function" if rule.generator is not None else self.rule(rule)

    # -- declarations --------------------------------------------------------------

    def _name(self, declared: RecordDecl | EventDecl | TaskDecl) -> str:
        return self._type(declared.name, declared)

    def _type(self, name: str, at: Emit | Start | RecordDecl | EventDecl | TaskDecl) -> str:
        if not is_dotted(name):
            raise Unprintable(f'"{name}" is no name in the language', at.span)
        return name

    def _fields(self, fields: Iterable[FieldDecl]) -> str:
        phrases = Phrases(Scope("value", {}))
        written = []
        for field in fields:
            default = f" = {phrases.text(field.default)}" if field.default is not None else ""
            written.append(f"{field.name}: {field.type}{default}")
        return ", ".join(written)

    def _task(self, task: TaskDecl) -> str:
        if task.inputs is None:
            raise Unprintable(f'the inputs of the task "{task.name}" are not declared', task.span)
        text = f"task {self._name(task)}({self._fields(task.inputs)})"
        if task.result is not None:
            text += f" -> ({self._fields(task.result)})"
        if task.run is not None:
            text += f" {self._run(task.run, task)}"
        if task.once:
            text += " once"
        if task.priority:
            text += f" priority {'- ' if task.priority < 0 else ''}{abs(task.priority)}"
        if task.done_on != (0,):
            text += f" done on {value_text(list(task.done_on))}"
        if task.may_fail:
            text += " may fail"
        if task.slots != 1:
            text += f" needs {{slots: {task.slots}}}"
        return text

    def _run(self, run: Run, task: TaskDecl) -> str:
        phrases = Phrases(Scope("run", {}, self._declared.shape(task.name, frozenset())))
        kind = self._kinds.get(run.kind)
        text = f"run {run.kind} {phrases.text(run.target)}"
        for name, value in run.options:
            words = kind.options[name].words if kind is not None and name in kind.options else frozenset()
            is_word = isinstance(value, Const) and value.value in words if words else False
            text += f" {name} {value.value if is_word and isinstance(value, Const) else phrases.text(value)}"
        return text

    # -- rules ---------------------------------------------------------------------

    def rule(self, rule: Rule) -> str:
        if rule.consequence is None:
            raise Unprintable(f'the rule "{rule.name}" is a Python function', rule.span)
        if not is_name(rule.name):
            raise Unprintable(f'"{rule.name}" is no name of a rule in the language', rule.span)
        scope = Scope("act", {})
        word = "unmatched " if isinstance(rule.trigger, Unmatched) else ""
        pattern = self._pattern(rule.pattern, scope, is_unmatched=bool(word))
        final = "final " if rule.final else ""
        return f"{final}rule {rule.name} when {word}{pattern} then {self._consequence(rule.consequence, scope)}"

    def _pattern(self, pattern: Pattern, scope: Scope, *, is_unmatched: bool) -> str:
        family = pattern.family
        if family != ANY and not is_dotted(family.removesuffix(".*")):
            raise Unprintable(f'"{family}" is no name in the language', pattern.span)
        text = "any" if family == ANY else family
        is_open = family == ANY or family.endswith(".*")
        unsaid = STRAYS if is_unmatched and is_open else {EVENT}
        if pattern.outcomes == FINISHED:
            text += " finished"
        elif pattern.outcomes != unsaid:
            said = [word for outcome, word in _OUTCOMES.items() if outcome in pattern.outcomes]
            if len(said) < len(pattern.outcomes):
                raise Unprintable(f'"{family}" with and without an outcome in one pattern', pattern.span)
            text += f" {' or '.join(said)}"
        shape = self._declared.shape(family, pattern.outcomes)
        if pattern.alias is not None:
            text += f" as {pattern.alias}"
            scope.aliases[pattern.alias] = shape
        if pattern.where is not None:
            inner = Scope("clause", {}, shape, pattern.alias, dict(scope.aliases))
            text += f" where {Phrases(inner).text(pattern.where)}"
        return text

    def _consequence(self, consequence: Consequence, scope: Scope) -> str:
        steps = [self._step(step, scope) for step in consequence.steps]
        text = " then ".join(steps)
        return f"{text} else {self._step(consequence.otherwise, scope)}" if consequence.otherwise is not None else text

    def _step(self, step: Step, scope: Scope) -> str:
        text = ", ".join(self._act(act, scope) for act in step)
        acts: list[Act | None] = list(step)
        while acts:
            act = acts.pop()
            if act is None:
                continue
            acts.append(act.otherwise)
            if isinstance(act, Emit) and act.alias is not None:
                is_event = act.type in self._rules.events or act.type in ENGINE_EVENTS
                outcomes = frozenset((EVENT if is_event else "done",))
                scope.aliases[act.alias] = self._declared.shape(act.type, outcomes)
        return text

    def _act(self, act: Act, scope: Scope) -> str:
        phrases = Phrases(scope)
        match act:
            case Emit(type, args, alias):
                text = f"{self._type(type, act)}({self._args(type, args, scope)})"
                text += f" as {alias}" if alias is not None else ""
            case Save(name, value):
                text = f"save {name}: {phrases.text(value)}"
            case EndFlow("done"):
                text = "end flow done"
            case EndFlow(_, reason):
                if reason is not None and not _is_text(reason):
                    raise Unprintable("the reason of `end flow failed` is no text", act.span)
                text = f"end flow failed {phrases.text(reason or Const(''))}"
            case CancelFlow():
                text = "cancel flow"
        if act.guard is not None:
            text += f" if {phrases.text(act.guard)}"
        if act.otherwise is not None:
            text += f" otherwise {self._act(act.otherwise, scope)}"
        return text

    def _args(self, type: str, args: Iterable[tuple[str, Expr]], scope: Scope) -> str:
        phrases = Phrases(scope)
        declared = self._declared.type(type)
        fields = (declared.inputs if isinstance(declared, TaskDecl) else declared.fields if declared else None) or ()
        callbacks = {field.name for field in fields if field.type.name == "task"}
        written = []
        for name, value in args:
            is_callback = name in callbacks and isinstance(value, Const) and value.value in self._rules.tasks
            written.append(
                f"{name}: {value.value if is_callback and isinstance(value, Const) else phrases.text(value)}"
            )
        return ", ".join(written)


def _is_text(expr: Expr) -> bool:
    return isinstance(expr, Template) or (isinstance(expr, Const) and isinstance(expr.value, str) and expr.name is None)


# -- constants that have names -------------------------------------------------------


def _constants(rules: RuleSet) -> list[tuple[str, Json]]:
    """For each name of a `let` or `load … from`, as much of its value as the rules use."""
    places: dict[str, list[tuple[Steps, Json]]] = {}
    for expr in _expressions(rules):
        for node in walk(expr):
            if isinstance(node, Const) and node.name is not None and (found := constant_steps(node.name)) is not None:
                name, steps = found
                places.setdefault(name, []).append((steps, node.value))
    return [(name, _joined(places[name])) for name in sorted(places)]


def _joined(places: list[tuple[Steps, Json]]) -> Json:
    """One value that has these values at these places."""
    for steps, value in places:
        if not steps:
            return value
    by_head: dict[str | int, list[tuple[Steps, Json]]] = {}
    for steps, value in places:
        by_head.setdefault(steps[0], []).append((steps[1:], value))
    if any(isinstance(head, int) for head in by_head):
        length = max(head for head in by_head if isinstance(head, int)) + 1
        return [_joined(by_head[i]) if i in by_head else None for i in range(length)]
    return {head: _joined(inner) for head, inner in by_head.items()}


def _expressions(rules: RuleSet) -> Iterator[Expr]:
    for task in rules.tasks.values():
        if task.run is not None:
            yield task.run.target
            yield from (value for _, value in task.run.options)
        yield from _defaults((*(task.inputs or ()), *(task.result or ())))
    for event in rules.events.values():
        yield from _defaults(event.fields)
    for record in rules.records.values():
        yield from _defaults(record.fields)
    for start in rules.starts:
        yield from (value for _, value in start.args)
    for rule in rules:
        if rule.pattern.where is not None:
            yield rule.pattern.where
        if rule.consequence is not None:
            for step in (*rule.consequence.steps, rule.consequence.otherwise or ()):
                for act in step:
                    yield from _of_act(act)


def _defaults(fields: Iterable[FieldDecl]) -> Iterator[Expr]:
    return (field.default for field in fields if field.default is not None)


def _of_act(act: Act) -> Iterator[Expr]:
    match act:
        case Emit(_, args):
            yield from (value for _, value in args)
        case Save(_, value):
            yield value
        case EndFlow(_, reason) if reason is not None:
            yield reason
        case _:
            pass
    if act.guard is not None:
        yield act.guard
    if act.otherwise is not None:
        yield from _of_act(act.otherwise)
