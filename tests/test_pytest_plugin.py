"""The plugin for pytest: tests of `.then` files as items."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]

INSTALLED = any(point.value == "then.pytest_plugin" for point in entry_points(group="pytest11"))
"""Else it has to be named: the checkout runs as it lies there."""

SHOP = """\
event order(id: int)
task pay(order: int) -> (receipt: str)
  run process ["pay"]
task ship(order: int)
rule start when order as o then pay(order: o.id) then ship(order: o.id)
test "paid orders are shipped"
  stub pay done (receipt: "r1")
  post order(id: 1)
  expect ship(order: 1) once by rule start/1
end
test "orders are shipped"
  post order(id: 1)
  expect ship(order: 1)
end
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    named = () if INSTALLED else ("-p", "then.pytest_plugin")
    return pytester.runpytest(*named, "-p", "no:cacheprovider", *arguments)


def test_each_test_of_a_file_is_an_item(pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("shop.then").write_text(SHOP)
    result = run(pytester, "-v")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "shop.then::paid orders are shipped PASSED*",
            "shop.then::orders are shipped FAILED*",
        ]
    )


def test_a_failure_is_told_in_our_words_without_a_traceback(pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("shop.then").write_text(SHOP)
    result = run(pytester)
    result.stdout.fnmatch_lines(
        [
            '*test "orders are shipped"*',
            "shop.then:13:3: expected ship(order: 1), got none",
            "    rule      start/1 waits for pay",
            '    running   pay, unanswered: `stub pay done (receipt: "…")` would answer',
        ]
    )
    assert "Traceback" not in result.stdout.str()
    assert "pytest_plugin" not in "\n".join(result.outlines[3:])


def test_items_are_chosen_like_any(pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("shop.then").write_text(SHOP)
    run(pytester, "-k", "paid").assert_outcomes(passed=1, deselected=1)
    run(pytester, "shop.then::paid orders are shipped").assert_outcomes(passed=1)


def test_rules_that_do_not_load_are_an_error_of_collection_with_the_place(pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("shop.then").write_text(SHOP.replace("rule start/1", "rule begin"))
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(['shop.then:9:38: unknown rule "begin"*'])


def test_a_file_may_test_the_rules_in_python_that_lie_beside_it(pytester: pytest.Pytester) -> None:
    rules = pytester.mkdir("rules")
    rules.joinpath("rules.py").write_text(
        "import then\nrules = then.Rules()\n@rules.when('go')\ndef start(go):\n    yield then.emit('ship')\n"
    )
    rules.joinpath("a.then").write_text(
        'event go() task ship()\ntest "it ships" post go() expect ship once by rule start end\n'
    )
    rules.joinpath("b.then").write_text(
        'event rest()\ntest "nothing by itself" post rest() expect flow.ended once end\n'
    )
    result = run(pytester, "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["rules/a.then::it ships PASSED*", "rules/b.then::nothing by itself PASSED*"])


def test_files_without_tests_are_left_alone_wrong_ones_too(pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("plain.then").write_text("event order(id: wrong)\n")
    pytester.makepyfile("def test_it(): pass")
    run(pytester).assert_outcomes(passed=1)


def test_a_test_in_python_and_one_in_rules_stand_side_by_side(pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("shop.then").write_text(SHOP)
    pytester.makepyfile("""
        from then.testing import Trial, done

        def test_it():
            trial = Trial("shop.then")
            trial.stub("pay", done(receipt="r"))
            trial.post("order", id=7)
            trial.expect("ship", order=8)
    """)
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            ">*trial.expect(*ship*, order=8)",
            "E*AssertionError: expected ship(order: 8), got none",
            "E*nearest   ship(order: 7) by rule start/1",
            "E*order is 7, not 8",
        ]
    )


def test_nothing_of_ours_is_imported_before_a_file_with_a_test_is_met() -> None:
    code = "import sys, then.pytest_plugin; print(*sorted(name for name in sys.modules if name.startswith('then')))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["then", "then.pytest_plugin"]
