"""Tries a wheel as a user would: `python tests/try_wheel.py FOLDER`, which holds one wheel and one sdist.

Installs the wheel into an empty environment, away from the checkout, and runs
the command and an example there. Says what was too heavy.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent

WHEEL_BYTES_MAX = 900_000
PACKAGES_MAX = 14
INSTALLED_BYTES_MAX = 28_000_000
"""Byte code included, which is half of it."""


def main(folder: str) -> None:
    (wheel,) = Path(folder).glob("*.whl")
    (sdist,) = Path(folder).glob("*.tar.gz")
    assert wheel.stat().st_size <= WHEEL_BYTES_MAX, f"{wheel.name} has {wheel.stat().st_size} bytes"
    print(f"{wheel.name}: {wheel.stat().st_size} bytes; {sdist.name}: {sdist.stat().st_size} bytes")
    with tempfile.TemporaryDirectory() as empty:
        _try(wheel, Path(empty))


def _try(wheel: Path, empty: Path) -> None:
    home = empty / "venv"
    venv.create(home, with_pip=True)
    python, andthen = str(home / "bin/python"), str(home / "bin/andthen")
    (site,) = home.glob("lib/python*/site-packages")
    before = _size_bytes(site)
    _run(empty, python, "-m", "pip", "install", "--quiet", str(wheel))
    listed = json.loads(_run(empty, python, "-m", "pip", "list", "--format", "json"))
    packages = {entry["name"]: entry["version"] for entry in listed if entry["name"] not in ("pip", "setuptools")}
    size = _size_bytes(site) - before
    print(f"{len(packages)} packages, {size / 1e6:.1f} MB: {', '.join(sorted(packages))}")
    assert len(packages) <= PACKAGES_MAX, packages
    assert size <= INSTALLED_BYTES_MAX, f"{size} bytes"

    version = packages["andthen"]
    assert version in _run(empty, andthen, "--version")
    assert version in _run(empty, python, "-m", "then", "--version")
    ended = _run(empty, andthen, "--state", str(empty / "state"), "run", str(ROOT / "rules/01_hello"))
    print(ended, end="")


def _run(folder: Path, *argv: str) -> str:
    done = subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main(sys.argv[1])
