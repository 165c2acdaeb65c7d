"""Bodies, names and words that no record can hold: refused before anything is journalled, by each way in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

import then
from tests.cli.shell import Shell
from then.core.errors import BodyRefused, RuleError
from then.core.tasks import BODY_BYTES_MAX, check_json

RULES = """
event go(n: any)
event land(name: str)
event want(n: int, s: str)
task note(n: any) -> (m: int) run process ["true"]
rule heard when land as l then want(n: 1, s: l.name)
rule go_on when go as g where n == "go on" then note(n: g.n)
"""


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def shared(levels: int) -> Any:
    """Small in memory, larger than any when it is written out."""
    value: Any = "lol"
    for _ in range(levels):
        value = [value] * 9
    return value


NO_BODIES = {
    "nan": (float("nan"), "$.n: nan is no JSON number; give null or text"),
    "infinity": (float("-inf"), "$.n: -inf is no JSON number; give null or text"),
    "deep": (deep(100_000), "nested deeper than 64 levels"),
    "64 bits": (2**63, "$.n: an integer beyond 64 bits; give it as text"),
    "surrogate": ("\ud800", "$.n: text with half of a surrogate pair, which is no Unicode"),
    "surrogate key": ({"\udfff": 1}, "$.n: text with half of a surrogate pair, which is no Unicode"),
    "key": ({1: 2}, "$.n: the key 1 is no text"),
    "tuple": ((1, 2), "$.n: tuple is no JSON value"),
    "bytes": (b"x", "$.n: bytes is no JSON value"),
    "laughs": (shared(40), "$: more than 64 MiB; put large data into a file, and name the file here"),
}


def records(engine: then.Engine, flow: then.Flow) -> list[then.Task]:
    return [record.task for record in engine.history().flow(flow.id).records.values()]


@pytest.fixture(scope="module")
def engine() -> Iterator[then.Engine]:
    rules = then.Rules()
    rules.event("go", n="any")
    rules.event("want", n="int", s="str")

    @rules.task("give")
    def give(key: str) -> Any:
        return {"n": NO_BODIES[key][0]}

    @rules.task("shout")
    def shout(key: str) -> None:
        raise SystemExit(key * 1_000_000)

    @rules.when("want")
    def emit_it(want: then.Task) -> Any:
        yield then.emit("go", n=NO_BODIES[want.body["s"]][0])

    with then.Engine(rules) as engine:
        yield engine


@pytest.mark.parametrize("key", NO_BODIES)
def test_no_body_is_posted(engine: then.Engine, key: str) -> None:
    value, message = NO_BODIES[key]
    with pytest.raises(BodyRefused) as refused:
        engine.post("go", n=value)
    assert refused.value.text().startswith("go: $")
    assert message in refused.value.text()


@pytest.mark.parametrize("key", NO_BODIES)
def test_no_body_is_the_result_of_a_function(engine: then.Engine, key: str) -> None:
    flow = engine.run("give", key=key)
    assert flow.outcome == "failed"
    task = records(engine, flow)[0]
    assert task.error is not None
    assert task.error["kind"] == "result"
    assert NO_BODIES[key][1] in task.error["message"]


@pytest.mark.parametrize("key", NO_BODIES)
def test_no_body_is_emitted_and_the_rule_that_tried_says_so(engine: then.Engine, key: str) -> None:
    flow = engine.run("want", n=1, s=key)
    *_, last = records(engine, flow)
    assert last.type == "rule.failed"
    assert last.body["rule"] == "emit_it"
    assert NO_BODIES[key][1] in last.body["error"]


def test_what_a_function_raises_is_its_failure_however_long_it_is(engine: then.Engine) -> None:
    task = records(engine, engine.run("shout", key="x"))[0]
    assert task.error is not None
    assert task.error["kind"] == "exception"
    assert task.error["message"].startswith("SystemExit: xxx")
    assert "characters left out" in task.error["message"]
    assert len(task.error["message"]) < 11_000


@pytest.mark.parametrize(
    "name", ["", "../go", "a/b", "a\nb", "a\0b", "a b", ".a", "-a", "x" * 129, "\u0433o", "\U0001f600", "a\u202eb"]
)
def test_a_name_that_is_none_is_refused(engine: then.Engine, name: str) -> None:
    with pytest.raises(RuleError, match="is no name: 1 to 128 letters"):
        engine.post(name)
    with pytest.raises(RuleError, match="is no name: 1 to 128 letters"):
        then.Rules().event(name)


def test_a_text_of_ten_megabytes_goes_through_whole(engine: then.Engine) -> None:
    text = "x" * 10_000_000
    flow = engine.post("go", n=text)
    assert records(engine, flow)[0].body == {"n": text}


# -- how large ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    [
        {"n": "x" * 100_000_000},
        {"n": "\0" * (BODY_BYTES_MAX // 6)},
        {"n": "\u00e4" * (BODY_BYTES_MAX // 2)},
        {"x" * 65_000 + str(i): "y" * 1000 for i in range(1025)},
        {"n": [["x" * 2**20] * 8] * 9},
    ],
    ids=["long", "escaped", "two bytes each", "keys", "shared"],
)
def test_a_body_is_measured_as_the_json_that_it_becomes(value: Any) -> None:
    with pytest.raises(BodyRefused, match="more than 64 MiB; put large data into a file, and name the file here"):
        check_json(value, "go")


@pytest.mark.slow
def test_what_is_shared_is_measured_without_being_written_out() -> None:
    """Each place was looked at, 32 million of them, before they were too many: seven seconds."""
    lines_max, lines = 4_000_000, 0

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        if lines > lines_max:
            raise AssertionError(f"more than {lines_max} lines were run")
        return count

    for value in (shared(40), {"a": {"b": shared(9)}}, [{"n": shared(40)} for _ in range(10)], [shared(7)] * 3):
        lines, before = 0, sys.gettrace()
        sys.settrace(count)
        try:
            with pytest.raises(BodyRefused, match="more than 64 MiB"):
                check_json(value, "go")
        finally:
            sys.settrace(before)


def test_what_is_shared_and_small_enough_is_taken_and_a_circle_is_not() -> None:
    assert check_json({"n": shared(5)}, "go") > 9**5
    circle: list[Any] = [[1] * 200_000]
    circle[0:0] = [circle]
    with pytest.raises(BodyRefused, match="nested deeper than 64 levels: a part of it holds itself"):
        check_json(circle, "go")


def test_a_body_just_below_the_limit_is_taken() -> None:
    assert check_json({"n": "x" * (BODY_BYTES_MAX - 8)}, "go") == BODY_BYTES_MAX
    with pytest.raises(BodyRefused, match=f"{BODY_BYTES_MAX + 1} bytes as JSON, more than 64 MiB"):
        check_json({"n": "x" * (BODY_BYTES_MAX - 7)}, "go")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('rule more when go as g then go(n: "{g.n}{g.n}")', "limit: a text of 83886080 characters"),
        ("rule more when go as g then go(n: g.n + g.n)", "limit: a text of 83886080"),
        ('rule more when go as g then go(n: join([g.n, g.n], ""))', "limit: a text of 83886080 characters"),
        ("rule more when go as g then go(n: [g.n, g.n])", "go: $: more than 64 MiB"),
        ("rule more when go as g then go(n: [g.n])", "nested deeper than 64 levels"),
    ],
    ids=["template", "sum", "join", "lists", "depth"],
)
def test_a_rule_that_makes_its_record_larger_each_time_fails_and_the_engine_goes_on(
    shell: Shell, rule: str, message: str
) -> None:
    """A doubled text once grew to what the journal could not hold, which ended the engine, at each resume again."""
    shell.write("r.then", f"event go(n: any)\nevent other()\n{rule}\n")
    size = 2 if "depth" in message or "levels" in message else 10 * 2**20
    shell.write("n", "x" * size)
    said = shell("run", "r.then", "go", "n=@n", "--json")
    assert said.code == 1
    failed = said.objects[-2]
    assert failed["type"] == "rule.failed"
    assert failed["body"]["rule"] == "more"
    assert message in failed["body"]["error"]
    assert shell("run", "r.then", "other").code == 0


def test_a_match_that_emits_more_than_an_entry_of_the_journal_can_hold_fails() -> None:
    rules = then.Rules()
    rules.event("go")

    @rules.when("go")
    def flood(go: then.Task) -> Any:
        for _ in range(30):
            yield then.emit("large", text="x" * 10_000_000)

    with then.Engine(rules) as engine:
        last = records(engine, engine.run("go"))[-1]
    assert last.type == "rule.failed"
    assert "more than 256 MiB emitted by one match" in last.body["error"]


# -- by the command line --------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["want", "n=1"], "want: s: missing, str is declared"),
        (["want", "n=x", "s=a"], 'want: n: the text "x", int is declared'),
        (["want", "n=", "s=a"], 'want: n: the text "", int is declared'),
        (["want", "n=1.0", "s=a"], "want: n: the number 1.0, int is declared"),
        (["want", "n=1", "s=a", "t=2"], 'want has no field "t"'),
        (["want", "n=9223372036854775808", "s=a"], "want: $.n: an integer beyond 64 bits; give it as text"),
        (["go", "n=99999999999999999999"], "go: $.n: an integer beyond 64 bits; give it as text"),
        (["go", "n:=NaN"], "n: no JSON: "),
        (["go", 'n:="\\ud800"'], "n: no JSON: "),
        (["go", "n:="], "n: no JSON: "),
        (["go", "n:=" + "[" * 100_000], "n: no JSON of a body: nested too deeply"),
        (["go", "n:=" + "[" * 65 + "]" * 65], "go: $.n[0]"),
        (["go", 'n:={"a":1,"a":2}'], 'n: 1:8: the key "a" is there twice'),
        (["go", 'n={"a":1,"a":2}'], 'go: n: 1:8: the key "a" is there twice'),
        (["go", "--body", "twice"], '--body: 2:16: the key "\\u0061" is there twice'),
        (["go", "=1"], '"=1" is no field; write KEY=VALUE, KEY:=JSON or KEY=@FILE'),
        (["go", "n"], '"n" is no field; write KEY=VALUE, KEY:=JSON or KEY=@FILE'),
        (["go", "n=@"], '"n=@" names no file; write KEY=@FILE, or KEY:="@" in quotes for the text'),
        (["go", "n=@nope"], "n: nope: no such file or directory"),
        (["go", "n=@."], "n: .: is a directory"),
        (["go", "--body", "nope"], "--body: nope: no such file or directory"),
        (["go", "--body", "r.then"], "--body: no JSON: "),
        (["go", "n=@binary"], "n: binary: it is no utf-8 text"),
        (["a/../../go", "n=1"], "type 'a/../../go' is no name"),
        (["a\nb", "n=1"], "type 'a\\nb' is no name"),
        (["--", "-go"], "type '-go' is no name"),
        (["note", "m=1"], 'note has no field "m"'),
        (["bild"], 'unknown task or event "bild"'),
    ],
)  # fmt: skip
def test_words_that_make_no_record_are_refused_by_run_and_by_post(shell: Shell, words: list[str], message: str) -> None:
    shell.write("r.then", RULES)
    (shell.folder / "binary").write_bytes(b"\xff\0")
    shell.write("twice", '{"n": [{"a": "\\"}, {"}],\n "b": {"a": 1, "\\u0061": 2}}')
    said = shell("run", "r.then", *words)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"andthen: {message}")
    assert said.err.count("\n") == 1
    assert not (shell.folder / ".then").exists()
    assert shell("run", "r.then", "land", "name=x").code == 0
    before = shell("flows", "--json").out
    said = shell("post", *words)
    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert shell("flows", "--json").out == before


@pytest.mark.slow
def test_a_body_of_100_megabytes_is_refused_and_one_of_ten_is_run(shell: Shell) -> None:
    shell.write("r.then", RULES)
    with (shell.folder / "large").open("wb") as file:
        file.truncate(100_000_000)
    said = shell("run", "r.then", "go", "n=@large")
    assert (said.code, said.out) == (2, "")
    assert said.err == "andthen: n: large has more than 64 MiB; name the file in the body instead\n"
    shell.write("half", "x" * 40_000_000)
    shell.write("two.then", "event two(a: str, b: str)\n")
    said = shell("run", "two.then", "two", "a=@half", "b=@half")
    assert said.code == 2
    assert "two: $: 80000015 bytes as JSON, more than 64 MiB" in said.err
    shell.write("ten", "x" * 10_000_000)
    assert shell("run", "r.then", "go", "n=@ten").code == 0
