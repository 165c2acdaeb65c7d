"""`andthen debug` and `andthen attach`: sessions from files, at a terminal, at an engine that runs."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import then
from tests.cli.shell import PEOPLE, Shell, normal
from tests.cli.terminal import PATIENCE_S
from then.app.rules import Rules
from then.core import facts as f
from then.debugger.access import to_engine, to_running
from then.debugger.console import Console
from then.debugger.session import Session


def commands(shell: Shell, *lines: str) -> str:
    shell.write("commands", "\n".join(lines) + "\n")
    return "commands"


@pytest.fixture
def people(shell: Shell) -> Iterator[then.Engine]:
    """An engine at work on a state folder, in which a person is asked."""
    rules = Rules().load(str(shell.write("people.then", PEOPLE)))
    with then.Engine(rules, shell.folder / ".then") as engine:
        yield engine


# -- an engine of its own ------------------------------------------------------------------


def test_a_session_from_a_file_reads_like_one_that_was_typed(shell: Shell) -> None:
    shell.write("people.then", PEOPLE)
    file = commands(shell, "p n * 2", "", "# a note", "set n = 7", "preview", "until heard", "quit")
    said = shell("debug", "people.then", "go", "n=3", "-x", file, "--batch")
    assert (
        normal(said.out)
        == """\
breakpoint debug_entry, hit 1: after go (ID1)
start at people.then:4
       2  task ask(text: str) -> (answer: str)
       3  task note(answer: str) run process ["true"]
 ->    4  rule start when go as g then ask(text: "n is {g.n}")
       5  rule heard when ask done as a then note(answer: a.answer)
(then:go) p n * 2
6
(then:go) set n = 7
(then:go) preview
start would fire
  ask {"text":"n is 7"} would be emitted, by start
