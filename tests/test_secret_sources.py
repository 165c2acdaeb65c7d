"""Where secrets come from: variables, files, programs, plugins; and what is said where one cannot be read."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

import then
from then.alarm import SystemClock
from then.app import secret_programs
from then.app.secret_programs import Unreadable
from then.app.secrets import SOURCES, Secrets
from then.core.declarations import SecretDecl
from then.core.launch import CannotRead

CANARY = "canary-1a2b3c"


def reason(tmp_path: Path, source: str, reference: str) -> str:
    with pytest.raises(CannotRead) as caught:
        Secrets(tmp_path, SystemClock()).value(SecretDecl("token", source, reference))
    return str(caught.value)


def test_what_cannot_be_read_says_which_where_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("SHORT", "abc")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00key")
    (tmp_path / "long").write_text("k" * 70_000)
    os.mkfifo(tmp_path / "pipe")
    said = {
        (source, reference): reason(tmp_path, source, reference).replace(str(tmp_path), "")
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
    assert "embedded null" in said["file", "a\0b"]
    assert said["command", ""] == "no command; name a program and its arguments"
    assert said["command", "'open"] == "no command: No closing quotation; quote as for a shell"
    assert said["command", "./nothing"].startswith('program "./nothing": No such file or directory; install it')
    assert said["command", "false"] == "the program ended with exit code 1; run it by hand to see why"
    assert said["command", "true"] == "the value is empty; put one there"
    assert said["command", "sh -c 'kill -9 $$'"].startswith("the program was killed by signal 9")
    assert said["command", "yes"].startswith("more than 64 KiB; a secret is short")
    assert said["vualt", "pay"].startswith('no source is called "vualt"; env, file, command are known, and a plugin')


def test_a_program_that_hangs_is_killed_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "never")
    child, limit_s = tmp_path / "child", 0.25
    child.touch()
    script = "echo half a value; cat <never & echo $! >child; cat <never"
    while not child.read_text():  # On a busy machine its time may be over before it has come so far.
        limit_s *= 2
        monkeypatch.setattr(secret_programs, "LIMIT_S", limit_s)
        assert "did not end within" in reason(tmp_path, "command", f"sh -c '{script}'")
    while not _has_ended(int(child.read_text())):
        pass  # The signal is on its way.


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


# -- sources -----------------------------------------------------------------------------


def test_variable_and_file_are_read_anew_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = Secrets(tmp_path, SystemClock())
    for value in ("one value", "another value\n"):
        monkeypatch.setenv("CANARY", value)
        (tmp_path / "key").write_text(f"{value}\r\n")
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


def test_a_programs_answer_serves_the_starts_of_the_next_seconds_a_failure_too(tmp_path: Path) -> None:
    clock = Hand()
    secrets = Secrets(tmp_path, clock)
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


def test_many_that_start_at_once_ask_once(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path, Hand())
    secret = SecretDecl("a", "command", "sh -c 'echo x >>asked; wc -l asked'")
    threads = [threading.Thread(target=secrets.value, args=(secret,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "asked").read_text() == "x\n"


def test_a_plugin_brings_a_source_and_what_it_raises_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vault(reference: str) -> str:
        if reference == "raises":
            raise ValueError(CANARY)
        if reference == "says":
            raise Unreadable("the vault is sealed; unseal it")
        return f"value of {reference}" if reference != "number" else 12345  # type: ignore[return-value]

    monkeypatch.setitem(SOURCES, "vault", vault)
    assert Secrets(tmp_path, SystemClock()).value(SecretDecl("k", "vault", "pay#key")) == "value of pay#key"
    assert reason(tmp_path, "vault", "raises").endswith(
        "the source raised ValueError; its text is not repeated, since it may hold the value"
    )
    assert reason(tmp_path, "vault", "says").endswith(": the vault is sealed; unseal it")
    assert reason(tmp_path, "vault", "number").endswith(": the source gave int; a text is expected")


def test_an_installed_plugin_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "vaulting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vaulting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[then.secrets]\nvaulted = vaulting:read\n")
    (tmp_path / "vaulting.py").write_text("def read(reference):\n    return reference * 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "key.then").write_text('secret key from vaulted "ab"\n')
    (secret,) = then.Rules().load(tmp_path / "key.then").set.secrets.values()
    try:
        assert Secrets(tmp_path, SystemClock()).value(secret) == "abab"
    finally:
        SOURCES.pop("vaulted", None)
