"""What commands print holds no secret: of records, of outputs, of what functions print."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from tests.desk import files_of

SHORT = "canary-env-1a2b3c"
LONG = "canary-file-one\ncanary-file-two\ncanary-file-three"

RULES = """
import sys

import then

rules = then.Rules()
rules.secret("short", env="CANARY")
rules.secret("long", file="key")
rules.event("go")


@rules.task("function", secrets={"short": "short", "long": "long"})
def function(short, long):
    print("printed", short, long)
    print("to stderr", short, file=sys.stderr)
    raise ValueError(f"refused {short} and {long}")


script = '''
printf 'out %s and\\n%s\\nend\\n' "$SHORT" "$LONG"; printf 'err %s\\n%s\\n' "$SHORT" "$LONG" >&2
printf '{"seen": "%s"}' "$SHORT" >$THEN_RESULT; exit $CODE
'''
given = {"SHORT": "short", "LONG": "long"}
rules.task("process", run=("process", ["sh", "-c", script]), env={"CODE": "0"}, secrets=given)
rules.task("failing", run=("process", ["sh", "-c", script]), env={"CODE": "3"}, secrets=given)
rules.task("other", run=("process", ["cat", "guess"]))


@rules.when("go")
def start(go):
    yield then.emit("function")
    yield then.emit("process")
    yield then.emit("failing")
    yield then.emit("other")
"""


@pytest.fixture
def shell(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("CANARY", SHORT)
    shell.write("rules.py", RULES)
    shell.write("guess", f"{SHORT} is guessed\n")
    shell.write("key", LONG + "\n").chmod(0o600)
    return shell


def ids(shell: Shell) -> dict[str, str]:
    return {task["type"]: task["id"] for task in shell("ps", "--all", "--json").objects}


def held(folder: Path) -> list[str]:
    """Files of the state that hold a canary, but for what tasks wrote to their outputs."""
    return [
        str(path) for path, data in files_of(folder).items() if path.name not in ("out", "err") and b"canary" in data
    ]


@pytest.mark.parametrize("more", [(), ("--json",), ("--no-color",)])
def test_a_run_shows_no_secret(shell: Shell, more: tuple[str, ...]) -> None:
    said = shell("run", "rules.py", "go", *more)

    assert said.code == 1
    assert "canary" not in said.out + said.err
    assert "***" in said.out
    assert "to stderr ***" in said.err
    assert held(shell.folder / ".then") == []


@pytest.mark.slow
def test_a_live_tree_shows_no_secret(shell: Shell) -> None:
    terminal = shell.terminal("run", "rules.py", "go", rows=60)
    assert terminal.end() == 1

    assert terminal.picture.text.count("***") > 6
    assert b"canary" not in terminal.raw


def test_no_command_shows_one_afterwards(shell: Shell) -> None:
    shell("run", "rules.py", "go")
    known = ids(shell)
    looks: list[tuple[str, ...]] = [("ps", "--all"), ("ps", "--all", "--json"), ("flows",), ("flows", "--json")]
    for id in known.values():
        looks += [("show", id), ("show", id, "--json"), ("log", id), ("log", id, "--json"), ("log", id, "-f")]
        looks += [("log", id, "-n", str(lines)) for lines in range(6)]
    for look in looks:
        said = shell(*look)
        assert (look, said.code) == (look, 0)
        assert "canary" not in said.out + said.err, look


def test_outputs_are_masked_over_lines_and_wherever_one_begins_to_look(shell: Shell) -> None:
    shell("run", "rules.py", "process")
    id = ids(shell)["process"]

    said = shell("log", id)
    assert (said.out, said.err) == ("out *** and\n***\nend\n", "err ***\n***\n")
    assert shell("log", id, "--out", "-n", "1").out == "end\n"
    # The last two lines begin in the middle of the value.
    assert shell("log", id, "--out", "-n", "2").out == "***\nend\n"
    assert [line["line"] for line in shell("log", id, "--out", "--json").objects] == ["out *** and", "***", "end"]
    assert shell("log", id, "--out", "--raw").out == f"out {SHORT} and\n{LONG}\nend\n"


def test_an_output_that_cannot_be_masked_is_shown_raw_or_not_at_all(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell("run", "rules.py", "go")
    known = ids(shell)
    monkeypatch.delenv("CANARY")
    os.rename("key", "moved")

    said = shell("log", known["process"])
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        f"andthen: process ({known['process']}) was given secrets that cannot be read here, so that its output cannot "
        'be masked: short (env "CANARY"), long (file "key"); make them readable, or `--raw` shows it as it is\n'
    )
    assert SHORT in shell("log", known["process"], "--raw").out
    # What was given none is shown; it was asked for by nobody's name.
    assert shell("log", known["other"]).out == "canary-env-1a2b3c is guessed\n"
    of_flow = shell("log", known["go"])
    assert of_flow.code == 0
    assert "cannot be masked" in of_flow.err
    assert of_flow.out.count("canary") == 1


def test_a_look_runs_no_program(shell: Shell) -> None:
    rules = RULES.replace('env="CANARY"', "command=\"sh -c 'echo x >>asked; echo canary-command'\"")
    shell.write("rules.py", rules)
    shell("run", "rules.py", "process")
    asked = (shell.folder / "asked").read_text()

    said = shell("log", ids(shell)["process"])
    assert said.code == 2
    assert "short (command " in said.err
    assert (shell.folder / "asked").read_text() == asked
