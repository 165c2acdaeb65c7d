"""Rules written in Python: what is refused, and in which words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import then
from then.core.errors import RuleError

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
