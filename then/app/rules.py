"""`Rules`: the ordered rules and declarations of a program, from Python and from files.

The model is `then.core.rules`; this is the hand that writes it. Parsing is
imported with the first `load`.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

from then.core.edition import Edition
from then.core.errors import ConfigError, RuleError, UnknownName, nearest
from then.core.it import expression_of, where_of
from then.core.rules import (
    EVENT,
    FINISHED,
    RETRIED,
    Emission,
    EventDecl,
    FieldDecl,
    Match,
    Pattern,
    Rule,
    RuleSet,
    Run,
    SecretDecl,
    Single,
    TaskDecl,
    TypeRef,
    Unmatched,
)
from then.core.source import Span
from then.core.tasks import OUTCOMES, Json, Task, check_name
from then.language.findings import Finding

_F = TypeVar("_F", bound=Callable[..., Any])

_WORDS: Final[dict[str, frozenset[str]]] = {
    **{word: frozenset((word,)) for word in OUTCOMES},
    "finished": FINISHED,
    RETRIED: frozenset((RETRIED,)),
    EVENT: frozenset((EVENT,)),
}
_UNMATCHED_WORDS: Final = frozenset((EVENT, "failed", "timed_out", "cancelled"))
_TYPES: Final[dict[object, str]] = {
    int: "int", float: "float", str: "str", bool: "bool", list: "list", dict: "map", object: "any",
}  # fmt: skip


def emit(
    type: str, /, *, then: object = None, otherwise: object = None, bind: Mapping[str, Json] | None = None, **body: Json
) -> Emission:
    """A record to be: what a generator yields.

    Args:
        type: of a declared task or event.
        then: a function registered by `@rules.continuation`, or its name, called when it is done.
        otherwise: likewise, when it failed or timed out.
        bind: JSON values that the continuation gets by keyword.
        body: its inputs, JSON values.
    """
    if then is None and otherwise is None:
        return Emission(type, body)
    return Emission(type, body, _address(then), _address(otherwise), dict(bind or {}))


def _address(continuation: object) -> str | None:
    if continuation is None or isinstance(continuation, str):
        return continuation
    name = getattr(continuation, "__then_continuation__", None)
    if name is None:
        shown = getattr(continuation, "__qualname__", repr(continuation))
        raise RuleError(
            f"{shown} is no return address: register it by @rules.continuation, so that a restart finds it by name"
        )
    return str(name)


class Rules:
    """Ordered rules, and the tasks and events that they stand on.

    Rules from Python and from files are the same once they are here; their
    order is the order in which they were added.
    """

    def __init__(self) -> None:
        self.set = RuleSet()
        self.root: Path = Path()
        """The project's root: where processes run and imports are found."""
        self.path: Path | None = None
        """What was loaded, from the root, for a resume to load it again; `.` for the folder."""
        self.findings: tuple[Finding, ...] = ()
        """What was found in the files that were loaded, and keeps nothing from running."""
        self._edition: Edition | None = None
        self._edition_size = -1
        self.loaded_size = -1
        """How many rules and declarations one load gave, where nothing was here before it."""

    # -- declarations ---------------------------------------------------------

    def task(
        self,
        name: str,
        *,
        run: Sequence[object] | None = None,
        once: bool = False,
        priority: int = 0,
        done_on: Sequence[int] = (0,),
        may_fail: bool = False,
        slots: int = 1,
        secrets: Mapping[str, str] | None = None,
        **options: object,
    ) -> Callable[[_F], _F]:
        """Declares a task; as a decorator, the function that runs it.

        Keyword arguments in (the body), a dict of JSON values or None out (the
        result). `async def` runs on an event loop, `def` in a thread.

        Args:
            name: its type.
            run: `("process", ["make", it.target])`, the executor and its target, where no function runs it; `options` are the executor's (`env`, `cwd`, …).
            once: a crash in doubt ends it as failed, kind `unknown`; it is never run twice.
            priority: higher is taken first.
            done_on: exit codes that are done.
            may_fail: its failure does not fail the flow.
            slots: how many of the engine's slots it takes.
            secrets: keyword argument of the function, or variable of the process, and the name of the secret that it gets.

        Raises:
            DuplicateRule: the name is taken.
            UnknownName: a secret is not declared.
        """
        check_name(name, "task")
        line = None
        if run is not None:
            kind, target = run
            line = Run(
                str(kind), expression_of(target), tuple((key, expression_of(value)) for key, value in options.items())
            )
        elif options:
            raise RuleError(f'task "{name}": {", ".join(options)} without run=(…)')
        span = _caller()
        given = tuple((secrets or {}).items())
        for _, secret in given:
            if secret not in self.set.secrets:
                raise UnknownName("secret", secret, self.set.secrets, span)
        if given and line is not None and line.kind not in ("python", "process"):
            raise RuleError(f'task "{name}": run {line.kind} takes no secrets; python and process do', span)

        def declare(function: Callable[..., Any] | None) -> None:
            self.set.declare(
                TaskDecl(
                    name, run=line, function=function, once=once, priority=priority, done_on=tuple(done_on),
                    may_fail=may_fail, slots=slots, secrets=given, span=span,
                )
            )  # fmt: skip

        if line is not None:
            declare(None)

        def decorate(function: _F) -> _F:
            declare(function)
            return function

        return decorate

    def event(self, name: str, /, **fields: object) -> None:
        """Declares an event; fields by Python type (`id=int`) or the language's (`tag="str?"`)."""
        declared = tuple(FieldDecl(field, _type_ref(type)) for field, type in fields.items())
        self.set.declare(EventDecl(check_name(name, "event"), declared, span=_caller()))

    def secret(self, name: str, /, **source: str) -> None:
        """Declares a secret: its name, and where its value is, as one keyword argument.

        `env="VARIABLE"`, `file="path"`, `command="program arguments"`, or a source that a plugin brings. The value is
        read at the start of a task that is given it, and not here.

        Raises:
            DuplicateRule: the name is taken.
            RuleError: not one source.
        """
        span = _caller()
        if len(source) != 1:
            raise RuleError(
                f'secret "{name}" has {len(source)} sources; give one: env="VARIABLE", file="path" or command="…"', span
            )
        ((kind, reference),) = source.items()
        self.set.declare(SecretDecl(check_name(name, "secret"), kind, reference, span=span))

    # -- rules ------------------------------------------------------------------

    def when(self, family: str, /, *parts: object, name: str | None = None, final: bool = False) -> Callable[[_F], _F]:
        """A rule; the decorated generator function yields what follows.

        Args:
            family: a type, `deploy.*`, or `*` for any.
            parts: outcome words (`"done"`, `"failed"`, …; none for an event), then clauses over the record
                (`it.ref == "main"`), and last perhaps a predicate `Task -> bool`.
            name: the rule's; else the function's.
            final: ends the search when it fires.

        The function's first parameter gets the record, others the regex groups of their names.
        """
        pattern = _pattern(family, parts, _caller())
        return self._decorator(Single(pattern), name, final)

    def unmatched(self, family: str = "*", /, *parts: object, name: str | None = None) -> Callable[[_F], _F]:
        """A rule for records on which no other fired: events, and tasks that ended otherwise than done."""
        return self._decorator(Unmatched(_pattern(family, parts, _caller(), _UNMATCHED_WORDS)), name, False)

    def continuation(self, function: _F) -> _F:
        """Registers a function as a return address of `emit(…, then=function)`; its name is the address."""
        name = function.__name__
        if name in self.set.continuations:
            raise RuleError(f'continuation "{name}" is there twice; a return address names one function')
        self.set.continuations[name] = function
        function.__then_continuation__ = name  # type: ignore[attr-defined]
        return function

    def add(self, rule: Rule) -> None:
        """Appends a rule that was made as data."""
        self.set.add(rule)

    def load(self, path: str | os.PathLike[str]) -> Rules:
        """Appends what a file or folder says: `.then`, YAML with the key `rules`, `.py` that defines `rules`.

        Raises:
            RulesRefused: with all errors, each with its place.
        """
        from then.app.loading import load_into

        was_whole = self.path is None and self.size == 0
        load_into(self, Path(path))
        self.loaded_size = self.size if was_whole else -1
        return self

    @property
    def is_one_load(self) -> bool:
        """Whether loading `path` again gives all that is here: nothing came from a program beside it."""
        return self.size == self.loaded_size

    @property
    def size(self) -> int:
        """How many rules and declarations are here."""
        return len(self.set.rules) + len(self.set.tasks) + len(self.set.events) + len(self.set.secrets)

    # -- asking -------------------------------------------------------------------

    def match(self, task: Task) -> tuple[Match, ...]:
        """The rules that fire on a record, in order; pure.

        Shape (k,): up to the first `final` rule; where none fires, the `unmatched` ones.

        Cost: does not grow with the number of rules, but with the fields they ask for and with k.
        """
        edition = self._edition
        if edition is None or self._edition_size != len(self.set.rules):
            edition = self.edition
        return edition.index.match(task) or edition.index.match_unmatched(task)

    @property
    def edition(self) -> Edition:
        """These rules made ready, under the name of their version; made anew after a change."""
        size = len(self.set.rules)
        if self._edition is None or self._edition_size != size or self._edition.version != self.version:
            self._edition = Edition(self.version, self.set)
            self._edition_size = size
        return self._edition

    @property
    def version(self) -> str:
        """A hash of all that decides: texts of files, names and sources of Python rules. 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for path, text in sorted(self.set.sources.items()):
            digest.update(f"{path}\0{text}\0".encode())
        for rule in self.set.rules:
            if rule.generator is not None or not self.set.sources:
                digest.update(f"{rule.name}\0{rule.source or rule!r}\0".encode())
        for name in sorted(self.set.tasks):
            digest.update(f"{name}\0".encode())
        for secret in sorted(self.set.secrets.values(), key=lambda one: one.name):
            digest.update(f"{secret.name}\0{secret.source}\0{secret.reference}\0".encode())
        return digest.hexdigest()[:16]

    def _decorator(self, trigger: Single | Unmatched, name: str | None, final: bool) -> Callable[[_F], _F]:
        span = trigger.pattern.span

        def decorate(function: _F) -> _F:
            rule_name = name or function.__name__
            self.set.add(
                Rule(
                    rule_name, trigger, generator=_generator(function), final=final,
                    source=f"{trigger!r} {_source_hash(function)}", span=span,
                )
            )  # fmt: skip
            return function

        return decorate


def check_rules(found: object) -> None:
    """Nothing, for `Rules`.

    Raises:
        ConfigError: it is something else; a path says how it is loaded.
    """
    if isinstance(found, Rules):
        return
    if isinstance(found, str | os.PathLike):
        path = os.fspath(found)
        raise ConfigError(f"rules: {path!r} is a path, and an engine takes rules: give then.Rules().load({path!r})")
    shown = found.__name__ if isinstance(found, type | ModuleType) else type(found).__name__
    kind = "the class" if isinstance(found, type) else "the module" if isinstance(found, ModuleType) else "of type"
    raise ConfigError(
        f"rules: what is given is {kind} {shown}, and an engine takes rules: give then.Rules(), "
        "or those of a file or folder by then.Rules().load(PATH)"
    )


def _generator(function: Callable[..., Any]) -> Callable[[Match], Iterable[Emission] | Emission | None]:
    """Binds a generator function's parameters once: the record first, then groups by name."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise RuleError(f'rule "{function.__name__}" is `async def`; a rule yields at once, tasks may wait')
    names = list(inspect.signature(function).parameters)
    if not names:
        return lambda match: function()
    if len(names) == 1:
        return lambda match: function(match.record)
    groups = names[1:]

    def run(match: Match) -> Iterable[Emission] | Emission | None:
        bound = match.bindings
        return function(match.record, **{name: bound[name] for name in groups if name in bound})  # type: ignore[no-any-return]

    return run