(then:go) until heard
after heard: column 7: unknown task or event "heard"
"""
    )
    assert said.code == 2


def test_a_flow_of_a_private_engine_leaves_nothing_behind(shell: Shell) -> None:
    shell.write("people.then", PEOPLE)
    assert shell("debug", "people.then", "go", "n=3", "-x", commands(shell, "quit")).code == 0
    assert not (shell.folder / ".then").exists()


def test_what_is_held_in_a_state_stays_held_when_one_leaves(shell: Shell) -> None:
    shell.write("people.then", PEOPLE)
    said = shell("debug", "people.then", "go", "n=3", "--state", ".then", "-x", commands(shell, "q"), "--batch")
    assert said.code == 0
    (held,) = shell("ps", "--json").objects
    assert (held["state"], held["held"]["place"]) == ("held", "after")
    assert shell("break", "list", "--json").objects == []
    assert shell("continue", held["id"]).code == 0


def test_each_stop_is_a_json_object(shell: Shell) -> None:
    shell.write("people.then", PEOPLE)
    file = commands(shell, "p n", "where", "nonsense")
    said = shell("debug", "people.then", "go", "n=3", "--json", "-x", file, "--batch")
    stop, value, where, refused = said.objects
    assert (stop["stop"], stop["type"], stop["body"], stop["rule"], stop["line"]) == (
        "breakpoint", "go", {"n": 3}, "start", 4,
    )  # fmt: skip
    assert value == {"expr": "n", "value": 3}
    assert [frame["type"] for frame in where["stack"]] == ["go"]
    assert refused == {"refused": 'no command "nonsense"; `help` lists them'}
    assert said.code == 2


def test_commands_come_from_standard_input_and_a_refusal_does_not_end_them(shell: Shell) -> None:
    shell.write("people.then", PEOPLE)
    said = shell("debug", "people.then", "go", "n=3", stdin="nonsense\nargs\n")
    assert said.out.endswith('(then:go) nonsense\nno command "nonsense"; `help` lists them\n(then:go) args\nn = 3\n')


def test_what_cannot_be_read_is_refused_before_anything_is_posted(shell: Shell) -> None:
    shell.write("people.then", PEOPLE)
    (shell.folder / "bytes").write_bytes(b"p n\n\xff\n")
    for file, wrong in (("bytes", "bytes: byte 5 is no UTF-8"), ("nowhere", "nowhere: no such file")):
        said = shell("debug", "people.then", "go", "n=3", "--state", ".then", "-x", file, "--batch")
        assert (said.code, wrong in said.err) == (2, True), said.err
        assert not (shell.folder / ".then").exists()
    said = shell("debug", "people.then", "go", "n=3", "-x", commands(shell, "source bytes"), "--batch")
    assert (said.code, "bytes: byte 5 is no UTF-8" in said.out) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "debug what? `andthen debug PATH TYPE KEY=VALUE …`, or --post-mortem FLOW"),
        (["people.then", "--post-mortem", "0"], "--post-mortem takes the rules from the journal; leave PATH out"),
        (["people.then", "nothing"], 'unknown task or event "nothing"'),
        (["--post-mortem", "0"], "no journal"),
    ],
)
def test_what_cannot_be_debugged_is_refused(shell: Shell, arguments: list[str], message: str) -> None:
    shell.write("people.then", PEOPLE)
    said = shell("debug", *arguments)
    assert (said.code, message in said.err) == (2, True), said.err


# -- post-mortem ---------------------------------------------------------------------------


def test_post_mortem_changes_nothing_and_begins_at_the_failure(shell: Shell) -> None:
    shell.write("rules.then", 'event go() task bad() run process ["false"] rule r when go then bad()\n')
    flow = shell("run", "rules.then", "go", "--json").objects[-1]["flow"]
    before = [path.read_bytes() for path in sorted((shell.folder / ".then").glob("journal*"))]
    file = commands(shell, "task", "back", "info tasks", "continue")
    said = shell("debug", "--post-mortem", flow, "-x", file, "--batch")
    assert normal(said.out).splitlines()[:4] == [
        "flow ID1 failed, 2 records",
        "r at rules.then:1",
        ' ->    1  event go() task bad() run process ["false"] rule r when go then bad()',
        "(then) task",
    ]
    assert 'bad (ID2) failed\nresult.code = 1\nerror.kind = "exit"' in normal(said.out)
    assert said.out.endswith("this is the past, which nobody changes; `now` leads back\n")
    assert before == [path.read_bytes() for path in sorted((shell.folder / ".then").glob("journal*"))]


def test_post_mortem_without_an_id_takes_the_last_that_failed_or_says_what_there_is(shell: Shell) -> None:
    shell.write(
        "rules.then",
        'event go(n: int)\ntask bad() run process ["false"]\nrule r when go as g where g.n > 1 then bad()\n',
    )
    shell("run", "rules.then", "go", "n=1")
    said = shell("debug", "--post-mortem", "--batch")
    assert (said.code, "no flow failed here; give the id of one: " in said.err) == (2, True)
    for _ in range(2):
        flow = shell("run", "rules.then", "go", "n=2", "--json").objects[-1]["flow"]
    shell("run", "rules.then", "go", "n=1")
    said = shell("debug", "--post-mortem", "--batch")
    assert said.out.startswith(f"flow {flow} failed, 2 records\n")
    refused = shell("debug", "--post-mortem", "-x", commands(shell, "b bad"), "--batch")
    assert refused.out.endswith("this is post-mortem, nothing is changed; `andthen attach` goes to a running engine\n")


# -- an engine that runs -------------------------------------------------------------------


def test_attach_steps_a_flow_of_the_engine_that_runs(shell: Shell, people: then.Engine) -> None:
    people.breakpoints.add("look", "after go")
    flow = people.post("go", n=1)
    file = commands(shell, "set n = 5", "until ask", "args", "q")
    said = shell("attach", "-x", file, "--batch")
    assert said.code == 0, said
    assert said.out.endswith('(then:ask) args\ntext = "n is 5"\n(then:ask) q\n')
    (ask,) = [task for task in flow.tasks if task.type == "ask"]
    assert ask.state == "held", "what is held stays held"
    assert [point.name for point in people.breakpoints] == ["look"]


def test_attach_without_an_engine_says_so_and_offers_to_look_back(shell: Shell, people: then.Engine) -> None:
    people.post("go", n=1)
    people.close()
    said = shell("attach")
    assert said.code == 2
    assert (
        "no engine runs in .then: `andthen resume` starts one, `andthen debug --post-mortem FLOW` looks without"
        in said.err
    )


def test_a_debugger_that_is_killed_takes_the_breakpoint_of_its_step_along_and_the_flow_stays(
    shell: Shell, people: then.Engine
) -> None:
    people.breakpoints.add("look", "after go once")
    flow = people.post("go", n=1)
    is_set, is_gone = threading.Event(), threading.Event()

    def watch(page: f.Page) -> None:
        for fact in page.facts:
            if isinstance(fact, f.BreakSet | f.BreakRemoved):
                (is_set if isinstance(fact, f.BreakSet) else is_gone).set()

    people.loop.watchers.append(watch)
    client = shell.start("attach", "-x", commands(shell, "step"), "--batch")
    assert is_set.wait(PATIENCE_S)
    (ask,) = _live(people, flow.id)
    client.process.kill()
    client.process.wait()
    assert is_gone.wait(PATIENCE_S)
    assert [point.name for point in people.breakpoints] == ["look"]
    assert _live(people, flow.id) == [ask]
    people.complete(ask, answer="yes")
    assert people.breakpoints.held == {}


def _live(engine: then.Engine, flow: str) -> list[str]:
    """The ids of what lives of a flow, as soon as the person is asked."""
    born = threading.Event()

    def watch(page: f.Page) -> None:
        born.set()

    engine.loop.watchers.append(watch)
    while True:
        born.clear()
        found = engine.loop.look(lambda state: [task.id for task in state.live(flow) if task.type == "ask"])
        if found:
            engine.loop.watchers.remove(watch)
            return found
        assert born.wait(PATIENCE_S)


def test_of_several_flows_one_has_to_be_named(shell: Shell, people: then.Engine) -> None:
    people.post("go", n=1)
    people.post("go", n=2)
    said = shell("attach")
    assert (said.code, "which flow? " in said.err) == (2, True)


def test_two_sessions_race_to_continue_and_one_of_them_is_refused(shell: Shell, people: then.Engine) -> None:
    people.breakpoints.add("look", "after go")
    flow = people.post("go", n=1)
    one, other = (Session(to_engine(people), flow.id, who) for who in ("ann", "bob"))
    assert one.wait(0.0)
    assert other.wait(0.0)
    assert other.view.task.is_held
    one.go()
    with pytest.raises(then.ThenError, match="is not held"):
        other.go()
    assert [task.type for task in flow.tasks] == ["go", "ask"]


def test_a_run_waits_for_what_is_held_while_a_debugger_is_there_and_then_ends_with_4(shell: Shell) -> None:
    held = PEOPLE.replace("rule start", "breakpoint look after ask\nrule start")
    shell.write("people.then", held)
    run = shell.start("run", "people.then", "go", "n=1")
    run.read_until("asked")
    access = to_running(shell.folder / ".then")
    (ask,) = access.history().state.live()
    shell("complete", ask.id, "done", "answer=yes")
    run.read_until("held")
    run.hear_until("is held")
    session = Session(access, ask.flow)
    assert session.wait(0.0)
    assert run.process.poll() is None
    access.close()
    assert run.end().code == 4


# -- at a terminal -------------------------------------------------------------------------


@pytest.mark.slow
def test_ctrl_c_interrupts_the_wait_and_not_the_engine(shell: Shell, people: then.Engine) -> None:
    people.breakpoints.add("look", "after go once")
    flow = people.post("go", n=1)
    terminal = shell.terminal("attach")
    terminal.look_until(lambda text: "(then:go)" in text)
    asked = threading.Event()
    people.loop.watchers.append(lambda page: asked.set() if "ask" in str(page.facts) else None)
    terminal.type("n\n")
    assert asked.wait(PATIENCE_S)
    terminal.type("\x03")
    terminal.look_until(lambda text: "it goes on; `wait` waits for it again" in text)
    terminal.type("wait\n")
    people.complete(next(task.id for task in flow.tasks if task.type == "ask"), answer="yes")
    terminal.look_until(lambda text: "step: after ask done" in text)
    terminal.type("pre\t\n")
    terminal.look_until(lambda text: "heard would fire" in text)
    terminal.type("q\n")
    assert terminal.end() == 0
    assert flow.state == "held"


# -- what is typed -------------------------------------------------------------------------


@pytest.fixture
def console(people: then.Engine) -> Console:
    people.breakpoints.add("look", "after go")
    session = Session(to_engine(people), people.post("go", n=1).id)
    assert session.wait(0.0)
    return Console(session)


def test_the_beginning_of_a_name_is_enough_where_it_is_of_one(console: Console) -> None:
    assert console.command("conti").name == "continue"
    assert console.command("w").name == "where", "an alias goes before a beginning"
    with pytest.raises(then.ThenError, match='"fo" may be fork, forget, forward'):
        console.command("fo")


def test_names_and_aliases_are_each_of_one_command(console: Console) -> None:
    words = [word for command in console.commands.values() for word in (command.name, *command.aliases)]
    assert sorted(words) == sorted(set(words))


def test_an_empty_line_does_a_step_again_and_nothing_else(console: Console) -> None:
    assert console.run("p n").text == "1"
    assert console.run("").text == ""
    console.run("list")
    assert console.run("").text == "(the end)"


def test_the_last_word_is_completed_by_names_of_the_rules_and_the_record(console: Console) -> None:
    assert console.completions("unt") == ["until"]
    assert console.completions("until as") == ["ask"]
    assert console.completions("break he") == ["heard"]


def test_a_breakpoint_is_set_by_task_rule_or_line(console: Console) -> None:
    for text, place in (
        ("b ask", "before ask"),
        ("b go if n > 5", "after go where n > 5"),
        ("b heard", "on rule heard"),
        ("b people.then:4", "on rule start"),
        ("tb 5", "on rule heard once"),
    ):
        assert (console.run(text).data or {})["place"] == place
    assert console.run("info b").text.count("\n") == 5
    console.run("delete 1")
    console.run("dis b2")
    assert "(off, " in console.run("info b").text


def test_a_line_in_a_procedure_is_one_of_its_rules_or_its_call(shell: Shell) -> None:
    lines = ["event go()", "rule r when go then call p()", "task t()", "procedure p()", "  first t()"]
    lines += ["  rule back when t done then return ()", "  when t failed then return ()", "end"]
    rules = Rules().load(str(shell.write("calls.then", "\n".join(lines) + "\n")))
    with then.Engine(rules) as engine:
        engine.breakpoints.add("look", "after go")
        session = Session(to_engine(engine), engine.post("go").id)
        assert session.wait(0.0)
        console = Console(session)
        for text, place in (
            ("b 2", "on rule r"),
            ("b 3", "on rule r"),
            ("b 4", "before p"),
            ("b calls.then:5", "before p"),
            ("b 6", "on rule p.back"),
            ("b p", "before p"),
        ):
            assert (console.run(text).data or {})["place"] == place
        for beyond in ("b 1", "b 9", "b other.then:2"):
            with pytest.raises(then.ThenError, match="no rule stands there"):
                console.run(beyond)
        with pytest.raises(then.ThenError, match="the rule there has no name"):
            console.run("b 7")
        assert "before p (" in console.run("continue").text


def test_what_is_displayed_is_shown_at_each_stop_and_may_mean_nothing_there(console: Console) -> None:
    console.run("display n")
    reply = console.run("until ask")
    assert re.search(r"^n = \(.*unknown.*n", reply.text, re.MULTILINE)
    assert json.dumps(reply.data)


def test_every_command_is_on_the_page(console: Console) -> None:
    page = (Path(__file__).parent.parent.parent / "docs/debugger.md").read_text()
    page = page.split("\n## Commands")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)[^|\\]*(?:\\\|[^|\\]*)*\| ([^|]*) \|", page, re.MULTILINE)
    found = {name: tuple(re.findall(r"`(.*?)`", also)) for name, also in rows}
    assert found == {one.name: one.aliases for one in console.commands.values() if one.name != "help"}


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("debug", "people.then", "go", "n=3"), "KEY=VALUE"),
        (("debug", "people.then", "n=3"), "KEY=VALUE"),
        (("debug", "people.then", "go", "--body", "b.json"), "--body"),
        (("debug", "--post-mortem"), "--post-mortem"),
        (("debug", "-x", "commands"), "-x"),
        (("attach", "038r"), "FLOW"),
        (("attach", "--batch"), "--batch"),
    ],
)
@pytest.mark.parametrize("adapter", [("--dap",), ("--dap-port", "0")])
def test_what_a_debug_adapter_would_drop_is_refused(
    shell: Shell, words: tuple[str, ...], adapter: tuple[str, ...], what: str
) -> None:
    said = shell(words[0], *adapter, *words[1:])
    assert said.code == 2
    assert f"{what}: --dap and --dap-port take none" in said.err
