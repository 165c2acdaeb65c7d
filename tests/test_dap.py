"""The Debug Adapter Protocol: requests answered, and events in the order that clients rely on."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import then
from tests.dap_client import PATIENCE_S, Adapter, DapClient, Refused, adapter
from then.core.errors import ConfigError
from then.dap.conversation import converse
from then.dap.desk import Desk
from then.dap.link import Link
from then.dap.serving import converse_in_time
from then.dap.values import Values
from then.dap.wire import framed

SHOP = """\
event order(id: int, total: int)
task price(id: int, total: int) -> (net: int)
  run process ["sh", "-c", r'printf "{\\"net\\": %d}" $(($0 * 2)) > "$THEN_RESULT"', total]
task charge(id: int, amount: int)
  run process ["true"]

procedure tax(id: int, total: int) -> (amount: int)
  first price(id: id, total: total)
  when price done as p then return (amount: p.net)
end

rule placed
  when order as o
  then call tax(id: o.id, total: o.total) as t
  then save billed: t.amount, charge(id: o.id, amount: t.amount)

rule paid
  when charge done as c
  then save paid: c.amount
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Adapter]:
    with adapter(tmp_path) as found:
        yield found


@pytest.fixture
def shop(tmp_path: Path) -> str:
    path = tmp_path / "shop.then"
    path.write_text(SHOP)
    return str(path)


def launched(desk: Adapter, shop: str, **given: Any) -> DapClient:
    client = desk.connect()
    client.begin(path=shop, type="order", body={"id": 7, "total": 450}, **given)
    return client


def test_a_flow_is_launched_stopped_at_a_line_looked_at_and_let_go_on(desk: Adapter, shop: str) -> None:
    client = desk.connect()
    client.begin(lines={shop: [{"line": 18}]}, path=shop, type="order", body={"id": 7, "total": 450})
    stopped = client.event("stopped")
    assert stopped["reason"] == "breakpoint"
    assert stopped["hitBreakpointIds"] == [1]
    assert stopped["text"].startswith("hit 1: on rule paid, "), "a name that the client never gave is not told"
    (thread,) = client.request("threads")["threads"]
    assert thread["id"] == stopped["threadId"]
    frame = client.top(thread["id"])
    assert frame["line"] == 17
    assert frame["source"]["path"] == shop
    assert client.scope(frame["id"], "Body")["amount"]["value"] == "900"
    assert client.scope(frame["id"], "Flow variables")["billed"]["value"] == "900"
    assert client.scope(frame["id"], "What would follow")["1"]["value"] == "paid would fire", "without quotes"
    assert client.request("continue", threadId=thread["id"]) == {"allThreadsContinued": False}
    assert client.event("exited") == {"exitCode": 0}
    client.event("terminated")
    client.request("disconnect")
    client.end()
    assert client.order().count("*terminated") == 1
    assert desk.ended() == [0]


def test_what_is_unknown_is_refused_and_the_session_goes_on(desk: Adapter, shop: str) -> None:
    client = launched(desk, shop, stopOnEntry=True)
    assert client.event("stopped")["reason"] == "entry"
    with pytest.raises(Refused, match='request "readMemory" is not answered here'):
        client.request("readMemory")
    with pytest.raises(Refused, match="thread 99 is no flow"):
        client.request("stackTrace", threadId=99)
    assert len(client.request("threads")["threads"]) == 1


# -- stops ---------------------------------------------------------------------------------------


def test_a_breakpoint_at_the_first_record_stops_it_where_entry_was_not_asked_for(desk: Adapter, shop: str) -> None:
    client = desk.connect()
    client.begin(lines={shop: [{"line": 13}]}, path=shop, post="order", body={"id": 7, "total": 450})
    stopped = client.event("stopped")
    assert (stopped["reason"], stopped["hitBreakpointIds"]) == ("breakpoint", [1])
    assert client.top(stopped["threadId"])["line"] == 12


def test_nothing_is_set_and_nothing_stops_where_no_debugging_is_asked_for(desk: Adapter, shop: str) -> None:
    client = desk.connect()
    client.begin(lines={shop: [{"line": 13}]}, path=shop, post="order", body={"id": 7, "total": 450}, noDebug=True)
    client.event("terminated")
    assert "*stopped" not in client.order()


