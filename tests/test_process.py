"""Processes: what they are given, how they end, what cannot be started, what they leave."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk import Desk
from tests.seams.executor_suite import job
from then.abc import Job, Report
from then.core.tasks import Body, Task
from then.executors.outputs import open_output, output_path, tail


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Desk(tmp_path) as desk:
        yield desk


# -- what a process is given ------------------------------------------------------------


def test_output_and_error_are_kept_apart_as_raw_bytes_that_only_the_owner_reads(desk: Desk) -> None:
    report = desk.shell(r"printf 'a\000\377b'; printf 'c\r\n' >&2")
    assert report.outcome == "done"
    assert desk.output(report) == b"a\0\xffb"
    assert desk.output(report, "err") == b"c\r\n"
    for path in (
        output_path(desk.folder / "state", report.id, "out"),
        output_path(desk.folder / "state", report.id, "err"),
    ):
        assert path is not None
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_process_finds_its_record_and_its_places_in_the_environment(desk: Desk) -> None:
    names = "TASK_ID FLOW_ID ATTEMPT KEY TASK RESULT MESSAGES ARTIFACTS".split()
    script = "; ".join(f'echo "$THEN_{name}"' for name in names) + "; cat $THEN_TASK; test -d $THEN_ARTIFACTS"
    task = Task(
        "build", {"ref": "main"}, id="b000000000002", flow="f", attempt=2, origin="b000000000001", created=1_500_000
    )
    desk.executor.start([Job(task, {"argv": ["sh", "-c", script]})])
    report = desk.reports.one()
    assert report.outcome == "done"
    *values, record = desk.output(report).decode().split("\n")
    folder = desk.folder / "state" / "tasks" / "b000000000002"
    places = [str(folder / name) for name in ("task.json", "result.json", "messages.jsonl", "artifacts")]
    assert values == ["b000000000002", "f", "2", "b000000000001", *places]
    found = json.loads(record)
    assert (found["type"], found["body"], found["attempt"], found["state"]) == ("build", {"ref": "main"}, 2, "running")
    assert found["created"] == "1970-01-01T00:00:01.500000Z"


def test_a_record_shorter_than_the_one_before_is_read_whole(desk: Desk) -> None:
    bodies: list[Body] = [{"long": "x" * 5000}, {"n": 1}]
    for at, body in enumerate(bodies):
        copy = desk.folder / f"copy{at}"
        options = {"argv": ["sh", "-c", "cp $THEN_TASK $COPY"], "env": {"COPY": str(copy)}}
        desk.executor.start([Job(Task("t", body, id=f"r{at}", flow="f"), options)])
        desk.reports.wait(at + 1)
        assert json.loads(copy.read_text())["body"] == body
    assert len(list((desk.folder / "state" / "tasks").iterdir())) == 1


def test_the_environment_of_the_engine_is_inherited_and_overlaid(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_ENGINE", "here")
    report = desk.shell('echo "$FROM_ENGINE $ADDED $HOME"', env={"ADDED": "a=b c", "HOME": "/nowhere"})
    assert desk.output(report) == b"here a=b c /nowhere\n"


def test_a_clean_environment_starts_from_six_names(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_ENGINE", "here")
    monkeypatch.setenv("TZ", "UTC")
    report = desk.run("env", env={"ADDED": "1"}, env_clean=True)
    names = {line.partition("=")[0] for line in desk.output(report).decode().splitlines()}
    assert {"PATH", "TZ", "ADDED", "THEN_TASK_ID"} <= names
    assert not {name for name in names if not name.startswith("THEN_")} - set(
        "PATH HOME USER LANG TZ TMPDIR ADDED".split()
    )


def test_a_process_runs_in_the_root_or_where_cwd_says(desk: Desk) -> None:
    (desk.folder / "sub").mkdir()
    found = [desk.output(desk.run("pwd", **options)).decode().strip() for options in ({}, {"cwd": "sub"}, {"cwd": "/"})]
    assert found == [str(desk.folder), str(desk.folder / "sub"), "/"]


def test_a_relative_program_is_found_from_cwd_and_a_name_by_the_path_of_the_task(desk: Desk) -> None:
    (desk.folder / "bin").mkdir()
    program = desk.folder / "bin" / "hello"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    assert desk.output(desk.run("bin/hello")) == b"hello\n"
    assert desk.output(desk.run("./hello", cwd="bin")) == b"hello\n"
    assert desk.output(desk.run("hello", env={"PATH": f"{desk.folder}/bin:/usr/bin:/bin"})) == b"hello\n"


def test_standard_input_is_empty_or_the_text_given(desk: Desk) -> None:
    assert desk.output(desk.run("cat")) == b""
    text = "zeile\n\0 ü" * 50_000
    assert desk.output(desk.run("cat", stdin=text)) == text.encode()
    assert desk.output(desk.run("cat", stdin="")) == b""


def test_a_process_holds_nothing_of_the_engine(desk: Desk) -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    report = desk.run(
        sys.executable,
        "-c",
        "import os; print(*[f for f in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{f}')])",
    )
    os.close(read)
    os.close(write)
    assert desk.output(report) == b"0 1 2\n"


def test_a_process_leads_a_session_of_its_own_with_signals_as_at_login(desk: Desk) -> None:
    report = desk.run("sh", "-c", "cut -d' ' -f1,5,6 /proc/self/stat; grep -E 'SigBlk|SigIgn' /proc/self/status")
    pids, blocked, ignored = desk.output(report).decode().splitlines()
    _, group, session = pids.split()
    assert group == session
    assert int(blocked.split()[1], 16) == 0
    # 32 and 33 belong to the C library, which lets nobody set them.
    assert int(ignored.split()[1], 16) & ~(3 << 31) == 0


# -- how a process ends ------------------------------------------------------------------


def test_an_exit_code_is_the_result_and_decides_the_outcome(desk: Desk) -> None:
    report = desk.shell("exit 3")
    assert (report.outcome, report.result) == ("failed", {"code": 3})
    assert report.error == {"kind": "exit", "code": 3, "message": "exited with code 3"}
    report = desk.shell("exit 0")
    assert (report.outcome, report.result, report.error) == ("done", {"code": 0}, None)


def test_done_on_says_which_codes_are_well(desk: Desk) -> None:
    assert desk.shell("exit 3", done_on=[0, 3]).outcome == "done"
    report = desk.shell("exit 0", done_on=[3])
    assert (report.outcome, report.error) == ("failed", {"kind": "exit", "code": 0, "message": "exited with code 0"})


def test_a_signal_is_told_by_number_and_name(desk: Desk) -> None:
    report = desk.shell("kill -SEGV $$")
    assert (report.outcome, report.result) == ("failed", {"code": -11})
    assert report.error == {"kind": "signal", "signal": 11, "name": "SIGSEGV", "message": "killed by SIGSEGV"}


def test_a_json_object_in_the_result_file_becomes_the_result(desk: Desk) -> None:
    report = desk.shell("""echo '{"image": "app:1", "n": [1, 2.5, null], "code": 99}' > $THEN_RESULT""")
    assert (report.outcome, report.result) == ("done", {"image": "app:1", "n": [1, 2.5, None], "code": 0})


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo '[1]' > $THEN_RESULT", "THEN_RESULT: list found, a JSON object is expected"),
        ("echo '{\"a\": NaN}' > $THEN_RESULT", "THEN_RESULT: no JSON: "),
        ('echo \'{"a": 1, "a": 2}\' > $THEN_RESULT', 'THEN_RESULT: 1:10: the key "a" is there twice'),
        (r"printf '{\"a\": \"\377\"}' > $THEN_RESULT", "THEN_RESULT: no JSON: "),
        ("echo > $THEN_RESULT", "THEN_RESULT: blank; a JSON object is expected"),
        ("echo '{\"a\": 9223372036854775808}' > $THEN_RESULT", "THEN_RESULT: $.a: an integer beyond 64 bits"),
        (
            "(printf '{\"a\":'; printf '%65s' | tr ' ' '['; printf '%65s' | tr ' ' ']'; echo '}') > $THEN_RESULT",
            "nested deeper than 64 levels",
        ),
        ("(printf '%99999s' | tr ' ' '[') > $THEN_RESULT", "THEN_RESULT: nested too deeply"),
        ("ln -s /etc/hostname $THEN_RESULT", "THEN_RESULT: a symbolic link, which is not followed"),
        ("mkfifo $THEN_RESULT", "THEN_RESULT: not a file"),
        ("mkdir $THEN_RESULT", "THEN_RESULT: not a file"),
        ("truncate -s 64M $THEN_RESULT; echo >> $THEN_RESULT", "THEN_RESULT: 67108865 bytes, more than 67108864"),
    ],
)
def test_a_result_that_is_no_json_object_fails_a_task_that_was_done(desk: Desk, script: str, text: str) -> None:
    report = desk.shell(script)
    assert report.outcome == "failed"
    assert report.result == {"code": 0}
    assert report.error is not None
    assert report.error["kind"] == "result"
    assert text in report.error["message"]


def test_a_failed_task_stays_what_it_is_whatever_it_wrote(desk: Desk) -> None:
    report = desk.shell("echo nonsense > $THEN_RESULT; exit 4")
    assert report.error == {"kind": "exit", "code": 4, "message": "exited with code 4"}


def test_a_failed_task_may_give_its_own_kind(desk: Desk) -> None:
    given = '{"error": {"kind": "quota", "message": "disk quota of 3 GB", "by": 7}, "tried": 2}'
    report = desk.shell(f"echo '{given}' > $THEN_RESULT; exit 5")
    assert report.result == {"tried": 2, "code": 5}
    assert report.error == {"kind": "quota", "code": 5, "message": "disk quota of 3 GB", "by": 7}
    assert desk.shell(f"echo '{given}' > $THEN_RESULT").outcome == "done"


def test_a_task_that_declares_a_result_has_to_write_one(desk: Desk) -> None:
    report = desk.run("true", result_fields={"image": "text", "code": "int"})
    assert report.error is not None
    assert (report.error["kind"], report.outcome) == ("result", "failed")
    assert "image" in report.error["message"]
    assert desk.run("true", result_fields={"code": "int"}).outcome == "done"


# -- what cannot be started ----------------------------------------------------------------


def spawn_message(report: Report) -> str:
    assert (report.outcome, report.result, report.started) == ("failed", None, None)
    assert report.error is not None
    assert report.error["kind"] == "spawn"
    return str(report.error["message"])


def test_what_cannot_be_started_says_what_is_in_the_way_and_what_to_do(desk: Desk) -> None:
    plain = desk.folder / "plain"
    plain.write_text("echo\n")
    lost = desk.folder / "lost interpreter"
    lost.write_text("#!/no/such\n")
    none = desk.folder / "none"
    none.write_text("no program\n")
    for path in (lost, none):
        path.chmod(0o755)
    (desk.folder / "locked").mkdir()
    said = [
        (desk.run("no-such-program"), 'program "no-such-program" is not found on PATH; install it, or give its path'),
        (desk.run("./no-such"), 'program "./no-such" is not there; relative paths start from cwd'),
        (desk.run(str(plain)), f'program "{plain}" may not be executed; chmod +x it, and look at the folders above'),
        (
            desk.run("plain", env={"PATH": str(desk.folder)}),
            'program "plain" is found on PATH, but may not be executed; chmod +x it',
        ),
        (desk.run(str(lost)), f'program "{lost}": the interpreter that its first line names is not there'),
        (
            desk.run(str(none)),
            f'program "{none}" is none that this system runs; a script begins with #! and its interpreter',
        ),
        (
            desk.run(str(desk.folder / "locked")),
            f'program "{desk.folder}/locked" is a folder; name the program in it',
        ),
        (
            desk.run("true", cwd="gone\nfor good"),
            f'cwd "{desk.folder}/gone\\nfor good" is not there; make the folder, or give cwd another',
        ),
        (desk.run("true", cwd=str(plain)), f'cwd "{plain}": Not a directory'),
    ]
    for report, text in said:
        assert spawn_message(report) == text
    assert desk.run("true").outcome == "done"


def test_what_the_system_cannot_take_is_refused_with_the_way_out(desk: Desk) -> None:
    large = spawn_message(desk.run("true", "x" * 3_000_000))
    assert large.endswith(
        "arguments (2 words of 3,000,006 bytes in all) and environment are more than the system takes; give large data by stdin or a file"
    )
    assert "are more than the system takes" in spawn_message(desk.run("true", env={"BIG": "x" * 200_000}))
    said = [
        (desk.run("echo", "a\0b"), "argv holds a NUL character, which no program can be given; use stdin or a file"),
        (desk.run("echo", "\ud800"), "argv holds half of a surrogate pair, which is no Unicode"),
        (desk.run("true", env={"A=B": "1"}), """env 'A=B' is no name of a variable: it is empty or holds "=\""""),
        (desk.run(), "argv is empty; it names the program and its arguments"),
    ]
    for report, text in said:
        assert spawn_message(report) == text
    assert desk.run("true").outcome == "done"


