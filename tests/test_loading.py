"""Files to rules: what is found, in which order, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from then.core.errors import DuplicateRule, RuleError, RulesRefused, RuleSyntaxError, UnknownName
from then.core.filters import Compare, Const
from then.core.rules import Emit, EventDecl, Rule, RuleSet, TaskDecl
from then.language.files import FILE_BYTES_MAX, decode
from then.language.findings import ERRORS_MAX, FileRefused, UseCycle
from then.language.loading import Loaded, check_path, load_path, load_stored, load_text

HELLO = """\
event greet(who: str)
task hello(who: str) run process ["echo", "hello {who}"]
rule on_greet when greet as g then hello(who: g.who)
"""


def write(folder: Path, **files: str) -> Path:
    """Files of a folder; `__` in a name is a dot, `_in_` a slash."""
    for name, text in files.items():
        path = folder / name.replace("_in_", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def load(path: Path, **env: str) -> Loaded:
    return load_path(path, env=env)


def names(loaded: Loaded) -> list[str]:
    return [rule.name for rule in loaded.rules]


def refused(path: Path, **env: str) -> list[str]:
    with pytest.raises(RulesRefused) as caught:
        load_path(path, env=env)
    return [
        error.text().split("\n")[0].replace(f"{path if path.is_dir() else path.parent}/", "")
        for error in caught.value.errors
    ]


def only_error(path: Path, kind: type[RuleError]) -> str:
    with pytest.raises(RulesRefused) as caught:
        load_path(path, env={})
    assert [type(error) for error in caught.value.errors] == [kind]
    return str(caught.value.errors[0])


def emitted(rule: Rule) -> list[Emit]:
    assert rule.consequence is not None
    return [act for step in rule.consequence.steps for act in step if isinstance(act, Emit)]


# -- a file, a folder --------------------------------------------------------


def test_a_file_gives_its_rules_its_root_and_its_text(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, hello__then=HELLO) / "hello.then")
    assert names(loaded) == ["on_greet"]
    assert loaded.root == tmp_path
    assert loaded.entry == "hello.then"
    assert loaded.rules.sources == {"hello.then": HELLO}


def test_places_are_named_as_the_user_named_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, sub_in_a__then="rule x when y then z()\n")
    monkeypatch.chdir(tmp_path)
    for given, shown in (
        ("sub/a.then", "sub/a.then:1:13"),
        ("sub", "sub/a.then:1:13"),
        ("./sub/a.then", "sub/a.then:1:13"),
    ):
        with pytest.raises(RulesRefused) as caught:
            load_path(Path(given), env={})
        assert str(caught.value.errors[0].span) == shown
    monkeypatch.chdir(tmp_path / "sub")
    with pytest.raises(RulesRefused) as caught:
        load_path(Path(), env={})
    assert str(caught.value.errors[0].span) == "a.then:1:13"


def test_a_folder_gives_its_rule_files_by_name_and_nothing_else(tmp_path: Path) -> None:
    def rule(name: str, event: str = "go") -> str:
        return f"rule {name} when {event} then go() if 1 > 2\n"

    write(
        tmp_path,
        b__then="event go()\n" + rule("b"),
        a__yaml="rules:\n  - {name: a, when: {type: go}, then: {type: go}}\n",
        limits__yaml="max: 3\n",
        z__then=rule("z"),
        deeper_in_c__then=rule("c"),
        notes__txt="rules: none",
        __hidden__then="nonsense",
    )
    (tmp_path / "folder.then").mkdir()
    assert names(load(tmp_path)) == ["a", "b", "z"]


def test_python_rules_stand_at_their_place_and_declare_for_all(tmp_path: Path) -> None:
    write(
        tmp_path,
        a__then="rule first when build done then go()\n",
        rules__py="",
        z__then="event go()\nrule last when build done where record.created > 0 then go()\n",
    )
    given = RuleSet(tasks={"build": TaskDecl("build")})
    parsed = load_text("event go()\nrule middle when go then go() if 1 > 2\n").rules
    given.add(parsed.rules[0])
    seen = []

    def load_python(path: Path) -> RuleSet:
        seen.append(path)
        return given

    loaded = load_path(tmp_path, env={}, load_python=load_python)
    assert names(loaded) == ["first", "middle", "last"]
    assert seen == [tmp_path / "rules.py"]


def test_python_is_refused_where_nobody_runs_it(tmp_path: Path) -> None:
    assert "is Python, which is not run here" in only_error(write(tmp_path, rules__py="") / "rules.py", FileRefused)


@pytest.mark.parametrize(
    ("files", "path", "said"),
    [
        ({}, "gone.then", "no file or folder"),
        ({}, ".", "no rules in the folder"),
        ({"a.txt": "x"}, "a.txt", '.txt" is no file of rules: .then, .yaml with the key rules, .py, or a folder'),
        ({"a.yaml": "max: 1\n"}, "a.yaml", "a file of rules has the key rules"),
    ],
)
def test_what_is_no_rules_is_refused(tmp_path: Path, files: dict[str, str], path: str, said: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RulesRefused, match=said.replace("(", r"\(").replace(".", r"\.")):
        load(tmp_path / path)


def test_errors_of_all_files_come_in_one_run_in_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        a__then="event a()\nrule x when b then a()\nrule y when c then a()\n",
        b__then="rule z when a then d()\n",
    )
    assert refused(tmp_path) == [
        'a.then:2:13: unknown task or event "b"',
        'a.then:3:13: unknown task or event "c"',
        'b.then:1:20: unknown task or event "d"',
    ]


def test_syntax_errors_of_all_files_come_in_one_run_and_names_wait_for_them(tmp_path: Path) -> None:
    write(tmp_path, a__then="rul x when y then z()\n", b__then="event b(\n", c__then="rule x when nobody then b()\n")
    found = refused(tmp_path)
    assert [line.split(":")[0] for line in found] == ["a.then", "b.then"]


def test_very_many_errors_are_not_all_looked_for(tmp_path: Path) -> None:
    text = "event a()\n" + "".join(f"rule r{i} when b then a()\n" for i in range(ERRORS_MAX + 11))
    assert len(refused(write(tmp_path, a__then=text))) == ERRORS_MAX


def test_a_line_of_megabytes_is_shown_where_it_matters() -> None:
    text = "event a() " + "rule r when a then b() " * 3 + "# " + "x" * 1_000_000
    with pytest.raises(RulesRefused) as caught:
        load_text(text)
    for error in caught.value.errors[:3]:
        assert error.span is not None
        line, caret = error.text().split("\n")[1:]
        assert len(line) < 200
        assert line[caret.index("^") :].startswith(text[error.span.column - 1 :][: error.span.length])


def test_check_gives_errors_and_warnings(tmp_path: Path) -> None:
    path = write(tmp_path, a__then='let a = 1\nevent e(a: int)\nrule x when e where a > 1 and b then e(a: "1")\n')
    found = [
        (finding.severity, finding.number, finding.span.line if finding.span else 0)
        for finding in check_path(path, env={})
    ]
    assert found == [("warning", "T606", 3), ("error", "T102", 3), ("error", "T105", 3)]
    with pytest.raises(RulesRefused, match='no file or folder "'):
        check_path(tmp_path / "gone", env={})


# -- use ----------------------------------------------------------------------


def test_use_puts_rules_at_its_place_and_each_file_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        main__then='event e()\nrule one when e then e() if 1 > 2\nuse "lib/b.then"\nuse "lib/c.then"\nrule two when e then e() if 1 > 2\n',
        lib_in_b__then='use "c.then"\nrule b when e then e() if 1 > 2\n',
        lib_in_c__then="rule c when e then e() if 1 > 2\n",
    )
    loaded = load(tmp_path / "main.then")
    assert names(loaded) == ["one", "c", "b", "two"]
    assert loaded.files == ("main.then", "lib/b.then", "lib/c.then")


def test_use_of_names_takes_them_and_what_they_need_and_no_rules(tmp_path: Path) -> None:
    write(
        tmp_path,
        main__then='use pay, limit from "lib.then"\nuse placed from "lib.then"\nrule r when placed as o then pay(order: {id: limit, items: []})\n',
        lib__then=(
            'use "deep.then"\nlet limit = 3\ntask pay(order: order)\ntask other()\nrecord order(id: int, items: list[item])\n'
            "event placed()\nrule lib when placed then other()\n"
        ),
        deep__then="record item(sku: str)\nrecord unused(x: int)\nrule deep when placed then other()\n",
    )
    loaded = load(tmp_path / "main.then")
    assert names(loaded) == ["r"]
    assert set(loaded.rules.tasks) == {"pay"}
    assert set(loaded.rules.records) == {"order", "item"}
    assert set(loaded.rules.events) == {"placed"}


def test_a_name_that_a_file_does_not_declare_is_not_taken_from_it(tmp_path: Path) -> None:
    write(tmp_path, main__then='use pya from "lib.then"\n', lib__then="task pay()\n")
    assert refused(tmp_path / "main.then") == [
        'main.then:1:5: unknown declaration of lib.then "pya" (did you mean "pay"?)'
    ]


def test_a_file_may_be_taken_in_part_and_then_whole(tmp_path: Path) -> None:
    write(
        tmp_path,
        main__then='use pay from "lib.then"\nrule r when e then pay()\nuse "lib.then"\n',
        lib__then="task pay()\nevent e()\nrule lib when e then pay() if 1 > 2\n",
    )
    assert names(load(tmp_path / "main.then")) == ["r", "lib"]


def test_constants_come_along_with_use(tmp_path: Path) -> None:
    write(
        tmp_path,
        main__then='use "lib.then"\nlet b = a + 1\nevent e(n: int)\nrule r when e then e(n: b) if e.x == b\n'.replace(
            "e.x == b", "b > 9"
        ),
        lib__then="let a = 1\nlet b = 7\n",
    )
    (emit,) = emitted(load(tmp_path / "main.then").rules.rules[0])
    assert emit.args == (("n", Const(2, "b")),)


def test_a_circle_of_use_is_shown_whole(tmp_path: Path) -> None:
    write(tmp_path, a__then='use "b.then"\n', b__then='use "sub/c.then"\n', sub_in_c__then='use "../a.then"\n')
    with pytest.raises(RulesRefused) as caught:
        load(tmp_path / "a.then")
    (error,) = caught.value.errors
    assert isinstance(error, UseCycle)
    assert [Path(file).name for file in error.chain] == ["a.then", "b.then", "c.then", "a.then"]
    assert str(error.span).endswith("sub/c.then:1:5")


def test_a_file_that_uses_itself_by_name_is_a_circle_too(tmp_path: Path) -> None:
    only_error(write(tmp_path, a__then='use x from "a.then"\n') / "a.then", UseCycle)
    write(tmp_path, a__then='use x from "b.then"\n', b__then='use y from "a.then"\nevent x()\n')
    only_error(tmp_path / "a.then", UseCycle)


def test_files_that_use_files_have_a_limit(tmp_path: Path) -> None:
    for i in range(70):
        (tmp_path / f"f{i}.then").write_text(f'use "f{i + 1}.then"\n')
    (tmp_path / "f70.then").write_text("event e()\n")
    assert "64 deep" in only_error(tmp_path / "f0.then", FileRefused)


@pytest.mark.parametrize(
    "path", ["../up.then", "/etc/passwd", "sub/../../up.then", "link.then", "linked/up.then", "a\\u0000.then"]
)
def test_nothing_outside_the_root_is_used(tmp_path: Path, path: str) -> None:
    write(tmp_path, up__then="event e()\n", root_in_main__then=f'use "{path}"\n')
    os.symlink(tmp_path / "up.then", tmp_path / "root/link.then")
    os.symlink(tmp_path, tmp_path / "root/linked")
    message = only_error(tmp_path / "root/main.then", FileRefused)
    assert "main.then:1:5: " in message
    assert "out of the project's root" in message or "is no path relative to this file" in message


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    write(tmp_path, real__then="event e()\n", main__then='use "link.then"\n')
    os.symlink("real.then", tmp_path / "link.then")
    assert set(load(tmp_path / "main.then").rules.events) == {"e"}


def test_python_is_not_used_by_declarative_files(tmp_path: Path) -> None:
    write(tmp_path, main__then='use "rules.py"\n', rules__py="")
    assert "`use` takes .then and .yaml files" in only_error(tmp_path / "main.then", FileRefused)


# -- names over all files -------------------------------------------------------


def test_twins_are_refused_with_both_places(tmp_path: Path) -> None:
    write(
        tmp_path, a__then="event e()\nrule r when e then e() if 1 > 2\n", b__then="\nrule r when e then e() if 1 > 2\n"
    )
    message = only_error(tmp_path, DuplicateRule)
    assert "b.then:2:6: " in message
    assert "a.then:2:6)" in message
    assert "    rule r when e" in message


def test_rules_that_are_there_already_count(tmp_path: Path) -> None:
    known = load_text(HELLO, "known.then").rules
    loaded = load_text("rule more when greet as g then hello(who: g.who)\n", known=known)
    assert names(loaded) == ["more"]
    assert not loaded.rules.tasks
    with pytest.raises(RulesRefused, match=r"on_greet.*known\.then:3:6"):
        load_text("rule on_greet when greet as g then hello(who: g.who)\n", known=known)
    with pytest.raises(RulesRefused, match="is there twice"):
        load_text("event greet()\n", known=known)


def test_what_is_known_may_be_python_without_types() -> None:
    known = RuleSet(tasks={"build": TaskDecl("build")}, events={"e": EventDecl("e", ())})
    load_text(
        "rule r when e then build(anything: 1)\nrule s when build done as b where body.x == 1 then e()\n", known=known
    )
    with pytest.raises(RulesRefused, match=r"what build holds is not declared: write body\.x or result\.x"):
        load_text("rule s when build done as b where x == 1 then e()\n", known=known)


# -- let and load ------------------------------------------------------------------


def test_the_environment_is_read_at_load_and_kept_with_the_version(tmp_path: Path) -> None:
    text = 'let region = env("REGION") ?? "eu"\nevent e(r: str)\nrule r when e then e(r: region) if 1 > 2\n'
    path = write(tmp_path, a__then=text) / "a.then"
    first = load(path)
    second = load(path, REGION="us")
    assert emitted(first.rules.rules[0])[0].args == (("r", Const("eu", "region")),)
    assert emitted(second.rules.rules[0])[0].args == (("r", Const("us", "region")),)
    assert first.rules.sources == {"a.then": text, "a.then#region": '"eu"'}
    assert second.rules.sources == {"a.then": text, "a.then#region": '"us"'}


def test_a_version_is_loaded_again_from_what_the_journal_keeps(tmp_path: Path) -> None:
    write(
        tmp_path,
        main__then=(
            'use "lib/b.then"\nload limits from "limits.yaml"\nlet region = env("REGION")\nevent e(r: str, n: int)\n'
            "start e(r: region, n: limits.max)\nrule r when e as e where n < limits.max then e(r: region, n: 1)\n"
        ),
        lib_in_b__then="event other()\nrule b when other then other() if 1 > 2\n",
        limits__yaml="max: 7\n",
    )
    first = load(tmp_path / "main.then", REGION="us")
    assert first.files == ("main.then", "lib/b.then", "limits.yaml")
    kept = json.loads(json.dumps(first.rules.sources))
    again = load_stored(kept, first.entry, root=first.root)
    assert again.rules == first.rules
    folder = write(tmp_path / "folder", a__then="event e()\n", b__yaml="rules: []\n", c__yaml="x: 1\n")
    first = load(folder)
    again = load_stored(first.rules.sources, first.entry, root=folder)
    assert again.rules == first.rules
    with pytest.raises(RulesRefused, match="is not in the version of the rules that the journal holds"):
        load_stored({}, "main.then", root=tmp_path)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("limits.yaml", "max: 100\nblocked: [7, NO, 12:30:00, 010]\nday: 2026-01-05\n"),
        ("limits.json", '{"max": 100, "blocked": [7, "NO", "12:30:00", 10], "day": "2026-01-05"}'),
        ("limits.toml", 'max = 100\nblocked = [7, "NO", 12:30:00, 10]\nday = 2026-01-05\n'),
    ],
)
def test_data_is_read_from_yaml_json_and_toml(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).write_text(text)
    rules = f"""\
