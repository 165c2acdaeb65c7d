"""kill -9 of an engine at each append to its journal: what the programs that are killed so share, and their tests."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import then
from tests.crash.campaign import ROOT, kill_keeper
from then import turns
from then.abc import Cell, Entry
from then.journals.sqlite import SqliteJournal

PATIENCE_S = 120
AT_ONCE = 2

Check = Callable[[Path, subprocess.CompletedProcess[str]], dict[str, Any]]
"""Looks at what a life that came to its end has left, and gives what it told: `appends` among others."""


# -- the program -------------------------------------------------------------------


def arguments(description: str | None) -> argparse.ArgumentParser:
    """FOLDER, and at which append to end: before or after it is made."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("folder", type=Path)
    options.add_argument("--kill", type=int, default=0)
    options.add_argument("--when", choices=("before", "after"), default="after")
    return options


class Appends:
    """Counts the appends of this process, which ends itself by SIGKILL at the one that is named."""

    def __init__(self, last: int, when: str) -> None:
        self.made = 0
        made_as_ever = SqliteJournal.append

        def append(journal: SqliteJournal, entries: Sequence[Entry], cells: Iterable[Cell] = ()) -> None:
            self.made += 1
            if self.made == last and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            made_as_ever(journal, entries, cells)
            if self.made == last:
                os.kill(os.getpid(), signal.SIGKILL)

        SqliteJournal.append = append  # type: ignore[method-assign, assignment]


@contextmanager
def engine_to_kill(description: str | None, text: str) -> Iterator[tuple[then.Engine, Appends]]:
    """What such a program does with rules in a text: an engine on them whose steps each have a commit of their own."""
    given = arguments(description).parse_args()
    turns.DELAY_S = turns.KEPT_DELAY_S = 0  # type: ignore[misc]
    appends = Appends(given.kill, given.when)
    os.environ["MARKS"] = str(given.folder / "marks")
    (given.folder / "rules.then").write_text(text)
    rules = then.Rules().load(given.folder / "rules.then")
    with then.Engine(rules, given.folder / "state", durability="process", slots=4) as engine:
        yield engine, appends


# -- its test ------------------------------------------------------------------------


def _life(program: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", program, str(folder), *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def appends_of_a_whole_life(program: str, base: Path, check: Check, *how: str) -> int:
    """How many appends it makes when nobody kills it."""
    whole = base / "whole"
    whole.mkdir()
    try:
        return int(check(whole, _life(program, whole, *how))["appends"])
    finally:
        kill_keeper(whole)


def kill_at_each(program: str, base: Path, check: Check, appends: int, when: str, *how: str) -> None:
    """Kills it at each of its appends, each time in a folder of its own; started again it comes to its end."""

    def killed_at(number: int) -> None:
        folder = base / f"{when}-{number}"
        folder.mkdir()
        try:
            first = _life(program, folder, "--kill", str(number), "--when", when, *how)
            if first.returncode != 0:  # A life with fewer appends than the longest ends by itself.
                assert first.returncode == -signal.SIGKILL, first.stderr
                first = _life(program, folder, *how)
            check(folder, first)
        finally:
            kill_keeper(folder)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(killed_at, range(1, appends + 1)))
