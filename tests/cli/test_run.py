"""`andthen run`: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import io
import json
import os

import pytest

import then
from tests.cli.shell import PEOPLE, RULES, Shell, normal
from then.abc import Mask
from then.app.engine import Opening
from then.cli.feed import Feed, Item
from then.cli.foreground import Foreground
from then.cli.lines import PlainLines
from then.cli.settings import RunOptions
from then.core.facts import Page

LOOP = """
import then

rules = then.Rules()
rules.event("ping")
rules.event("pong")


@rules.when("ping")
def to(ping):
    yield then.emit("pong")


@rules.when("pong")
def fro(pong):
    yield then.emit("ping")
"""
"""Events that bring forth each other: the guard holds the flow."""

NO_EXECUTOR = """
import then

rules = then.Rules()
rules.event("go")
rules.task("ship", run=("rocket", "the moon"))


@rules.task("wave")
def wave():
    return {}


@rules.when("go")
def start(go):
    yield then.emit("ship")
    yield then.emit("wave")
"""


def test_each_start_and_end_is_a_line_and_the_flow_the_last(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    said = shell("run", "rules.py", "go", "n=3")
    assert (said.code, said.err) == (0, "")
    assert normal(said.out) == (
        "ID1  event      go\n"
        "ID2  started    build  by start\n"
        "ID2  done       build  TIME\n"
        "ID3  started    publish  by publish_it\n"
        "ID3  done       publish  TIME\n"
        "flow ID1 done, 3 records in TIME\n"
    )


def test_a_failure_says_why_with_the_last_lines_of_its_traceback(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    said = shell("run", "rules.py", "publish", "image=bad")
    assert said.code == 1
    lines = normal(said.out).splitlines()
    assert lines[1] == "ID1  failed     publish  exception: ValueError: no place for bad  TIME"
    assert lines[2] == "    | Traceback (most recent call last):"
    assert lines[-2] == "    | ValueError: no place for bad"
    assert lines[-1] == "flow ID1 failed, 1 record in TIME"


def test_a_failed_process_says_why_with_the_last_lines_of_its_standard_error(shell: Shell) -> None:
    script = "echo not this; for i in 1 2 3 4 5 6; do echo line $i >&2; done; exit 3"
    shell.write("rules.then", f'task loud() run process ["sh", "-c", r"{script}"]\nstart loud()\n')
    said = shell("run", "rules.then")
    assert said.code == 1
    assert normal(said.out) == (
        "ID1  started    loud\n"
        "ID1  failed     loud  exit: exited with code 3  TIME\n"
        "    | line 2\n    | line 3\n    | line 4\n    | line 5\n    | line 6\n"
        "flow ID1 failed, 1 record in TIME\n"
    )


def test_a_line_without_an_end_is_shown_with_its_beginning(shell: Shell) -> None:
    # 64 KiB of it were.
    long = "head -c 300000 /dev/zero | tr '\\0' x"
    shell.write(
        "rules.then",
        f'task well() run process ["sh", "-c", r"{long}"]\ntask ill() run process ["sh", "-c", r"{long} >&2; exit 3"]\n',
    )
    beginning = "x" * 299 + "…"
    well, ill = shell("run", "rules.then", "well"), shell("run", "rules.then", "ill")
    assert normal(well.out).splitlines()[1] == f"ID1  done       well  TIME  | {beginning}"
    assert normal(ill.out).splitlines()[2] == f"    | {beginning}"


def test_without_a_type_what_the_start_lines_say_is_posted(shell: Shell) -> None:
    shell.write(
        "rules.then",
        'event a(n: int)\nevent b(tags: list[str])\nstart a(n: 1 + 2)\nstart b(tags: ["x", "y"])\n',
    )
    said = shell("run", "rules.then", "--json")
    assert said.code == 0
    assert [(record["type"], record["body"]) for record in said.objects[:2]] == [
        ("a", {"n": 3}),
        ("b", {"tags": ["x", "y"]}),
    ]
    assert [end["outcome"] for end in said.objects[2:]] == ["done", "done"]


def test_without_a_type_and_start_lines_it_says_what_could_be_posted(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    said = shell("run", "rules.py")
    assert (said.code, said.out) == (2, "")
    assert said.err == "andthen: rules.py: no `start` line, and no TYPE is given; it could be: go, build, publish\n"
    assert not (shell.folder / ".then").exists()


def test_json_is_a_record_for_each_change_of_its_state_and_the_flow_at_last(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    said = shell("run", "rules.py", "build", "ref=x", "--json")
    *records, end = said.objects
    assert [(record["type"], record["state"]) for record in records] == [
        (type, state) for type in ("build", "publish") for state in ("waiting", "running", "completed")
    ]
    root, last = records[0], records[-1]
    assert end == {"flow": root["id"], "outcome": "done"}
    assert list(last) == [
        "id", "type", "body", "flow", "parent", "rule", "stack", "attempt", "origin", "state", "outcome", "result", "error",
        "priority", "needs", "created", "started", "completed",
    ]  # fmt: skip
    assert (last["flow"], last["parent"], last["rule"]) == (root["id"], root["id"], "publish_it")
    assert (last["outcome"], last["result"], last["error"]) == ("done", {"published": "app:x"}, None)
    assert normal(last["completed"]) == "STAMP"
    assert records[1]["started"] is not None
    assert records[1]["completed"] is None


@pytest.mark.slow
def test_json_is_alone_on_standard_output_whatever_tasks_print(shell: Shell) -> None:
    shell.write(
        "rules.py",
        RULES.replace(
            '    return {"image"',
            '    print("from Python")\n    import os; os.write(1, b"from C\\n")\n    return {"image"',
        ),
    )
    said = shell.start("run", "rules.py", "build", "ref=x", "--json").end()
    assert said.code == 0
    assert len(said.objects) == 7
    assert said.err == "from C\nfrom Python\n" or said.err == "from Python\nfrom C\n"


def test_what_a_function_prints_stands_in_lines_of_its_own(shell: Shell) -> None:
    shell.write(
        "rules.py",
        RULES.replace('    return {"image"', '    print("in two", end=" ")\n    print("pieces")\n    return {"image"'),
    )
    said = shell("run", "rules.py", "build", "ref=x")
    assert normal(said.out).splitlines()[1] == "in two pieces"


# -- what is posted ---------------------------------------------------------------


def test_values_are_read_by_the_declared_type(shell: Shell) -> None:
    shell.write("rules.then", "event go(name: str, n: int, x: float?, tags: list[str]?, any: any?)\n")
    said = shell("run", "rules.then", "go", "name=7", "n=7", "x=2", 'tags=["a"]', "any=null", "--json")
    assert said.objects[0]["body"] == {"name": "7", "n": 7, "x": 2, "tags": ["a"], "any": None}


def test_values_of_no_declared_type_are_json_where_they_parse_else_text(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    said = shell("run", "rules.py", "publish", "image=true", "--json")
    assert said.objects[0]["body"] == {"image": True}
    said = shell("run", "rules.py", "publish", "image=1.2.3", "--json")
    assert said.objects[0]["body"] == {"image": "1.2.3"}


def test_a_value_may_be_forced_to_be_json_or_come_from_a_file(shell: Shell) -> None:
    shell.write("rules.then", "event go(a: any, b: str, c: int)\n")
    shell.write("text", "ä\n")
    shell.write("number", "12")
    said = shell("run", "rules.then", "go", 'a:={"x": [1]}', "b=@text", "c:=@number", "--json")
    assert said.objects[0]["body"] == {"a": {"x": [1]}, "b": "ä\n", "c": 12}


def test_a_body_may_come_from_a_file_or_standard_input_and_words_go_over_it(shell: Shell) -> None:
    shell.write("rules.then", "event go(a: int, b: int)\n")
    shell.write("body.json", '{"a": 1, "b": 2}')
    assert shell("run", "rules.then", "go", "b=3", "--body", "body.json", "--json").objects[0]["body"] == {
        "a": 1,
        "b": 3,
    }
    said = shell("run", "rules.then", "go", "--body", "-", "--json", stdin='{"a": 5, "b": 6}')
    assert said.objects[0]["body"] == {"a": 5, "b": 6}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["bild", "ref=x"], 'unknown task or event "bild" (did you mean "build"?)'),
        (["go", "n=x"], 'go: n: the text "x", int is declared'),
        (["go", "n=1", "m=2"], 'go has no field "m"'),
        (["go"], "go: n: missing, int is declared"),
        (["go", "n"], '"n" is no field; write KEY=VALUE, KEY:=JSON or KEY=@FILE'),
        (["go", "n=1", "n=2"], 'the field "n" is given twice'),
        (["go", "n:={"], "n: no JSON: Input data was truncated"),
        (["go", "n=@absent"], "n: absent: no such file or directory"),
        (["go", "--body", "absent"], "--body: absent: no such file or directory"),
        (["n=1"], "n=1: say first which record: `andthen run rules.py TYPE KEY=VALUE …`"),
        (
            ["../go", "n=1"],
            'type \'../go\' is no name: 1 to 128 letters, digits, "_", "." and "-", beginning with a letter, digit or "_"',
        ),
        (["go", "n=1", "--timeout", "soon"], '--timeout: "soon" is no span of time; write 30d, 12h, 5m, 90s or 250ms'),
        (["go", "n=1", "--watch"], "`run --watch` is not there yet"),
    ],
)
def test_what_cannot_be_posted_is_refused_with_2_before_anything_is_made(
    shell: Shell, words: list[str], text: str
) -> None:
    shell.write("rules.py", RULES)
    said = shell("run", "rules.py", *words)
    assert (said.code, said.out, said.err) == (2, "", f"andthen: {text}\n")
    assert not list((shell.folder / ".then").glob("engine.sock"))


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("NaN", "no JSON"),
        ("[1]", "a JSON object is needed"),
        ('{"n": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"n": ' + "[" * 80 + "]" * 80 + "}", "64"),
        ("\xff", "no JSON"),
    ],
    ids=["nan", "list", "deep", "nested", "text"],
)
def test_a_body_that_is_no_json_object_within_the_limits_is_refused(shell: Shell, text: str, body: str) -> None:
    shell.write("rules.then", "event go(n: any)\n")
    said = shell("run", "rules.then", "go", "--body", "-", stdin=text)
    assert (said.code, said.out) == (2, "")
    assert body in said.err
    assert said.err.count("\n") == 1


def test_words_that_are_no_utf_8_are_refused(shell: Shell) -> None:
    shell.write("rules.then", "event go(n: str)\n")
    said = shell("run", "rules.then", "go", "n=" + os.fsdecode(b"\xff"))
    assert said.code == 2
    assert "surrogate" in said.err


# -- rules ---------------------------------------------------------------------------


def test_rules_that_do_not_load_are_refused_with_all_their_errors(shell: Shell) -> None:
    shell.write("rules.then", "event go()\nrule a when gone then x()\nrule b when go then y()\n")
    said = shell("run", "rules.then", "go")
    assert (said.code, said.out) == (2, "")
    places = [line.split(" ")[0] for line in said.err.splitlines() if line.startswith("rules.then")]
    assert places == ["rules.then:2:13:", "rules.then:2:23:", "rules.then:3:21:"]
    assert not (shell.folder / ".then").exists()


def test_a_warning_does_not_stop_a_run(shell: Shell) -> None:
    shell.write("rules.then", "event go()\nevent never()\nstart go()\n")
    said = shell("run", "rules.then")
    assert said.code == 0
    assert "rules.then:2:7: warning T604" in said.err


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x = 1\n", "neither `rules` nor `main` is defined; a file of rules has `rules = then.Rules()`"),
        ("rules = []\n", "`rules` is list; a file of rules has `rules = then.Rules()`"),
        (
            "def main(): pass\n",
            '"rules.py" is a script, for it defines `main`; a task runs it by `run script "rules.py"`',
        ),
        ("import then\nrules = then.Rules(\n", "'(' was never closed (Python)"),
        ("import then\n\n1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import nothing_of_the_kind\n", "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
    ],
)
def test_a_python_file_that_gives_no_rules_says_what_it_is(shell: Shell, text: str, error: str) -> None:
    shell.write("rules.py", text)
    said = shell("run", "rules.py", "x")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("rules.py:")
    assert error in said.err


def test_a_path_that_is_not_there_is_refused(shell: Shell) -> None:
    said = shell("run", "absent.then", "x")
    assert (said.code, said.err) == (2, 'andthen: no file or folder "absent.then"\n')


def test_two_files_of_one_name_are_two_modules_and_find_what_lies_beside_them(shell: Shell) -> None:
    for name in ("one", "two"):
        shell.write(f"{name}/beside_{name}.py", f"SAID = '{name}'\n")
        shell.write(
            f"{name}/rules.py",
            f"import then\nfrom beside_{name} import SAID\nrules = then.Rules()\n@rules.task('t')\ndef t(): return {{'said': SAID}}\n",
        )
    for name in ("one", "two"):
        said = shell("run", f"{name}/rules.py", "t", "--json")
        assert said.objects[-2]["result"] == {"said": name}


# -- how it ends -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_flow_that_is_held_ends_the_run_with_4_and_the_command_that_goes_on(shell: Shell) -> None:
    shell.write("rules.py", LOOP)
    said = shell("run", "rules.py", "ping", "--state", "a state", "--json")
    assert said.code == 4
    flow = said.objects[-1]["flow"]
    assert said.objects[-1] == {"flow": flow, "outcome": None}
    assert said.objects[-2]["state"] == "held"
    reason, command, left = said.err.splitlines()
    assert reason.startswith(f"flow {flow} is held: 10000 events in a row without a task that ran: ")
    assert command == f"`andthen --state 'a state' continue {flow}` lets it go on"
    assert left == "1 flow is open; `andthen --state 'a state' resume` goes on"


def test_a_task_that_nothing_here_can_run_ends_the_run_with_3_when_all_else_is_done(shell: Shell) -> None:
    shell.write("rules.py", NO_EXECUTOR)
    said = shell("run", "rules.py", "go")
    assert said.code == 3
    assert "done       wave" in said.out
    assert 'needs the executor "rocket", which is not here; it stays waiting\n' in said.err
    assert [(task["type"], task["state"]) for task in shell("ps", "--json").objects] == [("ship", "waiting")]


def test_a_second_engine_is_refused_with_3(shell: Shell) -> None:
    import then

    shell.write("rules.py", RULES)
    with then.Engine(then.Rules(), ".then"):
        said = shell("run", "rules.py", "build", "ref=x")
    assert (said.code, said.out) == (3, "")
    assert said.err == (
        f"andthen: .then: another engine (pid {os.getpid()}) holds this state; use its commands, stop it,"
        " or give --state another folder\n"
    )


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_state_that_is_no_journal_of_ours_is_refused_with_3_and_left_alone(shell: Shell, is_folder: bool) -> None:
    shell.write("rules.py", RULES)
    path = shell.write(".then/journal.db" if is_folder else ".then", "somebody's\n" * 100)
    said = shell("run", "rules.py", "build", "ref=x")
    assert (said.code, said.out) == (3, "")
    assert path.read_text() == "somebody's\n" * 100


def test_the_time_of_a_run_may_be_limited(shell: Shell) -> None:
    shell.write("people.then", PEOPLE)
    said = shell("run", "people.then", "ask", "text=x", "--timeout", "1ms")
    assert said.code == 1
    assert said.err == "time is over: cancelling\n"
    assert normal(said.out).splitlines()[-1] == "flow ID1 cancelled, 1 record in TIME"


def test_the_time_of_a_run_that_stays_for_its_timers_may_be_limited(shell: Shell) -> None:
    # It said that time was over, and stayed.
    shell.write("beat.then", "event beat()\nrule r when beat then end flow done\nevery 1h start beat()\n")
    said = shell("run", "beat.then", "--timeout", "1ms")
    assert said.code == 0
    assert said.err.splitlines() == [
        "stays for beat: Ctrl-C ends it, `andthen timers` lists them",
        "time is over",
    ]


def test_of_a_flow_that_ended_before_it_was_shown_it_is_said_how_though_time_is_over_meanwhile() -> None:
    # Of what still was to be shown then, as where a pipe had been full, nothing was said.
    rules, feeds, out = then.Rules(), list[Feed](), io.StringIO()
    rules.task("ask")
    view = PlainLines(out, None, str, Mask(), has_color=False)
    options = RunOptions(None, "process", False, None, False, None, {}, (), {})
    with then.Engine(rules, opening=Opening(watch=lambda loop: feeds.append(Feed(loop)))) as engine:
        flow = engine.post_record("ask", {})
        engine.complete(flow.id)
        flow.wait()
        items: list[Item] = []
        while (item := feeds[0].take(0)) is not None:
            if items or (isinstance(item, Page) and item.flow == flow.id):
                items.append(item)  # Without what the opening brought: it would be shown before.
        for item in items:
            feeds[0].put(item)
        Foreground(engine, feeds[0], view, options, str).follow((), 0.0, stays=True)
    assert f"flow {flow.id} done, 1 record in " in out.getvalue()


def test_a_person_is_told_how_to_answer(shell: Shell) -> None:
    shell.write("people.then", PEOPLE)
    said = shell("run", "people.then", "ask", "text=x", "--timeout", "1ms")
    assert normal(said.out).splitlines()[0] == "ID1  asked      ask  a person: `andthen complete ID1 OUTCOME`"


def test_tasks_run_so_many_at_once(shell: Shell) -> None:
    shell.write(
        "rules.py",
        """
