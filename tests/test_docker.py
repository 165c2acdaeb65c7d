"""Containers on a real Docker Engine: what they are given, how they end, what they leave, what they may not."""

from __future__ import annotations

import hashlib
import json
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_desk import DockerDesk
from tests.docker_engine import DockerEngine
from tests.seams.executor_suite import PATIENCE_S
from then.abc import Job
from then.core.errors import ConfigError
from then.core.tasks import Body, Task
from then.executors.docker.container import Container
from then.executors.docker.executor import DockerExecutor
from then.executors.docker.host import Host
from then.executors.keeper_client import now_us
from then.executors.outputs import output_path


@pytest.fixture
def desk(tmp_path: Path, docker_engine: DockerEngine) -> Iterator[DockerDesk]:
    with DockerDesk(tmp_path, docker_engine) as desk:
        yield desk


def message(error: Body | None) -> str:
    assert error is not None
    return str(error["message"])


# -- what a container is given -----------------------------------------------------------


def test_output_and_error_are_kept_apart_as_raw_bytes_that_only_the_owner_reads(desk: DockerDesk) -> None:
    report = desk.shell(r"printf 'a\000\377b'; printf 'c\r\n' >&2")
    assert (report.outcome, report.result) == ("done", {"code": 0})
    assert desk.output(report.id) == b"a\0\xffb"
    assert desk.output(report.id, "err") == b"c\r\n"
    for stream in ("out", "err"):
        path = output_path(desk.state, report.id, stream)
        assert path is not None
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_container_finds_its_record_and_its_places(desk: DockerDesk) -> None:
    names = "TASK_ID FLOW_ID ATTEMPT KEY TASK RESULT MESSAGES ARTIFACTS".split()
    script = "; ".join(f'echo "$THEN_{name}"' for name in names) + "; cat $THEN_TASK; test -d $THEN_ARTIFACTS"
    task = Task("build", {"ref": "main"}, id="bx0000000002", flow="f", attempt=2, origin="bx0000000001")
    options = desk.job("x", "sh", "-c", script).options
    desk.executor.start([Job(task, options)])
    assert desk.reports.one().outcome == "done"
    *values, record = desk.output("bx0000000002").decode().split("\n")
    places = [f"/then/{name}" for name in ("task.json", "result.json", "messages.jsonl", "artifacts")]
    assert values == ["bx0000000002", "f", "2", "bx0000000001", *places]
    assert json.loads(record)["body"] == {"ref": "main"}


def test_a_result_messages_and_artifacts_lie_where_those_of_a_process_lie(desk: DockerDesk) -> None:
    script = (
        'echo \'{"image": "app:1", "pdf": "a/x.pdf"}\' > $THEN_RESULT; echo \'{"metric": "n"}\' > $THEN_MESSAGES;'
        " mkdir $THEN_ARTIFACTS/a; echo page > $THEN_ARTIFACTS/a/x.pdf"
    )
    report = desk.shell(script, result_fields=["image", "pdf"], file_results=["pdf"])
    folder = desk.state / "tasks" / report.id
    pdf = folder / "artifacts" / "a" / "x.pdf"
    digest = hashlib.sha256(b"page\n").hexdigest()
    files = {"pdf": {"path": str(pdf), "size": 5, "sha256": digest}}
    assert report.result == {"image": "app:1", "pdf": str(pdf), "files": files, "code": 0}
    assert pdf.read_text() == "page\n"
    assert json.loads((folder / "messages.jsonl").read_text()) == {"metric": "n"}
    assert not (folder / "box").exists()


@pytest.mark.parametrize("given", ["/then/artifacts/x", "x"])
def test_a_file_is_named_as_the_container_saw_it(desk: DockerDesk, given: str) -> None:
    report = desk.shell(f'echo \'{{"f": "{given}"}}\' > $THEN_RESULT; echo 1 > $THEN_ARTIFACTS/x', file_results=["f"])
    assert report.result is not None
    assert report.result["f"] == str(desk.state / "tasks" / report.id / "artifacts" / "x")


