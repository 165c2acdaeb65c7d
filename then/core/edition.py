"""An edition: a rule set made ready, under the name of its version.

A flow keeps the version that it was started under; each version that is in
force somewhere is one `Edition`: the rules, their index, the compiled
expressions and type checks, and what is known of the declared types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import msgspec
from attrs import evolve
from msgspec.structs import replace

from then.core.breakpoints import Stops
from then.core.errors import UnknownName
from then.core.evaluate import Scope, compile_value
from then.core.filters import Expr, SecretRef, walk
from then.core.index import FilterIndex
from then.core.listening import emits_of, expanded, late_rule
from then.core.policies import Policy
from then.core.rules import (
    EVENT,
    Emit,
    Join,
    Match,
    Rule,
    RuleSet,
    SecretDecl,
    Single,
    TaskDecl,
    Unmatched,
    family_covers,
)
from then.core.tasks import Body, Json, Task
from then.core.twins import twin_key
from then.core.typed import Types
from then.core.values import CannotSay


class Runner(msgspec.Struct, frozen=True):
    """What a start needs to know of a task's type. A Struct: a field of a NamedTuple takes ten times as long to read."""

    declared: TaskDecl
    kind: str
    options: dict[str, object] | None
    """What its executor gets, where that does not depend on the record."""
    secrets: tuple[SecretDecl, ...] = ()
    """Those that it is given at its start."""


FLOW_ENDED: Final = "flow.ended"
"""The event of a flow that ended: the root of a new one."""
SCRIPT: Final = "script"
"""The kind of the executor that runs rule scripts; they take no slot, for they mostly wait."""
PYTHON: Final = "python"
"""The kind of the executor that runs functions of this process."""


def _runner(declared: TaskDecl, kind: str, rules: RuleSet) -> Runner:
    if kind == SCRIPT:
        declared = evolve(declared, slots=0)
    given = given_secrets(declared, rules)
    options: dict[str, object] | None = None
    if declared.function is not None:
        options = {"once": declared.once, "done_on": list(declared.done_on), "function": declared.function}
        if given:
            options["with"] = {key: rules.secrets[secret] for key, secret in declared.secrets}
            options["secrets"] = given
    return Runner(declared, kind, options, given)