import threading
import then

rules = then.Rules()
rules.event("go")
together = threading.Barrier(3, timeout=30)


@rules.task("meet")
def meet(i):
    together.wait()
    return {}


@rules.when("go")
def start(go):
    for i in range(3):
        yield then.emit("meet", i=i)
""",
    )
    assert shell("run", "rules.py", "go", "-j", "3").code == 0


def test_rules_of_a_folder_are_run_by_its_name(shell: Shell) -> None:
    shell.write("project/rules.py", RULES)
    shell.write("project/more.then", "event more()\nstart more()\n")
    assert shell("run", "project", "build", "ref=x").code == 0
    assert json.loads(shell("run", "project", "--json").out.splitlines()[0])["type"] == "more"


@pytest.mark.slow
def test_flows_that_others_posted_meanwhile_are_counted_at_the_end(shell: Shell) -> None:
    """It waits for its own; nothing told of them apart."""
    gate = shell.fifo("gate")
    shell.write(
        "r.then",
        'event go()\ntask wait() run process ["sh", "-c", "cat gate"]\ntask ask()\nrule r when go then ask()\nstart wait()\n',
    )
    run = shell.start("run", "r.then")
    with gate.open("w"):  # It reads.
        assert shell("post", "go").code == 0
        assert shell("post", "go").code == 0
    said = run.end()
    assert (said.code, said.err) == (0, "2 other flows are open; `andthen resume` goes on\n")


def test_resources_are_given_by_name_and_what_can_never_be_met_is_refused_at_once(shell: Shell) -> None:
    shell.write("a.then", 'task f() run process ["true"] needs {license.toolA: 1}\nstart f()\n')
    assert shell("run", "a.then", "-r", "license.toolA=1").code == 0
    said = shell("run", "a.then", "-r", "license.tool=1")
    assert said.code == 2
    assert said.err.startswith('a.then:1:38: f: needs unknown "license.toolA" (did you mean "license.tool"?)')
    said = shell("run", "a.then", "-r", "license.toolA")
    assert (said.code, said.err.partition(":")[0]) == (2, "andthen")
    assert "NAME=N is expected" in said.err
    shell.write("b.then", 'task f() run process ["true"] needs {memory: 900GiB}\nstart f()\n')
    said = shell("run", "b.then", "-r", "memory=8GiB")
    assert said.code == 2
    assert "needs {memory: 900GiB}, and of this engine its memory is 8GiB" in said.err


def test_a_need_that_can_never_be_met_leaves_no_state_behind(shell: Shell) -> None:
    shell.write("b.then", 'task f() run process ["true"] needs {memory: 900GiB}\nstart f()\n')
    assert shell("--state", "new", "run", "b.then", "-r", "memory=8GiB").code == 2
    assert sorted(path.name for path in shell.folder.iterdir()) == ["b.then"]


def test_an_event_that_is_cancelled_before_it_comes_is_shown_as_cancelled(shell: Shell) -> None:
    # Its line was that of an event that had come.
    shell.write(
        "late.then",
        "event go()\nevent now()\nevent late()\nrule r when go then late() after 1h, now()\n"
        "rule c when now then cancel late\n",
    )
    said = shell("run", "late.then", "go")
    assert [line.split()[1:3] for line in said.out.splitlines()[:-1]] == [
        ["event", "go"],
        ["event", "now"],
        ["cancelled", "late"],
    ]
    assert [row.split()[1:3] for row in shell("ps", "--all").out.splitlines()[1:]] == [
        ["go", "event"],
        ["late", "cancelled"],
        ["now", "event"],
    ]


def test_an_attempt_out_of_the_tries_of_a_call_says_which_it_was(shell: Shell) -> None:
    shell.write(
        "call.then",
        'event go()\ntask t() run process ["sh", "-c", "exit 3"]\nprocedure p() first t() end\n'
        "rule r when go then call p() retry 1 times from failed\n",
    )
    said = shell("run", "call.then", "go")
    assert said.code == 1
    failed = [line for line in said.out.splitlines() if " t  " in line and "failed" in line]
    assert ["(attempt 1)" in failed[0], "(attempt 2)" in failed[1], len(failed)] == [True, True, 2]
    # Of the call it was said that it was the first of two attempts.
    assert ["attempt" in line for line in said.out.splitlines() if " p  " in line and "failed" in line] == [False]


def test_an_attempt_that_while_does_not_try_again_is_said_to_be_the_last(shell: Shell) -> None:
    shell.write(
        "while.then",
        'event go()\ntask t(code: int) run process ["sh", "-c", "exit $0", code]\n'
        "  retry 1 times while error.code == 3\n"
        "rule r when go then t(code: 3), t(code: 4)\n",
    )
    said = shell("run", "while.then", "go")
    assert said.code == 1
    assert sorted(
        line.partition(" with code ")[2].rpartition("  ")[0] for line in said.out.splitlines() if "exit:" in line
    ) == [
        "3 (attempt 1 of 2)",
        "3 (attempt 2 of 2)",
        "4 (attempt 1 of 2, not tried again)",
    ]


def test_a_guard_is_set_by_its_name_and_one_that_is_not_there_is_refused(shell: Shell) -> None:
    shell.write("r.then", "event tick(n: int) rule again when tick as t then tick(n: t.n + 1)")
    said = shell("run", "r.then", "tick", "n=0", "--guard", "idle-events=5")
    assert said.code == 4
    assert "5 events in a row without a task that ran: tick by rule again -> …" in said.out + said.err
    for words, why in (
        (
            "idle-event=5",
            'guard "idle-event" is not known (did you mean "idle-events"?); there are flow-records, idle-events',
        ),
        ("idle-events=0", "guard idle-events: 0 found, a whole number from 1 is expected"),
        ("idle-events=x", "--guard idle-events=x: NAME=N is expected, such as idle-events=100"),
    ):
        refused = shell("run", "r.then", "tick", "n=0", "--guard", words)
        assert (refused.code, refused.out) == (2, "")
        assert why in refused.err


def test_half_a_surrogate_pair_on_the_command_line_is_called_that(shell: Shell) -> None:
    shell.write("r.then", "event tick(n: any)")
    said = shell("run", "r.then", "tick", 'n:="\\ud800"')
    assert (said.code, said.out) == (2, "")
    assert "half of a surrogate pair, which is no Unicode" in said.err
    assert shell("run", "r.then", "tick", 'n:="\\ud83d\\ude00"').code == 0
