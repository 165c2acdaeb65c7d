"""Commands that look, and change nothing."""

from __future__ import annotations

from typing import Final

import msgspec

from then.app.objects import breakpoint_object, record_object
from then.core import facts as f
from then.core.errors import ConfigError
from then.core.source import Span
from then.core.tasks import Body, Json, Task
from then.core.values import CannotSay, json_text
from then.debugger.console import Command, Console, Reply, displayed, json_of, locals_of, value_shown
from then.debugger.past import entry_at
from then.debugger.view import View

LISTED: Final = 11
"""Lines of one `list`."""
HISTORY: Final = 10


def _where(console: Console, rest: str) -> Reply:
    rows, data = [], list[Body]()
    for number, frame in enumerate(console.session.view.stack()):
        place = f" ({frame.span.file}:{frame.span.line})" if frame.span is not None else ""
        if frame.function is not None:
            rows.append(f"#{number}  {frame.function}{place}, of {said(frame.task)}")
            if rest == "full":
                rows += [f"      {name.name} = {name.text}" for name in frame.names]
            data.append({"id": frame.task.id, "type": frame.task.type, "function": frame.function})
            continue
        by = f"{', at' if number == 0 else ' by'} {frame.rule}" if frame.rule is not None else ""
        rows.append(f"#{number}  {said(frame.task)}{by}{place}")
        if rest == "full":
            rows += [f"      {name} = {json_text(value)}" for name, value in frame.task.body.items()]
        data.append({"id": frame.task.id, "type": frame.task.type, "rule": frame.rule})
    return Reply("\n".join(rows), {"stack": data})


def said(task: Task) -> str:
    """`pay (0k3f…) done`."""
    state = task.outcome.replace("_", " ") if task.outcome is not None and not task.event else ""
    held = "held" if task.is_held else task.state if task.outcome is None else ""
    return " ".join(word for word in (task.type, f"({task.id})", state, held) if word)


def _why(console: Console, rest: str) -> Reply:
    """From the record up to what began the flow, each with the rule that brought it forth; then what was done to it."""
    view = console.session.view
    records, rows, data = view.flow.records, [], []
    id: str | None = view.id
    while id is not None and id in records:
        task = records[id].task
        span = view.span(task.rule)
        place = f" ({span.file}:{span.line})" if span is not None else ""
        rows.append(f"{said(task)}{f' by {task.rule}{place} on' if task.rule is not None else ''}")
        data.append({"id": id, "type": task.type, "rule": task.rule})
        id = task.parent
    record = records[view.id]
    for _, edit, _ in record.edits:
        did = "skipped" if edit.is_skipped else f"sent to {edit.rule}" if edit.rule is not None else "changed"
        rows.append(f"  it was {did}{f' by {edit.by}' if edit.by else ''}")
    if record.recalled is not None:
        rows.append(f"  it ended as {record.recalled} of the origin did")
    if record.fired:
        rows.append(f"  {', '.join(record.fired)} fired on it")
    return Reply("\n".join(rows), {"causes": data, "fired": record.fired})


def _frame(console: Console, rest: str) -> Reply:
    session = console.session
    if rest:
        if not rest.isdigit():
            raise ConfigError("frame: a number is needed; `where` shows them")
        session.choose(int(rest))
    return _framed(console)


def _up(console: Console, rest: str) -> Reply:
    console.session.choose(console.session.frame + 1)
    return _framed(console)


def _down(console: Console, rest: str) -> Reply:
    console.session.choose(console.session.frame - 1)
    return _framed(console)


def _framed(console: Console) -> Reply:
    number, view = console.session.frame, console.session.framed
    data = {"frame": number, "id": view.id, "type": view.task.type, "rule": view.rule}
    return Reply("\n".join([f"#{number}  {said(view.task)}", *console.place()]), data)


