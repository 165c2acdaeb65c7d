"""The debug adapter as a process of its own: on standard input and output, and on a port."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.dap_client import PATIENCE_S, DapClient, Refused
from then.dap.serving import serve_port

ROOT = Path(__file__).parent.parent.parent
RULES = """\
event order(id: int)
task tell(id: int)
  run process ["echo", "told"]
rule placed
  when order as o
  then tell(id: o.id)
"""


@contextmanager
def started(folder: Path, *words: str, **pipes: int) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "shop.then").write_text(RULES)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-m", "then", *words], cwd=folder, env=env, **pipes) as adapter:  # type: ignore[call-overload]
        try:
            yield adapter
        finally:
            adapter.kill()


@pytest.mark.slow
def test_a_port_serves_several_clients_that_know_the_token_it_prints(tmp_path: Path) -> None:
    with started(tmp_path, "debug", "shop.then", "order", "--dap-port", "0", stderr=subprocess.PIPE) as adapter:
        assert adapter.stderr is not None
        found = re.fullmatch(rb"debug adapter on 127\.0\.0\.1:(\d+), token (\S+)\n", adapter.stderr.readline())
        assert found is not None
        token = found[2].decode()
        with (
            socket.create_connection(("127.0.0.1", int(found[1]))) as one_,
            socket.create_connection(("127.0.0.1", int(found[1]))) as other_,
        ):
            one, other = DapClient(one_), DapClient(other_)
            one.begin(body={"id": 1}, token=token, stopOnEntry=True)
            thread = one.event("stopped")["threadId"]
            other.request("initialize")
            other.request("attach", token=token)
            other.request("configurationDone")
            other.event("stopped")
            one.request("continue", threadId=thread)
            other.event("continued")
            assert one.event("output", category="stdout")["output"] == "told\n"
            one.event("terminated")
            with socket.create_connection(("127.0.0.1", int(found[1]))) as third_:
                third = DapClient(third_)
                third.request("initialize")
                with pytest.raises(Refused, match="token"):
                    third.request("attach")
                third.end()
            adapter.send_signal(signal.SIGINT)
            assert adapter.wait(PATIENCE_S) == 130
            assert b"a client was refused: it gave no token\n" in adapter.stderr.read()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="another process's limits are set on Linux alone")
def test_a_port_that_runs_out_of_descriptors_says_so_and_goes_on_until_its_terminal_closes(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "THEN_DAP_TOKEN": "right"}
    (tmp_path / "shop.then").write_text(RULES)
    words = [sys.executable, "-m", "then", "debug", "shop.then", "order", "--dap-port", "0"]
    signal_before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # Under `nohup` it would be inherited.
    try:
        adapter = subprocess.Popen(words, cwd=tmp_path, env=env, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGHUP, signal_before)
    with adapter:
        try:
            assert adapter.stderr is not None
            port = int(adapter.stderr.readline().split(b":")[1].split(b",")[0])
            before = resource.prlimit(adapter.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(adapter.pid, resource.RLIMIT_NOFILE, (3, before[1]))
            # It may be taken later, or dropped: one that waits in `accept` has its descriptor already.
            with socket.create_connection(("127.0.0.1", port)):
                assert adapter.stderr.readline() == b"a client could not be taken: too many open files\n"
                resource.prlimit(adapter.pid, resource.RLIMIT_NOFILE, before)
            with socket.create_connection(("127.0.0.1", port)) as link:
                client = DapClient(link)
                client.begin(body={"id": 1}, token="right")
                client.event("terminated")
                adapter.send_signal(signal.SIGHUP)
                assert adapter.wait(PATIENCE_S) == 130
        finally:
            adapter.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, None])
def test_on_standard_input_and_output_it_ends_with_its_client_or_as_it_is_told(
    tmp_path: Path, number: signal.Signals | None
) -> None:
    ours, theirs = socket.socketpair()
    with ours, started(tmp_path, "debug", "--dap", stdin=theirs.fileno(), stdout=theirs.fileno()) as adapter:
        theirs.close()
        client = DapClient(ours)
        client.begin(path="shop.then", post="order", body={"id": 1}, stopOnEntry=True)
        client.event("stopped")
        if number is not None:
            adapter.send_signal(number)
        else:
            ours.shutdown(socket.SHUT_WR)
        client.event("terminated")
        client.end()
        assert adapter.wait(PATIENCE_S) == 0


def test_a_signal_that_comes_before_a_client_is_waited_for_ends_the_port() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        # Its handler has run before anything waits: what it would raise would not be heard of there.
        signal.raise_signal(signal.SIGTERM)

    try:
        assert serve_port(lambda link: pytest.fail("nobody came"), "ann", 0, say) == 130
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    assert [text.partition(":")[0] for text in said] == ["debug adapter on 127.0.0.1"]
    assert signal.set_wakeup_fd(-1) == -1
