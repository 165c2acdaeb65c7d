"""Commands as careless people type them, and rules and signals that would never end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import then
from tests.cli.shell import Shell
from tests.cli.terminal import ROOT
from then.core import errors

RULES = """
event go(n: int)
event ping(n: int)
event pong(n: int)
task note(text: str) run process ["true"]
rule to when ping as p then pong(n: p.n + 1)
rule fro when pong as p where n < 100000 then ping(n: p.n + 1)
rule start when go as g then note(text: "{g.n}")
"""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runn"], 'andthen: no command "runn" (did you mean "run"?)'),
        (["../run"], 'andthen: no command "../run"'),
        ([""], 'andthen: no command ""'),
        (["run"], "andthen run: missing argument 'PATH'"),
        (["run", "r.then", "go", "n=1", "--timeout", "soon"], '--timeout: "soon" is no span of time'),
        (["run", "r.then", "go", "n=1", "--timeout", "-1s"], '--timeout: "-1s" is no span of time'),
        (["run", "r.then", "go", "n=1", "--timeout", "1y"], '--timeout: "1y" is no span of time'),
        (["run", "r.then", "go", "n=1", "--timeout", "9" * 400], "--timeout: more than a hundred years"),
        (["run", "r.then", "go", "n=1", "-j", "0"], "-j"),
        (["run", "r.then", "go", "n=1", "-j", "many"], "-j"),
        (["run", "r.then", "go", "n=1", "--nope"], "no such option"),
        (["run", "r.then", "go", "n=1", "-r", "cores=nan"], "resource cores=nan: a whole number of 0 or more"),
        (["check", "r.then", "-r", "memory=inf"], "resource memory=inf: a whole number of 0 or more"),
        (["prune", "--older", "ever"], '--older: "ever" is no span of time'),
        (["log", "zzz"], 'no record has an id that begins with "zzz"; `andthen ps --all` lists them'),
        (["log", "../../etc/passwd"], 'no record has an id that begins with "../../etc/passwd"'),
        (["log", "a\nb"], "no record has an id that begins with"),
        (["log", "%"], 'no record has an id that begins with "%"'),
        (["show", "zzz"], "zzz"),
        (["cancel", "zzz"], 'no record has an id that begins with "zzz"'),
        (["retry", "zzz"], 'no record has an id that begins with "zzz"'),
        (["continue", "zzz"], 'no record has an id that begins with "zzz"'),
        (["complete", "zzz", "done"], 'no record has an id that begins with "zzz"'),
        (["complete", "0", "won"], "won"),
        (["cancel", "0"], 'several ids begin with "0"'),
        (["log", ""], "several ids begin with"),
        (["post", "go", "n=1", "--flow", "zzz"], "zzz"),
        (["fmt", "absent.then"], "absent.then"),
        (["--state", "absent", "ps"], "absent: holds no journal; `andthen run` makes one, --state names another folder"),
        (["--state", "r.then", "ps"], "r.then: a file and no folder"),
        (["--state", "a\tb", "ps"], "holds no journal"),
    ],
)  # fmt: skip
def test_what_is_mistyped_is_refused_in_few_words(shell: Shell, words: list[str], message: str) -> None:
    shell.write("r.then", RULES)
    assert shell("run", "r.then", "go", "n=1").code == 0
    assert shell("run", "r.then", "pong", "n=100000").code == 0
    before = shell("flows", "--json").out
    said = shell(*words)
    assert said.code == (3 if "a file and no folder" in message else 2)
    assert message in said.err
    assert said.out == ""
    assert said.err.count("\n") <= 2
    assert "fault of andthen" not in said.err
    assert shell("flows", "--json").out == before


@pytest.mark.slow
def test_rules_that_emit_for_ever_are_held_with_the_cycle_and_may_be_cancelled_or_go_on(shell: Shell) -> None:
    shell.write("r.then", RULES)
    said = shell("run", "r.then", "ping", "n=1", "--json")
    assert said.code == 4
    flow = said.objects[-1]["flow"]
    assert (
        f"flow {flow} is held: 10000 events in a row without a task that ran: ping by rule fro -> pong by rule to -> …;"
        in said.err
    )
    assert f"`andthen continue {flow}` lets it go on" in said.err
    assert shell("run", "r.then", "pong", "n=100000").code == 0
    (held,) = shell("ps", "--json").objects
    assert held["state"] == "held"

    shell("continue", flow)
    said = shell("resume", "--json")
    assert said.code == 4
    (further,) = shell("ps", "--json").objects
    assert further["body"]["n"] - held["body"]["n"] == 10_000

    assert shell("cancel", flow).code == 0
    assert shell("ps", "--json").out == ""
    flows = {each["id"]: each["outcome"] for each in shell("flows", "--json").objects}
    assert flows[flow] == "cancelled"
    assert sorted(flows.values()) == ["cancelled", "done"]


@pytest.mark.slow
@pytest.mark.parametrize("words", [["flows"], ["ps", "--all", "--json"], ["log", "LOUD"]])
def test_a_reader_that_goes_ends_a_command_with_141_and_no_word(shell: Shell, words: list[str]) -> None:
    shell.write("r.then", 'task loud() run process ["sh", "-c", "yes | head -c 1000000"]\nstart loud()\n')
    said = shell("run", "r.then", "--json")
    command = " ".join(word.replace("LOUD", said.objects[0]["id"]) for word in words)
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m then {command} | true; echo ${{PIPESTATUS[0]}}'],
        cwd=shell.folder, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    # What is short may have been taken by the pipe before its reader went.
    assert done.stdout.strip() in (("141",) if "log" in command else ("141", "0"))


@pytest.mark.slow
def test_ten_thousand_rules_load_and_run(shell: Shell) -> None:
    rules = "".join(f"rule r{n} when go where n == {n} then note(n: {n})\n" for n in range(10_000))
    shell.write("r.then", f'event go(n: int)\ntask note(n: int) run process ["true"]\n{rules}')
    said = shell("run", "r.then", "go", "n=7777", "--json")
    assert said.code == 0
    assert [record["rule"] for record in said.objects[1:2]] == ["r7777"]


@pytest.mark.slow
def test_killed_in_the_middle_a_run_is_taken_up_with_nothing_lost_or_done_twice(shell: Shell) -> None:
    shell.write(
        "r.then",
        """
