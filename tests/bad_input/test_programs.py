"""Programs that are not there, will not end, write too much or what is no text: each ends as an outcome."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.cli.shell import Said, Shell
from tests.cli.terminal import PATIENCE_S

SCRIPT = r"""
case $1 in
nan) printf '{"a": NaN}' > $THEN_RESULT;;
deep) (printf '{"a": '; head -c 100000 /dev/zero | tr '\0' '[') > $THEN_RESULT;;
large) (printf '{"a": "'; head -c 70000000 /dev/zero | tr '\0' x; printf '"}') > $THEN_RESULT;;
long) (printf '{"n": 1, "a": "'; head -c 10000000 /dev/zero | tr '\0' x; printf '"}') > $THEN_RESULT;;
integer) printf '{"n": 99999999999999999999}' > $THEN_RESULT;;
surrogate) printf '{"n": "\\ud800"}' > $THEN_RESULT;;
list) printf '[1]' > $THEN_RESULT;;
folder) mkdir $THEN_RESULT;;
link) ln -s /etc/passwd $THEN_RESULT;;
pipe) mkfifo $THEN_RESULT;;
gone) rm -rf $(dirname $THEN_RESULT);;
unlike) printf '{"n": "x"}' > $THEN_RESULT;;
missing) printf '{"m": 1}' > $THEN_RESULT;;
nothing) :;;
much) head -c 200000000 /dev/zero | tr '\0' x;;
binary) printf '\000\377\200\n\033]0;evil\007\033[2J\033[31mred\033[0m \342\200\256 end\n' >&2; exit 3;;
closes) exec >&- 2>&- <&-; exit 0;;
children) mkfifo hold; (read line < hold; echo late >> late) & exit 0;;
esac
"""

RULES = """
event other()
task sh(s: str) run process ["sh", "script.sh", s]
task shn(s: str) -> (n: int) run process ["sh", "script.sh", s]
task run_it(path: str) run process [path]
task say(text: str) run process ["printf", "%s", text]
task many(text: str) run process ["true", text]
task elsewhere() run process ["true"] cwd "nowhere"
"""


@pytest.fixture
def programs(shell: Shell) -> Shell:
    shell.write("script.sh", SCRIPT)
    shell.write("r.then", RULES)
    return shell


def run(shell: Shell, *words: str) -> tuple[Said, dict[str, Any]]:
    """What `run` said, and the last word on the task; a later flow is not touched by it."""
    said = shell("run", "r.then", *words, "--json")
    assert "Traceback" not in said.err
    *_, task, end = said.objects
    assert end["outcome"] == task["outcome"]
    assert said.code == (0 if task["outcome"] == "done" else 1)
    assert shell("run", "r.then", "other").code == 0
    return said, task


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no-such-program", 'program "no-such-program" is not found on PATH; install it, or give its path'),
        ("of\ntwo", 'program "of\\ntwo" is not found on PATH; install it, or give its path'),
        ("./nope", 'program "./nope" is not there; relative paths start from cwd'),
        ("./r.then", 'program "./r.then" may not be executed; chmod +x it, and look at the folders above'),
        ("./odd", 'program "./odd": the interpreter that its first line names is not there'),
        ("./data", 'program "./data" is none that this system runs; a script begins with #! and its interpreter'),
        ("", "argv is empty; it names the program and its arguments"),
        ("./a\0b", "holds a NUL character, which no program can be given"),
        ("x" * 5000, "program"),
    ],
)
def test_a_program_that_cannot_be_started_is_a_failure_that_says_what_to_do(
    programs: Shell, path: str, message: str
) -> None:
    programs.write("odd", "#!/no/such/interpreter\n").chmod(0o755)
    programs.write("data", "\x7fno elf").chmod(0o755)
    _, task = run(programs, "run_it", f"path:={_json(path)}")
    assert task["outcome"] == "failed"
    assert task["error"]["kind"] == "spawn"
    assert message in task["error"]["message"]


def test_a_folder_that_is_not_there_is_named(programs: Shell) -> None:
    _, task = run(programs, "elsewhere")
    assert task["error"]["message"].endswith('nowhere" is not there; make the folder, or give cwd another')


@pytest.mark.slow
def test_three_megabytes_of_arguments_are_a_failure_with_the_way_out(programs: Shell) -> None:
    programs.write("large", "x" * 3_000_000)
    _, task = run(programs, "many", "text=@large")
    assert task["error"]["kind"] == "spawn"
    assert "more than the system takes; give large data by stdin or a file" in task["error"]["message"]


def test_an_argument_with_nul_is_a_failure_that_says_so(programs: Shell) -> None:
    _, task = run(programs, "say", 'text:="a\\u0000b"')
    assert "holds a NUL character, which no program can be given; use stdin or a file" in task["error"]["message"]


def test_arguments_are_never_read_by_a_shell(programs: Shell) -> None:
    _, task = run(programs, "say", "text=; touch pwned $(touch pwned) ../../x\n-n")
    assert not (programs.folder / "pwned").exists()
    assert programs("log", task["id"]).out.startswith("; touch pwned $(touch pwned) ../../x\n-n")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nan", "THEN_RESULT: no JSON: "),
        ("deep", "THEN_RESULT: nested too deeply"),
        ("integer", "THEN_RESULT: $.n: an integer beyond 64 bits; give it as text"),
        ("surrogate", "THEN_RESULT: no JSON: half of a surrogate pair, which is no Unicode"),
        ("list", "THEN_RESULT: list found, a JSON object is expected"),
        ("folder", "THEN_RESULT: not a file"),
        ("link", "THEN_RESULT: a symbolic link, which is not followed"),
        ("pipe", "THEN_RESULT: not a file"),
        ("unlike", 'n: the text "x", int is declared'),
        ("missing", "n: missing, int is declared"),
        ("nothing", "n: missing, int is declared"),
        ("gone", "n: missing, int is declared"),
        pytest.param("large", "70000009 bytes, more than 67108864", marks=pytest.mark.slow),
    ],
)
def test_a_result_that_is_none_is_a_failure_that_says_why(programs: Shell, name: str, message: str) -> None:
    _, task = run(programs, "shn", f"s={name}")
    assert task["outcome"] == "failed"
    assert task["error"]["kind"] == "result"
    assert message in task["error"]["message"]


@pytest.mark.slow
def test_a_result_of_ten_megabytes_is_kept_whole(programs: Shell) -> None:
    _, task = run(programs, "shn", "s=long")
    assert task["outcome"] == "done"
    assert len(task["result"]["a"]) == 10_000_000


@pytest.mark.slow
def test_200_megabytes_of_output_are_kept_in_a_file_and_not_in_memory(programs: Shell) -> None:
    program = programs.start("run", "r.then", "sh", "s=much", "--json")
    out, err = program.process.communicate(timeout=PATIENCE_S)
    assert program.process.returncode == 0
    assert "Traceback" not in err
    assert len(out) < 10_000
    task = json.loads(out.splitlines()[-2])
    assert os.stat(programs.folder / ".then" / "tasks" / task["id"] / "out").st_size == 200_000_000
    plain = programs("show", task["id"])
    assert plain.code == 0
    assert len(plain.out) < 200_000


def test_output_that_is_no_text_is_shown_without_what_would_move_a_terminal(programs: Shell) -> None:
    said = programs("run", "r.then", "sh", "s=binary")
    assert said.code == 1
    assert "\\0\\xff\\x80" in said.out or "\\x00\\xff\\x80" in said.out
    assert "red" in said.out
    assert "evil" not in said.out
    assert "\x1b" not in said.out
    assert "\u202e" not in said.out
    assert "\\u202e end" in said.out


def test_a_program_that_closes_its_output_is_done(programs: Shell) -> None:
    _, task = run(programs, "sh", "s=closes")
    assert task["outcome"] == "done"


def test_a_program_that_takes_away_its_own_folder_is_done_and_leaves_no_output(programs: Shell) -> None:
    _, task = run(programs, "sh", "s=gone")
    assert task["outcome"] == "done"
    assert programs("log", task["id"]).code == 0


def test_children_that_a_program_leaves_behind_do_not_keep_its_task(programs: Shell) -> None:
    _, task = run(programs, "sh", "s=children")
    assert task["outcome"] == "done"
    # The child still waits; it is let go.
    (programs.folder / "hold").write_text("go\n")


def _json(text: str) -> str:
    return json.dumps(text)