def test_breakpoints_that_stay_keep_their_number(desk: Adapter, shop: str) -> None:
    client = launched(desk, shop, stopOnEntry=True)
    client.event("stopped")

    def put(*lines: int) -> list[tuple[int, int]]:
        points = [{"line": line} for line in lines]
        rows = client.request("setBreakpoints", source={"path": shop}, breakpoints=points)["breakpoints"]
        return [(row["id"], row["line"]) for row in rows]

    assert put(12, 17) == [(1, 12), (2, 17)]
    assert put(17) == [(2, 17)]
    assert put(12, 17) == [(3, 12), (2, 17)]
    (row,) = client.request("setBreakpoints", source={"path": shop}, breakpoints=[{"line": 99}])["breakpoints"]
    assert (row["verified"], row["line"]) == (False, 99)
    assert row["message"].endswith("shop.then:99: no rule stands there")


@pytest.mark.parametrize(
    ("point", "says"),
    [
        ({"line": 17, "hitCondition": "%10"}, 'hits "%10": write 5 for the fifth alone'),
        ({"line": 17, "condition": "amount >"}, "amount >: column 9: the text ends; here must stand a value"),
        ({"line": 17, "condition": "(amount > 1))"}, '(amount > 1)): column 14: found ")"'),
        ({"line": 17, "condition": "weight > 3"}, 'weight > 3: column 1: unknown field of charge "weight"'),
        ({"line": 17, "condition": "x" * 9000}, f"{'x' * 200}…: column 1: unknown field"),
        ({"line": 17, "logMessage": "at {amount"}, 'at {amount: column 4: this "{" is not closed'),
        ({"line": 17, "logMessage": "at {weight}"}, 'at {weight}: column 5: unknown field of charge "weight"'),
        ({"line": 0}, "shop.then:0: no rule stands there"),
    ],
)
def test_what_is_wrong_with_a_breakpoint_is_said_and_it_is_not_verified(
    desk: Adapter, shop: str, point: dict[str, Any], says: str
) -> None:
    client = launched(desk, shop, stopOnEntry=True)
    client.event("stopped")
    (row,) = client.request("setBreakpoints", source={"path": shop}, breakpoints=[point])["breakpoints"]
    assert not row["verified"]
    assert says in row["message"]


# -- several clients, engines that run, and those that do not --------------------------------------


@pytest.fixture
def held(desk: Adapter, shop: str) -> Iterator[tuple[then.Engine, then.Flow]]:
    """An engine that runs in the state folder, and a flow of it held at its first record."""
    with then.Engine(then.Rules().load(shop), desk.folder / ".then") as engine:
        engine.breakpoints.add("entry", "after order once")
        yield engine, engine.post("order", id=7, total=450)


def attached(desk: Adapter, **given: Any) -> tuple[DapClient, int]:
    client = desk.connect()
    client.begin("attach", **given)
    thread: int = client.event("stopped")["threadId"]
    return client, thread


def test_of_two_that_let_a_flow_go_on_one_does_and_the_other_is_told(desk: Adapter, held: Any) -> None:
    _, flow = held
    (one, thread), (other, thread_) = attached(desk, flow=flow.id), attached(desk, flow=flow.id)
    # Neither is answered before both have asked: what they see is the same, the engine decides.
    asked = [(one, one.send("continue", threadId=thread)), (other, other.send("continue", threadId=thread_))]
    refused = []
    for client, seq in asked:
        try:
            client.answer(seq)
        except Refused as error:
            refused.append(str(error))
    assert len(refused) <= 1, "the second may have seen already that the flow went on, and been stopped no more"
    assert flow.wait(60).outcome == "done"
    one.event("terminated")
    other.event("terminated")
    assert [task.type for task in flow.tasks] == ["order", "tax", "price", "charge"]


def test_who_did_not_let_it_go_on_hears_that_it_goes_on_and_cannot_again(desk: Adapter, held: Any) -> None:
    engine, flow = held
    engine.breakpoints.add("later", "after charge")
    (one, thread), (other, thread_) = attached(desk, flow=flow.id), attached(desk, flow=flow.id)
    one.request("continue", threadId=thread)
    other.event("continued", threadId=thread_)
    one.event("stopped")
    other.event("stopped")
    engine.release(flow)
    one.event("terminated")
    with pytest.raises(Refused, match=r"no flow that is followed|not stopped|not held any more"):
        one.request("continue", threadId=thread)


