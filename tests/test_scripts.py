"""Scripts in an engine: what each word does, what becomes of bad ones, and that they go on from where they were."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import then
from tests import scripted
from tests.scripted import PATIENCE_S, completes, error, project, result, until, until_asked, write
from then.abc import Job, Report
from then.alarm import SystemClock
from then.core.scripts import Open, Recorded
from then.core.tasks import Task
from then.executors.script import ScriptExecutor

# -- the words --------------------------------------------------------------------------------


def test_main_gets_the_body_and_gives_the_result(tmp_path: Path) -> None:
    assert result(tmp_path, "def main(a, **rest): return {'a': a, 'rest': rest}", a=1, b=[2]) == {
        "a": 1,
        "rest": {"b": [2]},
    }


def test_run_starts_a_task_and_wait_gives_its_record(tmp_path: Path) -> None:
    text = """
    def main():
        one = run("work", n=1)
        two = run("work", n=2)
        return {"m": [wait(one).result["m"], two.wait().result["m"]]}
    """
    assert result(tmp_path, text) == {"m": [2, 3]}


def test_wait_takes_a_handle_a_name_a_list_or_nothing_at_all(tmp_path: Path) -> None:
    text = """
    def main():
        a, b = run("work", n=1), run("work", n=2)
        lists = [[one.body["n"] for one in found] for found in (wait([b, a]), wait(""), wait(), wait([]))]
        return {"one": wait(a).body["n"], "name": wait("work").body["n"], "lists": lists}
    """
    assert result(tmp_path, text) == {"one": 1, "name": 2, "lists": [[2, 1], [1, 2], [1, 2], []]}


def test_wait_any_gives_the_first_that_ended(tmp_path: Path) -> None:
    text = """
    def main():
        never, soon = run("person", n=1), run("work", n=2)
        return {"n": wait(any=[never, soon]).body["n"]}
    """
    with then.Engine(project(tmp_path, text)) as engine:
        flow = engine.post("job")
        completes(engine, flow, "person")
        assert flow.wait(PATIENCE_S).tasks[0].outcome == "done"


def test_a_failed_task_raises_with_its_record_and_may_be_caught(tmp_path: Path) -> None:
    text = """
    from then.scripts import TaskFailed as Failed

    def main():
        try:
            wait([run("work", n=1), run("fails", n=2)])
        except TaskFailed as failed:
            assert isinstance(failed, Failed)
            return {"n": failed.record.body["n"], "kind": failed.record.error["kind"], "all": len(failed.records)}
    """
    with then.Engine(project(tmp_path, text)) as engine:
        flow = engine.run("job")
        assert flow.outcome == "done", "what a wait took up counts as taken up"
        assert flow.tasks[0].result == {"n": 2, "kind": "exception", "all": 2}


def test_a_failed_task_that_is_not_caught_fails_the_script(tmp_path: Path) -> None:
    failed = error(tmp_path, "def main(): wait(run('fails', n=1))")
    assert failed["type"] == "TaskFailed"
    assert "ValueError: as told" in failed["message"]


def test_a_failure_that_nobody_waited_for_fails_the_flow(tmp_path: Path) -> None:
    with then.Engine(project(tmp_path, "def main(): run('fails', n=1)")) as engine:
        flow = engine.run("job")
        assert flow.tasks[0].outcome == "done"
        assert flow.outcome == "failed"


def test_a_wait_that_takes_too_long_raises(tmp_path: Path) -> None:
    text = """
    def main():
        try:
            wait(run("person", n=1), timeout="20ms")
        except TimeoutError as error:
            return {"said": str(error)}
    """
    with then.Engine(project(tmp_path, text)) as engine:
        flow = engine.post("job")
        completes(engine, flow, "person")
        said = flow.wait(PATIENCE_S).tasks[0].result
        assert said in ({"said": "wait person#1 within 0.02s: the time was over before"}, {})


def test_variables_time_chance_and_calls(tmp_path: Path) -> None:
    text = """
    def main():
        save("x", {"list": [1]})
        value = load("x")
        value["list"].append(2)
        began = now()
        sleep("5ms")
        sleep(0)
        passed = (now() - began).total_seconds()
        return {"x": load("x"), "passed": passed >= 0.005, "drawn": 0 <= random() < 1, "m": wait(call("twice", n=4)).result["m"]}
    """
    assert result(tmp_path, text) == {"x": {"list": [1]}, "passed": True, "drawn": True, "m": 9}


def test_what_a_script_emits_is_matched_by_rules(tmp_path: Path) -> None:
    rules = project(tmp_path, "def main(): emit('note', text='x')")

    @rules.when("note")
    def told(note: then.Task) -> object:
        return then.emit("work", n=7)

    with then.Engine(rules) as engine:
        flow = engine.run("job")
        assert [task.type for task in flow.tasks] == ["job", "note", "work"]


def test_an_async_main_awaits_handles_side_by_side(tmp_path: Path) -> None:
    text = """
    import asyncio

    async def one(n):
        first = await run("work", n=n)
        second = await run("work", n=first.result["m"])
        return second.result["m"]

    async def main():
        found = await asyncio.gather(one(1), one(10), one(100))
        return {"found": found, "plain": wait(run("work", n=5)).result["m"]}
    """
    with then.Engine(project(tmp_path, text)) as engine:
        flow = engine.run("job")
        assert flow.tasks[0].result == {"found": [3, 12, 102], "plain": 6}, flow.tasks[0].error
        assert [task.body["n"] for task in flow.tasks[1:4]] == [1, 10, 100], "all three began before one went on"


def test_an_async_main_may_catch_a_failure(tmp_path: Path) -> None:
    text = """
    async def main():
        try:
            await run("fails", n=1)
        except TaskFailed as failed:
            return {"n": failed.record.body["n"]}
    """
    assert result(tmp_path, text) == {"n": 1}


def test_the_names_can_be_imported_for_editors(tmp_path: Path) -> None:
    text = """
    from then.scripts import run, wait

    def main():
        return wait(run("work", n=1)).result
    """
    assert result(tmp_path, text) == {"m": 2}


def test_the_words_work_in_the_thread_of_a_script_only() -> None:
    from then.scripts import run

    with pytest.raises(then.ThenError, match="work in the thread of a script's main"):
        run("work")


def test_each_run_of_a_script_has_globals_of_its_own(tmp_path: Path) -> None:
    text = """
    seen = []

    def main(n):
        seen.append(n)
        return {"seen": seen}
    """
    with then.Engine(project(tmp_path, text)) as engine:
        assert [engine.run("job", n=n).tasks[0].result for n in (1, 2)] == [{"seen": [1]}, {"seen": [2]}]


def test_what_a_script_prints_goes_to_its_own_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
    import sys
    def main(k):
        print("before", k)
        print("oh", k, file=sys.stderr)
        log("half way", n=1)
        wait(run("work", n=k))
        print("after", k, sep="-", end="!")
    """
    state = tmp_path / "state"
    with then.Engine(project(tmp_path, text), state) as engine:
        ids = [engine.run("job", k=k).tasks[0].id for k in (1, 2)]
        outputs = [(state / "tasks" / id / "out").read_text() for id in ids]
        errors = [(state / "tasks" / id / "err").read_text() for id in ids]
    assert outputs == [f'before {k}\nhalf way {{"n":1}}\nafter-{k}!' for k in (1, 2)]
    assert errors == ["oh 1\n", "oh 2\n"]
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


