"""Rules written in Python: what is refused, and in which words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import then
from then.core.errors import ConfigError, RuleError

ROOT = Path(__file__).parent.parent


def test_an_outcome_that_is_none_is_refused_with_those_there_are() -> None:
    """They came out of a set: in another order in each process."""
    with pytest.raises(RuleError) as refused:
        then.Rules().when("build", "doen")
    assert str(refused.value).partition(": ")[2] == (
        '"doen" is no outcome (did you mean "done"?);'
        " one of done, failed, cancelled, timed_out, finished, retried, event"
    )


SHADOWED = """
event e(a: int, b: int)
task t()
final rule b when e where b == 1 then t()
final rule a when e where a == 1 then t()
rule late when e where a == 1 and b == 1 then t()
"""


@pytest.mark.slow
def test_the_same_rules_get_the_same_warnings_in_every_process(tmp_path: Path) -> None:
    """Clauses lay in a set: which of two final rules was named changed from run to run."""
    (tmp_path / "r.then").write_text(SHADOWED)
    said = {
        subprocess.run(
            [sys.executable, "-m", "then", "check", "r.then"],
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)},
            cwd=tmp_path, capture_output=True, text=True, check=True,
        ).stdout
        for seed in range(1, 7)
    }  # fmt: skip
    assert len(said) == 1
    assert '"late" never fires: the final rule "a"' in said.pop()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("nope", "rules: 'nope' is a path, and an engine takes rules: give then.Rules().load('nope')"),
        (
            Path("a/b.then"),
            "rules: 'a/b.then' is a path, and an engine takes rules: give then.Rules().load('a/b.then')",
        ),
        (
            then,
            "rules: what is given is the module then, and an engine takes rules: give then.Rules(), or those of a file",
        ),
        (then.Rules, "rules: what is given is the class Rules, and"),
        ([], "rules: what is given is of type list, and"),
    ],
    ids=["text", "path", "module", "class", "list"],
)
def test_an_engine_says_what_it_takes_before_it_touches_anything(tmp_path: Path, given: Any, text: str) -> None:
    """It was an AttributeError, and the state folder was there."""
    with pytest.raises(ConfigError) as refused:
        then.Engine(given, tmp_path / "state")
    assert str(refused.value).startswith(text)
    assert not (tmp_path / "state").exists()
    with then.Engine(then.Rules()) as engine, pytest.raises(ConfigError) as refused:
        engine.reload(given)
    assert str(refused.value).startswith(text)
