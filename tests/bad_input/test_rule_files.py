"""Files of rules, careless or hostile: refused with a place and what would be right, exit code 2, no state made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.shell import Said, Shell

HEAD = 'event go(n: any)\ntask x(s: str) run process ["true"]\n'
DEEP = 100_000


def refused(shell: Shell, name: str, data: str | bytes) -> str:
    """What `run` says of a file that does not load; it ends with 2, shortly, and leaves no state."""
    (shell.folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    said = shell("run", name, "go")
    assert (said.code, said.out) == (2, "")
    assert "Traceback" not in said.err
    assert len(said.err) < 2_000
    assert not (shell.folder / ".then").exists()
    return said.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rle a when go then x()", '3:1: found "rle" (did you mean "rule"?)'),
        ("rule a wen go then x()", '3:8: found "wen" (did you mean "when"?)'),
        ('rule a when go then y(s: "a")', '3:21: unknown task or event "y"'),
        ("event git(n: int)\nrule a when git as g then x(s: g.n)", "4:32: x(s: …) is str; g.n is int"),
        ("start go(n: 99999999999999999999)", "3:13: the number 99999999999999999999 is beyond 64 bits"),
        ("start go(n: 1e999)", "3:13: the number 1e999 is too large"),
        ("let x = 9223372036854775807 * 9", "3:9: this has no value: 9223372036854775807 * 9 is beyond 64 bits"),
        ("task t(n: int) limit -1 at once", '3:22: found "-"; here must stand a whole number'),
        ("task t(n: int) limit 0 at once", "is a whole number from 1 to 1,000,000; here is 0"),
        ("rule a when go then call y(n: 1)", '3:26: unknown procedure "y"'),
        ("every 0s start go(n: 1)", "3:7: every 0s: the shortest period is 1ms"),
        ('use "nope.then"', '3:5: no file "nope.then"'),
        ('use "../../../etc/passwd"', '3:5: "../../../etc/passwd" leads out of the project\'s root'),
        ('use "/etc/passwd"', "3:5: '/etc/passwd' is no path relative to this file"),
        ('use "a\\u0000b"', "3:5: 'a\\x00b' is no path relative to this file"),
        ('use "."', '3:5: "." is no file of rules'),
        ('load x from "../../etc/passwd"', '3:13: "../../etc/passwd" leads out of the project\'s root'),
        ("rule a when go where str(n) matches /(a+/ then go(n: 1)", "regex /(a+/: missing )"),
        ("rule a when go where str(n) matches /((a{1000}){1000}){1000}/ then go(n: 1)", "repetition size"),
        (f"rule a when go where str(n) matches /{'a' * DEEP}/ then go(n: 1)", "a regex of 100000 characters; 10000 at most"),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_with_its_place_and_what_would_be_right(shell: Shell, text: str, message: str) -> None:
    said = refused(shell, "r.then", HEAD + text + "\n")
    assert message in said
    assert said.startswith("r.then:")
    assert "^" in said


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"event go()\n\0\n", "r.then:2:1: a NUL character; this is no text"),
        (b"event go()\n# caf\xe9\n", "r.then:2:6: the byte 0xe9 is no UTF-8; save the file as UTF-8"),
        ("event go()\n".encode("utf-16"), "r.then:1:1: the byte 0xff is no UTF-8"),
        ("event go()\n# \u202e evil\n".encode(), "r.then:2:3: the character U+202E turns the direction"),
        ('event go(s: str = "\u2066x")\n'.encode(), "r.then:1:20: the character U+2066 turns the direction"),
        ("event g\u043e()\n".encode(), "r.then:1:8: "),
    ],
    ids=["nul", "latin-1", "utf-16", "bidi", "bidi in a text", "homoglyph"],
)
def test_a_file_that_is_no_text_or_shows_another_than_it_is_is_refused(shell: Shell, data: bytes, message: str) -> None:
    assert message in refused(shell, "r.then", data)


@pytest.mark.parametrize(
    "text",
    [
        "rule a when go where " + "(" * DEEP + "n == 1" + ")" * DEEP + " then go(n: 2)",
        "rule a when go where " + "not " * DEEP + "n == 1 then go(n: 2)",
        "start go(n: " + "[" * DEEP + "]" * DEEP + ")",
        "start go(n: " + "-" * DEEP + "1)",
        "start go(n: " + "1+" * DEEP + "1)",
        "event deep(n: " + "list[" * DEEP + "int" + "]" * DEEP + ")",
        "rule a when go then " + "go(n: 1) if true otherwise " * DEEP + "go(n: 1)",
        "start go(n: " + "[" * DEEP,
    ],
    ids=["parentheses", "not", "lists", "minus", "sum", "type", "otherwise", "open"],
)
def test_nesting_of_a_hundred_thousand_is_refused_where_it_becomes_too_deep(shell: Shell, text: str) -> None:
    said = refused(shell, "r.then", HEAD + text + "\n")
    assert said.startswith("r.then:3:")
    assert "more than 64" in said or "nested deeper than 64 levels" in said


def test_files_that_use_each_other_are_shown_as_the_chain_that_they_are(shell: Shell) -> None:
    shell.write("b.then", 'use "c.then"\nevent b()\n')
    shell.write("c.then", 'use "r.then"\nevent c()\n')
    assert "c.then:1:5: files use each other: r.then uses b.then uses c.then uses r.then\n" in refused(
        shell, "r.then", 'use "b.then"\nevent go()\n'
    )


def test_a_file_that_uses_itself_says_so(shell: Shell) -> None:
    assert "files use each other: r.then uses r.then" in refused(shell, "r.then", 'use "r.then"\nevent go()\n')


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.json", '{"a": NaN}', "x.json: no JSON: "),
        ("x.json", "[" * DEEP, "x.json: no JSON: "),
        ("x.json", '{"a": 99999999999999999999}', "64 bits"),
        ("x.json", '{"a": 1,\n "a": 2}', 'x.json: 2:2: the key "a" is there twice'),
        ("x.toml", "a = " + "[" * DEEP, "x.toml: no TOML: "),
        ("x.toml", "a = nan", "x.toml: $.a: nan is no JSON number"),
        ("x.yaml", "a: &a [1]\nb: *a\n", "anchors and aliases are not read here"),
        ("x.yaml", "a: 1\na: 2\n", 'the key "a" is there twice'),
    ],
    ids=["nan", "deep", "large", "twice in JSON", "deep toml", "nan in toml", "alias", "twice"],
)  # fmt: skip
def test_values_that_no_record_could_hold_are_not_loaded(shell: Shell, name: str, data: str, message: str) -> None:
    (shell.folder / name).write_text(data)
    assert message in refused(shell, "r.then", f'load x from "{name}"\nevent go()\n')


@pytest.mark.slow
def test_ten_megabytes_load_and_ten_megabytes_of_nonsense_are_refused_in_one_line(shell: Shell) -> None:
    shell.write("r.then", ("# " + "y" * 78 + "\n") * 130_000 + "event go()\n")
    assert shell("run", "r.then", "go").code == 0
    shell.write("long.then", "event go() # " + "y" * 10_000_000)
    assert shell("run", "long.then", "go").code == 0
    for text in ("x" * 10_000_000, "(" * 10_000_000, '"' * 1_000_001):
        shell.write("r.then", text)
        said = shell("run", "r.then", "go")
        assert said.code == 2
        assert said.err.startswith("r.then:1:1: found ")
        assert len(said.err) < 1_000


@pytest.mark.slow
def test_more_than_64_mebibytes_are_refused_without_being_read(shell: Shell) -> None:
    with (shell.folder / "r.then").open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    said = shell("run", "r.then", "go")
    assert (said.code, said.err) == (2, 'andthen: "r.then" is larger than 64 MiB\n')


def test_recursion_without_end_holds_its_flow_and_names_the_cycle(shell: Shell) -> None:
    shell.write("r.then", """
