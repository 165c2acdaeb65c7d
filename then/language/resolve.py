"""Expressions: from the syntax tree to nodes of the model, every name given its meaning.

Names are looked up in this order: loop variables; in a clause, the fields of
the record that is filtered, then what `record.`, `body.`, `result.` and
`flow.` say; aliases; regex groups; constants. A name that is none of these is
an error, with the nearest that is one. Types are not looked at here
(`then.language.types`).

What cannot be resolved becomes `POISON`, which every later pass takes for a
value of any type, so that one mistake gives one message.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import intern
from typing import Final, Literal, cast

from attrs import evolve

from then.core.errors import RuleError, RulesRefused, TypeMismatch, UnknownName, nearest
from then.core.fields import RECORD_FIELDS
from then.core.filters import (
    DEPTH_MAX,
    FUNCTIONS,
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
    Source,
    Steps,
    Template,
    path_text,
)
from then.core.regex import check_pattern
from then.core.source import Span
from then.core.tasks import Json
from then.language.findings import Misplaced, PatternRefused, SecretPlace
from then.language.literals import duration_s, float_value, int_value, size_bytes, timestamp_s
from then.language.scope import STR, Scope, Shape
from then.language.templates import read_text, split_template
from then.language.tree import Token, Tree
from then.language.units import Unit

POISON: Final = Name("")
"""Stands for what could not be resolved."""

_DEPTH_MAX: Final = DEPTH_MAX - 10
"""Of the tree; some of its nodes become two of the model."""
TERMS_MAX: Final = 64
"""Of one sum or product: each is a level for those that evaluate it."""

_NUMBERS: Final[dict[str, Callable[[str], int | float]]] = {
    "INT": int_value,
    "FLOAT": float_value,
    "DURATION": duration_s,
    "SIZE": size_bytes,
    "TIMESTAMP": timestamp_s,
}


class Resolver:
    """Resolves the expressions of one unit."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self._depth = 0
        self._handlers: dict[str, Callable[[Tree, Scope], Expr]] = {
            "expr": self._or, "and_": self._and, "neg": self._neg, "has": self._has, "some": self._quantified,
            "cmp": self._compare, "isin": self._in, "notin": self._in, "contains": self._contains,
            "matches": self._matches, "isnull": self._is, "notnull": self._is, "missing": self._is,
            "present": self._is, "coalesce": self._coalesce, "sum": self._fold, "term": self._fold,
            "minus": self._minus, "fn": self._function, "true": self._word, "false": self._word,
            "null": self._word, "list": self._list, "map": self._map, "path": self._path,
            "secretref": self._secret, "loadref": self._load,
        }  # fmt: skip

    def expr(self, node: Tree | Token, scope: Scope) -> Expr:
        """The expression; `POISON` where it, or an operand that decides its meaning, is refused.

        Cost: grows with the number of nodes.
        """
        if isinstance(node, Token):
            return self._token(node, scope)
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            value = self._refuse(
                Misplaced("an expression nested too deeply; split it, or put a part of it into a `let`"), node
            )
        else:
            value = self._handlers[node.data](node, scope)
        self._depth -= 1
        return value

    def clause(self, node: Tree | Token, scope: Scope) -> Expr:
        """A `where`. The groups of a regex that must hold are bound in the clauses after it, and in the consequence."""
        if isinstance(node, Token) or node.data != "and_":
            clause = self.expr(node, scope)
            self._bind_groups(clause, scope)
            return clause
        # `(a and b) and c` is three clauses, for the evaluator too.
        parts = tuple(self.clause(child, scope) for child in node.children)
        return And(parts, span=self.unit.span(node))

    def text(self, token: Token, scope: Scope) -> Expr:
        """A text: a template, unless it is raw or nothing in it is replaced."""
        return self._token(token, scope)

    # -- leaves --------------------------------------------------------------

    def _token(self, token: Token, scope: Scope) -> Expr:
        read = _NUMBERS.get(token.type)
        span = self.unit.span(token)
        try:
            if read is not None:
                return Const(read(token), span=span)
            if token.type != "STRING":
                return Const(read_text(token), span=span)
            return self._template(token, scope, span)
        except RuleError as error:
            self.unit.refuse(error, None if isinstance(error, RulesRefused) else token)
            return POISON

    def _template(self, token: Token, scope: Scope, span: Span) -> Expr:
        if "{" not in token and "}" not in token and "\\" not in token:
            return Const(token[1:-1], span=span)
        parts: list[str | Expr] = [
            part if isinstance(part, str) and not isinstance(part, Token) else self.expr(part, scope)
            for part in split_template(token, self.unit.file)
        ]
        if all(isinstance(part, str) for part in parts):
            return Const("".join(cast("list[str]", parts)), span=span)
        return Template(tuple(parts), span=span)

    def _word(self, node: Tree, scope: Scope) -> Expr:
        value: Json = {"true": True, "false": False, "null": None}[node.data]
        return Const(value, span=self.unit.span(node))

    def _load(self, node: Tree, scope: Scope) -> Expr:
        try:
            path = tuple(_step(child) for child in node.children if isinstance(child, Token))
        except RuleError as error:
            return self._refuse(error, node)
        if scope.place not in ("act", "ending", "run"):
            name = path_text(path)
            message = (
                f"`load {name}` is the value at the time a task starts and stands in its inputs; here write flow.{name}"
            )
            return self._refuse(Misplaced(message), node)
        return LoadRef(path, span=self.unit.span(node))

    def _secret(self, node: Tree, scope: Scope) -> Expr:
        name = str(node.children[0])
        if not scope.takes_secrets:
            message = (
                f"a secret in an argument: its value would stand in the record; `secret {name}` is a value of "
                "`with {…}` of run python, and of `env {…}` of run process"
            )
            return self._refuse(SecretPlace(message), node)
        return SecretRef(name, span=self.unit.span(node))

    def _list(self, node: Tree, scope: Scope) -> Expr:
        return ListOf(tuple(self.expr(child, scope) for child in node.children), span=self.unit.span(node))

    def _map(self, node: Tree, scope: Scope) -> Expr:
        items: dict[str, Expr] = {}
        for pair in node.children:
            assert isinstance(pair, Tree)
            key_token, value = pair.children
            assert isinstance(key_token, Token)
            key = str(key_token) if key_token.type == "NAME" else read_text(key_token)
            if key in items:
                self._refuse(Misplaced(f'the key "{key}" is there twice'), key_token)
            # A secret is a value of that map itself: nothing is made of it before the task has it.
            is_bare = isinstance(value, Tree) and value.data in ("secretref", "path")
            items[key] = self.expr(
                value, scope if is_bare or not scope.takes_secrets else evolve(scope, takes_secrets=False)
            )
        return MapOf(tuple(items.items()), span=self.unit.span(node))

    # -- connectives and comparisons -----------------------------------------

    def _or(self, node: Tree, scope: Scope) -> Expr:
        return Or(tuple(self.expr(child, scope) for child in node.children), span=self.unit.span(node))

    def _and(self, node: Tree, scope: Scope) -> Expr:
        return And(tuple(self.expr(child, scope) for child in node.children), span=self.unit.span(node))

    def _neg(self, node: Tree, scope: Scope) -> Expr:
        return Not(self.expr(node.children[0], scope), span=self.unit.span(node))

    def _has(self, node: Tree, scope: Scope) -> Expr:
        span = self.unit.span(node)
        return Not(IsMissing(self.expr(node.children[0], scope), span=span), span=span)

    def _is(self, node: Tree, scope: Scope) -> Expr:
        of, span = self.expr(node.children[0], scope), self.unit.span(node)
        test: Expr = IsNull(of, span=span) if node.data in ("isnull", "notnull") else IsMissing(of, span=span)
        return Not(test, span=span) if node.data in ("notnull", "present") else test

    def _compare(self, node: Tree, scope: Scope) -> Expr:
        left, op, right = node.children
        word = cast("Literal['==', '!=', '<', '<=', '>', '>=']", str(op))
        return Compare(word, folded(self.expr(left, scope)), folded(self.expr(right, scope)), span=self.unit.span(node))

    def _in(self, node: Tree, scope: Scope) -> Expr:
        item, container = (self.expr(child, scope) for child in node.children)
        span = self.unit.span(node)
        test = In(item, folded(container), span=span)
        return Not(test, span=span) if node.data == "notin" else test

    def _contains(self, node: Tree, scope: Scope) -> Expr:
        container, item = (self.expr(child, scope) for child in node.children)
        return Contains(folded(container), folded(item), span=self.unit.span(node))

    def _matches(self, node: Tree, scope: Scope) -> Expr:
        text, token = node.children
        assert isinstance(token, Token)
        pattern = token[1:-1].replace("\\/", "/")
        try:
            groups = check_pattern(pattern)
        except RuleError as error:
            return self._refuse(PatternRefused(error.message), token)
        scope.unbound.update(groups)
        return Matches(self.expr(text, scope), pattern, groups, span=self.unit.span(node))

    def _coalesce(self, node: Tree, scope: Scope) -> Expr:
        return Coalesce(tuple(self.expr(child, scope) for child in node.children), span=self.unit.span(node))

    def _quantified(self, node: Tree, scope: Scope) -> Expr:
        kind, variable, items, condition = node.children
        name = str(variable)
        over = self.expr(items, scope)
        scope.loops.append(name)
        inner = self.expr(condition, scope)
        scope.loops.pop()
        word = cast("Literal['some', 'every']", str(kind))
        return Quantified(word, name, over, inner, span=self.unit.span(node))

    # -- arithmetic and functions --------------------------------------------

    def _fold(self, node: Tree, scope: Scope) -> Expr:
        """`a - b - c` from the left."""
        children = node.children
        if len(children) > 2 * TERMS_MAX:
            return self._refuse(
                Misplaced(f'more than {TERMS_MAX} terms in one expression; use join([…], "") or a `let`'), node
            )
        levels = len(children) // 2
        self._depth += levels
        value = self.expr(children[0], scope)
        span = self.unit.span(node)
        for i in range(1, len(children), 2):
            op = cast("Literal['+', '-', '*', '/', '%']", str(children[i]))
            value = Arithmetic(op, value, self.expr(children[i + 1], scope), span=span)
        self._depth -= levels
        return value

    def _minus(self, node: Tree, scope: Scope) -> Expr:
        child = node.children[0]
        span = self.unit.span(node)
        if isinstance(child, Token) and child.type in _NUMBERS:
            try:
                return Const(_NUMBERS[child.type](f"-{child}"), span=span)
            except RuleError as error:
                return self._refuse(error, node)
        return Negative(self.expr(child, scope), span=span)

    def _function(self, node: Tree, scope: Scope) -> Expr:
        token, *children = node.children
        name = str(token)
        counts = FUNCTIONS.get(name)
        if counts is None:
            return self._refuse(UnknownName("function", name, FUNCTIONS), token)
        if not counts[0] <= len(children) <= counts[1]:
            wanted = str(counts[0]) if counts[0] == counts[1] else f"{counts[0]} to {counts[1]}"
            message = f"{name} takes {wanted} argument{'' if wanted == '1' else 's'}, here are {len(children)}"
            return self._refuse(TypeMismatch(message), node)
        if name == "env":
            return self._env(node, children[0], scope)
        return Function(name, tuple(self.expr(child, scope) for child in children), span=self.unit.span(node))

    def _env(self, node: Tree, argument: Tree | Token, scope: Scope) -> Expr:
        """A variable of the environment: a text, or, where it is not set, a name that nothing is bound to."""
        if scope.env is None:
            message = (
                'env(…) is read once, at load: put it into a `let`, as in `let region = env("REGION") ?? "eu-west"`'
            )
            return self._refuse(Misplaced(message), node)
        name = self.expr(argument, scope)
        if not isinstance(name, Const) or not isinstance(name.value, str):
            return self._refuse(Misplaced('env takes the name of a variable, as in env("REGION")'), node)
        written, span = f'env("{name.value}")', self.unit.span(node)
        value = scope.env.get(name.value)
        return Name(written, span=span) if value is None else Const(value, written, span=span)

    # -- names -----------------------------------------------------------------

    def _path(self, node: Tree, scope: Scope) -> Expr:
        children = node.children
        head = intern(str(children[0]))
        rest: Steps = ()
        if len(children) > 1:
            try:
                rest = tuple(_step(child) for child in children[1:] if isinstance(child, Token))
            except RuleError as error:
                return self._refuse(error, node)
        span = self.unit.span(node)
        if head in scope.loops:
            return Name(head, rest, span=span)
        record = scope.record
        if record is not None:
            found = record.find(head)
            if found is not None:
                hidden = _hidden(head, scope)
                if hidden is not None:
                    message = f'"{head}" is the field of {record.type} here and hides the {hidden} of that name'
                    self.unit.warn("T606", message, node, f"rename the {hidden}")
                return Field((head, *rest), found[0], span=span)
        if head in scope.aliases:
            return self._of_alias(node, scope, head, rest, span)
        if head in scope.names:
            return Name(head, rest, span=span)
        if record is not None:
            part = self._part(node, record, None, head, rest, span)
            if part is not None:
                return part
        if head == "flow" and rest and scope.place not in ("run", "let", "value"):
            return FlowVariable(rest, span=span)
        if head in scope.constants:
            return self._constant(node, scope.constants[head], rest, span)
        if record is not None and record.is_loose:
            return Field((head, *rest), "any", span=span)
        return self._unknown(node, scope, head, rest)

    def _of_alias(self, node: Tree, scope: Scope, alias: str, rest: Steps, span: Span) -> Expr:
        shape = scope.aliases[alias]
        record = None if alias == scope.record_alias else alias
        if not rest:
            return Name(alias, span=span)
        name = str(rest[0])
        found = shape.find(name) if isinstance(rest[0], str) else None
        if found is not None:
            return Field(rest, found[0], record, span=span)
        part = self._part(node, shape, record, name, rest[1:], span)
        if part is not None:
            return part
        if shape.is_loose:
            return Field(rest, "any", record, span=span)
        return self._refuse(unknown_field(name, shape, f"{alias}."), node)

    def _part(self, node: Tree, shape: Shape, record: str | None, name: str, rest: Steps, span: Span) -> Expr | None:
        """`record.id`, `body.x`, `result.x`, `body`, `result`: a part of the record by its name."""
        if name in ("body", "result"):
            return (
                Field(rest, cast("Source", name), record, span=span)
                if rest
                else Field((name,), "own", record, span=span)
            )
        if name != "record" or not rest:
            return None
        if rest[0] not in RECORD_FIELDS:
            return self._refuse(UnknownName("field of a record", str(rest[0]), RECORD_FIELDS), node)
        return Field(rest, "own", record, span=span)

    def _constant(self, node: Tree, constant: Const, rest: Steps, span: Span) -> Expr:
        if not constant.name:
            # A `let` whose own expression was refused.
            return POISON
        value = constant.value
        name = constant.name
        for step in rest:
            is_there = step in value if isinstance(value, dict) else (
                isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value)
            )  # fmt: skip
            if not is_there:
                known = [str(key) for key in value] if isinstance(value, dict) else []
                return self._refuse(UnknownName(f"value of {name}", str(step), known), node)
            value = value[step]
            name = f"{name}[{step}]" if isinstance(step, int) else f"{name}.{step}"
        return Const(value, name, span=span)

    def _unknown(self, node: Tree, scope: Scope, head: str, rest: Steps) -> Expr:
        if scope.is_open:
            return POISON
        whole = path_text((head, *rest))
        if head in scope.unbound:
            message = f'the group "{head}" is bound only where its `matches` must hold: alone, or joined with `and` at the top of the `where`'
            return self._refuse(Misplaced(message), node)
        names = {"record": "what each record has, such as record.id"}
        if scope.place not in ("run", "let", "value"):
            names["flow"] = "a variable of the flow"
        if head in names and not rest and scope.record is not None:
            return self._refuse(Misplaced(f"{head} alone is no value: write {head}.NAME, {names[head]}"), node)
        if scope.record is not None and scope.place in ("clause", "run"):
            unknown = unknown_field(head, scope.record, "", scope)
            if scope.takes_secrets and not rest:
                unknown.message += f"; where a secret is meant, write `secret {head}`"
            return self._refuse(unknown, node)
        owners = [f"{alias}.{head}" for alias, shape in scope.aliases.items() if shape.find(head) is not None]
        hint = f" (did you mean {' or '.join(owners)}?)" if owners else nearest(whole if rest else head, scope.known())
        error = UnknownName("name", head)
        error.message += hint
        return self._refuse(error, node)

    # -- groups of regexes -------------------------------------------------------

    def _bind_groups(self, clause: Expr, scope: Scope) -> None:
        if isinstance(clause, Matches):
            for group in clause.groups:
                scope.names[group] = STR
                scope.unbound.discard(group)

    def _refuse(self, error: RuleError, node: Tree | Token) -> Expr:
        self.unit.refuse(error, node)
        return POISON


