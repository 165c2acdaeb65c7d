"""Scripts from the shell: by themselves, beside rules, checked, and after an engine that was stopped."""

from __future__ import annotations

from signal import SIGKILL

import pytest

import then
from tests.cli.shell import Shell
from then.core.errors import RuleError

FAN = """
def main(hosts, **rest):
    jobs = [run("ping", host=host) for host in hosts]
    return {"pinged": len(wait(jobs)), "rest": rest}
"""
PING = 'task ping(host: str) run process ["echo", "{host}"]\n'


def test_a_script_is_run_by_itself_with_what_is_given_as_its_body(shell: Shell) -> None:
    shell.write("job.py", "def main(n, text):\n    return {'n': n, 'text': text}\n")
    said = shell("run", "job.py", "n=3", "text=words", "--json")
    assert said.code == 0
    records = [one for one in said.objects if "type" in one]
    assert records[-1]["type"] == "job"
    assert records[-1]["result"] == {"n": 3, "text": "words"}


def test_a_script_by_itself_starts_tasks_of_the_rules_beside_it(shell: Shell) -> None:
    shell.write("fan.py", FAN)
    shell.write("tasks.then", PING)
    said = shell("run", "fan.py", 'hosts=["a", "b"]', "x=1", "--json")
    assert said.code == 0
    results = {one["type"]: one["result"] for one in said.objects if one.get("outcome") and "type" in one}
    assert results["fan"] == {"pinged": 2, "rest": {"x": 1}}
    assert results["ping"] == {"code": 0}


def test_of_the_rules_beside_a_script_it_is_not_said_that_nothing_emits_what_the_script_emits(shell: Shell) -> None:
    shell.write("job.py", "def main():\n    emit('over')\n")
    shell.write("tasks.then", "event over()\n")
    assert shell("check", "job.py") == (0, "", "nothing found\n")
    said = shell("run", "job.py")
    assert (said.code, said.err) == (0, "")
    assert "T604" in shell("check", "tasks.then").out


def test_a_script_whose_name_another_task_has_is_refused(shell: Shell) -> None:
    shell.write("ping.py", "def main(): pass\n")
    shell.write("tasks.then", PING)
    said = shell("run", "ping.py")
    assert said.code == 2
    assert 'a task "ping" is declared beside it (tasks.then:1:6) and is another one; rename the script' in said.err


def test_a_file_with_rules_and_a_main_is_a_file_of_rules(shell: Shell) -> None:
    shell.write(
        "both.py", "import then\nrules = then.Rules()\nrules.event('go')\n\ndef main():\n    raise SystemExit(3)\n"
    )
    assert shell("run", "both.py", "go").code == 0


def test_a_script_that_fails_ends_the_command_with_1_and_its_reason(shell: Shell) -> None:
    shell.write("job.py", "def main():\n    print('so far')\n    1 / 0\n")
    said = shell("run", "job.py")
    assert said.code == 1
    assert "exception: ZeroDivisionError: division by zero" in said.out
    id = shell("ps", "--all", "--json").objects[0]["id"]
    assert shell("log", id).out == "so far\n"


def _killed_while_it_asks(shell: Shell, script: str) -> dict[str, str]:
    """Runs `job.py` until it waits for the task `ask`, and kills the engine. Ids of what lives, by type."""
    shell.write("job.py", script)
    shell.write("tasks.then", "task ask()\n")
    program = shell.start("run", "job.py")
    program.read_until("asked ")
    program.signal(SIGKILL)
    program.end()
    return {task["type"]: task["id"] for task in shell("ps", "--json").objects}


def test_a_resume_loads_a_script_from_where_it_was(shell: Shell) -> None:
    ids = _killed_while_it_asks(shell, 'def main():\n    return {"by": wait(run("ask")).result["by"]}\n')
    assert shell("complete", ids["ask"], "done", "by=Ada").code == 0
    assert shell("resume").code == 0
    assert shell("show", ids["job"], "--json").objects[0]["result"] == {"by": "Ada"}


def test_a_script_that_is_no_python_any_more_says_where(shell: Shell) -> None:
    ids = _killed_while_it_asks(shell, 'def main():\n    wait(run("ask"))\n')
    shell.write("job.py", "def main(:\n")
    assert shell("complete", ids["ask"], "done").code == 0
    said = shell("resume")
    assert said.code == 1
    recorded = "`run ask` (job.py:2) is recorded"
    assert f"`the end of main by RuleError: job.py:1:10: invalid syntax (Python)`, and {recorded}" in said.out
    whole = shell("log", ids["job"], "--err").out
    assert "job.py:1:10" in whole
    assert "sources.py" not in whole, "no line of ours, which says nothing to its author"


