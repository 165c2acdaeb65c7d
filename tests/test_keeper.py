"""The keeper: stops, its own life and end, and what the next engine or keeper finds."""

from __future__ import annotations

import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk import Desk, wait_gone
from tests.seams.executor_suite import PATIENCE_S, Reports, job
from then.executors.keeper import processes
from then.executors.keeper.processes import Child, Stat, stat_of
from then.executors.kept import read_kept
from then.executors.process import ProcessExecutor

BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
STATUS_IS_TOLD = tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 15)
"""Since this kernel a pidfd tells the exit status of a process that is nobody's child."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Desk(tmp_path) as desk:
        yield desk


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def is_alive(pid: int) -> bool:
    try:
        # Z is a zombie, X one that its parent takes leave of at this moment.
        return state_of(pid) not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def log_of(desk: Desk, *lines: str) -> None:
    """The log that an earlier keeper left."""
    desk.keeper_log.write_text("".join(f"{line}\n" for line in lines))


# -- stops ---------------------------------------------------------------------------------


def test_a_process_that_takes_the_request_says_its_own_code(desk: Desk) -> None:
    there = desk.signal("there")
    desk.start_shell("polite", f"trap 'exit 3' TERM; echo > {there}; while :; do sleep 0.01; done")
    there.wait()
    desk.executor.stop("polite", 3600)
    report = desk.reports.one()
    assert (report.outcome, report.result) == ("cancelled", {"code": 3})
    assert report.error == {"kind": "cancelled", "message": "stopped"}


def test_one_that_ignores_the_request_is_killed_when_its_grace_is_over(desk: Desk) -> None:
    there = desk.signal("there")
    desk.start_shell("deaf", f"trap '' TERM; echo > {there}; while :; do sleep 1; done")
    there.wait()
    desk.executor.stop("deaf", 3600)
    # A second request shortens the grace of the first.
    desk.executor.stop("deaf", 0)
    report = desk.reports.one()
    assert (report.outcome, report.result) == ("cancelled", {"code": -9})


def test_one_that_is_halted_is_woken_for_the_request(desk: Desk) -> None:
    there = desk.signal("there")
    desk.start_shell("halted", f"trap 'exit 4' TERM; echo $$ > {there}; while :; do sleep 0.01; done")
    pid = int(there.wait())
    os.kill(pid, signal.SIGSTOP)
    while state_of(pid) != "T":
        pass
    desk.executor.stop("halted", 3600)
    assert desk.reports.one().result == {"code": 4}


@pytest.mark.parametrize(
    "way",
    [
        "sh -c '{child}' & wait",
        # Its leader ends first, and leaves it to its group.
        "trap 'exit 0' TERM; sh -c '{child}' & while :; do sleep 0.01; done",
        # It went off: another session, another parent, outputs closed.
        "setsid sh -c '{child}' > /dev/null 2>&1 < /dev/null & wait",
        "(setsid sh -c '{child}' > /dev/null 2>&1 < /dev/null &); while :; do sleep 0.01; done",
        # Without its environment it is known by its parent.
        "env -i PATH=$PATH setsid sh -c '{child}' & while :; do sleep 0.01; done",
    ],
)
def test_a_stop_is_reported_when_all_that_was_started_has_gone(desk: Desk, way: str) -> None:
    there = desk.signal("there")
    child = f'trap "" TERM; echo $$ > {there}; while :; do sleep 1; done'
    desk.start_shell("parent", way.format(child=child))
    pid = int(there.wait())
    desk.executor.stop("parent", 0)
    assert desk.reports.one().outcome == "cancelled"
    assert not is_alive(pid)


def test_a_copy_of_the_state_has_tasks_of_the_same_ids_and_they_are_left_alone(desk: Desk, tmp_path: Path) -> None:
    there = desk.signal("there")
    (tmp_path / "copy").mkdir()
    with Desk(tmp_path / "copy") as copy:
        elsewhere = copy.signal("there")
        # Without parent, session and group in common: known by its environment alone.
        for one, signal in ((desk, there), (copy, elsewhere)):
            one.start_shell("same", f"(setsid sh -c 'echo $$ > {signal}; sleep 1000' &); sleep 1000")
        mine, others = int(there.wait()), int(elsewhere.wait())
        desk.executor.stop("same", 0)
        assert desk.reports.one().outcome == "cancelled"
        assert not is_alive(mine)
        assert is_alive(others)


def test_a_normal_end_leaves_children_alone(desk: Desk) -> None:
    go, there = desk.signal("go"), desk.signal("there")
    assert desk.shell(f"(read line < {go}; echo here > {there}) & exit 0").outcome == "done"
    go.send()
    assert there.wait() == "here\n"


def test_a_stop_is_held_to_by_the_next_keeper(desk: Desk) -> None:
    there = desk.signal("there")
    desk.start_shell("deaf", f"trap '' TERM; echo $$ > {there}; while :; do sleep 1; done")
    pid = int(there.wait())
    desk.executor.stop("deaf", 3600)
    first = desk.kill_keeper()
    desk.executor.stop("deaf", 0)
    report = desk.reports.one()
    assert report.outcome == "cancelled"
    assert not is_alive(pid)
    assert desk.keeper_pid != first


# -- its life and end ------------------------------------------------------------------------


def test_it_ends_with_nothing_to_keep_and_leaves_nothing(desk: Desk) -> None:
    assert desk.run("true").outcome == "done"
    desk.executor.forget(["task0"])
    pid = desk.keeper_pid
    desk.executor.close(wait=True)
    wait_gone(pid)
    state = desk.folder / "state"
    assert sorted(path.name for path in state.iterdir()) == ["keeper.lock", "keeper.log", "tasks"]
    assert list((state / "tasks").iterdir()) == []
    assert desk.keeper_log.read_text() == f"then-keeper 1 {BOOT}\n"


def test_it_is_in_no_session_that_a_terminal_could_end_and_ignores_its_signals(desk: Desk) -> None:
    assert desk.run("true").outcome == "done"
    pid = desk.keeper_pid
    assert os.getsid(pid) == os.getpgid(pid) == pid
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGIO):
        os.kill(pid, number)
    assert desk.run("true").outcome == "done"
    assert desk.keeper_pid == pid


def test_asked_to_end_it_lets_its_processes_end_and_leaves_new_ones_to_the_next(desk: Desk) -> None:
    go, there = desk.signal("go"), desk.signal("there")
    desk.start_shell("before", f"echo > {there}; read line < {go}; exit 5")
    there.wait()
    first = desk.keeper_pid
    os.kill(first, signal.SIGTERM)
    desk.start_shell("after", "exit 6")
    go.send()
    found = desk.reports.wait(2)
    assert (found["before"].result, found["after"].result) == ({"code": 5}, {"code": 6})
    assert desk.keeper_pid != first


def test_it_is_small_and_holds_no_descriptor_a_process(desk: Desk) -> None:
    there = desk.signal("there")
    desk.executor.start([job(f"many{n}", argv=["sleep", "infinity"]) for n in range(100)])
    desk.start_shell("last", f"echo > {there}")
    there.wait()
    desk.reports.wait(1)
    status = Path(f"/proc/{desk.keeper_pid}/status").read_text()
    assert int(status.split("VmRSS:")[1].split()[0]) <= 12 * 1024
    # 64 folders are held open, five descriptors each.
    assert len(os.listdir(f"/proc/{desk.keeper_pid}/fd")) < 64 * 5 + 16
    for n in range(100):
        desk.executor.stop(f"many{n}", 0)
    desk.reports.wait(101)


def test_a_state_folder_may_have_a_long_path(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    with Desk(folder) as desk:
        assert desk.run("true").outcome == "done"
        desk.executor.close(wait=True)
        again = Desk(folder)
        assert again.executor.inventory() in ([], ["task0"])
        again.executor.close(wait=True)


def test_a_socket_that_nobody_listens_to_is_replaced(desk: Desk) -> None:
    assert desk.run("true").outcome == "done"
    desk.kill_keeper()
    assert desk.run("true").outcome == "done"
    assert (desk.folder / "state" / "keeper.sock").stat().st_mode & 0o777 == 0o600


def test_a_second_engine_is_served_when_the_first_has_gone(desk: Desk) -> None:
    assert desk.run("true").outcome == "done"
    other = Reports()
    second = ProcessExecutor(desk.folder / "state", other)
    second.start([job("second", argv=["true"])])
    pid = desk.keeper_pid
    desk.executor.close(wait=True)
    assert other.one().outcome == "done"
    assert desk.keeper_pid == pid
    second.close(wait=True)


KILLED_BESIDE_A_FORK = """
import os, signal, sys
from pathlib import Path
from tests.desk import Desk

