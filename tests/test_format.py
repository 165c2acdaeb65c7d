"""The one layout: the same tree, the same comments, and nothing left to change."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.sentences import Sentences
from then.core.errors import RulesRefused
from then.language.format import format_text
from then.language.layout import WIDTH
from then.language.parser import parse

ROOT = Path(__file__).parent.parent
LANGUAGE = ROOT / "tests/language"
EXAMPLES = sorted(ROOT.glob("rules/**/*.then"))
CHUNKS = [
    pytest.param(chunk, id=f"{path.stem}-{number}")
    for path in sorted(LANGUAGE.glob("*.then"))
    for number, chunk in enumerate(path.read_text().split("\n---\n"), 1)
]


def assert_formatted(text: str) -> str:
    """The text in its layout, after all that must hold of it."""
    formatted = format_text(text, "x.then")
    assert parse(formatted, "x.then") == parse(text, "x.then")
    assert format_text(formatted, "x.then") == formatted
    assert not formatted or formatted.endswith("\n")
    assert not re.search(r"[ \t]\n|\n\n\n|\A\n|\n\n\Z", formatted)
    return formatted


def laid_out(text: str) -> str:
    """A text that is written indented in a test."""
    lines = text.strip("\n").split("\n")
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines).rstrip() + "\n"


# -- what holds of every text --------------------------------------------------------


@pytest.mark.parametrize("text", CHUNKS)
def test_every_chunk_keeps_its_tree_and_its_layout(text: str) -> None:
    try:
        parse(text, "x.then")
    except RulesRefused:
        with pytest.raises(RulesRefused):
            format_text(text, "x.then")
        return
    assert_formatted(text)


@pytest.mark.parametrize(
    "path", [*EXAMPLES, LANGUAGE / "shop.then"], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_the_examples_are_in_the_layout(path: Path) -> None:
    assert assert_formatted(path.read_text()) == path.read_text()


@pytest.mark.parametrize("seed", range(60))
def test_any_text_keeps_its_tree_and_its_comments(seed: int) -> None:
    sentences = Sentences(seed)
    text = sentences.text(sentences.tokens(), comments=True)
    formatted = assert_formatted(text)
    comments = re.compile(r"# (?:after|own|left|apart)$", re.MULTILINE)
    assert sorted(comments.findall(formatted)) == sorted(comments.findall(text))


@pytest.mark.parametrize("seed", range(20))
def test_white_space_between_words_does_not_change_the_layout(seed: int) -> None:
    sentences = Sentences(seed)
    tokens = sentences.tokens()
    one_line = " ".join(text for _, text in tokens)
    # Items stand apart where they were apart, so only texts without empty lines are compared.
    spread = "\n".join(text for _, text in tokens)
    assert format_text(one_line, "x.then") == format_text(spread, "x.then")


def test_an_empty_text_stays_empty_and_comments_alone_stay() -> None:
    assert format_text("", "x") == ""
    assert format_text(" \n\n\t\n", "x") == ""
    assert format_text("\n\n  # a\n\n\n#b   \n", "x") == "# a\n\n#b\n"


def test_what_is_no_text_of_the_language_is_not_formatted() -> None:
    with pytest.raises(RulesRefused, match='found "thne"'):
        format_text("rule a when x done thne y()", "x")


# -- what it looks like ----------------------------------------------------------------


def looks(given: str, expected: str) -> None:
    assert assert_formatted(given) == laid_out(expected)


def test_what_is_waited_for_and_each_step_begin_a_line() -> None:
    looks(
        "rule a when x done as p then y(a:p.b),z() then w() if p.ok otherwise v() else u()",
        """
        rule a
          when x done as p
          then y(a: p.b), z()
          then w() if p.ok otherwise v()
          else u()
        """,
    )


def test_a_long_condition_is_broken_before_where_and_then_before_each_and() -> None:
    looks(
        'rule a when order.placed as o where total > 1000 and customer.country == "Switzerland" then y()'
        ' rule b when order.placed as o where total > 1000 and customer.country == "Switzerland" and (vip or total > 5000)'
        ' and not (customer.name in ["a", "b"]) then y()',
        """
        rule a
          when order.placed as o where total > 1000 and customer.country == "Switzerland"
          then y()

        rule b
          when order.placed as o
            where total > 1000
              and customer.country == "Switzerland"
              and (vip or total > 5000)
              and not (customer.name in ["a", "b"])
          then y()
        """,
    )


def test_a_condition_that_fits_on_a_line_of_its_own_stays_on_one() -> None:
    looks(
        'rule a when some.very_long_event.name_of_a_thing as o where total > 1000 and customer.country == "Switzerland" then y()',
        """
        rule a
          when some.very_long_event.name_of_a_thing as o
            where total > 1000 and customer.country == "Switzerland"
          then y()
        """,
    )


def test_acts_and_arguments_that_do_not_fit_have_a_line_each() -> None:
    looks(
        'rule a when x done as p then notify(who: "operations", text: "the first of several texts"), archive(what: p.a, where: p.b),'
        " label(order: p.order, shelf: p.shelf, customer: p.customer, address: p.address, carrier: p.carrier)",
        """
        rule a
          when x done as p
          then notify(who: "operations", text: "the first of several texts"),
               archive(what: p.a, where: p.b),
               label(
                 order: p.order,
                 shelf: p.shelf,
                 customer: p.customer,
                 address: p.address,
                 carrier: p.carrier,
               )
        """,
    )


def test_a_join_that_does_not_fit_has_a_line_for_each_part() -> None:
    looks(
        "rule a when all of pay done as p where amount > 100, reserve done as r where shelf > 0, no order.cancelled by order, region within 2h"
        " then y() on timeout then z() then w()",
        """
        rule a
          when all of
            pay done as p where amount > 100,
            reserve done as r where shelf > 0,
            no order.cancelled
          by order, region within 2h
          then y()
          on timeout then z()
            then w()
        """,
    )


def test_a_task_has_a_line_for_each_part_of_its_body() -> None:
    looks(
        'task t(a:int)->(b:str,) run process ["x"] env {A: "1"} once timeout 5m retry 2 times',
        """
        task t(a: int) -> (b: str)
          run process ["x"] env {A: "1"}
          once
          timeout 5m
          retry 2 times
        """,
    )


def test_short_whens_of_a_procedure_stand_on_one_line() -> None:
    looks(
        "procedure p(x:int)->(y:int) first a() then b()\n\n\nwhen a done as r then return(y:r.y) when b done then c() then d()"
        " rule named when c failed then return () finally e() then f() end",
        """
        procedure p(x: int) -> (y: int)
          first a()
            then b()

          when a done as r then return (y: r.y)
          when b done
            then c()
            then d()
          rule named
            when c failed
            then return ()
          finally e()
            then f()
        end
        """,
    )


def test_items_of_one_line_stay_together_and_those_of_several_stand_apart() -> None:
    looks(
        "event a()\nevent b()\n\n\n\nevent c()\nrule r when a then x()\nevent d()",
        """
        event a()
        event b()

        event c()

        rule r
          when a
          then x()

        event d()
        """,
    )


def test_comments_stay_with_what_they_are_about() -> None:
    looks(
        """
        # the file

        #about a
        event a(x: int,   # x is
           # before y
           y: int) # a is
          # still a
        # about r
        rule r # r is
          # the condition
          when a as o # waits
            where x > 1 # first
            and y > 2
          # the step
          then t(a: 1) # does
          # at its end

        # the end
        """,
        """
        # the file

        #about a
        event a(
          x: int,  # x is
          # before y
          y: int,
        )  # a is
          # still a

        # about r
        rule r  # r is
          # the condition
          when a as o  # waits
            where x > 1  # first
              and y > 2
          # the step
          then t(a: 1)  # does
          # at its end

        # the end
        """,
    )


def test_a_comma_before_a_closing_bracket_comes_and_goes_with_the_line_break() -> None:
    looks("start a(x: [1, 2,], y: {a: 1,},)", "start a(x: [1, 2], y: {a: 1})")
    long = ", ".join(f"name_{i}: {i}" for i in range(12))
    assert assert_formatted(f"start a({long})").endswith("  name_11: 11,\n)\n")


def test_texts_are_never_broken_nor_changed() -> None:
    text = "x" * (WIDTH + 20)
    looks(f"let a = \"{text}\"  let b=r'{text}{{'", f"let a = \"{text}\"\nlet b = r'{text}{{'")