event go()
task step(n: int) run process ["sh", "-c", "echo {n} >> done; read line < gate{n}"]
task last() run process ["true"]
rule begin when go then step(n: 1), step(n: 2) then last()
start go()
""",
    )
    gates = [shell.fifo("gate1"), shell.fifo("gate2")]
    run = shell.start("run", "r.then", "-j", "2")
    run.read_until("started    step")
    run.read_until("started    step")
    run.signal(signal.SIGKILL)
    assert run.end().code == -signal.SIGKILL
    again = shell.start("resume", "--json")
    for gate in gates:
        gate.write_text("go\n")
    said = again.end()
    assert said.code == 0
    assert said.objects[-1]["outcome"] == "done"
    assert sorted((shell.folder / "done").read_text().split()) == ["1", "2"]


# -- Python --------------------------------------------------------------------------


def test_an_engine_is_told_what_it_cannot_take(tmp_path: Path) -> None:
    rules = then.Rules()
    rules.event("go")
    with then.Engine(rules) as engine:
        with pytest.raises(errors.ConfigError, match='"won" is no outcome'):
            engine.complete("x", "won")  # type: ignore[arg-type]
        with pytest.raises(errors.UnknownId, match='no record has an id that begins with "x"'):
            engine.complete("x")
        assert engine.run("go").outcome == "done"
    with pytest.raises(errors.ThenError):
        engine.post("go")


def test_a_rule_that_exits_or_raises_fails_alone() -> None:
    rules = then.Rules()
    rules.event("go")
    rules.event("fine")

    @rules.when("go")
    def leave(go: then.Task) -> object:
        yield sys.exit(3)

    @rules.when("go", lambda go: sys.exit(4))
    def ask_and_leave(go: then.Task) -> object:
        yield then.emit("fine")

    with then.Engine(rules) as engine:
        flow = engine.run("go")
        types = [record.task.type for record in engine.history().flow(flow.id).records.values()]
        assert types == ["go", "rule.failed"]
        assert engine.run("fine").outcome == "done"


def test_a_task_whose_exception_cannot_be_printed_fails_like_any() -> None:
    rules = then.Rules()

    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    @rules.task("mute")
    def mute() -> None:
        raise Mute

    @rules.task("leave")
    async def leave() -> None:
        sys.exit(5)

    with then.Engine(rules) as engine:
        assert engine.run("mute").outcome == "failed"
        assert engine.run("leave").outcome == "failed"
        assert engine.run("mute").outcome == "failed"
