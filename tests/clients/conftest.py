"""What the clients need that Python does not bring: node with npm, and Emacs with dap-mode."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

NODE = Path(__file__).parent / "node"
ROOT = Path(__file__).parent.parent.parent


def lacking(what: str) -> NoReturn:
    """Skips, and fails in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tests in JavaScript and what they need, as the lock says."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        lacking("no node and npm are here (apt install nodejs npm)")
    # Beside the environment that runs this, where there is one: it is installed once.
    kept = os.environ.get("TOX_ENV_DIR")
    folder = Path(kept) / "node" if kept else tmp_path_factory.mktemp("node")
    shutil.copytree(NODE, folder, dirs_exist_ok=True)
    if not (folder / "node_modules/.package-lock.json").is_file():
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            lacking(f"npm ci: {done.stderr[-2000:]}")
    return folder


@pytest.fixture(scope="session")
def emacs() -> list[str]:
    """How Emacs is started with dap-mode."""
    program = shutil.which("emacs")
    if program is None:
        lacking("no Emacs is here (apt install emacs-nox elpa-dap-mode)")
    packages = sorted(Path("/usr/share/emacs/site-lisp/elpa-src").glob("*"))
    if not any(one.name.startswith("dap-mode") for one in packages):
        lacking("Emacs has no dap-mode (apt install elpa-dap-mode)")
    return [program, "--batch", *(word for one in packages for word in ("-L", str(one)))]
