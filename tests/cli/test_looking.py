"""`ps`, `flows`, `show`, `rules`: what is in a state, beside its engine and after it."""

from __future__ import annotations

import then
from tests.cli.shell import PEOPLE, RULES, Shell, normal


def _ask(shell: Shell, *arguments: str) -> str:
    """A flow that waits for a person's answer. Gives its id."""
    shell.write("people.then", PEOPLE)
    if not (shell.folder / ".then").exists():
        assert shell("run", "people.then", "go", "n=0", "--timeout", "1ms").code == 1
    return str(shell("post", "go", "n=1", "--json", *arguments).objects[0]["flow"])


def test_live_tasks_are_listed_with_their_state_and_flow(shell: Shell) -> None:
    flow = _ask(shell)
    said = shell("ps")
    assert said.code == 0
    head, row = normal(said.out).splitlines()
    assert head.split() == ["ID", "TYPE", "STATE", "TIME", "FLOW", "BODY"]
    assert row.split(maxsplit=5)[1:3] == ["ask", "running"]
    assert row.endswith('ID2  {"text":"n is 1"}')
    (task,) = shell("ps", "--json").objects
    assert (task["type"], task["state"], task["outcome"], task["flow"]) == ("ask", "running", None, flow)


def test_completed_ones_are_listed_when_asked_for(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    shell("run", "rules.py", "go", "n=1")
    shell("run", "rules.py", "publish", "image=bad")
    assert shell("ps", "--json").out == ""
    listed = [(task["type"], task["state"], task["outcome"]) for task in shell("ps", "-a", "--json").objects]
    assert listed == [
        ("go", "completed", "done"), ("build", "completed", "done"), ("publish", "completed", "done"),
        ("publish", "completed", "failed"),
    ]  # fmt: skip
    rows = normal(shell("ps", "--all").out).splitlines()[1:]
    assert [row.split()[1:3] for row in rows] == [
        ["go", "event"],
        ["build", "done"],
        ["publish", "done"],
        ["publish", "failed"],
    ]


def test_a_list_may_be_narrowed_by_flow_type_and_state(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    first = shell("run", "rules.py", "go", "n=1", "--json").objects[-1]["flow"]
    shell("run", "rules.py", "go", "n=2")
    assert [task["type"] for task in shell("ps", "-a", "--flow", first, "--json").objects] == ["go", "build", "publish"]
    assert len(shell("ps", "-a", "--type", "build", "--json").objects) == 2
    assert len(shell("ps", "--state-is", "completed", "--type", "publish", "--json").objects) == 2
    assert shell("ps", "--state-is", "held", "--json").out == ""


def test_flows_are_listed_the_oldest_first_with_how_they_ended(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    shell("run", "rules.py", "go", "n=1")
    shell("run", "rules.py", "publish", "image=bad")
    listed = [
        (flow["type"], flow["state"], flow["outcome"], flow["records"]) for flow in shell("flows", "--json").objects
    ]
    assert listed == [("go", "completed", "done", 3), ("publish", "completed", "failed", 1)]
    rows = normal(shell("flows").out).splitlines()
    assert rows[0].split() == ["ID", "TYPE", "STATE", "RECORDS", "STARTED", "TIME", "TEXT"]
    assert [row.split()[1:4] for row in rows[1:]] == [["go", "done", "3"], ["publish", "failed", "1"]]


def test_flows_may_be_narrowed(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    for image in ("good", "bad", "fine"):
        shell("run", "rules.py", "publish", f"image={image}")
    assert [flow["outcome"] for flow in shell("flows", "--last", "2", "--json").objects] == ["failed", "done"]
    assert len(shell("flows", "--outcome", "failed", "--json").objects) == 1
    assert shell("flows", "--open", "--json").out == ""
    assert shell("flows", "--type", "other.*", "--json").out == ""


def test_announcements_are_listed_only_when_asked_for(shell: Shell) -> None:
    shell.write(
        "rules.py",
        RULES
        + "\n\n@rules.when('flow.ended', it.type == 'go')\ndef tell(ended):\n    yield then.emit('build', ref='told')\n",
    )
    shell("run", "rules.py", "go", "n=1")
    shell("resume")
    assert [flow["type"] for flow in shell("flows", "--json").objects] == ["go"]
    assert [flow["type"] for flow in shell("flows", "--all", "--json").objects] == ["go", "flow.ended"]


def test_a_record_is_shown_whole(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    shell("run", "rules.py", "go", "n=1")
    go, build, publish = shell("ps", "-a", "--json").objects
    said = shell("show", build["id"])
    assert said.code == 0
    assert normal(said.out) == (
        "id         ID1\n"
        "type       build\n"
        "state      completed, done after TIME\n"
        "flow       ID2, done, 3 records\n"
        "parent     ID2 go\n"
        "by rule    start\n"
        "created    STAMP\n"
        "started    STAMP\n"
        "completed  STAMP\n"
        'body       {"ref":"r1"}\n'
        'result     {"image":"app:r1"}\n'
        "fired      publish_it\n"
        "children   ID3 publish\n"
        f"rules      version {shell('show', build['id'], '--json').objects[0]['version']}\n"
    )
    shown = shell("show", build["id"], "--json").objects[0]
    assert {key: shown[key] for key in build} == build
    assert (shown["fired"], shown["children"], shown["late"]) == (["publish_it"], [publish["id"]], [])
    assert "done, 3 records: this is its root" in shell("show", go["id"]).out
    shell("run", "rules.py", "publish", "image=x")
    alone = shell("ps", "-a", "--type", "publish", "--json").objects[-1]
    assert "done, 1 record: this is its root" in shell("show", alone["id"]).out


def test_an_unambiguous_beginning_of_an_id_is_enough_in_any_case(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    shell("run", "rules.py", "publish", "image=x")
    (task,) = shell("ps", "-a", "--json").objects
    for prefix in (task["id"][:4], task["id"][:9].upper(), task["id"]):
        assert shell("show", prefix, "--json").objects[0]["id"] == task["id"]


def test_an_ambiguous_one_and_an_unknown_one_are_refused_with_2(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    shell("run", "rules.py", "go", "n=1")
    several = shell("show", "0")
    assert (several.code, several.out) == (2, "")
    assert normal(several.err) == 'andthen: several ids begin with "0" (ID1, ID2, ID3); give more of it\n'
    unknown = shell("show", "zz")
    assert (unknown.code, unknown.out) == (2, "")
    assert unknown.err == 'andthen: no record has an id that begins with "zz"; `andthen ps --all` lists them\n'
    assert 'unknown rule "publsh" (did you mean' in shell("show", "publsh").err


def test_the_rules_in_force_are_listed_in_order(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    shell("run", "rules.py", "go", "n=1")
    said = shell("rules", "--json")
    assert [(rule["name"], rule["when"], rule["outcomes"]) for rule in said.objects] == [
        ("publish_it", "build", ["done"]), ("start", "go", ["event"]),
    ]  # fmt: skip
    assert [line.split()[:3] for line in shell("rules").out.splitlines()[1:]] == [
        ["publish_it", "build", "done"], ["start", "go", "where"],
    ]  # fmt: skip


def test_a_rule_is_shown_as_text_of_the_language(shell: Shell) -> None:
    _ask(shell)
    for arguments in (["heard"], ["heard", "--as", "then"]):
        said = shell("show", *arguments)
        assert said.code == 0
        assert said.out == "rule heard\n  when ask done as a\n  then note(answer: a.answer)\n"
    unknown = shell("show", "herd", "--as", "then")
    assert (unknown.code, unknown.err) == (2, 'andthen: unknown rule "herd" (did you mean "heard"?)\n')


def test_a_rule_in_python_has_a_place_and_no_text(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    shell("run", "rules.py", "go", "n=1")
    said = shell("show", "publish_it")
    assert (said.code, said.out) == (0, "")
    assert said.err.startswith('rule "publish_it" is Python, at ')


def test_a_folder_without_a_journal_is_refused_with_2_and_stays_empty(shell: Shell) -> None:
    for command in (
        ["ps"],
        ["flows"],
        ["show", "x"],
        ["log", "x"],
        ["rules"],
        ["post", "x"],
        ["cancel", "x"],
        ["resume"],
        ["prune"],
    ):
        said = shell(*command)
        assert (said.code, said.out) == (2, "")
        assert said.err == "andthen: .then: holds no journal; `andthen run` makes one, --state names another folder\n"
    assert not (shell.folder / ".then").exists()


def test_an_engine_that_runs_is_asked_what_runs(shell: Shell) -> None:
    gate = shell.fifo("gate")
    shell.write("rules.then", 'task wait() run process ["sh", "-c", r"read line < gate"]\n')
    rules = then.Rules().load("rules.then")
    with then.Engine(rules, ".then") as engine:
        flow = engine.post("wait")
        gate_ = gate.open("w")  # Opens when the task reads.
        (task,) = shell("ps", "--json").objects
        assert (task["state"], task["id"]) == ("running", flow.id)
        assert task["started"] is not None
        assert "state      running\n" in shell("show", flow.id).out
        gate_.write("go\n")
        gate_.close()
        flow.wait()
    assert shell("ps", "--json").out == ""


def test_without_an_engine_it_is_said_how_it_goes_on(shell: Shell) -> None:
    _ask(shell)
    assert shell("ps").err == "no engine runs here: `andthen resume` goes on\n"


def test_nothing_in_a_text_reaches_the_terminal_as_a_command(shell: Shell) -> None:
    shell.write("rules.then", "event go(text: str)\n")
    shell("run", "rules.then", "go", "text=a\x1b[2J\x07\nb")
    for said in (shell("ps", "-a"), shell("show", shell("flows", "--json").objects[0]["id"])):
        assert "\x1b" not in said.out
        assert "\x07" not in said.out