# -- what a process leaves ------------------------------------------------------------------


def test_a_task_that_left_nothing_leaves_no_folder_behind(desk: Desk) -> None:
    for _ in range(3):
        assert desk.run("true").outcome == "done"
    assert len(list((desk.folder / "state" / "tasks").iterdir())) == 1
    assert output_path(desk.folder / "state", "task0", "out") is None
    assert tail(desk.folder / "state", "task0", 10) == []


def left_in(folder: Path) -> set[str]:
    """Files with something in them, and all in the folder for artifacts; what is empty may go to another task."""
    files = {path for path in folder.iterdir() if path.name != "task.json" and path.is_file() and path.stat().st_size}
    return {str(path.relative_to(folder)) for path in (*files, *folder.glob("artifacts/*"))}


def test_what_a_task_printed_is_no_reason_to_overlook_its_result(desk: Desk) -> None:
    for _ in range(3):
        report = desk.shell("""echo said; echo '{"n": 1}' > $THEN_RESULT""")
        assert report.result == {"n": 1, "code": 0}
        assert desk.output(report) == b"said\n"


def test_what_a_task_left_stays_where_it_was_named(desk: Desk) -> None:
    for script in (
        "echo out",
        "echo err >&2",
        "echo '{}' > $THEN_RESULT",
        "touch $THEN_ARTIFACTS/a",
        "echo '{}' > $THEN_MESSAGES",
        "mkdir $THEN_ARTIFACTS/d",
    ):
        report = desk.shell(f"{script}; echo $THEN_ARTIFACTS > $COPY", env={"COPY": str(desk.folder / "path")})
        folder = Path((desk.folder / "path").read_text().strip()).parent
        before = left_in(folder)
        assert [desk.shell("echo other").outcome for _ in range(3)] == ["done"] * 3
        assert folder.name == report.id
        assert left_in(folder) == before


