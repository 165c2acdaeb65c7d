"""The sources under test: sizes, names, calls and texts that a linter does not know of.

What a linter knows of stands in ruff.toml (clocks, chance, pickles, upward
imports for types) and in .importlinter (the floors).
"""

from __future__ import annotations

import ast
import fnmatch
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
"""Without its docstring: to teach is no reason to be split."""
METHODS_MAX = 12
"""Of a class that others use; what a module keeps to itself is bounded by its length."""
SEAM_METHODS_MAX = 6

GENERATED: tuple[str, ...] = ()
"""Modules that a program wrote; nobody reads them for pleasure."""

TEXT_SUFFIXES = frozenset(".py .md .cfg .ini .toml .lark .sql .yaml .json .in".split())

WORDS_BANNED = frozenset("util utils helper helpers manager misc".split())
"""In the name of a module, class or function: they say where a thing was put, not what it is."""

CORE_CALLS_BANNED = frozenset("open print input breakpoint eval".split())

PHRASES_BANNED = ("invalid", "please", "error occurred")

# Written so that this file does not hold what it looks for.
FOREIGN = re.compile(r"/(?:ho[m]e|roo[t]|User[s])/\w|issu[e] #?\d|\.\./share[d]", re.IGNORECASE)
"""Paths of one machine, and pages that a clone does not bring along."""

HEAVY = ("asyncio", "click", "docker", "lark", "rich", "sqlite3", "starlette", "subprocess", "yaml")
"""What `import then` must leave alone."""


def _ignored() -> tuple[str, ...]:
    lines = (ROOT / ".gitignore").read_text().split()
    return (".git", *(line.rstrip("/") for line in lines))


def _walk(folder: Path, ignored: tuple[str, ...]) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if any(fnmatch.fnmatch(entry.name, pattern) for pattern in ignored):
            continue
        if entry.is_dir():
            yield from _walk(entry, ignored)
        else:
            yield entry


@cache
def _files() -> tuple[Path, ...]:
    """All files of the checkout, those aside that .gitignore names."""
    return tuple(_walk(ROOT, _ignored()))


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _python(*folders: str) -> list[Path]:
    return [
        path
        for path in _files()
        if path.suffix == ".py" and _shown(path).split("/")[0] in folders and _shown(path) not in GENERATED
    ]


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def _words(name: str) -> set[str]:
    """`HTTPManager`, `http_manager` → {"http", "manager"}."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def test_there_are_files_to_look_at() -> None:
    shown = {_shown(path) for path in _files()}
    assert {"then/abc.py", "then/core/tasks.py", "tests/test_tidy.py", "setup.cfg", ".ci/run"} <= shown
    assert not any("__pycache__" in path for path in shown)


def test_no_module_is_too_long_to_know() -> None:
    long = {
        _shown(path): lines
        for path in _python("then", "tests", "bench")
        if (lines := path.read_text().count("\n")) > MODULE_LINES_MAX
    }
    assert not long, f"longer than {MODULE_LINES_MAX} lines"


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{_shown(path)}:{function.lineno} {function.name}": lines
        for path in _python("then", "tests", "bench")
        for function in _functions(path)
        if (lines := _lines_of(function)) > FUNCTION_LINES_MAX
    }
    assert not long, f"longer than {FUNCTION_LINES_MAX} lines"


MANY_METHODS = {
    "then/loop.py:Loop": 14,
    "then/core/edition.py:Edition": 14,
    "then/core/state.py:State": 14,
    "then/core/waits.py:Waits": 14,
}
"""One lock, one set of cells, one set of rules, and all that is asked of it: parting it would hand that about."""


def test_no_class_has_more_methods_than_a_page_lists() -> None:
    many = {}
    for path in _python("then"):
        bound = SEAM_METHODS_MAX if _shown(path) == "then/abc.py" else METHODS_MAX
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                name = f"{_shown(path)}:{node.name}"
                count = sum(_is_public_method(member) for member in node.body)
                if count > MANY_METHODS.get(name, bound):
                    many[name] = count
    assert not many, f"more than {METHODS_MAX} public methods (a seam: {SEAM_METHODS_MAX})"


def _is_public_method(node: ast.stmt) -> bool:
    """Attributes that are computed are no methods."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
        return False
    return not any(isinstance(deco, ast.Name) and deco.id == "property" for deco in node.decorator_list)


