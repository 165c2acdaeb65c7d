"""Commands for breakpoints: set, changed, switched, taken away, and what is done at their stops."""

from __future__ import annotations

from typing import Final

from then.core.errors import ConfigError, UnknownName
from then.core.holds import Point
from then.debugger.console import Action, Command, Console, Reply
from then.debugger.places import place_of
from then.debugger.view import check_place
from then.language.breakpoints import rewritten


def _breaking(prefix: str, options: str = "") -> Action:
    def run(console: Console, rest: str) -> Reply:
        if not rest:
            raise ConfigError(
                f"{prefix}: where? such as `before pay where amount > 5`, `after pay failed`, `on rule pack`, a line"
            )
        place = _place(console, rest)
        return _add(console, f"{place} {options}".strip(), None)

    return run


def _logpoint(console: Console, rest: str) -> Reply:
    place, quote, text = rest.partition('"')
    if not quote or not text.endswith('"'):
        raise ConfigError('logpoint: write a place and a text, such as `logpoint after pay "{order} took {took}"`')
    return _add(console, _place(console, place.strip()), text[:-1])


def _add(console: Console, place: str, prints: str | None) -> Reply:
    session = console.session
    check_place(place, session.view.edition)
    taken, number = session.view.state.holds.points, 1
    while f"b{number}" in taken:
        number += 1
    name = f"b{number}"
    session.access.call("break_add", name=name, place=place, prints=prints, who=session.who)
    session.refresh()
    return Reply(f"breakpoint {name} {place}", {"name": name, "place": place})


def _place(console: Console, text: str) -> str:
    view = console.session.view
    here = view.here
    root = view.access.root(view.flow.flow.version)
    return place_of(view.edition.rules, text, here.file if here is not None else "", root)


def _point(console: Console, name: str) -> Point:
    """A breakpoint that was added by hand, by its name or, as those that are set here, by its number."""
    name = f"b{name}" if name.isdigit() else name
    points = console.session.view.state.holds.points
    if name not in points:
        raise UnknownName("breakpoint", name, points)
    return points[name]


def _condition(console: Console, rest: str) -> Reply:
    name, _, expr = rest.partition(" ")
    point = _point(console, name)
    return _set_again(console, point, rewritten(point.text, where=expr.strip()))


def _ignore(console: Console, rest: str) -> Reply:
    name, _, count = rest.partition(" ")
    if not count.strip().isdigit():
        raise ConfigError("ignore: which breakpoint, and how many hits? such as `ignore b1 3`")
    point = _point(console, name)
    return _set_again(console, point, rewritten(point.text, from_hit=int(count) + 1))


def _set_again(console: Console, point: Point, text: str) -> Reply:
    """Sets a breakpoint in the place of itself."""
    session = console.session
    place = text.split(None, 2)[2]
    check_place(place, session.view.edition)
    session.access.call("break_add", name=point.name, place=place, flow=point.flow, who=session.who, replaces=True)
    session.refresh()
    return Reply(f"breakpoint {point.name} {place}", {"name": point.name, "place": place})


def _commands(console: Console, rest: str) -> Reply:
    if not console.waits:
        raise ConfigError("commands: in an editor nothing is carried out at a stop; a logpoint prints without one")
    console.record(_point(console, rest).name)
    return Reply()


def _switching(op: str, said: str) -> Action:
    def run(console: Console, rest: str) -> Reply:
        name = f"b{rest}" if rest.isdigit() else rest
        console.session.access.call(op, name=name)
        console.session.refresh()
        return Reply(f"{name} {said}")

    return run


def _catch(console: Console, rest: str) -> Reply:
    console.session.own.catch(rest)
    return Reply(f"stops on {rest}")


def _watch(console: Console, rest: str) -> Reply:
    if not rest:
        raise ConfigError("watch: which variable of the flow? such as `watch total`, `watch order.items`")
    console.session.own.watch(rest, console.session.view)
    return Reply(f"stops when {rest} was written with another value")


def _forget(console: Console, rest: str) -> Reply:
    console.session.own.forget(rest)
    return Reply(f"{rest}: no stop any more")


BREAKING: Final = (
    Command("break", ("b",), "PLACE [if EXPR]", "A breakpoint, for all flows.", _breaking("break")),
    Command("tbreak", (), "PLACE [if EXPR]", "A breakpoint that stops once.", _breaking("tbreak", "once")),
    Command("logpoint", ("dprintf",), 'PLACE "TEXT"', "Never stops; notes a text with its {fields}.", _logpoint),
    Command(
        "condition", ("cond",), "NAME [EXPR]", "Stops there only where this is true; without EXPR always.", _condition
    ),
    Command("ignore", (), "NAME COUNT", "Passes over the next so many hits; they are counted anew.", _ignore),
    Command("commands", (), "NAME", "What is typed next, up to `end`, is carried out at each stop there.", _commands),
    Command("enable", ("en",), "NAME", "Switches a breakpoint on.", _switching("break_enable", "is on")),
    Command("disable", ("dis",), "NAME", "Switches a breakpoint off.", _switching("break_disable", "is off")),
    Command("delete", ("del", "clear"), "NAME", "Takes a breakpoint away.", _switching("break_rm", "is gone")),
    Command(
        "catch",
        (),
        "failed|unhandled|no-match",
        "Stops on failures, on those that nothing takes up, on what no rule is for.",
        _catch,
    ),
    Command("watch", (), "VARIABLE", "Stops when a variable of the flow was changed.", _watch),
    Command("forget", ("unwatch",), "VARIABLE|failed|…", "Takes a catch or a watch back.", _forget),
)
