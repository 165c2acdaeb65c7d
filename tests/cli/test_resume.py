"""`andthen resume`: which rules open flows go on under, and what is said of it."""

from __future__ import annotations

import re
import shutil
import signal
import sqlite3
from typing import Any

import pytest

import then
from tests.cli.shell import Shell
from then.core.errors import JournalFailed
from then.journals.sqlite import SqliteJournal

ASK = """
event go(n: int)
task ask() -> (answer: str)
task say(what: str) run process ["echo", what]
rule start when go then ask()
rule heard when ask done as a then say(what: "old {a.answer}")
"""

PYTHON = """
import then

rules = then.Rules()


@rules.when("go")
def start(go):
    yield then.emit("ask")


@rules.when("ask", "done")
def heard(ask):
    yield then.emit("say", what="old")
"""

DECLARED = """
event go(n: int)
task ask() -> (answer: str)
task say(what: str) run process ["echo", what]
"""


def _begin(shell: Shell, path: str) -> dict[str, Any]:
    """A flow that waits for a person, left by an engine that ended. Gives the record that is asked."""
    rules = then.Rules().load(path)
    with then.Engine(rules, ".then") as engine:
        flow = engine.post("go", n=1)
        return shell("ps", "--flow", flow.id, "--json").objects[0]


def _answer(shell: Shell, ask: dict[str, Any]) -> None:
    assert shell("complete", ask["id"], "done", "answer=yes").code == 0


def _said(shell: Shell) -> list[Any]:
    return [task["body"]["what"] for task in shell("ps", "--all", "--type", "say", "--json").objects]


def test_texts_come_from_the_journal_also_when_the_file_has_changed_or_gone(shell: Shell) -> None:
    shell.write("rules.then", ASK)
    ask = _begin(shell, "rules.then")
    (shell.folder / "rules.then").unlink()
    _answer(shell, ask)
    assert shell("resume").code == 0
    assert _said(shell) == ["old yes"]


@pytest.mark.slow
def test_with_a_path_open_flows_are_moved_to_the_rules_there(shell: Shell) -> None:
    shell.write("rules.then", ASK)
    ask = _begin(shell, "rules.then")
    shell.write("new.then", ASK.replace("old", "new"))
    program = shell.start("resume", "new.then")
    assert program.hear_until("moved").startswith(f"flow {ask['flow']} moved to rules version ")
    _answer(shell, ask)
    assert program.end().code == 0
    assert _said(shell) == ["new yes"]
    assert shell("flows", "--json").objects[0]["version"] == shell("rules", "--json").objects[0]["version"]


def test_a_flow_keeps_its_rules_beside_a_run_of_others(shell: Shell) -> None:
    shell.write("rules.then", ASK)
    ask = _begin(shell, "rules.then")
    shell.write("new.then", ASK.replace("old", "new"))
    other = _begin(shell, "new.then")
    _answer(shell, ask)
    _answer(shell, other)
    assert shell("resume").code == 0
    assert _said(shell) == ["old yes", "new yes"]


def test_python_that_has_changed_moves_its_flows_and_a_line_says_so(shell: Shell) -> None:
    shell.write("project/declared.then", DECLARED)
    shell.write("project/rules.py", PYTHON)
    ask = _begin(shell, "project")
    shell.write("project/rules.py", PYTHON.replace('what="old"', 'what="new"'))
    said = shell("complete", ask["id"], "done", "answer=yes")
    assert said.code == 0
    moved, _ = said.err.splitlines()
    assert moved.startswith(f"Python rules have changed: flow {ask['flow']} moved to rules version ")
    resumed = shell("resume")
    assert (resumed.code, resumed.err) == (0, "")
    assert _said(shell) == ["new"]


def test_python_that_is_what_it_was_moves_nothing(shell: Shell) -> None:
    shell.write("project/declared.then", DECLARED)
    shell.write("project/rules.py", PYTHON)
    ask = _begin(shell, "project")
    _answer(shell, ask)
    resumed = shell("resume")
    assert (resumed.code, resumed.err) == (0, "")
    assert _said(shell) == ["old"]


