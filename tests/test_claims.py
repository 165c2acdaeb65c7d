"""What a task takes, and what is refused since it can never be met."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from then.core.claims import (
    ALONE,
    CORE,
    Capacity,
    Claim,
    Take,
    amount_text,
    claim,
    claim_of,
    constant_claim,
    key_text,
    place_of,
)
from then.core.declarations import Limit, Need, TaskDecl
from then.core.edition import Edition
from then.core.errors import RuleError
from then.core.evaluate import evaluate
from then.core.filters import Arithmetic, Const, Field
from then.core.rules import RuleSet
from then.core.source import Span
from then.core.tasks import Task

HERE = Capacity(slots=4, cores=4, memory_bytes=8 * 2**30, tokens={"license.toolA": 2, "seat": 5})
KNOWN = (
    "there are memory, cores, slots, lock.NAME, license.toolA, seat; say how many there are: "
    "`--resource {}=N`, `Engine(resources=…)`; with 0 the rest runs, and what needs it fails"
)
PLACE = Span("shop.then", 42, 7, 5)


def decl(*needs: tuple[str, Any], limit: Limit | None = None, slots: int = 1) -> TaskDecl:
    listed = tuple(
        Need(name, amount if isinstance(amount, Field | Arithmetic) else Const(amount), span=PLACE)
        for name, amount in needs
    )
    return TaskDecl("build", needs=listed, limit=limit, slots=slots)


def of(declared: TaskDecl, **body: Any) -> Claim:
    return claim_of(Task("build", body), declared, HERE, evaluate)


def refusal(declared: TaskDecl, **body: Any) -> str:
    with pytest.raises(RuleError) as caught:
        of(declared, **body)
    return str(caught.value)


def test_a_task_of_which_nothing_is_said_takes_a_slot() -> None:
    assert of(decl()) == Claim((Take("slots", 1, 4),), ("slots",))


def test_a_task_without_slots_takes_nothing() -> None:
    assert of(decl(slots=0)) == Claim((), ())


def test_takes_stand_in_one_order_whatever_the_order_of_the_needs() -> None:
    declared = decl(
        ("slots", 2), ("memory", 2**30), ("seat", 1), ("cores", 1.5), ("lock.b", "shared"), ("lock.a", "exclusive"),
        limit=Limit(3, Field(("region",))),
    )  # fmt: skip
    assert of(declared, region="eu").takes == (
        Take('limit of build by "eu"', 1, 3),
        Take("lock.a", ALONE, ALONE),
        Take("lock.b", 1, ALONE),
        Take("seat", 1, 5),
        Take("memory", 2**30, 8 * 2**30),
        Take("cores", 1_500_000, 4 * CORE),
        Take("slots", 2, 4),
    )


def test_amounts_may_come_of_the_inputs() -> None:
    declared = decl(("memory", Arithmetic("*", Field(("size",)), Const(1.5))))
    assert of(declared, size=101).takes[0] == Take("memory", 152, 8 * 2**30)


def test_an_amount_of_nothing_is_not_waited_for() -> None:
    assert of(decl(("cores", 0), ("seat", 0), ("memory", 0.0))).resources == ("slots",)


@pytest.mark.parametrize("cores", [0.1, 0.2, 0.3, 0.7, 1 / 3, 3.3])
def test_parts_of_cores_add_up(cores: float) -> None:
    (micro,) = [take.amount for take in of(decl(("cores", cores))).takes if take.resource == "cores"]
    assert abs(micro - cores * CORE) <= 1
    assert 10 * round(0.1 * CORE) == CORE


def test_the_least_part_of_a_core_counts() -> None:
    assert of(decl(("cores", 1e-9))).resources == ("cores", "slots")


def test_values_that_are_equal_share_a_limit() -> None:
    limit = decl(limit=Limit(1, Field(("key",))))
    assert of(limit, key=1).takes[0] == of(limit, key=1.0).takes[0]
    assert of(limit, key=1).takes[0] != of(limit, key="1").takes[0]
    assert of(limit, key={"a": 1, "b": 2}).takes[0] == of(limit, key={"b": 2, "a": 1}).takes[0]
    assert key_text(True) != key_text(1)


def test_a_limit_without_a_key_is_one_for_the_type() -> None:
    assert of(decl(limit=Limit(2))).takes[0] == Take("limit of build", 1, 2)


def test_a_limit_is_no_token_and_no_lock_by_name() -> None:
    assert [place_of(name)[0] for name in ("limit of x", "lock.x", "limits", "memory", "cores", "slots")] == [
        0, 1, 2, 3, 4, 5,
    ]  # fmt: skip


# -- what is refused -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "amount", "text"),
    [
        ("cores", 64, "needs {cores: 64}, and of this engine its cores are 4; ask for less, or run it where there is more"),
        ("cores", 4.000001, "needs {cores: 4.000001}, and of this engine its cores are 4; ask for less, or run it where there is more"),
        (
            "memory",
            2**34,
            "needs {memory: 16GiB}, and of this engine its memory is 8GiB; ask for less, or run it where there is more",
        ),
        ("slots", 5, "needs {slots: 5}, and of this engine its slots (`-j`) are 4; ask for less, or run it where there is more"),
        ("seat", 6, "needs {seat: 6}, and of this engine it has 5; ask for less, or run it where there is more"),
        (
            "license.toolB",
            1,
            f'needs unknown "license.toolB" (did you mean "license.toolA"?); {KNOWN}',
        ),
        (
            "core",
            1,
            f'needs unknown "core" (did you mean "cores"?); {KNOWN}',
        ),
        ("cores", -1, "needs {cores: -1}, less than nothing; give 0 or more"),
        ("cores", "two", 'needs {cores}: a number is expected, found "two"'),
        ("memory", True, "needs {memory}: a number is expected, found true"),
        ("memory", float("inf"), "needs {memory}: a number is expected, found inf"),
        ("memory", float("nan"), "needs {memory}: a number is expected, found nan"),
        ("memory", [1], "needs {memory}: a number is expected, found a list"),
        ("memory", None, "needs {memory}: a number is expected, found null"),
        ("seat", 1.5, "needs {seat: 1.5}; it is counted in whole numbers, such as 2"),
        ("slots", 0.5, "needs {slots: 0.5}; it is counted in whole numbers, such as 1"),
        ("lock.db", "alone", 'needs {lock.db: "alone"}; a lock is taken shared or exclusive'),
        ("lock.db", 1, "needs {lock.db: 1}; a lock is taken shared or exclusive"),
        ("lock.db", [], "needs {lock.db: a list}; a lock is taken shared or exclusive"),
    ],
)  # fmt: skip
def test_a_need_that_can_never_be_met_is_said_before_the_start(name: str, amount: Any, text: str) -> None:
    text = text.replace("{}", name)
    assert refusal(decl((name, amount))) == f"shop.then:42:7: build: {text}"
    # The same is known at load, whatever else depends on inputs.
    with pytest.raises(RuleError) as caught:
        constant_claim(decl((name, amount), ("memory", Field(("size",)))), HERE)
    assert str(caught.value) == f"shop.then:42:7: build: {text}"


def test_what_there_is_none_of_by_word_is_refused_only_when_it_comes() -> None:
    # Without a licence not even the rules that need none could be run.
    here = attrs.evolve(HERE, tokens={"license.toolA": 0})
    solve = decl(("license.toolA", 1), ("memory", 2**20))
    assert constant_claim(solve, here) is None
    with pytest.raises(RuleError, match=r"needs \{license.toolA: 1\}, and of this engine it has 0"):
        claim_of(Task("build"), solve, here, lambda expr, _: expr.value if isinstance(expr, Const) else None)
    with pytest.raises(RuleError, match="its memory is"):
        constant_claim(decl(("license.toolA", 1), ("memory", 2**40)), here)


def test_an_amount_that_cannot_be_said_is_a_failure_of_the_task() -> None:
    text = refusal(decl(("memory", Field(("size",)))), other=1)
    assert text == "shop.then:42:7: build: needs {memory} cannot be said: size is missing"


def test_a_key_that_cannot_be_said_is_one_too() -> None:
    text = refusal(decl(limit=Limit(2, Field(("region",)), span=PLACE)))
    assert text == "shop.then:42:7: build: the key of limit 2 at once cannot be said: region is missing"


@pytest.mark.parametrize("count", [0, -3])
def test_a_limit_of_nothing_is_refused(count: int) -> None:
    text = refusal(decl(limit=Limit(count, span=PLACE)))
    assert text == (
        f"shop.then:42:7: build: limit {count} at once lets none run; give 1 or more, or leave the limit out"
    )


def test_slots_beyond_those_of_the_engine_are_refused_where_no_need_says_so() -> None:
    assert refusal(decl(slots=9)).startswith("build: needs {slots: 9}, and of this engine its slots (`-j`) are 4")


# -- claims made once --------------------------------------------------------------


def test_a_claim_that_depends_on_nothing_is_made_once() -> None:
    assert constant_claim(decl(("cores", 2), limit=Limit(3)), HERE) == of(decl(("cores", 2), limit=Limit(3)))


@pytest.mark.parametrize(
    "declared", [decl(("cores", Field(("cores",)))), decl(limit=Limit(3, Field(("region",))))], ids=["need", "key"]
)
def test_a_claim_of_the_inputs_is_made_for_each(declared: TaskDecl) -> None:
    assert constant_claim(declared, HERE) is None


def test_an_edition_gives_the_values() -> None:
    edition = Edition("v", RuleSet([]))
    declared = decl(("cores", Field(("jobs",))))
    assert claim_of(Task("build", {"jobs": 2}), declared, HERE, edition.value).takes[0].amount == 2 * CORE


@pytest.mark.parametrize(
    ("resource", "amount", "text"),
    [
        ("cores", 1_500_000, "1.5"),
        ("memory", 3 * 2**30, "3GiB"),
        ("memory", 3 * 2**29, "1.50GiB"),
        ("memory", 2**20, "1MiB"),
        ("memory", 1536, "1.50KiB"),
        ("memory", 12, "12"),
        ("seat", 3, "3"),
    ],
)
def test_amounts_are_written_as_people_do(resource: str, amount: int, text: str) -> None:
    assert amount_text(resource, amount) == text


def test_takes_of_nothing_are_left_out() -> None:
    assert claim([Take("slots", 0, 4), Take("seat", 0, 5)]) == Claim((), ())
