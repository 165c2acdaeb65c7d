"""VS Code as a server: `python -m tests.vscode.code_server FOLDER` installs it there, by npm; nothing where it is there.

Foreign facts, for code-server 4.100 on Node 20: scripts of packages are run for
those alone that are needed here; `@vscode/ripgrep` would download its program,
for which that of the system stands in; `argon2` is built, as there is none made,
with the headers that came with node, where they did: else they would be fetched.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.examples import ROOT

RELEASE: Final = "code-server@4.100.3"
PATIENCE_S: Final = 45
SETTINGS: Final = {
    "security.workspace.trust.enabled": False, "workbench.startupEditor": "none", "workbench.tips.enabled": False,
    "workbench.colorTheme": "Default Light Modern", "workbench.editor.empty.hint": "hidden",
    "workbench.secondarySideBar.defaultVisibility": "hidden", "chat.commandCenter.enabled": False,
    "telemetry.telemetryLevel": "off", "extensions.autoCheckUpdates": False, "update.mode": "none",
    "editor.minimap.enabled": False, "breadcrumbs.enabled": False, "debug.toolBarLocation": "docked",
    "debug.inlineValues": "off", "debug.internalConsoleOptions": "neverOpen", "git.enabled": False,
    "editor.wordWrap": "on", "extensions.webWorker": False, "editor.accessibilitySupport": "off", "window.commandCenter": False,
}  # fmt: skip


def install(folder: Path) -> None:
    """Installs it into a folder that is made."""
    if (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    node = Path(shutil.which("node") or "node").resolve().parent.parent
    headers = {"npm_config_nodedir": str(node)} if (node / "include/node/node.h").exists() else {}

    def npm(where: Path, *words: str) -> None:
        subprocess.run(["npm", *words, "--no-audit", "--no-fund"], cwd=where, env=os.environ | headers, check=True)

    (folder / "package.json").write_text('{"private": true}')
    npm(folder, "install", "--ignore-scripts", RELEASE)
    inner = folder / "node_modules/code-server/lib/vscode"
    npm(inner, "install", "--ignore-scripts", "--omit=dev")
    npm(inner, "rebuild", "node-pty", "@vscode/spdlog", "native-watchdog", "--yes")
    npm(folder, "rebuild", "argon2", "--build-from-source")
    program = inner / "node_modules/@vscode/ripgrep/bin/rg"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.unlink(missing_ok=True)
    program.symlink_to(shutil.which("rg") or "/usr/bin/rg")
    (folder / "done").touch()


@contextlib.contextmanager
def code_server(installed: Path, project: Path, folder: Path, command: Path, **environ: str) -> Iterator[str]:
    """The address of one that has our extension, with a project opened; it ends with the block.

    Args:
        folder: what it keeps.
        command: where its `andthen` is put.
        environ: what the login shell sets.
    """
    entry = installed / "node_modules/code-server/out/node/entry.js"
    own = ["--user-data-dir", str(folder / "user"), "--extensions-dir", str(folder / "extensions")]
    (folder / "user/User").mkdir(parents=True)
    (folder / "user/User/settings.json").write_text(json.dumps(SETTINGS))
    packed = subprocess.run(
        [sys.executable, ROOT / "editors/pack.py", folder], capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run(["node", entry, *own, "--install-extension", packed], check=True, timeout=PATIENCE_S)
    port = free_port()
    _put(command)
    whole = os.environ | {"HOME": str(_home(folder, environ)), "SHELL": "/bin/bash"}
    words = ["--auth", "none", "--bind-addr", f"127.0.0.1:{port}", "--disable-telemetry", "--disable-update-check"]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(
            ["node", entry, *own, *words], env=whole, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_it_listens(folder / "log", server)
        yield f"{address}/?folder={project}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        server.wait(PATIENCE_S)


def _home(folder: Path, environ: dict[str, str]) -> Path:
    """A home folder, whose login shell finds what is in its `bin`.

    Whatever was started from has no say in it: a server asks the login shell.
    """
    (folder / "home").mkdir(exist_ok=True)
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environ.items()]
    path = shlex.quote(str(folder / "home/bin"))
    (folder / "home/.profile").write_text("".join([f"PATH={path}:$PATH\n", *lines]))
    return folder / "home"


def _put(command: Path) -> None:
    """The `andthen` of this checkout, as a file."""
    command.parent.mkdir(parents=True)
    there = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = shlex.join(["env", f"PYTHONPATH={there}", sys.executable, "-m", "then"])
    command.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    command.chmod(0o755)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait_until_it_listens(log: Path, server: subprocess.Popen[bytes]) -> None:
    """It says so in its output; who follows that needs no clock."""
    with subprocess.Popen(["tail", "-n", "+1", "-F", log], stdout=subprocess.PIPE, text=True) as lines:
        assert lines.stdout is not None
        for line in lines.stdout:
            if re.search(r"HTTP server listening on", line):
                break
            assert server.poll() is None, log.read_text()
        lines.terminate()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    install(Path(sys.argv[1]))
