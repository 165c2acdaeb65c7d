"""Declarations from YAML to syntax trees: tasks and how they are tried, events, procedures, timers, secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from then.language.findings import Misplaced
from then.language.tree import Token, Tree
from then.language.yaml_acts import ActTrees
from then.language.yaml_text import Node
from then.language.yaml_values import Refused, items_of, mapping

POLICIES: Final = {
    "timeout": ("timeout", "timeout"), "deadline": ("deadline", "deadline"), "expires": ("expires", "expires"),
    "limit": ("limit", "limit"), "idempotent_by": ("idempotent by", "idem"), "done_on": ("done on", "exits"),
}  # fmt: skip
"""Keys of a task that are texts in the language: the words before them, and the trees that they become."""
TASK_KEYS: Final = (
    "inputs", "result", "run", "retry", *POLICIES, "priority", "needs", "once", "may_fail", "finally",
)  # fmt: skip
PROCEDURE_KEYS: Final = ("inputs", "result", "deadline", "may_fail", "first", "rules", "finally")
_CLOCK: Final = re.compile(r"[0-9][0-9]:[0-9][0-9]", re.ASCII)
INNER_KEYS: Final = ("name", "when", "then", "else", "on_timeout", "final")
TIMER_KEYS: Final = ("every", "at", "cron", "zone", "type", "body", "overlap", "catch_up")


class DeclarationTrees(ActTrees):
    """Makes the trees of what stands beside the rules."""

    def declared(self, key: str, node: Node) -> Iterator[Tree]:
        """What a top key declares, one tree each; what was refused is left out."""
        take = {
            "records": self._record, "events": self._event, "tasks": self._task, "procedures": self._procedure,
            "secrets": self._secret,
        }[key]  # fmt: skip
        if node.content is not None and not isinstance(node.content, dict):
            self.unit.refuse(Misplaced(f"{key} is a mapping of names to what they are"), node.token)
            return
        for name, value in (node.content or {}).items():
            try:
                yield take(self._named(name, key), value)
            except Refused:
                continue

    def timers(self, node: Node) -> Iterator[Tree]:
        """The timers of a list."""
        if not isinstance(node.content, list | None):
            self.unit.refuse(Misplaced("timers takes a list"), node.token)
            return
        for item in items_of(node):
            try:
                yield self._timer(item)
            except Refused:
                continue

    def points(self, word: str, node: Node) -> Iterator[Tree]:
        """Breakpoints, or logpoints, of a mapping: each name with what follows it in the language."""
        if not isinstance(node.content, dict):
            self.unit.refuse(Misplaced(f"{word}s takes a mapping of names to texts such as before pay"), node.token)
            return
        for name, item in node.content.items():
            try:
                yield self.part_of(f"{word} {name} ", item, "", "start", word)
            except Refused:
                continue

    def _named(self, name: Token, key: str) -> Tree | Token:
        """A key that is a name; whether it may be one is looked at where it is declared."""
        if key in ("procedures", "secrets"):
            return name
        parts: list[Tree | Token] = [Token("NAME", part, 0, name.lines) for part in name.split(".")]
        return Tree("tname", parts, 0, len(name) or 1, name.lines)

    # -- fields ------------------------------------------------------------------------

    def _fields(self, node: Node | None) -> Tree | None:
        """Fields and types: a mapping, or a text as it stands in parentheses."""
        if node is None or node.content is None:
            return None
        if isinstance(node.content, str):
            return self.part_of("record x(", node, ")", "start", "fields")
        if not isinstance(node.content, dict):
            self.values.refuse(Misplaced("fields are a mapping of names to types, or a text such as id: int"), node)
        fields: list[Tree | Token] = []
        for name, type in node.content.items():
            field = self.part_of("record x(a: ", type, ")", "start", "field")
            fields.append(self.tree("field", [name, *field.children[1:]], type))
        return self.tree("fields", fields, node)

    def _record(self, name: Tree | Token, node: Node) -> Tree:
        return self.tree("record", [name, self._fields(node)], node)

    def _event(self, name: Tree | Token, node: Node) -> Tree:
        return self.tree("event", [name, self._fields(node)], node)

    def _secret(self, name: Tree | Token, node: Node) -> Tree:
        if not isinstance(node.content, dict) or len(node.content) != 1:
            self.values.refuse(Misplaced("a secret has one source, as in {env: STRIPE_KEY}"), node)
        ((source, reference),) = node.content.items()
        return self.tree("secret", [name, source, self.plain(reference)], node)

    # -- tasks ---------------------------------------------------------------------------

    def _task(self, name: Tree | Token, node: Node) -> Tree:
        fields = mapping(self.unit, node, TASK_KEYS, "a task") if node.content is not None else {}
        result = fields.get("result")
        parts: list[Tree | Token | None] = [name, self._fields(fields.get("inputs"))]
        if result is not None:
            parts.append(self.tree("result", [self._fields(result)], result))
        if "run" in fields:
            parts.append(self.part_of("task x() run ", fields["run"], "", "start", "run"))
        parts += self._policies(fields)
        if "finally" in fields:
            steps, _ = self.steps(fields["finally"], "finally")
            parts.append(self.tree("finally", [steps], fields["finally"]))
        return self.tree("task", parts, node)

    def _policies(self, fields: dict[str, Node]) -> Iterator[Tree]:
        for key, (words, data) in POLICIES.items():
            if key in fields:
                is_count = key == "limit" and isinstance(fields[key].content, int)
                yield self._after(f"{words} ", fields[key], data, " at once" if is_count else "")
        if "retry" in fields:
            yield self.retry(fields["retry"])
        if "priority" in fields:
            is_negative = self.written(fields["priority"]).startswith("-")
            yield self._after("priority ", fields["priority"], "negative_priority" if is_negative else "priority")
        for key, data in (("once", "once"), ("may_fail", "mayfail")):
            if self.flag(fields, key):
                yield self.tree(data, [], fields[key])
        if "needs" in fields:
            yield self._needs(fields["needs"])

    def _after(self, words: str, node: Node, data: str, end: str = "") -> Tree:
        if isinstance(node.content, list):
            shown = self.token("LIST", node, self.unit.text[node.begin : node.end])
            text = Node(str(shown), node.span, "", node.begin, node.end)
            return self.part_of(f"task x() {words}", text, end, "start", data)
        return self.part_of(f"task x() {words}", node, end, "start", data)

    def _needs(self, node: Node) -> Tree:
        if not isinstance(node.content, dict):
            self.values.refuse(Misplaced("needs is a mapping of resources to amounts, as in {cores: 2}"), node)
        needs: list[Tree | Token] = []
        for name, amount in node.content.items():
            found = self.part_of("task x() needs {a: ", amount, "}", "start", "need")
            parts: list[Tree | Token] = [Token("NAME", part, 0, name.lines) for part in name.split(".")]
            named = Tree("tname", parts, 0, len(name) or 1, name.lines)
            needs.append(self.tree("need", [named, *found.children[1:]], amount))
        return self.tree("needs", needs, node)

    # -- procedures ------------------------------------------------------------------------

    def _procedure(self, name: Tree | Token, node: Node) -> Tree:
        fields = mapping(self.unit, node, PROCEDURE_KEYS, "a procedure")
        if "first" not in fields:
            self.values.refuse(Misplaced("a procedure needs first: the acts that it begins with"), node)
        result = fields.get("result")
        handed = self.tree("result", [self._fields(result)], result) if result is not None else None
        first, _ = self.steps(fields["first"], "first")
        inner = fields.get("rules")
        if inner is not None and not isinstance(inner.content, list):
            self.values.refuse(Misplaced("rules takes a list"), inner)
        rules = [self.rule(item) for item in items_of(inner)] if inner is not None else []
        end = None
        if "finally" in fields:
            end = self.tree("finally", [self.steps(fields["finally"], "finally")[0]], fields["finally"])
        terms = [self._after("deadline ", fields["deadline"], "deadline")] if "deadline" in fields else []
        if self.flag(fields, "may_fail"):
            terms.append(self.tree("mayfail", [], fields["may_fail"]))
        parts = [name, self._fields(fields.get("inputs")), handed, *terms, first, *rules, end]
        return self.tree("procedure", parts, node)

    def rule(self, node: Node) -> Tree:
        """A rule of a procedure, which may be without a name."""
        fields = mapping(self.unit, node, INNER_KEYS, "a rule")
        for key in ("when", "then"):
            if key not in fields:
                self.values.refuse(Misplaced(f"a rule needs {key}"), node)
        trigger, within = self.when(fields["when"])
        steps, late = self.consequence(fields, node)
        when = self.tree("when", [trigger, within, steps, late], node)
        is_final = self.flag(fields, "final")
        if "name" not in fields:
            if is_final:
                self.values.refuse(Misplaced("a final rule has a name"), fields["final"])
            return when
        self.name(fields["name"], "rule")
        final = self.token("FINAL", fields["final"], "final") if is_final else None
        return self.tree("rule", [final, self.token("NAME", fields["name"]), when], node)

    # -- timers ----------------------------------------------------------------------------

    def _timer(self, node: Node) -> Tree:
        fields = mapping(self.unit, node, TIMER_KEYS, "a timer")
        if ("every" in fields) == ("cron" in fields):
            self.values.refuse(Misplaced("a timer needs every, as in 15m or weekday, or cron"), node)
        if "type" not in fields:
            self.values.refuse(Misplaced("a timer needs type: the task or event that it posts"), node)
        parts: list[Tree | Token | None] = []
        if "cron" in fields:
            parts.append(self.plain(fields["cron"]))
        else:
            written = self.part_of("every ", fields["every"], " start x()", "start", "timer")
            parts += [child for child in written.children if not isinstance(child, Tree) or child.data != "post"]
        if "at" in fields:
            if _CLOCK.fullmatch(self.written(fields["at"])) is None:
                self.values.refuse(Misplaced('at is a time of day, such as "06:30"'), fields["at"])
            parts.append(self.token("CLOCK", fields["at"]))
        if "zone" in fields:
            parts.append(self.tree("zone", [self.plain(fields["zone"])], fields["zone"]))
        post = [self.name(fields["type"], "type"), self.arguments(fields.get("body"), "body")]
        parts.append(self.tree("post", post, node))
        for key, data in (("overlap", "overlap"), ("catch_up", "catchup")):
            if key in fields:
                self.values.text(fields[key], key)
                parts.append(self.tree(data, [self.token("NAME", fields[key])], fields[key]))
        return self.tree("timer", parts, node)