def test_a_child_left_behind_writes_into_no_other_tasks_files(desk: Desk) -> None:
    go, there = desk.signal("go"), desk.signal("there")
    first = desk.shell(f"(read line < {go}; echo late; echo late >&2; echo > {there}) & exit 0")
    assert first.outcome == "done"
    assert [desk.run("true").outcome for _ in range(3)] == ["done"] * 3
    go.send()
    there.wait()
    assert desk.output(first) == b"late\n"
    assert desk.output(first, "err") == b"late\n"
    for report in desk.reports.all[1:]:
        assert desk.output(report) == b""


def test_a_stray_that_closed_its_outputs_keeps_the_folder_it_is_in(desk: Desk) -> None:
    ready, go, there = desk.signal("ready"), desk.signal("go"), desk.signal("there")
    stray = f"cd $THEN_ARTIFACTS; echo > {ready}; read line < {go}; echo late > late; echo > {there}"
    first = desk.shell(f"setsid sh -c '{stray}' > /dev/null 2>&1 < /dev/null & read line < {ready}; exit 0")
    assert [desk.run("true").outcome for _ in range(3)] == ["done"] * 3
    go.send()
    there.wait()
    assert (desk.folder / "state" / "tasks" / first.id / "artifacts" / "late").read_text() == "late\n"


