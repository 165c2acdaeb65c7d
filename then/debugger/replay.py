"""Inside the Python of a script: it is run once more in a process of its own, where debugpy waits for an editor.

Theory of operation. What the script has done is answered from the journal, as in `then.debugger.script`. The process
has no way to an engine: what it would ask for beyond that is not asked, and it ends there. It stops where the editor
has breakpoints, and at the step that the script is at.

1. It ends with whoever asked for it: its standard input is held by that one alone, and ends with it.
2. Whoever may connect to a port of 127.0.0.1 may run Python in it until an editor has come. So it is begun when asked
   for and not before, and waits `LATEST_S` for that.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

import msgspec

from then.core.causes import Ask, Told
from then.core.errors import ConfigError, ThenError
from then.core.scripts import Recorded
from then.core.tasks import Body, Task
from then.debugger.script import frames_in
from then.debugger.view import View
from then.scripts.play import Play, Unwound
from then.scripts.running import run_script

HOST: Final = "127.0.0.1"
LATEST_S: Final = 300.0
"""So long it waits for an editor."""
TOLD_S: Final = 5.0
"""So long it waits until what it tells is on its way to one, which may have gone."""
_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); from then.debugger.replay import main; main()"
)
_OURS: Final = json.dumps({str(Path(__file__).parent.parent / "**"): True})
"""Files that debugpy does not step into."""


class Script(msgspec.Struct, frozen=True):
    """What the process is given."""

    task: Task
    recorded: Recorded | None
    root: str
    file: str
    """From the root."""


# -- here --------------------------------------------------------------------------------------


class Replay:
    """A script under debugpy, until `close`.

    Raises:
        ConfigError: the record in view runs no script, or debugpy is not there.
    """

    def __init__(self, view: View) -> None:
        found = view.script
        if found is None:
            raise ConfigError(
                f"debugpy: {view.task.type} ({view.id}) is no script under way; `task NAME` takes another record into "
                "view, `back` an earlier moment"
            )
        if importlib.util.find_spec("debugpy") is None:
            raise ConfigError("debugpy is not installed beside andthen; install andthen[debugpy]")
        root = view.access.root(view.flow.flow.version)
        self.file = found.file
        recorded = view.state.waits.scripts.recorded(view.id)
        data = msgspec.msgpack.encode(Script(view.task, recorded, str(root.absolute()), found.file))
        self._process = subprocess.Popen(
            [sys.executable, "-X", "frozen_modules=off", "-c", _PROGRAM, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYDEVD_FILTERS": _OURS, "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
            start_new_session=True,  # Ctrl-C is for who waits here.
        )
        told = self._told(len(data).to_bytes(8) + data)
        if "port" not in told:
            self.close()
            raise ConfigError(f"debugpy: it does not begin: {told.get('wrong', 'its process ended')}")
        self.port = int(told["port"])

    def _told(self, data: bytes) -> Body:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(data)
            self._process.stdin.flush()
        told: Body = json.loads(self._process.stdout.readline() or b"{}")
        return told

    @property
    def configuration(self) -> Body:
        """What an editor attaches with."""
        connect = {"host": HOST, "port": self.port}
        return {"type": "debugpy", "request": "attach", "name": self.file, "connect": connect}

    def close(self) -> None:
        """Ends it, wherever it is. Twice is well."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


# -- there -------------------------------------------------------------------------------------


def main() -> None:
    """The process: listens, waits for an editor, runs the script up to its step."""
    lifeline, tell = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    size = int.from_bytes(_exactly(lifeline, 8))
    script = msgspec.msgpack.decode(_exactly(lifeline, size), type=Script)
    guard = threading.Thread(target=_end_with, args=(lifeline,), daemon=True)
    guard.pydev_do_not_trace = guard.is_pydev_daemon_thread = True  # type: ignore[attr-defined]  # Not held with others.
    guard.start()
    try:
        debugpy = _debugpy()
        debugpy.configure(subProcess=False)
        told: Body = {"port": debugpy.listen((HOST, 0))[1]}
    except Exception as error:  # noqa: BLE001  # Whatever it is: told to who asked.
        told = {"wrong": f"{type(error).__name__}: {error}"}
    os.write(tell, json.dumps(told).encode() + b"\n")
    os.close(tell)
    if "port" in told:
        debugpy.wait_for_client()
        _run(script)


def _run(script: Script) -> None:
    root = Path(script.root)
    path = str(root / script.file)

    def arrive(ask: Ask | None, n: int) -> Told:
        _stop(path)
        raise Unwound

    play = Play(script.task, script.recorded, arrive, lambda: 0.0, lambda: 0, script.file)
    try:
        run_script(play, root)
    except Unwound:
        pass
    except BaseException as error:
        text = str(error) if isinstance(error, ThenError) else f"{type(error).__name__}: {error}"
        _tell(f"{script.file} ends here: {text}\n")
        raise  # For an editor that stops on what nothing takes up.


def _tell(text: str) -> None:
    """Tells the editor, whatever it has made of this process' own output, which goes nowhere."""
    debugger, sent = _pydevd().get_global_debugger(), threading.Event()
    message = debugger.cmd_factory.make_io_message(text, 2)  # As on standard error.
    message.call_after_send(lambda _: sent.set())
    debugger.writer.add_command(message)
    sent.wait(TOLD_S)


def _stop(path: str) -> None:
    """Stops at the line of the script that is under way, with what its names hold there.

    `debugpy.breakpoint` would stop at the line after it, and there is none.
    """
    frame = next(frames_in(path), None)
    if frame is not None:
        pydevd = _pydevd()
        thread, debugger = threading.current_thread(), pydevd.get_global_debugger()
        debugger.set_suspend(thread, pydevd.CMD_SET_BREAK)
        debugger.do_wait_suspend(thread, frame, "line", None)


def _end_with(lifeline: int) -> None:
    """Ends this process with who asked for it, and where no editor came in time."""
    ready, _, _ = select.select([lifeline], [], [], LATEST_S)
    if not ready and _debugpy().is_client_connected():
        os.read(lifeline, 1)
    os._exit(0)


def _debugpy() -> Any:
    return importlib.import_module("debugpy")


def _pydevd() -> Any:
    """As debugpy brings it along."""
    return importlib.import_module("pydevd")


def _exactly(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            os._exit(0)  # Who asked has gone.
        data += more
    return data
