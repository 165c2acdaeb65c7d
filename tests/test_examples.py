"""Every folder in rules/ runs as its README says and prints what its expect.txt holds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import then
from tests.docker_engine import DockerEngine
from tests.examples import EXAMPLES, ROOT, WITH_CONTAINERS, commands, transcript, unordered


@pytest.mark.parametrize("example", [example for example in EXAMPLES if example not in WITH_CONTAINERS])
def test_an_example_prints_what_it_says(example: str) -> None:
    expected = (ROOT / "rules" / example / "expect.txt").read_text()

    assert unordered(transcript(example)) == unordered(expected)


@pytest.mark.slow
@pytest.mark.parametrize("example", sorted(WITH_CONTAINERS))
def test_an_example_with_containers_prints_what_it_says(example: str, docker_engine: DockerEngine) -> None:
    expected = (ROOT / "rules" / example / "expect.txt").read_text()

    assert unordered(transcript(example)) == unordered(expected)
    assert docker_engine.client.containers.list(all=True, filters={"label": "then"}) == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_shows_a_command(example: str) -> None:
    assert commands(example)


PYTHON_NAMED = """\
let interpreter = env("THEN_PYTHON") ?? "none"
event go(python: str)
final rule own when go as g where python == interpreter then go(python: "again")
"""


def _knows_python(folder: Path, python: str) -> bool:
    (folder / "named.then").write_text(PYTHON_NAMED)
    rules = then.Rules().load(folder / "named.then")
    return bool(rules.match(then.Task("go", {"python": python}, outcome="done", event=True)))


def test_rules_find_the_interpreter_that_runs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THEN_PYTHON", raising=False)

    assert _knows_python(tmp_path, sys.executable)


def test_an_interpreter_that_the_environment_names_goes_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEN_PYTHON", "/opt/other/python")

    assert _knows_python(tmp_path, "/opt/other/python")
    assert not _knows_python(tmp_path, sys.executable)