def _list(console: Console, rest: str) -> Reply:
    span = _shown(console, rest)
    file, line = span.file, span.line
    first = max(1, line - LISTED // 2)
    if not rest and console.listed is not None and console.listed[0] == file:
        first = console.listed[1] + 1
    console.listed = (file, first + LISTED - 1)
    return Reply("\n".join(console.source(file, first, first + LISTED - 1)) or "(the end)")


def _list_all(console: Console, rest: str) -> Reply:
    return Reply("\n".join(console.source(_shown(console, rest).file, 1, 1_000_000)))


def _shown(console: Console, rest: str) -> Span:
    """Where what is to be listed stands: a rule, or the place in view."""
    view = console.session.framed
    rule = view.declared(rest) if rest else None
    span = view.here if not rest else rule.span if rule is not None else None
    if span is None:
        raise ConfigError(f'no text of "{rest or view.rule}" is known')
    return span


def _debugpy(console: Console, rest: str) -> Reply:
    from then.debugger.replay import HOST, Replay

    replay = Replay(console.session.view)
    console.end_replay()
    console.end_replay = replay.close
    text = (
        f"debugpy listens on {HOST}:{replay.port}: attach an editor there; {replay.file} is run once more up to its step, "
        "and starts nothing"
    )
    return Reply(text, {"attach": replay.configuration})


def _print(console: Console, rest: str) -> Reply:
    value = _valued(console, rest)
    return Reply(value_shown(value), _data(rest, value))


def _pretty(console: Console, rest: str) -> Reply:
    value = _valued(console, rest)
    if isinstance(value, CannotSay):
        return Reply(value_shown(value), _data(rest, value))
    return Reply(msgspec.json.format(msgspec.json.encode(json_of(value)), indent=2).decode(), _data(rest, value))


def _valued(console: Console, rest: str) -> Json | CannotSay:
    if not rest:
        raise ConfigError("print: what? such as `print body`, `print amount * 2`, `print flow.total`")
    view = console.session.framed
    script = view.script
    for name in (name for frame in (script.frames if script is not None else ()) for name in frame.names):
        if name.name == rest:
            return name.value if name.is_json else CannotSay(name.text)
    return view.value(rest)


def _data(expr: str, value: Json | CannotSay) -> Body:
    if isinstance(value, CannotSay):
        return {"expr": expr, "missing": value.reason}
    return {"expr": expr, "value": json_of(value)}


def _display(console: Console, rest: str) -> Reply:
    if not console.waits:
        raise ConfigError("display: an editor shows what it watches; `print EXPR` shows it now")
    if rest and rest not in console.displays:
        value = console.session.view.value(rest)
        console.displays.append(rest)
        return Reply(f"{rest} = {value_shown(value)}")
    return Reply("\n".join(f"{expr} = {value_shown(displayed(console, expr))}" for expr in console.displays))


def _undisplay(console: Console, rest: str) -> Reply:
    if rest and rest not in console.displays:
        raise ConfigError(f'"{rest}" is not displayed')
    console.displays = [expr for expr in console.displays if rest and expr != rest]
    return Reply()


def _args(console: Console, rest: str) -> Reply:
    task = console.session.framed.task
    rows = [f"{name} = {json_text(value)}" for name, value in task.body.items()]
    return Reply("\n".join(rows) or "(an empty body)", {"body": task.body})


def _task(console: Console, rest: str) -> Reply:
    if rest:
        console.session.look_at(rest)
    view = console.session.view
    task = view.task
    rows = [said(task), *(f"body.{name} = {json_text(value)}" for name, value in task.body.items())]
    rows += [f"result.{name} = {json_text(value)}" for name, value in (task.result or {}).items()]
    rows += [f"error.{name} = {json_text(value)}" for name, value in (task.error or {}).items()]
    stack = [frame.task.id for frame in view.stack()[1:]]
    return Reply("\n".join(rows), record_object(task, stack=stack))


def _preview(console: Console, rest: str) -> Reply:
    view = console.session.view
    if not view.task.is_held:
        raise ConfigError(f"{view.task.type} ({view.id}) is not held: what the rules did with it, `history` shows")
    found = view.preview
    return Reply("\n".join(foretold(view)), {
        "fired": list(found.fired), "emitted": [{"type": task.type, "body": task.body} for task in found.emitted],
        "starts": len(found.starts), "saves": found.saves, "ends": found.ends, "refused": found.refused,
    })  # fmt: skip


def foretold(view: View) -> list[str]:
    """What would follow, a line each."""
    found, task, script = view.preview, view.task, view.script
    if found.refused is not None:
        return [f"it would be refused: {found.refused}"]
    word = f"go on with `{script.step}`" if script is not None and script.step else "start"
    rows = [f"{task.type} would {word}"] if task.id in found.starts else []
    rows += [f"{rule} would fire" for rule in found.fired]
    rows += [f"  {one.type} {json_text(one.body)} would be emitted, by {one.rule}" for one in found.emitted]
    rows += [f"  flow.{name} would be {json_text(value)}" for name, value in found.saves.items()]
    if found.is_part:
        rows.append("a join would take it")
    if not found.is_taken_up:
        rows.append("nothing would take the failure up")
    if found.ends is not None:
        rows.append(f"the flow would end {found.ends}")
    return rows or ["no rule would fire"]


# -- the past ----------------------------------------------------------------------------------


def _history(console: Console, rest: str) -> Reply:
    session = console.session
    if rest and not (rest.isascii() and rest.isdigit() and int(rest[:9])):
        raise ConfigError(f"history: how many entries? a whole number from 1 on, such as `history 20`; here is {rest}")
    count = int(rest[:9] or HISTORY)
    entries = session.access.history().seqs(session.flow)
    shown = [seq for seq in entries if session.at is None or seq <= session.at][-count:]
    rows = [f"{'->' if seq == session.at else '  '}{seq:5}  {_happened(console, seq)}" for seq in shown]
    return Reply("\n".join(rows))


def _happened(console: Console, seq: int) -> str:
    """What an entry of the journal says, in a few words."""
    records = console.session.access.history().flow(console.session.flow).records
    said_: list[str] = []
    for fact in entry_at(console.session.access.journal, seq).facts:
        match fact:
            case f.Posted(task=task):
                said_.append(f"{task.type} posted")
            case f.Emitted(task=task):
                said_.append(f"{task.type} emitted")
            case f.Completed(id=id, outcome=outcome):
                said_.append(f"{records[id].task.type} {outcome.replace('_', ' ')}")
            case f.Asked(id=id, what=what) | f.Awaited(id=id, what=what):
                said_.append(f"{records[id].task.type} asks `{what}`")
            case f.Hit(name=name, stops=True):
                said_.append(f"held at {name}")
            case f.Released(id=id) | f.Taken(id=id) if records[id].hits:
                said_.append(f"{records[id].task.type} released")
            case f.Edited(id=id, by=by, rule=rule, is_skipped=is_skipped):
                what = "skipped" if is_skipped else f"jumped to {rule}" if rule is not None else "changed"
                said_.append(f"{records[id].task.type} {what}" + (f" by {by}" if by else ""))
            case f.Matched(rules=rules) if rules:
                said_.append(f"{', '.join(rules)} fired")
            case f.Saved(name=name, value=value):
                said_.append(f"flow.{name} = {json_text(value)}")
            case f.FlowEnded(outcome=outcome):
                said_.append(f"flow {outcome}")
            case _:
                pass
    return ", ".join(said_) or "…"


def _back(console: Console, rest: str) -> Reply:
    console.session.back()
    return _moment(console)


def _back_to_hit(console: Console, rest: str) -> Reply:
    console.session.back(to_hit=True)
    return _moment(console)


def _forward(console: Console, rest: str) -> Reply:
    console.session.forward()
    return _moment(console)


def _now(console: Console, rest: str) -> Reply:
    console.session.forward(to_end=True)
    return _moment(console)


def _moment(console: Console) -> Reply:
    session = console.session
    view = session.view
    if session.at is None:
        return Reply(f"now: {said(view.task)}", {"at": None, "id": view.id})
    happened = _happened(console, session.at)
    text = f"(past) entry {session.at}: {happened}\n{said(view.task)}"
    return Reply(text, {"at": session.at, "id": view.id, "happened": happened})


# -- info --------------------------------------------------------------------------------------


def _info(console: Console, rest: str) -> Reply:
    found = [name for name in _INFO if name.startswith(rest)] if rest else []
    if len(found) != 1:
        raise ConfigError(f"info: of what? {', '.join(_INFO)}")
    return _INFO[found[0]](console)


def _breakpoints(console: Console) -> Reply:
    holds = console.session.view.state.holds
    rows, data = [], []
    for point in holds.points.values():
        shown = breakpoint_object(point, holds.held_by(point.name))
        state = f"{shown['state']}, {point.hits} hit{'' if point.hits == 1 else 's'}"
        rows.append(f"{point.name}  {shown['place']}  ({state})")
        data.append(shown)
    return Reply("\n".join(rows) or "no breakpoint is set", {"breakpoints": data})


def _tasks(console: Console) -> Reply:
    records = console.session.view.flow.records.values()
    rows = [("->" if record.task.id == console.session.view.id else "  ") + said(record.task) for record in records]
    return Reply("\n".join(rows), {"tasks": [record_object(record.task) for record in records]})


def _held(console: Console) -> Reply:
    view = console.session.view
    rows = [f"{said(view.flow.records[id].task)} at {hold.breakpoint}" for id, hold in view.flow.holds.items()]
    return Reply("\n".join(rows) or "nothing is held", {"held": list(view.flow.holds)})


def _flows(console: Console) -> Reply:
    flows = list(console.session.access.history().flows())
    rows = [f"{flow.id}  {flow.type}  {flow.outcome or flow.state}" for flow in flows]
    return Reply("\n".join(rows), {"flows": [flow.id for flow in flows]})


def _variables(console: Console) -> Reply:
    variables = console.session.view.variables
    rows = [f"{name} = {json_text(value)}" for name, value in variables.items()]
    return Reply("\n".join(rows) or "the flow has no variable", {"variables": variables})


def _locals(console: Console) -> Reply:
    view = console.session.view
    script = view.script
    if script is None or script.wrong is not None:
        raise ConfigError(
            f"{said(view.task)} is at no step of a script" if script is None else f"{script.file}: {script.wrong}"
        )
    rows = []
    for frame in script.frames:
        rows.append(f"{frame.function} at {script.file}:{frame.line}")
        rows += [f"  {name.name} = {name.text}" for name in frame.names]
    return Reply("\n".join(rows), {"step": script.step, "locals": locals_of(view)})


def _captures(console: Console) -> Reply:
    found = console.session.framed.bindings()
    rows = [f"{name} = {said(value) if isinstance(value, Task) else json_text(value)}" for name, value in found.items()]
    return Reply("\n".join(rows) or "no name is bound", {name: json_of(value) for name, value in found.items()})


def _rules(console: Console) -> Reply:
    rules = console.session.view.edition.rules.rules
    places = [(rule.name, f"{rule.span.file}:{rule.span.line}" if rule.span is not None else "") for rule in rules]
    return Reply("\n".join(f"{name}  {place}" for name, place in places), {"rules": [name for name, _ in places]})


_INFO: Final = {
    "breakpoints": _breakpoints,
    "captures": _captures,
    "flows": _flows,
    "held": _held,
    "locals": _locals,
    "rules": _rules,
    "tasks": _tasks,
    "variables": _variables,
}


LOOKING: Final = (
    Command("where", ("w", "bt"), "[full]", "The record in view, and the calls that it runs in.", _where),
    Command(
        "why", (), "", "What brought the record in view forth, up to the beginning, and what was done to it.", _why
    ),
    Command("up", ("u",), "", "The call that the record, or call, in view was made in.", _up),
    Command("down", ("d",), "", "Back down towards the record.", _down),
    Command(
        "frame", ("f",), "[N]", "Looks from this floor of the call stack, with the names that are known there.", _frame
    ),
    Command("list", ("l",), "[RULE]", "The rules round the one in view; again: what comes after.", _list, True),
    Command("ll", (), "[RULE]", "The whole file.", _list_all),
    Command("print", ("p",), "EXPR", "The value of an expression of the language.", _print),
    Command("pp", (), "EXPR", "The same, over several lines.", _pretty),
    Command("display", (), "[EXPR]", "Shows it now and at every stop.", _display),
    Command("undisplay", (), "[EXPR]", "Shows it no more; without EXPR none.", _undisplay),
    Command("args", ("a",), "", "The body of the record in view.", _args),
    Command("task", ("t",), "[ID|TYPE]", "The record in view; or takes another of the flow into view.", _task),
    Command("preview", (), "", "What the rules would do, if it went on now.", _preview),
    Command("debugpy", (), "", "Hands the script in view to debugpy, for steps inside its Python.", _debugpy),
    Command("info", ("i",), "b|captures|flows|held|locals|rules|tasks|variables", "Lists.", _info),
    Command("history", (), "[N]", "The last entries of the flow in the journal.", _history),
    Command("back", ("rn", "rs"), "", "Looks at the flow as it was one entry before.", _back),
    Command("rcontinue", ("rc",), "", "Looks at the flow as it was at the last stop before.", _back_to_hit),
    Command("forward", (), "", "One entry on.", _forward),
    Command("now", (), "", "Back from the past.", _now),
)
