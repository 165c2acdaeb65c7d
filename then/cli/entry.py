"""The group of commands, and what becomes of an error: one text on standard error, and an exit code."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from then.cli.settings import Settings, say, shared_options

PROGRAM: Final = "andthen"
COMPLETE: Final = "_ANDTHEN_COMPLETE"
"""The variable by which a shell asks for completions."""

COMMANDS: Final[dict[str, str]] = {
    "run": "Run rules: post a record, show what follows, end when its flow has ended.",
    "post": "Post a record.",
    "complete": "Report on a task that a person does.",
    "ps": "Tasks that are live.",
    "flows": "Flows, and how they ended.",
    "show": "One record whole; or a rule.",
    "log": "The output of a task.",
    "cancel": "End a record and what descends from it.",
    "retry": "Try again what failed.",
    "break": "Breakpoints: listed, added, taken away, switched off and on.",
    "continue": "Let go on what is held, changed perhaps.",
    "debug": "Stop a flow at its first record, and go on step by step.",
    "attach": "The debugger, at a flow of the running engine.",
    "resume": "Take up what a stopped engine left.",
    "joins": "Half-filled joins, and what they wait for.",
    "timers": "Timers, and when they fire.",
    "rules": "The rules in force.",
    "check": "What is wrong with rules, or looks wrong.",
    "test": "The tests beside rules, in virtual time.",
    "fmt": "Rules in the one layout.",
    "prune": "Take away flows that ended long ago.",
    "completion": "What makes a shell complete commands.",
}
"""Each has a module of its name here, imported when it is asked for; its sentence stands here for `--help`."""

_MODULES: Final = {"break": "break_", "continue": "continue_"}


class Commands(click.Group):
    """Imports a command's module when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"then.cli.{_MODULES.get(cmd_name, cmd_name)}")
        found: click.Command = module.command_
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            from then.core.errors import nearest

            raise click.UsageError(f'no command "{name}"{nearest(name, COMMANDS)}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from then import __version__

        click.echo(f"{PROGRAM} {__version__}")
        ctx.exit()


andthen = Commands(
    PROGRAM,
    params=[
        *shared_options(),
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="The version."
        ),
    ],
    help="A rule-based reactive task engine: when this task has completed like so, then run those.",
    epilog=(
        "Exit codes: 0 well; 1 a flow failed or was cancelled, or findings; 2 usage or rules; 3 executor or journal;"
        " 4 held; 70 our fault; 130, 143, 129 on Ctrl-C, TERM, HUP; 141 when nobody reads the output."
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def enter(arguments: Sequence[str]) -> int:
    """Runs a command line. Gives the exit code."""
    settings = Settings()
    _steady_streams()
    try:
        try:
            code = _call(arguments, settings)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except click.exceptions.Exit as end:
            sys.stdout.flush()
            return end.exit_code
        except Exception as error:  # noqa: BLE001
            # The one guard of the command line: whatever it was, one text and a code.
            return _refuse(error, settings)
    except BrokenPipeError:
        return end_unread()
    except KeyboardInterrupt:
        return 130
    return code if isinstance(code, int) else 0


def end_unread() -> int:
    """The reader has gone: nothing is left to say, neither now nor when Python flushes at its end. Gives the exit code."""
    _let_go_of_output()
    return 141


def _let_go_of_output() -> None:
    """What is still buffered is not tried again when Python ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _call(arguments: Sequence[str], settings: Settings) -> object:
    if COMPLETE in os.environ:
        andthen.main(list(arguments), PROGRAM, COMPLETE, obj=settings)
    # Not `andthen.main`, which makes 1 of a broken pipe.
    with andthen.make_context(PROGRAM, list(arguments), obj=settings) as context:
        return andthen.invoke(context)


def _steady_streams() -> None:
    """Output never fails for want of a character, nor for want of a stream."""
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _refuse(error: Exception, settings: Settings) -> int:
    from then.core.errors import RuleError, ThenError

    if settings.is_debug:
        import traceback

        traceback.print_exception(error)
    match error:
        case click.Abort():
            return 130
        case click.ClickException():
            return _refuse_usage(error)
        case ThenError():
            has_place = isinstance(error, RuleError) and error.span is not None
            say(str(error) if has_place else f"{PROGRAM}: {error}")
            return error.exit_code
        case OSError() if error.filename is not None:
            say(f"{PROGRAM}: {os.fsdecode(error.filename)}: {(error.strerror or str(error)).lower()}")
            return 2
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EFBIG | errno.EIO):
            # Of a file of ours it would be a JournalError: what is left is where the output goes.
            say(f"{PROGRAM}: standard output: {(error.strerror or str(error)).lower()}")
            _let_go_of_output()
            return 3
    say(f"{PROGRAM}: {type(error).__name__}: {error}; this is a fault of andthen: report it with what --debug shows")
    return 70


def _refuse_usage(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        say(error.format_message())
        return 2
    context = getattr(error, "ctx", None)
    name = context.command_path if context is not None else PROGRAM
    say(f"{name}: {_worded(error)}")
    say(f"`{name} --help` shows how it is used")
    return 2


def _worded(error: click.ClickException) -> str:
    """The message of click, in our words."""
    text = error.format_message()
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter):
        hint = error.param.get_error_hint(error.ctx) if error.param is not None and error.ctx is not None else ""
        text = f"{hint}: {error.message}"
    text = text.removesuffix(".")
    return text[:1].lower() + text[1:]
