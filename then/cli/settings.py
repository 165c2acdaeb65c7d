"""What all commands share: the options `--json`, `--state`, `--no-color`, `--debug`, and how a command is made of a function."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TextIO

import click

STATE: Final = ".then"


class Settings:
    """How this call of `andthen` is to speak, and of which state."""

    def __init__(self) -> None:
        self.is_json = False
        self.is_debug = False
        self.is_plain = False
        """`--no-color`."""
        self.state: str | None = None

    @property
    def folder(self) -> Path:
        """The state folder, relative to the current one.

        Raises:
            ConfigError: a database is named.
        """
        state = self.state or os.environ.get("THEN_STATE") or STATE
        if state.startswith(("postgresql://", "postgres://")):
            from then.core.errors import ConfigError

            raise ConfigError("a state in PostgreSQL is not there yet; --state takes a folder")
        return Path(state)

    def again(self, words: str) -> str:
        """A command on the same state, to be typed."""
        state = str(self.folder)
        if state == STATE:
            return f"andthen {words}"
        import shlex

        return f"andthen --state {shlex.quote(state)} {words}"

    def has_color(self, stream: TextIO) -> bool:
        """Whether what is written there may be coloured."""
        if self.is_plain or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return False
        return is_terminal(stream)


def who() -> str:
    """Who sits here: the name of the user."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:
        return False


def say(text: str) -> None:
    """A message, to standard error: standard output carries results alone."""
    try:
        # What was printed before comes before: a terminal and `2>&1` show both in one.
        sys.stdout.flush()
    except (OSError, ValueError):
        pass
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # Nobody listens.


def settings_of(context: click.Context) -> Settings:
    """The settings of this call; the options of the group and of the command write to the same."""
    return context.ensure_object(Settings)


def shared_options() -> list[click.Parameter]:
    """Those that every command takes, before its name and after."""

    def take(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
        def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
            if value:
                setattr(settings_of(context), name, value)

        return callback

    def option(name: str, flag: str, text: str, **more: Any) -> click.Option:
        return click.Option([flag], callback=take(name), expose_value=False, help=text, **more)

    return [
        option("is_json", "--json", "JSON Lines: an object a record.", is_flag=True),
        option("state", "--state", f"The state folder [THEN_STATE, else {STATE}].", metavar="DIR"),
        option("is_plain", "--no-color", "No colours [NO_COLOR].", is_flag=True),
        option("is_debug", "--debug", "Tracebacks of errors.", is_flag=True),
    ]


class Command(click.Command):
    """A command that takes the shared options as well, and its help from the docstring."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params.extend(shared_options())


def command(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Makes a command of a function, whose first parameter is the settings."""

    def make(function: Callable[..., Any]) -> click.Command:
        return click.command(name, cls=Command)(pass_settings(function))

    return make


def pass_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **values: Any) -> Any:
        context = click.get_current_context()
        return context.invoke(function, settings_of(context), *args, **values)

    return update_wrapper(call, function)


resource_option: Final = click.option(
    "-r", "--resource", "resources", multiple=True, metavar="NAME=N", envvar="THEN_RESOURCES",
    help="So many of a named resource are there for `needs`; also cores and memory [THEN_RESOURCES].",
)  # fmt: skip

_RUN_OPTIONS: Final = (
    click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="How many tasks run at once [the cores]."),
    click.option(
        "--durability", type=click.Choice(["power", "process"]), default="power", show_default=True,
        help="What a commit survives: loss of power, or a kill.",
    ),
    click.option("--wait", "waits", is_flag=True, help="Wait for a flow that is held until somebody continues it."),
    click.option("--timeout", metavar="TIME", help="Cancel the flows after so long, such as 90s or 2h."),
    resource_option,
    click.option("--cancel-on-term", is_flag=True, help="On TERM and HUP cancel the flows instead of leaving them to resume."),
    click.option(
        "--retention", envvar="THEN_RETENTION", default="30d", show_default=True, metavar="TIME",
        help="Take away flows that ended longer ago; off keeps them [THEN_RETENTION].",
    ),
    click.option(
        "--guard", "guards", multiple=True, metavar="NAME=N", envvar="THEN_GUARDS",
        help="Hold a flow sooner or later than usual: idle-events=100, flow-records, call-depth, emissions [THEN_GUARDS].",
    ),
    click.option(
        "--docker-allow", "docker_allows", multiple=True, metavar="WHAT", envvar="THEN_DOCKER_ALLOW",
        help="Containers may ask for this too, such as mount=/data or network=host [THEN_DOCKER_ALLOW].",
    ),
)  # fmt: skip


class RunOptions(NamedTuple):
    """How an engine is to work in the foreground."""

    jobs: int | None
    durability: Literal["power", "process"]
    waits: bool
    timeout_s: float | None
    cancels_on_term: bool
    retention_s: float | None
    resources: dict[str, float]
    docker_allows: tuple[str, ...]
    guards: dict[str, int]


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Those of the commands that open an engine: they come as `options`, a `RunOptions`."""

    def call(  # noqa: PLR0913 (each is an option of its own)
        *args: Any,
        jobs: int | None,
        durability: str,
        waits: bool,
        timeout: str | None,
        cancel_on_term: bool,
        retention: str,
        resources: tuple[str, ...],
        docker_allows: tuple[str, ...],
        guards: tuple[str, ...],
        **more: Any,
    ) -> Any:
        from then.cli.values import guards_of, resources_of, retention_of, seconds

        timeout_s = seconds(timeout, "--timeout") if timeout is not None else None
        options = RunOptions(
            jobs,
            durability,  # type: ignore[arg-type]
            waits,
            timeout_s,
            cancel_on_term,
            retention_of(retention),
            resources_of(resources),
            docker_allows,
            guards_of(guards),
        )
        return function(*args, options=options, **more)

    wrapped: Callable[..., Any] = update_wrapper(call, function)
    for option in reversed(_RUN_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