# -- bad ones ---------------------------------------------------------------------------------


def test_a_script_without_main_fails(tmp_path: Path) -> None:
    assert "job.py: no main; a script has" in error(tmp_path, "x = 1")["message"]


def test_a_script_with_a_syntax_error_fails_with_its_place(tmp_path: Path) -> None:
    assert "job.py:2:5" in error(tmp_path, "def main():\n    x = = 1\n")["message"].replace("2:9", "2:5")


def test_a_script_that_is_not_there_fails(tmp_path: Path) -> None:
    rules = project(tmp_path, "")
    (tmp_path / "job.py").unlink()
    with then.Engine(rules) as engine:
        failed = engine.run("job").tasks[0].error
    assert failed is not None
    assert "job.py: the script cannot be read: no such file" in failed["message"]


def test_a_script_that_raises_fails_with_a_traceback_of_its_own_lines(tmp_path: Path) -> None:
    failed = error(tmp_path, "def helper():\n    return 1 / 0\n\ndef main():\n    helper()\n")
    assert failed["kind"] == "exception"
    assert failed["type"] == "ZeroDivisionError"
    assert 'job.py", line 2, in helper' in failed["traceback"]
    assert "then/scripts" not in failed["traceback"]


def test_a_script_that_calls_sys_exit_fails_and_ends_nothing_else(tmp_path: Path) -> None:
    assert error(tmp_path, "import sys\n\ndef main(): sys.exit(0)")["type"] == "SystemExit"
    assert error(tmp_path, "def main(): raise KeyboardInterrupt")["message"] == "KeyboardInterrupt"
    assert error(tmp_path, "def main(): raise KeyboardInterrupt")["message"] == "KeyboardInterrupt"


