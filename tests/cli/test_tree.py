"""The live tree: what is drawn, in how much room, and what stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.cli.shell import RULES, Shell, normal
from tests.cli.terminal import Picture
from then.abc import Mask
from then.cli.changes import Change
from then.cli.forest import NODES_MAX, Forest
from then.cli.texts import width
from then.core.tasks import Outcome, Task

NOW = 1_800_000_000_000_000

PROJECT = """
event go()
task fetch() run process ["true"]
task build() run process ["sh", "-c", r"read line < gate"]
task lint() run process ["sh", "-c", r"for i in 1 2 3; do echo line $i >&2; done; exit 4"]
rule a when go then fetch()
rule b when fetch done then build(), lint()
start go()
"""


class Plot:
    """A forest, and short words to grow it."""

    def __init__(self, *, is_plain: bool = False, has_color: bool = False) -> None:
        self.forest = Forest(None, lambda words: f"andthen {words}", Mask(), has_color=has_color, is_plain=is_plain)
        self.count = 0
        self.parents: dict[str, str | None] = {}

    def task(self, id: str, type: str) -> Task:
        return Task(type, id=id, flow=f"{1:013}", parent=self.parents[id], created=NOW)

    def born(self, type: str, parent: str | None = None) -> str:
        self.count += 1
        id = f"{self.count:013}"
        self.parents[id] = parent
        self.forest.change(Change(self.task(id, type), "waiting"))
        return id

    def begins(self, id: str, type: str) -> str:
        self.forest.change(Change(replace(self.task(id, type), started=NOW), "running"))
        return id

    def ends(self, id: str, type: str, outcome: Outcome = "done", message: str = "") -> str:
        error = {"kind": "exit", "message": message, "traceback": message} if outcome == "failed" else None
        end = NOW + 2_000_000
        task = replace(self.task(id, type), outcome=outcome, error=error, started=NOW, completed=end)
        self.forest.change(Change(task, "completed"))
        return id

    def done(self, type: str, parent: str | None = None) -> str:
        return self.ends(self.born(type, parent), type)

    def lines(self, columns: int = 60, rows: int = 20) -> list[str]:
        found = self.forest.lines(columns, rows, NOW + 5_000_000)
        assert len(found) <= rows
        assert all(width(line) <= columns for line in found), found
        return found


def test_a_chain_is_a_column_and_what_is_side_by_side_has_branches() -> None:
    plot = Plot()
    fetch = plot.done("fetch")
    build = plot.done("build", fetch)
    plot.begins(plot.born("test", build), "test")
    lint = plot.done("lint", build)
    plot.born("report", lint)
    assert plot.lines() == [
        "✓ fetch         2.0 s  0000000000001",
        "✓ build         2.0 s  0000000000002",
        "├─ ● test       5.0 s  0000000000003",
        "└─ ✓ lint       2.0 s  0000000000004",
        "   ○ report            0000000000005",
    ]


def test_a_failure_says_why_below_it() -> None:
    plot = Plot()
    root = plot.done("root")
    plot.ends(plot.born("bad", root), "bad", "failed", "no\nroom")
    plot.done("good", root)
    assert plot.lines(80) == [
        "✓ root        2.0 s  0000000000001",
        "├─ ✗ bad      2.0 s  0000000000002  exit: no",
        "│    │ no",
        "│    │ room",
        "└─ ✓ good     2.0 s  0000000000003",
    ]


def test_in_too_little_room_what_runs_and_what_failed_goes_before_what_is_well_and_the_rest_is_counted() -> None:
    plot = Plot()
    root = plot.done("root")
    for i in range(30):
        plot.done(f"well{i}", root)
    plot.begins(plot.born("busy", root), "busy")
    plot.ends(plot.born("bad", root), "bad", "failed", "why")
    plot.born("idle", root)
    lines = plot.lines(60, 8)
    text = "\n".join(lines)
    assert "● busy" in text
    assert "✗ bad" in text
    assert "│ why" in text
    assert lines[-1].startswith("… ")
    shown = sum(line.lstrip("├─└ ")[0] in "✓●✗○" for line in lines[:-1])
    assert int(lines[-1].split()[1]) == 33 + 1 - shown


@pytest.mark.parametrize("columns", [20, 33, 47, 80, 200])
@pytest.mark.parametrize("rows", [2, 3, 7, 40])
def test_no_line_is_wider_and_no_picture_higher_than_the_terminal(columns: int, rows: int) -> None:
    plot = Plot(has_color=True)
    parent = plot.done("a" * 100)
    for _ in range(30):
        left = plot.done("漢字." * 10, parent)
        plot.ends(plot.born("b", parent), "b", "failed", "x" * 300 + "\x1b[2J\r" + "y\n" * 9)
        parent = left
    plot.lines(columns, rows)


def test_of_many_records_those_that_ended_well_are_only_counted() -> None:
    plot = Plot()
    parent = root = plot.done("root")
    for _ in range(3 * NODES_MAX):
        parent = plot.done("step", parent)
    plot.begins(plot.born("last", parent), "last")
    assert len(plot.forest._nodes) <= NODES_MAX + 1
    lines = plot.lines(60, 10)
    assert lines[0].startswith("✓ root") or root not in "".join(lines)
    assert "● last" in "\n".join(lines)
    shown = sum(line.lstrip("├─└ ")[0] in "✓●" for line in lines[:-1])
    assert int(lines[-1].split()[1]) == 3 * NODES_MAX + 2 - shown


def test_of_many_that_wait_the_later_ones_are_counted_until_they_begin() -> None:
    plot = Plot()
    root = plot.done("root")
    ids = [plot.born("one", root) for _ in range(5 * NODES_MAX)]
    assert len(plot.forest._nodes) <= NODES_MAX
    assert plot.lines(60, 5)[-1] == f"… {5 * NODES_MAX - 3} more: {5 * NODES_MAX - 3} waiting"
    plot.begins(ids[-1], "one")
    assert any("● one" in line for line in plot.lines(60, 5))
    for id in ids:
        plot.ends(id, "one", "failed" if id == ids[7] else "done", "why")
    assert len(plot.forest._nodes) <= NODES_MAX + 1
    lines = plot.lines(60, 8)
    assert any("✗ one" in line for line in lines)
    shown = sum(line.lstrip("├─└ ")[0] in "✓✗" for line in lines[:-1])
    assert lines[-1] == f"… {5 * NODES_MAX + 1 - shown} more: {5 * NODES_MAX + 1 - shown} done"


def test_where_the_encoding_has_no_signs_there_are_plain_ones() -> None:
    plot = Plot(is_plain=True)
    root = plot.done("root")
    plot.done("a", root)
    plot.ends(plot.born("b", root), "b", "failed", "why")
    assert plot.lines(80) == [
        "+ root     2.0 s  0000000000001",
        "|- + a     2.0 s  0000000000002",
        "`- x b     2.0 s  0000000000003  exit: why",
        "     | why",
    ]
    assert "\n".join(plot.lines(80)).isascii()


def test_how_many_run_is_known_for_as_long_as_they_do() -> None:
    plot = Plot()
    id = plot.born("t")
    assert plot.forest.running == 0
    plot.begins(id, "t")
    assert plot.forest.running == 1
    plot.ends(id, "t")
    assert plot.forest.running == 0


# -- at a terminal --------------------------------------------------------------------


@pytest.mark.slow
def test_at_a_terminal_the_tree_is_drawn_in_place_and_stays_at_the_end(shell: Shell) -> None:
    gate = shell.fifo("gate")
    shell.write("rules.then", PROJECT)
    terminal = shell.terminal("run", "rules.then")
    # What is written at once is not always read at once.
    seen = terminal.look_until(lambda text: "● build" in text and "✗ lint" in text and len(text.splitlines()) == 7)
    first = seen.splitlines()[2].split()[3:5]
    terminal.look_until(lambda text: "● build" in text and text.splitlines()[2].split()[3:5] != first)
    gate.write_text("go\n")
    assert terminal.end() == 1
    assert normal(terminal.picture.text).replace("TIME", "T").split("\n") == [
        line.replace("TIME", "T")
        for line in [
            "◆ go                  ID1",
            *terminal_lines(terminal.picture.text),
            "",
        ]
    ]


def terminal_lines(text: str) -> list[str]:
    """The middle of the picture: compared word by word, since times are as wide as they are long."""
    lines = normal(text).split("\n")[1:-1]
    assert [line.split() for line in lines] == [
        ["✓", "fetch", "TIME", "ID2"],
        ["├─", "✓", "build", "TIME", "ID3"],
        ["└─", "✗", "lint", "TIME", "ID4", "exit:", "exited", "with", "code", "4"],
        ["│", "line", "1"],
        ["│", "line", "2"],
        ["│", "line", "3"],
        ["flow", "ID1", "failed,", "4", "records", "in", "TIME"],
    ]
    return lines


@pytest.mark.slow
def test_what_functions_print_stands_above_the_tree(shell: Shell) -> None:
    shell.write("rules.py", RULES.replace('    return {"image"', '    print("made by hand")\n    return {"image"'))
    terminal = shell.terminal("run", "rules.py", "build", "ref=x")
    assert terminal.end() == 0
    lines = normal(terminal.picture.text).split("\n")
    assert lines[0] == "made by hand"
    assert [line.split()[:2] for line in lines[1:3]] == [["✓", "build"], ["✓", "publish"]]
    assert lines[3] == "flow ID1 done, 2 records in TIME"


@pytest.mark.slow
def test_ctrl_c_is_typed_at_the_terminal_and_answered_above_the_tree(shell: Shell) -> None:
    gate = shell.fifo("gate")
    shell.write("rules.then", PROJECT)
    terminal = shell.terminal("run", "rules.then")
    terminal.look_until(lambda text: "● build" in text and "✗ lint" in text)
    terminal.type("\x03")
    seen = terminal.look_until(lambda text: "Ctrl-C again cancels" in text and "● build" in text)
    assert (
        seen.splitlines()[0] == "stopping: nothing new is started, waiting for 1 task that runs; Ctrl-C again cancels"
    )
    gate.write_text("go\n")
    assert terminal.end() == 130
    assert terminal.picture.text.count("lint") == 1


@pytest.mark.slow
@pytest.mark.parametrize("no_color", [{"NO_COLOR": "1"}, {}])
def test_colours_are_left_out_when_they_are_not_wanted(shell: Shell, no_color: dict[str, str]) -> None:
    shell.write("rules.py", RULES)
    words = (
        ("run", "rules.py", "publish", "image=x")
        if no_color
        else ("run", "--no-color", "rules.py", "publish", "image=x")
    )
    terminal = shell.terminal(*words, **no_color)
    assert terminal.end() == 0
    assert "✓ publish" in terminal.picture.text
    assert b"m" not in terminal.raw.replace(b"image", b"") or b"\x1b[3" not in terminal.raw
    assert b"\x1b[32m" not in terminal.raw


@pytest.mark.slow
def test_a_terminal_that_can_nothing_gets_plain_lines(shell: Shell) -> None:
    shell.write("rules.py", RULES)
    terminal = shell.terminal("run", "rules.py", "publish", "image=x", TERM="dumb")
    assert terminal.end() == 0
    assert b"\x1b" not in terminal.raw
    assert "started    publish" in terminal.picture.text


@pytest.mark.slow
def test_more_records_than_rows_scroll_nothing_away_while_they_are_drawn(shell: Shell) -> None:
    gate = shell.fifo("gate")
    shell.write(
        "rules.then",
        """