def test_where_python_is_gone_it_says_which_flow_and_what_to_do(shell: Shell) -> None:
    shell.write("project/declared.then", DECLARED)
    shell.write("project/rules.py", PYTHON)
    ask = _begin(shell, "project")
    shutil.rmtree("project")
    said = shell("resume")
    assert (said.code, said.out) == (2, "")
    assert "project/rules.py" in said.err
    shell.write("new.then", ASK.replace("old", "new"))
    beside = shell("run", "new.then", "say", "what=x")
    assert (beside.code, beside.out) == (2, "")
    assert f"flow {ask['flow']} stands under rules that do not load: " in beside.err
    assert beside.err.endswith("; `andthen resume PATH` moves it to the rules at PATH\n")
    moved = shell("resume", "new.then", "--timeout", "1ms")
    assert moved.code == 1
    assert "cancelled  ask" in moved.out


def test_flows_of_a_program_are_for_that_program_to_go_on_with(shell: Shell) -> None:
    rules = then.Rules()
    rules.task("wait", run=("nowhere", "x"))
    with then.Engine(rules, ".then") as engine:
        engine.post("wait")
    said = shell("resume")
    assert (said.code, said.out) == (2, "")
    assert "was written in a program: open the engine there, with its `Rules`" in said.err


def test_where_nothing_is_open_it_says_so(shell: Shell) -> None:
    shell.write("rules.then", "event go()\nstart go()\n")
    shell("run", "rules.then")
    assert shell("resume") == (0, "", "nothing is left to go on with\n")


def test_where_timers_are_it_stays_as_the_run_did(shell: Shell) -> None:
    """It ended at once, as nothing was open between two of their times."""
    shell.write("beat.then", "event beat()\nrule r when beat then end flow done\nevery 1h start beat()\n")
    run = shell("run", "beat.then", "--timeout", "1ms")
    resumed = shell("resume", "--timeout", "1ms")
    assert resumed == run
    assert resumed.err.splitlines() == [
        "stays for beat: Ctrl-C ends it, `andthen timers` lists them",
        "time is over",
    ]


@pytest.mark.slow
def test_timers_of_a_run_that_was_killed_start_flows_in_it(shell: Shell) -> None:
    shell.write("beat.then", 'task beat() run process ["true"]\nevery 1h start beat()\n')
    run = shell.start("run", "beat.then")
    run.hear_until("^stays for beat:")
    run.process.kill()
    run.end()
    resumed = shell.start("resume")
    resumed.hear_until("^stays for beat:")
    fired = shell("timers", "fire", "beat", "--json").objects[0]["fired"]
    resumed.read_until(rf"{fired} .*done.*beat")
    resumed.signal(signal.SIGINT)
    assert resumed.end().code == 130


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--no-color", "--json"])
def test_who_stays_for_timers_says_of_each_flow_how_it_ended_when_it_has(shell: Shell, option: str) -> None:
    # Nothing was said of those that a timer started, and of the first one only when the command ended.
    shell.write("beat.then", 'task beat() run process ["false"]\nevery 1h start beat()\nstart beat()\n')
    run = shell.start("run", "beat.then", option)
    said = r'"flow":"{}","outcome":"failed"' if option == "--json" else "flow {} failed, 1 record in "
    out = run.read_until(said.format("[0-9a-z]+"))
    fired = shell("timers", "fire", "beat", "--json").objects[0]["fired"]
    out += run.read_until(said.format(fired))
    run.signal(signal.SIGINT)
    ended = run.end()
    assert ended.code == 130
    assert len(re.findall(said.format("[0-9a-z]+"), out + ended.out)) == 2


@pytest.mark.slow
def test_a_write_that_fails_ends_the_run_with_3_and_one_clear_line(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.write(
        "rules.py",
        "import then\nrules = then.Rules()\n@rules.task('t')\ndef t(n): return {'n': n + 1}\n"
        "@rules.when('t', 'done')\ndef again(t): yield then.emit('t', n=t.result['n'])\n",
    )
    append, count = SqliteJournal.append, 0

    def fail(self: SqliteJournal, entries: Any, cells: Any = ()) -> None:
        nonlocal count
        count += 1
        if count > 20:
            raise self._fail(sqlite3.OperationalError("disk I/O error"))
        append(self, entries, cells)

    monkeypatch.setattr(SqliteJournal, "append", fail)
    said = shell("run", "rules.py", "t", "n=0")
    monkeypatch.undo()
    monkeypatch.chdir(shell.folder)
    assert said.code == 3
    assert said.err == f"andthen: {JournalFailed('.then/journal.db', 'disk I/O error (OperationalError)')}\n"
    assert len(shell("flows", "--json").objects) == 1