def test_a_reader_keeps_the_folder_that_it_reads(desk: Desk) -> None:
    go, there = desk.signal("go"), desk.signal("there")
    desk.executor.start([job("read", argv=["sh", "-c", f"echo > {there}; read line < {go}"])])
    there.wait()
    file = open_output(desk.folder / "state", "read", "out")
    assert file is not None
    go.send()
    desk.reports.wait(1)
    assert desk.shell("echo other").outcome == "done"
    with file:
        assert file.read() == b""
    assert output_path(desk.folder / "state", "read", "out") is not None


def test_a_reader_that_comes_after_the_end_reads_that_task_or_nothing(desk: Desk) -> None:
    assert desk.run("true").outcome == "done"
    file = open_output(desk.folder / "state", "task0", "out")
    assert desk.shell("echo other").outcome == "done"
    assert desk.run("true").outcome == "done"
    if file is not None:
        with file:
            assert file.read() == b""


LEASES = """
import fcntl, os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("leased", flush=True)
signal.sigwait([signal.SIGIO])
"""


def test_what_was_printed_is_read_also_while_the_keeper_looks_at_its_file(tmp_path: Path) -> None:
    """Whoever came in the moment of its lease was told that there is no output."""
    folder = tmp_path / "tasks" / "t"
    folder.mkdir(parents=True)
    (folder / "out").write_text("said\n")
    with subprocess.Popen([sys.executable, "-c", LEASES, folder / "out"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"leased\n"
        assert tail(tmp_path, "t", 1, "out") == ["said"]
    assert holder.returncode == 0


def test_a_pipe_in_the_place_of_an_output_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "tasks" / "t"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "out")
    assert open_output(tmp_path, "t", "out") is None


def test_output_is_readable_while_it_grows(desk: Desk) -> None:
    go, there = desk.signal("go"), desk.signal("there")
    script = f"echo one; echo two; echo > {there}; read line < {go}; echo three"
    desk.executor.start([job("grows", argv=["sh", "-c", script])])
    there.wait()
    assert tail(desk.folder / "state", "grows", 1, "out") == ["two"]
    go.send()
    desk.reports.wait(1)
    assert tail(desk.folder / "state", "grows", 2, "out") == ["two", "three"]


def test_two_hundred_mebibytes_of_output_are_all_there(desk: Desk) -> None:
    report = desk.shell("head -c 209715200 /dev/zero; echo end >&2")
    path = output_path(desk.folder / "state", report.id, "out")
    assert path is not None
    assert path.stat().st_size == 200 << 20
    assert tail(desk.folder / "state", report.id, 3) == ["end"]
    path.unlink()


def test_a_process_may_close_its_outputs(desk: Desk) -> None:
    assert desk.shell("exec >&- 2>&- <&-; exit 6").result == {"code": 6}


def test_an_id_from_elsewhere_leads_nowhere(desk: Desk) -> None:
    (desk.folder / "state" / "out").write_bytes(b"secret")
    assert open_output(desk.folder / "state", "..", "out") is None
    assert output_path(desk.folder / "state", "../../state", "out") is None
