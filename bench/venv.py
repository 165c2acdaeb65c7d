"""Where the peers are: a venv of bench's own, bench/.venv, filled from bench/requirements.txt.

`python -m bench.venv` installs them and says what; every benchmark does so
where the venv is not there yet, but with `--no-install`. A peer that cannot be
had makes its lines say "peer absent".
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE / ".venv"
REQUIREMENTS = HERE / "requirements.txt"
STAMP = FOLDER / "installed.txt"


def python() -> Path:
    return FOLDER / "bin" / "python"


def has(module: str) -> bool:
    """Whether the venv is there and holds this module."""
    if not python().exists():
        return False
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python(), "-c", code], check=False).returncode == 0


def program(name: str) -> str | None:
    """A program of the venv, else of PATH."""
    inside = FOLDER / "bin" / name
    return str(inside) if inside.exists() else shutil.which(name)


def install_where_missing() -> None:
    """Installs the peers unless just these are there."""
    if not (STAMP.exists() and STAMP.read_text() == REQUIREMENTS.read_text()):
        install()


def install() -> bool:
    """Makes the venv and installs the peers; tells what it does, and whether it worked."""
    wanted = " ".join(REQUIREMENTS.read_text().split())
    print(f"bench: installs into bench/.venv: {wanted}", file=sys.stderr, flush=True)
    if not python().exists():
        venv.EnvBuilder(with_pip=True, clear=True).create(FOLDER)
    pip = [str(python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    missed = False
    for requirement in REQUIREMENTS.read_text().split():
        done = subprocess.run([*pip, requirement], capture_output=True, text=True, check=False)
        if done.returncode:
            missed = True
            last = done.stderr.strip().splitlines()[-1:] or [f"pip ended with {done.returncode}"]
            print(f"bench: {requirement} is reported as absent: {last[0]}", file=sys.stderr)
    if not missed:
        STAMP.write_text(REQUIREMENTS.read_text())
    if shutil.which("parallel") is None:
        print("bench: GNU parallel is not there; it comes with `apt-get install parallel`", file=sys.stderr)
    return not missed


if __name__ == "__main__":
    sys.exit(0 if install() else 1)
