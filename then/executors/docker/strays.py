"""Containers of a state that nobody will come for: what is left where an engine was not there when it was to remove them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import attrs

from then.executors.docker import folders
from then.executors.docker.executor import is_kept
from then.executors.docker.host import Host
from then.executors.docker.refused import Refused, Unreachable
from then.executors.docker.transport import address_of
from then.executors.docker.wanted import LABEL


@attrs.frozen
class Found:
    """A container of a state."""

    host: Host
    id: str
    name: str
    task: str
    is_kept: bool
    """Its rules say that it stays after its end."""
    is_running: bool

    def remove(self) -> None:
        """Takes it away.

        Raises:
            Refused, Unreachable: it stays.
        """
        self.host.try_now().remove(self.id)


def containers(folder: Path, unreached: list[str]) -> Iterator[Found]:
    """Those of a state folder, on all engines that it has used.

    Args:
        unreached: gets a line for each engine that cannot be asked.
    """
    if not (folder / folders.IDENTITY).exists():
        return
    state = folders.identity(folder)
    for text in folders.hosts(folder):
        try:
            host = Host(address_of(text, os.environ), lambda: state)
            host.try_now()
            listed = host.ours()
        except (Refused, Unreachable) as error:
            unreached.append(f"{text} cannot be reached: {error}")
            continue
        for one in listed:
            name = str(one["Names"][0]).removeprefix("/") if one["Names"] else one["Id"][:12]
            yield Found(host, one["Id"], name, one["Labels"][LABEL], is_kept(one), one["State"] == "running")
