"""The one layout of a text: `andthen fmt`.

White space means nothing in the language, so the layout is free to be one. It
changes white space, and the comma before a closing bracket; words, texts and
comments stay as they are, and so does the tree. What it aims at:

- what a rule waits for and each step that follows begin a line, so that a
  change of one is a change of one line, and a breakpoint on a line is one on a
  step;
- what fits on a line stands on one; what does not is broken at its outermost
  places: before `where`, then before each `and`, after each comma;
- rules, procedures and tests have an empty line around them; between
  declarations, and inside procedures and tests, the writer's empty lines
  stay, one at most.

Who calls: `andthen fmt`, and `then.language.printer` for what it prints.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from then.language.layout import Align, Doc, Group, Hard, Line, Nest, Own, Trail, render
from then.language.parser import parse_with_tokens
from then.language.tree import Token, Tree
from then.language.words import Word, column_of, words_of

_INDENT: Final = 2
_BRACKETS: Final = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
_BREAKING: Final = frozenset(("args", "list", "map", "needs", "fn", "task", "event", "record", "procedure", "result"))
"""Nodes whose brackets hold items, each on a line of its own where they do not fit on one."""
_NO_SPACE_BEFORE: Final = frozenset(("COMMA", "COLON", "DOT", "RPAR", "RSQB", "RBRACE", "OPT", "SLASH", "WILD"))
_NO_SPACE_AFTER: Final = frozenset(("LPAR", "LSQB", "LBRACE", "DOT", "SLASH", "MINUS"))

_Part: TypeAlias = Word | Tree


def format_text(text: str, file: str) -> str:
    """The text in the one layout; formatted again it stays as it is.

    Raises:
        RulesRefused: it is no text of the language; nothing is formatted then.

    Cost: about three times that of parsing it.
    """
    tree, tokens = parse_with_tokens(text, file)
    return _Formatter(text, words_of(text, tokens)).text(tree)


class _Formatter:
    """One text on its way to its layout: makes a document of each item, and of all its parts."""

    def __init__(self, text: str, words: list[Word]) -> None:
        self._text = text
        self._words = words
        self._begins = [word.begin for word in words]
        self._before: Word | None = None
        """The word that was put out last."""
        self._is_glued = False
        """What stands before the next word is there already."""
        self._handlers: dict[str, Callable[[list[_Part], Tree], Doc]] = {
            "task": self._body, "run": self._run, "rule": self._body, "when": self._when, "steps": self._steps,
            "par": self._par, "step": self._step, "pattern": self._pattern, "where": self._where, "expr": self._chain,
            "and_": self._chain, "sum": self._chain, "term": self._chain, "coalesce": self._chain,
            "allof": self._parts_of, "anyof": self._parts_of, "single": self._single, "times": self._single,
            "set": self._single, "retry": self._retry, "late": self._further, "finally": self._further, "procedure": self._block,
            "test": self._block, "breakpoint": self._stop, "logpoint": self._stop,
        }  # fmt: skip

    # -- items -------------------------------------------------------------------

    def text(self, tree: Tree) -> str:
        """All items, and the comments around them."""
        written: list[str] = []
        was_long, column = False, 0
        for item in tree.children:
            assert isinstance(item, Tree)
            word = self._words[self._index(item.start_pos)]
            tail = self._tail(word, column) if written else ""
            column = column_of(self._text, item.start_pos)
            is_apart = word.is_apart
            lead = self._lead(word)
            self._before, self._is_glued = None, True
            body = render(self._doc(item))
            is_long = item.data in _APART and "\n" in body
            joint = "\n\n" if is_apart or was_long or tail or is_long else "\n"
            written += [tail, joint if written else "", lead, body]
            was_long = is_long
        word = self._words[-1]
        tail = self._tail(word, column) if written else ""
        joint = "\n\n" if word.is_apart or was_long or tail else "\n"
        rest = self._lead(word).rstrip("\n")
        if rest:
            written += [tail, joint if written else "", rest, "\n"]
        elif written:
            written += [tail, "\n"]
        return "".join(written)

    def _tail(self, word: Word, column: int) -> str:
        """Comments that are indented under the item before, which begins in that column, belong to it."""
        count = 0
        while count < len(word.own) and word.own[count].column > column and not word.own[count].blank:
            count += 1
        taken, word.own = word.own[:count], word.own[count:]
        return "".join(f"\n{' ' * _INDENT}{comment.text}" for comment in taken)

    def _lead(self, word: Word) -> str:
        """The comments before a word, each on its line, and the line end before the word."""
        lines = []
        for number, comment in enumerate(word.own):
            if comment.blank and number:
                lines.append("")
            lines.append(comment.text)
        if word.own and word.blank:
            lines.append("")
        word.own = []
        return "".join(f"{line}\n" for line in lines)

    # -- parts --------------------------------------------------------------------

    def _index(self, offset: int) -> int:
        return bisect_left(self._begins, offset)

    def _parts(self, node: Tree) -> list[_Part]:
        """What a node is made of: its own words, and trees."""
        parts: list[_Part] = []
        at = self._index(node.start_pos)
        for child in node.children:
            begin = self._index(child.start_pos)
            parts.extend(self._words[at:begin])
            if isinstance(child, Token):
                parts.append(self._words[begin])
                at = begin + 1
            else:
                parts.append(child)
                at = self._index(child.end_pos)
        parts.extend(self._words[at : self._index(node.end_pos)])
        return parts

    def _doc(self, node: Tree) -> Doc:
        handler = self._handlers.get(node.data)
        parts = self._parts(node)
        return handler(parts, node) if handler else self._sequence(parts, node)

    def _part(self, part: _Part, node: Tree) -> Doc:
        return self._doc(part) if isinstance(part, Tree) else self._word(part, node)

    def _word(self, word: Word, node: Tree) -> Doc:
        """A word, what stands between it and the one before, and its comments."""
        doc: list[Doc] = [] if self._is_glued else [self._gap(word, node)]
        doc.extend(Own(comment.text) for comment in word.own)
        doc.append(word.text)
        if word.trail:
            doc.append(Trail(word.trail))
        self._before, self._is_glued = word, False
        return doc

    def _gap(self, word: Word, node: Tree) -> str:
        before = self._before
        if before is None or before.terminal in _NO_SPACE_AFTER or word.terminal in _NO_SPACE_BEFORE:
            return ""
        if word.terminal == "LPAR":
            return "" if before.terminal == "NAME" else " "
        return "" if word.terminal == "LSQB" and node.data in ("path", "type", "loadref") else " "

    def _after(self, place: Doc, part: _Part, node: Tree) -> list[Doc]:
        """A part, and before it a place where the line may or must end."""
        self._is_glued = True
        return [place, self._part(part, node)]

    def _sequence(self, parts: Sequence[_Part], node: Tree, breaks: str = "", *, is_item: bool = False) -> list[Doc]:
        """Parts one after the other.

        Args:
            parts: of `node`.
            node: decides what brackets are.
            breaks: the line may end before words of that terminal.
            is_item: the parts stand in the node's own brackets: those in them group an expression.
        """
        docs: list[Doc] = []
        at = 0
        while at < len(parts):
            part = parts[at]
            if isinstance(part, Word) and part.terminal in _BRACKETS:
                end = _closing(parts, at)
                docs.append(self._bracket(parts[at : end + 1], node, is_item=is_item))
                at = end + 1
                continue
            if isinstance(part, Word) and part.terminal == breaks:
                docs.extend(self._after(Line(), part, node))
            else:
                docs.append(self._part(part, node))
            at += 1
        return docs

    def _bracket(self, parts: Sequence[_Part], node: Tree, *, is_item: bool) -> Doc:
        opening, *inner, closing = parts
        assert isinstance(opening, Word)
        assert isinstance(closing, Word)
        if is_item or node.data not in _BREAKING:
            return [self._word(opening, node), Align(self._sequence(inner, node)), self._word(closing, node)]
        if len(inner) == 1 and isinstance(inner[0], Tree) and inner[0].data == "fields":
            inner = self._parts(inner[0])
        if not inner:
            return [self._word(opening, node), self._word(closing, node)]
        docs = [self._word(opening, node)]
        items, comma = self._items(inner, node)
        if closing.own:
            items.append("" if comma else ",")
            items.extend(Own(comment.text) for comment in closing.own)
            closing.own = []
            return Group([*docs, Nest(_INDENT, items), *self._after(Hard(), closing, node)])
        return Group([*docs, Nest(_INDENT, items), *self._after(Line("", "" if comma else ","), closing, node)])

    def _items(self, inner: Sequence[_Part], node: Tree) -> tuple[list[Doc], bool]:
        """What stands between brackets, and whether a comma ends it that has a comment and must stay."""
        docs: list[Doc] = []
        item: list[_Part] = []
        is_filled = node.data == "list" and all(isinstance(part, Word) or part.data in _SHORT for part in inner)
        for part in (*inner, None):
            is_comma = isinstance(part, Word) and part.terminal == "COMMA"
            if part is not None and not is_comma:
                item.append(part)
                continue
            if item:
                self._is_glued = True
                doc = [Line() if docs else Line(""), *self._sequence(item, node, is_item=True)]
                if isinstance(part, Word) and (part is not inner[-1] or part.trail):
                    doc.append(self._word(part, node))
                # As many words on a line as there is room for, or each item on its own.
                docs.append(Group(doc) if is_filled and docs else doc)
            item = []
        last = inner[-1]
        return docs, isinstance(last, Word) and last.terminal == "COMMA" and bool(last.trail)

    # -- declarations ----------------------------------------------------------------

    def _body(self, parts: list[_Part], node: Tree) -> Doc:
        """A task or rule: a line for its head, a line for each part of its body."""
        at = next((i for i, part in enumerate(parts) if isinstance(part, Tree) and part.data not in _HEAD), len(parts))
        docs = [Group(self._sequence(parts[:at], node))]
        return [*docs, *(Nest(_INDENT, self._after(Hard(), part, node)) for part in parts[at:])]

    def _run(self, parts: list[_Part], node: Tree) -> Doc:
        docs = self._sequence(parts[:3], node)
        return Group([*docs, *(Nest(_INDENT, self._after(Line(), part, node)) for part in parts[3:])])

    def _retry(self, parts: list[_Part], node: Tree) -> Doc:
        docs: list[Doc] = []
        for part in parts:
            is_place = isinstance(part, Tree) and part.data == "while"
            docs.extend(self._after(Line(), part, node) if is_place else [self._part(part, node)])
        return Group(Nest(_INDENT, docs))

    def _stop(self, parts: list[_Part], node: Tree) -> Doc:
        """A breakpoint or logpoint: on one line, or its place and its conditions on lines of their own."""
        docs = self._sequence(parts[:2], node)
        docs.append(Nest(_INDENT, self._after(Line(), parts[2], node)))
        if len(parts) > 3:
            rest = [*self._after(Line(), parts[3], node), *self._sequence(parts[4:], node)]
            docs.append(Nest(_INDENT, rest))
        return Group(docs)

    def _block(self, parts: list[_Part], node: Tree) -> Doc:
        """A procedure or test: its lines indented, `end` alone."""
        *body, end = parts
        assert isinstance(end, Word)
        first = next((i for i, part in enumerate(body) if _is_line_of_block(part)), len(body))
        docs: list[Doc] = [Group(self._sequence(body[:first], node))]
        for part in body[first:]:
            if isinstance(part, Tree) and part.data == "steps":
                docs.append(Nest(_INDENT * 2, self._doc(part)))
                continue
            word = part if isinstance(part, Word) else self._words[self._index(part.start_pos)]
            docs.append(Nest(_INDENT, self._after(Hard(word.is_apart), part, node)))
        docs.append(Nest(_INDENT, [Own(comment.text, comment.blank) for comment in end.own]))
        end.own = []
        return [*docs, *self._after(Hard(), end, node)]

    # -- rules --------------------------------------------------------------------------

    def _when(self, parts: list[_Part], node: Tree) -> Doc:
        """What is waited for, and each step that follows, on a line of its own.

        A short one without a name, in a procedure, stands on one line.
        """
        at = next(i for i, part in enumerate(parts) if isinstance(part, Word) and part.terminal == "THEN")
        condition = self._condition(parts[:at], node)
        then, steps, *late = parts[at:]
        assert isinstance(steps, Tree)
        if self._is_named(node):
            docs = [condition, *self._after(Hard(), then, node), self._doc(steps)]
            return [*docs, *(place for part in late for place in self._after(Hard(), part, node))]
        if late or len(steps.children) > 1:
            docs = [*self._after(Hard(), then, node), self._doc(steps)]
            docs.extend(place for part in late for place in self._after(Hard(), part, node))
            return [condition, Nest(_INDENT, docs)]
        return Group([condition, Nest(_INDENT, [*self._after(Line(), then, node), self._doc(steps)])])

    def _is_named(self, when: Tree) -> bool:
        index = self._index(when.start_pos)
        return index >= 2 and self._words[index - 2].terminal == "RULE"

    def _condition(self, parts: Sequence[_Part], node: Tree) -> Doc:
        docs: list[Doc] = []
        for part in parts:
            if isinstance(part, Tree) and part.data == "within" and not _ends_with_key(parts):
                docs.extend(self._after(Line(), part, node))
            else:
                docs.append(self._part(part, node))
        return Group(docs)

    def _single(self, parts: list[_Part], node: Tree) -> Doc:
        docs: list[Doc] = []
        has_key = False
        for part in parts:
            if isinstance(part, Tree) and part.data in ("by", "quiet") and not has_key:
                docs.extend(self._after(Line(), part, node))
                has_key = True
            elif isinstance(part, Word) and part.terminal == "FOLLOWED":
                docs.append(Nest(_INDENT, self._after(Line(), part, node)))
            else:
                docs.append(self._part(part, node))
        return docs

    def _parts_of(self, parts: list[_Part], node: Tree) -> Doc:
        """The parts of a join: on one line, or each on its own."""
        docs: list[Doc] = []
        for part in parts:
            if not isinstance(part, Tree):
                docs.append(self._word(part, node))
            elif part.data == "by":
                docs.extend(self._after(Line(), part, node))
            else:
                docs.append(Nest(_INDENT, [Line(), Group(self._after("", part, node))]))
        return docs

    def _pattern(self, parts: list[_Part], node: Tree) -> Doc:
        docs: list[Doc] = []
        for part in parts:
            if isinstance(part, Tree) and part.data == "where":
                docs.append(Nest(_INDENT, self._after(Line(), part, node)))
            else:
                docs.append(self._part(part, node))
        return docs

    def _where(self, parts: list[_Part], node: Tree) -> Doc:
        return [self._part(parts[0], node), Nest(_INDENT, self._sequence(parts[1:], node))]

    def _chain(self, parts: list[_Part], node: Tree) -> Doc:
        """Operands and what is between them: the line may end before each operator."""
        operands = self._sequence(parts, node, _OPERATORS[node.data])
        return Group(operands if node.data in ("expr", "and_") else Nest(_INDENT, operands))

    # -- consequences -----------------------------------------------------------------------

    def _steps(self, parts: list[_Part], node: Tree) -> Doc:
        docs: list[Doc] = []
        for part in parts:
            if isinstance(part, Word) or part.data == "else":
                docs.extend(self._after(Hard(), part, node))
            else:
                docs.append(self._doc(part))
        return docs

    def _further(self, parts: list[_Part], node: Tree) -> Doc:
        return Nest(_INDENT, self._sequence(parts, node))

    def _aligned(self, make: Callable[[], Doc]) -> Doc:
        """Something whose further lines begin where it begins, after a space."""
        self._is_glued = True
        return [" ", Align(make())]

    def _par(self, parts: list[_Part], node: Tree) -> Doc:
        def acts() -> Doc:
            docs: list[Doc] = []
            for number, part in enumerate(parts):
                if number and isinstance(part, Tree):
                    docs.extend(self._after(Line(), part, node))
                else:
                    docs.append(self._part(part, node))
            return Group(docs)

        return self._aligned(acts)

    def _step(self, parts: list[_Part], node: Tree) -> Doc:
        act, *after = parts
        docs = [self._part(act, node)]
        otherwise: list[Doc] = []
        for part in after:
            assert isinstance(part, Tree)
            if part.data != "guard":
                docs.append(Nest(_INDENT, self._after(Line(), part, node)))
                continue
            inner = self._parts(part)
            at = next((i for i, w in enumerate(inner) if isinstance(w, Word) and w.terminal == "OTHERWISE"), len(inner))
            guard = [*self._after(Line(), inner[0], part), *self._sequence(inner[1:at], part)]
            docs.append(Nest(_INDENT, guard))
            if at < len(inner):
                otherwise = self._after(Line(), inner[at], part)
                otherwise.append(self._aligned(lambda: self._part(inner[at + 1], part)))  # noqa: B023 - called at once
        return Group([Group(docs), *otherwise]) if otherwise else Group(docs)


_SHORT: Final = frozenset(("path", "minus", "true", "false", "null", "loadref", "secretref"))
"""Items of a list that are but words."""
_APART: Final = frozenset(("rule", "procedure", "test", "breakpoint", "logpoint"))
"""Items that stand apart where they take several lines; declarations stand as the writer put them."""
_HEAD: Final = frozenset(("tname", "fields", "result"))
_OPERATORS: Final = {"expr": "OR", "and_": "AND", "sum": "ADD", "term": "MUL", "coalesce": "COALESCE"}


def _closing(parts: Sequence[_Part], at: int) -> int:
    """The index of the bracket that closes the one at an index."""
    depth = 0
    for index in range(at, len(parts)):
        part = parts[index]
        if isinstance(part, Word):
            depth += (part.terminal in _BRACKETS) - (part.terminal in _BRACKETS.values())
            if depth == 0:
                return index
    raise AssertionError(parts[at])


def _is_line_of_block(part: _Part) -> bool:
    if isinstance(part, Word):
        return part.terminal == "FIRST"
    return part.data in ("given", "posted", "stub", "advance", "expect")


def _ends_with_key(parts: Sequence[_Part]) -> bool:
    """Whether a join's key is the last thing before its window, so that the two stand on one line."""
    trigger = parts[1]
    if not isinstance(trigger, Tree) or not trigger.children:
        return False
    last = trigger.children[-1]
    return isinstance(last, Tree) and last.data in ("by", "quiet")