class Edition:
    """One version of the rules, ready to match with. Nothing in it changes but caches."""

    def __init__(self, version: str, rules: RuleSet) -> None:
        self.version = version
        self.rules = rules
        self.index = FilterIndex(tuple(expanded(rules.rules)))
        self.within = {name: tuple(expanded(declared.rules)) for name, declared in rules.procedures.items()}
        """By procedure: its rules, which see the records of its calls alone."""
        self.types = Types(rules)
        self.stops: tuple[object, int, Stops] | None = None
        """The breakpoints of a state, made ready for these rules: whose, of which version."""
        self._follows_done: dict[str, bool] = {}
        self.has_unmatched = any(isinstance(rule.trigger, Unmatched) for rule in rules.rules)
        self._values: dict[int, Callable[[Scope], Json | CannotSay]] = {}
        self._kinds: dict[str, str | None] = {}
        for name, declared in rules.tasks.items():
            kind = declared.run.kind if declared.run is not None else None
            self._kinds[name] = PYTHON if declared.function is not None else kind
        self.runners: dict[str, Runner] = {}
        """By type; a task that nothing runs, and an unknown type, is not in it."""
        for name, declared in rules.tasks.items():
            kind = self._kinds[name]
            if kind is not None:
                self.runners[name] = _runner(declared, kind, rules)
        self.secret_variables = tuple(
            one.reference for one in rules.secrets.values() if one.source == "env" and is_variable(one.reference)
        )
        """Variables of the engine that hold secrets: a process inherits none of them."""
        self._births = {
            name: (
                declared.priority,
                {"slots": 0} if declared.slots == 0 or self._kinds[name] == SCRIPT else None,
                self._kinds[name] is not None,
                False,
            )
            for name, declared in rules.tasks.items()
        }
        """By task: priority, needs, whether an executor runs it, and whether it takes more than slots."""
        for name, declared in rules.tasks.items():
            if self._kinds[name] is not None and (declared.needs or declared.limit is not None):
                self._births[name] = (declared.priority, None, True, True)
        self.announces_ends = any(_is_for_ends(rule) for rule in expanded(rules.rules))
        """Whether a rule listens to the ends of flows; an unmatched one is never shown them."""
        self.untyped = {
            name
            for group in (rules.tasks, rules.procedures)
            for name, declared in group.items()
            if declared.inputs is None
        }
        self.has_sets = any(_is_set(rule) for name in (None, *rules.procedures) for rule in self._rules_of(name))
        self._sets: dict[tuple[str | None, str], tuple[Rule, ...]] = {}
        self._late: dict[str, Rule | None] = {}
        self._conditional: dict[str, Emit] | None = None
        self.timed = {
            name: timing for name, declared in rules.tasks.items() if (timing := _timing(declared)) is not None
        }
        """By task: what is said of how it is tried."""
        for name, procedure in rules.procedures.items():
            if procedure.deadline_us is not None:
                self.timed[name] = Timing(None, procedure.deadline_us, None)

    def kind_of(self, type: str) -> str | None:
        """The executor that a declared task runs on; None for a person's task, an event, an unknown type."""
        return self._kinds.get(type)

    def _needs(self, type: str, body: Body) -> Body:
        """What a record needs, as far as it can be said; `then.core.claims` refuses what cannot."""
        scope = Scope(Task(type, body), {}, {})
        said = {need.name: self.value(need.amount, scope) for need in self.rules.tasks[type].needs}
        return {name: None if isinstance(value, CannotSay) else value for name, value in said.items()}

    def may_fail(self, type: str) -> bool:
        declared = self.rules.tasks.get(type)
        return declared is not None and declared.may_fail

    def follows_done(self, type: str) -> bool:
        """Whether a rule may fire on a task of this type that is done; where none may, nothing need look for one."""
        found = self._follows_done.get(type)
        if found is None:
            found = self._follows_done[type] = type in self.rules.endings or self.index.wants(type, "done")
        return found

    def rule(self, address: str) -> Rule | None:
        """The rule of a return address; `R/late` is the `on timeout` of the join R."""
        found = self.rules.rule(address)
        if found is None and address.endswith("/late"):
            if address not in self._late:
                join = self.rules.rule(address.removesuffix("/late"))
                self._late[address] = late_rule(join) if join is not None else None
            return self._late[address]
        return found

    def condition(self, address: str) -> Expr | None:
        """The clause of a `while`: of a task by its type, of an act by the address that `address_of` gave."""
        declared = self.rules.tasks.get(address)
        if declared is not None:
            return declared.retry_while
        emit = self._emits().get(address)
        return emit.retry_while if emit is not None else None

    def address_of(self, act: Emit) -> str | None:
        """By what a record finds the `while` of the act that emitted it."""
        return next((address for address, emit in self._emits().items() if emit is act), None)

    def _emits(self) -> dict[str, Emit]:
        if self._conditional is None:
            rules = [*self.rules.rules, *self.rules.endings.values()]
            for procedure in self.rules.procedures.values():
                rules += [procedure.first, *procedure.rules]
            self._conditional = {
                f"{rule.name}#{number}": emit
                for rule in rules
                for number, emit in enumerate(emits_of(rule))
                if emit.retry_while is not None
            }
        return self._conditional

    def sets_of(self, procedure: str | None, type: str, names: Mapping[str, Json]) -> tuple[Rule, ...]:
        """The rules that wait for every record of a type: those of a procedure, or those at top level.

        Args:
            names: the arguments of the call, of which one may be the type that a rule waits for.
        """
        key = (procedure, type)
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = tuple(
                rule
                for rule in self._rules_of(procedure)
                if _is_set(rule) and (rule.pattern.callee is not None or family_covers(rule.pattern.family, type))
            )
        if all(rule.pattern.callee is None for rule in found):
            return found
        return tuple(rule for rule in found if rule.pattern.callee is None or names.get(rule.pattern.callee) == type)

    def _rules_of(self, procedure: str | None) -> Iterable[Rule]:
        return self.rules.rules if procedure is None else self.rules.procedures[procedure].rules

    def value(self, expr: Expr, scope: Scope) -> Json | CannotSay:
        """The value of an expression; its closure is compiled once."""
        run = self._values.get(id(expr))
        if run is None:
            run = self._values[id(expr)] = compile_value(expr)
        return run(scope)

    def check_body(self, type: str, body: Body) -> Body:
        """The body with the defaults of its declaration; as it is where nothing is declared.

        Raises:
            BodyRefused: it is not as declared, with the path.
        """
        rules = self.rules
        if type in self.untyped or not (type in rules.tasks or type in rules.events or type in rules.procedures):
            return body
        return self.types.body(type, body)

    def unmatched(self, record: Task, variables: dict[str, Json]) -> Iterable[Match]:
        """The `unmatched` rules for a record on which nothing fired."""
        return self.index.match_unmatched(record, variables)

    def posted(self, type: str, body: Body, id: str, flow: str, time: int) -> Task:
        """A record that comes from outside, tried as it is declared."""
        task = self.new_task(type, body, id, flow, time, is_posted=True)
        policy = self.policy_of(task, time) if type in self.timed and task.outcome is None else None
        return task if policy is None else replace(task, policy=policy)

    def policy_of(self, task: Task, time: int) -> Policy | None:
        """How a record that is born now is tried, by its declaration; None where that says nothing."""
        timing = self.timed.get(task.type)
        if timing is None:
            return None
        policy = timing.policy_of(time)
        if timing.idempotent_by is not None:
            value = self.value(timing.idempotent_by, Scope(task, {}, {}))
            if not isinstance(value, CannotSay):
                policy = replace(policy, twin=twin_key(task.type, value))
        return policy

    def new_task(  # noqa: PLR0913, PLR0917 (the fields of a record; by place, since it is made for each)
        self,
        type: str,
        body: Body,
        id: str,
        flow: str,
        time: int,
        parent: str | None = None,
        rule: str | None = None,
        call: str | None = None,
        cont: str | None = None,
        by_unmatched: bool = False,
        is_posted: bool = False,
    ) -> Task:
        """A record as it is born: an event is done, a person's task runs, an unknown type has failed."""
        birth = self._births.get(type)
        if birth is None:
            if type in self.rules.procedures:
                return Task(
                    type, body, id=id, flow=flow, parent=parent, rule=rule, call=call, cont=cont, created=time,
                    by_unmatched=by_unmatched, is_call=True,
                )  # fmt: skip
            if is_posted or type in self.rules.events or type in _OWN_EVENTS:
                return Task(
                    type, body, id=id, flow=flow, parent=parent, rule=rule, call=call, cont=cont,
                    outcome="done", created=time, completed=time, event=True, by_unmatched=by_unmatched,
                )  # fmt: skip
            message = f'nothing here runs "{type}" and it is no declared event'
            return Task(
                type, body, id=id, flow=flow, parent=parent, rule=rule, call=call, cont=cont, outcome="failed",
                error={"kind": "no_executor", "message": message}, created=time, completed=time,
                by_unmatched=by_unmatched,
            )  # fmt: skip
        priority, needs, is_run, is_claiming = birth
        if is_claiming:
            needs = self._needs(type, body)
        # By place as far as that goes, which is a third quicker: attempt 1, no origin, no outcome, result or error.
        return Task(
            type, body, id, flow, parent, rule, call, cont, 1, None, None, None, None, priority, needs,
            time, None if is_run else time, None, False, True, by_unmatched,
        )  # fmt: skip


