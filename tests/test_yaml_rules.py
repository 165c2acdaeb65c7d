"""Rules in YAML, and YAML as data."""
# ruff: noqa: E501 (a text and what is said of it stand side by side)

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from then.core.errors import RuleError, RulesRefused, RuleSyntaxError
from then.core.filters import Compare, Const, Field, ListOf, LoadRef, Name, Template
from then.core.rules import ANY, EVENT, Consequence, Emit, Pattern, Rule, Single, Unmatched
from then.language.loading import check_path, check_text, load_path, load_text
from then.language.yaml_acts import ACT_KEYS, EMIT_KEYS
from then.language.yaml_rules import RULE_KEYS, TOP_KEYS
from then.language.yaml_text import EVENTS_MAX, has_top_key, read_yaml
from then.language.yaml_trees import WHEN_KEYS


def rule_of(text: str) -> Rule:
    (rule,) = load_text(text, "a.yaml").rules
    return rule


def said(text: str) -> list[str]:
    return [finding.text().split("\n")[0] for finding in check_text(text, "a.yaml") if finding.number != "T611"]


def emit_of(rule: Rule) -> Emit:
    assert rule.consequence is not None
    (act,) = rule.consequence.steps[0]
    assert isinstance(act, Emit)
    return act


# -- the form ------------------------------------------------------------------


def test_the_first_rule_of_the_original_design() -> None:
    rule = rule_of(
        """\
rules:
  - name: after_build
    when: {type: build, outcome: done, where: {ref: main}}
    then:
      - type: Docker
        body: {action: run, host: "tcp://build-1:2375", name: nightly, image: "reports:2",
               args: ["-m", reports.mid, {type: load, name: [x]}]}
"""
    )
    assert rule == Rule(
        "after_build",
        Single(Pattern("build", frozenset(("done",)), Compare("==", Field(("ref",)), Const("main")))),
        Consequence(
            (
                (
                    Emit(
                        "Docker",
                        (
                            ("action", Const("run")),
                            ("host", Const("tcp://build-1:2375")),
                            ("name", Const("nightly")),
                            ("image", Const("reports:2")),
                            ("args", ListOf((Const("-m"), Const("reports.mid"), LoadRef(("x",))))),
                        ),
                    ),
                ),
            )
        ),
    )
    assert rule.source.startswith("name: after_build")


TWINS = {
    "equality over several fields": (
        "when: {type: order, as: o, where: {id: 7, tag: null, 'items[0].sku': a}}\n    then: {type: note, body: {t: x}}",
        'when order as o where id == 7 and tag is null and items[0].sku == "a" then note(t: "x")',
    ),
    "a text for the clause": (
        "when: {type: order, as: o, where: 'id > 7 and name matches /^v(?P<n>x)/'}\n    then: {type: note, body: {t: '{n}'}}",
        'when order as o where id > 7 and name matches /^v(?P<n>x)/ then note(t: "{n}")',
    ),
    "texts for both": (
        'when: order as o where id > 7\n    then: |\n      pay(order: o.id) as p\n      then note(t: "{p.receipt}")\n      else end flow done',
        'when order as o where id > 7 then pay(order: o.id) as p then note(t: "{p.receipt}") else end flow done',
    ),
    "several acts": (
        """\
when: {type: pay, outcome: [failed, timed_out], as: p}
    then:
      - {type: note, body: {t: 'no {p.error.kind}'}, if: p.order > 1, otherwise: {cancel: flow}}
      - {save: {n: {expr: p.order + 1}}}
      - {end: failed, text: 'x{p.order}'}
      - 'note(t: "y")'""",
        """\
when pay failed or timed out as p
then note(t: "no {p.error.kind}") if p.order > 1 otherwise cancel flow,
  save n: p.order + 1, end flow failed "x{p.order}", note(t: "y")""",
    ),
    "any, unmatched": (
        "when: {type: any, unmatched: true, as: r}\n    then: {type: note, body: {t: '{r.type}'}}",
        'when unmatched any as r then note(t: "{r.type}")',
    ),
    "finished": (
        "when: {type: pay, outcome: finished}\n    then: {end: done}",
        "when pay finished then end flow done",
    ),
}
DECLARED = """\
record item(sku: str)
event order(id: int, tag: str?, items: list[item], name: str)
task pay(order: int) -> (receipt: str)
event note(t: str)
"""


