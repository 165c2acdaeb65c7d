"""The Debug Adapter Protocol: requests answered, events in the order that clients rely on, and what cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dap_client import Adapter, DapClient, Refused, adapter

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
    (thread,) = client.request("threads")["threads"]
    assert thread["id"] == stopped["threadId"]
    frame = client.top(thread["id"])
    assert frame["line"] == 17
    assert frame["source"]["path"] == shop
    assert client.scope(frame["id"], "Body")["amount"]["value"] == "900"
    assert client.scope(frame["id"], "Flow variables")["billed"]["value"] == "900"
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
