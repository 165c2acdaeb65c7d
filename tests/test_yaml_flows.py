"""Joins, procedures, timers, terms and policies in YAML: the model is that of the language, and so are the messages."""
# ruff: noqa: E501 (a text and what is said of it stand side by side)

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import then
from tests.desk import files_of
from tests.faces import ACTS, DECLARATIONS, DECLARED, TRIGGERS, python_trigger
from then.core.filters import Expr, Field, walk
from then.core.rules import Join, Rule, RuleSet, Trigger
from then.language.loading import check_text, load_path
from then.language.yaml_acts import RETRY_KEYS
from then.language.yaml_declarations import PROCEDURE_KEYS, TASK_KEYS, TIMER_KEYS
from then.language.yaml_trees import JOIN_KEYS, PART_KEYS

HOSTS = "procedure hosts(hosts: list[str], do: task) first for h in hosts emit do(host: h) end\n"


def both(tmp_path: Path, yaml: str, text: str) -> tuple[RuleSet, RuleSet]:
    """The rules of a text in YAML, and of one in the language, beside the same declarations."""
    (tmp_path / "declared.then").write_text(DECLARED + HOSTS)
    (tmp_path / "a.yaml").write_text(f"use: declared.then\n{yaml}")
    (tmp_path / "b.then").write_text(f'use "declared.then"\n{text}')
    return load_path(tmp_path / "a.yaml", env={}).rules, load_path(tmp_path / "b.then", env={}).rules


# -- the three faces ------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_trigger_is_the_same_in_all_three(tmp_path: Path, name: str) -> None:
    text, yaml, _ = TRIGGERS[name]
    ours, theirs = both(
        tmp_path, f"rules:\n- name: r\n  when: {yaml}\n  then: cancel flow\n", f"rule r when {text} then cancel flow\n"
    )
    assert ours.rules == theirs.rules
    assert _loose(python_trigger(name)) == _loose(theirs.rules[0].trigger)


def _loose(trigger: Trigger) -> object:
    """A trigger without what only declared types tell: whether a field is an input or of the result."""
    assert isinstance(trigger, Join)
    said = repr(trigger)
    exprs: list[Expr] = []
    for part in trigger.parts:
        exprs += [*part.keys, *(one for one in (part.pattern.where, part.where_joined) if one is not None)]
    for expr in exprs:
        for node in walk(expr):
            if isinstance(node, Field):
                said = said.replace(f"source='{node.source}'", "source=''")
    return said


@pytest.mark.parametrize("name", ACTS)
def test_an_act_is_the_same_in_yaml_and_in_the_language(tmp_path: Path, name: str) -> None:
    text, yaml = ACTS[name]
    ours, theirs = both(
        tmp_path, f"rules:\n- name: r\n  when: go as g\n  then: {yaml}\n", f"rule r when go as g then {text}\n"
    )
    assert ours.rules == theirs.rules


@pytest.mark.parametrize("name", DECLARATIONS)
def test_a_declaration_is_the_same_in_yaml_and_in_the_language(tmp_path: Path, name: str) -> None:
    text, yaml = DECLARATIONS[name]
    ours, theirs = both(tmp_path, f"{yaml}rules: []\n", text)
    for group in ("records", "events", "tasks", "procedures", "secrets", "timers", "endings"):
        assert getattr(ours, group) == getattr(theirs, group), group


