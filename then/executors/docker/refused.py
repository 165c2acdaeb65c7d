"""Why a container is not run, or an engine does not do as asked: an `error.kind`, and a text for people.

`Refused` is final: it becomes the failure of the task. `Unreachable` is not: the
host of the container is asked again (`then.executors.docker.host`).
"""

from __future__ import annotations

import re
from typing import Final

from then.core.tasks import Body

_NO_PROGRAM: Final = re.compile(r'exec: \\?"(?P<name>[^"\\]*)\\?": (?P<why>.*?)(?:: unknown)?$')


class Refused(Exception):
    """It cannot be done, and asking again would not change that."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    @property
    def error(self) -> Body:
        """As it stands in the record of the task."""
        return {"kind": self.kind, "message": str(self)}


class Unreachable(Exception):
    """The Docker engine does not answer, or stopped answering: it may be there again later."""


def start_refused(image: str, text: str) -> Refused:
    """What the engine says where a container was made and does not start."""
    found = _NO_PROGRAM.search(text)
    if found:
        return Refused(
            "spawn", f'docker: {image}: program "{found["name"]}": {found["why"]}; look at entrypoint and args'
        )
    return Refused("engine", f"docker: {image}: {text}")


_HALF_STARTED: Final = re.compile(r"id already in use|task [0-9a-f]+:? already exists")


def is_half_started(text: str) -> bool:
    """Whether an engine refuses a start because it was at that very start when it went down.

    It has forgotten, its containerd has not: the program may have run. Seen with Docker 20.10 and containerd 1.6.
    """
    return _HALF_STARTED.search(text) is not None


class Gone(Exception):
    """A container is not there any more, or may have run unseen: nobody can say how it ended."""