def test_leaving_takes_the_breakpoints_of_a_client_and_lets_what_is_held_be(
    desk: Adapter, held: Any, shop: str
) -> None:
    engine, flow = held
    client, _ = attached(desk, flow=flow.id)
    client.request("setBreakpoints", source={"path": shop}, breakpoints=[{"line": 17}])
    client.request("setExceptionBreakpoints", filters=["failed", "unhandled"])
    assert len(engine.breakpoints.list()) == 4
    client.request("disconnect")
    client.end()
    assert desk.ended() == [0]
    assert [point.name for point in engine.breakpoints] == ["entry"]
    assert flow.state == "held"


def test_a_client_that_is_gone_without_a_word_leaves_no_breakpoint(desk: Adapter, held: Any, shop: str) -> None:
    engine, flow = held
    client, _ = attached(desk, flow=flow.id)
    client.request("setBreakpoints", source={"path": shop}, breakpoints=[{"line": 17}])
    client.link.shutdown(2)
    assert desk.ended() == [0]
    assert [point.name for point in engine.breakpoints] == ["entry"]
    assert flow.state == "held"


def test_all_open_flows_are_threads_and_others_that_are_held_come_to_them(desk: Adapter, held: Any) -> None:
    engine, flow = held
    client = desk.connect()
    client.begin("attach")
    first = client.event("stopped")
    assert [one["name"] for one in client.request("threads")["threads"]] == [f"{flow.id} (order)"]
    client.request("setFunctionBreakpoints", breakpoints=[{"name": "order"}])
    other = engine.post("order", id=8, total=1)
    second = client.event("stopped")
    assert second["threadId"] != first["threadId"]
    names = [one["name"] for one in client.request("threads")["threads"]]
    assert names == [f"{flow.id} (order)", f"{other.id} (order)"]


def test_where_no_engine_runs_it_is_said_what_would_look(desk: Adapter, shop: str) -> None:
    with then.Engine(then.Rules().load(shop), desk.folder / ".then"):
        pass
    client = desk.connect()
    client.request("initialize")
    with pytest.raises(Refused, match=r"no engine runs in .*post-mortem"):
        client.request("attach")


def test_a_flow_that_ended_is_looked_at_and_not_changed(desk: Adapter, shop: str) -> None:
    with then.Engine(then.Rules().load(shop), desk.folder / ".then") as engine:
        flow = engine.run("order", id=7, total=450)
    client, thread = attached(desk, flow=flow.id, readOnly=True)
    assert client.top(thread)["name"].startswith("charge")
    client.request("stepBack", threadId=thread)
    assert "(past)" in client.event("stopped")["text"]
    client.request("continue", threadId=thread)
    client.event("stopped")
    with pytest.raises(Refused, match="only looked at"):
        client.request("continue", threadId=thread)


def test_a_flow_of_a_shared_engine_that_is_only_looked_at_is_not_changed(desk: Adapter, shop: str) -> None:
    owner = launched(desk, shop, stopOnEntry=True)
    owner.event("stopped")
    engine = desk.served.engine
    assert engine is not None
    (flow,) = engine.loop.look(lambda state: list(state.flows))
    client, _ = attached(desk, flow=flow, readOnly=True)
    for line in ("break charge", "continue", "fork", "drop"):
        with pytest.raises(Refused, match="nothing is changed"):
            client.request("evaluate", expression=line, context="repl")
    client.request("terminate")
    client.event("terminated")
    assert engine.flow(flow).state == "held"
    assert list(engine.breakpoints) == []


def test_an_engine_that_is_shared_stays_so_when_another_client_leaves_its_own(desk: Adapter, shop: str) -> None:
    first, second = launched(desk, shop, stopOnEntry=True), launched(desk, shop, stopOnEntry=True)
    engine = desk.served.engine
    assert engine is not None
    first.request("disconnect")
    first.end()
    assert desk.served.engine is engine
    second.request("disconnect")
    second.end()
    assert desk.served.engine is None