@pytest.mark.parametrize("link", ["ln -s /etc/hostname $THEN_ARTIFACTS/x", "ln -s /etc $THEN_ARTIFACTS/d"])
def test_a_link_leads_out_of_no_container(desk: DockerDesk, link: str) -> None:
    name = "x" if link.endswith("x") else "d/hostname"
    report = desk.shell(f'{link}; echo \'{{"f": "{name}"}}\' > $THEN_RESULT', file_results=["f"])
    assert report.outcome == "failed"
    assert f'f: file "{name}" is not in THEN_ARTIFACTS' in message(report.error)


def test_a_container_cannot_lead_its_output_elsewhere(desk: DockerDesk) -> None:
    victim = desk.folder / "victim"
    victim.write_text("mine")
    report = desk.shell(f"ln -s {victim} /then/out; ln -s {victim} /then/result.json; echo hello")
    assert victim.read_text() == "mine"
    assert desk.output(report.id) == b"hello\n"
    assert "THEN_RESULT: a symbolic link" in message(report.error)


def test_any_user_of_the_container_may_write_what_it_hands_back(desk: DockerDesk) -> None:
    report = desk.shell(
        "id -u; echo '{\"ok\": true}' > $THEN_RESULT; echo 1 > $THEN_ARTIFACTS/a; cat $THEN_TASK >&2", user=4711
    )
    assert (report.outcome, report.result) == ("done", {"ok": True, "code": 0})
    assert desk.output(report.id) == b"4711\n"
    assert b"task.json" not in desk.output(report.id, "err")


