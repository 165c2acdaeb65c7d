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
from then import it
from then.abc import Report
from then.alarm import SystemClock
from then.app import secret_programs
from then.app.engine import Engine
from then.app.secret_programs import Unreadable
from then.app.secrets import SOURCES, Secrets, readable_by_others
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
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not (path.parent.parent.name == "tasks" and path.name in ("out", "err"))
        if any(canary.encode() in path.read_bytes() for canary in canaries)
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


def test_what_a_task_posts_and_a_person_answers_is_masked(project: Path) -> None:
    rules = rules_for(project)
    rules.event("heard", text=str)
    rules.task("ask", run=None)(lambda: None)

    @rules.task("use", secrets={"key": "from_env"})
    def use(key: str) -> None:
        engine.post("heard", text=key)

    with then.Engine(rules, project / ".then") as engine:
        engine.run("use").check()
        assert "***" in [flow.history.records[flow.id].task.body.get("text") for flow in flows(engine)]
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


def reason(project: Path, source: str, reference: str) -> str:
    with pytest.raises(CannotRead) as caught:
        Secrets(project, SystemClock()).value(SecretDecl("token", source, reference))
    return str(caught.value)


def test_what_cannot_be_read_says_which_where_and_what_to_do(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("SHORT", "abc")
    (project / "binary").write_bytes(b"\xff\xfe\x00key")
    (project / "long").write_text("k" * 70_000)
    os.mkfifo(project / "pipe")
    said = {
        (source, reference): reason(project, source, reference).replace(str(project), "")
        for source, reference in (
            ("env", "NOT_SET"), ("env", "EMPTY"), ("env", "SHORT"), ("file", "nowhere"), ("file", "."),
            ("file", "pipe"), ("file", "binary"), ("file", "long"), ("file", "a\0b"), ("command", ""),
            ("command", "'open"), ("command", "./nothing"), ("command", "false"), ("command", "true"),
            ("command", "sh -c 'kill -9 $$'"), ("command", "yes"), ("vualt", "pay"),
        )
    }  # fmt: skip
    for (source, reference), text in said.items():
        start = f'secret "token" ({source} "{reference}"): '
        assert text.startswith(start)
        said[source, reference] = text.removeprefix(start)
    assert said["env", "NOT_SET"].startswith("the variable NOT_SET is not set where the engine runs; set it")
    assert said["env", "EMPTY"] == "the value is empty; put one there"
    assert said["env", "SHORT"].startswith("the value is shorter than 4 characters, which cannot be masked")
    assert said["file", "nowhere"].startswith("/nowhere: No such file or directory; put the value there")
    assert said["file", "."].startswith(": not a file") or "Is a directory" in said["file", "."]
    assert said["file", "pipe"].startswith("/pipe: not a file; name a file that holds nothing but the value")
    assert said["file", "binary"].startswith("no text in UTF-8; give it in an encoding such as base64")
    assert said["file", "long"].startswith("more than 64 KiB; a secret is short")
    assert "null byte" in said["file", "a\0b"]
    assert said["command", ""] == "no command; name a program and its arguments"
    assert said["command", "'open"] == "no command: No closing quotation; quote as for a shell"
    assert said["command", "./nothing"].startswith('program "./nothing": No such file or directory; install it')
    assert said["command", "false"] == "the program ended with exit code 1; run it by hand to see why"
    assert said["command", "true"] == "the value is empty; put one there"
    assert said["command", "sh -c 'kill -9 $$'"].startswith("the program was killed by signal 9")
    assert said["command", "yes"].startswith("more than 64 KiB; a secret is short")
    assert said["vualt", "pay"].startswith('no source is called "vualt"; env, file, command are known, and a plugin')


def test_a_program_that_hangs_is_killed_with_all_that_it_started(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_programs, "LIMIT_S", 0.5)
    os.mkfifo(project / "never")
    script = "echo half a value; cat <never & echo $! >child; cat <never"
    assert "did not end within" in reason(project, "command", f"sh -c '{script}'")
    child = int((project / "child").read_text())
    while not _has_ended(child):
        pass  # The signal is on its way.


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


# -- sources -----------------------------------------------------------------------------


def test_variable_and_file_are_read_anew_each_time(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = Secrets(project, SystemClock())
    for value in ("one value", "another value\n"):
        monkeypatch.setenv("CANARY", value)
        (project / "key").write_text(f"{value}\r\n")
        assert secrets.value(SecretDecl("a", "env", "CANARY")) == value
        assert secrets.value(SecretDecl("b", "file", "key")) == value
    assert secrets.mask.text("one value, another value") == "***, ***"


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 0.0

    def now_us(self) -> int:
        return round(self.at * 1e6)

    def monotonic(self) -> float:
        return self.at


def test_a_programs_answer_serves_the_starts_of_the_next_seconds_a_failure_too(project: Path) -> None:
    clock = Hand()
    secrets = Secrets(project, clock)
    secret = SecretDecl("a", "command", "sh -c 'echo x >>asked; wc -l asked; test $(wc -l <asked) -ne 2'")
    assert secrets.value(secret) == "1 asked"
    clock.at = 4.9
    assert secrets.value(secret) == "1 asked"
    clock.at = 5.1
    for _ in range(2):
        with pytest.raises(CannotRead, match="exit code 1"):
            secrets.value(secret)
    clock.at = 10.2
    assert secrets.value(secret) == "3 asked"


def test_many_that_start_at_once_ask_once(project: Path) -> None:
    secrets = Secrets(project, SystemClock())
    secret = SecretDecl("a", "command", "sh -c 'echo x >>asked; wc -l asked'")
    threads = [threading.Thread(target=secrets.value, args=(secret,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (project / "asked").read_text() == "x\n"


def test_a_plugin_brings_a_source_and_what_it_raises_is_not_repeated(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vault(reference: str) -> str:
        if reference == "raises":
            raise ValueError(FROM_ENV)
        if reference == "says":
            raise Unreadable("the vault is sealed; unseal it")
        return f"value of {reference}" if reference != "number" else 12345  # type: ignore[return-value]

    monkeypatch.setitem(SOURCES, "vault", vault)
    assert Secrets(project, SystemClock()).value(SecretDecl("k", "vault", "pay#key")) == "value of pay#key"
    assert reason(project, "vault", "raises").endswith(
        "the source raised ValueError; its text is not repeated, since it may hold the value"
    )
    assert reason(project, "vault", "says").endswith(": the vault is sealed; unseal it")
    assert reason(project, "vault", "number").endswith(": the source gave int; a text is expected")


def test_an_installed_plugin_is_found_by_its_entry_point(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = project / "vaulting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vaulting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[then.secrets]\nvaulted = vaulting:read\n")
    (project / "vaulting.py").write_text("def read(reference):\n    return reference * 2\n")
    monkeypatch.syspath_prepend(project)
    try:
        assert Secrets(project, SystemClock()).value(SecretDecl("k", "vaulted", "ab")) == "abab"
    finally:
        SOURCES.pop("vaulted", None)


def test_a_file_that_others_may_read_is_warned_of_when_the_engine_opens(project: Path) -> None:
    rules = rules_for(project)
    (project / "key").chmod(0o640)
    said = f'secret "from_file": {project}/key can be read by others (mode 0640); `chmod 600` it'
    assert readable_by_others(rules.set.secrets.values(), project) == [said]
    with then.Engine(rules) as engine:
        assert engine.notices == [said]


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
