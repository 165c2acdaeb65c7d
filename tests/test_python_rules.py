"""Rules written in Python: what is refused, and in which words."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import then
from then.app.loading import run_python_rules
from then.core.errors import ConfigError, RuleError
from then.language.loading import check_path

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


MISSPELT = """
import then
from then import it

rules = then.Rules()
rules.event("order", total=int)


@rules.task("build")
def build(ref):
    return {}


@rules.when("biuld", "done")
def after(task):
    yield then.emit("order", total=1)


@rules.when("order", it.totl > 1)
def large(order):
    return None


@rules.when("deploy", it.totl > 1)
def other(order):
    return None
"""


def test_names_in_python_that_are_near_a_declared_one_are_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "r.py"
    path.write_text(MISSPELT)
    found = [finding.text() for finding in check_path(path, env={}, load_python=run_python_rules)]
    assert found == [
        f'{path}:14:1: warning T616: nothing declares "biuld" (did you mean "build"?); the rule waits for it',
        f'{path}:19:1: warning T616: order declares no "totl" (did you mean "total"?)',
    ]


def test_a_posted_type_that_is_near_a_declared_one_is_an_event_and_a_warning_at_the_callers_line() -> None:
    rules = then.Rules()
    rules.event("order", total=int)
    rules.when("parcel.*", name="parcels")(lambda parcel: None)
    rules.when("letter", name="letters")(lambda letter: None)
    with then.Engine(rules) as engine:
        with pytest.warns(UserWarning, match="ordre") as warned:
            assert engine.run("ordre", total=1).outcome == "done"
        (warning,) = warned
        assert str(warning.message) == (
            'nothing declares "ordre" (did you mean "order"?), and no rule waits for it: it is taken as an event'
        )
        assert warning.filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for type in ("order", "parcel.orer", "letter", "stranger"):
                engine.run(type, total=1)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"tiemout": "30s"}, 'unknown option of a task "tiemout" (did you mean "timeout"?)'),
        (
            {"run": ("process", ["true"]), "tiemout": "30s"},
            'unknown option of a task "tiemout" (did you mean "timeout"?)',
        ),
        ({"run": ("process", ["true"]), "envv": {}}, 'unknown option of a task "envv" (did you mean "env"?)'),
        ({"env": {}}, 'task "pay": env without run=(…)'),
        ({"run": ("proces", ["true"])}, 'unknown executor "proces" (did you mean "process"?)'),
        ({"run": ("dokcer", "x")}, 'unknown executor "dokcer" (did you mean "docker"?)'),
    ],
)
def test_a_misspelt_option_or_executor_of_a_task_is_refused(given: dict[str, Any], text: str) -> None:
    # Beside a `run` it was handed to an executor, which never asked for it: the task ran without a timeout.
    with pytest.raises(RuleError) as refused:
        then.Rules().task("pay", **given)
    assert str(refused.value).partition(": ")[2] == text


def test_an_executor_of_others_takes_options_of_its_own() -> None:
    then.Rules().task("pay", run=("rocket", "moon"), fuel="7t")
