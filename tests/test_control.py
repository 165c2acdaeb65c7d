"""The socket of a running engine: who may ask, what is answered, and what a client may do to it."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import then
from then.app.client import SOCKET, Client, Refused, connect
from then.app.commands import OPS, Commands
from then.app.control import CONNECTIONS_MAX
from then.app.desk import tell
from then.core.errors import ConfigError, JournalError

RULES = """
event go(n: int)
task ask(text: str) -> (answer: str)
rule start when go as g then ask(text: "n is {g.n}")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def engine(folder: Path, tmp_path: Path) -> Iterator[then.Engine]:
    (tmp_path / "rules.then").write_text(RULES)
    with then.Engine(then.Rules().load(tmp_path / "rules.then"), folder) as engine:
        yield engine


@pytest.fixture
def client(engine: then.Engine, folder: Path) -> Iterator[Client]:
    found = connect(folder)
    assert found is not None
    with found:
        yield found


def _raw(folder: Path, *lines: bytes) -> list[dict[str, Any]]:
    """What is answered to lines as they stand."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(folder / SOCKET))
        link.sendall(b"".join(lines))
        link.shutdown(socket.SHUT_WR)
        return [json.loads(line) for line in link.makefile("rb")]


def test_the_socket_is_there_while_the_engine_is_and_for_its_user_alone(folder: Path) -> None:
    before = os.umask(0)
    try:
        with then.Engine(then.Rules(), folder):
            mode = (folder / SOCKET).stat().st_mode
    finally:
        os.umask(before)
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert not (folder / SOCKET).exists()
    assert connect(folder) is None


def test_a_request_in_which_a_key_stands_twice_is_refused_with_its_place(engine: then.Engine, folder: Path) -> None:
    post = b'{"op": "post", "type": "go", "values": {"n": 1, "n": 2}}\n'
    (answer,) = _raw(folder, post)
    assert answer["error"]["text"] == 'request: 1:49: the key "n" is there twice'
    assert not list(engine.history().flows())


def test_an_engine_in_memory_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with then.Engine(then.Rules()):
        assert not list(tmp_path.rglob(SOCKET))


def test_a_state_whose_path_is_longer_than_that_of_a_socket_may_be(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / ("path" * 30)
    assert len(str(folder)) > 200
    with then.Engine(then.Rules(), folder):
        found = connect(folder)
        assert found is not None
        with found:
            assert found.call("running") == {}
    assert not (folder / SOCKET).exists()


def test_a_socket_that_a_killed_engine_left_is_taken_over(folder: Path) -> None:
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(folder / SOCKET))
    assert connect(folder) is None
    with then.Engine(then.Rules(), folder):
        found = connect(folder)
        assert found is not None
        found.close()


def test_a_record_that_is_posted_is_durable_when_it_is_answered(client: Client, engine: then.Engine) -> None:
    flow = client.call("post", type="go", texts={"n": "3"}, body={})["flow"]
    asked = [task for task in engine.flow(flow).tasks if task.type == "ask"]
    assert [task.body for task in asked] == [{"text": "n is 3"}]
    answered = client.call("complete", id=asked[0].id, outcome="done", texts={"answer": "7"}, result={})
    assert answered["id"] == asked[0].id
    assert engine.flow(flow).outcome == "done"


def test_a_refusal_has_the_text_number_and_exit_code_of_its_error(client: Client) -> None:
    with pytest.raises(Refused) as refused:
        client.call("cancel", id="zz")
    assert str(refused.value).startswith('no record has an id that begins with "zz"')
    assert (refused.value.number, refused.value.exit_code) == ("T301", 2)
    assert client.call("running") == {}, "the connection goes on"


def test_what_runs_is_told_with_since_when(folder: Path) -> None:
    begun, go = threading.Event(), threading.Event()
    rules = then.Rules()

    @rules.task("wait")
    def wait() -> None:
        begun.set()
        go.wait()

    with then.Engine(rules, folder) as engine:
        flow = engine.post("wait")
        begun.wait()
        client = connect(folder)
        assert client is not None
        with client:
            (entry,) = client.call("running").items()
            assert entry[0] == flow.id
            assert abs(engine.clock.now_us() - entry[1]) < 60_000_000
            go.set()
            flow.wait()
            assert client.call("running") == {}


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"no json\n",
        b"[]\n",
        b"{}\n",
        b'{"op": "fly"}\n',
        b'{"op": "cancel"}\n',
        b'{"op": "cancel", "id": 7, "height": 3}\n',
        b'{"op": "__init__", "engine": 1}\n',
        b'{"op": "running"',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_request_that_is_none_is_answered_and_harms_nobody(engine: then.Engine, folder: Path, line: bytes) -> None:
    (answer,) = _raw(folder, line)
    assert answer["error"]["exit_code"] == 70
    assert tell(folder, "running").by_engine


def test_several_requests_of_one_connection_are_answered_in_order(engine: then.Engine, folder: Path) -> None:
    post = b'{"op": "post", "type": "go", "texts": {"n": "%d"}, "body": {}}\n'
    answers = _raw(folder, *(post % n for n in range(20)))
    flows = [answer["ok"]["flow"] for answer in answers]
    assert flows == sorted(flows)
    assert len(set(flows)) == 20


def test_clients_at_once_are_all_answered(engine: then.Engine, folder: Path) -> None:
    flows: list[str] = []

    def post(n: int) -> None:
        flows.append(tell(folder, "post", type="go", texts={"n": str(n)}, body={}).answer["flow"])

    threads = [threading.Thread(target=post, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(flows)) == 16


def test_clients_that_only_sit_there_keep_no_engine_from_ending(folder: Path) -> None:
    with then.Engine(then.Rules(), folder):
        idle = [connect(folder) for _ in range(CONNECTIONS_MAX + 5)]
    for client in idle:
        assert client is not None
        with client, pytest.raises(JournalError, match="went away"):
            client.call("running")


def test_who_ends_the_last_flow_of_a_run_is_told_so_before_the_engine_goes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The run ended, and with it the engine, between what was asked and its answer: "the engine went away", exit 3.
    (tmp_path / "rules.then").write_text(RULES)
    engine = then.Engine(then.Rules().load(tmp_path / "rules.then"), folder)
    flow = engine.post("ask", text="well?")
    is_done, may_answer = threading.Event(), threading.Event()

    def complete(commands: Commands, **given: Any) -> object:
        told = Commands.complete(commands, **given)
        is_done.set()
        may_answer.wait()
        return told

    monkeypatch.setitem(OPS, "complete", complete)
    monkeypatch.setattr("then.app.control.ANSWER_S", 600.0)  # However long the one that lets it answer stands still.

    def end_it() -> None:
        is_done.wait()
        engine.close()

    ending = threading.Thread(target=end_it)
    ending.start()

    def let_answer() -> None:
        is_done.wait()
        while (folder / SOCKET).exists():
            os.sched_yield()
        may_answer.set()

    letting = threading.Thread(target=let_answer)
    letting.start()
    try:
        client = connect(folder)
        assert client is not None
        with client:
            told = client.call("complete", id=flow.id, outcome="done", texts={"answer": "yes"}, result={})
    finally:
        is_done.set()
        ending.join()
        letting.join()
    assert isinstance(told, dict)
    assert told["id"] == flow.id


def test_without_an_engine_a_command_opens_the_state_itself_and_starts_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.then").write_text('task touch() run process ["touch", "touched"]\n')
    with then.Engine(then.Rules().load(tmp_path / "rules.then"), folder):
        pass
    told = tell(folder, "post", type="touch", texts={}, body={})
    assert not told.by_engine
    assert not (tmp_path / "touched").exists()
    with then.Engine(None, folder) as engine:
        engine.flow(told.answer["flow"]).wait()
    assert (tmp_path / "touched").exists()


def test_a_folder_without_journal_is_refused_and_left_as_it_is(folder: Path) -> None:
    with pytest.raises(ConfigError, match="holds no journal"):
        tell(folder, "running")
    assert not folder.exists()


def test_an_engine_that_ends_while_a_command_looks_for_it_is_waited_for(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is held, and nothing listens: so it is while an engine begins, and while it ends."""
    monkeypatch.setattr("then.app.desk.PATIENCE_S", 60.0)  # However long it takes to end.
    (tmp_path / "rules.then").write_text("event go()\n")
    engine = then.Engine(then.Rules().load(tmp_path / "rules.then"), folder)
    (folder / SOCKET).rename(folder / "elsewhere")
    answers: list[bool] = []
    thread = threading.Thread(
        target=lambda: answers.append(tell(folder, "post", type="go", texts={}, body={}).by_engine)
    )
    thread.start()
    engine.close()
    thread.join()
    assert answers == [False]
