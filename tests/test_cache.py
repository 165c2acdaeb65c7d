"""Compiled rules that are read back: the same rules, and only where nothing has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from hypothesis import given

from tests.test_printer import CHUNKS, EXPRESSIONS, assert_same
from then.core import filters, rules
from then.core.errors import RulesRefused
from then.core.filters import Expr, Field, Opaque
from then.core.rules import Consequence, Emit, Pattern, Rule, RuleSet, Single, TaskDecl
from then.language import cache
from then.language.cache import cache_folder, load_cached, load_stored_cached
from then.language.loading import Loaded, load_path, load_text
from then.language.packing import Unpackable, pack, unpack

DONE = frozenset(("done",))
HEAD = "event order(id: int, total: float)\ntask pay(order: int)\ntask lost(order: int)\n"


def text_of(count: int, last: str = "pay(order: o.id)") -> str:
    """So many rules, and one more."""
    rule = "rule r{} when order as o where total > {} then pay(order: o.id)\n"
    return HEAD + "".join(map(rule.format, range(count), range(count))) + f"rule last when order as o then {last}\n"


LONG = f"{'#' * cache.TEXT_CHARACTERS_MIN}\n"
"""Makes any text worth a cache."""


# -- bytes and back ---------------------------------------------------------------


@pytest.mark.parametrize("text", CHUNKS)
def test_unpacked_rules_are_the_rules_that_were_packed(text: str) -> None:
    try:
        packed = load_text(text, env={"SOME": "thing"}).rules
    except RulesRefused:
        return
    unpacked = unpack(pack(packed), packed.sources)
    assert_same(packed, unpacked)
    assert unpacked.sources == packed.sources
    assert [rule.source for rule in unpacked] == [rule.source for rule in packed]
    assert [rule.span for rule in unpacked] == [rule.span for rule in packed]
    assert [task.span for task in unpacked.tasks.values()] == [task.span for task in packed.tasks.values()]


def ruled(where: Expr) -> RuleSet:
    act = Emit("pay", (("order", where),), guard=where, otherwise=Emit("lost"))
    made = RuleSet()
    made.add(Rule("r", Single(Pattern("order", DONE, where, "o")), Consequence(((act, act),), (act,))))
    return made


@given(EXPRESSIONS)
def test_any_expression_is_unpacked_as_it_was_packed(expr: Expr) -> None:
    assert unpack(pack(ruled(expr)), {}).rules == ruled(expr).rules


def test_what_is_said_alike_is_one_object() -> None:
    twice = load_text(text_of(2)).rules
    first, second, _ = unpack(pack(twice), twice.sources).rules
    assert first.consequence is second.consequence


def python_rule() -> RuleSet:
    made = RuleSet()
    made.add(Rule("r", Single(Pattern("x", DONE)), generator=lambda x: None))
    return made


def python_task() -> RuleSet:
    made = RuleSet()
    made.declare(TaskDecl("t", function=dict))
    return made


@pytest.mark.parametrize(
    "make",
    [
        python_rule,
        python_task,
        lambda: ruled(Opaque(lambda task: True, "odd")),
        lambda: RuleSet(continuations={"after": lambda x: None}),
    ],
)
def test_python_is_not_packed(make: Callable[[], RuleSet]) -> None:
    with pytest.raises(Unpackable):
        pack(make())


def test_no_field_of_the_model_is_forgotten() -> None:
    fields = {
        cls.__name__: [field.name for field in attrs.fields(cls)]
        for cls in (rules.Rule, rules.Pattern, rules.TaskDecl, rules.FieldDecl, rules.TypeRef, rules.Run, rules.Start)
    }
    assert fields == {
        "Rule": ["name", "trigger", "consequence", "generator", "final", "source", "span"],
        "Pattern": ["family", "outcomes", "where", "alias", "callee", "span"],
        "TaskDecl": [
            "name", "inputs", "result", "run", "function", "once", "priority", "done_on", "may_fail", "slots",
            "policy", "retry_while", "deadline_us", "expires_us", "limit", "needs", "idempotent_by", "secrets", "span",
        ],
        "FieldDecl": ["name", "type", "default", "span"],
        "TypeRef": ["name", "args", "optional", "span"],
        "Run": ["kind", "target", "options", "span"],
        "Start": ["type", "args", "span"],
    }, "then.language.packing reads and writes exactly these"  # fmt: skip


def test_every_form_of_expression_is_packed_but_the_python_one() -> None:
    forms = set(filters.Expr.__args__)
    unpackable = {form for form in forms if form not in _pooled()}
    assert unpackable == {Opaque}


def _pooled() -> dict[type, object]:
    from then.language.packing import _POOLED

    return dict(_POOLED)


# -- the cache ----------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "rules.then").write_text(LONG + text_of(3))
    return folder


class Loads:
    """Loads with a cache of their own, and whether the last one came from it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._was_cached = False

        def counted(*args: object, **options: object) -> Loaded:
            self._was_cached = False
            return load_path(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(cache, "load_path", counted)

    def __call__(self, path: Path, env: dict[str, str] | None = None, known: RuleSet | None = None) -> Loaded:
        self._was_cached = True
        return load_cached(path, env=env or {}, folder=self.folder, known=known)

    def was_cached(self) -> bool:
        return self._was_cached


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loads:
    return Loads(tmp_path / "cache", monkeypatch)


def assert_equal(first: Loaded, second: Loaded) -> None:
    assert_same(first.rules, second.rules)
    assert second.rules.sources == first.rules.sources
    assert (second.findings, second.root, second.entry, second.files) == (
        first.findings, first.root, first.entry, first.files,
    )  # fmt: skip


def test_the_second_load_is_read_back_and_gives_the_same(project: Path, load: Loads) -> None:
    (project / "rules.then").write_text(LONG + text_of(3) + "event idle(id: int)\n")
    first = load(project / "rules.then")
    assert not load.was_cached()
    assert first.findings
    second = load(project / "rules.then")
    assert load.was_cached()
    assert_equal(first, second)


def test_a_change_of_the_file_is_seen(project: Path, load: Loads) -> None:
    load(project / "rules.then")
    (project / "rules.then").write_text(LONG + text_of(3, "lost(order: o.id)"))
    changed = load(project / "rules.then")
    assert not load.was_cached()
    assert changed.rules.rules[-1].consequence == Consequence(
        ((Emit("lost", (("order", Field(("id",), "body", "o")),)),),)
    )
    load(project / "rules.then")
    assert load.was_cached()


def test_a_change_of_a_file_that_is_used_or_loaded_is_seen(project: Path, load: Loads) -> None:
    (project / "lib.then").write_text('load limits from "limits.json"\nevent more(id: int)\n')
    (project / "limits.json").write_text('{"max": 1}')
    (project / "rules.then").write_text(LONG + 'use "lib.then"\n' + text_of(3, "pay(order: limits.max)"))
    load(project / "rules.then")
    load(project / "rules.then")
    assert load.was_cached()
    (project / "limits.json").write_text('{"max": 2}')
    assert "limits.json" in load(project / "rules.then").rules.sources
    assert not load.was_cached()
    (project / "lib.then").unlink()
    with pytest.raises(RulesRefused, match="no file"):
        load(project / "rules.then")


def test_a_new_file_in_a_folder_is_seen_and_other_files_are_not(project: Path, load: Loads) -> None:
    load(project)
    (project / "notes.txt").write_text("none of our business")
    load(project)
    assert load.was_cached()
    (project / "more.then").write_text("rule more when order as o then pay(order: 1)\n")
    assert load(project).rules.rule("more") is not None
    assert not load.was_cached()


def test_a_change_of_what_a_let_asked_of_the_environment_is_seen(project: Path, load: Loads) -> None:
    asks = 'let region = env("REGION") ?? "none"\nevent told(text: str)\n'
    (project / "rules.then").write_text(LONG + asks + text_of(3, "told(text: region)"))

    def region(env: dict[str, str]) -> object:
        return load(project / "rules.then", env).rules.sources["rules.then#region"]

    assert (region({}), load.was_cached()) == ('"none"', False)
    assert (region({"OTHER": "x"}), load.was_cached()) == ('"none"', True)
    assert (region({"REGION": "eu"}), load.was_cached()) == ('"eu"', False)
    assert (region({"REGION": "eu"}), load.was_cached()) == ('"eu"', True)


def test_what_a_journal_keeps_is_read_back_too(project: Path, load: Loads) -> None:
    loaded = load(project / "rules.then")
    sources = loaded.rules.sources
    first = load_stored_cached(sources, "rules.then", root=project, folder=load.folder)
    assert len(list(load.folder.iterdir())) == 2
    assert_equal(first, load_stored_cached(sources, "rules.then", root=project, folder=load.folder))
    changed = {"rules.then": sources["rules.then"].replace("total > 1", "total > 7")}
    assert load_stored_cached(changed, "rules.then", root=project, folder=load.folder).rules.rules != first.rules.rules
    assert len(list(load.folder.iterdir())) == 3


def test_a_short_text_and_rules_with_python_are_not_kept(tmp_path: Path, load: Loads) -> None:
    (tmp_path / "short.then").write_text(text_of(10))
    load(tmp_path / "short.then")
    assert not load.folder.exists()


def test_rules_that_stand_beside_others_are_not_taken_from_the_cache(project: Path, load: Loads) -> None:
    load(project / "rules.then")
    known = load_text("event other(id: int)").rules
    load(project / "rules.then", known=known)
    assert not load.was_cached()


@pytest.mark.parametrize("at", [0, 20, 60, 200, -1])
def test_a_damaged_cache_is_none(project: Path, load: Loads, at: int) -> None:
    first = load(project / "rules.then")
    (kept,) = load.folder.iterdir()
    data = bytearray(kept.read_bytes())
    data[at] ^= 1
    kept.write_bytes(data)
    assert_equal(first, load(project / "rules.then"))
    assert not load.was_cached()
    kept.write_bytes(kept.read_bytes()[:-10])
    load(project / "rules.then")
    assert not load.was_cached()


def test_a_cache_that_others_may_write_is_none(project: Path, load: Loads) -> None:
    load(project / "rules.then")
    (kept,) = load.folder.iterdir()
    assert (kept.stat().st_mode & 0o777, load.folder.stat().st_mode & 0o777) == (0o600, 0o700)
    kept.chmod(0o666)
    load(project / "rules.then")
    assert not load.was_cached()


def test_a_folder_that_cannot_be_written_keeps_nothing_and_breaks_nothing(project: Path, load: Loads) -> None:
    load.folder.write_text("a file stands where the folder would be")
    load(project / "rules.then")
    load(project / "rules.then")
    assert not load.was_cached()


def test_the_load_that_was_used_longest_ago_goes_first(
    project: Path, load: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "FILES_MAX", 2)
    for number, name in enumerate(("a", "b", "c")):
        (project / f"{name}.then").write_text(LONG + text_of(3))
        load(project / f"{name}.then")
        for kept in load.folder.iterdir():
            if kept.stat().st_mtime > 1_000_000:
                os.utime(kept, (number, number))
    load(project / "c.then")
    assert load.was_cached()
    load(project / "a.then")
    assert not load.was_cached()


def test_the_folder_is_where_caches_of_a_user_are() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/somewhere"}) == Path("/somewhere/andthen")
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == Path("~/.cache/andthen").expanduser()
    assert cache_folder({}) == Path("~/.cache/andthen").expanduser()
