"""What follows, from YAML to syntax trees: acts, chains of them, and what is said of how they are carried out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from then.language.findings import Misplaced
from then.language.tree import Token, Tree
from then.language.yaml_text import Node
from then.language.yaml_trees import Given, Trees
from then.language.yaml_values import items_of, mapping

TERMS: Final = {
    "timeout": "timeout", "after": "after", "at": "at", "at_most_once": "atmost",
}  # fmt: skip
"""Keys of terms that are a text in the language, and the trees that they become."""
TERM_KEYS: Final = ("retry", *TERMS, "fail_fast")
GUARD_KEYS: Final = ("if", "otherwise")
EMIT_KEYS: Final = ("type", "body", "as", "for", *TERM_KEYS, *GUARD_KEYS)
ACT_KEYS: Final = {
    "call": ("call", *EMIT_KEYS[1:]),
    "save": ("save", *GUARD_KEYS),
    "return": ("return", *GUARD_KEYS),
    "skip": ("skip", "body", *GUARD_KEYS),
    "end": ("end", "text", *GUARD_KEYS),
    "cancel": ("cancel", "where", *GUARD_KEYS),
}
"""By the key that says which act it is: what may stand beside it."""
RETRY_KEYS: Final = ("times", "backoff", "to", "factor", "jitter", "from", "while")
_WORDS: Final = {"at_most_once": "at most once"}


class ActTrees(Trees):
    """Makes the trees of consequences."""

    def consequence(self, fields: dict[str, Node], node: Node) -> tuple[Tree, Tree | None]:
        """The steps of `then` with its `else`, and what follows a window (`on_timeout`)."""
        steps, late = self.steps(fields["then"])
        otherwise = fields.get("else")
        if otherwise is not None:
            if steps.find("else") is not None:
                self.values.refuse(Misplaced("`else` is in the text of `then` already"), otherwise)
            steps = self.tree("steps", [*steps.children, self.tree("else", [self._par(otherwise)], otherwise)], node)
        timeout = fields.get("on_timeout")
        if timeout is not None:
            if late is not None:
                self.values.refuse(Misplaced("`on timeout` is in the text of `then` already"), timeout)
            late = self.tree("late", [self.steps(timeout, "on_timeout")[0]], timeout)
        return steps, late

    def steps(self, node: Node, what: str = "then") -> tuple[Tree, Tree | None]:
        """A chain: one text in the language, an act, acts side by side, or a list of lists, each a step."""
        if isinstance(node.content, str):
            tree = self.values.parse(node, "then_text")
            assert isinstance(tree, Tree)
            steps = tree if tree.data == "steps" else tree.find("steps")
            assert steps is not None
            return steps, tree.find("late")
        items = items_of(node)
        if items and all(isinstance(item.content, list) for item in items):
            return self.tree("steps", [self._par(item) for item in items], node), None
        return self.tree("steps", [self._par(node, what)], node), None

    def _par(self, node: Node, what: str = "a step") -> Tree:
        acts: list[Tree | Token] = []
        for item in items_of(node):
            acts += self._written(item) if isinstance(item.content, str) else [self.act(item)]
        if not acts:
            self.values.refuse(Misplaced(f"{what} needs at least one act"), node)
        return self.tree("par", acts, node)

    def _written(self, node: Node) -> list[Tree | Token]:
        """Acts of a list that are written in the language."""
        tree = self.values.parse(node, "then_text")
        assert isinstance(tree, Tree)
        steps = tree.children[0]
        assert isinstance(steps, Tree)
        if len(steps.children) > 1 or len(tree.children) > 1:
            self.values.refuse(Misplaced("a chain stands alone: give `then` as one text, not as a list"), node)
        par = steps.children[0]
        assert isinstance(par, Tree)
        return par.children

    def act(self, node: Node) -> Tree:
        """One act, with its terms and its guard."""
        content = node.content
        kind = next((key for key in ACT_KEYS if isinstance(content, dict) and key in content), "type")
        fields = mapping(self.unit, node, ACT_KEYS.get(kind, EMIT_KEYS), "an act")
        body = self._bare(kind, fields, node)
        return self.tree("step", [body, *self._terms(fields), self._guard(fields)], node)

    def _bare(self, kind: str, fields: dict[str, Node], node: Node) -> Tree:
        match kind:
            case "save":
                saved = fields["save"].content
                if not isinstance(saved, dict) or len(saved) != 1:
                    self.values.refuse(Misplaced("save takes one variable, as in save: {total: 3}"), node)
                ((name, value),) = saved.items()
                return self.tree("save", [name, Given(value, self.lines)], node)
            case "return":
                return self.tree("ret", [self.arguments(fields["return"], "return")], node)
            case "skip":
                args = self.arguments(fields.get("body"), "body")
                return self.tree("skip", [self.name(fields["skip"], "skip"), args], node)
            case "cancel":
                if fields["cancel"].content == "flow" and "where" not in fields:
                    return self.tree("cancel_flow", [], node)
                return self.tree("cancel", [self.name(fields["cancel"], "cancel"), self.where(fields)], node)
            case "end":
                return self._end(fields, node)
        return self._emit(kind, fields, node)

    def _end(self, fields: dict[str, Node], node: Node) -> Tree:
        word = fields["end"].content
        if word == "done" and "text" not in fields:
            return self.tree("endflow", [], node)
        if word != "failed" or "text" not in fields:
            self.values.refuse(
                Misplaced('end is done, or failed with text, as in {end: failed, text: "no stock"}'), node
            )
        return self.tree("endflow", [Given(fields["text"], self.lines)], node)

    def _emit(self, kind: str, fields: dict[str, Node], node: Node) -> Tree:
        if kind not in fields:
            known = ", ".join(ACT_KEYS)
            self.values.refuse(Misplaced(f"an act needs type (what is emitted), or one of {known}"), node)
        name = self.name(fields[kind], kind)
        args = self.arguments(fields.get("body"), "body")
        emit = self.tree("call" if kind == "call" else "emit", [name, args, self.alias(fields)], node)
        loop = fields.get("for")
        if loop is None:
            return emit
        if " in " not in self.written(loop):
            self.values.refuse(Misplaced('for takes a name and a list, as in "h in hosts" or "i, h in hosts"'), loop)
        # As it stands between `for` and `emit`.
        *names, _ = self.part_of("for ", loop, " emit x()", "then_text", "loop").children
        return self.tree("loop", [*names, emit], node)

    def arguments(self, node: Node | None, what: str) -> Tree:
        """Fields and values."""
        content = node.content if node is not None else None
        if content is None:
            return Tree("args", [], 0, 0, self.lines)
        assert node is not None
        if not isinstance(content, dict):
            self.values.refuse(Misplaced(f"{what} is a mapping of fields to values"), node)
        return self.tree(
            "args", [self.tree("arg", [key, Given(value, self.lines)], value) for key, value in content.items()], node
        )

    # -- terms and guards ------------------------------------------------------------------

    def _terms(self, fields: dict[str, Node]) -> Iterable[Tree]:
        for key, data in TERMS.items():
            if key in fields:
                yield self.part_of(f"x() {_WORDS.get(key, key)} ", fields[key], "", "then_text", data)
        if "retry" in fields:
            yield self.retry(fields["retry"])
        if self.flag(fields, "fail_fast"):
            yield self.tree("failfast", [], fields["fail_fast"])

    def retry(self, node: Node) -> Tree:
        """A number of further attempts, a text as it stands after `retry`, or a mapping."""
        if isinstance(node.content, str):
            return self.part_of("x() retry ", node, "", "then_text", "retry")
        if not isinstance(node.content, dict):
            return self.tree("retry", [self.count(node, "retry")], node)
        fields = mapping(self.unit, node, RETRY_KEYS, "retry")
        if "times" not in fields:
            self.values.refuse(Misplaced("retry needs times: how many attempts follow the first"), node)
        parts: list[Tree | Token] = [self.count(fields["times"], "times")]
        if "backoff" in fields:
            parts.append(self.span(fields["backoff"], "backoff"))
        elif "to" in fields:
            self.values.refuse(Misplaced("to is where the wait grows to: give its begin too, by backoff"), fields["to"])
        if "to" in fields:
            parts.append(self.span(fields["to"], "to"))
        if "factor" in fields:
            factor = self.part_of("x() retry 1 times backoff 1s factor ", fields["factor"], "", "then_text", "factor")
            parts.append(factor)
        if self.flag(fields, "jitter"):
            parts.append(self.token("JITTER", fields["jitter"], "jitter"))
        if "from" in fields:
            parts.append(
                self.part_of("call x() retry 1 times from ", fields["from"], "", "then_text", "retry").children[-1]
            )
        if "while" in fields:
            parts.append(self.tree("while", [self.values.parse(fields["while"], "expr")], fields["while"]))
        return self.tree("retry", parts, node)

    def _guard(self, fields: dict[str, Node]) -> Tree | None:
        otherwise = fields.get("otherwise")
        if "if" not in fields:
            if otherwise is not None:
                self.values.refuse(Misplaced("otherwise needs if"), otherwise)
            return None
        guard = self.values.parse(fields["if"], "expr")
        return self.tree("guard", [guard, self.act(otherwise) if otherwise is not None else None], fields["if"])