@pytest.mark.parametrize("name", TWINS)
def test_yaml_and_the_language_give_the_same_rule(tmp_path: Path, name: str) -> None:
    yaml, text = TWINS[name]
    (tmp_path / "declared.then").write_text(DECLARED)
    (tmp_path / "a.yaml").write_text(f"use: declared.then\nrules:\n  - name: r\n    final: true\n    {yaml}\n")
    (tmp_path / "b.then").write_text(f'use "declared.then"\nfinal rule r {text}\n')
    loaded = load_path(tmp_path / "a.yaml", env={})
    assert loaded.rules.rules == load_path(tmp_path / "b.then", env={}).rules.rules
    assert [finding.text() for finding in loaded.findings if finding.number != "T601"] == []


def test_types_need_not_be_declared() -> None:
    rule = rule_of(
        "rules: [{name: r, when: 'build done as b where ref == \"x\" and size > 3', then: 'ship(ref: b.ref, all: b)'}]"
    )
    assert rule.pattern.where is not None
    assert emit_of(rule).args == (("ref", Field(("ref",), "any", "b")), ("all", Name("b")))


def test_no_country_is_false_and_no_time_is_a_number() -> None:
    rule = rule_of(
        "rules: [{name: r, when: {type: e, where: {country: NO, at: 12:30:00, n: 010, yes: on}}, then: {type: f}}]"
    )
    pattern = rule.pattern
    assert pattern == Pattern("e", frozenset((EVENT,)), pattern.where)
    assert [clause.right for clause in pattern.where.parts] == [Const("NO"), Const("12:30:00"), Const(10), Const("on")]  # type: ignore[union-attr]


def test_braces_are_templates() -> None:
    rule = rule_of('rules: [{name: r, when: {type: e, as: e}, then: {type: f, body: {a: "{e.x}", b: "{{x}}"}}}]')
    args = dict(emit_of(rule).args)
    assert args["a"] == Template((Field(("x",), "any", "e"),))
    assert args["b"] == Const("{x}")


def test_unmatched_any_is_what_the_language_says() -> None:
    rule = rule_of("rules: [{name: r, when: {type: any, unmatched: true}, then: {type: f}}]")
    assert rule.trigger == Unmatched(Pattern(ANY, frozenset((EVENT, "failed", "timed_out", "cancelled"))))


def test_start_is_posted() -> None:
    rules = load_text("start: {type: go, body: {n: 1, t: 'x{1 + 1}'}}\nrules: []\n", "a.yaml").rules
    assert [(start.type, start.args) for start in rules.starts] == [("go", (("n", Const(1)), ("t", Const("x2"))))]