event go()
task many(n: int) run process ["true"]
task wait() run process ["sh", "-c", r"read line < gate"]
rule a when go then many(n: 1), many(n: 2), many(n: 3), many(n: 4), many(n: 5), many(n: 6), many(n: 7), many(n: 8), wait()
start go()
""",
    )
    terminal = shell.terminal("run", "rules.then", "-j", "2", rows=6)
    seen = terminal.look_until(lambda text: "● wait" in text and "more: 6 done" in text)
    assert len(seen.splitlines()) <= 5
    gate.write_text("go\n")
    assert terminal.end() == 0
    assert terminal.picture.text.count("many") == 8


def test_the_picture_of_a_terminal_knows_what_we_write(tmp_path: Path) -> None:
    picture = Picture(10, 4)
    picture.write("one\ntwo\n\x1b[2A\rONE\x1b[K\n\x1b[J\x1b[31mred\x1b")
    picture.write("[0m!")
    assert picture.text == "ONE\nred!"


def test_a_flow_that_is_over_is_drawn_once_more_and_kept_no_longer() -> None:
    # What timers start again and again was kept for good, and drawn anew each time.
    plot = Plot()
    for _ in range(3):
        root = plot.done("fetch")
        plot.done("build", root)
        other = plot.born("lint")
        taken = plot.forest.taken(root, 60, 20, NOW)
        assert [line.split()[1] for line in taken] == ["fetch", "build"]
        assert [line.split()[1] for line in plot.lines()] == ["lint"]
        assert plot.forest.taken(other, 60, 20, NOW)
        assert plot.lines() == plot.forest.taken(root, 60, 20, NOW) == []


def test_of_a_flow_that_is_over_what_is_only_counted_is_its_own() -> None:
    # It was told of what waits in other flows, and they of what it had, for good.
    plot = Plot()
    big = plot.done("big")
    for _ in range(NODES_MAX):
        plot.done("x", big)
    small = plot.done("small")
    for _ in range(30):
        plot.done("y", small)
    other = plot.born("other")
    for _ in range(NODES_MAX):
        plot.born("z", other)
    assert plot.forest.taken(small, 60, 20, NOW)[-1] == "… 12 more: 12 done"
    assert plot.forest.taken(big, 60, 20, NOW)[-1] == f"… {NODES_MAX - 18} more: {NODES_MAX - 18} done"
    assert "done" not in plot.lines()[-1]
