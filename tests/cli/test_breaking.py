"""`break`, `continue`, and what `run`, `ps` and `show` say of what is held at breakpoints."""

from __future__ import annotations

import pytest

from tests.cli.shell import PEOPLE, Shell

RULES = """
event go(n: int)
task work(n: int) -> (m: int)
  run process ["sh", "-c", "printf '%s' \\"$0\\" > $THEN_RESULT", "{body}"]
task send(m: int) run process ["true"]
rule start when go as g then work(n: g.n)
rule sent when work done as w then send(m: w.m)
""".replace('"{body}"', '"{{\\"m\\": {n}}}"')


@pytest.fixture
def held(shell: Shell) -> str:
    """A state in which `work` is held; gives its id."""
    shell.write("a.then", RULES + "breakpoint big before work where n > 5 show n\n")
    said = shell("run", "a.then", "go", "n=9")
    assert said.code == 4
    [work] = shell("ps", "--json", "--state-is", "held").objects
    return str(work["id"])


def test_a_run_whose_rest_is_held_ends_with_4_and_prints_the_continue_command(shell: Shell) -> None:
    shell.write("a.then", RULES + "breakpoint big before work where n > 5\n")
    said = shell("run", "a.then", "go", "n=9")
    [work] = shell("ps", "--json").objects
    assert said.code == 4
    assert (
        f"work ({work['id']}) is held at breakpoint big (before); `andthen continue {work['id']}` lets it go on\n"
        in said.err
    )
    assert shell("run", "a.then", "go", "n=5").code == 0


def test_ps_says_where_and_since_when_a_task_is_held(shell: Shell, held: str) -> None:
    [work] = shell("ps", "--json").objects
    assert work["state"] == "held"
    assert work["held"] == {
        "breakpoint": "big", "place": "before", "since": work["held"]["since"], "hit": 1, "shown": {"n": 9},
    }  # fmt: skip
    assert work["held"]["since"].endswith("Z")
    assert "held at big (before)" in shell("ps").out


def test_it_is_continued_with_another_body_and_both_are_shown_with_who_changed_it(shell: Shell, held: str) -> None:
    assert "at breakpoint big, before, hit 1, since" in shell("show", held).out
    assert shell("continue", held, "--body", "n=3").out == f"{held}\n"
    assert shell("resume").code == 0
    shown = shell("show", held, "--json").objects[0]
    assert (shown["body"], shown["result"]["m"]) == ({"n": 3}, 3)
    [edit] = shown["edits"]
    assert (edit["body"], edit["before"]["body"]) == ({"n": 3}, {"n": 9})
    assert edit["by"]
    assert 'it was {"n":9}' in shell("show", held).out


def test_a_change_that_the_declaration_refuses_leaves_it_held(shell: Shell, held: str) -> None:
    said = shell("continue", held, "--body", "n=many")
    assert said.code == 2
    assert "n" in said.err
    assert shell("continue", held, "--body", "k=1").code == 2
    assert shell("continue", held, "--result", "m=1").code == 2
    assert shell("ps", "--json").objects[0]["state"] == "held"


def test_the_result_of_what_has_ended_is_changed_by_a_continue(shell: Shell) -> None:
    shell.write("a.then", RULES + "breakpoint end after work done\n")
    assert shell("run", "a.then", "go", "n=1").code == 4
    [work] = shell("ps", "--json").objects
    assert shell("continue", work["id"], "--result", "m=7").code == 0
    assert shell("resume").code == 0
    [send] = [one for one in shell("ps", "--all", "--json").objects if one["type"] == "send"]
    assert send["body"] == {"m": 7}


def test_a_flow_is_continued_whole(shell: Shell) -> None:
    shell.write("a.then", RULES + "breakpoint end before any\n")
    assert shell("run", "a.then", "go", "n=1").code == 4
    [work] = shell("ps", "--json").objects
    assert shell("continue", work["flow"]).code == 0
    assert shell("ps", "--json").objects[0]["state"] == "waiting"
    assert shell("continue", work["id"]).code == 2


def test_breakpoints_are_added_listed_switched_and_taken_away(shell: Shell, held: str) -> None:
    assert shell("break", "add", "end", "after work done once").code == 0
    assert shell("break", "add", "say", "after work", "--print", "got {m}").code == 0
    names = [one["name"] for one in shell("break", "--json").objects]
    assert names == ["big", "end", "say"]
    shell("break", "disable", "say")
    rows = shell("break", "list").out.splitlines()
    assert rows[0].split()[:3] == ["NAME", "STATE", "HITS"]
    assert rows[1].split()[:4] == ["big", "on", "1", "1"]
    assert rows[3].split()[:4] == ["say", "off", "0", "0"]
    shell("break", "enable", "say")
    shell("continue", held)
    said = shell("resume")
    assert said.code == 4
    assert "say: got 9" in said.err
    assert shell("break", "rm", "end", "--release").out == "end: taken away, 1 released\n"
    assert shell("resume").code == 0
    assert [one["name"] for one in shell("break", "--json").objects] == ["big", "say"]


def test_what_is_not_right_is_refused_with_its_place(shell: Shell, held: str) -> None:
    said = shell("break", "add", "x", "before wrok")
    assert said.code == 2
    assert 'break:1:21: unknown task or event "wrok" (did you mean "work"?)' in said.err
    assert shell("break", "add", "big", "before work").code == 2
    assert shell("break", "rm", "big").code == 2
    assert shell("break", "rm", "none").code == 2
    assert shell("break", "rm").code == 2
    assert shell("break", "add", "x").code == 2
    assert shell("break", "disable", "big", "before work").code == 2
    assert [one["name"] for one in shell("break", "--json").objects] == ["big"]


def test_one_may_be_for_one_open_flow(shell: Shell, held: str) -> None:
    flow = shell("ps", "--json").objects[0]["flow"]
    assert shell("break", "add", "mine", "after work", "--flow", flow).code == 0
    assert shell("break", "--json").objects[1]["flow"] == flow
    assert shell("run", "a.then", "go", "n=1").code == 0
    shell("continue", held)
    assert shell("resume").code == 4


def test_what_is_held_is_cancelled_by_cancel(shell: Shell, held: str) -> None:
    assert shell("cancel", held).code == 0
    assert shell("ps", "--json").objects == []
    assert shell("show", held, "--json").objects[0]["outcome"] == "cancelled"


def test_rules_in_force_show_their_breakpoints(shell: Shell, held: str) -> None:
    last = shell("rules", "--json").objects[-1]
    assert (last["name"], last["kind"], last["text"]) == ("big", "breakpoint", "before work where n > 5 show n")
    assert "before work where n > 5 show n" in shell("rules").out


def test_a_breakpoint_may_be_added_before_the_first_flow_of_a_state(shell: Shell) -> None:
    shell.write("people.then", PEOPLE)
    said = shell("break", "add", "early", 'before ask where text == "n is 1"')
    assert said.code == 0, said.err
    assert shell("break", "list", "--json").objects[0]["name"] == "early"
    assert shell("run", "people.then", "go", "n=1").code == 4
    (held,) = shell("ps", "--json").objects
    assert (held["type"], held["held"]["breakpoint"]) == ("ask", "early")


def test_a_breakpoint_that_cannot_be_read_before_the_first_flow_is_refused_with_its_column(shell: Shell) -> None:
    said = shell("break", "add", "early", "before ask where text ==")
    assert (said.code, "break:1:" in said.err) == (2, True), said.err
