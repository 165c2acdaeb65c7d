"""Secrets: read at the start of a task, given to it, and to be found nowhere in what the engine writes or shows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import then
from tests.desk import Desk, files_of
from tests.seams.executor_suite import job
from then import it
from then.abc import Report
from then.alarm import SystemClock
from then.app.engine import Engine
from then.app.secrets import Secrets, readable_by_others
from then.core.declarations import SecretDecl
from then.core.errors import DuplicateRule, RuleError, UnknownName
from then.core.launch import CannotRead
from then.executors import results

ROOT = Path(__file__).parent.parent

FROM_ENV = "canary-env-4Jq/9+x"
FROM_FILE = "canary-file-first line\ncanary-file-second\tline"
FROM_COMMAND = 'canary-command-"quoted"'
CANARIES = (FROM_ENV, FROM_FILE, FROM_COMMAND, "canary-")

VALUES = {"from_env": FROM_ENV, "from_file": FROM_FILE, "from_command": FROM_COMMAND}

SAYS = """
printf '%s\\n' "$T"; printf '%s\\n' "$T" >&2; printf '%s' '{"seen": "canary-env-4Jq/9+x"}' > "$THEN_RESULT"
printf '%s\\n' "{\\"text\\": \\"$T\\"}" > "$THEN_MESSAGES"
"""
FAILS = """
printf '{"error": {"kind": "mine", "message": "no %s"}, "%s": 1}' "$T" "$T" > "$THEN_RESULT"; echo "bad $T" >&2; exit 3
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the canary in a variable, a file and a program."""
    monkeypatch.setenv("CANARY", FROM_ENV)
    (tmp_path / "key").write_text(FROM_FILE + "\n")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "vault").write_text("#!/bin/sh\nprintf '%s\\n' 'canary-command-\"quoted\"'\n")
    (tmp_path / "vault").chmod(0o700)
    return tmp_path


def rules_for(project: Path) -> then.Rules:
    rules = then.Rules()
    rules.root = project
    rules.secret("from_env", env="CANARY")
    rules.secret("from_file", file="key")
    rules.secret("from_command", command="./vault get 'a key'")
    return rules


def held(folder: Path, canaries: tuple[str, ...] = CANARIES) -> list[str]:
    """The files below a folder that hold a canary, but for the outputs of tasks."""
    return [
        str(path)
        for path, data in files_of(folder).items()
        if not (path.parent.parent.name == "tasks" and path.name in ("out", "err"))
        if any(canary.encode() in data for canary in canaries)
    ]


def shown(flow: then.Flow) -> str:
    return repr([(task.body, task.result, task.error) for task in flow.tasks])


# -- functions ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["from_env", "from_file", "from_command"])
def test_a_function_is_given_the_value_and_its_record_has_none_of_it(project: Path, name: str) -> None:
    rules = rules_for(project)
    seen: list[str] = []

    @rules.task("use", secrets={"key": name})
    def use(n: int, key: str) -> dict[str, Any]:
        seen.append(key)
        return {"n": n, "told": f"<{key}>", key: [key]}

    with then.Engine(rules, project / ".then") as engine:
        flow = engine.run("use", n=1).check()
        assert flow.tasks[0].body == {"n": 1}
        assert flow.tasks[0].result == {"n": 1, "told": "<***>", "***": ["***"]}
    assert seen == [VALUES[name]]
    assert held(project / ".then") == []


def test_what_a_function_raises_is_masked_also_where_it_is_cut(project: Path) -> None:
    rules = rules_for(project)

    @rules.task("plain", secrets={"key": "from_env"})
    def plain(key: str) -> None:
        raise ValueError(f"no entry for {key}")

    @rules.task("shown", secrets={"key": "from_file"})
    def shown_(key: str) -> None:
        raise KeyError(key)

    @rules.task("long", secrets={"key": "from_env"})
    def long(key: str) -> None:
        raise ValueError("x" * 4980 + key * 20_000)

    with then.Engine(rules, project / ".then") as engine:
        errors = [engine.run(type).tasks[0].error or {} for type in ("plain", "shown", "long")]
    assert errors[0]["message"] == "ValueError: no entry for ***"
    assert errors[1]["message"] == "KeyError: '***'"
    assert "ValueError: no entry for ***" in errors[0]["traceback"]
    assert "canary" not in repr(errors)
    assert held(project / ".then") == []


def test_a_coroutine_is_given_secrets_too(project: Path) -> None:
    rules = rules_for(project)

    @rules.task("use", secrets={"key": "from_command"})
    async def use(key: str) -> dict[str, Any]:
        if len(key) != len(FROM_COMMAND):
            raise ValueError(key)
        return {"told": key}

    with then.Engine(rules) as engine:
        assert engine.run("use").check().tasks[0].result == {"told": "***"}


def test_what_a_task_posts_is_masked(project: Path) -> None:
    rules = rules_for(project)
    rules.event("heard", text=str)

    @rules.task("use", secrets={"key": "from_env"})
    def use(key: str) -> None:
        engine.post("heard", text=key)

    with then.Engine(rules, project / ".then") as engine:
        engine.run("use").check()
        assert "***" in [flow.history.records[flow.id].task.body.get("text") for flow in flows(engine)]
    assert held(project / ".then") == []


def test_what_a_person_answers_is_masked(project: Path) -> None:
    (project / "ask.then").write_text("task ask() -> (answer: str)\n")
    rules = rules_for(project).load(project / "ask.then")
    with then.Engine(rules, project / ".then") as engine:
        engine.secrets.value(rules.set.secrets["from_env"])
        flow = engine.post("ask")
        engine.complete(flow.id, "done", answer=f"it is {FROM_ENV}")
        assert flow.wait().tasks[0].result == {"answer": "it is ***"}
    assert held(project / ".then") == []


def flows(engine: Engine) -> Iterator[then.Flow]:
    for flow in engine.history().flows():
        yield engine.flow(flow.id)


# -- processes ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["from_env", "from_file", "from_command"])
def test_a_process_is_given_the_value_and_only_its_outputs_hold_it(project: Path, name: str) -> None:
    rules = rules_for(project)
    rules.task("says", run=("process", ["sh", "-c", SAYS]), env={"N": 1}, secrets={"T": name})
    rules.task("fails", run=("process", ["sh", "-c", FAILS]), secrets={"T": name})
    value = VALUES[name]
    state = project / ".then"
    with then.Engine(rules, state) as engine:
        # The first writes what is no value to it where its secret is another: it is masked where it is known.
        for known in ("from_env",):
            engine.secrets.value(rules.set.secrets[known])
        said = engine.run("says").check()
        assert said.tasks[0].result == {"seen": "***", "code": 0}
        assert (state / "tasks" / said.id / "out").read_text() == value + "\n"
        assert (state / "tasks" / said.id / "out").stat().st_mode & 0o777 == 0o600
        failed = engine.run("fails")
        assert "canary" not in shown(failed)
        assert failed.outcome == "failed"
    assert held(state) == []


def test_a_process_inherits_no_variable_that_holds_a_secret(project: Path) -> None:
    rules = rules_for(project)
    script = 'test -z "$CANARY" && test "$OTHER" = "$0"'
    rules.task("bare", run=("process", ["sh", "-c", script, ""]))
    rules.task("given", run=("process", ["sh", "-c", script, FROM_FILE[:4]]), env={"OTHER": FROM_FILE[:4]})
    rules.task("named", run=("process", ["sh", "-c", 'test -n "$CANARY"']), secrets={"CANARY": "from_env"})
    with then.Engine(rules, project / ".then") as engine:
        for type in ("bare", "given", "named"):
            engine.run(type).check()


# -- kill -9 -------------------------------------------------------------------------

ENGINE = """
import os, sys
import then
from then import it

