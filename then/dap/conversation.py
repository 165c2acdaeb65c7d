"""Requests read one after the other, each answered, and what follows from one told after its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from then.core.errors import ProtocolError, ThenError
from then.core.tasks import Body
from then.dap import arguments as a
from then.dap import going, looking, pointing, starting
from then.dap.client import Client
from then.dap.desk import Desk
from then.dap.link import Link
from then.dap.wire import Frames, HalfPair, Request, framed


class Answer(NamedTuple):
    """How a request is answered."""

    run: Callable[[Client, Desk, Any], Body | None]
    arguments: type[a.Arguments] = a.Arguments


REQUESTS: Final[dict[str, Answer]] = {
    "initialize": Answer(starting.initialize, a.InitializeArguments),
    "launch": Answer(starting.launch, a.LaunchArguments),
    "attach": Answer(starting.attach, a.AttachArguments),
    "configurationDone": Answer(starting.configuration_done),
    "disconnect": Answer(starting.disconnect, a.DisconnectArguments),
    "terminate": Answer(starting.terminate),
    "setBreakpoints": Answer(pointing.set_breakpoints, a.SetBreakpointsArguments),
    "setFunctionBreakpoints": Answer(pointing.set_function_breakpoints, a.SetFunctionBreakpointsArguments),
    "setExceptionBreakpoints": Answer(pointing.set_exception_breakpoints, a.SetExceptionBreakpointsArguments),
    "dataBreakpointInfo": Answer(pointing.data_breakpoint_info, a.DataBreakpointInfoArguments),
    "setDataBreakpoints": Answer(pointing.set_data_breakpoints, a.SetDataBreakpointsArguments),
    "breakpointLocations": Answer(looking.breakpoint_locations, a.BreakpointLocationsArguments),
    "threads": Answer(looking.threads),
    "stackTrace": Answer(looking.stack_trace, a.StackTraceArguments),
    "scopes": Answer(looking.scopes, a.FrameArguments),
    "variables": Answer(looking.variables, a.VariablesArguments),
    "evaluate": Answer(looking.evaluate, a.EvaluateArguments),
    "completions": Answer(looking.completions, a.CompletionsArguments),
    "source": Answer(looking.source, a.SourceArguments),
    "exceptionInfo": Answer(looking.exception_info, a.ThreadArguments),
    "continue": Answer(going.go_on, a.ThreadArguments),
    "next": Answer(going.next_, a.ThreadArguments),
    "stepIn": Answer(going.step_in, a.ThreadArguments),
    "stepOut": Answer(going.step_out, a.ThreadArguments),
    "pause": Answer(going.pause, a.ThreadArguments),
    "gotoTargets": Answer(going.goto_targets, a.GotoTargetsArguments),
    "goto": Answer(going.goto, a.GotoArguments),
    "stepBack": Answer(going.step_back, a.ThreadArguments),
    "reverseContinue": Answer(going.reverse_continue, a.ThreadArguments),
    "setVariable": Answer(going.set_variable, a.SetVariableArguments),
    "restartFrame": Answer(going.restart_frame, a.FrameArguments),
}
"""Every other request is answered with an error."""
PLACED: Final = frozenset(["setBreakpoints", "breakpointLocations", "gotoTargets", "completions"])
"""Those that say lines or columns; others may bring bodies of records, which are left alone."""


def converse(link: Link, desk: Desk, who: str) -> int:
    """Answers one client until it leaves, hangs up or sends what cannot be read. Gives an exit code."""
    client = Client(who, lambda message: link.send(framed(message)))
    frames = Frames()
    try:
        while data := link.read():
            frames.feed(data)
            while not desk.is_refused:
                wrong: ProtocolError | None = None
                try:
                    request = frames.take()
                except HalfPair as error:
                    request = error.request
                    wrong = ProtocolError(f'request "{request.command}": half of a surrogate pair is no text')
                if request is None:
                    break
                if request.type == "request":
                    _answer(client, desk, request, wrong)
        return 0
    except ProtocolError as error:
        # Where the next message begins is not known: it cannot go on.
        desk.log(str(error))
        client.say(str(error), "important")
        return error.exit_code
    finally:
        with client.lock:
            starting.leave(client)
            if client.has_begun:
                client.terminate()
        link.close()


def _answer(client: Client, desk: Desk, request: Request, wrong: ProtocolError | None) -> None:
    with client.lock:
        response: Body = {
            "type": "response", "request_seq": request.seq, "command": request.command, "success": True,
        }  # fmt: skip
        try:
            if wrong is not None:
                raise wrong
            answer = REQUESTS.get(request.command)
            if answer is None:
                raise ProtocolError(f'request "{request.command}" is not answered here')
            arguments = request.arguments
            if isinstance(arguments, dict) and request.command in PLACED:
                arguments = client.heard(arguments)
            body = answer.run(client, desk, a.read(request.command, arguments, answer.arguments))
            if body is not None:
                response["body"] = body
        except ThenError as error:
            _refuse(response, str(error), error.number)
            client.take_after()
        except Exception as error:  # noqa: BLE001  # Our own fault is answered too; the client goes on.
            desk.log(f"{request.command}: {type(error).__name__}: {error}; this is a fault of andthen")
            _refuse(response, f"{request.command}: {type(error).__name__}: {error}", "T900")
            client.take_after()
        client.send(response)
        for action in client.take_after():
            try:
                action()
            except Exception as error:  # noqa: BLE001  # As above; what it began does not go on.
                text = str(error)
                if not isinstance(error, ThenError):
                    text = f"{request.command}: {type(error).__name__}: {error}; this is a fault of andthen"
                    desk.log(text)
                client.say(text, "important")
                client.terminate()


def _refuse(response: Body, text: str, number: str) -> None:
    response |= {
        "success": False, "message": text,
        "body": {"error": {"id": int(number[1:]), "format": text.replace("{", "(").replace("}", ")"), "showUser": True}},
    }  # fmt: skip