def test_check_names_what_a_script_starts_and_nothing_declares(shell: Shell) -> None:
    shell.write("fan.py", FAN.replace('"ping"', '"pong"'))
    shell.write("tasks.then", PING + 'task fan(hosts: list[str]) run script "fan.py"\n')
    for path in (".", "tasks.then", "fan.py"):
        said = shell("check", path)
        assert said.code == 0
        assert said.out == (
            'fan.py:2:17: warning T632: nothing declares "pong" (did you mean "ping"?); '
            "declare the task or procedure, or correct the name\n"
        )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, "fan.py: the script cannot be read: no such file or directory"),
        ("def main(:\n", "fan.py:1:10: warning T631: invalid syntax (Python)"),
        ("x = 1\n", 'warning T631: "fan.py" has no main'),
    ],
)
def test_check_says_what_is_wrong_with_a_script(shell: Shell, text: str | None, found: str) -> None:
    if text is not None:
        shell.write("fan.py", text)
    shell.write("tasks.then", 'task fan() run script "fan.py"\n')
    said = shell("check", "tasks.then")
    assert said.code == 0
    assert found in said.out


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('call("ping")', '"ping" is a task, and call is for procedures; start it by run("ping", …)'),
        ('run("gone")', '"gone" is an event, of which nothing comes that could be waited for; emit("gone", …)'),
    ],
)
def test_check_says_which_word_is_for_what(shell: Shell, written: str, said: str) -> None:
    shell.write("fan.py", f"def main(**rest):\n    {written}\n")
    shell.write("tasks.then", PING + 'event gone()\ntask fan() run script "fan.py"\nrule r when gone then fan()\n')
    found = [line for line in shell("check", "tasks.then").out.splitlines() if "T632" in line]
    assert found == [f"fan.py:2:{5 + written.index('(') + 1}: warning T632: {said}"]


STEPS = """\
def main(**rest):
    at = 2

    wait(
        run("ping", host="a"),
    )
    both(at)
    for one in rest: both(one)
    return {"at": at}
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fan.py:2", "no step stands at fan.py:2; the next one is at fan.py:4"),
        ("fan.py:3", "no step stands at fan.py:3; the next one is at fan.py:4"),
        ("fan.py:9", "no step stands at fan.py:9"),
        ("fan.py:99", "no step stands at fan.py:99"),
        ("fun.py:4", 'no task that it is for runs "fun.py" (did you mean "fan.py"?)'),
    ],
)
def test_a_breakpoint_at_a_line_of_a_script_without_a_step_is_told(shell: Shell, line: str, said: str) -> None:
    shell.write("fan.py", STEPS)
    rules = PING + 'task fan() run script "fan.py"\n'
    shell.write("tasks.then", f'{rules}breakpoint b on step of fan at "{line}"\n')
    found = [one for one in shell("check", "tasks.then").out.splitlines() if "T633" in one]
    assert found == [f"tasks.then:{rules.count(chr(10)) + 1}:12: warning T633: {said}; it never stops"]
    with then.Engine(then.Rules().load("tasks.then")) as engine, pytest.raises(RuleError) as refused:
        engine.breakpoints.add("c", f'on step of fan at "{line}"')
    assert str(refused.value) == f'breakpoint "c" would never stop: {said}'


def test_a_breakpoint_at_a_line_of_a_script_that_may_take_a_step_is_taken(shell: Shell) -> None:
    shell.write("lib/fan.py", STEPS)
    lines = [f'breakpoint b{line} on step of fan at "fan.py:{line}"\n' for line in (4, 5, 6, 7, 8)]
    shell.write("tasks.then", PING + 'task fan() run script "lib/fan.py"\n' + "".join(lines))
    assert "T633" not in shell("check", "tasks.then").out
    with then.Engine(then.Rules().load("tasks.then")) as engine:
        engine.breakpoints.add("c", 'on step of any at "lib/fan.py:7"')
    (shell.folder / "lib/fan.py").unlink()
    assert "T633" not in shell("check", "tasks.then").out
