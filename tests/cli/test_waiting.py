"""`joins`, `timers`, and the stack in `show`: what a state waits for, beside its engine and after it."""

from __future__ import annotations

from tests.cli.shell import Shell

RULES = """
event go(order: int)
task pay(order: int) -> (receipt: str)
task reserve(order: int) -> (shelf: str)
task ask(who: str) -> (answer: str)
task notify(text: str)
event scan(day: str)
procedure approve(what: str, who: str) -> (ok: bool)
  first ask(who: who)
  when ask done as a then return (ok: a.answer == "yes")
end
rule start when go as o
  then pay(order: o.order), reserve(order: o.order), call approve(what: "it", who: "me") as x
  then notify(text: "ok {x.ok}")
rule pack when all of pay done as p, reserve done as r by order within 2h
  then notify(text: "order {order}") on timeout then notify(text: "{missing}")
every weekday at 06:30 in "Europe/Rome" start scan(day: today)
every 15m start scan(day: today)
"""


def _begun(shell: Shell) -> dict[str, str]:
    """A state in which order 7 is paid and waits. Gives ids by type."""
    shell.write("a.then", RULES)
    assert shell("run", "a.then", "go", "order=7", "--timeout", "1ms").code == 1
    shell("post", "go", "order=7")
    ids = {task["type"]: task["id"] for task in shell("ps", "--json").objects}
    shell("complete", ids["pay"], "done", "receipt=r1")
    return ids


def test_a_half_filled_join_is_listed_with_its_key_and_what_is_missing(shell: Shell) -> None:
    ids = _begun(shell)
    (join,) = shell("joins", "--json").objects
    assert (join["rule"], join["key"], join["missing"]) == ("pack", [7], ["reserve"])
    assert [(part["type"], part["came"]) for part in join["parts"]] == [("pay", 1), ("reserve", 0)]
    assert join["parts"][0]["records"] == [ids["pay"]]
    head, row = shell("joins").out.splitlines()
    assert head.split() == ["RULE", "KEY", "CAME", "MISSING", "UNTIL"]
    assert row.split()[:5] == ["pack", "[7]", "pay", "1", "reserve"]
    assert shell("joins", "--rule", "other", "--json").objects == []


def test_a_join_that_was_filled_is_listed_no_more(shell: Shell) -> None:
    ids = _begun(shell)
    shell("complete", ids["reserve"], "done", "shelf=s")
    assert shell("joins", "--json").objects == []
    assert [task["body"] for task in shell("ps", "--type", "notify", "--json").objects] == [{"text": "order 7"}]


def test_a_record_in_a_call_shows_a_backtrace_with_rules_and_places(shell: Shell) -> None:
    ids = _begun(shell)
    said = shell("show", ids["ask"], "--json").objects[0]
    assert said["stack"] == [ids["approve"]]
    assert said["backtrace"][1] == {
        "id": ids["approve"], "type": "approve", "rule": "start", "place": "a.then:11",
        "returns_to": "start/1", "return_place": "a.then:13",
    }  # fmt: skip
    shown = shell("show", ids["ask"]).out
    lines = shown[shown.index("stack") : shown.index("created")].splitlines()
    assert [line[11:].replace(ids["ask"], "A").replace(ids["approve"], "P") for line in lines] == [
        'ask(who: "me") A by rule approve (a.then:7)',
        'approve(what: "it", who: "me") P by rule start (a.then:11), back to start/1 (a.then:13)',
    ]
    assert "stack" not in shell("show", ids["pay"]).out


def test_a_backtrace_has_the_places_of_rules_in_python(shell: Shell) -> None:
    shell.write(
        "b.py",
        """
import then

rules = then.Rules()
rules.event("go")
rules.event("over")
rules.task("ask", run=("process", ["sleep", "100"]))

@rules.continuation
def after(approve):
    yield then.emit("over")

@rules.procedure("approve")
def approve():
    yield then.emit("ask")

@rules.when("go")
def start(go):
    yield then.call("approve", then=after)
""",
    )
    shell("run", "b.py", "go", "--timeout", "1ms")
    shell("post", "go")
    (asked,) = [task for task in shell("ps", "--json").objects if task["type"] == "ask"]
    frames = shell("show", asked["id"], "--json").objects[0]["backtrace"]
    assert [(frame["rule"], frame["place"], frame["return_place"]) for frame in frames] == [
        ("approve", "b.py:12", None),
        ("start", "b.py:16", "b.py:8"),
    ]


