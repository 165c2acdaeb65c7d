"""`andthen prune`, and `completion`."""

from __future__ import annotations

import os

import pytest

import then
from tests.cli.shell import RULES, Shell
from tests.cli.terminal import ROOT
from tests.docker_engine import DockerEngine


def _flows(shell: Shell) -> list[str]:
    return [flow["id"] for flow in shell("flows", "--json").objects]


@pytest.fixture
def flows(shell: Shell) -> list[str]:
    """Three flows that ended."""
    shell.write("rules.py", RULES)
    for n in range(3):
        shell("run", "rules.py", "go", f"n={n}")
    return _flows(shell)


def test_flows_are_taken_away_by_age_number_or_name(shell: Shell, flows: list[str]) -> None:
    assert shell("prune", "--older", "1h") == (0, "", "0 flows, 0 records, 0 journal entries gone\n")
    said = shell("prune", "--flow", flows[1])
    assert (said.code, said.out) == (0, f"{flows[1]}\n")
    assert _flows(shell) == [flows[0], flows[2]]
    assert shell("prune", "--keep", "1").out == f"{flows[0]}\n"
    assert shell("prune", "--older", "0s", "--json").objects == [{"flow": flows[2]}]
    assert _flows(shell) == []


def test_a_dry_run_says_what_would_go(shell: Shell, flows: list[str]) -> None:
    said = shell("prune", "--keep", "1", "--dry-run")
    assert said.out.split() == flows[:2]
    assert said.err.startswith("2 flows, 4 records, ")
    assert said.err.endswith(" journal entries would go\n")
    assert _flows(shell) == flows


def test_without_a_word_what_is_older_than_the_retention_goes(
    shell: Shell, flows: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shell("prune").out == ""
    monkeypatch.setenv("THEN_RETENTION", "0s")
    assert shell("prune").out.split() == flows
    monkeypatch.setenv("THEN_RETENTION", "off")
    said = shell("prune")
    assert (said.code, said.err) == (2, "andthen: the retention is off; say --older TIME, --keep N or --flow ID\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--flow", "0", "--keep", "1"], "--flow names one flow; --older and --keep go without it"),
        (["--older", "soon"], '--older: "soon" is no span of time; write 30d, 12h, 5m, 90s or 250ms'),
        (["--flow", "zz"], 'no record has an id that begins with "zz"; `andthen ps --all` lists them'),
    ],
)
def test_what_cannot_be_meant_is_refused(shell: Shell, flows: list[str], words: list[str], text: str) -> None:
    assert shell("prune", *words) == (2, "", f"andthen: {text}\n")


def test_a_running_engine_takes_away_what_it_is_told_to(shell: Shell, flows: list[str]) -> None:
    with then.Engine(None, ".then"):
        assert shell("prune", "--keep", "0").out.split() == flows
        assert _flows(shell) == []


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_each_shell_gets_what_makes_it_complete(shell: Shell, name: str) -> None:
    said = shell("completion", name)
    assert said.code == 0
    assert "_ANDTHEN_COMPLETE" in said.out


def _complete(shell: Shell, *words: str) -> list[str]:
    program = shell.start(
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "_ANDTHEN_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("andthen", *words)),
            "COMP_CWORD": str(len(words)),
        }
    )
    said = program.end()
    assert said.err == ""
    return [line.split(",", 1)[1] for line in said.out.split()]


@pytest.mark.slow
def test_commands_ids_types_and_outcomes_are_completed(shell: Shell, flows: list[str]) -> None:
    assert _complete(shell, "co") == ["complete", "continue", "completion"]
    assert _complete(shell, "show", flows[1][:-1]) == [flows[1]]
    assert _complete(shell, "post", "bu") == ["build"]
    assert _complete(shell, "run", "rules.py", "pu") == ["publish"]
    assert _complete(shell, "complete", "x", "") == ["done", "failed", "cancelled", "timed_out"]


@pytest.mark.slow
def test_where_nothing_is_known_nothing_is_completed_and_nothing_said(shell: Shell) -> None:
    assert _complete(shell, "show", "0") == []
    assert _complete(shell, "run", "absent.py", "x") == []


def test_containers_that_go_are_counted(shell: Shell, docker_engine: DockerEngine) -> None:
    run = f'run docker "{docker_engine.image}" host "{docker_engine.host}" args ["true"] network none keep always'
    shell.write("kept.then", f"task kept() {run}\nstart kept()\n")
    assert shell("run", "kept.then").code == 0
    said = shell("prune", "--keep", 0)
    assert (said.code, said.err) == (0, "1 flow, 1 record, 2 journal entries, 1 container gone\n")