def test_a_script_that_returns_no_object_fails(tmp_path: Path) -> None:
    failed = error(tmp_path, "def main(): return [1]")
    assert (failed["kind"], failed["message"]) == (
        "result", "main returned list; a script returns a dict of JSON values, or None",
    )  # fmt: skip
    assert error(tmp_path, "def main(): return {'x': object()}")["kind"] == "result"


def test_a_body_that_does_not_fit_main_fails(tmp_path: Path) -> None:
    assert error(tmp_path, "def main(a): pass", b=1)["type"] == "TypeError"


def test_a_wait_for_a_name_that_was_never_started_says_what_was(tmp_path: Path) -> None:
    failed = error(tmp_path, "def main():\n    run('work', n=1)\n    wait('wrok')")
    assert "wait('wrok'): this script has started nothing of that name; it has started work" in failed["message"]


@pytest.mark.parametrize("name", ["nothing", "../../etc/passwd"])
def test_a_load_of_what_nothing_saved_fails_as_a_load(tmp_path: Path, name: str) -> None:
    failed = error(tmp_path, f"def main(): load({name!r})")
    assert failed["kind"] == "load"
    assert f'flow variable "{name}" was never saved' in failed["message"]
    assert error(tmp_path, "def main(): load(5)")["message"].endswith("load(5): a name is expected, as text")


def test_what_is_logged_may_be_anything_that_can_be_written(tmp_path: Path) -> None:
    assert result(tmp_path, "def main():\n    log(5)\n    log(None, k=1)\n    return {'ok': True}\n") == {"ok": True}


def test_a_script_that_computes_for_ever_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    text = """
    def main():
        run("person", n=1)
        while True:
            pass
    """
    with then.Engine(project(tmp_path, text)) as engine:
        flow = engine.post("job")
        until(engine, lambda state: any(task.type == "person" for task in state.live(flow.id)))
        engine.cancel(flow)
        assert flow.wait(PATIENCE_S).outcome == "cancelled"
        assert {task.outcome for task in flow.tasks} == {"cancelled"}


def test_a_script_that_takes_longer_than_its_timeout_ends(tmp_path: Path) -> None:
    rules = project(tmp_path, "")
    write(tmp_path, "def main():\n    while True:\n        pass\n", "spin.py")
    rules.task("spin", run=("script", "spin.py"), timeout="50ms")
    with then.Engine(rules) as engine:
        task = engine.run("spin").tasks[0]
    assert task.outcome == "timed_out"


def test_a_script_that_waits_ends_when_it_is_cancelled_with_what_it_started(tmp_path: Path) -> None:
    with then.Engine(project(tmp_path, "def main():\n    wait(run('person', n=1))")) as engine:
        flow = engine.post("job")
        until_asked(engine, flow)
        engine.cancel(flow.id)
        flow.wait(PATIENCE_S)
        assert [task.outcome for task in flow.tasks] == ["cancelled", "cancelled"]