def test_options_reach_the_engine(desk: DockerDesk) -> None:
    desk.start(
        "opts", "hostname; pwd; echo $A; cat /etc/shadow; sleep 100000",
        memory=64 << 20, cpus=0.5, pids=50, shm=16 << 20, workdir="/tmp", hostname="box", env={"A": "b c"},
        read_only="yes", tmpfs=["/tmp"], labels={"team": "x"}, capabilities=["-CHOWN"], init="no",
    )  # fmt: skip
    found = desk.wait_running("opts")
    host = found["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (64 << 20, 64 << 20, 500_000_000)
    assert (host["PidsLimit"], host["ShmSize"], host["ReadonlyRootfs"]) == (50, 16 << 20, True)
    assert (host["NetworkMode"], host["Privileged"], host["CapDrop"]) == ("none", False, ["CHOWN"])
    assert host["SecurityOpt"] == ["no-new-privileges"]
    labels = found["Config"]["Labels"]
    assert (labels["then"], labels["then.type"], labels["team"]) == ("opts", "work", "x")
    desk.wait_output("opts", b"box\n/tmp\nb c\n")
    desk.executor.stop("opts", 0)
    assert desk.reports.one().outcome == "cancelled"


def test_a_bound_may_be_text_as_in_a_body_of_yaml_or_python(desk: DockerDesk) -> None:
    desk.start("bounds", "sleep 100000", memory="64MiB", shm="1.5MiB", cpus="0.5", pids="50")
    host = desk.wait_running("bounds")["HostConfig"]
    assert (host["Memory"], host["ShmSize"], host["NanoCpus"]) == (64 << 20, 3 << 19, 500_000_000)
    assert host["PidsLimit"] == 50
    desk.executor.stop("bounds", 0)
    assert desk.reports.one().outcome == "cancelled"


def test_standard_input_is_empty_or_the_text_given(desk: DockerDesk) -> None:
    assert desk.output(desk.run("cat").id) == b""
    text = "zeile\n ü" * 50_000
    assert desk.output(desk.run("cat", stdin=text).id) == text.encode()


def test_numbers_are_arguments_a_list_is_several_and_null_is_left_out(desk: DockerDesk) -> None:
    report = desk.run(args=["echo", 1, 2.5, ["a", "b"], None, "c d"])
    assert desk.output(report.id) == b"1 2.5 a b c d\n"


def test_an_entrypoint_goes_before_the_arguments(desk: DockerDesk) -> None:
    assert desk.output(desk.run(args=["b"], entrypoint=["echo", "a"]).id) == b"a b\n"


# -- how it ends ---------------------------------------------------------------------------


def test_an_exit_code_is_the_result_and_decides_the_outcome(desk: DockerDesk) -> None:
    report = desk.shell("exit 3")
    assert (report.outcome, report.result) == ("failed", {"code": 3})
    assert report.error == {"kind": "exit", "code": 3, "message": "exited with code 3"}
    assert desk.shell("exit 3", done_on=[0, 3]).outcome == "done"
    assert desk.shell("exit 137", done_on=[137]).result == {"code": 137}


def test_a_signal_is_told_by_number_and_name(desk: DockerDesk) -> None:
    report = desk.shell("kill -SEGV $$ & sh -c 'kill -KILL 1'; sh -c 'exit 139'")
    assert (report.outcome, report.result) == ("failed", {"code": -11})
    assert report.error is not None
    assert (report.error["kind"], report.error["name"]) == ("signal", "SIGSEGV")


def test_too_much_memory_is_a_kind_of_its_own(desk: DockerDesk) -> None:
    report = desk.shell("head -c 100000000 /dev/zero | tail | sleep 0", memory=16 << 20)
    report = desk.run("sh", "-c", "x=a; while true; do x=$x$x; done", memory=16 << 20)
    assert report.error is not None
    assert report.error["kind"] == "oom"
    assert "its bound of 16MiB was reached" in message(report.error)
    assert report.result == {"code": -9}


def test_a_failed_task_may_give_its_own_kind(desk: DockerDesk) -> None:
    report = desk.shell('echo \'{"error": {"kind": "quota", "message": "full"}}\' > $THEN_RESULT; exit 1')
    assert report.error == {"kind": "quota", "message": "full", "code": 1}


def test_a_stop_asks_and_then_kills(desk: DockerDesk) -> None:
    desk.start("polite", "trap 'echo bye; exit 0' TERM; echo up; sleep 1000000 & wait")
    desk.wait_output("polite", b"up\n")
    desk.executor.stop("polite", 60)
    assert desk.reports.wait(1)["polite"].outcome == "cancelled"
    assert desk.output("polite") == b"up\nbye\n"
    desk.start("deaf", "trap '' TERM; echo up; sleep 1000000")
    desk.wait_output("deaf", b"up\n")
    desk.executor.stop("deaf", 0.2)
    report = desk.reports.wait(2)["deaf"]
    assert (report.outcome, report.result) == ("cancelled", {"code": -9})


def test_one_that_is_stopped_at_once_never_runs_on(desk: DockerDesk) -> None:
    for number in range(5):
        desk.start(f"brief{number}", "sleep 1000000")
        desk.executor.stop(f"brief{number}", 0)
    assert {report.outcome for report in desk.reports.wait(5).values()} == {"cancelled"}
    desk.executor.close(wait=True)
    assert desk.containers() == []


def test_output_is_readable_while_it_grows(desk: DockerDesk) -> None:
    desk.start("grows", "echo one; sleep 1000000")
    desk.wait_output("grows", b"one\n")
    assert desk.reports.all == []
    desk.executor.stop("grows", 0)
    desk.reports.wait(1)


def test_two_hundred_mebibytes_of_output_are_all_there(desk: DockerDesk) -> None:
    report = desk.shell("head -c 209715200 /dev/zero; echo end >&2")
    path = output_path(desk.state, report.id, "out")
    assert path is not None
    assert path.stat().st_size == 200 << 20
    assert desk.output(report.id, "err") == b"end\n"
    path.unlink()


def test_a_container_is_removed_at_its_end_or_kept_on_request(desk: DockerDesk) -> None:
    found = {}
    for keep in ("never", "failed", "always"):
        for code in (0, 1):
            found[keep, code] = desk.shell(f"exit {code}", keep=keep).id
    desk.executor.close(wait=True)
    there = {key for key, id in found.items() if desk.is_there(id)}
    assert there == {("failed", 1), ("always", 0), ("always", 1)}


# -- what cannot be run ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"target": "no-such-image:7", "pull": "never"}, "image", 'image "no-such-image:7" is not on '),
        ({"target": "busybo", "pull": "never"}, "image", '(did you mean "busybox:latest"?)'),
        ({"target": "localhost:1/none:7"}, "image", 'image "localhost:1/none:7" cannot be pulled: '),
        ({"target": "Not An Image"}, "engine", "invalid reference format"),
        ({"target": None}, "spawn", "no image is named"),
        ({"args": ["/no/such"]}, "spawn", 'program "/no/such"'),
        ({"args": "ls -l"}, "spawn", "args is text; a list of texts is expected"),
        ({"args": [{"a": 1}]}, "spawn", "args holds a map; texts and numbers are expected"),
        ({"args": ["a\0b"]}, "spawn", "args holds a NUL character"),
        ({"args": {"a": 1}}, "spawn", "args is a map; a list of texts is expected"),
        ({"memory": 1 << 50}, "limit", "memory 1048576GiB is more than "),
        ({"memory": 1000}, "limit", "Minimum memory limit"),
        ({"cpus": 4096}, "limit", "Range of CPUs"),
        ({"memory": "lots"}, "spawn", 'memory is lots; a number above 0 is expected, such as "512MiB"'),
        ({"memory": "0MiB"}, "spawn", "memory is 0MiB; a number above 0 is expected"),
        ({"cpus": "2MiB"}, "spawn", "cpus is 2MiB; a number above 0 is expected"),
        ({"host": "nowhere"}, "engine", 'host "nowhere" is no address of a Docker engine; it is written "unix://'),
        ({"host": "tcp://a:b"}, "engine", 'host "tcp://a:b" is no address'),
        ({"host": "https://127.0.0.1:1"}, "engine", "ca.pem"),
        ({"network": "no-such-network"}, "engine", "no-such-network"),
        ({"env": {"a=b": "c"}}, "spawn", 'env "a=b" is no name'),
        ({"pull": "sometimes"}, "spawn", 'pull "sometimes"'),
        ({"action": "rum"}, "spawn", '(did you mean "run"?)'),
        ({"ports": ["a"]}, "spawn", 'port "a"; it is written'),
        ({"mounts": ["x"]}, "spawn", 'mount "x"; it is written'),
    ],
)
def test_what_cannot_be_run_says_why(desk: DockerDesk, options: Body, kind: str, text: str) -> None:
    report = desk.shell("echo never", **options)
    assert report.outcome == "failed"
    assert report.error is not None
    assert (report.error["kind"], text in message(report.error)) == (kind, True), report.error
    desk.executor.close(wait=True)
    assert desk.containers() == []


