"""What a person types to a session, and what is answered: one line in, one reply out. No terminal, no socket.

The names and habits are those of gdb and pdb where the meaning is the same:
unique prefixes do, an empty line repeats a step. What each command does stands
in `then.debugger.moving` and `then.debugger.looking`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

from then.core.errors import ConfigError, ThenError, nearest
from then.core.source import Span
from then.core.tasks import Body, Json
from then.core.values import CannotSay, json_text
from then.debugger.session import Logged, Session, Stop
from then.debugger.view import View

AROUND = 2
"""Lines shown before and after the one that matters."""


@attrs.frozen
class Reply:
    """The answer to a line."""

    text: str = ""
    data: Body | None = None
    """The same for programs."""
    is_last: bool = False
    """The session is over."""


_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What would move a terminal's cursor."""

Action: TypeAlias = Callable[["Console", str], Reply]


@attrs.frozen
class Command:
    """One command."""

    name: str
    aliases: tuple[str, ...]
    usage: str
    """Its arguments."""
    says: str
    """One sentence."""
    run: Action
    repeats: bool = False
    """An empty line does it again."""


class Console:
    """The commands over one session."""

    def __init__(self, session: Session) -> None:
        from then.debugger.looking import LOOKING
        from then.debugger.moving import MOVING

        self.session = session
        self.waits = True
        """Whether what lets the flow go on waits for its next stop; not where that is heard of otherwise."""
        self.displays: list[str] = []
        """Expressions that are shown at every stop."""
        self.listed: tuple[str, int] | None = None
        """File and line after which `list` goes on."""
        self.commands = {command.name: command for command in (*MOVING, *LOOKING, HELP)}
        self._again = ""
        self.scripts: dict[str, list[str]] = {}
        """By breakpoint: what is carried out at each of its stops."""
        self.recording: str | None = None
        """The breakpoint that what is typed now is for, up to `end`."""
        self.hears: Callable[[Logged], None] | None = None
        """Takes what logpoints say; None: it is told with the next stop."""
        self.end_replay: Callable[[], None] = lambda: None
        """Ends what was handed to debugpy."""
        self.due: deque[str] = deque()
        """What is to be carried out next: whoever reads lines takes them from here first."""

    def close(self) -> None:
        """Takes away what this session set for itself; what is held stays held."""
        self.session.own.clear()
        self.end_replay()

    def turn_to(self, flow: str) -> Session:
        """Goes on with another flow; what is held of this one stays held."""
        before = self.session
        if self.waits:  # Else both are gone on with.
            before.own.clear()
        self.session = Session(before.access, flow, before.who)
        if self.hears is not None:
            self.session.hear = self.hears
        return self.session

    def record(self, name: str) -> None:
        """What is typed from now on, up to `end`, is for the stops of this breakpoint."""
        self.recording = name
        self.scripts[name] = []

    def run(self, line: str) -> Reply:
        """Carries a line out.

        Raises:
            ThenError: it cannot be done; nothing has changed.
        """
        line = line.strip()
        if self.recording is not None:
            if line == "end":
                self.recording = None
            elif line:
                self.scripts[self.recording].append(line)
            return Reply()
        if line.startswith("#"):
            return Reply()
        line = line or self._again
        if not line:
            return Reply()
        word, _, rest = line.partition(" ")
        command = self.command(word)
        if rest.strip() and not command.usage:
            raise ConfigError(f"{command.name}: nothing belongs behind it; here stands {rest.strip()}")
        self._again = line if command.repeats else ""
        return command.run(self, rest.strip())

    def command(self, word: str) -> Command:
        """The command of a name, an alias, or the beginning of one name.

        Raises:
            ConfigError: there is none, or there are several.
        """
        for command in self.commands.values():
            if word == command.name or word in command.aliases:
                return command
        found = [name for name in self.commands if name.startswith(word)]
        if len(found) == 1:
            return self.commands[found[0]]
        if found:
            raise ConfigError(f'"{word}" may be {", ".join(found)}')
        raise ConfigError(f'no command "{word}"{nearest(word, self.commands)}; `help` lists them')

    def completions(self, line: str) -> list[str]:
        """What the last word of a line may be."""
        word, space, rest = line.partition(" ")
        if not space:
            return [name for name in self.commands if name.startswith(word)]
        view = self.session.view
        rules = view.edition.rules
        known = [
            *rules.tasks, *rules.events, *rules.procedures, *(rule.name for rule in rules.rules),
            *view.task.body, *(view.task.result or {}), *(f"flow.{name}" for name in view.variables),
            *view.state.holds.points, *view.flow.records,
        ]  # fmt: skip
        last = rest.rpartition(" ")[2]
        return sorted({name for name in known if name.startswith(last)})

    # -- stops -----------------------------------------------------------------------------

    def stopped(self, stop: Stop) -> Reply:
        """A stop, told: why, where, and what is displayed. What was to be carried out there is due."""
        self.due = deque(self.scripts.get(stop.breakpoint or "", ()))
        if stop.id is None:
            return Reply(stop.text, {"stop": stop.reason, "why": stop.text, "flow": stop.flow, **self._end()})
        view = self.session.view
        task, span = view.task, view.here
        data: Body = {
            "stop": stop.reason, "why": stop.text, "breakpoint": stop.breakpoint, "flow": stop.flow, "id": task.id,
            "type": task.type, "outcome": task.outcome, "body": task.body, "result": task.result, "error": task.error,
            "rule": view.rule, "file": span.file if span is not None else None,
            "line": span.line if span is not None else None, "display": {},
        }  # fmt: skip
        if view.script is not None:
            data |= {"script": view.script.file, "step": view.script.step, "locals": locals_of(view)}
        lines = [*(logged_text(one) for one in self.session.logged), stop.text, *self.place()]
        self.session.logged.clear()
        for expr in self.displays:
            value = displayed(self, expr)
            data["display"][expr] = None if isinstance(value, CannotSay) else json_of(value)
            lines.append(f"{expr} = {value_shown(value)}")
        return Reply("\n".join(lines), data)

    def place(self) -> list[str]:
        """The rule in view, with a few lines round it."""
        view = self.session.framed
        span, script = view.here, view.script
        if span is None:
            return [f"at {view.rule}"] if view.rule is not None else []
        self.listed = None
        name = script.frames[0].function if script is not None and script.frames else view.rule
        return [
            *([f"(where the script is cannot be told: {script.wrong})"] if script is not None and script.wrong else []),
            f"{name} at {span.file}:{span.line}",
            *self.source(span.file, span.line - AROUND, span.line + AROUND),
        ]

    def source(self, file: str, first: int, last: int) -> list[str]:
        """Lines of a file of rules, `->` at the rule in view, `B` where a breakpoint is."""
        view = self.session.framed
        here = view.here
        text = view.lines(Span(file))
        marked = breaks_at(self, file)
        rows = []
        for number in range(max(1, first), min(last, len(text)) + 1):
            is_here = here is not None and (here.file, here.line) == (file, number)
            mark = ("B" if number in marked else " ") + ("->" if is_here else "  ")
            rows.append(f"{mark}{number:5}  {text[number - 1]}".rstrip())
        return rows

    def _end(self) -> Body:
        flow = self.session.access.history().flow(self.session.flow).flow
        return {"outcome": flow.outcome, "state": flow.state}