# -- going on ---------------------------------------------------------------------------------


def test_a_script_goes_on_with_a_later_engine(tmp_path: Path) -> None:
    text = """
    def main():
        first = wait(run("work", n=1)).result["m"]
        drawn = random()
        save("drawn", drawn)
        print("asked")
        wait(run("person", n=2))
        return {"first": first, "same": drawn == load("drawn")}
    """
    state = tmp_path / "state"
    with then.Engine(project(tmp_path, text), state) as engine:
        flow = engine.post("job")
        until_asked(engine, flow)
    with then.Engine(project(tmp_path, text), state) as engine:
        flow = engine.flow(flow.id)
        completes(engine, flow, "person")
        job, *others = flow.wait(PATIENCE_S).tasks
        assert job.result == {"first": 2, "same": True}, job.error
        assert [task.type for task in others] == ["work", "person"]
        assert (state / "tasks" / job.id / "out").read_text() == "asked\n"


def test_scripts_that_wait_are_taken_up_without_a_thread(tmp_path: Path) -> None:
    text = """
    def main(k):
        wait(run("person", n=k))
    """
    state = tmp_path / "state"
    with then.Engine(project(tmp_path, text), state) as engine:
        flows = [engine.post("job", k=k) for k in range(3)]
        for flow in flows:
            until_asked(engine, flow)
    others = set(threading.enumerate())
    with then.Engine(project(tmp_path, text), state) as engine:
        own = set(threading.enumerate()) - others
        assert not [one for one in own if one.name.startswith("andthen-script")]
        for flow in flows:
            completes(engine, engine.flow(flow.id), "person")
        assert [engine.flow(flow.id).wait(PATIENCE_S).outcome for flow in flows] == ["done"] * 3


def test_a_script_that_is_told_to_stop_before_it_is_taken_up_again_ends(tmp_path: Path) -> None:
    reports: list[Report] = []
    waits = Recorded([], [], {}, 5, Open("wait", "", ["x"], False, None))
    executor = ScriptExecutor(reports.extend, lambda ask: None, lambda id: waits, SystemClock(), tmp_path, tmp_path)
    executor.stop("told", 5.0)
    executor.recover([Job(Task("job", {}, "told", "told"), {}), Job(Task("job", {}, "other", "other"), {})])
    assert [(report.id, report.outcome, report.started) for report in reports] == [("told", "cancelled", 5)]
    executor.close(wait=True)


def test_more_scripts_wait_than_there_are_threads(tmp_path: Path) -> None:
    text = """
    def main(k):
        a = wait(run("work", n=k)).result["m"]
        wait(run("person", n=k))
        return {"k": k, "a": a}
    """
    count = 40
    others = set(threading.enumerate())
    with then.Engine(project(tmp_path, text)) as engine:
        flows = [engine.post("job", k=k) for k in range(count)]
        for flow in flows:
            until_asked(engine, flow)
        own = set(threading.enumerate()) - others
        assert sum(one.name.startswith("andthen-script") for one in own) <= 32
        for flow in flows:
            completes(engine, flow, "person")
        assert [flow.wait(PATIENCE_S).tasks[0].result for flow in flows] == [{"k": k, "a": k + 1} for k in range(count)]


def test_what_finally_does_while_a_script_is_taken_off_reaches_nobody(tmp_path: Path) -> None:
    text = """
    def main():
        try:
            wait(run("person", n=1))
        except BaseException:
            run("work", n=1)
            raise
        finally:
            print("over")
            save("over", True)
    """
    state = tmp_path / "state"
    with then.Engine(project(tmp_path, text), state) as engine:
        flow = engine.post("job")
        until_asked(engine, flow)
    with then.Engine(project(tmp_path, text), state) as engine:
        flow = engine.flow(flow.id)
        assert [task.type for task in flow.tasks] == ["job", "person"]
        completes(engine, flow, "person")
        job = flow.wait(PATIENCE_S).tasks[0]
        assert job.outcome == "done"
        assert (state / "tasks" / job.id / "out").read_text() == "over\n"