def test_timers_are_listed_paused_taken_up_and_fired(shell: Shell) -> None:
    _begun(shell)
    by_name = {timer["name"]: timer for timer in shell("timers", "--json").objects}
    assert by_name["scan"]["when"] == 'every weekday at 06:30 in "Europe/Rome"'
    assert by_name["scan.2"]["next"] is not None
    assert shell("timers", "pause", "scan").code == 0
    assert {t["name"]: (t["paused"], t["next"]) for t in shell("timers", "--json").objects}["scan"] == (True, None)
    (fired,) = shell("timers", "fire", "scan.2", "--json").objects
    assert fired["flow"] == fired["fired"]
    assert fired["flow"] in {flow["id"] for flow in shell("flows", "--json").objects}
    shell("timers", "resume", "scan")
    assert not any(timer["paused"] for timer in shell("timers", "--json").objects)


def test_a_timer_that_is_fired_says_what_came_of_it(shell: Shell) -> None:
    shell.write("t.then", "task scan() task count()\nevery 1h start scan() every 1h start count() overlap queue\n")
    assert shell("run", "t.then", "--timeout", "1ms").code == 0
    for name, told in (
        ("scan", "`overlap skip` leaves this time out"),
        ("count", "fires when it has ended, 1 queued"),
    ):
        (flow,) = shell("timers", "fire", name).out.removeprefix(f"{name}: flow ").split()
        assert shell("timers", "fire", name).out == f"{name}: flow {flow} lives; {told}\n"
    assert len(shell("flows", "--json").objects) == 2


def test_a_timer_that_is_not_paused_is_not_set_anew_by_resume(shell: Shell) -> None:
    shell.write("t.then", "event scan()\nevery 1h start scan()\n")
    assert shell("run", "t.then", "--timeout", "1ms").code == 0
    (before,) = shell("timers", "--json").objects
    shell("timers", "resume", "scan")
    assert shell("timers", "--json").objects == [before]


def test_a_timer_that_is_not_there_is_named_with_the_nearest(shell: Shell) -> None:
    _begun(shell)
    said = shell("timers", "pause", "scna")
    assert said.code == 2
    assert 'no timer "scna" (did you mean "scan"?)' in said.err
    assert shell("timers", "pause").code == 2


def test_a_record_that_is_put_off_shows_from_when_and_until_when(shell: Shell) -> None:
    shell.write(
        "b.then",
        'event go()\ntask f() run process ["true"] retry 3 times timeout 5m deadline 2h\n'
        "rule a when go then f() after 1h\n",
    )
    assert shell("run", "b.then", "go", "--timeout", "1ms").code == 1
    shell("post", "go")
    (task,) = shell("ps", "--type", "f", "--json").objects
    assert task["state"] == "waiting"
    lines = [line.split(maxsplit=2) for line in shell("show", task["id"]).out.splitlines()]
    shown = {" ".join(words[:-1]) if words[0] == "not" else words[0]: words[-1] for words in lines}
    assert {"not before", "deadline", "timeout", "retry"} <= shown.keys()


SETS = """
event go(ns: list[int])
task fetch(n: int) -> (size: int)
task sum(of: str)
procedure weigh(ns: list[int]) -> (count: int)
  first for n in ns emit fetch(n: n)
  when every fetch done then return (count: len(ns))
end
rule fan when go as g then for n in g.ns emit fetch(n: n)
rule again when go as g then call weigh(ns: g.ns)
rule whole when every fetch done by flow then sum(of: "all") else sum(of: "not all")
"""


def _fanned(shell: Shell, ns: str) -> tuple[str, list[str], list[str]]:
    """A state in which so many are fetched in a flow, and as many in a call of it. Gives the flow, and the ids."""
    shell.write("s.then", SETS)
    assert shell("run", "s.then", "go", "ns=[1]", "--timeout", "1ms").code == 1
    assert shell("post", "go", f"ns={ns}").code == 0
    tasks = shell("ps", "--type", "fetch", "--json").objects
    (call,) = {task["stack"][0] for task in tasks if task["stack"]}
    return call, [task["id"] for task in tasks if not task["stack"]], [task["id"] for task in tasks if task["stack"]]


