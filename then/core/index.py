"""Which rules fire on a record, at a cost that does not grow with the rules.

Theory of operation.

Rules are grouped by what they say of type and outcome. In a group each rule is
filed under keys (`then.core.filing`) in tables (`then.core.tables`): one lookup
finds all rules that ask `project == "web"`, whichever project. What a rule asks
besides its key is tested (`then.core.clauses`) on the few that were found.

1. A *code* is a rule's place in the order, shifted, with two bits below: whether
   it has to be tested, and whether it is final. Codes sort as the rules do, and
   say without looking at the rule whether there is more to do.
2. A group's tables find every rule of the group that matches, once the tests
   have turned down what does not: never too few.
3. A *plan* is what has to be looked at for one type and one outcome: the tables
   of all groups that cover them (`deploy`, `deploy.*`, any type). Plans of types
   that rules name are made at load; those of others when they first come.
4. Where a plan is one table of which nothing has to be tested, the buckets hold
   the rules themselves, cut off after the first final one: then there is nothing
   to sort and to decide. Most plans are of this kind, and it is twice as quick.
5. Values that are no JSON, which only a record made by hand has, take the plain
   way, rule by rule.

What matches is defined by `match_plainly`; a property test holds the two together.

Source: one test for each field and value, shared by the rules, is the alpha
network of Forgy 1982.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from then.core.clauses import passes
from then.core.evaluate import Verdict, decide
from then.core.fields import MISSING, Scope, reader
from then.core.plans import BITS, FINAL, TESTED, Plan, Plans, ending_of
from then.core.rules import Match, Rule, Single, Unmatched
from then.core.tables import OddValueError
from then.core.tasks import Json, Task
from then.core.values import kind_of


class FilterIndex:
    """The rules of a set, found by record. Built once; the rules do not change."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        """Files the rules.

        Cost: grows with the rules; a few µs and some hundred bytes for each.
        """
        self._rules = tuple(rules)
        self._singles = Plans(self._rules, Single)
        self._unmatched = Plans(self._rules, Unmatched)
        self._by_ending = self._singles.by_ending
        self._has_unmatched = any(type(rule.trigger) is Unmatched for rule in self._rules)

    def match(self, task: Task, flow_variables: Mapping[str, Json] | None = None) -> tuple[Match, ...]:
        """The rules that fire on a record, in order, up to and including the first final one.

        Unmatched rules are left out. The same record, variables and rules give the same answer.

        Args:
            task: a record; the outcome it has, or that it is an event, is what patterns ask for.
            flow_variables: of the record's flow; without them a clause over one cannot be said.

        Cost: grows with the fields that rules for its type look at, and with the
            rules found; not with the rules.
        """
        # The frequent case stands here in full: each call more would be a tenth of its time.
        ending = task.outcome
        if ending is None or task.event or not task.settled:
            ending = ending_of(task)  # type: ignore[assignment]
        plan = self._by_ending[ending].get(task.type)  # type: ignore[index]
        if plan is None:
            plan = self._singles.of_stranger(task)
        field = plan.field
        if field is None:
            return self._fire(self._singles, plan, task, flow_variables)
        result = task.result
        try:
            bucket = plan.table.get(task.body.get(field) if result is None or field not in result else result[field])
        except (TypeError, AttributeError):
            return self._odd(field, task, flow_variables)
        if bucket is None:
            return ()
        if type(bucket) is tuple:
            return tuple([Match(rule, task) for rule in bucket])
        return (Match(bucket, task),)  # type: ignore[arg-type]

    def match_unmatched(self, task: Task, flow_variables: Mapping[str, Json] | None = None) -> tuple[Match, ...]:
        """The same of the rules that say `unmatched`; whether it is their turn is the caller's to know."""
        if not self._has_unmatched:
            return ()  # Asked for each record on which nothing fired.
        plan = self._unmatched.plan_of(task)
        return self._fire(self._unmatched, plan, task, flow_variables)

    def find(self, task: Task) -> tuple[Rule, ...]:
        """Rules that may fire on a record, in order: those found by their keys, not tested.

        May give one that does not fire; never leaves out one that does, whatever the flow's variables are.
        """
        plan = self._singles.plan_of(task)
        if plan.field is not None:
            return tuple(match.rule for match in self.match(task))
        try:
            return tuple(self._rules[code >> BITS] for code in plan.candidates(task))
        except OddValueError:
            return tuple(rule for rule in self._rules if type(rule.trigger) is Single)

    def wants(self, type: str, word: str) -> bool:
        """Whether any rule, an unmatched one too, may match records of this type and outcome word."""
        return self._singles.wants(type, word) or self._unmatched.wants(type, word)

    def _fire(
        self, plans: Plans, plan: Plan, task: Task, flow_variables: Mapping[str, Json] | None
    ) -> tuple[Match, ...]:
        try:
            found = plan.candidates(task)
        except OddValueError:
            # Invariant 5.
            return match_plainly(self._rules, task, flow_variables, plans.kind)
        rules, fired = self._rules, []
        for code in found:
            rule = rules[code >> BITS]
            if not code & (TESTED | FINAL):
                fired.append(Match(rule, task))
                continue
            groups = None
            if code & TESTED:
                clauses = plans.tests[code]
                if clauses is None:
                    verdict = _decided(rule, task, flow_variables)
                    if verdict.value is not True:
                        continue
                    groups = verdict.groups or None
                elif not passes(clauses, task, flow_variables):
                    continue
            fired.append(Match(rule, task, groups))
            if code & FINAL:
                break
        return tuple(fired)

    def _odd(self, field: str, task: Task, flow_variables: Mapping[str, Json] | None) -> tuple[Match, ...]:
        """The answer for a value that is no key of a dict."""
        value = reader((field,), "any")(task)
        if value is MISSING or kind_of(value) in ("list", "map"):
            return ()  # It equals no key, for none is one.
        return match_plainly(self._rules, task, flow_variables)


def match_plainly(
    rules: Iterable[Rule],
    task: Task,
    flow_variables: Mapping[str, Json] | None = None,
    kind: type[Single | Unmatched] = Single,
) -> tuple[Match, ...]:
    """What `FilterIndex.match` gives, rule by rule and clause by clause: the truth that it is tested against."""
    fired: list[Match] = []
    for rule in rules:
        if type(rule.trigger) is not kind or not rule.pattern.fits(task):
            continue
        verdict = _decided(rule, task, flow_variables)
        if verdict.value is True:
            fired.append(Match(rule, task, verdict.groups or None))
            if rule.final:
                break
    return tuple(fired)


def _decided(rule: Rule, task: Task, flow_variables: Mapping[str, Json] | None) -> Verdict:
    pattern = rule.pattern
    bindings: dict[str, Json | Task] = {} if pattern.alias is None else {pattern.alias: task}
    return decide(pattern.where, Scope(task, bindings, flow_variables))