assert Desk(Path(sys.argv[1])).run("true").outcome == "done"
if os.fork() == 0:
    os.read(0, 1)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_fork_of_a_killed_engine_does_not_hold_the_next_one_up(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", KILLED_BESIDE_A_FORK, str(tmp_path)]
    engine = subprocess.Popen(argv, cwd=Path(__file__).parent.parent, stdin=subprocess.PIPE)
    assert engine.wait(PATIENCE_S) == -signal.SIGKILL
    with Desk(tmp_path) as second:
        assert second.run("true").outcome == "done"
    engine.communicate()


def test_keepers_that_begin_at_once_are_one_in_the_end(tmp_path: Path) -> None:
    reports = Reports()
    desks = [Desk(tmp_path, reports) for _ in range(3)]
    for n, desk in enumerate(desks):
        desk.executor.start([job(f"job{n}", argv=["true"])])
    # One has the lock; each of the others is served when the one before has gone.
    for count in range(1, 4):
        reports.wait(count)
        report = reports.all[-1]
        assert report.outcome == "done"
        desks[int(report.id[-1])].executor.close(wait=True)


def test_its_log_is_written_anew_when_what_it_tells_is_forgotten(desk: Desk) -> None:
    name = "x" * 1000
    for group in range(12):
        ids = [f"g{group}n{n}" for n in range(100)]
        desk.executor.start([job(id, argv=[name]) for id in ids])
        desk.reports.wait(100 * (group + 1))
        desk.executor.forget(ids)
    assert desk.run("true").outcome == "done"
    assert desk.keeper_log.stat().st_size < 1 << 19


# -- what the next finds ---------------------------------------------------------------------


def test_an_end_that_came_while_no_engine_was_there_is_collected_once(desk: Desk) -> None:
    go, there, done = desk.signal("go"), desk.signal("there"), desk.signal("done")
    desk.start_shell(
        "alone",
        f"echo > {there}; read line < {go}; echo out; echo '{{\"n\": 1}}' > $THEN_RESULT; exec 9> {done}; exit 0",
    )
    there.wait()
    desk.executor.close(wait=True)
    go.send()
    done.wait()
    with Desk(desk.folder) as again:
        assert again.executor.inventory() == ["alone"]
        again.executor.recover([job("alone", argv=["false"])])
        report = again.reports.one()
        assert (report.outcome, report.result) == ("done", {"n": 1, "code": 0})
        assert again.output(report) == b"out\n"
        again.executor.forget(["alone"])
    with Desk(desk.folder) as last:
        assert list(last.executor.inventory()) == []


def test_an_end_that_was_told_and_not_forgotten_outlives_the_keeper_too(desk: Desk) -> None:
    there = desk.signal("there")
    desk.start_shell("stays", f"echo > {there}; exec sleep infinity")
    there.wait()
    desk.start_shell("ended", "echo out; exit 3")
    desk.reports.wait(1)
    desk.kill_keeper()
    desk.executor.stop("stays", 0)
    assert desk.reports.wait(2)["stays"].outcome == "cancelled"
    desk.executor.close(wait=True)
    with Desk(desk.folder) as again:
        again.executor.recover([job("ended", argv=["true"])])
        assert again.reports.one().result == {"code": 3}


def test_one_that_still_runs_is_attached_to_again(desk: Desk) -> None:
    go, there = desk.signal("go"), desk.signal("there")
    desk.start_shell("long", f"echo > {there}; read line < {go}; exit 9")
    there.wait()
    desk.executor.close(wait=True)
    with Desk(desk.folder) as again:
        again.executor.recover([job("long", argv=["false"])])
        go.send()
        assert again.reports.one().result == {"code": 9}


def test_an_order_for_what_was_started_before_is_no_second_start(desk: Desk) -> None:
    # The engine was killed between the order and the commit that tells of it: its journal says `waiting`.
    go, there = desk.signal("go"), desk.signal("there")
    desk.start_shell("twice", f"echo > {there}; echo run; read line < {go}")
    there.wait()
    desk.executor.close(wait=True)
    with Desk(desk.folder) as again:
        assert again.executor.inventory() == ["twice"]
        again.start_shell("twice", "echo again")
        go.send()
        report = again.reports.one()
        assert report.outcome == "done"
        assert again.output(report) == b"run\n"


def test_an_end_that_nobody_claims_is_kept_until_it_is_ordered_again(desk: Desk) -> None:
    go, there = desk.signal("go"), desk.signal("there")
    desk.start_shell("claimed", f"echo > {there}; read line < {go}; exit 8")
    there.wait()
    desk.executor.close(wait=True)
    with Desk(desk.folder) as again:
        assert again.executor.inventory() == ["claimed"]
        go.send()
        assert again.run("true").outcome == "done"
        again.start_shell("claimed", "exit 1")
        assert again.reports.wait(2)["claimed"].result == {"code": 8}


def test_a_process_outlives_its_keeper_and_ends_as_it_did_or_lost(desk: Desk) -> None:
    go, there = desk.signal("go"), desk.signal("there")
    desk.start_shell("orphan", f"echo > {there}; read line < {go}; echo out; exit 7")
    there.wait()
    desk.kill_keeper()
    # Served by the next keeper, which watches the orphan by then.
    assert desk.run("true").outcome == "done"
    go.send()
    report = desk.reports.wait(2)["orphan"]
    assert report.outcome == "failed"
    assert report.error is not None
    if STATUS_IS_TOLD:
        assert report.result == {"code": 7}
    else:
        assert report.error["kind"] == "lost"
    assert desk.output(report) == b"out\n"


def test_more_orphans_than_descriptors_are_all_watched_and_children_keep_their_limit(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with Desk(tmp_path) as desk:
            ids = [f"many{n}" for n in range(300)]
            desk.executor.start([job(id, argv=["sleep", "infinity"]) for id in ids])
            there = desk.signal("there")
            desk.start_shell("last", f"echo > {there}; exec sleep infinity")
            there.wait()
            desk.kill_keeper()
            limit = desk.shell("ulimit -n")
            assert desk.output(limit) == b"256\n", limit
            for id in [*ids, "last"]:
                desk.executor.stop(id, 0)
            found = desk.reports.wait(302)
            assert {found[id].outcome for id in ids} == {"cancelled"}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(("options", "kind"), [({}, "lost"), ({"once": True}, "unknown")])
def test_what_went_with_its_keeper_is_lost_or_in_doubt(desk: Desk, options: dict[str, object], kind: str) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    log_of(desk, f"then-keeper 1 {BOOT}", "S gone", f"P gone {gone.pid} 0 99999999999 5")
    desk.executor.recover([job("gone", argv=["true"], **options)])
    report = desk.reports.one()
    assert report.error is not None
    assert (report.outcome, report.error["kind"]) == ("failed", kind)
    assert "its keeper was killed" in report.error["message"]


def test_after_the_machine_went_down_nothing_is_taken_for_never_started(desk: Desk) -> None:
    log_of(desk, "then-keeper 1 another-boot", "S known", "P known 1 0 99999999999 5", "X ended 7 3 5 6 ended")
    jobs = [job("known", argv=["true"]), job("unknown", argv=["true"]), job("ended", argv=["true"])]
    doubt = job("once", argv=["true"], once=True)
    for _ in range(2):  # The second engine hears the same: it is durable before it is said.
        with Desk(desk.folder) as again:
            again.executor.recover([*jobs, doubt])
            found = again.reports.wait(4)
            kinds = {id: report.error and report.error["kind"] for id, report in found.items()}
            assert kinds == {"known": "lost", "unknown": "lost", "ended": "exit", "once": "unknown"}
    with Desk(desk.folder) as last:
        last.executor.recover(jobs)
        last.reports.wait(3)
        last.start_shell("new", "true")
        last.executor.recover([job("unheard", argv=["true"])])
        assert last.reports.wait(5)["unheard"].outcome == "done"


def test_a_line_whose_writing_was_cut_off_never_counted(desk: Desk) -> None:
    desk.keeper_log.write_text(f"then-keeper 1 {BOOT}\nS cut")
    desk.executor.recover([job("cut", argv=["true"])])
    assert desk.reports.one().outcome == "done"


@pytest.mark.parametrize("text", ["S", "S a b", "nonsense", "\0\0\0", "P a b c d e", "X a 1 2"])
def test_a_damaged_log_makes_nothing_start_again(desk: Desk, text: str) -> None:
    log_of(desk, f"then-keeper 1 {BOOT}", text, "S other")
    desk.executor.recover([job("a", argv=["true"]), job("b", argv=["true"])])
    assert [report.error and report.error["kind"] for report in desk.reports.wait(2).values()] == ["lost", "lost"]


def test_a_process_that_its_keeper_had_no_time_to_note_is_found_by_its_environment(desk: Desk) -> None:
    log_of(desk, f"then-keeper 1 {BOOT}", "S found", "S missed")
    record = f"{desk.folder}/state/tasks/found/task.json"
    before = time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000
    found = subprocess.Popen(
        ["sh", "-c", "echo; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "THEN_TASK": record},
    )
    assert found.stdout is not None
    found.stdout.readline()  # The system shows the environment of a program a moment after its start has returned.
    # Who only looks has found it too, since when it runs as well.
    kept = read_kept(desk.folder / "state").running
    assert kept.keys() == {"found"}
    assert (kept["found"] or 0) >= before
    desk.executor.recover([job("found", argv=["true"]), job("missed", argv=["true"])])
    report = desk.reports.wait(1)["missed"]
    assert report.error is not None
    assert report.error["kind"] == "lost"
    found.communicate()
    report = desk.reports.wait(2)["found"]
    assert report.outcome in ("done", "failed")
    assert report.started is not None
    assert before <= report.started <= report.completed


def test_a_process_that_goes_while_its_status_is_read_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    program = subprocess.Popen(["true"], start_new_session=True)
    os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
    stat = stat_of(program.pid)
    assert stat is not None
    orphan = Child(b"task", program.pid, stat.start, stat.start, 0, ours=False)
    assert orphan.watch()

    def stat_and_gone(pid: int) -> Stat | None:
        found = stat_of(pid)
        program.wait()
        return found

    monkeypatch.setattr(processes, "stat_of", stat_and_gone)
    monkeypatch.setattr(os, "geteuid", lambda: 1)  # Who is root needs no look at its owner.
    orphan.read_status()
    assert orphan.ended
    assert orphan.status in (None, 0)
    os.close(orphan.pidfd)


def test_another_that_got_the_pid_is_not_taken_for_the_task_nor_touched(desk: Desk) -> None:
    innocent = subprocess.Popen(["sleep", "infinity"], start_new_session=True)
    log_of(desk, f"then-keeper 1 {BOOT}", "S gone", f"P gone {innocent.pid} 1 2 5")
    desk.executor.recover([job("gone", argv=["true"])])
    desk.executor.stop("gone", 0)
    report = desk.reports.one()
    assert report.outcome in ("failed", "cancelled")
    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()


def test_a_keeper_that_cannot_be_started_is_a_report(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "keeper.lock").mkdir()
    with Desk(tmp_path) as desk:
        report = desk.run("true")
        assert report.error is not None
        assert (report.outcome, report.error["kind"]) == ("failed", "lost")
        assert "keeper.err" in report.error["message"]