def _pattern(
    family: str, parts: Sequence[object], span: Span | None, default: frozenset[str] = _WORDS[EVENT]
) -> Pattern:
    """Outcome words first, then clauses."""
    if family != "*":
        check_name(family.removesuffix(".*"), "type")
    outcomes: set[str] = set()
    clauses: list[Any] = []
    for part in parts:
        if isinstance(part, str):
            word = part.replace(" ", "_")
            if word not in _WORDS:
                raise RuleError(f'"{part}" is no outcome{nearest(word, _WORDS)}; one of {", ".join(_WORDS)}', span)
            outcomes |= _WORDS[word]
        else:
            clauses.append(part)
    return Pattern(family, frozenset(outcomes) or default, where_of(clauses), span=span)


def _type_ref(type: object) -> TypeRef:
    if isinstance(type, str):
        return TypeRef(type.removesuffix("?"), optional=type.endswith("?"))
    name = _TYPES.get(type)
    if name is None:
        raise RuleError(
            f'{type!r} is no type of a field; one of int, float, str, bool, list, dict, or text such as "str?"'
        )
    return TypeRef(name)


def _source_hash(function: Callable[..., Any]) -> str:
    """Name and source hash: what the version knows of a Python rule."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = ""
    return f"{function.__name__} {hashlib.sha256(source.encode()).hexdigest()[:16]}"


shown_paths: Final[dict[str, str]] = {}
"""For files of rules that were run, by their real paths: each as it was named."""


def _caller() -> Span | None:
    """The place in the user's file that is being written; the file as the user named it, as in all messages."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    if frame is None:
        return None
    file = frame.f_code.co_filename
    return Span(shown_paths.get(file, file), frame.f_lineno)
