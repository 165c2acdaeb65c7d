"""`andthen test`: what it prints, writes and ends with."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.shell import Shell

RULES = """
event order(id: int, total: float)
task pay(order: int) -> (receipt: str)
  run process ["pay", "{order}"]
task ship(order: int)
  run process ["ship"]

rule start
  when order as o where total > 0
  then pay(order: o.id)
  then ship(order: o.id)

rule free
  when order as o where total == 0
  then ship(order: o.id)

test "paid orders are shipped"
  stub pay done (receipt: "r1")
  post order(id: 1, total: 10)
  expect ship(order: 1) once by rule start/1
end
"""

FAILING = """
test "a second order <waits> & sees"
  post order(id: 2, total: 10)
  expect ship(order: 2)
  expect no pay
end
"""


def test_a_line_a_test_then_what_was_not_seen_then_the_count(shell: Shell) -> None:
    shell.write("shop.then", RULES)
    said = shell("test", "shop.then")
    assert said.code == 0
    assert said.out.splitlines() == [
        "passed  paid orders are shipped",
        "shop.then:8:25: not covered: `total > 0` of rule start was never false",
        "shop.then:12:6: not covered: rule free never fired",
        "shop.then:13:25: not covered: `total == 0` of rule free was never true",
    ]
    assert said.err.startswith("1 passed in ")


def test_a_failed_test_is_told_below_its_name_with_the_place_first(shell: Shell) -> None:
    shell.write("shop.then", RULES + FAILING)
    said = shell("test", "shop.then", "-k", "SECOND")
    assert said.code == 1
    assert said.out.splitlines() == [
        "FAILED  a second order <waits> & sees",
        "shop.then:24:3: expected ship(order: 2), got none",
        "    rule      start/1 waits for pay",
        "    rule      free did not fire: on order(id: 2, total: 10), `total == 0` is false (total is 10)",
        "    emitted   pay 1",
        '    running   pay, unanswered: `stub pay done (receipt: "…")` would answer',
        "shop.then:25:3: expected no pay, got 1",
        "    got       pay(order: 2) by rule start",
        "",
    ]
    assert said.err.startswith("1 failed in ")


def test_json_is_an_object_a_test_and_at_last_the_count_and_the_rules(shell: Shell) -> None:
    shell.write("shop.then", RULES + FAILING)
    said = shell("test", "shop.then", "--json")
    assert said.code == 1
    assert said.err == ""
    first, second, last = said.objects
    assert first == {
        "test": "paid orders are shipped", "file": "shop.then", "line": 16, "column": 6, "outcome": "passed",
        "failures": [],
    }  # fmt: skip
    assert second["outcome"] == "failed"
    (missing, surplus) = second["failures"]
    assert (missing["file"], missing["line"], missing["column"]) == ("shop.then", 24, 3)
    assert (missing["expected"], missing["got"], missing["nearest"]) == ("ship(order: 2)", [], None)
    assert surplus["got"] == [{"type": "pay", "body": {"order": 2}, "rule": "start", "outcome": None}]
    assert (last["passed"], last["failed"]) == (1, 1)
    assert [(rule["rule"], rule["fired"], rule["steps"]) for rule in last["rules"]] == [
        ("start", 2, {"start/1": 1}),
        ("free", 0, {}),
    ]
    assert [(clause["clause"], clause["was_true"], clause["was_false"]) for clause in last["rules"][0]["clauses"]] == [
        ("total > 0", True, False)
    ]


def test_junit_is_what_build_servers_read(shell: Shell) -> None:
    shell.write("shop.then", RULES + FAILING)
    assert shell("test", "shop.then", "--junit", "out.xml").code == 1
    root = ET.parse(shell.folder / "out.xml").getroot()
    assert (root.tag, root.get("tests"), root.get("failures"), root.get("errors")) == ("testsuites", "2", "1", "0")
    (suite,) = root
    assert (suite.get("name"), suite.get("file"), suite.get("tests")) == ("shop.then", "shop.then", "2")
    passed, failed = suite
    # Jenkins passes over a file in which a case has an attribute beside these, such as `file`.
    assert sorted(passed.attrib) == ["classname", "name", "time"]
    assert (passed.get("name"), passed.get("classname")) == ("paid orders are shipped", "shop.then")
    assert passed.find("failure") is None
    assert failed.get("name") == "a second order <waits> & sees"
    failure = failed.find("failure")
    assert failure is not None
    assert failure.get("message") == "expected ship(order: 2), got none"
    assert (failure.text or "").startswith("shop.then:24:3: expected ship(order: 2), got none\n")


def test_junit_that_cannot_be_written_ends_with_2(shell: Shell) -> None:
    shell.write("shop.then", RULES)
    said = shell("test", "shop.then", "--junit", "no/such/out.xml")
    assert said.code == 2
    assert "no/such/out.xml: no such file or directory" in said.err


def test_control_characters_reach_neither_terminal_nor_xml(shell: Shell) -> None:
    shell.write(
        "odd.then",
        'event go() task w(x: str) rule a when go then w(x: "\\u001b[2J\\u0000")\n'
        'test "it" post go() expect w(x: "y") end\n',
    )
    said = shell("test", "odd.then", "--junit", "out.xml")
    assert said.code == 1
    assert "\x1b" not in said.out
    ET.parse(shell.folder / "out.xml")


def test_the_tests_of_a_folder_are_those_of_its_files_in_order(shell: Shell) -> None:
    shell.write(
        "rules/b.then",
        'use "../lib/a.then"\ntest "two" post go() expect w once by rule start end\n'.replace("../lib", "lib"),
    )
    shell.write("rules/a.then", 'event other()\ntest "one" post other() end\n')
    shell.write(
        "rules/lib/a.then", 'event go() task w() rule start when go then w()\ntest "of the library" expect w end\n'
    )
    said = shell("test", "rules")
    assert (said.code, said.out.splitlines()) == (0, ["passed  one", "passed  two"])
    assert shell("test", "rules/lib/a.then").code == 1


def test_tests_of_a_folder_see_its_rules_in_python_and_yaml(shell: Shell) -> None:
    shell.write(
        "rules/a.then",
        'event go(n: int) task w(n: int) task x()\ntest "it" post go(n: 1) expect w(n: 2) once by rule add expect x once by rule why end\n',
    )
    shell.write("rules/b.yaml", "rules:\n  - {name: why, when: {type: go}, then: [{type: x}]}\n")
    shell.write(
        "rules/rules.py",
        """
        import then

        rules = then.Rules()


        @rules.when("go")
        def add(go):
            yield then.emit("w", n=go.body["n"] + 1)
        """.replace("\n        ", "\n"),
    )
    said = shell("test", "rules")
    assert (said.code, said.out.splitlines()[0]) == (0, "passed  it")


def test_rules_that_do_not_load_end_with_2(shell: Shell) -> None:
    shell.write("shop.then", RULES.replace("once by rule start/1", "once by rule begin/1"))
    said = shell("test", "shop.then")
    assert said.code == 2
    assert said.out == ""
    assert 'shop.then:19:38: unknown rule "begin"' in said.err


def test_check_finds_a_test_that_names_a_rule_that_is_gone(shell: Shell) -> None:
    shell.write("shop.then", RULES.replace("once by rule start/1", "once by rule begin/1"))
    said = shell("check", "shop.then")
    assert said.code == 1
    assert 'shop.then:19:38: error T102: unknown rule "begin"' in said.out


def test_a_text_that_no_test_has_ends_with_2(shell: Shell) -> None:
    shell.write("shop.then", RULES)
    said = shell("test", "shop.then", "-k", "refund")
    assert (said.code, said.out) == (2, "")
    assert 'no test of shop.then has "refund" in its name' in said.err


def test_rules_without_tests_say_so(shell: Shell) -> None:
    shell.write("plain.then", "event go()\nstart go()\n")
    said = shell("test", "plain.then")
    assert (said.code, said.out, said.err) == (0, "", "no tests in plain.then\n")


def test_nothing_is_run_and_no_state_is_made(shell: Shell) -> None:
    shell.write("shop.then", RULES)
    shell("test", "shop.then")
    assert [path.name for path in shell.folder.iterdir()] == ["shop.then"]


@pytest.mark.parametrize("path", ["missing.then", "missing"])
def test_a_path_that_is_not_there_ends_with_2(shell: Shell, path: str) -> None:
    assert shell("test", path).code == 2


def test_what_is_not_seen_is_told_to_a_bound(shell: Shell) -> None:
    rules = "event go(n: int) task w()\n" + "\n".join(f"rule r{n} when go where n == {n} then w()" for n in range(40))
    shell.write("many.then", f'{rules}\ntest "it" expect no w end\n')
    lines = shell("test", "many.then").out.splitlines()
    assert len(lines) == 32
    assert lines[-1] == "and 50 more that no test has seen; --json lists them all"


def test_paths_are_told_as_they_were_given(shell: Shell) -> None:
    shell.write("a/shop.then", RULES + FAILING)
    out = shell("test", str(Path("a", "shop.then"))).out
    assert "\na/shop.then:24:3: expected ship(order: 2), got none\n" in out
