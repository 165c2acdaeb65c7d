"""`andthen log`: outputs of tasks, raw to pipes, clean to terminals, whole and growing."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from signal import SIGKILL
from typing import Any

import pytest

from tests.cli.shell import RULES, Shell, normal
from tests.cli.terminal import ROOT
from tests.docker_engine import DockerEngine


def _run(shell: Shell, script: str) -> str:
    """A process that was run. Gives its id."""
    shell.write(
        "rules.then", f'task t() run process ["sh", "-c", r"{script}"]\nevent go()\nrule r when go then t(), t()\n'
    )
    return str(shell("run", "rules.then", "t", "--json").objects[-1]["flow"])


def test_standard_output_and_error_of_a_process_go_to_ours(shell: Shell) -> None:
    id = _run(shell, "echo out; echo err >&2; exit 1")
    said = shell("log", id)
    assert (said.code, said.out, said.err) == (0, "out\n", "err\n")
    assert shell("log", id, "--out") == (0, "out\n", "")
    assert shell("log", id, "--err") == (0, "err\n", "")


def test_the_last_lines_of_each(shell: Shell) -> None:
    id = _run(shell, "seq 100000; seq 5 >&2; printf end >&2")
    said = shell("log", id, "-n", "2")
    assert (said.out, said.err) == ("99999\n100000\n", "5\nend")
    assert shell("log", id, "-n", "0", "--out").out == ""
    assert shell("log", id, "-n", "30000", "--out").out.splitlines()[0] == "70001"
    assert shell("log", id, "-n", "200000", "--out").out.splitlines()[0] == "1"


def test_as_json_each_line_is_an_object(shell: Shell) -> None:
    id = _run(shell, "echo one; printf two; echo three >&2")
    said = shell("log", id, "--json")
    assert sorted((line["stream"], line["line"]) for line in said.objects) == [
        ("err", "three"),
        ("out", "one"),
        ("out", "two"),
    ]
    assert said.err == ""


@pytest.mark.slow
def test_to_a_pipe_it_is_byte_for_byte(shell: Shell) -> None:
    id = _run(shell, r"printf '\000\377\033[2J\r\n\033[31mred'")
    program = shell.start("log", id, text=False)
    out, err = program.process.communicate()
    assert (program.process.returncode, out, err) == (0, b"\x00\xff\x1b[2J\r\n\x1b[31mred", b"")


@pytest.mark.slow
def test_to_a_terminal_only_colours_pass(shell: Shell) -> None:
    id = _run(shell, r"printf '\033[2J\033]0;title\007a\033[31mred\033[0m\n10%%\r100%%\n\377\n'")
    ours, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "then", "log", id],
        cwd=shell.folder,
        stdout=its,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        os.close(its)
        seen = b""
        try:
            while data := os.read(ours, 4096):
                seen += data
        except OSError:  # The other end of a terminal was closed.
            pass
        os.close(ours)
    assert process.returncode == 0
    assert seen == b"a\x1b[31mred\x1b[0m\x1b[0m\r\n100%\r\n\\xff\r\n"


@pytest.mark.slow
def test_followed_it_goes_on_until_the_task_has_ended(shell: Shell) -> None:
    gate = shell.fifo("gate")
    shell.write(
        "rules.then", 'task t() run process ["sh", "-c", r"echo begun; read line < gate; echo $line"]\nstart t()\n'
    )
    program = shell.start("run", "rules.then", "--json")
    id = json.loads(program.read_until('"running"').splitlines()[-1])["id"]
    follower = shell.start("log", "-f", id)
    assert follower.read_until("begun") == "begun\n"
    gate.write_text("came\n")
    assert follower.end() == (0, "came\n", "")
    assert program.end().code == 0


@pytest.mark.slow
def test_a_follower_outlives_the_engine_and_ends_with_3_when_the_process_has_gone_too(shell: Shell) -> None:
    """It waited for ever: no engine, no end in the journal."""
    gate = shell.fifo("gate")
    shell.write(
        "rules.then", 'task t() run process ["sh", "-c", r"echo begun; read line < gate; echo $line"]\nstart t()\n'
    )
    program = shell.start("run", "rules.then", "--json")
    id = json.loads(program.read_until('"running"').splitlines()[-1])["id"]
    follower = shell.start("log", "-f", id)
    assert follower.read_until("begun") == "begun\n"
    program.signal(SIGKILL)
    program.end()
    (task,) = shell("ps", "--json").objects
    assert (task["id"], task["state"], task["started"] is not None) == (id, "running", True)
    assert "state      running\n" in shell("show", id).out
    gate.write_text("came\n")
    assert follower.end() == (
        3,
        "came\n",
        f"t ({id}): it has ended, and no engine runs here to take that up; `andthen resume` goes on\n",
    )
    (task,) = shell("ps", "--json").objects
    assert task["state"] == "waiting"
    assert shell("log", id) == (0, "begun\ncame\n", "")
    assert shell("resume").code == 0
    assert shell("log", "-f", id) == (0, "begun\ncame\n", "")


@pytest.mark.slow
def test_a_follower_of_a_container_hears_that_it_may_run_on_without_an_engine(
    shell: Shell, docker_engine: DockerEngine
) -> None:
    args = 'args ["sh", "-c", "echo up; sleep 1000000"] network none'
    shell.write(
        "r.then", f'task c()\n  run docker "{docker_engine.image}" {args} host "{docker_engine.host}"\nstart c()\n'
    )
    program = shell.start("run", "r.then")
    id = program.read_until("started")[:13]
    follower = shell.start("log", "-f", id)
    follower.read_until("up")
    program.signal(SIGKILL)
    program.end()
    code, _, said = follower.end()
    try:
        assert code == 3
        assert "may run on, and no engine runs here to follow it; `andthen" in said
        assert "neither it" not in said
    finally:
        for container in docker_engine.client.containers.list(all=True, filters={"label": f"then={id}"}):
            container.remove(force=True)


@pytest.mark.slow
def test_a_follower_of_a_function_ends_with_3_when_its_engine_was_killed(shell: Shell) -> None:
    gate = shell.fifo("gate")
    shell.write(
        "rules.py",
        "import then\nrules = then.Rules()\n@rules.task('f')\ndef f():\n    print(open('gate').read())\n",
    )
    program = shell.start("run", "rules.py", "f")
    with gate.open("w"):  # It reads.
        id = program.read_until("started")[:13]
        follower = shell.start("--state", shell.folder / ".then", "log", "-f", id)
        program.signal(SIGKILL)
        program.end()
    assert follower.end() == (
        3,
        "",
        f"f ({id}): neither it nor an engine runs here; `andthen --state {shell.folder / '.then'} resume` goes on\n",
    )
    assert shell("ps").err == "no engine runs here: `andthen resume` goes on\n"


@pytest.mark.slow
def test_a_follower_whose_reader_has_gone_ends_with_141(shell: Shell) -> None:
    gate = shell.fifo("gate")
    shell.write("rules.then", 'task t() run process ["sh", "-c", r"echo begun; read line < gate"]\nstart t()\n')
    program = shell.start("run", "rules.then", "--json")
    id = json.loads(program.read_until('"running"').splitlines()[-1])["id"]
    follower = shell.start("log", "-f", id)
    follower.read_until("begun")
    stdout: Any = follower.process.stdout
    stdout.close()
    follower.process.stdout = None
    assert follower.end() == (141, "", "")
    gate.write_text("go\n")
    assert program.end().code == 0


def test_of_a_failed_function_the_traceback(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    id = shell("run", "rules.py", "publish", "image=bad", "--json").objects[-1]["flow"]
    said = shell("log", id)
    assert said.out == ""
    assert said.err.startswith("Traceback (most recent call last):\n")
    assert said.err.endswith("ValueError: no place for bad\n")
    assert shell("log", id, "--err").out == said.err


def test_of_what_wrote_nothing_it_says_so(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    id = shell("run", "rules.py", "publish", "image=x", "--json").objects[-1]["flow"]
    said = shell("log", id)
    assert (said.code, said.out, normal(said.err)) == (0, "", "publish (ID1) wrote nothing\n")


def test_of_a_process_that_could_not_be_started_the_error(shell: Shell) -> None:
    shell.write("rules.then", 'task t() run process ["no such program"]\nstart t()\n')
    ran = shell("run", "rules.then")
    assert ran.code == 1
    said = shell("log", shell("flows", "--json").objects[0]["id"])
    assert said.code == 0
    assert "no such program" in said.err


def test_of_the_root_of_a_flow_all_outputs_each_under_its_name(shell: Shell) -> None:
    _run(shell, "echo hello")
    assert shell("run", "rules.then", "go").code == 0
    said = shell("log", shell("flows", "-n", "1", "--json").objects[0]["id"])
    assert normal(said.out) == "==> t ID1 out <==\nhello\n==> t ID2 out <==\nhello\n"
