"""What all commands share: options, help, errors and exit codes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.cli.shell import RULES, Program, Shell
from tests.cli.terminal import ROOT
from then.cli import entry
from then.cli.entry import COMMANDS, andthen
from then.core.errors import InternalError

SHARED = ("--json", "--state", "--no-color", "--debug")


def _command(name: str) -> click.Command:
    found = andthen.get_command(click.Context(andthen), name)
    assert found is not None
    return found


@pytest.mark.slow
def test_the_version_is_told_without_click_and_attrs() -> None:
    code = (
        "import sys; sys.argv = ['andthen', '--version']; from then.cli.main import main; main();"
        "print(sorted({'click', 'attrs', 'attr', 'msgspec', 'argparse'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    version, modules = done.stdout.splitlines()
    assert version.startswith("andthen 0.")
    assert modules == "[]"


@pytest.mark.slow
def test_help_is_told_with_click_alone() -> None:
    code = (
        "import sys; sys.argv = ['andthen', '--help']; from then.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "print(sorted({'attrs', 'attr', 'msgspec', 'sqlite3', 'lark', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_debugger_starts_without_what_it_does_not_need(tmp_path: Path) -> None:
    (tmp_path / "one.then").write_text("event begin()\n")
    code = (
        f"import sys; sys.argv = ['andthen', 'debug', {str(tmp_path / 'one.then')!r}, 'begin']\n"
        "from then.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "unneeded = {'concurrent.futures', 'difflib', 'logging', 'secrets', 'shlex', 'shutil', 'socket', 'sqlite3'}\n"
        "print(sorted(unneeded & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, stdin=subprocess.DEVNULL
    )
    first, *_, modules = done.stdout.splitlines()
    assert first.startswith("breakpoint debug_entry"), done.stderr
    assert modules == "[]"


def test_help_names_every_command_with_its_sentence(shell: Shell) -> None:
    said = shell("--help")
    text = " ".join(said.out.split())
    assert said.code == 0
    for name, sentence in COMMANDS.items():
        assert f"{name} {sentence}" in text


def test_no_command_is_answered_by_the_help_alone(shell: Shell) -> None:
    """It once stood after "andthen: usage:", with the advice to ask for the help."""
    said = shell()
    assert (said.code, said.out) == (2, "")
    assert said.err == shell("--help").out


def test_the_version_is_an_option_among_others_too(shell: Shell) -> None:
    assert shell("--state", "x", "--version").out.startswith("andthen 0.")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_module_a_name_a_sentence_and_the_shared_options(name: str) -> None:
    command = _command(name)
    assert command.name == name
    assert command.help
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert set(SHARED) <= flags
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_how_it_is_used(shell: Shell, name: str) -> None:
    said = shell(name, "--help")
    assert said.code == 0
    assert said.out.startswith(f"Usage: andthen {name} ")


def test_commands_are_imported_when_they_are_called() -> None:
    assert all(
        hasattr(importlib.import_module(f"then.cli.{entry._MODULES.get(name, name)}"), "command_") for name in COMMANDS
    )


def test_a_command_that_is_not_there_is_told_with_the_nearest(shell: Shell) -> None:
    said = shell("flow")
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines()[0] == 'andthen: no command "flow" (did you mean "flows"?)'


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["ps", "--bogus"], "andthen ps: no such option '--bogus'"),
        (["run"], "andthen run: missing argument 'PATH'"),
        (
            ["ps", "--state-is", "asleep"],
            "andthen ps: '--state-is': 'asleep' is not one of 'waiting', 'running', 'held', 'completed'",
        ),
        (["completion", "tcsh"], "andthen completion: '{bash|zsh|fish}': 'tcsh' is not one of 'bash', 'zsh', 'fish'"),
    ],
)
def test_wrong_usage_is_one_text_and_2(shell: Shell, arguments: list[str], text: str) -> None:
    said = shell(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines()[0] == text


def test_a_state_may_be_named_before_the_command_after_it_and_in_the_environment(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.write("rules.py", RULES)
    assert shell("run", "rules.py", "build", "ref=x", "--state", "there").code == 0
    for said in (shell("--state", "there", "flows", "--json"), shell("flows", "--state", "there", "--json")):
        assert [flow["type"] for flow in said.objects] == ["build"]
    monkeypatch.setenv("THEN_STATE", "there")
    assert len(shell("--json", "flows").objects) == 1
    assert not (shell.folder / ".then").exists()


def test_a_state_in_a_database_is_not_there_yet(shell: Shell) -> None:
    said = shell("ps", "--state", "postgresql://localhost/x")
    assert said.code == 2
    assert "not there yet" in said.err


def test_our_own_fault_is_70_and_asks_for_a_report(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def fall(*arguments: object, **more: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("then.app.reading.open_reading", fall)
    said = shell("ps")
    assert (said.code, said.out) == (70, "")
    assert (
        said.err
        == "andthen: ZeroDivisionError: by nothing; this is a fault of andthen: report it with what --debug shows\n"
    )
    assert "Traceback" in shell("ps", "--debug").err


def test_an_error_of_ours_ends_with_the_code_of_its_class(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def fall(*arguments: object, **more: object) -> None:
        raise InternalError("task 7 completed twice")

    monkeypatch.setattr("then.app.reading.open_reading", fall)
    assert shell("ps").code == 70


def _unread(shell: Shell, *arguments: str) -> Program:
    """A program whose output nobody reads from the beginning."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return shell.start(*arguments, stdout=writer)
    finally:
        os.close(writer)


@pytest.mark.slow
def test_output_that_nobody_reads_ends_with_141_and_no_word(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    for _ in range(3):
        shell("run", "rules.py", "build", "ref=x")
    for arguments in (["ps", "--all"], ["flows", "--json"], ["--help"], ["--version"]):
        said = _unread(shell, *arguments).end()
        assert (said.code, said.err) == (141, ""), arguments


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["lines", "json"])
def test_a_run_that_nobody_reads_ends_with_141_and_says_what_is_open(shell: Shell, more: list[str]) -> None:
    shell.write("r.then", "event go()\ntask ask()\nrule a when go then ask()\nstart go()\n")
    said = _unread(shell, "run", "r.then", *more).end()
    assert (said.code, said.err) == (141, "1 flow is open; `andthen resume` goes on\n")


@pytest.mark.slow
def test_output_that_cannot_be_written_is_3_and_one_line(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    with open("/dev/full", "w") as full:
        said = shell.start("run", "rules.py", "build", "ref=x", stdout=full).end()
    assert said.code == 3
    assert said.err.splitlines()[-1] == "andthen: standard output: no space left on device"


@pytest.mark.slow
def test_closed_streams_are_no_error(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    line = f"exec {sys.executable} -m then run rules.py build ref=x >&- 2>&- <&-"
    done = subprocess.run(["sh", "-c", line], cwd=shell.folder, env={"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0
