"""Executors by the word that rules name them with, each imported on first use and given what it needs of an engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs

from then.abc import Executor
from then.alarm import SystemClock
from then.app.secrets import Secrets, masked
from then.core.causes import GiveBack
from then.executors.coroutines import Coroutines, OwnLoop
from then.loop import Loop


@attrs.frozen
class Workplace:
    """What executors are given of an engine."""

    loop: Loop
    clock: SystemClock
    secrets: Secrets
    folder: Callable[[], Path]
    """Where outputs go; made with the first use where the engine has no state folder."""
    outlives: bool
    """The folder stays when the engine ends, and another engine may come."""
    syncs: bool
    """What a task left is on the disk before its end is reported."""
    coroutines: Coroutines | None
    docker_allows: tuple[str, ...]
    notice: Callable[[str], None]
    """Takes what the person in front should know."""


def executor_of(kind: str, root: Path, at: Workplace) -> Executor | None:
    """The executor of this name; None where there is none."""
    loop, mask = at.loop, at.secrets.mask
    if kind == "python":
        from then.executors.function import FunctionExecutor

        return FunctionExecutor(
            masked(loop.reporter(kind, forgets=False), mask),
            masked(loop.reporter(kind, forgets=False, hurries=True), mask),
            at.clock,
            at.coroutines or OwnLoop(),
            str(root.resolve()),
            at.secrets,
            lambda ids: loop.give(GiveBack(ids)),
        )
    if kind == "process":
        from then.executors.process import ProcessExecutor

        return ProcessExecutor(
            at.folder(),
            masked(loop.reporter(kind), mask),
            root=root.resolve(),
            syncs=at.syncs,
            secrets=at.secrets,
            carry=loop.journal.carry,
        )
    if kind == "script":
        from then.executors.script import ScriptExecutor

        scripts = ScriptExecutor(
            masked(loop.reporter(kind, forgets=False), mask),
            loop.give,
            lambda id: loop.look(lambda state: state.waits.scripts.recorded(id)),
            at.clock,
            root.resolve(),
            at.folder(),
            mask,
        )
        loop.tell = scripts.tell
        return scripts
    if kind == "docker":
        from then.executors.docker.executor import DockerExecutor

        return DockerExecutor(
            at.folder(),
            masked(loop.reporter(kind), mask),
            root=root.resolve(),
            syncs=at.syncs,
            secrets=at.secrets,
            allowed=at.docker_allows,
            outlives=at.outlives,
            notice=at.notice,
        )
    return None
