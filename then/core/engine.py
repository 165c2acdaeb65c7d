"""`step`: the pure engine. What the world said goes in, facts and orders come out.

Theory of operation. A cause (a post, a report, a cancellation, a release) is
turned into facts; each fact is folded into the state as soon as it is decided
(`State.evolve`), so that what is decided next stands on it. The facts of one
step form one page for each flow they belong to; the loop writes the pages of a
step in one transaction and only then carries out its orders (laws 2 and 3).

A completion is matched in the step that records it. An event is matched in a
step of its own (`Proceed`), after the one that brought it forth.

No clock, no chance, no I/O: time comes in with `Terms`, ids are made from it.
`step` changes the state it is given; "pure" means that the state before, the
cause and the terms alone determine the facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from then.core import facts as f
from then.core.asking import answer, ask
from then.core.causes import (
    Adopt,
    Ask,
    Cancel,
    Cause,
    DropBreakpoint,
    Fork,
    GiveBack,
    Move,
    Over,
    Post,
    Proceed,
    Release,
    Report,
    Reports,
    Retry,
    SetBreakpoint,
    SetClock,
    SetTimer,
    Step,
    SwitchBreakpoint,
    Tick,
)
from then.core.chains import Chain
from then.core.copies import copied
from then.core.edition import FLOW_ENDED, Edition
from then.core.emitting import carry_out, count_again, fire
from then.core.ending import OVER, complete, end_within, hold_reason, join_twin, settle_call
from then.core.facts import Flow
from then.core.firing import Firing, PlanFailed, plan_continuation, plan_rule, plan_step
from then.core.forks import fork, recall
from then.core.granting import grant
from then.core.holding import adopt, hold_after, hold_asked, hold_before, set_breakpoint, switch_breakpoint
from then.core.joins import Taking, gather_empty, take
from then.core.listening import Listening, match_within
from then.core.outside import cancel, drop_breakpoint, post, release, retry
from then.core.rows import take_back, tell_began
from then.core.rules import FINISHED, Match, Met
from then.core.standing import standing
from then.core.state import FAILURES, RULE_FAILED, State
from then.core.stepping import Stepping
from then.core.stepping import Terms as Terms  # noqa: PLC0414 (who steps needs both)
from then.core.tasks import Body, Json, Outcome, Task
from then.core.timers import arm, flow_ended, set_timer
from then.core.times import tick
from then.core.unfilled import left_unfilled

STEP_BYTES_MAX: Final = 256 * 1024
"""Facts of so many bytes end a step that takes several reports."""


def step(state: State, cause: Cause, terms: Terms) -> Step:
    """What follows from one cause.

    Raises:
        RuleError: a post that its declaration refuses; nothing has changed.
        ConfigError: a key that stands for another body, a flow or record that is not there.

    Cost: grows with what it emits; not with rules, records or history.
    """
    return _Stepper(state, terms).run(cause)


def fired_by(state: State, cause: Release, terms: Terms) -> Sequence[str]:
    """The rules and steps that would fire on a record that has ended, were it let go on: the first match of `step` alone.

    Args:
        state: is changed, and of no use any more.

    Raises:
        ThenError: as of `step`.

    Cost: grows with what these emit; not with the calls that end with it.
    """
    stepper = _Stepper(state, terms)
    stepper.other(cause)
    if stepper.ended:
        stepper.match(stepper.ended.pop(0))
    facts = (fact for page in stepper.pages for fact in page.facts)
    return next((fact.rules for fact in facts if isinstance(fact, f.Matched) and fact.id == cause.id), ())


class _Stepper(Stepping):
    """One step under way."""

    def run(self, cause: Cause) -> Step:
        kind = type(cause)
        taken = 1
        if kind is Report:
            self.report(cause)  # type: ignore[arg-type]
        elif kind is Reports:
            taken = self.several(cause.reports)  # type: ignore[union-attr]
        elif kind is Proceed:
            self.proceed()
        else:
            self.other(cause)
        state = self.state
        if self.ended or state.waits.quiet or state.waits.joining:
            self.match_ended()
        if state.queue or state.free or state.waiting or state.claiming or state.admission.waiting:
            for flow in grant(self, self.match_ended):
                self.tell_held(flow)
        if state.holds.forks:
            recall(self, self.match_ended)
        if state.is_watched:
            hold_asked(self)
        self.finish_flows()
        if state.advanced:
            tell_began(self)
        return Step(self.pages, self.orders, self.answer, taken)

    def match_ended(self) -> None:
        """Matches what ended in this step; a call in which nothing lives any more ends with it."""
        quiet, joining = self.state.waits.quiet, self.state.waits.joining
        while self.ended or quiet or joining:
            if self.ended:
                self.match(self.ended.pop(0))
            elif joining:
                join_twin(self, joining.pop(0))
            elif quiet[-1] in self.state.waits.scripts.of:
                answer(self, quiet.pop())
            else:
                settle_call(self)

    def other(self, cause: Cause) -> None:
        match cause:
            case Tick() if self.terms.may_start:
                tick(self)
                for firing in self.empty[:]:
                    self.gather(firing.record, [])
            case Post():
                post(self, cause)
            case Cancel():
                cancel(self, cause)
            case Retry():
                retry(self, cause)
            case Release():
                release(self, cause)
                if self.empty:
                    self.gather(self.empty[0].record, [])
            case SetBreakpoint():
                set_breakpoint(self, cause)
            case SwitchBreakpoint():
                switch_breakpoint(self, cause)
            case Fork():
                fork(self, cause)
            case DropBreakpoint():
                drop_breakpoint(self, cause)
            case Adopt(version=version):
                self.add("", f.InForce(version))
                if self.terms.editions[version].rules.breakpoints or self.state.holds.points:
                    adopt(self, self.terms.editions[version])
                if self.terms.editions[version].rules.timers or self.state.waits.timers:
                    arm(self, self.terms.editions[version])
            case Move(flow=flow, version=version):
                if flow in self.state.flows and self.state.flows[flow].version != version:
                    self.add(flow, f.FlowMoved(version))
                    if self.terms.editions[version].has_sets:
                        count_again(self, flow, self.terms.editions[version])
            case Ask():
                ask(self, cause)
            case GiveBack(ids=ids):
                for task in take_back(self.state, ids):
                    time = self.terms.time
                    self.report(Report(task.id, "cancelled", None, {"kind": "cancelled"}, None, time, task.flow))
            case SetTimer(name=name, what=what):
                set_timer(self, name, what)
            case SetClock(by_us=by_us):
                self.add("", f.ClockSet(by_us))

    # -- what comes from outside ----------------------------------------------

    def report(self, cause: Report) -> None:
        state = self.state
        task = state.tasks.get(cause.id)
        if type(task) is not Task:
            task = state.task(cause.id)
        if task is None or task.outcome is not None:
            flow = task.flow if task is not None else cause.flow
            self.add(flow, f.Late(cause.id, cause.outcome, cause.result, cause.error, cause.by))
            return
        outcome, result, error = cause.outcome, cause.result, cause.error
        if state.stop_kinds and outcome == "cancelled" and (kind := state.stop_kinds.get(cause.id)) is not None:
            # It was stopped because its time was over.
            outcome, error = "timed_out", {"kind": kind, "message": OVER[kind]}
        if outcome == "done":
            wrong = self.terms.editions[state.flows[task.flow].version].types.result(task.type, result)
            if wrong is not None:
                outcome, error = "failed", {"kind": "result", "message": wrong}
        complete(self, task, outcome, result, error, cause.started, cause.completed)

    def several(self, reports: Sequence[Report]) -> int:
        """Reports one after the other, each as if it had come by itself. How many were taken.

        Events that they bring forth are matched before what comes later, so that the first ends it; and
        so does a page that would be a large row.
        """
        state, flows, pages = self.state, self.state.flows, self.pages
        size, taken = 0, 0
        for report in reports:
            page = self.page
            first, begin = (len(pages) - 1, len(page.facts)) if page is not None else (0, 0)
            self.report(report)
            taken += 1
            if self.ended or state.waits.quiet or state.waits.joining:
                self.match_ended()
            is_over = False
            for page in pages[first:]:
                size += len(f.encode(page.facts[begin:]))
                begin = 0
                flow = flows.get(page.flow)
                is_over |= flow is not None and flow.live <= 0
            if is_over:
                self.finish_flows()
            if state.pending or size > STEP_BYTES_MAX:
                break
        return taken

    def proceed(self) -> None:
        state = self.state
        if not state.pending:
            return
        task = state.task(next(iter(state.pending)))
        assert task is not None
        held = hold_reason(self, task, task.outcome or "done", is_idle=True)
        if held is None and state.is_watched:
            held = hold_after(self, task) if task.outcome is not None else self.hold_call(task)
        if held is not None:
            self.add(task.flow, f.Held(task.id, held))
            return
        if task.outcome is None:
            self.enter(task)
            return
        self.add(task.flow, f.Taken(task.id))
        self.match(task)

    def hold_call(self, call: Task) -> str | None:
        return hold_before(self, call, self.terms.editions[self.state.flows[call.flow].version])

    def trial(self, record: Task) -> Stepping:
        """The match of a record that has ended, tried on a copy of the state: what it would fire and emit.

        Args:
            record: live, or held; as it ended.

        Cost: grows with what is live.
        """
        state = copied(self.state)
        tried = _Stepper(state, self.terms)
        tried.fired = []
        live = state.task(record.id)
        if live is not None and live.outcome is None:
            tried.add(
                record.flow,
                f.Completed(
                    record.id, record.outcome or "done", record.result, record.error, record.started,
                    record.completed or self.terms.time, record.settled,
                ),
            )  # fmt: skip
        else:
            tried.add(record.flow, f.Taken(record.id))
        tried.match(replace(record, is_held=False))
        return tried

    def enter(self, call: Task) -> None:
        """A call begins: the first steps of its procedure."""
        edition = self.terms.editions[self.state.flows[call.flow].version]
        self.add(call.flow, f.Entered(call.id))
        if call.type in self.terms.answered:
            return
        self.match_began = self.state.last_id
        declared = edition.rules.procedures.get(call.type)
        if declared is None:
            error = {"kind": "no_executor", "message": f'procedure "{call.type}" is not in these rules any more'}
            complete(self, call, "failed", None, error, self.terms.time, self.terms.time)
            return
        first = declared.first
        firing = Firing(
            call, first.name, call.id, call.by_unmatched, values=dict(call.body),
            emissions_max=self.terms.guards.emissions,
        )  # fmt: skip
        try:
            variables = self.state.flows[call.flow].variables
            plan_rule(firing, edition, Match(first, call, None, Met((), dict(call.body))), variables)
        except PlanFailed as failed:
            firing.fail(str(failed))
        carry_out(self, firing, edition)
        self.gather(call, [])
        self.state.waits.quiet.append(call.id)

    # -- matching --------------------------------------------------------------

    def match(self, record: Task) -> None:
        """Law 2: a completed record is matched once; firings and emissions are of this step."""
        state = self.state
        self.match_began = state.last_id
        flow = state.flows[record.flow]
        edition = self.terms.editions[flow.version]
        # As the clauses see them: what fires may save others.
        variables = dict(flow.variables) if flow.variables else {}
        fired: list[str] = []
        is_failure = record.outcome in FAILURES
        taken = is_failure and edition.may_fail(record.type)
        is_awaited = is_joined = is_over = is_unmatched = False
        is_settled = record.settled
        if record.cont is not None and is_settled:
            chain = state.chains.get(record.cont)
            # A chain hears of a done one, what ended otherwise is matched like any; a script hears of all, be it later.
            is_awaited = record.outcome == "done" if chain is not None else record.cont in state.waits.scripts.of
            if chain is not None:
                took, is_over = self.go_on(chain, record, edition, fired)
                taken |= took
        found = () if is_over else edition.index.match(record, variables)
        if record.call is not None and not is_over:
            in_call = self.match_in_call(record, edition, flow, variables, fired)
            taken |= is_failure and in_call.takes_up
            is_joined |= in_call.is_part
            found = () if in_call.is_last else found
        for match in found:
            if type(match.rule) is Listening:
                if not is_settled:
                    continue
                part = take(self, match.rule, self.part_of(record) if self.late else record, edition, False, {}, fired)
                is_joined |= part.is_part
                # Inside a call only its own rules take a failure up.
                taken |= part.takes_up and is_failure and record.call is None
                if part.is_last:
                    break
                continue
            firing = fire(self, match, edition, flow)
            fired.append(match.rule.name)
            taken |= is_failure and record.call is None and _says_failure(match)
            if firing.returns is not None:
                break
        if self.empty:
            self.gather(record, fired)
        is_stray = not (fired or is_awaited or is_joined or record.by_unmatched or record.type == FLOW_ENDED)
        if edition.rules.endings and is_settled:
            self.fire_ending(record, edition, flow, fired)
        if is_stray and is_settled:
            for match in edition.unmatched(record, variables):
                fire(self, match, edition, flow, by_unmatched=True)
                fired.append(match.rule.name)
                is_unmatched = True
                taken |= is_failure and record.call is None
        if self.empty:
            self.gather(record, fired)
        if fired or taken:
            taken |= record.type == RULE_FAILED and bool(fired)
            seen, at = variables if fired else {}, state.holds.number
            self.add(record.flow, f.Matched(record.id, fired, flow.version, taken, seen, is_unmatched, record.call, at))
        if is_failure and not taken and is_settled and record.call is not None and not is_awaited:
            self.fail_fast(record.call)

    def part_of(self, record: Task) -> Task:
        """The record as a part of joins: one that was held counts from its release."""
        return replace(record, completed=self.terms.time) if record.id in self.late else record

    def fire_ending(self, record: Task, edition: Edition, flow: Flow, fired: list[str]) -> None:
        """`finally` of a task or call, however it ended; what was skipped never began."""
        ending = edition.rules.endings.get(record.type)
        if ending is not None and not _is_skipped(record):
            fire(self, Match(ending, record, None, Met((), {**record.body, **(record.result or {})})), edition, flow)
            fired.append(ending.name)

    def match_in_call(
        self, record: Task, edition: Edition, flow: Flow, variables: dict[str, Json], fired: list[str]
    ) -> Taking:
        """The rules of its own procedure. Whether they take a failure up, and whether the search is over."""
        frame = self.state.waits.frames.get(record.call or "")
        if frame is None:
            return Taking()
        is_part = taken = False
        for match in match_within(edition.within.get(frame.type, ()), record, variables, frame.body):
            if type(match.rule) is Listening:
                if not record.settled:
                    continue
                part = take(
                    self, match.rule, self.part_of(record) if self.late else record, edition, True, frame.body, fired
                )
                is_part |= part.is_part
                taken |= part.takes_up
                if part.is_last:
                    return Taking(is_part, taken, True)
                continue
            firing = fire(self, match, edition, flow, names=frame.body)
            fired.append(match.rule.name)
            taken |= _says_failure(match)
            if match.rule.final or firing.returns is not None:
                return Taking(is_part, taken, True)
        return Taking(is_part, taken)

    def gather(self, record: Task, fired: list[str]) -> None:
        """Fills the sets of which a `for` emitted none; what fires by that on this record is noted."""
        while self.empty:
            firing = self.empty.pop(0)
            edition = self.terms.editions[self.state.flows[firing.record.flow].version]
            gather_empty(self, firing, edition, fired if firing.record.id == record.id else [])

    def fail_fast(self, id: str) -> None:
        """A failure in a call that nothing took up: where the call says so, what else lives in it is cancelled."""
        call = self.state.task(id)
        if call is not None and call.policy is not None and call.policy.fail_fast:
            end_within(self, call, self.match_began)

    def go_on(self, chain: Chain, record: Task, edition: Edition, fired: list[str]) -> tuple[bool, bool]:
        """A member of a chain ended. Whether its `else` took a failure up, and whether what follows returned."""
        if record.outcome == "done":
            if chain.waiting:
                return False, False
            self.add(record.flow, f.Dropped(chain.id))
            if not chain.rule:  # Python may wait for the failure only.
                return False, False
            return False, self.continue_chain(chain, record, edition, chain.rule, chain.step, fired)
        self.add(record.flow, f.Dropped(chain.id))
        if record.outcome not in FAILURES:
            return False, False
        if chain.otherwise is not None:
            return True, self.continue_chain(chain, record, edition, chain.otherwise, 0, fired)
        rule = edition.rule(chain.rule)
        consequence = rule.consequence if rule is not None else None
        if consequence is None or consequence.otherwise is None or chain.step != len(consequence.steps) - 1:
            return False, False
        return True, self.continue_chain(chain, record, edition, chain.rule, -1, fired)

    def continue_chain(
        self, chain: Chain, record: Task, edition: Edition, address: str, step: int, fired: list[str]
    ) -> bool:
        """Runs the step of a chain: k > 0 declarative, -1 its `else`, 0 a Python continuation. Whether it returned."""
        name = address if step == 0 else f"{address}/{step}" if step > 0 else f"{address}/{chain.step}/else"
        firing = Firing(
            record, name, chain.call, chain.by_unmatched, records=dict(chain.records), values=chain.values,
            emissions_max=self.terms.guards.emissions,
        )  # fmt: skip
        variables = self.state.flows[record.flow].variables
        try:
            if step == 0:
                plan_continuation(firing, edition, address)
            else:
                plan_step(firing, edition, address, step, variables)
        except PlanFailed as failed:
            firing.fail(str(failed))
        fired.append(name)
        carry_out(self, firing, edition)
        return firing.returns is not None

    # -- ends and starts ---------------------------------------------------------

    def finish_flows(self) -> None:
        """Flows of which nothing is live any more end; `flow.ended` is announced where a rule listens."""
        pages = self.pages
        for id in (pages[0].flow,) if len(pages) == 1 else dict.fromkeys([page.flow for page in pages]):
            if not id:
                continue
            try:
                flow = self.state.flows[id]  # By `get` it would take four times as long.
            except KeyError:
                continue  # It is over.
            if flow.live > 0:
                if flow.held is not None or flow.stopped + flow.calls >= flow.live or self.state.stuck_in:
                    self.tell_held(flow)
                continue
            outcome: Outcome = flow.bent or ("failed" if flow.untaken else "done")
            version, is_stubbed = flow.version, flow.is_stubbed
            edition = self.terms.editions[version]
            unfilled = None if outcome == "cancelled" else left_unfilled(self.state, id, edition)
            self.add(id, f.FlowEnded(outcome, flow.text, unfilled))
            self.orders.append(Over(flow))
            if self.state.waits.timers:
                for timer in [one.name for one in self.state.waits.timers.values() if one.flow == id]:
                    flow_ended(self, id, timer)
            if flow.type != FLOW_ENDED and edition.announces_ends and not is_stubbed:
                fresh = self.new_id()
                body: Body = {"flow": id, "type": flow.type, "outcome": outcome, "text": flow.text}
                task = edition.new_task(FLOW_ENDED, body, fresh, fresh, self.terms.time, is_posted=True)
                self.add(fresh, f.Posted(task, None, version))

    def tell_held(self, flow: Flow) -> None:
        """Tells when nothing of a flow can move any more without a person."""
        if flow.held is None and flow.stopped + flow.calls < flow.live and flow.id not in self.state.stuck_in:
            return
        still = standing(self.state, flow)
        if still is not None:
            self.orders.append(still)


def _is_skipped(record: Task) -> bool:
    return record.outcome == "cancelled" and (record.error or {}).get("kind") == "skipped"


def _says_failure(match: Match) -> bool:
    """Whether the rule's pattern says `failed` or `timed out`; `finished` takes nothing up."""
    outcomes = match.rule.pattern.outcomes
    return outcomes != FINISHED and not outcomes.isdisjoint(FAILURES)
