"""What is posted from outside: type and fields as words, read by what the rules declare."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Mapping

from then.core.edition import Edition
from then.core.errors import ConfigError, UnknownName, nearest
from then.core.evaluate import Scope
from then.core.rules import ANY, Join, RuleSet, Single, Unmatched
from then.core.tasks import Body, Task, check_json, check_name
from then.core.values import CannotSay


def check_type(rules: RuleSet, type: str) -> None:
    """Nothing, where a record of this type may be meant: it is declared, or a rule waits for it.

    Raises:
        RuleError: it is no name.
        UnknownName: nothing here knows it; with the nearest name.
    """
    check_name(type)
    if type in rules.tasks or type in rules.events or type in rules.procedures:
        return
    is_closed = bool(rules.sources) and all(re.fullmatch(r".*\.then(#.*)?", key) for key in rules.sources)
    families = {rule.pattern.family for rule in rules.rules}
    if not is_closed and (type in families or any(_covers(family, type) for family in families)):
        return
    raise UnknownName("task or event", type, postable(rules))


def warn_of_stranger(rules: RuleSet, type: str) -> None:
    """A warning, where nothing knows a type that is nearly called like one that is declared.

    A record of a type that nothing declares is an event, by design: another program may wait for it. So it is no error.
    """
    if type in rules.tasks or type in rules.events or type in rules.procedures:
        return
    families = {rule.pattern.family for rule in rules.rules if isinstance(rule.trigger, Single | Unmatched | Join)}
    near = nearest(type, [*rules.tasks, *rules.events, *rules.procedures])
    if not near or any(family == type or (family != ANY and _covers(family, type)) for family in families):
        return
    level, frame = 1, sys._getframe()  # noqa: SLF001  (3.11 has no `skip_file_prefixes`)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "then":
        level, frame = level + 1, frame.f_back
    text = f'nothing declares "{type}"{near}, and no rule waits for it: it is taken as an event'
    warnings.warn(text, UserWarning, stacklevel=level)


def _covers(family: str, type: str) -> bool:
    return family == ANY or (family.endswith(".*") and type.startswith(family[:-1]))


def postable(rules: RuleSet) -> list[str]:
    """Names of the tasks and events that could be posted: those declared, then those that a rule waits for."""
    waited = (rule.pattern.family for rule in rules.rules)
    return list(dict.fromkeys([*rules.events, *rules.tasks, *(name for name in waited if "*" not in name)]))


def body_of(edition: Edition, type: str, texts: Mapping[str, str], values: Body) -> Body:
    """The body of a record to be posted.

    Args:
        texts: fields as texts, to be read by their declared type.
        values: fields that are JSON already.

    Raises:
        BodyRefused: a text is no value of its type, or a value is no JSON within the limits.
        ConfigError: a field that the declaration does not have.
    """
    wrong = edition.types.unknown(type, [*texts, *values])
    if wrong:
        raise ConfigError(f"{type} has no field {', '.join(wrong)}")
    fields = edition.types.inputs(type)
    body = {**values, **{name: edition.types.read(type, name, text, fields) for name, text in texts.items()}}
    check_json(body, type)
    return body


def result_of(edition: Edition, type: str, texts: Mapping[str, str], values: Body) -> Body:
    """Likewise the result of a task that a person reports on."""
    declared = edition.rules.tasks.get(type)
    fields = declared.result if declared is not None else None
    result = {**values, **{name: edition.types.read(type, name, text, fields) for name, text in texts.items()}}
    check_json(result, type)
    return result


def posts_of(
    edition: Edition, type: str | None, texts: Mapping[str, str], values: Body, path: str
) -> list[tuple[str, Body]]:
    """Type and body of what a run posts: the record that is named, or what the `start` lines say.

    Raises:
        RuleError: nothing knows the type, or the body is not as declared.
        ConfigError: neither a type is given nor a `start` line or a timer there.
    """
    if type is not None:
        check_type(edition.rules, type)
        return [(type, edition.check_body(type, body_of(edition, type, texts, values)))]
    posts = list(starts(edition))
    if not posts and not edition.rules.timers:
        names = ", ".join(postable(edition.rules)[:20])
        could = f"it could be: {names}" if names else "and no task or event is declared"
        raise ConfigError(f"{path}: no `start` line, and no TYPE is given; {could}")
    return posts


def starts(edition: Edition) -> Iterator[tuple[str, Body]]:
    """Type and body of what the `start` lines of the rules post.

    Raises:
        ConfigError: a value cannot be said.
    """
    nothing = Scope(Task("start"), {}, {})
    for start in edition.rules.starts:
        body: Body = {}
        for name, expr in start.args:
            value = edition.value(expr, nothing)
            if isinstance(value, CannotSay):
                raise ConfigError(f"{start.span}: start {start.type}: {name} cannot be said: {value.reason}")
            body[name] = value
        yield start.type, body