def test_no_name_says_where_a_thing_was_put_instead_of_what_it_is() -> None:
    named = [
        (f"{_shown(path)}:{node.lineno}", node.name)
        for path in _python("then", "tests", "bench")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    named += [(_shown(path), path.stem) for path in _python("then", "tests", "bench")]
    banned = [
        f"{place} {name}"
        for place, name in named
        if (_words(name) & WORDS_BANNED or re.match("Base[A-Z]", name)) and not name.startswith("test_")
    ]
    assert not banned


def test_the_core_calls_nothing_that_reads_or_writes() -> None:
    calls = [
        f"{_shown(path)}:{node.lineno} {node.func.id}"
        for path in _python("then")
        if _shown(path).startswith("then/core/")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CORE_CALLS_BANNED
    ]
    assert not calls


def _raised_texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and last piece of each text that a `raise` gives its exception, and the pieces before it."""
    for node in ast.walk(_tree(path)):
        if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
            continue
        for argument in (*node.exc.args, *(keyword.value for keyword in node.exc.keywords)):
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.lineno, argument.value
            elif isinstance(argument, ast.JoinedStr):
                pieces = (str(piece.value) if isinstance(piece, ast.Constant) else "{}" for piece in argument.values)
                yield argument.lineno, "".join(pieces)


def test_an_error_says_what_was_found_and_what_to_do_not_that_it_is_sorry() -> None:
    texts = [(f"{_shown(path)}:{line}", text) for path in _python("then") for line, text in _raised_texts(path)]
    worded = [
        f"{place} {text!r}"
        for place, text in texts
        if any(phrase in text.lower() for phrase in PHRASES_BANNED) or (text.endswith((".", "!")) and " " in text)
    ]
    assert not worded


def test_lines_end_as_lines_do() -> None:
    texts = [path for path in _files() if path.suffix in TEXT_SUFFIXES or _shown(path) == ".ci/run"]
    odd = []
    for path in texts:
        data = path.read_bytes()
        if b"\r" in data or re.search(rb"[ \t]$", data, re.MULTILINE) or (data and not data.endswith(b"\n")):
            odd.append(_shown(path))
    assert not odd, "carriage return, space at the end of a line, or no newline at the end"


def test_nothing_names_a_machine_or_a_page_that_a_clone_does_not_have() -> None:
    found = [
        f"{_shown(path)}:{number} {line.strip()[:80]}"
        for path in _files()
        if path.suffix in TEXT_SUFFIXES | {".then", ".txt", ""}
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if FOREIGN.search(line)
    ]
    assert not found


def test_every_module_has_its_sentence_in_the_architecture_and_every_sentence_its_module() -> None:
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in _python("then")
        if path.stem != "__init__"
    }
    text = (ROOT / "docs/architecture.md").read_text()
    named = re.findall(r"^\| `(then\.[\w.]+)` \|", text, re.MULTILINE)
    missing = [f"| `{name}` | {_sentence(path)} |" for name, path in sorted(modules.items()) if name not in named]
    assert not missing, "rows for the tables of docs/architecture.md:\n" + "\n".join(missing)
    assert not [name for name in named if name not in modules], "no such module"
    assert len(named) == len(set(named))


def _sentence(path: Path) -> str:
    """What a module says of itself first."""
    text = ast.get_docstring(_tree(path)) or ""
    return " ".join(text.split("\n\n")[0].split())


def test_folders_of_tests_are_packages_so_that_two_files_may_have_one_name() -> None:
    bare = {
        _shown(path.parent)
        for path in _python("tests")
        if not (path.parent / "__init__.py").exists() and path.name != "__init__.py"
    }
    assert not bare


@pytest.mark.slow
def test_importing_then_leaves_heavy_libraries_alone() -> None:
    code = f"import sys, then; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
