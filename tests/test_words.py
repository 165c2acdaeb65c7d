"""Words of scripts that ask for what cannot be: each is refused, and says where."""

from __future__ import annotations

from pathlib import Path

import pytest

import then
from tests.scripted import error, project


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run()", "run takes the type of a task"),
        ("run('a', 'b')", "here are 2"),
        ("run('no name!')", "is no name"),
        ("run('work', n=object())", "no JSON value"),
        ("wait(any=[])", "would wait for ever"),
        ("wait(5)", "to let time pass, sleep(5)"),
        ("wait(0)", "to let time pass, sleep(0)"),
        ("wait([5])", "the name of a task, or a list of these is waited for"),
        ("wait(any=5)", "wait(any=5): a handle that run gave"),
        ("wait({'work'})", "or a list of these is waited for"),
        ("run(5)", "run(5): a name is expected, as text"),
        ("emit(None)", "emit(None): a name is expected, as text"),
        ("wait(run('work', n=1), timeout='soon')", "is no span of time"),
        ("sleep(-1)", "is no time at all"),
        ("save('x', object())", "no JSON value"),
        ("call('twice', n='text')", "twice"),
        (r"log('\ud800')", "half of a surrogate pair"),
        (r"load('\ud800')", "half of a surrogate pair"),
        (r"run('work', n='\ud800')", "half of a surrogate pair"),
        ("run('nobody', n=1).wait()", 'nothing here runs "nobody"'),
        ("call('work', n=1)", '"work" is a task, and call is for procedures; run("work", …) starts it'),
        ("call('twise', n=1)", '"twise" is no procedure (did you mean "twice"?)'),
        ("call('note', text='x')", '"note" is no procedure'),
        (
            "run('note', text='x')",
            '"note" is an event, of which nothing comes that could be waited for; emit("note", …)',
        ),
        ("emit('note', txt='x')", "note"),
    ],
)
def test_what_a_step_cannot_do_is_raised_where_it_stands(tmp_path: Path, text: str, said: str) -> None:
    assert said in error(tmp_path, f"def main():\n    {text}\n")["message"]


@pytest.mark.parametrize(
    "text", ["wait(5)", "call('work', n=1)", "emit('note', txt='x')", "load('x')", "run('work', n=set())"]
)
def test_the_message_of_a_step_that_is_refused_begins_with_its_place(tmp_path: Path, text: str) -> None:
    script = f"def helper():\n    return 'ö', {text}\n\ndef main():\n    helper()\n"
    assert ": job.py:2:17: " in error(tmp_path, script)["message"]


def test_an_emission_that_nothing_declares_fails_with_its_line(tmp_path: Path) -> None:
    with then.Engine(project(tmp_path, "def main():\n    emit('nope', n=1)\n")) as engine:
        flow = engine.run("job")
        assert flow.outcome == "failed"
        job, nope = flow.tasks
    assert (job.outcome, nope.outcome, nope.rule) == ("done", "failed", "job.py:2")
    assert nope.error == {"kind": "no_executor", "message": 'nothing here runs "nope" and it is no declared event'}