@pytest.mark.parametrize(("given", "logged"), [({}, "it gave no token"), ({"token": "guess"}, "wrong token")])
def test_who_does_not_know_the_token_is_refused_logged_and_cut_off(
    desk: Adapter, shop: str, given: dict[str, str], logged: str
) -> None:
    client = desk.connect(token="right")
    client.request("initialize")
    with pytest.raises(Refused, match="the token is missing or wrong"):
        client.request("launch", path=shop, **given)
    client.end()
    assert desk.log == [f"a client was refused: {logged}"]
    client = desk.connect(token="right")
    client.begin(path=shop, post="order", body={"id": 7, "total": 1}, token="right")
    client.event("terminated")


def test_nothing_that_came_with_a_wrong_token_is_answered_after_it(desk: Adapter, shop: str) -> None:
    client = desk.connect(token="right")
    many = [{"seq": 1, "type": "request", "command": "launch", "arguments": {"path": shop, "token": "guess"}}]
    many += [{"seq": 2, "type": "request", "command": "launch", "arguments": {"path": shop, "token": "right"}}]
    client.link.sendall(b"".join(framed(one) for one in many))
    client.end()
    assert client.order() == ["launch"]
    assert desk.served.engine is None


def test_who_gives_no_token_in_time_is_cut_off(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    log: list[str] = []
    with ours:
        link = Link(theirs.fileno(), theirs.fileno(), theirs.close)
        converse_in_time(link, Desk(tmp_path, link.hang_up, log.append, token="right"), "ann", latest_s=0.0)
        assert ours.recv(1) == b""
    assert log == ["a client was cut off: no launch or attach came in 0 s"]


def test_a_fault_of_what_follows_an_answer_is_told_and_ends_the_session_in_order(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    log: list[str] = []
    with ours:
        link = Link(theirs.fileno(), theirs.fileno(), theirs.close)
        desk = Desk(tmp_path, link.hang_up, log.append)
        nothing: list[None] = []
        desk.begin = nothing.pop
        thread = threading.Thread(target=converse, args=(link, desk, "ann"), daemon=True)
        thread.start()
        client = DapClient(ours)
        client.request("configurationDone")
        assert "configurationDone: IndexError" in client.event("output")["output"]
        client.event("terminated")
        client.request("disconnect")
        client.end()
        thread.join(PATIENCE_S)
    assert "a fault of andthen" in log[0]


# -- values ------------------------------------------------------------------------------------------


def test_values_are_unfolded_a_page_at_a_time_and_long_ones_cut() -> None:
    values = Values()
    told = values.body({"items": list(range(5000)), "text": "x" * 5000, "none": None, "many": {}}, 1, "body")
    assert told["value"] == "{4 fields}"
    items, text, none, many = values.page(told["variablesReference"])
    assert (items["value"], items["indexedVariables"]) == ("[5,000 items]", 5000)
    assert text["value"] == '"' + "x" * 1000 + "…"
    assert (none["value"], many["value"], many["variablesReference"]) == ("null", "{}", 0)
    page = values.page(items["variablesReference"], 4998, 100, "indexed")
    assert [row["evaluateName"] for row in page] == ["body.items[4998]", "body.items[4999]"]
    assert values.page(items["variablesReference"], filter="named") == []
    assert len(values.page(items["variablesReference"])) == 1001, "a page, and that there is more"
    values.forget({1})
    with pytest.raises(ConfigError, match="none any more"):
        values.page(told["variablesReference"])


def test_what_a_fork_in_an_engine_of_its_own_runs_ends_with_the_client(desk: Adapter, tmp_path: Path) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    rules = tmp_path / "long.then"
    rules.write_text(
        'event begin()\ntask work() run process ["sh", "-c", '
        f'"exec 3>{fifo}; echo here >&3; exec sleep 1000"]\nrule go when begin then work()\n'
    )
    client = desk.connect()
    client.begin(path=str(rules), post="begin", stopOnEntry=True)
    client.event("stopped")
    client.request("evaluate", expression="fork real", context="repl")
    client.request("continue", threadId=client.event("stopped")["threadId"])
    assert select.select([reader], [], [], PATIENCE_S)[0]
    assert os.read(reader, 5) == b"here\n"
    client.request("disconnect", terminateDebuggee=False)
    client.end()
    assert desk.ended() == [0]
    assert select.select([reader], [], [], PATIENCE_S)[0], "who writes there is still alive"
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_a_fork_from_the_console_is_a_thread_of_its_own(desk: Adapter, shop: str) -> None:
    client = launched(desk, shop, stopOnEntry=True)
    first = client.event("stopped")["threadId"]
    client.request("evaluate", expression="fork", context="repl")
    second = client.event("stopped")["threadId"]
    assert second != first
    assert len(client.request("threads")["threads"]) == 2
    client.request("continue", threadId=first)
    client.event("thread", reason="exited", threadId=first)
    client.request("disconnect")
    client.end()
    assert desk.ended() == [0]


def test_a_fork_of_a_flow_that_is_not_ours_stands_still_beside_it_and_stays(desk: Adapter, held: Any) -> None:
    engine, flow = held
    client, first = attached(desk)
    client.request("setExceptionBreakpoints", filters=["unhandled"])
    client.request("evaluate", expression="fork", context="repl")
    second = client.event("stopped")["threadId"]
    assert second != first
    (fork,) = engine.loop.look(lambda state: [id for id in state.flows if id != flow.id])
    points = engine.breakpoints.list()
    assert {point.name for point in points} == {"entry", f"unhandled_{flow.id}_1", f"unhandled_{fork}_1"}
    client.request("disconnect", terminateDebuggee=True)
    client.end()
    assert desk.ended() == [0]
    assert [engine.flow(id).outcome for id in (flow.id, fork)] == [None, None]
    assert [point.name for point in engine.breakpoints] == ["entry"]


@pytest.mark.parametrize("line", ["commands entry", "display body"])
def test_what_only_a_terminal_does_at_a_stop_is_refused_in_the_console(desk: Adapter, held: Any, line: str) -> None:
    client, _ = attached(desk, flow=held[1].id)
    with pytest.raises(Refused, match=r"^(commands|display): "):
        client.request("evaluate", expression=line, context="repl")
    assert client.request("evaluate", expression="print body.id", context="repl")["result"].endswith("7")


def test_lines_and_columns_are_counted_as_the_client_counts_them(desk: Adapter, shop: str) -> None:
    client = desk.connect()
    client.request("initialize", linesStartAt1=False, columnsStartAt1=False)
    client.request("launch", path=shop, post="order", body={"id": 7, "total": 450})
    (row,) = client.request("setBreakpoints", source={"path": shop}, breakpoints=[{"line": 17}])["breakpoints"]
    assert row["line"] == 16
    client.request("configurationDone")
    frame = client.top(client.event("stopped")["threadId"])
    assert (frame["line"], frame["column"]) == (16, 5)
    lines = client.request("breakpointLocations", source={"path": shop}, line=0, endLine=17)["breakpoints"]
    assert [one["line"] for one in lines] == [6, 11, 16]
    assert {"label": "print", "start": 0, "length": 2} in client.request("completions", text="pr", column=2)["targets"]


def test_no_breakpoint_is_offered_where_none_may_stand(desk: Adapter, shop: str) -> None:
    client = launched(desk, shop, stopOnEntry=True)
    client.event("stopped")
    source = {"path": shop}
    offered = client.request("breakpointLocations", source=source, line=1, endLine=99)["breakpoints"]
    every = [{"line": line} for line in range(1, 18)]
    rows = client.request("setBreakpoints", source=source, breakpoints=every)["breakpoints"]
    assert [one["line"] for one in offered] == sorted({row["line"] for row in rows if row["verified"]})


def test_a_line_of_a_rule_script_stops_it_at_that_step(desk: Adapter, tmp_path: Path) -> None:
    (tmp_path / "ask.py").write_text("def main(n):\n    total = n + 1\n    wait(run('look', n=total))\n    return {}\n")
    (tmp_path / "ask.then").write_text('task look(n: int)\ntask ask(n: int) run script "ask.py"\n')
    client = desk.connect()
    lines = {str(tmp_path / "ask.py"): [{"line": 3}]}
    client.begin(lines=lines, path=str(tmp_path / "ask.then"), type="andthen", post="ask", body={"n": 1})
    stopped = client.event("stopped")
    assert (stopped["reason"], stopped["hitBreakpointIds"]) == ("breakpoint", [1])
    frame = client.top(stopped["threadId"])
    assert (frame["source"]["path"], frame["line"]) == (str(tmp_path / "ask.py"), 3)
    assert client.scope(frame["id"], "Names")["total"]["value"] == "2"
    assert "would go on with `run look " in client.scope(frame["id"], "What would follow")["1"]["value"]