LEAVES = """
from tests import scripted

def main():
    scripted.leaving.began += 1
    try:
        wait(run("person", n=1))
    finally:
        if scripted.leaving.began == 1:
            scripted.leaving.is_leaving.set()
            scripted.leaving.may_leave.wait(60)
            scripted.leaving.has_left = True
    return {"had_left": scripted.leaving.has_left}
"""


def test_a_script_that_is_answered_while_it_leaves_its_thread_goes_on_when_it_has_left(tmp_path: Path) -> None:
    scripted.leaving = scripted.Leaving()
    rules = project(tmp_path, LEAVES)
    write(tmp_path, "def main(): return {}", "other.py")
    rules.task("other", run=("script", "other.py"))
    with then.Engine(rules) as engine:
        flow = engine.post("job")
        assert scripted.leaving.is_leaving.wait(PATIENCE_S)
        completes(engine, flow, "person")
        # Were it queued at once, it would be taken up before another that is queued after it.
        assert engine.post("other").wait(PATIENCE_S).outcome == "done"
        scripted.leaving.may_leave.set()
        job = flow.wait(PATIENCE_S).tasks[0]
        assert job.result == {"had_left": True}, job
        assert scripted.leaving.began == 2


def test_a_script_that_is_cancelled_while_it_leaves_its_thread_is_cancelled(tmp_path: Path) -> None:
    scripted.leaving = scripted.Leaving()
    with then.Engine(project(tmp_path, LEAVES)) as engine:
        flow = engine.post("job")
        assert scripted.leaving.is_leaving.wait(PATIENCE_S)
        engine.cancel(flow)
        scripted.leaving.may_leave.set()
        assert flow.wait(PATIENCE_S).outcome == "cancelled"
        assert scripted.leaving.began == 1


BASE = """
def main():
    a = run("work", n=1)
    b = run("work", n=2)
    save("total", 3)
    x = load("total")
    t = now()
    r = random()
    wait([a, b])
    emit("note", text="one")
    log("hello", k=1)
    c = call("twice", n=4)
    wait(c)
    sleep("1ms")
    d = run("person", n=5)
    wait(d)
    return {"x": x}
"""
EDITS = [
    ('run("work", n=1)', 'run("work", n=7)'),
    ('run("work", n=1)', 'run("work")'),
    ('b = run("work", n=2)', 'b = run("fails", n=2)'),
    ('    b = run("work", n=2)\n    save("total", 3)\n', '    save("total", 3)\n    b = run("work", n=2)\n'),
    ('save("total", 3)', 'save("total", 4)'),
    ('save("total", 3)', 'save("sum", 3)'),
    ('    x = load("total")\n', "    x = 3\n"),
    ("    t = now()\n", ""),
    ("    t = now()\n    r = random()\n", "    r = random()\n    t = now()\n"),
    ("    r = random()\n", "    r = random(), random()\n"),
    ("wait([a, b])", "wait([b, a])"),
    ("wait([a, b])", "wait(any=[a, b])"),
    ("wait([a, b])", "wait(a)"),
    ('text="one"', 'text="two"'),
    ('log("hello", k=1)', 'log("hello", k=2)'),
    ('    log("hello", k=1)\n', '    run("work", n=9)\n    log("hello", k=1)\n'),
    ('call("twice", n=4)', 'run("twice", n=4)'),
    ('sleep("1ms")', 'sleep("2ms")'),
    ('run("person", n=5)', 'run("person", n=6)'),
    ("wait(d)", 'wait(d, timeout="1d")'),
    ("    wait(c)\n", "    return {}\n"),
    ("    wait(c)\n", "    raise ValueError\n"),
    ("    wait(d)\n", "    wait()\n"),
]