def test_the_source_of_a_rule_is_its_text_in_the_file(tmp_path: Path) -> None:
    _, yaml = DECLARATIONS["a procedure"]
    ours, _ = both(tmp_path, f"{yaml}rules: []\n", "")
    asked: Rule | None = ours.rule("roll.asked")
    assert asked is not None
    assert asked.source.startswith("name: asked")
    assert asked.source.rstrip().endswith('{count: {expr: "-1"}}}')
    assert asked.span is not None
    assert (asked.span.line, asked.span.column) == (11, 15)


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rules: [{name: r, when: {all: [{type: a, outcome: done}], by: x}, then: {type: b}}]", "a.yaml:1:63: error T116: a join over all flows needs a window"),
        ("rules: [{name: r, when: {all: [{type: a}, {type: b}]}, then: {type: b}}]", "a.yaml:1:25: error T116: this wait needs a key"),
        ("rules: [{name: r, when: {all: [{type: a, absent: true}], by: flow}, then: {type: b}}]", "a.yaml:1:25: error T116: a join needs a part that comes"),
        ("rules: [{name: r, when: {any: [{type: a, absent: true}], by: flow}, then: {type: b}}]", 'a.yaml:1:39: error T116: "any of" fires at the first record'),
        ("rules: [{name: r, when: {all: {type: a}, by: flow}, then: {type: b}}]", "a.yaml:1:31: error T113: all takes a list of parts"),
        ("rules: [{name: r, when: {all: [{typ: a}], by: flow}, then: {type: b}}]", 'a.yaml:1:33: error T102: unknown key "typ" (did you mean "type"?)'),
        ("rules: [{name: r, when: {all: [{type: a}], bye: flow}, then: {type: b}}]", 'a.yaml:1:44: error T102: unknown key "bye" (did you mean "by"?)'),
        ("rules: [{name: r, when: {all: [{type: a}], by: x, within: 2 hours}, then: {type: b}}]", "a.yaml:1:59: error T113: within is a span of time, such as 30s or 2h"),
        ("rules: [{name: r, when: {all: [{type: a}], by: x, within: 0s}, then: {type: b}}]", "a.yaml:1:59: error T117: `within 0s` is no time at all"),
        ("rules: [{name: r, when: {times: 0, type: a, by: flow}, then: {type: b}}]", "a.yaml:1:33: error T117: how many records `times` takes"),
        ("rules: [{name: r, when: {times: many, type: a, by: flow}, then: {type: b}}]", "a.yaml:1:33: error T113: times is a whole number"),
        ("rules: [{name: r, when: {every: {type: a, outcome: done, as: x}}, then: {type: b}}]", "error T113: `every` waits for a set of records"),
        ("rules: [{name: r, when: {type: a, by: x}, then: {type: b}}]", "error T113: one record needs no key"),
        ("rules: [{name: r, when: a, then: {type: b}, on_timeout: {type: c}}]", "error T113: `on timeout` answers the end of a window"),
        ("rules: [{name: r, when: a, then: {call: nope}}]", 'a.yaml:1:41: error T102: unknown procedure "nope"'),
        ("rules: [{name: r, when: a, then: {type: b, retry: {time: 3}}}]", 'a.yaml:1:52: error T102: unknown key "time" (did you mean "times"?)'),
        ("rules: [{name: r, when: a, then: {type: b, retry: 0}}]", "a.yaml:1:51: error T117: how often `retry` tries again"),
        ("rules: [{name: r, when: a, then: {type: b, timeout: soon}}]", "a.yaml:1:53: error T101"),
        ("rules: [{name: r, when: a, then: {type: b, retry: {times: 2, backoff: 5s, to: 1s}}}]", "a.yaml:1:79: error T117: `backoff 5s to 1s` shrinks"),
        ("rules: [{name: r, when: a, then: {for: x, type: b}}]", "a.yaml:1:40: error T113: for takes a name and a list"),
        ("rules: [{name: r, when: a, then: {for: x in y, type: b}}]", 'a.yaml:1:45: error T102: unknown name "y"'),
        ("rules: [{name: r, when: a, then: {type: b, fail_fast: true}}]", "error T113: `fail fast` belongs to a `call`"),
        ("rules: [{name: r, when: a, then: {return: {a: 1}, as: x}}]", 'a.yaml:1:51: error T102: unknown key "as"'),
        ("procedures: {p: {rules: []}}\nrules: []", "a.yaml:1:17: error T113: a procedure needs first"),
        ("procedures: {p: {first: {type: a}, result: {n: int}, rules: [{when: a done, then: {return: {m: 1}}}]}}\nrules: []", 'error T102: unknown argument of return "m"'),
        ("procedures: {p: {first: {type: a}, rule: []}}\nrules: []", 'a.yaml:1:36: error T102: unknown key "rule" (did you mean "rules"?)'),
        ("tasks: {t: {retries: 3}}\nrules: []", 'a.yaml:1:13: error T102: unknown key "retries" (did you mean "retry"?)'),
        ("tasks: {t: {inputs: {a: strr}}}\nrules: []", 'a.yaml:1:25: error T102: unknown type "strr" (did you mean "str"?)'),
        ("tasks: {t: {run: dokcer x}}\nrules: []", "a.yaml:1:25: error T101"),
        ("tasks: {t: {limit: -1}}\nrules: []", "a.yaml:1:20: error T101"),
        ("tasks: {t: {needs: {lock.a: mine}}}\nrules: []", 'error T102: unknown way to hold a lock "mine"'),
        ("timers: [{every: 0s, type: a}]\nrules: []", "a.yaml:1:18: error"),
        ("timers: [{cron: 30 2 31 2 *, type: a}]\nrules: []", 'a.yaml:1:17: error T115: cron "30 2 31 2 *": never comes'),
        ("timers: [{every: day, zone: Mars/Base, type: a}]\nrules: []", 'a.yaml:1:29: error T102: unknown zone "Mars/Base"'),
        ("timers: [{type: a}]\nrules: []", "a.yaml:1:10: error T113: a timer needs every"),
        ("timers: [{every: 5m, type: a, overlap: maybe}]\nrules: []", 'a.yaml:1:40: error T102: unknown word after `overlap` "maybe"'),
        ("rules: [{name: r, when: {all: [{type: a}], by: {}}, then: {type: b}}]", "a.yaml:1:48: error T113: by names the field of each part"),
        ("rules: [{name: r, when: {all: ['a, b'], by: flow}, then: {type: b}}]", "a.yaml:1:32: error T113: `b` is more than what stands here after `all of`"),
        ("rules: [{name: r, when: a, then: {type: b, timeout: 3s retry 2 times}}]", "a.yaml:1:53: error T113: `retry 2 times` is more than what stands here after `timeout`"),
        ("rules: [{name: r, when: a, then: {type: b, retry: {times: 2, backoff: 1s to 5s}}}]", "a.yaml:1:71: error T113: backoff is a span of time"),
        ("tasks: {t: {run: 'process [] retry 3 times'}}\nrules: []", "a.yaml:1:18: error T113: `retry 3 times` is more than"),
        ("timers: [{every: day, at: noon, type: a}]\nrules: []", "a.yaml:1:27: error T113: at is a time of day"),
        ("secrets: {k: {vault: x}}\nrules: []", 'a.yaml:1:15: error T102: unknown source of a secret "vault"'),
        ("secrets: {k: x}\nrules: []", "a.yaml:1:14: error T113: a secret has one source"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_at_its_place(text: str, expected: str) -> None:
    found = [finding.text().split("\n")[0] for finding in check_text(text, "a.yaml") if finding.severity == "error"]
    assert any(expected in line and (not expected.startswith("a.") or line.startswith(expected)) for line in found), (
        found
    )


ODD = (
    "[]", "{}", "3", "-1", "true", "null", "''", "x y", "'{'", "'{x}'", "[a, [b]]", "{a: {b: c}}", "'\"'", "1.5", "any",
    "flow", "'a.*'", "'no x'", "2h", "'))'", "'/*'", "a: b", "'x then y()'", "'a\n b'", "|\n   a\n   b\n", "'a # b'",
)  # fmt: skip
"""What stands where something else is expected."""


@pytest.mark.slow
@given(st.randoms(use_true_random=False))
def test_whatever_stands_in_a_place_it_is_read_or_refused_at_its_place(chance: Random) -> None:
    text = chance.choice(_texts())
    for _ in range(chance.choice((1, 1, 2))):
        spots = list(re.finditer(r"(?<=: )[^,{}\[\]\n]+|\[[^\[\]]*\]|\{[^{}]*\}", text))
        spot = chance.choice(spots)
        text = text[: spot.start()] + chance.choice(ODD) + text[spot.end() :]
    for finding in check_text(text, "a.yaml"):
        finding.text()
        if finding.severity == "error":
            assert finding.span is not None
            assert 1 <= finding.span.line <= text.count("\n") + 1
            assert finding.span.column >= 1


def _texts() -> list[str]:
    whens = [f"rules:\n- name: r\n  when: {yaml}\n  then: {{end: done}}\n" for _, yaml, _ in TRIGGERS.values()]
    thens = [f"rules:\n- name: r\n  when: go as g\n  then: {yaml}\n" for _, yaml in ACTS.values()]
    return [*whens, *thens, *(f"{yaml}rules: []\n" for _, yaml in DECLARATIONS.values())]


# -- they run -------------------------------------------------------------------------------------

RUNS = """\
events:
  go: {hosts: 'list[str]'}
  over: {text: str}
tasks:
  do: {inputs: {host: str}, result: {up: bool}, run: 'python "json:dumps"', retry: 1}
procedures:
  roll:
    inputs: {hosts: 'list[str]'}
    result: {count: int}
    first: {for: h in hosts, type: do, body: {host: {expr: h}}}
    rules:
      - when: {every: {type: do, outcome: done}}
        then: {return: {count: {expr: len(hosts)}}}
        else: {return: {count: 0}}
rules:
  - name: start
    when: {type: go, as: g}
    then: [[{call: roll, body: {hosts: {expr: g.hosts}}, as: r}], [{type: over, body: {text: "{r.count} hosts"}}]]
  - name: both
    when: {all: [{type: roll, outcome: done, as: r}, {type: over, as: o}], by: flow}
    then: [{save: {count: {expr: r.count}}}, {type: over, body: {text: "both"}, after: 1ms}]
"""


def test_rules_in_yaml_run(tmp_path: Path) -> None:
    text = RUNS.replace('python "json:dumps"', 'python "hosts:do"')
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "hosts.py").write_text("def do(host):\n    return {'up': True}\n")
    rules = then.Rules().load(tmp_path / "a.yaml")
    with then.Engine(rules) as engine:
        flow = engine.run("go", hosts=["a", "b"]).wait()
        texts = [task.body["text"] for task in flow.tasks if task.type == "over"]
        assert texts == ["2 hosts", "both"]
        assert flow.history.flow.variables["count"] == 2
        empty = engine.run("go", hosts=[])
        assert "0 hosts" in [task.body.get("text") for task in empty.tasks]