def test_an_image_that_cannot_be_pulled_is_held_against_those_that_are_there(desk: DockerDesk) -> None:
    images = desk.engine.client.api
    images.tag(desk.engine.image, "localhost:1/reports", "2")
    try:
        report = desk.run("true", target="localhost:1/report:2")
    finally:
        images.remove_image("localhost:1/reports:2")
    assert report.error is not None
    assert report.error["kind"] == "image"
    assert message(report.error).endswith('(did you mean "localhost:1/reports:2"?)')


@pytest.mark.parametrize(
    ("options", "allowance"),
    [
        ({"privileged": "yes"}, "privileged"),
        ({"new_privileges": "yes"}, "new-privileges"),
        ({"network": "host"}, "network=host"),
        ({"network": "container:other"}, "network=container:other"),
        ({"pid": "host"}, "pid=host"),
        ({"ipc": "host"}, "ipc=host"),
        ({"capabilities": ["SYS_ADMIN"]}, "capability=SYS_ADMIN"),
        ({"devices": ["/dev/null"]}, "device=/dev/null"),
        ({"mounts": ["/etc:/host:ro"]}, "mount=/etc"),
        ({"mounts": ["data:/data"]}, "volume=data"),
    ],
)
def test_what_is_refused_says_which_setting_allows_it(desk: DockerDesk, options: Body, allowance: str) -> None:
    report = desk.shell("echo never", **options)
    assert report.error is not None
    assert report.error["kind"] == "spawn"
    assert f'who runs the engine allows it by THEN_DOCKER_ALLOW="{allowance}"' in message(report.error)


def test_links_of_a_mount_are_followed_before_it_is_allowed(tmp_path: Path, docker_engine: DockerEngine) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("seen\n")
    (tmp_path / "data" / "out").symlink_to("/etc")
    with DockerDesk(tmp_path, docker_engine, allowed=[f"mount={tmp_path}/data"]) as desk:
        report = desk.run("cat", "/d/x", mounts=["./data:/d:ro"])
        assert desk.output(report.id) == b"seen\n"
        assert 'THEN_DOCKER_ALLOW="mount=/etc"' in message(desk.run("ls", mounts=["./data/out:/d"]).error)