event go(n: int)
task note(n: int)
  run process ["true"]
procedure deeper(n: int)
  first note(n: n)
  when note done as d then call deeper(n: d.n + 1)
end
procedure round(n: int)
  first call round(n: n)
end
rule a when go as g where n == 1 then call deeper(n: 1)
rule b when go as g where n == 2 then call round(n: 1)
""")  # fmt: skip
    said = shell("run", "r.then", "go", "n=1", "--guard", "call-depth=5")
    assert said.code == 4
    assert "5 calls in one another: deeper" in said.out + said.err
    said = shell("run", "r.then", "go", "n=2", "--guard", "idle-events=50")
    assert said.code == 4
    assert "50 events in a row without a task that ran: round" in said.out + said.err


# -- YAML ---------------------------------------------------------------------------


def yaml_rule(then: str, when: str = "{type: go}") -> str:
    return f"rules:\n  - name: a\n    when: {when}\n    then: {then}\n"


LAUGHS = 'a: &a ["lol", "lol"]\n' + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS + "rules: *j\n", 'r.yaml:1:4: the anchor "&a"; anchors and aliases are not read here: write it out'),
        ("rules: " + "[" * 50_000, "r.yaml:1:71: nested deeper than 64 levels"),
        ("rules:\n  " + "- " * 50_000, "r.yaml:2:129: nested deeper than 64 levels"),
        ("rules:\n  " + "{a: " * 50_000, "r.yaml:2:"),
        ("rules:\n  - name: a\n    when: {type: go}\n    name: b\n", 'r.yaml:4:5: the key "name" is there twice'),
        ("x: {a: 1}\nrules:\n  - <<: {name: a}\n", "r.yaml:3:5: a merge key"),
        ('rules: !!python/object/apply:os.system ["touch pwned"]\n', "r.yaml:1:8: the tag"),
        (yaml_rule("[{type: x, body: {n: .nan}}]"), "r.yaml:4:32: .nan is no JSON number"),
        (yaml_rule("[{type: x, body: {n: 99999999999999999999}}]"), "r.yaml:4:32: an integer beyond 64 bits"),
        ("rules: 3\n", "r.yaml:1:8: rules takes a list"),
        ("rules:\n  - 3\n", "r.yaml:2:5: a rule is a mapping"),
        ("", "r.yaml:1:1: a file of rules is a mapping"),
        ("rules:\n\t- name: a\n", "r.yaml:2:1: no YAML: "),
        ("rules:\n  - name: \0\n", "r.yaml:2:11: a NUL character"),
        ('rules:\n  - name: "\u202e"\n', "r.yaml:2:12: the character U+202E"),
        ("tasks: {t: {limit: -1}}\nrules: []\n", 'r.yaml:1:20: found "-"; here must stand a whole number'),
        (yaml_rule("[]", "{tpye: go}"), 'unknown key "tpye" (did you mean "type"?)'),
    ],
)
def test_yaml_that_is_a_trap_is_refused_with_its_place(shell: Shell, text: str, message: str) -> None:
    assert message in refused(shell, "r.yaml", text)
    assert not (shell.folder / "pwned").exists()


def test_norway_is_a_text_in_yaml_and_so_are_times_and_leading_zeros_a_number_of_ten(shell: Shell) -> None:
    shell.write("r.then", 'event go(land: str)\nevent note(a: any, b: any, c: any)\nuse "r.yaml"\n')
    shell.write(
        "r.yaml",
        yaml_rule("[{type: note, body: {a: NO, b: 12:30:00, c: 010}}]", "{type: go, where: {land: NO}}"),
    )
    said = shell("run", "r.then", "go", "land=NO", "--json")
    assert said.code == 0
    assert said.objects[1]["body"] == {"a": "NO", "b": "12:30:00", "c": 10}


# -- Python --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1/0\n", "r.py:1:1: ZeroDivisionError: division by zero"),
        ("def f(:\n", "r.py:1:"),
        ("x = 1\n", "r.py"),
        ("import no_such_module_here\n", "no_such_module_here"),
        ("import sys\nsys.exit()\n", "r.py:2:1: SystemExit"),
        ("import then\nrules = 3\n", "r.py"),
        ("import then\nrules = then.Rules()\n@rules.when('go')\nasync def a(go): yield 1\n", '"a" is `async def`'),
        ("import then\nrules = then.Rules()\nrules.event('../go')\n", "is no name"),
        ("import then\nrules = then.Rules()\nrules.event('go', n='nope')\n", "nope"),
        ("\0\n", "r.py:1"),
        ("# \xff".encode("latin-1").decode("latin-1") + "\n'\\ud800'\nx", "r.py"),
    ],
    ids=["raises", "syntax", "nothing", "import", "exit", "no rules", "async", "name", "type", "nul", "name error"],
)  # fmt: skip
def test_rules_in_python_that_do_not_load_say_where(shell: Shell, text: str, message: str) -> None:
    assert message in refused(shell, "r.py", text)


def test_a_path_that_holds_no_rules_says_so(shell: Shell) -> None:
    (shell.folder / "empty").mkdir()
    shell.write("notes.txt", "hello")
    shell.fifo("pipe.then")
    for path in ("absent.then", "empty", "notes.txt", "pipe.then", "x" * 300):
        said: Said = shell("run", path, "go")
        assert (said.code, said.out) == (2, ""), path
        assert said.err.startswith("andthen: ")
        assert "fault of andthen" not in said.err


@pytest.mark.parametrize("command", [["run"], ["check"], ["check", "--json"], ["check", "--order"], ["fmt"]])
def test_a_path_where_nothing_is_is_usage_whatever_was_to_be_done_with_it(shell: Shell, command: list[str]) -> None:
    """`check` counted it as an error in rules: 1."""
    said = shell(*command, "absent.then")
    assert (said.code, said.out) == (2, "")
    assert said.err == 'andthen: no file or folder "absent.then"\n'


PYTHON_MISTAKES = {
    "rules.when('a', 'doen')(print)": '2:1: "doen" is no outcome (did you mean "done"?); one of done,',
    "rules.event('a', x=int); rules.event('a')": '2:1: declaration "a" is there twice (the other is at rules/rules.py:2:1)',
    "rules.event('a', x=set)": "2:1: <class 'set'> is no type of a field",
    "rules.event('no name')": "2:1: event 'no name' is no name",
    "rules.bind('a')": "2:1: AttributeError: 'Rules' object has no attribute 'bind'",
    "def f(": "2:6: '(' was never closed (Python)",
}


@pytest.mark.parametrize("text", PYTHON_MISTAKES)
@pytest.mark.parametrize("path", ["rules", "rules/rules.py"])
def test_mistakes_in_python_are_placed_by_the_path_that_was_given(shell: Shell, path: str, text: str) -> None:
    """Some named the file from the root of the disk, some from here, some not at all."""
    shell.write("rules/rules.py", f"import then; rules = then.Rules()\n{text}\n")
    said = shell("check", path)
    assert said.code == 1
    assert (
        said.out.replace("error T100: ", "")
        .replace("error T103: ", "")
        .startswith(f"rules/rules.py:{PYTHON_MISTAKES[text]}")
    ), said.out


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("r.then", 'event go()\ntask a() run process ["true"] needs {cores: 9999}\n', "r.then:2:38:"),
        (
            "r.py",
            "import then; rules = then.Rules(); rules.event('go')\nrules.task('a', run=('process', ['true']), needs={'cores': 9999})\n",
            "r.py:2:1:",
        ),
    ],
)
def test_a_need_over_the_machine_is_an_error_with_its_place_before_anything_starts(
    shell: Shell, name: str, text: str, place: str
) -> None:
    shell.write(name, text)
    said = shell("run", name, "go")
    assert (said.code, said.out) == (2, "")
    assert f"{place} a: needs {{cores: 9999}}, and of this engine its cores are" in said.err
    found = shell("check", name)
    assert found.code == 1
    assert f"{place} error T117: a: needs {{cores: 9999}}, and of this engine its cores are" in found.out
    # On a machine that is larger it is none.
    assert shell("check", name, "-r", "cores=9999").code == 0


def test_check_tells_the_same_with_1(shell: Shell) -> None:
    path: Path = shell.write("r.then", "rle a when go then x()\n")
    said = shell("check", path.name, "--json")
    assert said.code == 1
    assert [json.loads(line)["line"] for line in said.out.splitlines()] == [1]