# -- what is refused --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rules: {}\n", ["a.yaml:1:8: error T113: rules takes a list"]),
        ("[]\n", ["a.yaml:1:1: error T113: a file of rules is a mapping with the keys rules, use, start"]),
        ("ruls: []\n", ['a.yaml:1:1: error T102: unknown key "ruls" (did you mean "rules"?)', "a.yaml:1:1: error T113: a file of rules has the key rules"]),
        ("rules:\n  - {nam: x, when: e, then: f()}\n", ["a.yaml:2:5: error T113: a rule needs name", 'a.yaml:2:6: error T102: unknown key "nam" (did you mean "name"?)']),
        ("rules: [{name: a b, when: e, then: {typ: f}}]", ['a.yaml:1:16: error T100: rule \'a b\' is no name', "a.yaml:1:36: error T113: an act needs type", 'a.yaml:1:37: error T102: unknown key "typ"']),
        ("rules: [{name: r, when: {type: e, outcome: dne}, then: f()}]", ['a.yaml:1:44: error T102: unknown outcome "dne" (did you mean "done"?)']),
        ("rules: [{name: r, when: {outcome: done}, then: f()}]", ["a.yaml:1:25: error T113: when needs type"]),
        ("rules: [{name: r, when: {type: e, where: 3}, then: f()}]", ["a.yaml:1:42: error T113: where is a mapping of fields to values"]),
        ("rules: [{name: r, when: {type: e, where: {'a > 1': 2}}, then: f()}]", ['a.yaml:1:43: error T113: "a > 1" is no field']),
        ("rules: [{name: r, when: {type: e, where: 'a = 1'}, then: f()}]", ['a.yaml:1:45: error T101: found "="']),
        ("rules: [{name: r, when: e, then: []}]", ["a.yaml:1:34: error T113: then needs at least one act"]),
        ("rules: [{name: r, when: e, then: {type: f, body: [1]}}]", ["a.yaml:1:50: error T113: body is a mapping"]),
        ("rules: [{name: r, when: e, then: {type: f, body: {a: '{x'}}}]", ["a.yaml:1:55: error T101"]),
        ("rules: [{name: r, when: e, then: {type: f, body: {a: {expr: x.y}}}}]", ['a.yaml:1:61: error T102: unknown name "x"']),
        ("rules: [{name: r, when: e, then: {type: f, otherwise: {type: g}}}]", ["a.yaml:1:55: error T113: otherwise needs if"]),
        ("rules: [{name: r, when: e, then: ['f() then g()']}]", ["a.yaml:1:35: error T113: a chain stands alone"]),
        ("rules: [{name: r, when: e, then: {type: f}, final: 1}]", ["a.yaml:1:52: error T113: final is true or false"]),
        ("rules: [{name: r, when: 'all of a done by x', then: f()}]", ["a.yaml:1:40: error T116: a join over all flows needs a window"]),
        ("use: 3\nrules: []\n", ["a.yaml:1:6: error T113: use takes a path"]),
        ("use: ../x.then\nrules: []\n", ['a.yaml:1:6: error T108: "../x.then" leads out of the project\'s root']),
        ("rules:\n  - {name: r, when: e, then: f()}\n  - {name: r, when: e, then: g()}\n", ['a.yaml:3:12: error T103: rule "r" is there twice (the other is at a.yaml:2:12)']),
        ("rules:\n- name: r\n  when: e as e\n  then: |\n    f(a: e.x),\n      g(a: q.x)\n", ['a.yaml:6:12: error T102: unknown name "q"']),
        ("rules:\n- name: r\n  when: e as e\n  then: f(a: 1)\n", ["a.yaml:4:12: error T101: no YAML: mapping values are not allowed in this context; put a text"]),
        ("rules: [{name: r, when: e as e, then: {type: f, body: {a: {type: load, name: []}}}}]", ["a.yaml:1:78: error T113: name takes the variable"]),
        ("rules: [{name: r, when: {type: e, where: {a: {type: load, name: [x]}}}, then: {type: f}}]", ["a.yaml:1:65: error T113: {type: load, …} stands in a body; here write flow.x"]),
    ],
)  # fmt: skip
def test_a_mistake_is_said_at_its_place(text: str, expected: list[str]) -> None:
    found = said(text)
    assert len(found) == len(expected), found
    for got, wanted in zip(found, expected, strict=True):
        assert got.startswith(wanted)


def test_the_caret_is_under_what_is_meant() -> None:
    (finding,) = check_text(
        'rules:\n  - {name: r, when: {type: e, as: e}, then: {type: f, body: {a: "é {q.x}"}}}\n', "a.yaml"
    )[:1]
    line, caret = finding.text().split("\n")[1:]
    assert line[caret.index("^") :].startswith("q.x")


def test_declared_types_hold_for_yaml_too(tmp_path: Path) -> None:
    (tmp_path / "d.then").write_text(DECLARED)
    (tmp_path / "a.yaml").write_text(
        "use: d.then\nrules:\n"
        "- {name: a, when: {type: order, outcome: done}, then: {type: pay}}\n"
        "- {name: b, when: {type: pay, where: {order: x}}, then: {type: note, body: {t: 1, u: 2}}}\n"
    )
    with pytest.raises(RulesRefused) as caught:
        load_path(tmp_path / "a.yaml", env={})
    assert [error.number for error in caught.value.errors] == ["T107", "T106", "T107", "T105", "T105", "T102"]


