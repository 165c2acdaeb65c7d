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

from collections.abc import Mapping
from typing import Final

import attrs
from msgspec.structs import replace

from then.core import facts as f
from then.core.causes import (
    Adopt,
    Cancel,
    Cause,
    Move,
    Order,
    Over,
    Post,
    Proceed,
    Release,
    Report,
    Retry,
    Start,
    Step,
    Stop,
)
from then.core.edition import FLOW_ENDED, Edition
from then.core.errors import ConfigError
from then.core.facts import Flow
from then.core.firing import Firing, PlanFailed, plan_continuation, plan_rule, plan_step
from then.core.rules import FINISHED, Match
from then.core.standing import cycle, gone, standing
from then.core.state import FAILURES, FOLDS, RULE_FAILED, Chain, PostKey, State, ended, id_text, next_id
from then.core.tasks import Body, Outcome, Task
from then.core.values import equal
from then.core.variables import with_variables

FLOW_RECORDS_MAX: Final = 1_000_000
IDLE_RUN_MAX: Final = 10_000


@attrs.define
class Terms:
    """What a step stands on beside state and cause. The loop keeps one and moves its time on."""

    time: int
    editions: Mapping[str, Edition]
    slots: int
    engine: int = 0
    """The engine's number, 0 to 1023: keeps ids of different engines apart."""
    kinds: frozenset[str] = frozenset()
    """The executors that are here."""
    only: frozenset[str] | None = None
    """The flows of which tasks are started; None: all. An engine that is ending starts nothing more."""
    may_start: bool = True
    """False until an engine that took up a state has asked what still runs of it."""


def step(state: State, cause: Cause, terms: Terms) -> Step:
    """What follows from one cause.

    Raises:
        RuleError: a post that its declaration refuses; nothing has changed.
        ConfigError: a key that stands for another body, a flow or record that is not there.

    Cost: grows with what it emits; not with rules, records or history.
    """
    return _Stepper(state, terms).run(cause)


