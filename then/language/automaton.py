"""The LALR(1) machine: text and tables in, tree out; it stops at the first thing that may not stand.

Theory of operation
-------------------
The tables (grammar.lark, compiled by Lark) hold for each state and terminal
what to do: go on to a state, or reduce by a production. Three stacks run
alongside: states, values (trees, tokens, lists of a `*`), and the offset at
which each value begins. Terminals that are only words and punctuation have no
value. Lark's own machine does the same at five times the cost, most of it in
chains of productions that pass one value on (an `atom` that is a `unary` that
is a `term` … ten times for each operand): those are followed once for each
pair of states and terminal, and remembered in `_jumps`.

1. A word is a word of the language where it may stand, else a name. A state's row may promise too much (LALR merges
   states), so where a name may stand too, it is asked exactly.
2. A node ends where the last token ends that was taken when it is made.
3. The stack holds what is open, so its height bounds nesting, together with
   the count of open brackets; trees that come near are measured. What is
   returned is at most TREE_DEPTH_MAX deep, so that readers may recurse.

Who calls: `then.language.parser`. What a stop means in words, and where to go
on after it, is in `then.language.messages` and `then.language.recovery`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from then.language.lexer import KINDS, mark_type, plain_marks, regex_pattern, token_pattern
from then.language.tables import END, Production, Tables
from then.language.tree import Lines, Token, Tree

BRACKETS_MAX: Final = 64
"""Open brackets. More than any hand-written rule; the same as for a record's body."""
STACK_MAX: Final = 400
"""Open constructs of all kinds: 64 levels with six open operators each."""
TREE_DEPTH_MAX: Final = 160
"""Depth of a tree: room for 64 maps in one another, and far from Python's limit for those who recurse."""
_STACK_SOFT: Final = 96
_BRACKETS_SOFT: Final = 8
"""A tree that came from less cannot be too deep: a bracket adds at most 8 levels, and 8 * 8 + 96 = 160."""

_Value: TypeAlias = Any
"""`Tree`, `Token`, a list of them for a `*`, or None for a word. The tables say which: no check could say more."""


class Stacks(NamedTuple):
    """What is open: states, and for all but the first the value read there and where it begins."""

    states: list[int]
    values: list[_Value]
    begins: list[int]

    def cut(self, height: int) -> Stacks:
        """The lowest so many states, with their values."""
        return Stacks(self.states[:height], self.values[: height - 1], self.begins[: height - 1])


class Shifted(NamedTuple):
    """A token that was taken."""

    terminal: str
    begin: int
    end: int


class Stop(Exception):
    """Something stands where it may not, or is nested too deeply."""

    def __init__(
        self, stacks: Stacks, terminal: str, begin: int, end: int, after: int, opened: Sequence[int], *, too_deep: bool
    ) -> None:
        super().__init__(terminal, begin)
        self.stacks = stacks
        self.terminal = terminal
        self.begin = begin
        """Offset of what was found."""
        self.end = end
        self.after = after
        """Where the token before it ended."""
        self.opened = opened
        """Offsets of the brackets that are open."""
        self.too_deep = too_deep


_Make: TypeAlias = Callable[[list[_Value], int, int, Lines], _Value]
"""The value of a production, from the values of its symbols, which it may keep, and where it begins and ends."""


class _Plan(NamedTuple):
    """What to do with a production that is complete."""

    size: int
    origin: str
    make: _Make | None
    """None: one value in, the same value out."""


def _plan(production: Production) -> _Plan:
    is_list = production.origin.startswith("_")
    if production.size == 1 and production.folds and production.keep == (0,) and not production.spliced:
        return _Plan(1, production.origin, None)
    gather = _gatherer(production)
    name, folds = production.name, production.folds

    def make_list(values: list[_Value], start: int, end: int, lines: Lines) -> _Value:
        return gather(values)

    def make_tree(values: list[_Value], start: int, end: int, lines: Lines) -> _Value:
        return Tree(name, gather(values), start, end, lines)

    def make_folded(values: list[_Value], start: int, end: int, lines: Lines) -> _Value:
        children = gather(values)
        return children[0] if len(children) == 1 else Tree(name, children, start, end, lines)

    make = make_list if is_list else make_folded if folds else make_tree
    return _Plan(production.size, production.origin, make)


def _gatherer(production: Production) -> Callable[[list[_Value]], list[_Value]]:
    """Picks the children of a tree, or the items of a list, out of the values of its symbols."""
    keep, spliced = production.keep, production.spliced
    if len(keep) == production.size and not spliced:
        return lambda values: values
    if len(keep) == 1 and not spliced:
        only = keep[0]
        return lambda values: [values[only]]
    if not spliced:
        return lambda values: [values[i] for i in keep]

    def splice(values: list[_Value]) -> list[_Value]:
        # A list that comes first is taken over, so that a list of n items costs n, not n squared.
        head = keep[0]
        children: list[_Value] = values[head] if head in spliced else [values[head]]
        for i in keep[1:]:
            if i in spliced:
                children.extend(values[i])
            else:
                children.append(values[i])
        return children

    return splice


