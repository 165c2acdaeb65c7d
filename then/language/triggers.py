"""What a rule waits for: one record, several that share a key, or silence, from tree to model.

Theory of operation. The parts of a join are compiled from left to right into
one scope, so that a clause sees the aliases and groups to its left; then the
clause is split: what looks at its own record alone decides whether a record is
taken (`Pattern.where`), the rest is decided when the parts meet
(`Part.where_joined`). In `any of` each part stands alone, since one record
fires the rule, and what not all parts bind may be missing in the consequence.
The key is resolved last: over the record of each part.

Who calls: `then.language.compile`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import attrs

from then.core.errors import TypeMismatch
from then.core.filters import And, Expr, Field, Matches, Name, conjuncts, path_text, walk
from then.core.rules import RETRIED, Join, JoinKind, Part, Pattern, Single, Trigger, TypeRef, Unmatched
from then.language.findings import JoinRefused, Misplaced
from then.language.kinship import bare, common, comparable
from then.language.patterns import Patterns
from then.language.policies import count_of, span_us
from then.language.resolve import POISON
from then.language.scope import STR, Scope, Shape, shared_shape
from then.language.tree import Token, Tree

_KINDS: Final[dict[str, JoinKind]] = {"allof": "all", "anyof": "any", "set": "every", "times": "times"}
_WINDOWED: Final = frozenset(("all", "any", "times"))


class Awaited(NamedTuple):
    """What stands after `when`, and what can be named where a join was not filled."""

    trigger: Trigger | None
    """None where it was refused."""
    unfilled: Scope | None = None


@attrs.define
class _Draft:
    """A part on its way."""

    node: Tree
    pattern: Pattern
    shape: Shape
    joined: Expr | None
    groups: dict[str, TypeRef]
    guarded: set[str]
    is_absent: bool = False
    keys: list[Expr] = attrs.field(factory=list)


class _Keys(NamedTuple):
    names: tuple[str, ...] = ()
    types: tuple[TypeRef, ...] = ()
    is_by_flow: bool = False


class Triggers:
    """Compiles the triggers of one unit."""

    def __init__(self, patterns: Patterns) -> None:
        self.patterns = patterns
        self.unit = patterns.unit

    def trigger(self, tree: Tree, within: Tree | None, scope: Scope) -> Awaited:
        """What stands after `when`; its aliases and names are put into the scope of the consequence."""
        if tree.data == "single":
            by, quiet = tree.find("by"), tree.find("quiet")
            if quiet is not None:
                return self._quiet(tree, by, quiet, within, scope)
            if by is not None:
                message = "one record needs no key: `by` stands in a join, or before `quiet for`"
                self.unit.refuse(Misplaced(message), by)
        if tree.data in ("single", "unmatched"):
            if within is not None:
                self.unit.refuse(Misplaced("one record has no window: `within` stands in a join"), within)
            if tree.data == "unmatched":
                return Awaited(Unmatched(self.patterns.pattern(tree, scope, is_unmatched=True)))
            pattern = tree.children[0]
            assert isinstance(pattern, Tree)
            return Awaited(Single(self.patterns.pattern(pattern, scope)))
        return self._join(tree, within, scope)

    # -- the kinds of joins -----------------------------------------------------------

    def _quiet(self, tree: Tree, by: Tree | None, quiet: Tree, within: Tree | None, scope: Scope) -> Awaited:
        if within is not None:
            self.unit.refuse(Misplaced("`quiet for` is the window: leave `within` out"), within)
        node = tree.children[0]
        assert isinstance(node, Tree)
        drafts = self._drafts([(node, False)], "quiet", scope)
        return self._joined("quiet", drafts, by, span_us(quiet, "quiet for", self.unit), tree, scope)

    def _join(self, tree: Tree, within: Tree | None, scope: Scope) -> Awaited:
        kind = _KINDS[tree.data]
        nodes: list[tuple[Tree, bool]] = []
        count = 1
        for child in tree.children:
            if isinstance(child, Token):
                count = count_of(child, "how many records `times` takes", self.unit) or 1
            elif child.data == "pattern":
                nodes.append((child, False))
            elif child.data == "part":
                pattern = child.children[-1]
                assert isinstance(pattern, Tree)
                nodes.append((pattern, len(child.children) > 1))
        if kind == "any":
            for node, is_absent in nodes:
                if is_absent:
                    message = '"any of" fires at the first record; `no` stands in "all of"'
                    self.unit.refuse(JoinRefused(message), node)
        elif all(is_absent for _, is_absent in nodes):
            self.unit.refuse(JoinRefused("a join needs a part that comes: here all are `no`"), tree)
        if kind == "every" and within is not None:
            message = "`every` has no window: it waits for as long as what it waits for lives; give that a `timeout`"
            self.unit.refuse(JoinRefused(message), within)
        window = span_us(within, "within", self.unit) if within is not None else None
        drafts = self._drafts(nodes, kind, scope)
        return self._joined(kind, drafts, tree.find("by"), window, tree, scope, count, has_window=within is not None)

    def _drafts(self, nodes: Iterable[tuple[Tree, bool]], kind: JoinKind, scope: Scope) -> list[_Draft]:
        """The parts, without their keys."""
        inner = _copy(scope)
        drafts: list[_Draft] = []
        for node, is_absent in nodes:
            # Nothing of an absent record is handed on, and nothing of one of several that may come alone.
            local = _copy(scope if kind == "any" else inner)
            left = {*local.aliases, *local.names} - {*scope.aliases, *scope.names}
            before = set(local.names)
            known = dict(local.aliases)
            pattern = self.patterns.pattern(node, local)
            self._check_part(pattern, kind, node, known)
            own, joined = split_where(pattern.where, left)
            groups = {name: ref for name, ref in local.names.items() if name not in before}
            shape = self.patterns.shape(pattern.family, pattern.outcomes, pattern.callee)
            drafts.append(
                _Draft(node, attrs.evolve(pattern, where=own), shape, joined, groups, local.guarded, is_absent)
            )
            if kind != "any" and not is_absent:
                inner = local
            scope.unbound |= local.unbound
        return drafts

    def _check_part(self, pattern: Pattern, kind: JoinKind, node: Tree, known: dict[str, Shape]) -> None:
        if RETRIED in pattern.outcomes:
            message = "an attempt that is tried again is no part of a join: it waits for the last one"
            self.unit.refuse(JoinRefused(message), node)
        if kind == "every" and pattern.alias is not None:
            self.unit.refuse(Misplaced("`every` waits for a set of records, which no one name stands for"), node)
        if pattern.alias is not None and pattern.alias in known:
            self.unit.refuse(Misplaced(f'"{pattern.alias}" names another part already'), node)

    # -- key and window -----------------------------------------------------------------

    def _joined(
        self,
        kind: JoinKind,
        drafts: list[_Draft],
        by: Tree | None,
        window: int | None,
        at: Tree,
        scope: Scope,
        count: int = 1,
        *,
        has_window: bool = True,
    ) -> Awaited:
        keys = self._keys(by, drafts)
        if kind == "every":
            if keys.names and by is not None:
                message = (
                    "`every` waits for all that this flow or call has emitted: it has no key; narrow it by `where`"
                )
                self.unit.refuse(JoinRefused(message), by)
            keys = _Keys(is_by_flow=True)
        elif scope.procedure is None:
            self._check_scope(kind, keys, by, at, has_window=has_window)
        parts = tuple(
            Part(draft.pattern, tuple(draft.keys) if keys.names else (), draft.joined, draft.is_absent)
            for draft in drafts
        )
        unfilled = _copy(scope)
        self._bind(kind, drafts, keys, scope, unfilled)
        names = tuple("" if name in scope.aliases else name for name in keys.names)
        return Awaited(Join(kind, parts, names, keys.is_by_flow, window, count), unfilled)

    def _check_scope(self, kind: JoinKind, keys: _Keys, by: Tree | None, at: Tree, *, has_window: bool) -> None:
        if by is None:
            message = "this wait needs a key: `by FIELD` for records that share it, or `by flow` for those of one flow"
            self.unit.refuse(JoinRefused(message), at)
        elif not keys.is_by_flow and kind in _WINDOWED and not has_window:
            message = "a join over all flows needs a window: `within 2h` after its key; or `by flow`, for one flow"
            self.unit.refuse(JoinRefused(message), by)

    def _keys(self, by: Tree | None, drafts: list[_Draft]) -> _Keys:
        """Resolves the key over the record of each part."""
        names: list[str] = []
        types: list[TypeRef] = []
        is_by_flow = False
        for key in by.children if by is not None else ():
            assert isinstance(key, Tree)
            paths = [path for path in key.children if isinstance(path, Tree)]
            if len(paths) == 1 and paths[0].children == ["flow"]:
                is_by_flow = True
                continue
            found = self._key(key, paths, drafts)
            if found is None:
                continue
            for draft, (expr, _) in zip(drafts, found, strict=True):
                draft.keys.append(expr)
            first = found[0][0].path
            is_one = len(first) == 1 and all(expr.path == first for expr, _ in found)
            names.append(str(first[0]) if is_one else "")
            types.append(common(ref for _, ref in found))
        return _Keys(tuple(names), tuple(types), is_by_flow)

    def _key(self, key: Tree, paths: list[Tree], drafts: list[_Draft]) -> list[tuple[Field, TypeRef]] | None:
        """A component of the key in each part; None where it was refused."""
        aliases = {draft.pattern.alias for draft in drafts}
        is_named = len(paths) > 1 or (len(paths[0].children) > 1 and str(paths[0].children[0]) in aliases)
        if not is_named:
            given = [paths[0]] * len(drafts)
        else:
            by_alias = {str(path.children[0]): path for path in paths if len(path.children) > 1}
            if len(by_alias) < len(paths) or not by_alias.keys() <= aliases:
                message = "a key whose fields have different names says of which part each is: `by p.order == o.id`"
                self.unit.refuse(JoinRefused(message), key)
                return None
            for draft in drafts:
                if draft.pattern.alias not in by_alias:
                    shown = f'"{draft.pattern.alias}"' if draft.pattern.alias else f'"{draft.pattern.family}"'
                    message = f"the key leaves {shown} out: name its field too, by the part's `as`"
                    self.unit.refuse(JoinRefused(message), key)
                    return None
            given = [by_alias[str(draft.pattern.alias)] for draft in drafts]
        found = [self._field(path, draft) for path, draft in zip(given, drafts, strict=True)]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            return None
        self._check_alike(key, known, drafts)
        return known

    def _field(self, path: Tree, draft: _Draft) -> tuple[Field, TypeRef] | None:
        alias = draft.pattern.alias
        scope = Scope(
            "clause", {}, draft.shape, alias, {alias: draft.shape} if alias is not None else {}, guarded=draft.guarded
        )
        expr = self.patterns.resolver.expr(path, scope)
        if expr is POISON:
            return None
        if not isinstance(expr, Field) or expr.record is not None:
            self.unit.refuse(JoinRefused("a key is a field of each part"), path)
            return None
        ref = self.patterns.typer.type_of(expr, scope)
        self.patterns.typer.end_clause(scope)
        return expr, ref

    def _check_alike(self, key: Tree, found: list[tuple[Field, TypeRef]], drafts: list[_Draft]) -> None:
        first, ref = found[0]
        for (expr, other), draft in zip(found[1:], drafts[1:], strict=True):
            if not comparable(ref, other):
                message = (
                    f"{drafts[0].pattern.family}'s {path_text(first.path)} is {bare(ref)} and {draft.pattern.family}'s "
                    f"{path_text(expr.path)} is {bare(other)}; unlike values are never equal"
                )
                self.unit.refuse(TypeMismatch(message), key)
                return

    # -- what the consequence can name ------------------------------------------------------

    def _bind(self, kind: JoinKind, drafts: list[_Draft], keys: _Keys, scope: Scope, unfilled: Scope) -> None:
        """Puts aliases, groups and keys into the scopes of what follows a join, filled or not."""
        present = [draft for draft in drafts if not draft.is_absent]
        by_alias: dict[str, list[_Draft]] = {}
        for draft in present:
            if draft.pattern.alias is not None:
                by_alias.setdefault(draft.pattern.alias, []).append(draft)
        for alias, named in by_alias.items():
            shape = shared_shape([draft.shape for draft in named])
            is_sure = kind != "any" or len(named) == len(present)
            scope.aliases[alias] = shape if is_sure else shape.perhaps()
            unfilled.aliases[alias] = shape.perhaps()
        for draft in present:
            for group, ref in draft.groups.items():
                is_sure = kind != "any" or all(group in other.groups for other in present)
                scope.names[group] = ref if is_sure else attrs.evolve(ref, optional=True)
                unfilled.names[group] = attrs.evolve(ref, optional=True)
            if kind != "any":
                scope.guarded |= draft.guarded
        for name, ref in zip(keys.names, keys.types, strict=True):
            if name and name not in scope.aliases:
                scope.names[name] = unfilled.names[name] = ref


def late_scope(unfilled: Scope) -> Scope:
    """What `on timeout` can name besides: which parts are missing."""
    return attrs.evolve(unfilled, names={**unfilled.names, "missing": STR})


def split_where(where: Expr | None, left: set[str]) -> tuple[Expr | None, Expr | None]:
    """A part's clause: what looks at its own record alone, and what looks at these names to its left."""
    own: list[Expr] = []
    joined: list[Expr] = []
    names = set(left)
    for clause in conjuncts(where) if where is not None else ():
        if any(_names(node) in names for node in walk(clause)):
            joined.append(clause)
            # What is bound there is bound for those after it only when the parts meet.
            names.update(group for node in walk(clause) if isinstance(node, Matches) for group in node.groups)
        else:
            own.append(clause)
    return _all(own), _all(joined)


def _names(node: Expr) -> str | None:
    return node.record if isinstance(node, Field) else node.name if isinstance(node, Name) else None


def _all(clauses: list[Expr]) -> Expr | None:
    if len(clauses) < 2:
        return clauses[0] if clauses else None
    return And(tuple(clauses), span=clauses[0].span)


def _copy(scope: Scope) -> Scope:
    return attrs.evolve(
        scope, aliases=dict(scope.aliases), names=dict(scope.names), guarded=set(scope.guarded),
        unbound=set(scope.unbound),
    )  # fmt: skip