def test_the_folders_of_tasks_may_be_mounted(desk: DockerDesk) -> None:
    first = desk.shell('echo \'{"f": "x"}\' > $THEN_RESULT; echo page > $THEN_ARTIFACTS/x', file_results=["f"])
    assert first.result is not None
    path = first.result["f"]
    assert desk.output(desk.run("cat", path, mounts=[f"{path}:{path}:ro"]).id) == b"page\n"


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("privilege", '"privilege" (did you mean "privileged"?); there are capability=NAME, '),
        ("mount=data", '"mount=data" has to name a whole path: mount=/…'),
        ("pid=1", '"pid=1"'),
        ("mount=/data,network=host", '"mount=/data,network=host" names several; they are told apart by spaces'),
    ],
)
def test_a_setting_that_is_none_is_refused(tmp_path: Path, word: str, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        DockerExecutor(tmp_path, print, allowed=[word])
    assert f"THEN_DOCKER_ALLOW: {text}" in str(refused.value)


def test_a_name_in_use_is_told_with_its_owner(desk: DockerDesk) -> None:
    name = f"named-{desk.executor.state}"
    desk.start("first", "sleep 1000000", name=name)
    desk.wait_running("first")
    report = desk.shell("true", name=name)
    assert report.error is not None
    assert report.error["kind"] == "engine"
    assert f'the name "{name}" is in use' in message(report.error)
    assert "by the container of task first, which is running; remove that" in message(report.error)
    desk.executor.stop("first", 0)
    desk.reports.wait(2)
    # What is over makes way.
    assert desk.shell("true", name=name).outcome == "done"


def test_an_engine_that_cannot_be_reached_is_tried_for_a_while(tmp_path: Path, docker_engine: DockerEngine) -> None:
    with DockerDesk(tmp_path, docker_engine, patience_s=0.3) as desk:
        for host in ("unix:///no/such.sock", "tcp://127.0.0.1:1"):
            report = desk.run("true", host=host)
            assert report.error is not None
            assert report.error["kind"] == "engine"
            assert f"{host} cannot be reached: " in message(report.error)
        assert desk.run("true").outcome == "done"


def test_an_engine_behind_ssh_says_what_it_takes(desk: DockerDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "takes the program ssh, which is not on PATH" in message(desk.run("true", host="ssh://user@far").error)


def test_a_job_for_an_engine_that_is_not_there_can_be_stopped(desk: DockerDesk) -> None:
    desk.start("far", "true", host="tcp://127.0.0.1:1")
    desk.executor.stop("far", 5)
    assert desk.reports.one().outcome == "cancelled"


# -- after the engine is gone -------------------------------------------------------------------


def test_a_container_that_runs_is_followed_again(desk: DockerDesk) -> None:
    desk.start("long", "trap 'echo three; exit 4' TERM; echo one; sleep 1000000 & wait")
    desk.wait_output("long", b"one\n")
    found = desk.restart()
    assert found == ["long"]
    desk.executor.recover([desk.job("long", "never run again")])
    container = desk.wait_running("long")["Id"]
    desk.engine.client.api.kill(container, "TERM")
    report = desk.reports.one()
    assert (report.outcome, report.result) == ("failed", {"code": 4})
    assert desk.output("long") == b"one\nthree\n"


def test_what_ends_while_it_is_about_to_be_followed_is_written_once(
    desk: DockerDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.start("long", "trap 'echo three; exit 4' TERM; echo one; sleep 1000000 & wait")
    desk.wait_output("long", b"one\n")
    assert desk.restart() == ["long"]
    container = desk.wait_running("long")["Id"]
    asked, heard = Host.stream, threading.Event()
    died = Container.died

    def stream(self: Host, method: str, path: str, query: dict[str, str], body: Body | None = None) -> socket.socket:
        link = asked(self, method, path, query, body)
        if path == f"/containers/{container}/logs" and "follow" in query:
            desk.engine.client.api.kill(container, "TERM")
            assert heard.wait(PATIENCE_S)
        return link

    def hear(self: Container, code: int) -> None:
        died(self, code)
        heard.set()

    monkeypatch.setattr(Host, "stream", stream)
    monkeypatch.setattr(Container, "died", hear)
    desk.executor.recover([desk.job("long", "never run again")])
    report = desk.reports.one()
    assert (report.outcome, report.result) == ("failed", {"code": 4})
    assert desk.output("long") == b"one\nthree\n"


def test_what_ended_meanwhile_is_collected_whole(desk: DockerDesk) -> None:
    script = (
        "trap 'echo two; echo err >&2; exit 0' TERM; echo '{\"n\": 1}' > $THEN_RESULT; echo one; sleep 1000000 & wait"
    )
    desk.start("ended", script)
    desk.wait_output("ended", b"one\n")
    container = desk.wait_running("ended")["Id"]

    def end_it(desk: DockerDesk) -> None:
        desk.engine.client.api.kill(container, "TERM")
        desk.engine.client.api.wait(container)

    assert desk.restart(end_it) == ["ended"]
    taken_up = now_us()
    desk.executor.recover([desk.job("ended", "never run again")])
    report = desk.reports.one()
    assert (report.outcome, report.result) == ("done", {"n": 1, "code": 0})
    assert report.started is not None
    assert report.started < report.completed < taken_up, "when it began and ended, and not when that was found"
    assert (desk.output("ended"), desk.output("ended", "err")) == (b"one\ntwo\n", b"err\n")


def test_one_that_is_taken_up_and_stopped_at_once_is_stopped(desk: DockerDesk) -> None:
    desk.start("deaf", "trap '' TERM; echo up; sleep 1000000")
    desk.wait_output("deaf", b"up\n")
    assert desk.restart() == ["deaf"]
    desk.executor.recover([desk.job("deaf", "never run again")])
    desk.executor.stop("deaf", 0)  # Goes before what takes it up.
    report = desk.reports.one()
    assert (report.outcome, report.result) == ("cancelled", {"code": -9})


def test_a_report_that_was_not_yet_durable_is_given_again(tmp_path: Path, docker_engine: DockerEngine) -> None:
    with DockerDesk(tmp_path, docker_engine, forgets=False) as desk:
        desk.start("once", "echo hello; echo x > $THEN_ARTIFACTS/x; echo '{\"n\": 1}' > $THEN_RESULT; exit 3")
        first = desk.reports.wait(1)["once"]
        assert desk.restart() == ["once"]
        desk.executor.recover([desk.job("once", "never run again")])
        again = desk.reports.wait(2)["once"]
        assert (again.outcome, again.result, again.error) == (first.outcome, first.result, first.error)
        assert desk.output("once") == b"hello\n"
        assert (desk.state / "tasks" / "once" / "artifacts" / "x").read_text() == "x\n"


@pytest.mark.parametrize("way", ["start", "recover"])
def test_a_container_that_is_there_is_not_started_twice(desk: DockerDesk, way: str) -> None:
    desk.start("single", "echo run; sleep 1000000")
    desk.wait_output("single", b"run\n")
    container = desk.wait_running("single")["Id"]
    desk.restart()
    jobs = [desk.job("single", "sh", "-c", "echo second")]
    desk.executor.start(jobs) if way == "start" else desk.executor.recover(jobs)
    desk.engine.client.api.kill(container)
    assert desk.reports.one().result == {"code": -9}
    assert desk.output("single") == b"run\n"


def test_one_that_was_made_and_never_started_is_started(desk: DockerDesk) -> None:
    desk.shell("true")  # Now the folder of the state is there, with its name.
    config = {"Image": desk.engine.image, "Cmd": ["echo", "made before"], "HostConfig": {"NetworkMode": "none"}}
    config["Labels"] = {"then": "made", "then.state": desk.executor.state}
    desk.engine.client.api.create_container_from_config(config, "then-made")
    assert "made" in desk.restart()
    desk.executor.recover([desk.job("made", "echo", "never")])
    assert desk.report_of("made").outcome == "done"
    assert desk.output("made") == b"made before\n"


def test_what_nobody_claims_is_removed(desk: DockerDesk) -> None:
    desk.start("stray", "sleep 1000000")
    desk.wait_running("stray")
    kept = desk.shell("true", keep="always").id
    assert desk.restart() == ["stray"]
    desk.executor.recover([])
    desk.executor.close(wait=True)
    assert (desk.is_there("stray"), desk.is_there(kept)) == (False, True)


@pytest.mark.parametrize(("once", "kind"), [(False, "lost"), (True, "unknown")])
def test_a_container_that_was_removed_meanwhile_is_lost(desk: DockerDesk, once: bool, kind: str) -> None:
    desk.start("gone", "sleep 1000000")
    container = desk.wait_running("gone")["Id"]
    assert desk.restart(lambda desk: desk.engine.client.api.remove_container(container, force=True)) == []
    desk.executor.start([desk.job("gone", "echo", "never", once=once)])
    report = desk.reports.one()
    assert report.error is not None
    assert report.error["kind"] == kind
    assert f"its container {container[:12]} is not there any more" in message(report.error)


def test_two_states_on_one_engine_leave_each_others_containers_alone(
    tmp_path: Path, docker_engine: DockerEngine
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with DockerDesk(tmp_path / "a", docker_engine) as one, DockerDesk(tmp_path / "b", docker_engine) as other:
        one.start("mine", "sleep 1000000")
        one.wait_running("mine")
        assert other.shell("true").outcome == "done"
        assert other.restart() == []
        other.executor.recover([])
        other.executor.close(wait=True)
        assert one.is_there("mine")


# -- what is done with containers of others ---------------------------------------------------------


def test_a_service_is_started_used_stopped_and_removed(desk: DockerDesk) -> None:
    name = f"service-{desk.executor.state}"
    script = "trap 'exit 5' TERM; echo > /up; sleep 1000000 & wait"
    started = desk.run("sh", "-c", script, name=name, action="start")
    assert started.outcome == "done"
    assert started.result is not None
    assert started.result["name"] == name
    assert desk.run("sh", "-c", script, name=name, action="start").outcome == "done"
    script = "until test -e /up; do :; done; echo in $A $THEN_TASK_ID; echo err >&2; exit 3"
    inside = desk.run("sh", "-c", script, target=name, action="exec", env={"A": 1})
    assert (inside.outcome, inside.result) == ("failed", {"code": 3})
    assert desk.output(inside.id) == f"in 1 {inside.id}\n".encode()
    assert desk.output(inside.id, "err") == b"err\n"
    assert desk.restart() == []
    desk.executor.recover([])
    desk.executor.start([desk.job("waits", target=name, action="wait")])
    stopped = desk.run(target=name, action="stop")
    assert (stopped.outcome, stopped.result) == ("done", {"code": 5})
    assert desk.report_of("waits").error == {"kind": "exit", "code": 5, "message": "exited with code 5"}
    assert desk.run(target=name, action="remove").outcome == "done"
    assert desk.run(target=name, action="remove").outcome == "done"
    assert desk.containers() == []


@pytest.mark.parametrize("action", ["start", "stop", "wait", "exec"])
def test_an_action_on_a_container_that_is_not_there_says_so(desk: DockerDesk, action: str) -> None:
    report = desk.run("true", target="no-such-container", action=action)
    assert report.error is not None
    assert report.error["kind"] == "engine"
    assert "no-such-container" in message(report.error)
    assert "{" not in message(report.error)


def test_a_command_that_ended_while_no_engine_was_there_is_collected(desk: DockerDesk) -> None:
    name = f"warm-{desk.executor.state}"
    desk.run("sleep", "1000000", name=name, action="start")
    desk.run("mkfifo", "/go", target=name, action="exec")
    script = "echo up; read line < /go; exit 6"
    desk.executor.start([desk.job("cmd", "sh", "-c", script, target=name, action="exec")])
    desk.wait_output("cmd", b"up\n")
    desk.restart()
    desk.run("sh", "-c", "echo > /go", target=name, action="exec")
    desk.executor.recover([desk.job("cmd", "sh", "-c", "never", target=name, action="exec")])
    assert desk.report_of("cmd").result == {"code": 6}
