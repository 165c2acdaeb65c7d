r"""Expressions back to text: what the parser and the resolver make the same expression of.

Names are written as bare as they may be: a field alone where it means just
that, with its record's name, or with `body.`, `result.` or `record.` where
something else has the name.

Who calls: `then.language.printer`.
"""

from __future__ import annotations

import json
import re
from typing import Final

from then.core.errors import RuleError
from then.core.filters import (
    And,
    Arithmetic,
    Coalesce,
    Compare,
    Const,
    Contains,
    Expr,
    Field,
    FlowVariable,
    Function,
    In,
    IsMissing,
    IsNull,
    ListOf,
    LoadRef,
    MapOf,
    Matches,
    Name,
    Negative,
    Not,
    Or,
    Quantified,
    SecretRef,
    Steps,
    Template,
)
from then.core.tasks import Json
from then.language.scope import Scope, Shape

# How tightly a form binds; what binds less than its place asks for stands in parentheses.
_OR, _AND, _NOT, _COMPARE, _COALESCE, _SUM, _TERM, _UNARY, _ATOM = range(9)

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_CONSTANT: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[[0-9]+\])*", re.ASCII)
_CONSTANT_STEP: Final = re.compile(r"^\w+|\.\w+|\[[0-9]+\]", re.ASCII)
_EXPRESSION_WORDS: Final = frozenset("not has some every true false null secret load".split())
"""Words that win where a value begins: a name like them needs something before it."""
_PARTS: Final = {"body": "body", "result": "result", "own": "record"}


class Unprintable(RuleError):
    """A rule, or a part of one, that has no text in the language."""

    number = "T114"


def is_name(text: str) -> bool:
    """Whether it may stand where the grammar asks for a name."""
    return _NAME.fullmatch(text) is not None


def is_dotted(text: str) -> bool:
    """Whether it may stand where the grammar asks for a type's name."""
    return all(map(is_name, text.split(".")))


def text_literal(text: str, *, is_template: bool = True) -> str:
    """A text in quotes; in a template its braces are doubled. What cannot be seen is written as an escape."""
    inner = json.dumps(text, ensure_ascii=False)[1:-1]
    if not inner.isprintable():
        inner = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in inner)
    return f'"{inner.replace("{", "{{").replace("}", "}}")}"' if is_template else f'"{inner}"'


def key_text(key: str) -> str:
    """A key of a map."""
    return key if is_name(key) else text_literal(key, is_template=False)


def value_text(value: Json) -> str:
    """A JSON value."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return text_literal(value)
        case list():
            return f"[{', '.join(map(value_text, value))}]"
        case dict():
            return f"{{{', '.join(f'{key_text(key)}: {value_text(item)}' for key, item in value.items())}}}"
        case _:
            return repr(value)


def regex_literal(pattern: str) -> str:
    """A regular expression between slashes."""
    written = {"/": "\\/", "\n": "\\n"}
    units = re.findall(r"\\.|.", pattern, re.DOTALL)
    return f"/{''.join(written.get(unit, unit) for unit in units) or '(?:)'}/"


def steps_text(steps: Steps) -> str:
    """Steps that follow a name: `.a[0]["b c"]`."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if is_name(step) else f"[{text_literal(step, is_template=False)}]"
    return text


def constant_steps(name: str) -> tuple[str, Steps] | None:
    """A constant's name taken apart, as in `limits.max` or `hosts[0]`; None where it is no such name."""
    if _CONSTANT.fullmatch(name) is None:
        return None
    head, *rest = _CONSTANT_STEP.findall(name)
    return head, tuple(int(step[1:-1]) if step[0] == "[" else step[1:] for step in rest)


