"""Runs the commands that an example's README shows, and writes down what they print.

`python -m tests.examples rules/01_hello` prints the transcript that
`expect.txt` holds: ids and times are placeholders, paths start in the checkout.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted(path.parent.name for path in (ROOT / "rules").glob("*/README.md"))
WITH_CONTAINERS = frozenset(
    example
    for example in EXAMPLES
    for path in (ROOT / "rules" / example).iterdir()
    if path.suffix in (".then", ".yaml", ".py") and re.search(r"run docker|type: Docker|busybox", path.read_text())
)
"""Those that take a Docker Engine with the image `busybox`."""

DEFAULT_ENGINE = "unix:///var/run/docker.sock"

_COMMAND = re.compile(r"^    (andthen (?:run|test|break|resume)\b.*)$", re.MULTILINE)
_ID = re.compile(r"\b0[0-9a-hjkmnp-tv-z]{12}\b")
_STAMP = re.compile(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z")
_TIME = re.compile(r"\b\d+(\.\d+)? ?(ms|s|min)\b")
_MADE = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist", "index", ".then")


def commands(example: str) -> list[str]:
    """The `andthen run`, `test`, `break` and `resume` lines of an example's README, in order."""
    return _COMMAND.findall((ROOT / "rules" / example / "README.md").read_text())


def transcript(example: str) -> str:
    """What the commands of an example print, each after a `$` line, with the exit code where it is not 0.

    They run in a copy: two runs of the tests at a time build the same wheel.
    """
    lines: list[str] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as copy:  # A keeper may be leaving it.
        shutil.copytree(ROOT / "rules" / example, Path(copy, "rules", example), ignore=_MADE)
        environment = {**os.environ, "THEN_STATE": f"{copy}/.then", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
        for command in commands(example):
            words = [sys.executable, "-m", "then", *shlex.split(command)[1:]]
            ran = subprocess.run(
                words, cwd=copy, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            lines += [f"$ {command}", *normal(ran.stdout, copy).splitlines()]
            if ran.stderr:
                lines += ["stderr:", *normal(ran.stderr, copy).splitlines()]
            if ran.returncode:
                lines.append(f"exit {ran.returncode}")
            lines.append("")
    return "\n".join(lines)


def normal(text: str, folder: str, *, has_ids: bool = False) -> str:
    """Without what differs from run to run: times, the folder that it ran in, and, unless they stay, ids."""
    engine = os.environ.get("DOCKER_HOST")
    text = _STAMP.sub("<stamp>", text.replace(f"{folder}/", "").replace(engine or DEFAULT_ENGINE, "<engine>"))
    return _TIME.sub("<time>", text if has_ids else _ID.sub("<id>", text))


def unordered(text: str) -> list[list[str]]:
    """A transcript as one sorted list of lines a command: what runs side by side ends in any order."""
    return [sorted(part.splitlines()) for part in text.strip().split("\n$ ")]


if __name__ == "__main__":
    print(transcript(Path(sys.argv[1]).name), end="")
