"""Rules and declarations back to text: the model of `then.core.rules` in the language.

What the compiler makes of the text is the model again: `parse(print(x)) == x`.
Names of constants (`limits.max`) are kept, and a whole rule set begins with a
`let` for each. Python functions have no text; a rule set says where they were.

Who calls: `andthen show --as then`, and whatever shows a rule that came from
YAML.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from then.core.filters import Const, Steps, walk
from then.core.policies import Policy
from then.core.rules import (
    ANY,
    Breakpoint,
    Ended,
    EventDecl,
    FieldDecl,
    ProcedureDecl,
    RecordDecl,
    Rule,
    RuleSet,
    Run,
    TaskDecl,
    TimerDecl,
)
from then.core.schedule import Cron
from then.core.tasks import Json
from then.language.breakpoints import seen_at
from then.language.executors import KINDS, Kinds
from then.language.format import format_text
from then.language.phrases import Phrases, Unprintable, constant_steps, is_name, text_literal, value_text
from then.language.rule_texts import RuleTexts, outcomes_text, retry_text, span_text
from then.language.scope import Declared, Scope, Signature
from then.language.walks import expressions


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
        self._texts = RuleTexts(rules)
        self._kinds = kinds

    def all(self) -> Iterator[str]:
        for name, value in _constants(self._rules):
            yield f"let {name} = {value_text(value)}"
        for secret in self._rules.secrets.values():
            reference = text_literal(secret.reference, is_template=False)
            yield f"secret {secret.name} from {secret.source} {reference}"
        for record in self._rules.records.values():
            yield f"record {self._name(record)}({self._fields(record.fields)})"
        for event in self._rules.events.values():
            yield f"event {self._name(event)}({self._fields(event.fields)})"
        for task in self._rules.tasks.values():
            yield f"# task {task.name} is a Python function" if task.function is not None else self._task(task)
        for start in self._rules.starts:
            args = self._texts.args(start.type, start.args, Scope("value", {}))
            yield f"start {self._texts.type_name(start.type, start.span)}({args})"
        for timer in self._rules.timers.values():
            yield self._timer(timer)
        for procedure in self._rules.procedures.values():
            is_python = _is_python(procedure, self._rules)
            yield f"# procedure {procedure.name} is Python" if is_python else self._procedure(procedure)
        for rule in self._rules:
            yield f"# rule {rule.name} is a Python function" if rule.generator is not None else self.rule(rule)
        for point in self._rules.breakpoints.values():
            yield self.breakpoint(point)

    # -- declarations --------------------------------------------------------------

    def _name(self, declared: RecordDecl | EventDecl | TaskDecl) -> str:
        return self._texts.type_name(declared.name, declared.span)

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
        text += self._policies(task)
        ending = self._rules.endings.get(task.name)
        if ending is not None:
            inputs = Signature(task.name, task.inputs, ())
            text += f" {self._texts.ending(ending, inputs)}"
        return text

    def _timer(self, timer: TimerDecl) -> str:
        schedule = timer.schedule
        if isinstance(schedule, Cron) and schedule.is_long:
            raise Unprintable(f'"{schedule.expression}" has more than the five fields of the language', timer.span)
        text = schedule.text()
        if isinstance(schedule, Cron):
            zone = f' in "{schedule.zone}"' if schedule.zone != Cron(schedule.expression).zone else ""
            text = f"cron {text_literal(schedule.expression, is_template=False)}{zone}"
        args = self._texts.args(timer.type, timer.args, Scope("value", {}))
        text += f" start {self._texts.type_name(timer.type, timer.span)}({args})"
        plain = TimerDecl(timer.name, schedule, timer.type)
        text += f" overlap {timer.overlap}" if timer.overlap != plain.overlap else ""
        return text + (f" catch up {timer.catch_up}" if timer.catch_up != plain.catch_up else "")

    def _policies(self, task: TaskDecl) -> str:
        """How often, how long, how many, with what."""
        phrases = Phrases(Scope("run", {}, self._declared.shape(task.name, frozenset())))
        policy = task.policy or Policy()
        text = ""
        if policy.retry is not None:
            text += f" {retry_text(policy.retry)}"
            if task.retry_while is not None:
                attempt = Scope("clause", {}, self._declared.shape(task.name, frozenset(("failed", "timed_out"))))
                text += f" while {Phrases(attempt).text(task.retry_while)}"
        for word, time_us in (
            ("timeout", policy.timeout_us), ("deadline", task.deadline_us), ("expires", task.expires_us),
        ):  # fmt: skip
            if time_us is not None:
                text += f" {word} {span_text(time_us)}"
        if task.limit is not None:
            by = f" by {phrases.text(task.limit.by)}" if task.limit.by is not None else ""
            text += f" limit {task.limit.count} at once{by}"
        needs = [] if task.slots == 1 else [f"slots: {task.slots}"]
        for need in task.needs:
            is_lock = need.name.startswith("lock.") and isinstance(need.amount, Const)
            amount = need.amount.value if is_lock and isinstance(need.amount, Const) else phrases.text(need.amount)
            needs.append(f"{self._texts.type_name(need.name, need.span)}: {amount}")
        if needs:
            text += f" needs {{{', '.join(needs)}}}"
        if task.idempotent_by is not None:
            text += f" idempotent by {phrases.text(task.idempotent_by)}"
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
        """A rule; of one that belongs to a procedure or task, all of that."""
        if isinstance(rule.trigger, Ended) and rule.trigger.type in self._rules.tasks:
            return self._task(self._rules.tasks[rule.trigger.type])
        for procedure in self._rules.procedures.values():
            if rule is procedure.first or rule in procedure.rules or rule is self._rules.endings.get(procedure.name):
                return self._procedure(procedure)
        return self._texts.rule(rule, rule.name)

    def breakpoint(self, point: Breakpoint) -> str:
        """A breakpoint or logpoint."""
        phrases = Phrases(seen_at(point, self._rules))
        family = "any" if point.family == ANY else point.family
        if point.place == "rule":
            place = f"on rule {point.rule}"
        elif point.place == "step":
            place = f"on step of {family}" + (
                f" at {text_literal(point.line, is_template=False)}" if point.line else ""
            )
        else:
            words = f" {outcomes_text(point.outcomes)}" if point.outcomes else ""
            place = f"{point.place} {family}{words}"
        text = f"{'breakpoint' if point.prints is None else 'logpoint'} {point.name} {place}"
        if point.where is not None:
            text += f" where {phrases.text(point.where)}"
        if point.prints is not None:
            return f"{text} print {phrases.text(point.prints)}"
        text += f" from hit {point.from_hit}" if point.from_hit != 1 else ""
        text += f" expires {span_text(point.expires_us)}" if point.expires_us is not None else ""
        text += " once" if point.once else ""
        return text + (f" show {', '.join(shown for shown, _ in point.show)}" if point.show else "")

    def _procedure(self, procedure: ProcedureDecl) -> str:
        if procedure.inputs is None or procedure.result is None:
            raise Unprintable(f'the inputs of the procedure "{procedure.name}" are not declared', procedure.span)
        if not is_name(procedure.name):
            raise Unprintable(f'"{procedure.name}" is no name of a procedure in the language', procedure.span)
        text = f"procedure {procedure.name}({self._fields(procedure.inputs)})"
        if procedure.result:
            text += f" -> ({self._fields(procedure.result)})"
        if procedure.deadline_us is not None:
            text += f" deadline {span_text(procedure.deadline_us)}"
        if procedure.may_fail:
            text += " may fail"
        text += f"\n{self._texts.first(procedure, procedure.first)}"
        for place, rule in enumerate(procedure.rules, 1):
            name = rule.name.removeprefix(f"{procedure.name}.")
            text += f"\n{self._texts.rule(rule, '' if name == str(place) else name, procedure)}"
        ending = self._rules.endings.get(procedure.name)
        if ending is not None:
            text += f"\n{self._texts.ending(ending, procedure)}"
        return f"{text}\nend"


def _is_python(procedure: ProcedureDecl, rules: RuleSet) -> bool:
    found = (procedure.first, *procedure.rules, rules.endings.get(procedure.name))
    return any(rule is not None and rule.consequence is None for rule in found)


# -- constants that have names -------------------------------------------------------


def _constants(rules: RuleSet) -> list[tuple[str, Json]]:
    """For each name of a `let` or `load … from`, as much of its value as the rules use."""
    places: dict[str, list[tuple[Steps, Json]]] = {}
    for expr in expressions(rules):
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
