"""Ctrl-C once, twice, three times; TERM and HUP; and what `resume` makes of what was left."""

from __future__ import annotations

import os
import signal
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM
from typing import Any

import pytest

from tests.cli.shell import Program, Shell, normal

pytestmark = pytest.mark.slow

RULES = """
event go()
task wait() run process ["sh", "-c", r"echo > there; read line < gate; echo came"]
task next() run process ["true"]
task deaf() run process ["sh", "-c", r"trap '' TERM INT; echo > there; while :; do read line < gate; done"]
task tidy() run process ["sh", "-c", r"echo tidied > tidied"]
rule first when go then wait()
rule second when wait done then next()
rule clean when wait cancelled then tidy()
start go()
"""


@pytest.fixture
def gate(shell: Shell) -> object:
    """What `wait` reads from: it goes on when somebody writes there."""
    shell.write("rules.then", RULES)
    shell.fifo("there")
    return shell.fifo("gate")


def _begin(shell: Shell, *arguments: object, **more: Any) -> Program:
    """A run that has said that its task is started, and whose task has begun."""
    program = shell.start("run", "rules.then", *arguments, **more)
    program.read_until("started    (wait|deaf)")
    assert (shell.folder / "there").read_text() == "\n"
    return program


def _open_gate(shell: Shell) -> None:
    (shell.folder / "gate").write_text("go\n")


def test_the_first_ctrl_c_starts_nothing_new_and_waits_for_what_runs(shell: Shell, gate: object) -> None:
    program = _begin(shell)
    program.signal(SIGINT)
    assert program.hear_until("stopping") == (
        "stopping: nothing new is started, waiting for 1 task that runs; Ctrl-C again cancels\n"
    )
    _open_gate(shell)
    said = program.end()
    assert said.code == 130
    assert normal(said.out) == "ID1  done       wait  TIME  | came\n"
    assert said.err == "1 flow is open; `andthen resume` goes on\n"
    assert [(task["type"], task["state"]) for task in shell("ps", "--json").objects] == [("next", "waiting")]
    resumed = shell("resume")
    assert resumed.code == 0
    assert (
        normal(resumed.out)
        == "ID1  started    next  by second\nID1  done       next  TIME\nflow ID2 done, 3 records in TIME\n"
    )


def test_nobody_waits_for_a_script_that_waits_itself(shell: Shell) -> None:
    shell.write("rules.then", 'task ask()\ntask job() run script "job.py"\nstart job()\n')
    shell.write("job.py", 'def main():\n    return {"by": wait(run("ask")).result["by"]}\n')
    program = shell.start("run", "rules.then")
    program.read_until("asked ")
    program.signal(SIGINT)
    said = program.end()
    assert said.code == 130
    ids = {task["type"]: task["id"] for task in shell("ps", "--json").objects}
    assert set(ids) == {"ask", "job"}
    shell("complete", ids["ask"], "done", "by=Ada")
    resumed = shell("resume")
    assert resumed.code == 0
    assert shell("show", ids["job"], "--json").objects[0]["result"] == {"by": "Ada"}


def test_the_second_cancels_the_flow_and_lets_it_clean_up(shell: Shell, gate: object) -> None:
    program = _begin(shell)
    program.signal(SIGINT)
    program.hear_until("stopping")
    program.signal(SIGINT)
    program.hear_until("cancelling; Ctrl-C again kills what still runs")
    said = program.end()
    assert said.code == 130
    assert (shell.folder / "tidied").read_text() == "tidied\n"
    assert normal(said.out).splitlines()[-1] == "flow ID3 cancelled, 3 records in TIME"
    assert shell("ps", "--json").out == ""


def test_the_second_cancels_what_a_timer_started_too(shell: Shell) -> None:
    # It said so, and let it run: only what the command itself had posted was cancelled.
    shell.write(
        "rules.then",
        'task slow() run process ["sleep", "1000"]\ntask tidy() run process ["true"]\n'
        "every 1h start slow()\nrule left when slow cancelled then tidy()\n",
    )
    program = shell.start("run", "rules.then")
    program.hear_until("stays for slow")
    shell("timers", "fire", "slow")
    program.read_until("started    slow")
    program.signal(SIGINT)
    program.hear_until("stopping: nothing new is started, waiting for 1 task that runs")
    program.signal(SIGINT)
    program.hear_until("cancelling; Ctrl-C again kills what still runs")
    said = program.end()
    assert said.code == 130
    last = normal(said.out).splitlines()
    assert "tidy" in last[-2]
    assert last[-1].endswith(" cancelled, 2 records in TIME")
    assert shell("ps", "--json").out == ""


