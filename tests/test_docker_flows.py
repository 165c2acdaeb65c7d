"""Containers as tasks of flows: from YAML, Python and `.then`, with secrets, timeouts and cancellation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import then
from tests.docker_engine import DockerEngine
from then import it
from then.app.retention import prune
from then.app.strays import sweep
from then.core.errors import RuleError
from then.core.rules import Run
from then.executors.docker.folders import identity, remember_host
from then.executors.outputs import tail
from then.language.docker_task import DOCKER
from then.language.loading import load_text


def labelled(engine: DockerEngine, label: str) -> list[str]:
    found = engine.client.api.containers(all=True, filters={"label": [label]})
    return [one["Id"] for one in found]


YAML = """
events: {ready: {}}
rules:
  - name: count
    when: {type: build, where: {ref: main}}
    then:
      - save: {x: 7}
      - type: ready
  - name: after_build
    when: {type: ready}
    then:
      - type: Docker
        body: {action: run, host: "HOST", name: "nightly-NAME", image: IMAGE, network: none, args: ["echo", "-m", {type: load, name: [x]}]}
"""


def test_the_type_docker_of_yaml_runs_without_a_declaration(tmp_path: Path, docker_engine: DockerEngine) -> None:
    rules = tmp_path / "rules.yaml"
    text = YAML.replace("HOST", docker_engine.host).replace("IMAGE", docker_engine.image)
    rules.write_text(text.replace("NAME", tmp_path.name))
    with then.Engine(then.Rules().load(rules), state=tmp_path / "state") as engine:
        flow = engine.run("build", ref="main").check()
        task = flow.tasks[-1]
        assert (task.type, task.outcome, task.result) == ("Docker", "done", {"code": 0})
        assert tail(tmp_path / "state", task.id, 1, "out") == ["-m 7"]


def test_a_body_of_the_type_docker_that_holds_a_strange_word_says_which(
    tmp_path: Path, docker_engine: DockerEngine
) -> None:
    rules = then.Rules()
    rules.set.declare(DOCKER)
    with then.Engine(rules) as engine:
        flow = engine.run("Docker", imgae=docker_engine.image)
        assert flow.tasks[0].error == {
            "kind": "spawn",
            "message": 'docker: unknown "imgae" in the body (did you mean "image"?)',
        }


def test_who_declares_the_type_docker_means_something_else_by_it() -> None:
    text = 'task Docker(image: str) run process ["true"]\nevent e()\nrule r when e then Docker(image: "x")\n'
    declared = load_text(text).rules.tasks["Docker"]
    assert declared.run is not None
    assert declared.run.kind == "process"


def test_a_task_of_python_runs_in_a_container(tmp_path: Path, docker_engine: DockerEngine) -> None:
    rules = then.Rules()
    args = ["sh", "-c", 'echo "{\\"got\\": $1}" > $THEN_RESULT', "-", it.n]
    rules.task("count", run=("docker", docker_engine.image), args=args, network="none", memory=64 << 20)
    declared = rules.set.tasks["count"].run
    assert isinstance(declared, Run)
    assert declared.kind == "docker"
    with then.Engine(rules, state=tmp_path / "state") as engine:
        assert engine.run("count", n=5).tasks[0].result == {"got": 5, "code": 0}


def test_a_secret_is_given_by_env_and_masked_in_what_comes_back(tmp_path: Path, docker_engine: DockerEngine) -> None:
    (tmp_path / "token").write_text("s3cret-value")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "r.then").write_text(
        'secret token from file "token"\n'
        f'task use_it() run docker "{docker_engine.image}" network none env {{TOKEN: secret token}}\n'
        '  args ["sh", "-c", r\'echo $TOKEN; echo "{\\"t\\": \\"$TOKEN\\"}" > $THEN_RESULT; exit 1\']\n'
    )
    with then.Engine(then.Rules().load(tmp_path / "r.then"), state=tmp_path / "state") as engine:
        task = engine.run("use_it").tasks[0]
        assert (task.outcome, task.result) == ("failed", {"t": "***", "code": 1})
    for path in (tmp_path / "state").rglob("*"):
        assert path.name == "out" or not path.is_file() or b"s3cret-value" not in path.read_bytes(), path


def test_a_timeout_ends_the_container(tmp_path: Path, docker_engine: DockerEngine) -> None:
    rules = then.Rules()
    script = "trap 'exit 0' TERM; sleep 1000000 & wait"
    rules.task("slow", run=("docker", docker_engine.image), args=["sh", "-c", script], network="none", timeout="1s")
    with then.Engine(rules, state=tmp_path / "state") as engine:
        task = engine.run("slow").tasks[0]
    assert task.error is not None
    assert (task.outcome, task.error["kind"]) == ("timed_out", "timeout")
    assert labelled(docker_engine, f"then={task.id}") == []


def test_a_flow_that_is_cancelled_ends_its_containers(tmp_path: Path, docker_engine: DockerEngine) -> None:
    rules = then.Rules()
    script = "trap 'exit 0' TERM; echo up; sleep 1000000 & wait"
    rules.task("slow", run=("docker", docker_engine.image), args=["sh", "-c", script], network="none")
    with then.Engine(rules, state=tmp_path / "state") as engine:
        flow = engine.post("slow")
        while not tail(tmp_path / "state", flow.id, 1, "out"):
            docker_engine.client.api.ping()
        engine.cancel(flow)
        assert flow.wait().outcome == "cancelled"
    assert labelled(docker_engine, f"then={flow.id}") == []


def test_an_engine_without_a_state_folder_runs_containers_too(docker_engine: DockerEngine) -> None:
    rules = then.Rules()
    rules.task("quick", run=("docker", docker_engine.image), args=["true"], network="none")
    with then.Engine(rules) as engine:
        task = engine.run("quick").tasks[0]
        assert task.outcome == "done"
    assert labelled(docker_engine, f"then={task.id}") == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ('"x:1" memry 5MiB', 'unknown option of run docker "memry" (did you mean "memory"?)'),
        ('["x:1"]', 'run docker takes a text: run docker "image:tag"'),
        ('"x:1" pull sometimes', "pull is written as pull missing, always or never"),
        ('"x:1" args "ls -l"', 'args is written as args ["program", "argument"]'),
        ('"x:1" memory lots', "memory is written as memory 512MiB"),
    ],
)
def test_check_knows_the_options_of_containers(words: str, text: str) -> None:
    with pytest.raises(RuleError) as refused:
        load_text(f"task t() run docker {words}\n")
    assert text in str(refused.value)


def test_what_is_left_of_a_state_is_pruned(tmp_path: Path, docker_engine: DockerEngine) -> None:
    rules, state = then.Rules(), tmp_path / "state"
    rules.task("kept", run=("docker", docker_engine.image), keep="always", args=["true"], network="none")
    with then.Engine(rules, state=state) as engine:
        kept = engine.run("kept").tasks[0].id
        label = f"then.state={identity(state)}"
        labels = {"then": "0000000000000", "then.state": identity(state)}
        config = {"Image": docker_engine.image, "Cmd": ["true"], "Labels": labels}
        stray = docker_engine.client.api.create_container_from_config(config)["Id"]
        assert len(labelled(docker_engine, label)) == 2
        would, _ = sweep(engine, dry_run=True)
        gone, unreached = sweep(engine)
        assert (would, [one["task"] for one in gone], unreached) == (gone, ["0000000000000"], [])
        assert stray not in labelled(docker_engine, label)
        assert len(labelled(docker_engine, f"then={kept}")) == 1
        prune(engine, keep=0)
        gone, _ = sweep(engine)
        assert [one["container"] for one in gone] == [f"then-{kept}"]
    assert labelled(docker_engine, label) == []


def test_an_engine_that_cannot_be_asked_for_what_is_left_is_named(tmp_path: Path) -> None:
    rules = then.Rules()
    with then.Engine(rules, state=tmp_path) as engine:
        identity(tmp_path)
        remember_host(tmp_path, "tcp://127.0.0.1:1")
        assert sweep(engine) == ([], ["tcp://127.0.0.1:1 cannot be reached: Connection refused"])


def test_a_rule_in_python_emits_the_type_docker_without_a_declaration(
    tmp_path: Path, docker_engine: DockerEngine
) -> None:
    rules = then.Rules()
    rules.event("go")

    @rules.when("go")
    def fan(go: then.Task) -> Iterator[then.Emission]:
        for n in range(2):
            yield then.emit(
                "Docker",
                image=docker_engine.image,
                host=docker_engine.host,
                network="none",
                args=["sh", "-c", f"exit {n}"],
            )

    with then.Engine(rules, tmp_path / "state") as engine:
        flow = engine.run("go")
        ended = [task for task in flow.tasks if task.type == "Docker"]
    assert [task.result for task in ended] == [{"code": 0}, {"code": 1}]


def test_a_script_of_rules_in_python_starts_containers(tmp_path: Path, docker_engine: DockerEngine) -> None:
    host, image = docker_engine.host, docker_engine.image
    (tmp_path / "job.py").write_text(
        f"def main():\n    one = run({host!r}, 'named', {image!r}, args=['true'], network='none')\n    return wait(one).result\n"
    )
    rules = then.Rules()
    rules.root = tmp_path
    rules.task("job", run=("script", "job.py"))
    with then.Engine(rules, tmp_path / "state") as engine:
        assert engine.run("job").tasks[0].result == {"code": 0}
