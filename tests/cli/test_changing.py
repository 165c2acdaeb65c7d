"""`post`, `complete`, `cancel`, `retry`, `continue`: at a running engine, and where none runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

import then
from tests.cli.shell import PEOPLE, RULES, Shell, normal

NO_ENGINE = "no engine runs here: `andthen resume` goes on\n"


@pytest.fixture(params=["desk", "engine"])
def said_of_engine(request: pytest.FixtureRequest, shell: Shell) -> Iterator[str]:
    """A state with the rules of PEOPLE in force; what a command says of the engine: it runs, or none does."""
    shell.write("people.then", PEOPLE)
    rules = then.Rules().load("people.then")
    with then.Engine(rules, ".then"):
        if request.param == "engine":
            yield ""
    if request.param == "desk":
        yield NO_ENGINE


def _post(shell: Shell, *words: str) -> str:
    said = shell("post", *words, "--json")
    assert said.code == 0, said.err
    return str(said.objects[0]["flow"])


def _live(shell: Shell) -> list[dict[str, Any]]:
    return shell("ps", "--json").objects


def test_a_posted_record_is_in_the_journal_when_the_command_ends(shell: Shell, said_of_engine: str) -> None:
    said = shell("post", "go", "n=3")
    assert (said.code, said.err) == (0, said_of_engine)
    assert normal(said.out) == "ID1\n"
    (task,) = _live(shell)
    assert (task["type"], task["body"], task["flow"]) == ("ask", {"text": "n is 3"}, said.out.strip())


def test_a_post_asks_for_no_resources_and_the_engine_that_goes_on_does(shell: Shell) -> None:
    shell.write("seats.then", 'event go()\ntask s() run process ["true"] needs {seat: 1}\nrule a when go then s()\n')
    assert shell("run", "seats.then", "go", "-r", "seat=1").code == 0
    assert shell("post", "go").code == 0
    assert shell("resume").code == 2
    assert shell("resume", "-r", "seat=1").code == 0


def test_the_same_key_twice_is_the_same_record(shell: Shell, said_of_engine: str) -> None:
    first = _post(shell, "go", "n=3", "--key", "order 7")
    assert _post(shell, "go", "n=3", "--key", "order 7") == first
    assert len(_live(shell)) == 1
    refused = shell("post", "go", "n=4", "--key", "order 7")
    assert (refused.code, refused.out) == (2, "")
    assert 'key "order 7" stands for another go' in refused.err


def test_a_record_may_join_an_open_flow(shell: Shell, said_of_engine: str) -> None:
    flow = _post(shell, "go", "n=1")
    assert _post(shell, "ask", "text=more", "--flow", flow) == flow
    assert {task["flow"] for task in _live(shell)} == {flow}
    refused = shell("post", "ask", "text=x", "--flow", "0123456789abc")
    assert (refused.code, refused.out) == (2, "")
    assert 'no open flow "0123456789abc"' in refused.err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["gone"], 'unknown task or event "gone"'),
        (["go", "n=x"], 'go: n: the text "x", int is declared'),
        (["go", "m=1"], 'go has no field "m"'),
        (["go"], "go: n: missing, int is declared"),
    ],
)
def test_what_the_rules_in_force_refuse_is_refused_with_2(
    shell: Shell, said_of_engine: str, words: list[str], text: str
) -> None:
    said = shell("post", *words)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"andthen: {text}")
    assert not _live(shell)


def test_a_person_reports_and_the_flow_goes_on(shell: Shell, said_of_engine: str) -> None:
    _post(shell, "go", "n=1")
    (ask,) = _live(shell)
    said = shell("complete", ask["id"][:13], "done", "answer=yes")
    assert (said.code, said.out, said.err) == (0, f"{ask['id']}\n", said_of_engine)
    shown = shell("show", ask["id"], "--json").objects[0]
    assert (shown["outcome"], shown["result"]) == ("done", {"answer": "yes"})
    notes = shell("ps", "--all", "--type", "note", "--json").objects
    assert [note["body"] for note in notes] == [{"answer": "yes"}]


def test_a_report_of_another_type_than_declared_is_refused(shell: Shell) -> None:
    shell.write("count.then", "event go()\ntask count() -> (n: int)\n")
    shell("run", "count.then", "go")
    id = _post(shell, "count")
    said = shell("complete", id, "done", "n=many")
    assert (said.code, said.out) == (2, "")
    assert 'count: n: the text "many", int is declared' in said.err
    # It ended the task as failed, and with it the flow, for good: a field forgotten, and a release is off.
    assert "count: n: missing, int is declared" in shell("complete", id, "done").err
    assert 'count: n: missing, int is declared (is it given as "nn"?)' in shell("complete", id, "done", "nn=7").err
    assert shell("show", id, "--json").objects[0]["outcome"] is None
    assert shell("complete", id, "done", "n=7").code == 0
    assert shell("show", id, "--json").objects[0]["result"] == {"n": 7}


def test_a_person_may_report_a_failure_with_its_fields(shell: Shell, said_of_engine: str) -> None:
    _post(shell, "go", "n=1")
    (ask,) = _live(shell)
    assert shell("complete", ask["id"], "failed", "kind=nobody", "message=no one was there").code == 0
    shown = shell("show", ask["id"], "--json").objects[0]
    assert shown["outcome"] == "failed"
    assert (shown["error"]["kind"], shown["error"]["message"]) == ("nobody", "no one was there")
    assert [flow["outcome"] for flow in shell("flows", "--json").objects] == ["failed"]


def test_a_late_report_is_recorded_and_has_no_effect(shell: Shell, said_of_engine: str) -> None:
    _post(shell, "go", "n=1")
    (ask,) = _live(shell)
    shell("complete", ask["id"], "done", "answer=yes")
    late = shell("complete", ask["id"], "done", "answer=no")
    assert late.code == 0
    assert (
        late.err
        == said_of_engine + f"ask ({ask['id']}) had ended already, done; the report is recorded and has no effect\n"
    )
    shown = shell("show", ask["id"], "--json").objects[0]
    assert shown["result"] == {"answer": "yes"}
    assert [(report["outcome"], report["by"]) for report in shown["late"]] == [("done", "person")]


@pytest.mark.parametrize(
    ("outcome", "text"),
    [("fine", '"fine" is no outcome; one of done, failed, cancelled, timed_out'), ("", '"" is no outcome')],
)
def test_an_outcome_that_is_none_is_refused(shell: Shell, said_of_engine: str, outcome: str, text: str) -> None:
    _post(shell, "go", "n=1")
    said = shell("complete", _live(shell)[0]["id"], outcome)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"andthen: {text}")


def test_what_an_executor_runs_is_not_reported_on_by_a_person(shell: Shell) -> None:
    shell.write("people.then", PEOPLE)
    shell("run", "people.then", "go", "n=1", "--timeout", "1ms")
    id = _post(shell, "note", "answer=x")
    said = shell("complete", id, "done")
    assert (said.code, said.out) == (2, "")
    assert 'is run by "process"' in said.err


def test_a_record_and_what_descends_from_it_is_cancelled(shell: Shell, said_of_engine: str) -> None:
    flow = _post(shell, "go", "n=1")
    (ask,) = _live(shell)
    said = shell("cancel", ask["id"])
    assert (said.code, said.out, said.err) == (0, f"{ask['id']}\n", said_of_engine)
    assert not _live(shell)
    assert shell("cancel", flow).err == said_of_engine + f"nothing of {flow} is live\n"


def test_of_an_event_its_flow_is_cancelled(shell: Shell, said_of_engine: str) -> None:
    flow = _post(shell, "go", "n=1")
    assert shell("cancel", flow).code == 0
    assert [one["outcome"] for one in shell("flows", "--json").objects] == ["cancelled"]


def test_an_id_that_nothing_has_is_refused_with_2(shell: Shell, said_of_engine: str) -> None:
    for command in (["cancel", "zz"], ["retry", "zz"], ["continue", "zz"], ["complete", "zz", "done"]):
        said = shell(*command)
        assert (said.code, said.out) == (2, "")
        assert said.err == 'andthen: no record has an id that begins with "zz"; `andthen ps --all` lists them\n'


def test_what_is_not_held_cannot_be_continued(shell: Shell, said_of_engine: str) -> None:
    _post(shell, "go", "n=1")
    said = shell("continue", _live(shell)[0]["id"])
    assert (said.code, said.out) == (2, "")
    assert "is not held; `andthen ps` shows what is" in said.err


def test_a_failure_is_tried_again_and_its_flow_reopened(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    flow = shell("run", "rules.py", "publish", "image=bad", "--json").objects[-1]["flow"]
    said = shell("retry", flow)
    assert (said.code, said.err) == (0, NO_ENGINE)
    shown = shell("show", said.out.strip(), "--json").objects[0]
    assert (shown["attempt"], shown["origin"], shown["state"], shown["flow"]) == (2, flow, "waiting", flow)
    assert shell("show", flow, "--json").objects[0]["taken_up"] is True
    shell.write("rules.py", RULES.replace('"bad" in image', '"worse" in image'))
    assert shell("resume").code == 0
    assert [one["outcome"] for one in shell("flows", "--json").objects] == ["done"]
    well = shell("retry", shown["id"])
    assert (well.code, well.out) == (2, "")
    assert well.err == f"andthen: publish ({shown['id']}) is done; what failed can be tried again\n"


def test_where_no_rules_are_in_force_a_post_is_refused_with_2(shell: Shell) -> None:
    with then.Engine(then.Rules(), ".then"):
        pass
    said = shell("post", "x")
    assert (said.code, said.out) == (2, "")
    assert "was written in a program" in said.err


def test_a_held_flow_is_continued_by_its_id(shell: Shell) -> None:
    shell.write("people.then", "event go()\ntask ask()\nrule r when go then ask()\nrule s when ask done then ask()\n")
    flow = shell("run", "people.then", "go", "--timeout", "1ms", "--json").objects[-1]["flow"]
    assert shell("show", flow).code == 0
    # What holds a flow is at work in test_run; here is only what is said of one that is not.
    assert shell("continue", flow).code == 2


@pytest.mark.slow
def test_a_process_that_a_killed_engine_left_is_stopped_from_a_shell(shell: Shell) -> None:
    gate = shell.fifo("gate")
    shell.write("rules.then", 'task wait() run process ["sh", "-c", r"read line < gate"]\nstart wait()\n')
    program = shell.start("run", "rules.then")
    with gate.open("w"):  # Opens when the task reads.
        program.signal(signal.SIGKILL)
        program.end()
        (task,) = _live(shell)
        said = shell("cancel", task["id"])
    assert (said.code, said.err) == (0, NO_ENGINE)
    shown = shell("show", task["id"], "--json").objects[0]
    assert (shown["outcome"], shown["result"]) == ("cancelled", {"code": -15})


@pytest.mark.slow
def test_a_command_beside_a_run_is_carried_out_by_it(shell: Shell) -> None:
    shell.write("people.then", PEOPLE)
    program = shell.start("run", "people.then", "go", "n=1")
    program.read_until("asked      ask")
    (ask,) = _live(shell)
    said = shell("complete", ask["id"], "done", "answer=yes")
    assert (said.code, said.err) == (0, "")
    ended = program.end()
    assert ended.code == 0
    assert "done       note" in ended.out


def test_a_list_that_a_person_reports_is_read_by_its_declared_type(shell: Shell) -> None:
    shell.write("count.then", "event go()\ntask count() -> (each: list[int])\nrule r when go then count()\n")
    with then.Engine(then.Rules().load("count.then"), ".then"):
        _post(shell, "go")
        (count,) = _live(shell)
        said = shell("complete", count["id"], "done", 'each=[1, "x"]')
        assert (said.code, said.out) == (2, "")
        # It said each.[1].
        assert said.err.startswith('andthen: count: each[1]: the text "x", int is declared')
        assert shell("complete", count["id"], "done", "each=[1, 2]").code == 0
        assert shell("show", count["id"], "--json").objects[0]["result"] == {"each": [1, 2]}