def test_the_page_names_the_keys_of_joins_terms_and_declarations() -> None:
    page = (Path(__file__).parent.parent / "docs/yaml.md").read_text()
    keys = {
        *PART_KEYS,
        *JOIN_KEYS,
        *RETRY_KEYS,
        *TASK_KEYS,
        *PROCEDURE_KEYS,
        *TIMER_KEYS,
        "followed_by",
        "within",
        "by",
    }
    assert not [key for key in keys if f"`{key}`" not in page and f"`{key}:" not in page]


def test_the_declarations_of_the_page_load(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs/yaml.md").read_text()
    example = page.split("## Declarations", 1)[1].split("```yaml\n", 1)[1].split("```", 1)[0]
    (tmp_path / "a.yaml").write_text(example)
    rules = load_path(tmp_path / "a.yaml", env={}).rules
    assert [*rules.tasks, *rules.procedures, *rules.timers] == ["pay", "ask", "approve", "host.down", "ask", "ask.2"]


def test_secrets_declared_in_yaml_reach_the_tasks_and_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"a": "canary-of-env", "b": "canary-of-file", "c": "canary-of-program"}
    monkeypatch.setenv("A_CANARY", values["a"])
    (tmp_path / "key").write_text(values["b"] + "\n")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "vault").write_text(f"#!/bin/sh\necho {values['c']}\n")
    (tmp_path / "vault").chmod(0o700)
    (tmp_path / "told_by_yaml.py").write_text("def tell(**secrets):\n    return {'sorted': sorted(secrets.values())}\n")
    (tmp_path / "a.yaml").write_text(r"""
secrets:
  a: {env: A_CANARY}
  b: {file: key}
  c: {command: "./vault read"}
  gone: {file: nowhere}
events: {go: {}}
tasks:
  tell: {run: 'python "told_by_yaml:tell" with {a: secret a, b: secret b, c: secret c}'}
  echo: {run: "process [\"sh\", \"-c\", r'echo \"$A $B $C\"'] env {A: secret a, B: secret b, C: secret c}"}
  lost: {run: 'process ["true"] env {A: secret gone}', may_fail: true}
rules:
  - {name: all, when: go, then: [{type: tell}, {type: echo}, {type: lost}]}
""")
    state = tmp_path / ".then"
    with then.Engine(then.Rules().load(tmp_path / "a.yaml"), state) as engine:
        tasks = {task.type: task for task in engine.run("go").tasks}
    assert tasks["tell"].result == {"sorted": ["***", "***", "***"]}
    out = state / "tasks" / tasks["echo"].id / "out"
    assert out.read_text() == " ".join(values.values()) + "\n"
    assert tasks["lost"].error is not None
    assert tasks["lost"].error["kind"] == "load"
    assert 'secret "gone" (file "nowhere")' in tasks["lost"].error["message"]
    own = {out.relative_to(state), out.with_name("err").relative_to(state)}
    written = {path: data for path, data in files_of(state).items() if path not in own}
    assert written
    assert [path for path, data in written.items() if any(one.encode() in data for one in values.values())] == []


def test_declarations_are_all_taken_however_many_there_are(tmp_path: Path) -> None:
    names = [f"s{n}" for n in range(500)]
    declared = "".join(f"  {name}: {{env: {name.upper()}}}\n" for name in names)
    (tmp_path / "many.yaml").write_text(f"secrets:\n{declared}events: {{go: {{}}}}\nrules: []\n")
    assert list(then.Rules().load(tmp_path / "many.yaml").set.secrets) == names
