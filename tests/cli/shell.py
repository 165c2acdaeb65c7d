"""A folder in which `andthen` is called, and what it said."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli.terminal import PATIENCE_S, ROOT, Terminal
from then.cli.entry import enter

RULES = """
import then
from then import it

rules = then.Rules()
rules.event("go", n=int)


@rules.task("build")
def build(ref):
    return {"image": f"app:{ref}"}


@rules.task("publish")
def publish(image):
    if "bad" in image:
        raise ValueError(f"no place for {image}")
    return {"published": image}


@rules.when("build", "done")
def publish_it(build):
    yield then.emit("publish", image=build.result["image"])


@rules.when("go", it.n > 0)
def start(go):
    yield then.emit("build", ref=f"r{go.body['n']}")
"""
"""Functions alone: `build` is followed by `publish`, which fails for `ref=bad`; the event `go` builds."""

PEOPLE = """
event go(n: int)
task ask(text: str) -> (answer: str)
task note(answer: str) run process ["true"]
rule start when go as g then ask(text: "n is {g.n}")
rule heard when ask done as a then note(answer: a.answer)
"""
"""A person is asked, and a process follows."""


class Said(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Standard output as JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """Calls `andthen` in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self._started: list[subprocess.Popen[Any]] = []
        monkeypatch.chdir(folder)
        for name in ("THEN_STATE", "THEN_RETENTION", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip("\n"))
        return path

    def __call__(self, *arguments: object, stdin: str = "") -> Said:
        """A command in this process."""
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        self._capsys.readouterr()
        code = enter([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        return Said(code, out, err)

    def start(self, *arguments: object, **more: Any) -> Program:
        """A command as a program of its own."""
        program = Program(self.folder, [str(argument) for argument in arguments], **more)
        self._started.append(program.process)
        return program

    def terminal(self, *arguments: str, **more: Any) -> Terminal:
        """A command at a terminal."""
        terminal = Terminal(self.folder, *arguments, **more)
        self._started.append(terminal.process)
        return terminal

    def close(self) -> None:
        """Ends what a test that failed has left."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def fifo(self, name: str) -> Path:
        path = self.folder / name
        os.mkfifo(path)
        return path


class Program:
    """An `andthen` that runs beside the test."""

    def __init__(self, folder: Path, arguments: list[str], **more: Any) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
            "env": environment,
        }  # fmt: skip
        self.process = subprocess.Popen([sys.executable, "-m", "then", *arguments], cwd=folder, **{**options, **more})

    def read_until(self, pattern: str) -> str:
        """Standard output up to the first line that has this; the test fails where there is none."""
        return self._until(self.process.stdout, pattern)

    def hear_until(self, pattern: str) -> str:
        """Standard error likewise."""
        return self._until(self.process.stderr, pattern)

    def _until(self, stream: Any, pattern: str) -> str:
        lines = []
        for line in stream:
            lines.append(line)
            if re.search(pattern, line):
                return "".join(lines)
        raise AssertionError(f"no {pattern!r} in {''.join(lines)!r}; ended with {self.process.wait()}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Said:
        """Waits for the end. What was read already is left out."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return Said(self.process.returncode, out or "", err or "")


_ID = re.compile(r"\b0[0-9a-hjkmnp-tv-z]{12}\b")
_TIME = re.compile(r"\b(?:\d+ ms|\d+\.\d s|\d+ min \d+ s)\b")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")


def normal(text: str) -> str:
    """A transcript with its ids as ID1, ID2 in the order in which they come, and times as TIME."""
    known: dict[str, str] = {}
    text = _ID.sub(lambda found: known.setdefault(found[0], f"ID{len(known) + 1}"), text)
    return _TIME.sub("TIME", _STAMP.sub("STAMP", text))