class _Stepper:
    """One step under way."""

    __slots__ = ("answer", "ended", "match_began", "orders", "page", "pages", "state", "terms")

    def __init__(self, state: State, terms: Terms) -> None:
        self.state = state
        self.terms = terms
        self.pages: list[f.Page] = []
        self.page: f.Page | None = None  # the last of them
        self.orders: list[Order] = []
        self.answer: Task | None = None
        self.ended: list[Task] = []  # completed in this step, to be matched in it
        self.match_began = 0  # the last id before the match under way

    def run(self, cause: Cause) -> Step:
        kind = type(cause)
        if kind is Report:
            self.report(cause)  # type: ignore[arg-type]
        elif kind is Proceed:
            self.proceed()
        else:
            self.other(cause)
        if self.ended:
            self.match_ended()
        state = self.state
        if state.queue or state.free or state.waiting:
            self.grant()
        self.finish_flows()
        return Step(self.pages, self.orders, self.answer)

    def match_ended(self) -> None:
        while self.ended:
            self.match(self.ended.pop(0))

    def other(self, cause: Cause) -> None:
        match cause:
            case Post():
                self.post(cause)
            case Cancel():
                self.cancel(cause)
            case Retry():
                self.retry(cause)
            case Release(id=id):
                self.release(id)
            case Adopt(version=version):
                self.add("", f.InForce(version))
            case Move(flow=flow, version=version):
                if flow in self.state.flows and self.state.flows[flow].version != version:
                    self.add(flow, f.FlowMoved(version))

    def add(self, flow: str, fact: f.Fact) -> None:
        """Decides a fact: writes it on the flow's page and folds it into the state."""
        page = self.page
        if page is None or page.flow != flow:
            page = self.turn_to(flow)
        page.facts.append(fact)
        FOLDS[type(fact)](self.state, fact, flow, self.terms.time)

    def turn_to(self, flow: str) -> f.Page:
        """A new page, for facts of this flow."""
        self.state.begin(flow)
        page = self.page = f.Page(flow, self.terms.time, [])
        self.pages.append(page)
        return page

    def new_id(self) -> str:
        number = next_id(self.state.last_id, self.terms.time, self.terms.engine)
        self.state.last_id = number
        return id_text(number)

    # -- what comes from outside ----------------------------------------------

    def post(self, cause: Post) -> None:
        state, time = self.state, self.terms.time
        known = state.keys.get(cause.key) if cause.key is not None else None
        if cause.flow is None:
            version = state.version
        elif cause.flow in state.flows:
            version = state.flows[cause.flow].version
        elif known is None:
            raise ConfigError(f'no open flow "{cause.flow}"; `andthen flows` lists them')
        else:
            version = state.version
        edition = self.terms.editions[version]
        body = edition.check_body(cause.type, cause.body)
        if known is not None:
            self.answer = self.posted_before(cause, body, known)
            return
        id = self.new_id()
        flow = cause.flow or id
        task = edition.new_task(cause.type, body, id, flow, time, is_posted=True)
        if cause.priority:
            task = replace(task, priority=cause.priority)
        self.answer = task
        self.add(flow, f.Posted(task, cause.key, version if cause.flow is None else None))

    def posted_before(self, cause: Post, body: Body, known: PostKey) -> Task:
        """The record that a key stands for: with its defaults it has to be the same."""
        if known.type != cause.type or not equal(known.body, body):
            raise ConfigError(
                f'key "{cause.key}" stands for another {known.type} (flow {known.flow}) with another body; '
                "the same key posts the same record once"
            )
        return self.state.task(known.id) or Task(known.type, known.body, id=known.id, flow=known.flow)

    def report(self, cause: Report) -> None:
        state = self.state
        task = state.task(cause.id)
        if task is None or task.outcome is not None:
            flow = task.flow if task is not None else cause.flow
            self.add(flow, f.Late(cause.id, cause.outcome, cause.result, cause.error, cause.by))
            return
        outcome, result, error = cause.outcome, cause.result, cause.error
        flow_ = state.flows[task.flow]
        if outcome == "done":
            wrong = self.terms.editions[flow_.version].check_result(task.type, result)
            if wrong is not None:
                outcome, error = "failed", {"kind": "result", "message": wrong}
        self.complete(task, outcome, result, error, cause.started, cause.completed)

    def complete(
        self, task: Task, outcome: Outcome, result: Body | None, error: Body | None, started: int | None, at: int
    ) -> None:
        """Ends a record; it is matched later in this step, unless its flow is held."""
        held = self.state.flows[task.flow].held
        if held is None and (task.cont is not None or started is None):
            held = self.hold_reason(task, outcome, is_idle=started is None)
        fact = f.Completed(task.id, outcome, result, error, started, at, True, held)
        self.add(task.flow, fact)
        if held is None:
            self.ended.append(ended(task, fact))

    def hold_reason(self, task: Task, outcome: Outcome, *, is_idle: bool) -> str | None:
        """Why a record is held before its match, if it is: by a guard, or as its continuation is gone. Holds the flow."""
        flow = self.state.flows[task.flow]
        if flow.held is not None:
            return flow.held
        lost = self.lost_continuation(task, outcome) if task.cont is not None else None
        if is_idle and flow.idle_run >= IDLE_RUN_MAX:
            self.add(task.flow, f.FlowHeld(cycle(flow, IDLE_RUN_MAX)))
        elif lost is not None:
            self.add(task.flow, f.FlowHeld(gone(lost)))
        return flow.held

    def lost_continuation(self, task: Task, outcome: Outcome) -> str | None:
        """The name of what this ending would continue with, where that is not there."""
        chain = self.state.chains.get(task.cont or "")
        if chain is None:
            return None
        address, step = chain.rule, chain.step
        if outcome in FAILURES:
            address, step = chain.otherwise or "", 0
        elif outcome != "done" or any(id != task.id for id in chain.waiting):
            return None
        rules = self.terms.editions[self.state.flows[task.flow].version].rules
        if not address:
            return None
        if step == 0:
            return None if address in rules.continuations else address
        rule = rules.rule(address)
        if rule is not None and rule.consequence is not None and step < len(rule.consequence.steps):
            return None
        return f"{address}/{step}"

    def cancel(self, cause: Cancel) -> None:
        ids = cause.ids
        if cause.flow is not None:
            flow = self.state.flows.get(cause.flow)
            if flow is None:
                return
            if flow.held is not None:
                self.add(flow.id, f.FlowReleased())
            self.bend(flow, "cancelled", None, self.state.last_id)
            return
        for id in ids:
            task = self.state.task(id)
            if task is not None:
                self.end_live(task)

    def bend(self, flow: Flow, outcome: Outcome, text: str | None, upto: int) -> None:
        """Gives a flow its outcome and ends what lives of it: all with ids up to a number."""
        newest = id_text(upto)
        self.add(flow.id, f.FlowBent(outcome, text))
        for id in [id for id in flow.waits if id <= newest]:
            self.add(flow.id, f.Dropped(id))
        for task in [task for task in self.state.live(flow.id) if task.id <= newest]:
            self.end_live(task)

    def end_live(self, task: Task) -> None:
        """Cancels one live record: at once where nothing runs, else by an order to stop."""
        if task.outcome is not None:
            # Completed and held, or an event before its match: let go to no rule.
            self.add(task.flow, f.Taken(task.id))
        elif task.id in self.state.running or (task.started is not None and self.runs_here(task)):
            if task.id not in self.state.stopping:
                self.add(task.flow, f.Stopping(task.id))
                self.orders.append(Stop(task))
        else:
            self.complete(task, "cancelled", None, {"kind": "cancelled"}, task.started, self.terms.time)

    def runs_here(self, task: Task) -> bool:
        edition = self.terms.editions[self.state.flows[task.flow].version]
        return edition.kind_of(task.type) is not None

    def retry(self, cause: Retry) -> None:
        """A new attempt. Answers nothing, and changes nothing, where others were quicker than the reading it stands on."""
        task, state, chain = cause.task, self.state, cause.chain
        flow = state.flows.get(task.flow)
        if flow is None and cause.past is None:
            return
        if chain is not None and any(lives and state.task(id) is None for id, lives in chain.waiting.items()):
            return
        if flow is None:
            assert cause.past is not None
            self.add(task.flow, f.FlowReopened(cause.past))
        self.add(task.flow, f.TakenUp(task.id))
        id = self.new_id()
        cont = self.rejoin(task, chain, id) if chain is not None else None
        edition = self.terms.editions[state.flows[task.flow].version]
        fresh = edition.new_task(task.type, task.body, id, task.flow, self.terms.time)
        fresh = replace(
            fresh, parent=task.parent, rule=task.rule, call=task.call, cont=cont, attempt=task.attempt + 1,
            origin=task.key, by_unmatched=task.by_unmatched, priority=task.priority,
        )  # fmt: skip
        self.answer = fresh
        self.add(task.flow, f.Emitted(fresh))

    def rejoin(self, task: Task, chain: Chain, id: str) -> str | None:
        """The new attempt takes the place of the failed one in its chain, which keeps its id: siblings know it by that."""
        chain = self.state.chains.get(chain.id) or chain
        if task.id not in chain.waiting:
            return None  # Another attempt has its place.
        members = [id if of == task.id else of for of in chain.waiting]
        aliases = {alias: id if of == task.id else of for alias, of in chain.aliases.items()}
        self.add(
            task.flow,
            f.Waited(
                chain.id, chain.rule, chain.step, members, aliases, chain.records, chain.values, chain.call,
                chain.by_unmatched, chain.otherwise,
            ),
        )  # fmt: skip
        return chain.id

    def release(self, id: str) -> None:
        state = self.state
        flow = state.flows.get(id)
        if flow is not None and flow.held is not None:
            self.add(id, f.FlowReleased())
            for task in list(state.live(id)):
                if state.flows[id].held is not None:
                    return  # Held anew; the rest stays as it is.
                if task.is_held:
                    self.let_go(task)
                elif task.id not in state.running:
                    state.enqueue(task)
            return
        held = state.task(id)
        if held is None or not held.is_held:
            raise ConfigError(f'"{id}" is not held; `andthen ps` shows what is')
        self.let_go(held)

    def let_go(self, task: Task) -> None:
        if task.outcome is None or task.event:
            self.add(task.flow, f.Released(task.id))
        elif (lost := self.lost_continuation(task, task.outcome)) is not None:
            self.add(task.flow, f.FlowHeld(gone(lost)))
        else:
            self.add(task.flow, f.Taken(task.id))
            self.match(replace(task, is_held=False))

    def proceed(self) -> None:
        state = self.state
        if not state.pending:
            return
        task = state.task(next(iter(state.pending)))
        assert task is not None
        held = self.hold_reason(task, task.outcome or "done", is_idle=True)
        if held is not None:
            self.add(task.flow, f.Held(task.id, held))
            return
        self.add(task.flow, f.Taken(task.id))
        self.match(task)

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
        is_awaited = False
        if record.cont is not None:
            chain = state.chains.get(record.cont)
            if chain is not None:
                # Who waits for it hears of a done one; what ended otherwise is matched like any.
                is_awaited = record.outcome == "done"
                taken |= self.go_on(chain, record, edition, fired)
        for match in edition.index.match(record, variables):
            self.fire(match, edition, flow)
            fired.append(match.rule.name)
            taken |= is_failure and _says_failure(match)
        is_unmatched = False
        if not fired and not is_awaited and not record.by_unmatched and record.type != FLOW_ENDED:
            for match in edition.unmatched(record, variables):
                self.fire(match, edition, flow, by_unmatched=True)
                fired.append(match.rule.name)
                is_unmatched = True
                taken |= is_failure
        if fired or taken:
            taken |= record.type == RULE_FAILED and bool(fired)
            seen = variables if fired else {}
            self.add(record.flow, f.Matched(record.id, fired, flow.version, taken, seen, is_unmatched))

    def go_on(self, chain: Chain, record: Task, edition: Edition, fired: list[str]) -> bool:
        """A member of a chain ended. Returns whether its `else` took a failure up."""
        if record.outcome == "done":
            if chain.waiting:
                return False
            self.add(record.flow, f.Dropped(chain.id))
            if chain.rule:  # Python may wait for the failure only.
                self.continue_chain(chain, record, edition, chain.rule, chain.step, fired)
            return False
        self.add(record.flow, f.Dropped(chain.id))
        if record.outcome not in FAILURES:
            return False
        if chain.otherwise is not None:
            self.continue_chain(chain, record, edition, chain.otherwise, 0, fired)
            return True
        rule = edition.rules.rule(chain.rule)
        consequence = rule.consequence if rule is not None else None
        if consequence is None or consequence.otherwise is None or chain.step != len(consequence.steps) - 1:
            return False
        self.continue_chain(chain, record, edition, chain.rule, -1, fired)
        return True

    def continue_chain(
        self, chain: Chain, record: Task, edition: Edition, address: str, step: int, fired: list[str]
    ) -> None:
        """Runs the step of a chain: k > 0 declarative, -1 its `else`, 0 a Python continuation."""
        name = address if step == 0 else f"{address}/{step}" if step > 0 else f"{address}/{chain.step}/else"
        firing = Firing(record, name, chain.call, chain.by_unmatched, records=dict(chain.records), values=chain.values)
        variables = self.state.flows[record.flow].variables
        try:
            if step == 0:
                plan_continuation(firing, edition, address)
            else:
                plan_step(firing, edition, address, step, variables)
        except PlanFailed as failed:
            firing.fail(str(failed))
        fired.append(name)
        self.carry_out(firing, edition)

    def fire(self, match: Match, edition: Edition, flow: Flow, by_unmatched: bool = False) -> None:
        """One rule on one record: plans all it emits, then writes it. A rule that fails emits `rule.failed`."""
        record = match.record
        firing = Firing(record, match.rule.name, record.call, by_unmatched or record.by_unmatched)
        try:
            plan_rule(firing, edition, match, flow.variables)
        except PlanFailed as failed:
            firing.fail(str(failed))
        self.carry_out(firing, edition)

    def carry_out(self, firing: Firing, edition: Edition) -> None:
        """Writes what a firing planned: saves, ends, emissions, and the wait for its next step."""
        record, time = firing.record, self.terms.time
        flow = record.flow
        emissions, next_step = firing.emissions, firing.next_step
        for name, value in firing.saves:
            self.add(flow, f.Saved(name, value))
        if firing.bend is not None:
            outcome, text = firing.bend
            # What the same match emitted before is not touched.
            self.bend(self.state.flows[flow], outcome, text, self.match_began)
        records = self.state.flows[flow].records
        if (records + len(emissions)) // FLOW_RECORDS_MAX > records // FLOW_RECORDS_MAX:
            self.add(flow, f.FlowHeld(f"{FLOW_RECORDS_MAX} records in one flow; rule {firing.rule} emits more"))
        if not emissions:
            return
        members: list[str] = []
        aliases: dict[str, str] = {}
        shared = self.new_id() if next_step is not None else None
        for planned in emissions:
            id = self.new_id()
            cont = shared
            if planned.then is not None or planned.otherwise is not None:
                cont = self.new_id()
                self.add(
                    flow,
                    f.Waited(
                        cont, planned.then or "", 0, [id], {}, {}, planned.bind, firing.call,
                        firing.by_unmatched, planned.otherwise,
                    ),
                )  # fmt: skip
            task = edition.new_task(
                planned.type, planned.body, id, flow, time, record.id, firing.rule, firing.call, cont,
                firing.by_unmatched,
            )  # fmt: skip
            self.add(flow, f.Emitted(task))
            if shared is not None:
                members.append(id)
                if planned.alias is not None:
                    aliases[planned.alias] = id
        if shared is not None and next_step is not None:
            rule, step_ = next_step
            self.add(
                flow,
                f.Waited(
                    shared, rule, step_, members, aliases, firing.records, firing.values, firing.call,
                    firing.by_unmatched,
                ),
            )  # fmt: skip

    # -- ends and starts ---------------------------------------------------------

    def finish_flows(self) -> None:
        """Flows of which nothing is live any more end; `flow.ended` is announced where a rule listens."""
        pages = self.pages
        for id in (pages[0].flow,) if len(pages) == 1 else dict.fromkeys([page.flow for page in pages]):
            flow = self.state.flows.get(id)
            if flow is None:
                continue
            if flow.live > 0:
                if flow.held is not None or flow.stopped >= flow.live or self.state.stuck_in:
                    self.tell_held(flow)
                continue
            outcome: Outcome = flow.bent or ("failed" if flow.untaken else "done")
            version = flow.version
            self.add(id, f.FlowEnded(outcome, flow.text))
            self.orders.append(Over(flow))
            edition = self.terms.editions[version]
            if flow.type != FLOW_ENDED and edition.announces_ends:
                fresh = self.new_id()
                body: Body = {"flow": id, "type": flow.type, "outcome": outcome, "text": flow.text}
                task = edition.new_task(FLOW_ENDED, body, fresh, fresh, self.terms.time, is_posted=True)
                self.add(fresh, f.Posted(task, None, version))

    def tell_held(self, flow: Flow) -> None:
        """Tells when nothing of a flow can move any more without a person."""
        if flow.held is None and flow.stopped < flow.live and flow.id not in self.state.stuck_in:
            return
        still = standing(self.state, flow)
        if still is not None:
            self.orders.append(still)

    def grant(self) -> None:
        """Gives free slots to waiting tasks."""
        state, terms = self.state, self.terms
        if not terms.may_start:
            return
        stuck: dict[str, Flow] = {}
        running, slots = state.running, terms.slots
        while (id := state.next_waiting(slots)) is not None:
            task = state.task(id)
            if task is None or task.outcome is not None or task.is_held or id in running or id in state.stopping:
                continue
            flow = state.flows[task.flow]
            if flow.held is not None:
                continue  # queued again at the release
            if terms.only is not None and flow.id not in terms.only:
                continue  # queued again at the next start
            edition = terms.editions[flow.version]
            runner = edition.runners.get(task.type)
            if runner is None or runner.kind not in terms.kinds:
                state.stuck[id] = runner.kind if runner is not None else task.type
                state.stuck_in.setdefault(flow.id, {})[id] = True
                stuck[flow.id] = flow
                continue
            body, missing = with_variables(task.body, flow.variables)
            if missing is not None:
                message = f'flow variable "{missing}" was never saved'
                self.complete(task, "failed", None, {"kind": "load", "message": message}, None, terms.time)
                self.match_ended()
                continue
            is_filled = body is not task.body
            if is_filled:
                self.add(task.flow, f.Loaded(id, body))
            declared = runner.declared
            running[id] = declared.slots
            state.slots_used += declared.slots
            waits = is_filled or declared.once
            if declared.once:
                self.add(task.flow, f.Started(id))
            if waits:
                task = state.task(id) or task
            self.orders.append(Start(task, runner.kind, edition, waits))
            if state.slots_used >= slots and not state.free:
                break
        for flow in stuck.values():
            self.tell_held(flow)


def _says_failure(match: Match) -> bool:
    """Whether the rule's pattern says `failed` or `timed out`; `finished` takes nothing up."""
    outcomes = match.rule.pattern.outcomes
    return outcomes != FINISHED and not outcomes.isdisjoint(FAILURES)
