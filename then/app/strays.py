"""Containers that are left of a state, taken away: `andthen prune`."""

from __future__ import annotations

from then.app.engine import Engine
from then.core.errors import UnknownId
from then.core.tasks import Json


def sweep(engine: Engine, *, dry_run: bool = False) -> tuple[list[Json], list[str]]:
    """Removes the containers of tasks that have ended, and those that were to stay once their flow is gone.

    Returns:
        What was removed, or would be: `container`, `task`, `host`; and engines that could not be asked.
    """
    from then.executors.docker.refused import Refused, Unreachable
    from then.executors.docker.strays import containers

    gone: list[Json] = []
    unreached: list[str] = []
    for one in containers(engine.folder, unreached) if engine.folder is not None else ():
        if _is_live(engine, one.task) or (one.is_kept and (one.is_running or _is_known(engine, one.task))):
            continue
        try:
            if not dry_run:
                one.remove()
        except (Refused, Unreachable) as error:
            unreached.append(f"{one.host.address.text}: {one.name} stays: {error}")
            continue
        gone.append({"container": one.name, "task": one.task, "host": one.host.address.text})
    return gone, unreached


def _is_live(engine: Engine, id: str) -> bool:
    task = engine.loop.look(lambda state: state.task(id))
    return task is not None and task.outcome is None


def _is_known(engine: Engine, id: str) -> bool:
    try:
        engine.history().find(id)
    except UnknownId:
        return False
    return True