# -- YAML as data -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("[null, Null, ~, '~', '']", [None, None, None, "~", ""]),
        ("[true, True, FALSE, yes, No, on, 'true']", [True, True, False, "yes", "No", "on", "true"]),
        (
            "[1, -1, +1, 010, 0o10, 0x1F, 1_000, 1e3, 1.5, .5, 1., '1']",
            [1, -1, 1, 10, 8, 31, "1_000", 1000.0, 1.5, 0.5, 1.0, "1"],
        ),
        ("[2026-01-05, 12:30, 12:30:00, 1.2.3, =, .]", ["2026-01-05", "12:30", "12:30:00", "1.2.3", "=", "."]),
        ("{1: a, true: b, null: c, 1.5: d}", {"1": "a", "true": "b", "null": "c", "1.5": "d"}),
        ("a: |\n  x\n  y\nb: >\n  x\n  y\n", {"a": "x\ny\n", "b": "x y\n"}),
        ('"\\u00e9\\n"', "é\n"),
        ("--- 1\n", 1),
    ],
)
def test_texts_are_read_by_the_core_schema(text: str, value: object) -> None:
    assert read_yaml(text, "a.yaml").value() == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" * 50_000, "a.yaml:1:65: nested deeper than 64 levels"),
        ("{a: " * 50_000, "a.yaml:1:257: nested deeper than 64 levels"),
        ("- " * 50_000, "a.yaml:1:129: nested deeper than 64 levels"),
        ("a: &a [x, x]\nb: &b [*a, *a]\n", 'a.yaml:1:4: the anchor "&a"'),
        ("b: *b\n", 'a.yaml:1:4: the alias "*b"'),
        ("x: {<<: {a: 1}}\n", "a.yaml:1:5: a merge key"),
        ("a: 1\nb: 2\na: 3\n", 'a.yaml:3:1: the key "a" is there twice'),
        (
            "a: !!python/object/apply:os.system ['true']\n",
            'a.yaml:1:4: the tag "tag:yaml.org,2002:python/object/apply:os.system"',
        ),
        ("a: !load x\n", 'a.yaml:1:4: the tag "!load"'),
        ("a: 99999999999999999999\n", "a.yaml:1:4: an integer beyond 64 bits"),
        ("a: 1e999\n", "a.yaml:1:4: a number that is too large"),
        ("a: .inf\n", "a.yaml:1:4: .inf is no JSON number"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2:1: a second document"),
        ("? [a]\n: b\n", "a.yaml:1:3: a key that is a list or a mapping"),
        ("a: [1,\nb: 2\n", "a.yaml:3:1: no YAML"),
        ("a: \x07\n", "a.yaml:1:4: no YAML: a character that YAML does not have: U+0007"),
        ("\ta: 1\n", "a.yaml:1:1: no YAML"),
        ("- 1\n" * (EVENTS_MAX + 1), f"a.yaml:{EVENTS_MAX - 2}:3: more than 100,000 values"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_not_read_is_refused_with_its_place(text: str, expected: str) -> None:
    with pytest.raises(RuleSyntaxError) as caught:
        read_yaml(text, "a.yaml")
    assert str(caught.value).startswith(expected)


def test_a_billion_laughs_are_not_laughed() -> None:
    text = "a0: &a0 lol\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
    with pytest.raises(RuleError, match="anchors and aliases are not read here"):
        read_yaml(text, "a.yaml")


def test_a_file_is_one_of_rules_by_its_key() -> None:
    assert has_top_key("a: 1\nrules: []\n", "rules")
    assert not has_top_key("a: {rules: 1}\n", "rules")
    assert not has_top_key("[rules]\n", "rules")
    assert has_top_key("rules: [\n", "rules"), "one that cannot be read is not left out in silence"
    assert not has_top_key("x: [\n  rules: 1\n", "rules")


def test_a_broken_file_of_rules_is_not_left_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.then").write_text("event e()\nrule r when e then e() if 1 > 2\n")
    (tmp_path / "b.yaml").write_text("rules: [\n")
    with pytest.raises(RulesRefused, match="no YAML"):
        load_path(tmp_path, env={})


KEYS = st.text("abc<", max_size=3).filter(lambda key: key != "<<")
TEXTS = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\x85\u2028\u2029\ufeff\ufffe\uffff"
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_json_is_yaml(value: object) -> None:
    assert read_yaml(json.dumps(value, ensure_ascii=False), "a.yaml").value() == value


@given(st.text(max_size=60) | st.text("[]{}:,-?&*!|>'\"% \n#a1<", max_size=60))
def test_whatever_stands_in_a_file_it_is_read_or_refused(text: str) -> None:
    try:
        read_yaml(text, "a.yaml").value()
    except RuleError as error:
        assert error.span is not None  # noqa: PT017
        str(error)
    check_text(text, "a.yaml")


# -- the page ---------------------------------------------------------------------

PAGE = (Path(__file__).parent.parent / "docs/yaml.md").read_text()


def test_the_example_of_the_page_loads(tmp_path: Path) -> None:
    (tmp_path / "tasks.then").write_text(
        "event order(id: int, total: float, tag: str?, items: list[str]?)\ntask pay(order: any, amount: float)\n"
    )
    example = PAGE.split("```yaml\n", 1)[1].split("```", 1)[0]
    (tmp_path / "a.yaml").write_text(example)
    loaded = load_path(tmp_path / "a.yaml", env={})
    assert [rule.name for rule in loaded.rules] == ["paid"]
    assert loaded.findings == ()


def test_the_page_names_all_keys() -> None:
    for key in (*TOP_KEYS, *RULE_KEYS, *WHEN_KEYS, *EMIT_KEYS, *(key for keys in ACT_KEYS.values() for key in keys)):
        assert f"`{key}`" in PAGE or f"`{key}:" in PAGE or f"\n{key}:" in PAGE, key


def test_a_name_that_is_near_a_declared_one_is_warned_of_at_its_place(tmp_path: Path) -> None:
    """Types may stay undeclared, so that a misspelt one was taken for one, without a word."""
    (tmp_path / "shop.then").write_text("event order.placed(total: int)\ntask pay(id: int)\n")
    (tmp_path / "r.yaml").write_text(
        "use: shop.then\n"
        "rules:\n"
        "  - name: a\n"
        "    when: {type: order.palced}\n"
        "    then: {type: pey, body: {id: 1}}\n"
        "  - name: b\n"
        "    when: {type: quite.another}\n"
        "    then: {type: pay, body: {id: 1}}\n"
    )
    found = [finding.text().split("\n")[0] for finding in check_path(tmp_path / "r.yaml", env={})]
    assert [text.removeprefix(f"{tmp_path}/") for text in found] == [
        (
            'r.yaml:4:18: warning T616: nothing declares "order.palced" (did you mean "order.placed"?);'
            " the rule waits for it"
        ),
        (
            'r.yaml:5:11: warning T611: nothing declares "pey" (did you mean "pay"?): where nothing runs it either,'
            " it fails with the kind no_executor; declare it in a .then file, and `use` that"
        ),
    ]


def test_joins_calls_and_times_are_written_as_texts(tmp_path: Path) -> None:
    declared = (
        "task pay(order: int)\ntask reserve(order: int)\ntask note(text: str)\nevent go(order: int)\n"
        "procedure ask(order: int) first note(text: str(order)) end\n"
    )
    (tmp_path / "lib.then").write_text(declared)
    (tmp_path / "r.yaml").write_text(
        "use: lib.then\n"
        "rules:\n"
        "  - name: pack\n"
        "    when: all of pay done as p, reserve done as r by order within 2h\n"
        "    then: |\n"
        '      note(text: "{order}") retry 2 times\n'
        '      on timeout then note(text: "{missing}")\n'
        "  - name: ask_first\n"
        "    when: go as g\n"
        "    then:\n"
        "      - 'call ask(order: g.order)'\n"
        "      - 'note(text: \"now\") after 24h if g.order > 1'\n"
        "  - name: short\n"
        "    when: every pay done\n"
        "    then: {type: note, body: {text: all}}\n"
    )
    written = declared + (
        "rule pack when all of pay done as p, reserve done as r by order within 2h\n"
        'then note(text: "{order}") retry 2 times on timeout then note(text: "{missing}")\n'
        'rule ask_first when go as g then call ask(order: g.order), note(text: "now") after 24h if g.order > 1\n'
        'rule short when every pay done then note(text: "all")\n'
    )
    assert load_path(tmp_path / "r.yaml", env={}).rules.rules == load_text(written).rules.rules


def test_a_procedure_is_not_emitted_and_a_join_needs_its_key_in_yaml_too(tmp_path: Path) -> None:
    (tmp_path / "lib.then").write_text("event go()\ntask note(x: int)\nprocedure ask() first note(x: 1) end\n")
    (tmp_path / "r.yaml").write_text(
        "use: lib.then\nrules:\n"
        "  - {name: a, when: go, then: {type: ask}}\n"
        "  - {name: b, when: all of note done, then: 'note(x: 1)'}\n".replace("all of note done", "'all of note done'")
    )
    found = [
        finding.text().split("\n")[0].removeprefix(f"{tmp_path}/")
        for finding in check_path(tmp_path / "r.yaml", env={})
    ]
    assert found[0].startswith('r.yaml:3:38: error T118: "ask" is a procedure: write "call ask(…)"')
    assert found[1].startswith("r.yaml:4:22: error T116: this wait needs a key")
