"""Timers: `every …` and `cron …`, from tree to model.

What is posted may name the time that it is due: `today`, its date in the zone
of the timer, and `now`, seconds since 1970.

Who calls: `then.language.loader`.
"""

from __future__ import annotations

from typing import Final

import attrs

from then.core.errors import RuleError, ScheduleRefused, UnknownName
from then.core.rules import TimerDecl
from then.core.schedule import Cron, Daily, Every, Schedule, clock
from then.language.compile import Compiler
from then.language.declare import dotted
from then.language.findings import Misplaced
from then.language.literals import duration_us
from then.language.scope import FLOAT, STR, Scope
from then.language.templates import read_text
from then.language.tree import Token, Tree
from then.language.units import Unit

TIMER_NAMES: Final = {"today": STR, "now": FLOAT}
"""What the arguments of a timer can name."""
_CHOICES: Final = {"overlap": ("skip", "queue", "allow"), "catchup": ("none", "once", "all")}
_QUOTE: Final = {"STRING": 1, "RAW": 2, "PLAIN": 0}
"""What stands before the expression of a `cron`."""
_WORDS: Final = {"overlap": "overlap", "catchup": "catch up"}


def timer_of(tree: Tree, compiler: Compiler) -> TimerDecl | None:
    """A timer; None where its schedule was refused. It is named as what it posts."""
    unit = compiler.unit
    post = tree.find("post")
    assert post is not None
    name_node, args_node = post.children
    assert isinstance(args_node, Tree)
    type = dotted(name_node)
    scope = Scope("value", unit.constants, names=dict(TIMER_NAMES))
    args = compiler.acts.posted(type, name_node, args_node, scope)
    compiler.typer.end_clause(scope)
    schedule = _schedule(tree, unit)
    if schedule is None:
        return None
    timer = TimerDecl(type, schedule, type, args, span=unit.span(tree))
    seen: set[str] = set()
    for node in tree.children:
        if isinstance(node, Tree) and node.data in _CHOICES:
            if node.data in seen:
                unit.refuse(Misplaced(f"`{_WORDS[node.data]}` is there twice"), node)
            seen.add(node.data)
            timer = _chosen(timer, node, unit)
    return timer


def _chosen(timer: TimerDecl, node: Tree, unit: Unit) -> TimerDecl:
    word = str(node.children[0])
    known = _CHOICES[node.data]
    if word not in known:
        error = UnknownName(f"word after `{_WORDS[node.data]}`", word, known)
        error.message += f"; there are {', '.join(known)}"
        unit.refuse(error, node.children[0])
        return timer
    if node.data == "overlap":
        return attrs.evolve(timer, overlap=word)  # type: ignore[arg-type]
    return attrs.evolve(timer, catch_up=word)  # type: ignore[arg-type]


def _schedule(tree: Tree, unit: Unit) -> Schedule | None:
    when = tree.children[0]
    zone_node = tree.find("zone")
    at = next((child for child in tree.children if isinstance(child, Token) and child.type == "CLOCK"), None)
    try:
        zone = _zone(zone_node)
        if isinstance(when, Token) and when.type == "DURATION":
            if zone_node is not None:
                unit.refuse(Misplaced("a period is the same everywhere: leave the zone out"), zone_node)
            return Every(duration_us(when))
        if isinstance(when, Token):
            return Cron(read_text(when), zone)
        hour, minute = clock(str(at)) if at is not None else (0, 0)
        return Daily(str(when.children[0]), hour, minute, zone)
    except ScheduleRefused as error:
        _place(error, when, at, unit)
        unit.refuse(error, when)
    except UnknownName as error:
        unit.refuse(error, zone_node)
    except RuleError as error:
        unit.refuse(error, when)
    return None


def _zone(node: Tree | None) -> str:
    token = node.children[0] if node is not None else None
    return read_text(token) if isinstance(token, Token) else "UTC"


def _place(error: ScheduleRefused, when: Tree | Token, at: Token | None, unit: Unit) -> None:
    """The part of a cron expression, or the time of day, that is meant."""
    if at is not None:
        error.span = unit.span(at)
    elif isinstance(when, Token) and when.type in _QUOTE and error.length and "\\" not in when:
        span = unit.span(when)
        begin = span.column + _QUOTE[when.type] + error.offset
        error.span = attrs.evolve(span, column=begin, length=error.length)
