"""Clients that others wrote, at the real adapter; what each side said is checked against the published schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import ROOT, lacking

HERE = Path(__file__).parent
PATIENCE_S = 300


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is written down what clients and adapters said."""
    return tmp_path_factory.mktemp("records")


def run(command: list[str], folder: Path, records: Path, **env: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={
            **os.environ,
            "DAP_RECORDS": str(records),
            "DAP_PYTHON": sys.executable,
            "DAP_RECORDER": str(HERE / "recorder.py"),
            "PYTHONPATH": str(ROOT),
            **env,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_microsofts_client_drives_every_request(node: Path, records: Path) -> None:
    said = run([str(node / "node_modules/.bin/mocha"), "adapter.test.js"], node, records)
    print(said)
    assert " passing" in said


def test_dap_mode_of_emacs_stops_steps_and_goes_on(emacs: list[str], records: Path, tmp_path: Path) -> None:
    (tmp_path / "shop.then").write_text((HERE / "node/shop.then").read_text())
    said = run(
        [*emacs, "-l", str(HERE / "session.el")],
        tmp_path,
        records,
        DAP_RULES=str(tmp_path / "shop.then"),
        DAP_ARGUMENTS=json.dumps(["debug", "--dap"]),
        HOME=str(tmp_path),
    )
    seen = [line for line in said.splitlines() if line[:1].isdigit() or line == "terminated"]
    assert [line.split(" ")[:2] for line in seen] == [["12", "price"], ["18", "tax"], ["terminated"]], said


# -- what was said ---------------------------------------------------------------------------


def conversations(records: Path) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    for path in sorted(records.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        yield [(row["from"], row["message"]) for row in rows]


@pytest.fixture(scope="module")
def said(records: Path) -> list[list[tuple[str, dict[str, Any]]]]:
    found = list(conversations(records))
    if not found:
        lacking("no client has run")
    return found


def schema() -> dict[str, Any]:
    """As debugpy brings it along."""
    found = next((file for file in files("debugpy") or () if file.name == "debugProtocol.json"), None)
    if found is None:
        lacking("debugpy brings no debugProtocol.json along")
    whole: dict[str, Any] = json.loads(found.read_text())
    return whole


def definition(message: dict[str, Any], names: dict[str, Any]) -> str:
    """The name in the schema of what a message is."""
    if message["type"] == "event":
        name = f"{message['event'][0].upper()}{message['event'][1:]}Event"
    elif not message["success"]:
        name = "ErrorResponse"
    else:
        name = f"{message['command'][0].upper()}{message['command'][1:]}Response"
    assert name in names, f"{name} is not in the schema"
    return name


def test_every_message_is_as_the_schema_of_the_protocol_says(said: list[list[tuple[str, dict[str, Any]]]]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    whole = schema()
    checked, validators = set[str](), dict[str, Any]()
    for conversation in said:
        for who, message in conversation:
            if who == "client":
                continue
            name = definition(message, whole["definitions"])
            if name not in validators:
                validators[name] = jsonschema.Draft4Validator({**whole, "$ref": f"#/definitions/{name}"})
            wrong = [error.message for error in validators[name].iter_errors(message)]
            assert not wrong, f"{message}: {wrong}"
            checked.add(name)
    assert {"InitializeResponse", "StoppedEvent", "VariablesResponse", "ErrorResponse", "BreakpointEvent"} <= checked


def test_messages_come_in_the_order_that_clients_rely_on(said: list[list[tuple[str, dict[str, Any]]]]) -> None:
    for conversation in said:
        numbers = [message["seq"] for who, message in conversation if who == "adapter"]
        assert numbers == list(range(1, len(numbers) + 1))
        answered, asked = dict[str, int](), dict[int, str]()
        late = set[int]()
        ended = 0
        for who, message in conversation:
            if who == "client":
                if ended:
                    late.add(message["seq"])  # Who asks after the end may be gone before the answer.
                else:
                    asked[message["seq"]] = message["command"]
            elif message["type"] == "response":
                if message["request_seq"] not in late:
                    assert asked.pop(message["request_seq"]) == message["command"]
                answered[message["command"]] = answered.get(message["command"], 0) + 1
            else:
                event = message["event"]
                ended += event == "terminated"
                if event == "initialized":
                    assert "initialize" in answered
                if event in ("stopped", "thread", "continued"):
                    assert "configurationDone" in answered
                if event == "stopped":
                    waiting = set(asked.values()) & {"continue", "next", "stepIn", "stepOut", "goto", "stepBack"}
                    assert not waiting, f"stopped came before the response to {waiting}"
        assert ended <= 1
        assert not set(asked.values()) - {"disconnect"}, "every request is answered"