def logged_text(one: Logged) -> str:
    """A line for what a logpoint said."""
    return f"{one.breakpoint}: {_CONTROL.sub(lambda found: ascii(found[0])[1:-1], one.text)}"


def breaks_at(console: Console, file: str) -> set[int]:
    """Lines of a file at which a breakpoint stands, or that a rule begins on which one is."""
    view = console.session.view
    rules = view.edition.rules
    lines = {
        point.span.line for point in rules.breakpoints.values() if point.span is not None and point.span.file == file
    }
    for set_ in view.state.holds.points.values():
        place = set_.text.partition(" on rule ")[2].split(" ")[0]
        rule = view.declared(place) if place else None
        if rule is not None and rule.span is not None and rule.span.file == file:
            lines.add(rule.span.line)
        line = re.search(r' on step of \S+ at "([^"]+):(\d+)"', set_.text)
        if line is not None and line[1] == file:
            lines.add(int(line[2]))
    return lines


def locals_of(view: View) -> list[Body]:
    """The functions of the script in view, the innermost first, each with what its names hold."""
    frames = view.script.frames if view.script is not None else ()
    return [
        {"function": one.function, "line": one.line, "names": {name.name: name.text for name in one.names}}
        for one in frames
    ]


def displayed(console: Console, expr: str) -> Json | CannotSay:
    """What is displayed: here it may mean nothing, where it was asked for it did."""
    try:
        return console.session.view.value(expr)
    except ThenError as error:
        return CannotSay(str(error).partition("\n")[0])


def value_shown(value: Json | CannotSay) -> str:
    """A value as JSON; why there is none."""
    return f"({value.reason})" if isinstance(value, CannotSay) else json_text(json_of(value))


def json_of(value: Json) -> Json:
    """A record as an object; anything else as it is."""
    from then.core.fields import record_json
    from then.core.tasks import Task

    return record_json(value) if isinstance(value, Task) else value


def _help(console: Console, rest: str) -> Reply:
    if rest:
        command = console.command(rest)
        also = f" (also {', '.join(command.aliases)})" if command.aliases else ""
        return Reply(f"{command.name} {command.usage}".strip() + f"{also}\n    {command.says}")
    width = max(len(f"{one.name} {one.usage}") for one in console.commands.values())
    rows = [f"{f'{one.name} {one.usage}':<{width}}  {one.says}" for one in console.commands.values()]
    return Reply("\n".join([*rows, "The beginning of a name is enough; an empty line does a step again."]))


HELP = Command("help", ("h", "?"), "[COMMAND]", "What there is to type.", _help)
