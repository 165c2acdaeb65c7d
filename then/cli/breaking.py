"""Breakpoints listed and changed."""

from __future__ import annotations

import time

from then.app.objects import breakpoint_object
from then.app.reading import open_reading
from then.cli.changing import change
from then.cli.listing import print_answer, print_object, print_table
from then.cli.settings import Settings, who
from then.core.tasks import Body


def list_all(settings: Settings) -> None:
    """All breakpoints: what they are, their hits, and what they hold."""
    now = time.time_ns() // 1000  # noqa: TID251  # Whether one has expired is a matter of now.
    with open_reading(settings.folder) as reading:
        holds = reading.history().state.holds
        found = [breakpoint_object(point, holds.held_by(name), now) for name, point in holds.points.items()]
    if settings.is_json:
        for one in found:
            print_object(one)
        return
    print_table(("NAME", "STATE", "HITS", "HOLDS", "CANNOT SAY", "PLACE"), (_row(one) for one in found))


def _row(one: Body) -> tuple[str, ...]:
    unsaid = f"{one['unsaid']}: {one['why_unsaid']}" if one["unsaid"] else ""
    scope = f" (flow {one['flow']})" if one["flow"] else ""
    return one["name"], one["state"], str(one["hits"]), str(len(one["holds"])), unsaid, f"{one['place']}{scope}"


def change_one(settings: Settings, what: str, given: Body) -> None:
    """Adds one, takes one away, switches one on or off."""
    if what == "add":
        given["who"] = who()
    answer = change(settings, f"break_{what}", **given)
    print_answer(settings, answer, [f"{answer['name']}: {_said(what, answer)}"])


def _said(what: str, answer: Body) -> str:
    if what == "rm":
        return "taken away" + (f", {len(answer['released'])} released" if answer["released"] else "")
    expires = f" until {answer['expires']}" if answer["expires"] else ""
    return f"{answer['state']}{expires}"