def test_a_set_that_waits_is_listed_with_what_came_and_what_is_awaited(shell: Shell) -> None:
    call, own, called = _fanned(shell, "[1, 2, 3]")
    flow = shell("show", own[0], "--json").objects[0]["flow"]
    shell("complete", called[1], "done", "size=1")
    shell("complete", own[0], "done", "size=1")
    by_scope = {one["scope"]: one for one in shell("joins", "--json").objects}
    # What a call emits is of the set of its flow too.
    assert by_scope[flow] == {
        "rule": "whole", "kind": "every", "scope": flow, "key": [], "flow": flow,
        "parts": [{"type": "fetch", "absent": False, "came": 2, "records": []}], "missing": ["fetch"], "until": None,
        "awaited": {"count": 4, "records": [own[1], own[2], called[0]], "unseen": 0},
    }  # fmt: skip
    assert by_scope[call]["rule"].startswith("weigh.")
    assert by_scope[call]["flow"] == flow
    assert by_scope[call]["parts"][0]["came"] == 1
    assert by_scope[call]["awaited"] == {"count": 2, "records": [called[0], called[2]], "unseen": 0}
    rows = {row.split()[0]: " ".join(row.split()[1:]) for row in shell("joins").out.splitlines()[1:]}
    assert rows["whole"] == f"flow {flow} fetch 2 fetch 4 ({own[1]}, {own[2]}, {called[0]}, …)"
    assert rows[by_scope[call]["rule"]] == f"call {call} fetch 1 fetch 2 ({called[0]}, {called[2]})"
    assert [one["scope"] for one in shell("joins", "--rule", "whole", "--json").objects] == [flow]
    assert len(shell("joins", "--flow", flow, "--json").objects) == 2


def test_a_set_that_is_full_or_can_be_no_more_is_listed_no_more(shell: Shell) -> None:
    call, own, called = _fanned(shell, "[1]")
    shell("complete", called[0], "done", "size=1")
    assert call not in {one["scope"] for one in shell("joins", "--json").objects}
    shell("complete", own[0], "failed")
    assert shell("joins", "--json").objects == []


def test_of_a_set_that_did_not_see_an_end_that_is_said(shell: Shell) -> None:
    # The set of the call returns, which ends the search: that of the flow waits for ever.
    _, own, called = _fanned(shell, "[1]")
    shell("complete", called[0], "done", "size=1")
    (left,) = shell("joins", "--json").objects
    assert (left["rule"], left["awaited"]) == ("whole", {"count": 2, "records": own, "unseen": 1})
    assert f"fetch 2 ({own[0]}, 1 ended unseen)" in shell("joins").out


def test_sets_of_other_flows_are_left_out_where_one_is_named(shell: Shell) -> None:
    _, own, _ = _fanned(shell, "[1]")
    shell("post", "go", "ns=[1, 2]")
    flow = shell("show", own[0], "--json").objects[0]["flow"]
    assert len(shell("joins", "--json").objects) == 4
    assert {one["flow"] for one in shell("joins", "--flow", own[0], "--json").objects} == {flow}


def test_a_script_that_waits_says_for_what_where_and_until_when(shell: Shell) -> None:
    shell.write(
        "job.py", 'def main(n):\n    asked = [run("ask", n=i) for i in range(n)]\n    wait(asked, timeout="2h")\n'
    )
    shell.write(
        "s.then",
        'task ask(n: int) run process ["true"]\ntask job(n: int) run script "job.py"\n'
        "breakpoint asking before ask where n == 1\n",
    )
    assert shell("run", "s.then", "job", "n=3").code == 4
    tasks = {task["type"]: task for task in shell("ps", "--json").objects}
    waits = tasks["job"]["waits_for"]
    assert (waits["place"], waits["records"]) == ("job.py:3", [tasks["ask"]["id"]])
    assert "waits_for" not in tasks["ask"]
    said = f"waits at job.py:3 for 1 record until {waits['until']}"
    assert said in shell("ps").out
    whole = shell("show", tasks["job"]["id"], "--json").objects[0]["waits_for"]
    since = whole.pop("since")
    assert whole == waits
    assert tasks["job"]["created"] <= since < waits["until"]
    shown = shell("show", tasks["job"]["id"]).out
    assert f"waits      {said.removeprefix('waits ')}, since {since}\n           {tasks['ask']['id']} ask\n" in shown


def test_the_line_of_a_flows_end_names_what_it_left_half_filled(shell: Shell) -> None:
    shell.write(
        "half.then",
        """
event go()
event never()
task pay() run process ["true"]
rule begin when go then pay()
rule pair when all of pay done, never by flow then pay()
""",
    )
    said = shell("run", "half.then", "go")
    assert said.code == 0
    assert said.out.rstrip().endswith("; half-filled: pair")
    (flow,) = shell("flows", "--json").objects
    assert flow["unfilled"] == ["pair"]
    assert "pair: not all came before the flow ended" in shell("show", flow["id"]).out
