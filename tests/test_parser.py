"""Text to tree: the machine against Lark's own, places, words, depth, templates, and what recovery makes of mistakes."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import lark
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sentences import Sentences
from then.core.errors import RuleError, RulesRefused, RuleSyntaxError
from then.language.build_tables import GRAMMAR_FILE, compile_tables
from then.language.parser import automaton, parse, parse_expression, parse_part
from then.language.recovery import ERRORS_MAX
from then.language.tables import tables
from then.language.templates import read_text, split_plain, split_template
from then.language.tree import Lines, Token, Tree, line_text, span_of

LANGUAGE = Path(__file__).parent / "language"
SHOP = (LANGUAGE / "shop.then").read_text()
GRAMMAR = Path(GRAMMAR_FILE).read_text()


def read(text: str) -> tuple[Tree, tuple[RuleError, ...]]:
    """The tree of a text, or its mistakes and an empty tree; anything else that comes of it is raised."""
    try:
        return parse(text, "x.then"), ()
    except RulesRefused as refused:
        return Tree("start", []), refused.errors


def mistakes(text: str) -> tuple[RuleError, ...]:
    """The mistakes of a text that has some."""
    _, errors = read(text)
    assert errors
    assert all(isinstance(error, RuleSyntaxError) for error in errors)
    return errors


# -- the tables, and Lark's machine -----------------------------------------------


class _Names:
    """What Lark needs to be told so that `doneas` is one word."""

    always_accept = ("NAME",)

    def process(self, stream: Any) -> Any:
        return stream


@cache
def lark_parser() -> lark.Lark:
    return lark.Lark(GRAMMAR, parser="lalr", propagate_positions=True, postlex=_Names(), cache=False)


@pytest.mark.slow
def test_the_tables_are_those_of_the_grammar() -> None:
    assert tables().grammar == hashlib.sha256(GRAMMAR.encode()).hexdigest(), "python -m then.language.build_tables"
    assert compile_tables(GRAMMAR) == tables()


@pytest.mark.slow
def test_the_grammar_has_no_conflicts() -> None:
    lark.Lark(GRAMMAR, parser="lalr", start=["start"], postlex=_Names(), strict=True)


def _lark_pretty(tree: Any) -> list[tuple[int, str, int, int, int, int]]:
    """Depth, text and place of every node, as `_pretty` gives them of ours."""
    lines, todo = [], [(0, tree)]
    while todo:
        depth, node = todo.pop()
        if isinstance(node, lark.Token):
            lines.append((depth, f"{node.type} {str(node)!r}", node.line, node.column, node.end_line, node.end_column))
            continue
        meta = node.meta
        places = (0, 0, 0, 0) if meta.empty else (meta.line, meta.column, meta.end_line, meta.end_column)
        lines.append((depth, str(node.data), *places))
        todo.extend((depth + 1, child) for child in reversed(node.children))
    return lines  # type: ignore[return-value]


def _pretty(tree: Tree) -> list[tuple[int, str, int, int, int, int]]:
    lines, todo = [], [(0, tree)]  # type: list[tuple[int, str, int, int, int, int]], list[tuple[int, Tree | Token]]
    while todo:
        depth, node = todo.pop()
        text = f"{node.type} {str(node)!r}" if isinstance(node, Token) else node.data
        places = (node.line, node.column, node.end_line, node.end_column)
        lines.append((depth, text, *((0, 0, 0, 0) if isinstance(node, Tree) and node.empty else places)))
        if isinstance(node, Tree):
            todo.extend((depth + 1, child) for child in reversed(node.children))
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_trees_and_places_are_those_that_lark_makes(seed: int) -> None:
    sentences = Sentences(seed)
    text = sentences.text(sentences.tokens(), comments=True)
    assert _pretty(parse(text, "x")) == _lark_pretty(lark_parser().parse(text))


@pytest.mark.slow
def test_the_tree_of_the_whole_example_is_that_which_lark_makes() -> None:
    assert _pretty(parse(SHOP, "shop.then")) == _lark_pretty(lark_parser().parse(SHOP))


@pytest.mark.parametrize("seed", range(40))
def test_every_form_of_the_grammar_is_read(seed: int) -> None:
    sentences = Sentences(seed)
    tokens = sentences.tokens()
    parse(sentences.text(tokens, comments=True), "x")


# -- places ------------------------------------------------------------------------


def test_a_node_says_where_it_stands() -> None:
    tree = parse("# head\nrule a\n  when order.placed as o where total > 0\n  then pay(x: o.id)\n", "shop.then")
    (rule,) = tree.children
    assert isinstance(rule, Tree)
    where = next(node for node in rule.iter_trees() if node.data == "where")
    assert str(span_of(where, "shop.then")) == "shop.then:3:26"
    assert span_of(where, "shop.then").length == len("where total > 0")
    assert line_text(where) == "  when order.placed as o where total > 0"
    assert span_of(rule, "shop.then").length == len("rule a")
    name = next(token for token in where.tokens() if token.type == "NAME")
    assert (name, name.line, name.column, name.end_column) == ("total", 3, 32, 37)


def test_a_part_says_where_it_stands_in_its_file() -> None:
    tree = parse_expression("a >\n  b", "rules.yaml", line=7, column=12)
    assert isinstance(tree, Tree)
    assert [str(span_of(token, "rules.yaml")) for token in tree.tokens()] == [
        "rules.yaml:7:12",
        "rules.yaml:7:14",
        "rules.yaml:8:3",
    ]
    with pytest.raises(RulesRefused, match=r"^rules\.yaml:7:14: found \"=\"; equality is written \"==\"$"):
        parse_expression("a = b", "rules.yaml", line=7, column=12)


@pytest.mark.parametrize(
    ("start", "text", "data"),
    [
        ("expr", "a and b", "and_"),
        ("when_text", "build done as b where ref == 1 within 2h", "when_text"),
        ("then_text", "a() then b() on timeout then c()", "then_text"),
        ("break_text", "before pay where a > 1 from hit 3", "break_text"),
    ],
)
def test_parts_of_the_language_stand_alone(start: str, text: str, data: str) -> None:
    tree = parse_part(text, "x", start)
    assert isinstance(tree, Tree)
    assert tree.data == data
    with pytest.raises(RulesRefused):
        parse_part(text + " )", "x", start)


# -- words -------------------------------------------------------------------------

IN_EXPRESSIONS = frozenset("not has some every true false null secret load".split())
AS_ACTIONS = frozenset("call for save return cancel skip end".split())
AFTER_WHEN = frozenset("all any every unmatched".split())


@pytest.mark.parametrize("word", sorted(tables().keywords))
def test_a_word_of_the_language_may_be_a_name_wherever_a_name_is_expected(word: str) -> None:
    text = (
        f"record {word}({word}: int) event e.{word}({word}: {word}?) task t.{word}({word}: int) -> ({word}: str)"
        f" let {word} = 1 start e.{word}({word}: 1)"
        f" rule {word} when e.{word} as {word} where o.{word} == 1 and {word}[0] == 2"
        f" then t.{word}({word}: {word}.{word}, map: {{{word}: 1}}) as {word} then save {word}: x.{word}"
    )
    if word in IN_EXPRESSIONS:
        text = text.replace(f"and {word}[0]", f"and o.{word}[0]").replace(f": {word}.{word},", f": o.{word},")
    assert len(parse(text, "x").children) == 6
    tokens = [token for token in parse(text, "x").tokens() if token == word]
    assert {token.type for token in tokens} == {"NAME"}


@pytest.mark.parametrize("word", sorted(tables().keywords))
def test_where_a_word_and_a_name_may_both_stand_the_word_wins(word: str) -> None:
    takes = {
        "expression": (f"let a = {word}", IN_EXPRESSIONS),
        "action": (f"rule a when x then {word}(b: 1)", AS_ACTIONS),
        "condition": (f"rule a when {word} done then y()", AFTER_WHEN),
        "option": (f'task a() run process ["x"] {word} "y"', None),
    }
    for place, (text, winning) in takes.items():
        if winning is None:
            continue
        try:
            found = [token.type for token in parse(text, "x").tokens() if token == word]
        except RulesRefused:
            found = []
        is_name = found == ["NAME"]
        assert is_name == (word not in winning), place


def test_a_word_in_an_option_is_a_name_unless_it_may_follow_there() -> None:
    tree = parse('task a() run docker ["x"] from "y" and 1 on {a: 1} if "z" timeout 5s', "x")
    options = [node for node in tree.iter_trees() if node.data == "option"]
    assert [str(option.children[0]) for option in options] == ["from", "and", "on", "if"]


def test_names_are_ascii_and_the_reason_names_the_letter() -> None:
    (error,) = mistakes("rule a when order as o where tоtal > 0 then y()")
    assert error.message == (
        'found "о" (U+043E, CYRILLIC SMALL LETTER O) in "tоtal";'
        ' names have the letters a-z and A-Z, digits and "_", other letters stand in quotes'
    )


# -- nesting -----------------------------------------------------------------------


@pytest.mark.parametrize("opening", ["(", "[", "{a: ", "f("])
def test_brackets_nest_64_deep_and_no_deeper(opening: str) -> None:
    closing = {"(": ")", "[": "]", "{a: ": "}", "f(": ")"}[opening]
    parse(f"let a = {opening * 64}1{closing * 64}", "x")
    (error,) = mistakes(f"let a = {opening * 65}1{closing * 65}")
    assert error.message.startswith("nested deeper than 64 levels; ")
    assert error.span is not None
    assert error.span.column == len("let a = ") + 64 * len(opening) + (2 if opening == "f(" else 1)


@pytest.mark.parametrize(
    "text",
    [
        "let a = " + "(" * 100_000,
        "let a = " + "[" * 100_000,
        "let a = " + "not " * 100_000 + "b",
        "let a = " + "-" * 100_000 + "1",
        "let a = " + "some i in b satisfies (" * 1_000 + "1",
        "event a(x: " + "list[" * 100_000,
        "rule a when b then c() " + "if d otherwise c() " * 10_000,
        "let a = (" + "((b or c) and d == e ?? f + g * -h) or i and " * 30 + "j)",
    ],
    ids=lambda text: text[:30],
)
def test_nesting_ends_in_a_reason_not_in_the_interpreter(text: str) -> None:
    tree, errors = read(text)
    assert (errors and "nested deeper than 64 levels" in errors[0].message) or _depth(tree) <= 160


def _depth(tree: Tree) -> int:
    deepest, todo = 0, [(tree, 1)]
    while todo:
        node, depth = todo.pop()
        deepest = max(deepest, depth)
        todo.extend((child, depth + 1) for child in node.children if isinstance(child, Tree))
    return deepest


# -- templates ---------------------------------------------------------------------


def template(text: str) -> list[str]:
    token = Token("STRING", text, 4, Lines(f"abc {text}"))
    return [_written(part) for part in split_template(token, "x")]


def _written(part: str | Tree | Token) -> str:
    if not isinstance(part, Tree | Token):
        return part
    tokens = [part] if isinstance(part, Token) else list(part.tokens())
    return " ".join(f"{token}@{token.column}" for token in tokens)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('""', []),
        ('"plain"', ["plain"]),
        ('"a {b} c"', ["a ", "b@9", " c"]),
        ('"{a.b[0]}{c}"', ["a@7 b@9 0@11", "c@15"]),
        ('"{{x}} {{{a}}}"', ["{x} {", "a@15", "}"]),
        (r'"\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00"', ['"\\/\b\f\n\r\tä😀']),
        (r'"\u007ba}}"', ["{a}"]),
        ('"{ {a: {b: 1}} }"', ["a@9 b@13 1@16"]),
        ('"{a matches /}{2}/}"', ["a@7 /}{2}/@17"]),
        ("\"{join(a, r'}')}\"", ["join@7 a@12 r'}'@15"]),
        (r'"\"{a ?? \"\\n}\" + b}\""', ['"', 'a@9 "\\n}"@15 +@23 b@25', '"']),
        (r'"\\{a}\\"', ["\\", "a@9", "\\"]),
    ],
)
def test_a_template_falls_into_texts_and_expressions(text: str, parts: list[str]) -> None:
    assert template(text) == parts


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('"a}"', r'x:1:7: this "}" ends nothing; a brace that is text is written "}}"'),
        (
            r'"echo {\"a\": 1}"',
            r'found ":"; here may stand an operator or the end; braces that are text are written "{{" and "}}"',
        ),
        (
            '"{ print $1 }"',
            r'found "$"; a name stands without a sign before it; braces that are text are written "{{" and "}}"',
        ),
        ('"a {b"', r'x:1:8: this "{" is not closed; a brace that is text is written "{{"'),
        ('"{ }"', r'x:1:6: nothing stands in these braces; braces that are text are written "{{}}"'),
        (r'"\d"', r'x:1:6: "\d" is no escape; write "\\d", or r"…"'),
        (r'"\u12"', r'x:1:6: "\u12" is no escape; four digits 0-9 a-f follow \u'),
        (r'"\ud800"', "x:1:5: this text holds half of a surrogate pair, which is no character"),
        ('"{a b}"', 'x:1:9: found "b"; here may stand an operator or the end'),
        (r'"{\"a\" b}"', 'x:1:13: found "b"; here may stand an operator or the end'),
        ('"' + "{" + "(" * 70 + '}"', "x:1:71: nested deeper than 64 levels"),
        ('"' + "{" + "-" * 70 + 'a}"', "nested deeper than 64 levels"),
    ],
)
def test_a_mistake_in_a_template_is_told_at_its_place(text: str, reason: str) -> None:
    with pytest.raises((RuleSyntaxError, RulesRefused)) as caught:
        template(text)
    assert reason in str(caught.value).split("\n")[0]
    assert f"\n    abc {text}"[:40] in str(caught.value)


def test_a_text_without_braces_has_escapes_only() -> None:
    assert read_text(Token("STRING", r'"a{b}\n\u0041"')) == "a{b}\nA"
    assert read_text(Token("RAW", r"r'a{\n'")) == r"a{\n"
    with pytest.raises(RuleSyntaxError, match="is no escape"):
        read_text(Token("STRING", r'"\d"'))


def test_a_text_from_yaml_has_braces_only() -> None:
    parts = split_plain('a\\n {b ?? "}"} }}', "x", line=3, column=5)
    assert [_written(part) for part in parts] == ["a\\n ", 'b@10 "}"@15', " }"]


# -- mistakes ----------------------------------------------------------------------


def test_a_text_that_is_not_closed_is_told_where_it_begins() -> None:
    first, second = mistakes('rule a when b done then c(d: "e)\nrule f when g matches h')
    assert str(first) == (
        'x.then:1:30: this text is not closed on its line; a line break in a text is written "\\n"\n'
        '    rule a when b done then c(d: "e)\n'
        "                                 ^"
    )
    assert second.span is not None
    assert second.span.line == 2


def test_a_regular_expression_that_is_not_closed_is_told_where_it_begins() -> None:
    (error,) = mistakes("rule a when b done where c matches /d then e()")
    assert error.message == 'found "/"; this regular expression is not closed on its line'


def test_mistakes_come_in_the_order_of_the_text_and_not_without_end() -> None:
    errors = mistakes("rule a whne b done then c()\nrule b when c dne then d(\n" * 50)
    assert len(errors) == ERRORS_MAX
    places = [error.span for error in errors]
    assert places == sorted(places, key=lambda span: (span is not None, span))


def test_a_word_that_is_misspelt_everywhere_is_told_everywhere() -> None:
    errors = mistakes("rule a whne b done then c()\n" * 3 + "rule whne when whne done then c()")
    assert [error.message for error in errors] == ['found "whne" (did you mean "when"?)'] * 3


def test_one_mistake_in_the_middle_of_much_is_told_alone() -> None:
    rules = [f"rule r{i}\n  when order.placed as o where total > {i}\n  then pay(order: o.id)\n" for i in range(200)]
    rules[100] = rules[100].replace("where", "wher")
    (error,) = mistakes("".join(rules))
    assert str(error).startswith('x.then:302:26: found "wher" (did you mean "where"?)')


@pytest.mark.parametrize("at", range(0, len(SHOP), 97))
def test_a_text_that_is_cut_off_anywhere_has_few_mistakes(at: int) -> None:
    _, errors = read(SHOP[:at])
    assert len(errors) <= 2, errors


@pytest.mark.parametrize("seed", range(150))
def test_a_word_that_is_left_out_gives_few_mistakes_near_it(seed: int) -> None:
    tokens = [(token.begin, token.end) for token in _tokens(SHOP)]
    begin, end = tokens[(seed * 7919) % len(tokens)]
    text = SHOP[:begin] + " " * (end - begin) + SHOP[end:]
    _, errors = read(text)
    assert len(errors) <= 2, errors


def _tokens(text: str) -> list[Any]:
    trace: list[Any] = []
    automaton().run("start", Lines(text), trace=trace.append)
    return trace[:-1]


PIECES = st.sampled_from(
    [
        *tables().keywords, *tables().punctuation, "a", "b.c", "1", "1.5", "30s", "1GiB", '"x"', '"', "r'", "/a/", "/", "\\", "#",
        "\n", "\t", "  ", "ä", "\u2028", "\x00", "\u202e", "\ud800", "'", "{{", "2026-01-05T10:00", "06:30", "é", "x" * 200,
        "rule a when b done then c()\n", "procedure p()\n  first a()\n  when b done then c()\nend\n", 'test "x"\n  advance 1h\nend\n',
    ]
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=40).map(" ".join) | st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=60))
def test_nothing_comes_of_any_text_but_a_tree_or_reasons(text: str) -> None:
    tree, errors = read(text)
    lines = text.split("\n")
    assert len(errors) <= ERRORS_MAX
    for error in errors:
        assert error.span is not None
        assert error.line == lines[error.span.line - 1]
        assert 1 <= error.span.column <= len(error.line) + 1
        assert error.text()
    assert [str(token) for token in tree.tokens() if token not in text] == []