def test_the_second_waits_for_what_cleans_up_after_a_flow_of_a_timer_that_is_held(shell: Shell) -> None:
    # It was told that the flow stands still, and waited for it no more: "running", and its cleaning up was left lying.
    shell.write(
        "rules.then",
        'task slow() run process ["sleep", "1000"]\ntask work() run process ["true"]\n'
        'task tidy() run process ["true"]\nevery 1h start slow()\nevery 1h start work()\n'
        "rule left when work cancelled then tidy()\nbreakpoint b before work\n",
    )
    program = shell.start("run", "rules.then")
    program.hear_until("stays for slow")
    shell("timers", "fire", "slow")
    program.read_until("started    slow")
    flow = shell("timers", "fire", "work", "--json").objects[0]["fired"]
    program.read_until("held       work")
    program.signal(SIGINT)
    program.hear_until("stopping: nothing new is started, waiting for 1 task that runs")
    program.signal(SIGINT)
    said = program.end()
    assert said.code == 130
    assert f"flow {flow} cancelled, 2 records in " in said.out
    assert shell("ps", "--json").out == ""


def test_the_third_kills_what_does_not_listen(shell: Shell, gate: object) -> None:
    program = _begin(shell, "deaf")
    for heard in ("stopping", "cancelling", "killing"):
        program.signal(SIGINT)
        program.hear_until(heard)
    said = program.end()
    assert said.code == 130
    assert [(task["type"], task["outcome"]) for task in shell("ps", "--all", "--json").objects] == [
        ("deaf", "cancelled")
    ]


@pytest.mark.parametrize(("number", "code"), [(SIGTERM, 143), (SIGHUP, 129)])
def test_told_to_end_it_leaves_processes_running_and_a_later_engine_takes_them_up(
    shell: Shell, gate: object, number: signal.Signals, code: int
) -> None:
    program = _begin(shell)
    program.signal(number)
    said = program.end()
    assert said.code == code
    assert said.err == (
        "told to end: nothing new is started, processes run on\n1 flow is open; `andthen resume` goes on\n"
    )
    _open_gate(shell)
    resumed = shell("resume", "--json")
    assert resumed.code == 0
    ended = [(record["type"], record["outcome"]) for record in resumed.objects[:-1] if record["state"] == "completed"]
    assert ended == [("wait", "done"), ("next", "done")]
    (wait,) = [task for task in shell("ps", "--all", "--json").objects if task["type"] == "wait"]
    assert shell("log", wait["id"]).out == "came\n"


def test_told_to_end_it_may_cancel_first(shell: Shell, gate: object) -> None:
    program = _begin(shell, "--cancel-on-term")
    program.signal(SIGTERM)
    said = program.end()
    assert said.code == 143
    assert said.err == "told to end: cancelling\n"
    assert [flow["outcome"] for flow in shell("flows", "--json").objects] == ["cancelled"]


def test_killed_it_leaves_all_to_resume_with_every_change_told(shell: Shell, gate: object) -> None:
    program = _begin(shell)
    program.signal(SIGKILL)
    assert program.end().code == -SIGKILL
    again = shell.start("resume", "--json")
    _open_gate(shell)
    said = again.end()
    assert said.code == 0
    *records, end = said.objects
    assert [(record["type"], record["state"]) for record in records] == [
        ("wait", "completed"), ("next", "waiting"), ("next", "running"), ("next", "completed"),
    ]  # fmt: skip
    assert end["outcome"] == "done"


def test_ctrl_c_of_a_person_at_a_terminal_reaches_no_task(shell: Shell, gate: object) -> None:
    program = _begin(shell, start_new_session=True)
    os.killpg(program.process.pid, SIGINT)
    program.hear_until("stopping")
    _open_gate(shell)
    said = program.end()
    assert said.code == 130
    assert "done       wait" in said.out


def test_functions_that_run_are_waited_for_after_ctrl_c(shell: Shell, gate: object) -> None:
    shell.write(
        "slow.py",
        """
import then

rules = then.Rules()


@rules.task("read")
def read():
    return {"line": open("gate").read()}
""",
    )
    program = shell.start("run", "slow.py", "read")
    program.read_until("started    read")
    program.signal(SIGINT)
    program.hear_until("stopping")
    _open_gate(shell)
    said = program.end()
    assert said.code == 130
    assert "done       read" in said.out