def is_variable(name: str) -> bool:
    """Whether an environment can hold a variable of this name."""
    return bool(name) and "=" not in name and "\0" not in name


def given_secrets(declared: TaskDecl, rules: RuleSet) -> tuple[SecretDecl, ...]:
    """The secrets that a task is given at its start, each once.

    Raises:
        UnknownName: one is not declared.
    """
    names = [secret for _, secret in declared.secrets]
    for _, expr in declared.run.options if declared.run is not None else ():
        names += [node.name for node in walk(expr) if isinstance(node, SecretRef)]
    unknown = next((name for name in names if name not in rules.secrets), None)
    if unknown is not None:
        raise UnknownName("secret", unknown, rules.secrets, declared.span)
    return tuple(rules.secrets[name] for name in dict.fromkeys(names))


_PLAIN: Final = Policy()


class Timing(NamedTuple):
    """How a task is tried, as it is declared."""

    policy: Policy | None
    deadline_us: int | None
    expires_us: int | None
    idempotent_by: Expr | None = None

    def policy_of(self, time: int) -> Policy:
        """The policy of one that is born now."""
        return replace(
            self.policy or _PLAIN,
            deadline=None if self.deadline_us is None else time + self.deadline_us,
            expires=None if self.expires_us is None else time + self.expires_us,
        )


def _timing(declared: TaskDecl) -> Timing | None:
    policy = declared.policy
    if policy is not None and policy.retry is not None and declared.retry_while is not None:
        policy = replace(policy, retry=replace(policy.retry, condition=declared.name))
    timing = Timing(policy, declared.deadline_us, declared.expires_us, declared.idempotent_by)
    return timing if any(part is not None for part in timing) else None


def _is_set(rule: Rule) -> bool:
    return isinstance(rule.trigger, Join) and rule.trigger.kind == "every"


_OWN_EVENTS: Final = frozenset(("rule.failed", FLOW_ENDED))


def _is_for_ends(rule: Rule) -> bool:
    trigger = rule.trigger
    return (
        isinstance(trigger, Single)
        and EVENT in trigger.pattern.outcomes
        and family_covers(trigger.pattern.family, FLOW_ENDED)
    )
