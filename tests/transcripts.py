"""Runs what a page shows at a shell, and holds the page to what was printed.

A page names its files (`` `press.then`: `` and then a block) and shows commands
in blocks ```` ```console ````, each after a `$`: one session of one shell, in
an empty folder. `exit N` tells of an exit code that is not 0.

`python -m tests.transcripts docs/tour.md` writes what is printed into the page;
for ids that are not known yet, commands may say `ID1`, `ID2`, … in the order in
which ids are first seen.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.examples import ROOT, normal

_FILE = re.compile(r"`([\w./]+)`[^`\n]*:\n\n```(?:then|yaml|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CONSOLE = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
_SHOWN = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_ID = re.compile(r"\b0[0-9a-hjkmnp-tv-z]{12}\b")
_NAMED = re.compile(r"\bID(\d+)\b")


class Session:
    """A shell in a folder, in which `andthen` is the one of this checkout."""

    def __init__(self, folder: Path) -> None:
        command = folder / ".bin" / "andthen"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m then "$@"\n')
        command.chmod(0o755)
        path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "NO_COLOR": "1", "PYTHONPATH": str(ROOT), "THEN_STATE": "", "PYTHONUNBUFFERED": ""}
        self._shell = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=os.environ | own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __call__(self, command: str) -> str:
        """What a command prints, and how it ended."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f'{command}\nprintf "\\n=%s=\\n" $?\n')
        self._shell.stdin.flush()
        lines: list[str] = []
        for line in self._shell.stdout:
            ended = re.fullmatch(r"=(\d+)=\n", line)
            if ended is not None:
                code = "" if ended[1] == "0" else f"exit {ended[1]}\n"
                return "".join(lines).removesuffix("\n") + code
            lines.append(line)
        raise AssertionError(f"the shell ended in `{command}`")

    def close(self) -> None:
        """Ends the shell; what a page starts in the background, it ends itself."""
        self._shell.communicate()


class Transcript:
    """The commands of a page, run again."""

    def __init__(self, page: str, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.ids: dict[str, str] = {}
        """Those of the page, in the order in which they come, and those of this run."""
        for name, text in files(page):
            (folder / name).write_text(text)

    def differences(self) -> list[tuple[str, str, str]]:
        """Command, what the page shows and what was printed, where the two differ by more than ids and times."""
        return [
            (command, shown, printed)
            for command, shown, printed in self.run()
            if _plain(shown) != _plain(_replaced(printed, {ours: its for its, ours in self.ids.items()}))
        ]

    def written(self) -> str:
        """The page with what was printed now."""
        printed = iter(self.run())

        def block(found: re.Match[str]) -> str:
            shown = [next(printed) for _ in _SHOWN.findall(found[0])]
            return "".join(f"$ {self._command(command)}\n{text}" for command, _, text in shown)

        return _CONSOLE.sub(block, self.page)

    def run(self) -> list[tuple[str, str, str]]:
        """Command, what the page shows, and what was printed, one after the other."""
        found: list[tuple[str, str, str]] = []
        session = Session(self.folder)
        try:
            for block in _CONSOLE.findall(self.page):
                for command, shown in _SHOWN.findall(block):
                    printed = session(self._command(command))
                    self._learn(_ID.findall(shown), _ID.findall(printed))
                    found.append((command, shown, printed))
        finally:
            session.close()
        return found

    def _command(self, text: str) -> str:
        """A command of the page with the ids of this run."""
        seen = list(dict.fromkeys(self.ids.values()))
        return _NAMED.sub(lambda name: seen[int(name[1]) - 1], _replaced(text, self.ids))

    def _learn(self, shown: list[str], printed: list[str]) -> None:
        known = set(self.ids.values())
        new = [id for id in dict.fromkeys(printed) if id not in known]
        places = [id for id in dict.fromkeys(shown) if id not in self.ids]
        for at, id in enumerate(new):
            # A page that is not written yet shows none.
            self.ids[places[at] if at < len(places) else id] = id


def files(page: str) -> list[tuple[str, str]]:
    """Names and texts of the files of a page."""
    return _FILE.findall(page)


def _replaced(text: str, ids: dict[str, str]) -> str:
    return _ID.sub(lambda found: ids.get(found[0], found[0]), text)


def _plain(text: str) -> list[str]:
    """Lines without times, and without the widths that columns have from them; ids stay."""
    return [" ".join(line.split()) for line in normal(text, str(ROOT), has_ids=True).splitlines()]


def main(name: str) -> None:
    page = Path(name)
    with tempfile.TemporaryDirectory() as folder:
        page.write_text(Transcript(page.read_text(), Path(folder)).written())


if __name__ == "__main__":
    main(sys.argv[1])