load limits from "{file}"
event e(n: int, day: str)
rule r when e where n <= limits.max and n not in limits.blocked and n == limits.blocked[0] then e(n: 1, day: limits.day)
"""
    loaded = load(write(tmp_path, a__then=rules) / "a.then")
    (rule,) = loaded.rules
    assert rule.pattern.where is not None
    first, second, third = rule.pattern.where.parts  # type: ignore[union-attr]
    assert isinstance(first, Compare)
    assert first.right == Const(100, "limits.max")
    assert second.of.container == Const([7, "NO", "12:30:00", 10], "limits.blocked")  # type: ignore[union-attr]
    assert third.right == Const(7, "limits.blocked[0]")  # type: ignore[union-attr]
    assert emitted(rule)[0].args[1] == ("day", Const("2026-01-05", "limits.day"))
    assert loaded.rules.sources[file] == text


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("x.yaml", "a: [1\n", "no YAML"),
        ("x.yaml", "a: 1\na: 2\n", 'x.yaml:2:1: the key "a" is there twice'),
        ("x.yaml", "[" * 50_000, "nested deeper than 64 levels"),
        ("x.json", "{", "no JSON"),
        ("x.json", "[" * 50_000, "no JSON"),
        ("x.json", "[1e999]", "no JSON"),
        ("x.json", "[99999999999999999999]", "64 bits"),
        ("x.json", "[" * 70 + "]" * 70, "nested deeper than 64 levels"),
        ("x.toml", "a = ", "no TOML"),
        ("x.toml", "a = nan", "is no JSON number"),
        ("x.toml", "a = " + "[" * 50_000, "no TOML"),
        ("x.ini", "", "is no file of data: .yaml, .json or .toml"),
        ("gone.yaml", None, "no file"),
    ],
)
def test_data_that_cannot_be_read_is_refused(tmp_path: Path, file: str, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / file).write_text(text)
    write(tmp_path, a__then=f'load x from "{file}"\nevent e(n: int)\nrule r when e then e(n: x.y) if 1 > 2\n')
    (message,) = refused(tmp_path / "a.then")
    assert said in message


def test_a_path_that_a_loaded_value_does_not_have_is_refused(tmp_path: Path) -> None:
    write(
        tmp_path,
        l__yaml="max: {a: 1}\nlist: [1]\n",
        a__then='load l from "l.yaml"\nlet a = l.max.b\nlet b = l.list[1]\nlet c = l.mx\n',
    )
    assert refused(tmp_path / "a.then") == [
        'a.then:2:9: unknown value of l.max "b"',
        'a.then:3:9: unknown value of l.list "1"',
        'a.then:4:9: unknown value of l "mx" (did you mean "max"?)',
    ]


# -- texts ---------------------------------------------------------------------------


def test_line_ends_and_byte_order_marks_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.then").write_bytes(b"\xef\xbb\xbf" + HELLO.replace("\n", "\r\n").encode())
    assert names(load(tmp_path / "a.then")) == ["on_greet"]


@pytest.mark.parametrize(
    ("data", "place", "said"),
    [
        (b"event a()\nevent \xff()\n", "2:7", "the byte 0xff is no UTF-8"),
        (
            b"\xef\xbb\xbfevent \xff()\n",
            "1:7",
            "the byte 0xff is no UTF-8; save the file as UTF-8 (it is byte 10 of the file)",
        ),
        (b"event a() # \x1b[2J\n", "1:13", "the control character U+001B, which a terminal obeys"),
        ("event a()\n# é\0\n".encode(), "2:4", "a NUL character"),
        ("event a() # \u202e\n".encode(), "1:13", "the character U+202E turns the direction"),
    ],
)
def test_bytes_that_are_no_text_are_refused_with_their_place(
    tmp_path: Path, data: bytes, place: str, said: str
) -> None:
    (tmp_path / "a.then").write_bytes(data)
    message = only_error(tmp_path / "a.then", RuleSyntaxError)
    assert f"a.then:{place}: {said}" in message


def test_a_file_has_a_largest_size() -> None:
    with pytest.raises(FileRefused, match="larger than 64 MiB"):
        decode(b" " * (FILE_BYTES_MAX + 1), "a.then")


def test_a_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(RulesRefused, match="is no name: 1 to 128"):
        load_text(f"event {'a' * 129}()\n")


def test_unknown_names_are_kept_as_such() -> None:
    with pytest.raises(RulesRefused) as caught:
        load_text("rule r when e then e()\n")
    assert {type(error) for error in caught.value.errors} == {UnknownName}
    assert caught.value.exit_code == 2


def test_events_of_files_that_are_used_are_there_for_others_too(tmp_path: Path) -> None:
    write(tmp_path, main__then='use "lib.then"\nevent own()\n', lib__then="event lib()\n")
    assert [finding.message for finding in load(tmp_path / "main.then").findings] == [
        'nothing waits for "own" and nothing emits it'
    ]