class Automaton:
    """A machine for one language; holds nothing between runs but what it has learnt about chains."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._plans = [_plan(production) for production in tables.productions]
        self._jumps: dict[tuple[int, int, str], int] = {}

    def run(
        self,
        start: str,
        lines: Lines,
        at: int = 0,
        stacks: Stacks | None = None,
        keywords: Mapping[str, str] | None = None,
        trace: Callable[[Shifted], None] | None = None,
    ) -> Tree | Token:
        """The tree of a text, from an offset to its end.

        Args:
            start: which part of the language it is, one of STARTS.
            lines: holds the text.
            at: where to begin.
            stacks: what is open already; taken over and changed.
            keywords: the words of the language and their terminals; recovery adds misspelt ones.
            trace: called with each token, those too that the tree leaves out.

        Raises:
            Stop: at the first thing that may not stand.

        Cost: grows with the length of the text.
        """
        stacks = stacks or Stacks([self.tables.starts[start]], [], [])
        states, values, begins = stacks
        actions, kept = self.tables.actions, self.tables.kept
        keywords = keywords or self.tables.keywords
        text, pattern, marks = lines.text, token_pattern(), plain_marks()
        match, (name, mark, opening, closing) = pattern.match, (pattern.groupindex[kind] for kind in KINDS)
        opened: list[int] = []
        height, end, check = _STACK_SOFT, at, False
        while True:
            found = match(text, at)
            assert found is not None
            kind = found.lastindex or 0
            value, at = found[kind], found.end()
            begin = at - len(value)
            row = actions[states[-1]]
            if kind == name:
                terminal = keywords.get(value, "NAME")
                if terminal not in row or (terminal != "NAME" and "NAME" in row and not self.takes(states, terminal)):
                    terminal = "NAME"
            elif kind == mark:
                terminal = marks.get(value) or mark_type(value, row)
                if terminal == "REGEX":
                    regex = regex_pattern().match(text, begin)
                    terminal, value, at = ("REGEX", regex[0], regex.end()) if regex else ("SLASH", value, at)
            elif kind == opening or kind == closing:
                terminal = marks[value]
                opened.append(begin) if kind == opening else opened and opened.pop()
            else:
                assert found.lastgroup is not None
                terminal = found.lastgroup
            action = row.get(terminal)
            if action is not None and action < 0:
                action = self._reduce(stacks, terminal, begin, end, lines)
            if action is None or len(opened) > BRACKETS_MAX:
                raise Stop(stacks, terminal, begin, at, end, opened, too_deep=action is not None)
            if trace is not None:
                trace(Shifted(terminal, begin, at))
            if terminal == END:
                break
            states.append(action)
            values.append(Token(terminal, value, begin, lines) if terminal in kept else None)
            begins.append(begin)
            end = at
            if len(states) > height or len(opened) > _BRACKETS_SOFT:
                check = True
                if len(states) > STACK_MAX:
                    raise Stop(stacks, terminal, begin, at, end, opened, too_deep=True)
        tree: Tree | Token = values[-1]
        if check and isinstance(tree, Tree):
            check_depth(tree, TREE_DEPTH_MAX)
        return tree

    def _reduce(self, stacks: Stacks, terminal: str, begin: int, end: int, lines: Lines) -> int | None:
        """Makes what is complete before a terminal; gives the state that it leads to, None where it may not stand."""
        states, values, begins = stacks
        actions, gotos, plans, jumps = self.tables.actions, self.tables.gotos, self._plans, self._jumps
        while True:
            action = actions[states[-1]].get(terminal)
            if action is None or action >= 0:
                return action
            size, origin, make = plans[~action]
            if make is None:
                key = (states[-2], states[-1], terminal)
                states[-1] = jumps[key] if key in jumps else self._jump(key)
                continue
            if size:
                start = begins[-size]
                value = make(values[-size:], start, end, lines)
                del states[-size:], values[-size:], begins[-size:]
            else:
                start = begin
                value = make([], begin, begin, lines)
            values.append(value)
            begins.append(start)
            states.append(gotos[states[-1]][origin])

    def _jump(self, key: tuple[int, int, str]) -> int:
        """The state after all productions in a row that pass one value on."""
        below, after, terminal = key
        while (action := self.tables.actions[after].get(terminal, 0)) < 0:
            _, origin, make = self._plans[~action]
            if make is not None:
                break
            after = self.tables.gotos[below][origin]
        self._jumps[key] = after
        return after

    def takes(self, states: list[int], terminal: str) -> bool:
        """Whether a terminal may stand after what these states have read."""
        states = list(states)
        while (action := self.tables.actions[states[-1]].get(terminal)) is not None:
            if action >= 0:
                return True
            plan = self._plans[~action]
            if plan.size:
                del states[-plan.size :]
            states.append(self.tables.gotos[states[-1]][plan.origin])
        return False

    def expected(self, states: list[int]) -> frozenset[str]:
        """All terminals that may stand after what these states have read."""
        return frozenset(terminal for terminal in self.tables.actions[states[-1]] if self.takes(states, terminal))


def check_depth(tree: Tree, depth_max: int) -> None:
    """Nothing, where no node is deeper.

    Raises:
        Stop: at one that is.
    """
    todo: list[tuple[Tree, int]] = [(tree, 1)]
    while todo:
        node, depth = todo.pop()
        if depth > depth_max:
            at = node.start_pos
            raise Stop(Stacks([], [], []), "", at, at + 1, at, (), too_deep=True)
        todo.extend((child, depth + 1) for child in reversed(node.children) if isinstance(child, Tree))