rules = then.Rules()
rules.secret("key", {source})
rules.task("slow", run=("process", ["sh", "-c", it.script]), secrets={{"T": "key"}})
engine = then.Engine(rules, ".then")
if len(sys.argv) > 1:
    engine.post("slow", script=sys.argv[1])
    sys.stdout.write("posted\\n")
    sys.stdout.flush()
    sys.stdin.read()
else:
    ids = [flow.id for flow in engine.history().flows()]
    for id in ids:
        engine.flow(id).wait()
        for task in engine.flow(id).tasks:
            print(task.outcome, task.result, (task.error or {{}}).get("kind"), (task.error or {{}}).get("message"))
    engine.close()
"""

SLOW = 'echo >begun; read x <go; printf "{\\"told\\": \\"$T\\"}" > $THEN_RESULT; echo "$T"; echo >ended'


def _killed(project: Path, source: str, variables: dict[str, str]) -> None:
    """An engine that started the task, and was killed."""
    (project / "engine.py").write_text(ENGINE.format(source=source))
    for name in ("begun", "go", "ended"):
        os.mkfifo(project / name)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    first = subprocess.Popen(
        [sys.executable, "engine.py", SLOW], cwd=project, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    (project / "begun").read_text()
    first.send_signal(signal.SIGKILL)
    first.communicate()


def _resumed(project: Path, variables: dict[str, str]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    ran = subprocess.run(
        [sys.executable, "engine.py"], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.stderr == ""
    return ran.stdout


def _end_task(project: Path) -> None:
    (project / "go").write_text("go\n")
    (project / "ended").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_after_kill_9_the_next_engine_masks_what_it_never_read(project: Path, when: str) -> None:
    # The second engine has no such variable: the keeper tells what the task was given.
    _killed(project, 'env="K"', {"K": "canary-killed"})
    if when == "before":
        _end_task(project)
    else:
        threading.Timer(0.2, _end_task, (project,)).start()
    assert _resumed(project, {}) == "done {'told': '***', 'code': 0} None None\n"
    assert held(project / ".then") == []


@pytest.mark.slow
@pytest.mark.parametrize("is_readable", [True, False])
def test_where_the_keeper_was_killed_too_the_value_is_read_again_or_the_result_withheld(
    project: Path, is_readable: bool
) -> None:
    _killed(project, 'env="K"', {"K": "canary-killed"})
    os.kill(int((project / ".then" / "keeper.lock").read_text()), signal.SIGKILL)
    _end_task(project)
    said = _resumed(project, {"K": "canary-killed"} if is_readable else {})
    # Whether the next keeper can still tell how it ended depends on who reaps orphans here.
    if not said.startswith("failed None lost "):
        expected = (
            "done {'told': '***', 'code': 0} None" if is_readable else "failed {'code': 0} load what it handed back"
        )
        assert said.startswith(expected)
    assert "canary" not in said
    assert "canary" not in (project / ".then" / "keeper.log").read_text()


# -- what cannot be read ---------------------------------------------------------------


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_task_whose_secret_cannot_be_read_fails_and_is_not_started(project: Path) -> None:
    rules = rules_for(project)
    rules.secret("gone", file="gone")
    called: list[str] = []
    rules.task("f", secrets={"key": "gone"})(lambda key: called.append(key))  # noqa: PLW0108 (its parameter has a name)
    rules.task("p", run=("process", ["touch", "started"]), secrets={"T": "gone"})
    with then.Engine(rules, project / ".then") as engine:
        for type in ("f", "p"):
            flow = engine.run(type)
            error = flow.tasks[0].error or {}
            assert (flow.outcome, flow.tasks[0].started, error["kind"]) == ("failed", None, "load")
            assert error["message"].startswith(f'secret "gone" (file "gone"): {project}/gone: No such file')
    assert called == []
    assert not (project / "started").exists()


def test_a_task_whose_secret_is_being_read_can_be_cancelled(project: Path) -> None:
    rules = rules_for(project)
    os.mkfifo(project / "asked")
    os.mkfifo(project / "answer")
    rules.secret("slow", command="sh -c 'echo >asked; cat answer'")
    rules.task("p", run=("process", ["touch", "started"]), secrets={"T": "slow"})
    with then.Engine(rules, project / ".then") as engine:
        flow = engine.post("p")
        (project / "asked").read_text()
        engine.cancel(flow.id)
        assert flow.wait(60).outcome == "cancelled"
        (project / "answer").write_text("a value, too late")
    assert not (project / "started").exists()


def test_a_file_that_others_may_read_is_warned_of_when_the_engine_opens(project: Path) -> None:
    rules = rules_for(project)
    (project / "key").chmod(0o640)
    said = f'secret "from_file": {project}/key can be read by others (mode 0640); `chmod 600` it'
    assert readable_by_others(rules.set.secrets.values(), project) == [said]
    with then.Engine(rules) as engine:
        assert engine.notices == [said]


# -- declarations ------------------------------------------------------------------------


def test_a_secret_is_declared_once_from_one_source_and_before_it_is_given() -> None:
    rules = then.Rules()
    rules.secret("token", env="TOKEN")
    with pytest.raises(DuplicateRule, match="token"):
        rules.secret("token", file="x")
    with pytest.raises(RuleError, match='secret "other" has 2 sources; give one'):
        rules.secret("other", env="A", file="b")
    with pytest.raises(RuleError, match='secret "other" has 0 sources'):
        rules.secret("other")
    with pytest.raises(UnknownName, match=r'unknown secret "tokne" \(did you mean "token"\?\)'):
        rules.task("t", secrets={"key": "tokne"})


def test_a_secret_is_no_value_in_a_rule(project: Path) -> None:
    rules = rules_for(project)

    @rules.when("go", it.n == 1)
    def go(record: then.Task) -> None:
        raise AssertionError

    assert "CANARY" in repr(rules.set.secrets)
    assert FROM_ENV not in repr(rules.set)


def test_nothing_is_read_when_rules_load_or_an_engine_opens(project: Path) -> None:
    rules = rules_for(project)
    rules.secret("trap", command="sh -c 'touch trapped; echo value'")
    rules.task("t", secrets={"key": "trap"})(lambda key: None)
    with then.Engine(rules, project / ".then"):
        assert not (project / "trapped").exists()


# -- at the seams --------------------------------------------------------------------------


def test_what_a_task_said_itself_is_withheld_and_what_the_system_said_is_not() -> None:
    error = CannotRead(SecretDecl("k", "env", "K"), "it is not set")
    why = 'it was given a secret that cannot be read any more: secret "k" (env "K"): it is not set'

    def after(outcome: str, result: Any, error_: Any) -> tuple[str, Any, Any]:
        report = results.withheld(Report("1", outcome, result, error_, 1, 2), error)  # type: ignore[arg-type]
        return report.outcome, report.result, report.error

    assert after("done", {"code": 0}, None) == ("done", {"code": 0}, None)
    exited = {"kind": "exit", "code": 3, "message": "exited with code 3"}
    assert after("failed", {"code": 3}, exited) == ("failed", {"code": 3}, exited)
    assert after("failed", None, {"kind": "spawn", "message": "m"}) == (
        "failed",
        None,
        {"kind": "spawn", "message": "m"},
    )
    withheld = f"what it handed back is withheld, since {why}"
    loaded = {"kind": "load", "message": withheld}
    assert after("done", {"code": 0, "x": 1}, None) == ("failed", {"code": 0}, loaded)
    assert after("failed", {"code": 0}, {"kind": "result", "message": "m"}) == ("failed", {"code": 0}, loaded)
    told = {**exited, "message": f"exited with code 3; {withheld}"}
    assert after("failed", {"code": 3}, {"kind": "mine", "message": "m"}) == ("failed", {"code": 3}, told)
    assert after("failed", {"code": 3, "x": 1}, exited) == ("failed", {"code": 3}, told)


def test_the_keeper_lets_values_go_with_the_task_and_ends(project: Path) -> None:
    rules = rules_for(project)
    rules.task("says", run=("process", ["sh", "-c", SAYS]), secrets={"T": "from_env"})
    with then.Engine(rules, project / ".then") as engine:
        engine.run("says").check()
        keeper = int((project / ".then" / "keeper.lock").read_text())
    while not _has_ended(keeper):
        pass  # It hears that the engine has gone.
    assert held(project / ".then") == []


def test_a_stop_that_comes_before_the_keeper_answers_takes_the_start_back(tmp_path: Path) -> None:
    # An engine that was killed had ordered neither; the next is told to stop what it recovers.
    with Desk(tmp_path) as desk:
        secrets = Secrets(tmp_path, SystemClock())
        desk.executor._secrets = secrets
        os.mkfifo(tmp_path / "asked")
        os.mkfifo(tmp_path / "answer")
        secret = SecretDecl("k", "command", "sh -c 'echo >asked; cat answer'")
        given = job("1", argv=["touch", "started"], env={"K": secret}, secrets=(secret,))
        desk.executor.recover([given])
        desk.executor.stop("1", 0)
        (tmp_path / "asked").read_text()
        (tmp_path / "answer").write_text("too late")
        assert desk.reports.wait(1)["1"].outcome == "cancelled"
    assert not (tmp_path / "started").exists()