def folded(expr: Expr) -> Expr:
    """A list or map of constants as one constant: what the index files a clause under."""
    if isinstance(expr, ListOf):
        items = [folded(item) for item in expr.items]
        if all(isinstance(item, Const) for item in items):
            return Const([item.value for item in items if isinstance(item, Const)], span=expr.span)
    elif isinstance(expr, MapOf):
        pairs = [(key, folded(item)) for key, item in expr.items]
        if all(isinstance(item, Const) for _, item in pairs):
            return Const({key: item.value for key, item in pairs if isinstance(item, Const)}, span=expr.span)
    return expr


def unknown_field(name: str, shape: Shape, prefix: str, scope: Scope | None = None) -> UnknownName:
    """The error for a field that a record does not have."""
    if shape.body is None:
        error = UnknownName("name" if scope else "field", f"{prefix}{name}")
        error.message += (
            f"; what {shape.type} holds is not declared: write {prefix}body.{name} or {prefix}result.{name}"
        )
        return error
    known = [f"{prefix}{known}" for known in shape.names()] + (
        [one for one in scope.known() if one != name] if scope else []
    )
    return UnknownName(f"field of {shape.type}", f"{prefix}{name}", known)


def _hidden(name: str, scope: Scope) -> str | None:
    """What else has the name, and is not meant where a field has it."""
    if name in scope.constants:
        return "`let`"
    inputs = scope.procedure.inputs if scope.procedure is not None else None
    return "parameter" if any(field.name == name for field in inputs or ()) else None


def _step(token: Token) -> str | int:
    if token.type == "INT":
        return int_value(token)
    return read_text(token) if token.type in ("STRING", "RAW") else intern(str(token))