class Phrases:
    """Writes the expressions of one place."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def text(self, expr: Expr, binding: int = _OR) -> str:
        """The expression, in parentheses where it binds less tightly than its place asks for."""
        text, own = self._written(expr)
        return f"({text})" if own < binding else text

    def sum_text(self, expr: Expr) -> str:
        """The same where the grammar asks for a sum."""
        return self.text(expr, _SUM)

    def _written(self, expr: Expr) -> tuple[str, int]:
        """The text and how tightly it binds."""
        match expr:
            case Const(value, name):
                text = name if name is not None and constant_steps(name) is not None else value_text(value)
                return text, _UNARY if text.startswith("-") else _ATOM
            case Field():
                return self._field(expr), _ATOM
            case Name(name, path):
                return name + steps_text(path), _ATOM
            case FlowVariable(path):
                return f"flow{steps_text(path)}", _ATOM
            case LoadRef(path):
                return f"load {steps_text(path).removeprefix('.')}", _ATOM
            case SecretRef(name):
                return f"secret {name}", _ATOM
            case Template(parts):
                return self._template(parts), _ATOM
            case ListOf(items):
                return f"[{', '.join(map(self.text, items))}]", _ATOM
            case MapOf(items):
                return f"{{{', '.join(f'{key_text(key)}: {self.text(item)}' for key, item in items)}}}", _ATOM
            case Function(name, args):
                return f"{name}({', '.join(map(self.text, args))})", _ATOM
            case Negative(of):
                return f"-{self.text(of, _UNARY)}", _UNARY
            case Arithmetic(op, left, right):
                own = _SUM if op in ("+", "-") else _TERM
                return f"{self.text(left, own)} {op} {self.text(right, own + 1)}", own
            case Coalesce(parts):
                return " ?? ".join(self.text(part, _SUM) for part in parts), _COALESCE
            case _:
                return self._clause(expr)

    def _clause(self, expr: Expr) -> tuple[str, int]:
        match expr:
            case Or(parts):
                return " or ".join(self.text(part, _AND) for part in parts), _OR if len(parts) > 1 else _AND
            case And(parts):
                return " and ".join(self.text(part, _NOT) for part in parts), _AND if len(parts) > 1 else _NOT
            case Not(IsNull(of)):
                return f"{self._operand(of)} is not null", _COMPARE
            case Not(IsMissing(Field() | Name() | FlowVariable() as of)):
                return f"has {self.text(of)}", _NOT
            case Not(IsMissing(of)):
                return f"{self._operand(of)} is not missing", _COMPARE
            case Not(In(item, container)):
                return f"{self._operand(item)} not in {self._operand(container)}", _COMPARE
            case Not(of):
                return f"not {self.text(of, _NOT)}", _NOT
            case Compare(op, left, right):
                return f"{self._operand(left)} {op} {self._operand(right)}", _COMPARE
            case In(item, container):
                return f"{self._operand(item)} in {self._operand(container)}", _COMPARE
            case Contains(container, item):
                return f"{self._operand(container)} contains {self._operand(item)}", _COMPARE
            case Matches(of, pattern):
                return f"{self._operand(of)} matches {regex_literal(pattern)}", _COMPARE
            case IsNull(of):
                return f"{self._operand(of)} is null", _COMPARE
            case IsMissing(of):
                return f"{self._operand(of)} is missing", _COMPARE
            case Quantified():
                return self._quantified(expr), _NOT
            case _:
                raise Unprintable(f"{getattr(expr, 'name', expr)} is Python and has no text in the language", expr.span)

    def _operand(self, expr: Expr) -> str:
        return self.text(expr, _COALESCE)

    def _quantified(self, expr: Quantified) -> str:
        items = self.text(expr.items, _SUM)
        self.scope.loops.append(expr.variable)
        condition = self.text(expr.condition, _COMPARE)
        self.scope.loops.pop()
        return f"{expr.kind} {expr.variable} in {items} satisfies {condition}"

    def _template(self, parts: tuple[str | Expr, ...]) -> str:
        pieces = []
        for part in parts:
            if isinstance(part, str):
                pieces.append(text_literal(part)[1:-1])
                continue
            inner = self.text(part).replace("\\", "\\\\").replace('"', '\\"')
            # Two braces side by side would be one that is text.
            before, after = " " * inner.startswith("{"), " " * inner.endswith("}")
            pieces.append(f"{{{before}{inner}{after}}}")
        return f'"{"".join(pieces)}"'

    # -- fields ------------------------------------------------------------------

    def _field(self, field: Field) -> str:
        """A field as bare as it may be written and still mean the same."""
        scope = self.scope
        if field.record is None and scope.record is not None:
            if (bare := self._bare(field, scope.record)) is not None:
                return bare
            if not self._is_taken(part := part_text(field), scope.record) and not self._alias_says(field):
                return part
        alias = field.record or scope.record_alias
        if alias is None:
            return steps_text(field.path).removeprefix(".")
        return alias + steps_text(field.path) if self._alias_says(field) else f"{alias}.{part_text(field)}"

    def _bare(self, field: Field, shape: Shape) -> str | None:
        """The field without anything before it, where that means just it."""
        scope, head = self.scope, field.path[0]
        if not isinstance(head, str) or not is_name(head) or head in scope.loops or head in _EXPRESSION_WORDS:
            return None
        found = shape.find(head)
        if found is None:
            # Of a record that is not declared every name may be a field.
            taken = head in scope.aliases or head in scope.names or head in ("body", "result", "record", "flow")
            return None if taken or field.source != "any" else head + steps_text(field.path[1:])
        return head + steps_text(field.path[1:]) if found[0] == field.source else None

    def _alias_says(self, field: Field) -> bool:
        """Whether `o.total` means the field: its record has a name that is not hidden, and no other such field."""
        scope = self.scope
        alias = field.record or scope.record_alias
        shape = scope.aliases.get(alias) if alias is not None else None
        head = field.path[0]
        if alias is None or not isinstance(head, str) or not is_name(head):
            return False
        if alias in scope.loops or (scope.record is not None and scope.record.find(alias) is not None):
            return False
        found = shape.find(head) if shape is not None else None
        return found[0] == field.source if found is not None else field.source == "any"

    def _is_taken(self, part: str, shape: Shape) -> bool:
        """Whether `body`, `result` or `record` names something else here."""
        head = part.partition(".")[0].partition("[")[0]
        scope = self.scope
        return head in scope.loops or shape.find(head) is not None or head in scope.aliases or head in scope.names


def part_text(field: Field) -> str:
    """A field by the part of the record that holds it: `body.x`, `record.id`."""
    if field.source == "own" and field.path in (("body",), ("result",)):
        return str(field.path[0])
    return _PARTS.get(field.source, "body") + steps_text(field.path)
