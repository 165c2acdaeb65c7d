"""Files handed from task to task: by path, with size and checksum in the record."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import then
from then.executors.files import with_files, with_own_files
from then.handing import check_files

RULES = """
task label(order: int, name: str = "label.pdf") -> (pdf: file)
  run process ["sh", "label.sh", order, name]
task ship(pdf: file)
  run process ["cat", pdf]
rule next when label done as l then ship(pdf: l.pdf)
"""
PROGRAM = """
printf "label $1" > "$THEN_ARTIFACTS/label.pdf"
printf '{"pdf": "%s"}' "$2" > "$THEN_RESULT"
"""


@pytest.fixture
def rules(tmp_path: Path) -> then.Rules:
    (tmp_path / "a.then").write_text(RULES)
    (tmp_path / "label.sh").write_text(PROGRAM)
    return then.Rules().load(tmp_path / "a.then")


def test_a_file_result_is_handed_on_by_path_and_its_checksum_is_recorded(rules: then.Rules, tmp_path: Path) -> None:
    with then.Engine(rules, state=tmp_path / ".then") as engine:
        flow = engine.run("label", order=7)
        label, ship = flow.tasks
        assert (flow.outcome, label.outcome, ship.outcome) == ("done", "done", "done")
        assert label.result is not None
        path = tmp_path / ".then" / "tasks" / label.id / "artifacts" / "label.pdf"
        assert label.result["pdf"] == str(path)
        assert label.result["files"]["pdf"] == {
            "path": str(path), "size": 7, "sha256": hashlib.sha256(b"label 7").hexdigest(),
        }  # fmt: skip
        assert ship.body == {"pdf": str(path)}
        assert (tmp_path / ".then" / "tasks" / ship.id / "out").read_text() == "label 7"


def test_a_file_that_is_not_there_fails_the_task_with_its_name(rules: then.Rules, tmp_path: Path) -> None:
    with then.Engine(rules, state=tmp_path / ".then") as engine:
        (label,) = engine.run("label", order=7, name="other.pdf").tasks
        assert label.error is not None
        assert label.error["kind"] == "result"
        assert 'pdf: file "other.pdf": No such file or directory' in label.error["message"]


@pytest.mark.parametrize("given", [None, 5, []])
def test_what_is_no_path_is_left_to_the_check_of_types(given: object, tmp_path: Path) -> None:
    assert with_files({"pdf": given}, ["pdf"], str(tmp_path)) == ({"pdf": given}, None)


SPOILT = """
task label(order: int, name: str = "label.pdf") -> (pdf: file)
  run process ["sh", "label.sh", order, name]
task spoil(path: str, how: str)
  run process ["sh", "-c", how, path]
task ship(pdf: file)
  run process ["cat", pdf]
rule next when label done as l then spoil(path: l.pdf, how: {how}) then ship(pdf: l.pdf)
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (r"""r'printf "label 8" > "$0"'""", "is not what was handed on: it had 7 bytes, SHA-256 "),
        (r"""r'echo more >> "$0"'""", "is not what was handed on: it had 7 bytes, SHA-256 "),
        (r"""r'rm "$0"'""", "was handed on, and now: no such file or directory"),
        (r"""r'touch "$0"'""", None),
        ('"true"', None),
    ],
)
def test_a_file_that_has_changed_on_the_way_fails_who_is_given_it(how: str, said: str | None, tmp_path: Path) -> None:
    # Its checksum was in the record, and nobody looked.
    (tmp_path / "a.then").write_text(SPOILT.replace("{how}", how))
    (tmp_path / "label.sh").write_text(PROGRAM)
    with then.Engine(then.Rules().load(tmp_path / "a.then"), state=tmp_path / ".then") as engine:
        flow = engine.run("label", order=7)
        ship = flow.tasks[-1]
        assert ship.type == "ship"
        if said is None:
            assert ship.outcome == "done"
            return
        assert (flow.outcome, ship.outcome, ship.started) == ("failed", "failed", None)
        assert ship.error is not None
        assert ship.error["kind"] == "load"
        path = tmp_path / ".then" / "tasks" / flow.tasks[0].id / "artifacts" / "label.pdf"
        assert str(ship.error["message"]).startswith(f'pdf: file "{path}" {said}')


def test_of_a_file_from_elsewhere_nothing_is_known(tmp_path: Path) -> None:
    other = tmp_path / "artifacts" / "x"
    other.parent.mkdir()
    check_files(["pdf"], {"pdf": str(other)})
    (tmp_path / "files.json").write_text("no JSON")
    check_files(["pdf"], {"pdf": str(other)})
    check_files(["pdf", "none"], {"pdf": 7})


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    result, fault = with_files({"pdf": "sub"}, ["pdf"], str(tmp_path))
    assert fault is not None
    assert fault.startswith('pdf: file "sub": Is a directory')
    assert result == {"pdf": "sub"}


@pytest.mark.parametrize("kind", ["def", "async_def", "script"])
def test_a_file_that_a_function_or_script_hands_on_is_recorded_like_that_of_a_process(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It was a path and no more.
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = f"hands_on_by_{kind}"
    runs, name = ('script "{0}.py"', "main") if kind == "script" else ('python "{0}:label"', "label")
    (tmp_path / "a.then").write_text(f"""
task label(name: str) -> (pdf: file, copy: file?)
  run {runs.format(module)}
task ship(pdf: file)
  run process ["cat", pdf]
rule next when label done as l then ship(pdf: l.pdf)
""")
    (tmp_path / f"{module}.py").write_text(f"""
{"async def" if kind == "async_def" else "def"} {name}(name):
    with open("label.pdf", "w") as file:
        file.write("of a function")
    return {{"pdf": name, "copy": None}}
""")
    path = str(tmp_path / "label.pdf")
    with then.Engine(then.Rules().load(tmp_path / "a.then"), state=tmp_path / ".then") as engine:
        first, ship = engine.run("label", name="label.pdf").check().tasks
        seen = {"path": path, "size": 13, "sha256": hashlib.sha256(b"of a function").hexdigest()}
        assert first.result == {"pdf": path, "copy": None, "files": {"pdf": seen}}
        assert ship.body == {"pdf": path}
        gone = engine.run("label", name="other.pdf").tasks[0]
        assert gone.outcome == "failed"
        assert gone.error == {
            "kind": "result",
            "message": 'pdf: file "other.pdf": No such file or directory; '
            "paths of functions and scripts start from the folder in which the engine runs",
        }


def test_what_cannot_be_a_path_is_no_file_and_ends_nothing_but_its_task(tmp_path: Path) -> None:
    for result, fault in (with_files({"f": "a\0b"}, ["f"], str(tmp_path)), with_own_files({"f": "a\0b"}, ["f"])):
        assert result == {"f": "a\0b"}
        assert fault is not None
        assert "no path has such characters" in fault