@pytest.mark.parametrize("edit", EDITS, ids=range(len(EDITS)))
def test_a_script_that_was_edited_fails_at_the_first_step_that_differs_and_does_nothing_else(
    tmp_path: Path, edit: tuple[str, str]
) -> None:
    assert BASE.count(edit[0]) == 1
    state = tmp_path / "state"
    with then.Engine(project(tmp_path, BASE), state) as engine:
        flow = engine.post("job")
        until_asked(engine, flow)
        before = [task.id for task in flow.tasks]
    with then.Engine(project(tmp_path, BASE.replace(*edit)), state) as engine:
        flow = engine.flow(flow.id)
        completes(engine, flow, "person")
        job = flow.wait(PATIENCE_S).tasks[0]
        assert job.outcome == "failed"
        assert job.error is not None
        assert job.error["type"] == "ScriptDiffers", job.error
        assert "is recorded" in job.error["message"]
        assert job.error["message"].count("job.py") >= 2, "both steps are named by their places"
        assert [task.id for task in flow.tasks] == before


def test_a_script_that_differs_may_not_catch_that_and_go_on(tmp_path: Path) -> None:
    caught = 'def main():\n    try:\n        run("work", n=1)\n    except Exception:\n        pass\n    wait(run("person", n=1))\n'
    state = tmp_path / "state"
    with then.Engine(project(tmp_path, caught), state) as engine:
        flow = engine.post("job")
        until_asked(engine, flow)
    with then.Engine(project(tmp_path, caught.replace("n=1)\n    except", "n=2)\n    except")), state) as engine:
        flow = engine.flow(flow.id)
        completes(engine, flow, "person")
        job = flow.wait(PATIENCE_S).tasks[0]
        assert job.error is not None
        assert job.error["type"] == "ScriptDiffers"
        assert len(flow.tasks) == 3


def test_scripts_that_are_cancelled_in_the_middle_of_steps_leave_the_engine_sound(tmp_path: Path) -> None:
    text = """
    def main():
        while True:
            now()
    """
    with then.Engine(project(tmp_path, text)) as engine:
        flows = [engine.post("job") for _ in range(8)]
        for flow in flows:
            until(engine, lambda state, id=flow.id: id in state.waits.scripts.of)  # type: ignore[misc]
            engine.cancel(flow)
        assert {flow.wait(PATIENCE_S).outcome for flow in flows} == {"cancelled"}
        assert engine.loop.failure is None


def test_an_async_main_goes_on_with_a_later_engine(tmp_path: Path) -> None:
    text = """
    import asyncio

    async def asked(n):
        before = (await run("work", n=n)).result["m"]
        record = await run("person", n=n)
        return [before, record.result["said"]]

    async def main():
        return {"found": await asyncio.gather(asked(1), asked(2))}
    """
    state = tmp_path / "state"
    with then.Engine(project(tmp_path, text), state) as engine:
        flow = engine.post("job")
        until_asked(engine, flow)
    for said in ("first", "second"):
        with then.Engine(project(tmp_path, text), state) as engine:
            flow = engine.flow(flow.id)
            completes(engine, flow, "person", said=said)
            if said == "first":
                until_asked(engine, flow)
                continue
            job = flow.wait(PATIENCE_S).tasks[0]
            assert job.outcome == "done", job.error
            assert job.result is not None
            assert sorted(job.result["found"]) == [[2, "first"], [3, "second"]]
            assert [task.type for task in flow.tasks].count("work") == 2


def test_a_sleep_that_was_due_while_no_engine_ran_is_over(tmp_path: Path) -> None:
    text = """
    def main():
        save("began", now().timestamp())
        sleep("50ms")
        return {"slept": now().timestamp() - load("began") >= 0.05}
    """
    state = tmp_path / "state"
    with then.Engine(project(tmp_path, text), state) as engine:
        flow = engine.post("job")
        until(engine, lambda state: flow.id in state.waits.scripts.of or flow.id not in state.flows)
    with then.Engine(project(tmp_path, text), state) as engine:
        assert engine.flow(flow.id).wait(PATIENCE_S).tasks[0].result == {"slept": True}
