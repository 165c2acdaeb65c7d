"""Values known at load: `let NAME = …`, and `load NAME from "file"` of YAML, JSON or TOML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from then.core.errors import BodyRefused, RuleError
from then.core.evaluate import Scope as Values
from then.core.evaluate import evaluate
from then.core.filters import Const, walk
from then.core.rules import RuleSet
from then.core.tasks import Json, check_json
from then.core.values import CannotSay, check_keys, json_text
from then.language.files import Reader, beside, value_key
from then.language.findings import FileRefused, Misplaced, NoValue
from then.language.resolve import POISON, Resolver
from then.language.scope import Declared, Scope
from then.language.templates import read_text
from then.language.tree import Token, Tree
from then.language.types import Typer
from then.language.units import Unit

REFUSED: Final = Const(None, "")
"""Stands for a constant that could not be had; what names it is not reported again."""


class Constants:
    """The constants of one unit, taken in the order of its text."""

    def __init__(self, unit: Unit, reader: Reader, env: Mapping[str, str], rules: RuleSet) -> None:
        self.unit = unit
        self.reader = reader
        self.env = env
        self.rules = rules
        self._own: set[str] = set()
        """Names that this file gives, over those of the files that it uses."""

    def take(self, item: Tree) -> None:
        """A `let` or `load` item; the constant stands in the unit from here on."""
        name = str(item.children[0])
        if name in self._own:
            self.unit.refuse(Misplaced(f'"{name}" is there twice'), item.children[0])
        self._own.add(name)
        try:
            value = self._load(item) if item.data == "load" else self._let(name, item)
        except RuleError as error:
            self.unit.refuse(error, item.children[1])
            value = REFUSED.value
            self.unit.constants[name] = REFUSED
            return
        if isinstance(value, CannotSay):
            self.unit.constants[name] = REFUSED
            return
        self.unit.constants[name] = Const(value, name, span=self.unit.span(item.children[0]))

    # -- let -----------------------------------------------------------------

    def _let(self, name: str, item: Tree) -> Json:
        stored = self.reader.value(self.unit.key, name)
        if stored is not None:
            self.rules.sources[value_key(self.unit.key, name)] = stored
            return msgspec.json.decode(stored)
        scope = Scope("let", self.unit.constants, env=self.env)
        expr = Resolver(self.unit).expr(item.children[1], scope)
        if POISON in walk(expr):
            return CannotSay("refused")
        errors = len(self.unit.findings.errors)
        Typer(self.unit, Declared(self.rules)).type_of(expr, scope)
        if len(self.unit.findings.errors) > errors:
            return CannotSay("refused")
        value = evaluate(expr, Values())
        if isinstance(value, CannotSay):
            if value.missing:
                raise NoValue(
                    f'{value.reason}; give a default, as in `… ?? "default"`', expr.span, self.unit.line(expr.span)
                )
            raise NoValue(f"this has no value: {value.reason}", expr.span, self.unit.line(expr.span))
        check_json(value, name)
        self.rules.sources[value_key(self.unit.key, name)] = json_text(value)
        return value

    # -- load … from ------------------------------------------------------------

    def _load(self, item: Tree) -> Json:
        path_token = item.children[1]
        assert isinstance(path_token, Token)
        key = beside(self.unit.key, read_text(path_token))
        text = self.reader.text(key)
        value = read_data(text, self.reader.shown(key))
        try:
            check_json(value, self.reader.shown(key))
        except BodyRefused as refused:
            raise FileRefused(refused.message) from refused
        self.rules.sources[key] = text
        return value


def read_data(text: str, file: str) -> Json:
    """The value that a file of data holds, by the ending of its name.

    Raises:
        RuleError: it is no YAML, JSON or TOML; with the place in that file where it is known.
    """
    ending = file.rpartition(".")[2]
    if ending in ("yaml", "yml"):
        from then.language.yaml_text import read_yaml

        return read_yaml(text, file).value()
    if ending == "json":
        return _read_json(text, file)
    if ending == "toml":
        return _read_toml(text, file)
    raise FileRefused(f'"{file}" is no file of data: .yaml, .json or .toml')


def _read_json(text: str, file: str) -> Json:
    try:
        value = msgspec.json.decode(text)
        check_keys(text, file)
    except BodyRefused as refused:
        raise FileRefused(refused.message) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise FileRefused(f"{file}: no JSON: {error}") from None
    return value


def _read_toml(text: str, file: str) -> Json:
    import datetime as dt
    import tomllib

    try:
        value = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise FileRefused(f"{file}: no TOML: {str(error)[:1].lower()}{str(error)[1:]}") from None
    # TOML's dates are no JSON; as text they compare in the order of time.
    todo: list[Json] = [value]
    while todo:
        node = todo.pop()
        for key, item in list(node.items() if isinstance(node, dict) else enumerate(node)):
            if isinstance(item, dict | list):
                todo.append(item)
            elif isinstance(item, dt.date | dt.time):
                node[key] = item.isoformat()
    return value
