"""One load: what is used and loaded is found, all of it is declared, then compiled in order.

Theory of operation
-------------------
1. *Collect.* Each file is read and parsed once, at the first place that names
   it. Its `use`, `load` and `let` items are carried out in the order of the
   text, so that a `let` may stand on what is above it. Declarations go into one
   rule set, which all files of a load share; rules are only noted, in the order
   in which they will be tried: a `use` puts those of its file at its place.
2. *Check declarations*, when all are known.
3. *Compile* the rules in order, then look at them together
   (`then.language.check`).

Every error of every pass is kept, and refused at the end in one `RulesRefused`.
Where a file cannot be read or parsed, pass 1 is the last one: names that it
declares would only be reported as unknown.

Who calls: `then.language.loading`; `then.language.yaml_rules`, for what a file
of YAML uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from then.core.errors import DuplicateRule, RuleError, UnknownName
from then.core.rules import Rule, RuleSet
from then.core.scenarios import Scenario
from then.language.breakpoints import breakpoint_of
from then.language.check import check_rules
from then.language.compile import Compiler
from then.language.constants import Constants
from then.language.declare import Declarer, check_declared, dotted
from then.language.docker_task import declare_docker
from then.language.executors import Kinds
from then.language.files import PRELUDE, Reader, beside
from then.language.findings import Enough, FileRefused, Findings, UseCycle
from then.language.parser import parse
from then.language.procedures import procedure_of, task_ending
from then.language.scenarios import ScenarioCompiler
from then.language.scope import Declared, Procedure
from then.language.templates import read_text
from then.language.timers import timer_of
from then.language.tree import Token, Tree
from then.language.units import Unit

LoadPython: TypeAlias = Callable[[Path], RuleSet]
"""Runs a Python file that defines `rules`, and gives them. Raises RuleError."""

_DECLARATIONS: Final = frozenset(("record", "event", "task", "secret", "procedure"))
"""Items that `use NAME from` may name."""

CHAIN_MAX: Final = 64
"""Files that use files that use files."""


class Loader:
    """One load: the files that were read, and the rules in the order in which they will be tried."""

    def __init__(
        self,
        reader: Reader,
        root: Path,
        entry: str,
        env: Mapping[str, str],
        load_python: LoadPython | None,
        known: RuleSet | None,
        kinds: Kinds,
    ) -> None:
        self.reader = reader
        self.root = root
        self.entry = entry
        self.env = env
        self.load_python = load_python
        self.kinds = kinds
        self.findings = Findings()
        self.rules = RuleSet()
        self.known = known
        self.units: dict[str, Unit] = {}
        self._uses: dict[str, list[str]] = {}
        """For each file, those that it uses."""
        self._declared: dict[int, Tree] = {}
        """The trees whose declarations were taken, by their id: by the whole file, or one by one. They are kept, since
        another tree may get the id of one that is gone."""
        self._taken: set[str] = set()
        self._procedures: dict[str, Procedure] = {}
        """All that may be called; those of `.then` are compiled in pass 3."""
        self._compilers: dict[str, Compiler] = {}
        self._plan: list[Callable[[Declared], list[Rule]]] = []
        self._tests: list[tuple[Unit, Tree]] = []
        self._points: list[tuple[Unit, Tree]] = []
        self._is_whole = True
        """Every file could be read and parsed."""

    def run(self) -> None:
        """All passes. What is wrong is in `findings`."""
        with suppress(Enough):
            self._run()

    def _run(self) -> None:
        if self.known is not None:
            for group in (self.known.records, self.known.events, self.known.tasks):
                for declaration in group.values():
                    self.rules.declare(declaration)
            self._procedures.update(self.known.procedures)
        entries = self._entries()
        for key in entries:
            self.take(key, ())
        if not self._is_whole:
            return
        declared = Declared(self.rules, self._procedures, self.known.secrets if self.known is not None else None)
        check_declared(declared, self.units.values())
        for compile_part in self._plan:
            for rule in compile_part(declared):
                self._add(rule)
        declare_docker(self.rules)
        self._take_points(declared)
        self._take_tests(entries, declared)
        if not self.findings.errors:
            # What was refused is not in the rules: what is said of them together would not hold.
            own = {self.units[key].file for key in entries if key in self.units}
            check_rules(self.rules, self.units.values(), own, self.findings, is_alone=self.known is None)
        if self.known is not None:
            self._take_known_away(self.known)

    def _entries(self) -> list[str]:
        if self.entry != ".":
            return [self.entry]
        found = []
        for name in self.reader.names():
            if name.endswith(".then") or name == "rules.py" or (name.endswith(".yaml") and self._is_rules(name)):
                found.append(name)
        if not found:
            self._fail(
                FileRefused(
                    f'no rules in the folder "{self.root}": no *.then, no *.yaml with the key rules, no rules.py'
                )
            )
        return found

    def _is_rules(self, name: str) -> bool:
        from then.language.yaml_text import has_top_key

        try:
            return has_top_key(self.reader.text(name), "rules")
        except RuleError:
            # Somebody else's file; one that says `rules` and cannot be read is reported where it is parsed.
            return False

    def _take_known_away(self, known: RuleSet) -> None:
        for ours, theirs in (
            (self.rules.records, known.records), (self.rules.events, known.events), (self.rules.tasks, known.tasks),
        ):  # fmt: skip
            for name in theirs:
                del ours[name]

    # -- files -------------------------------------------------------------------

    def take(self, key: str, chain: tuple[str, ...], at: tuple[Unit, Token] | None = None) -> Unit | None:
        """A whole file: what it declares, and its rules at this place; None where it could not be had.

        Args:
            chain: the files that are being read because one names the other, this one's user last.
            at: where it is named.
        """
        try:
            self._check_chain(key, chain)
            if key.endswith(".py"):
                if at is not None:
                    raise FileRefused(
                        "`use` takes .then and .yaml files; Python rules are loaded by name, or as rules.py of a folder"
                    )
                self._take_python(key)
                return None
            unit = self.unit(key)
            if key not in self._taken:
                self._taken.add(key)
                self._take_items(unit, chain)
        except RuleError as error:
            self._fail(error, at)
            return None
        return unit

    def _check_chain(self, key: str, chain: tuple[str, ...]) -> None:
        if key in chain:
            raise UseCycle(self.reader.shown(name) for name in (*chain[chain.index(key) :], key))
        if len(chain) >= CHAIN_MAX:
            raise FileRefused(f"files use each other {CHAIN_MAX} deep")

    def unit(self, key: str) -> Unit:
        """A file, read and parsed once.

        Raises:
            RuleError: it cannot be read or parsed.
        """
        unit = self.units.get(key)
        if unit is not None:
            return unit
        is_yaml = key.endswith((".yaml", ".yml"))
        if not is_yaml and not key.endswith(".then") and key != PRELUDE:
            raise FileRefused(
                f'"{self.reader.shown(key)}" is no file of rules: .then, .yaml with the key rules, .py, or a folder of them'
            )
        text = self.reader.text(key)
        unit = Unit(self.reader.shown(key), key, text, self.findings, is_strict=not is_yaml)
        self.units[key] = unit
        self.rules.sources[key] = text
        if not is_yaml:
            unit.tree = parse(text, unit.file)
        return unit

    def _take_items(self, unit: Unit, chain: tuple[str, ...]) -> None:
        if unit.tree is None:
            from then.language.yaml_rules import take_yaml

            take_yaml(unit, self, chain)
            return
        constants = Constants(unit, self.reader, self.env, self.rules)
        later = []
        for item in unit.tree.children:
            assert isinstance(item, Tree)
            match item.data:
                case "use":
                    self._use(item, unit, chain)
                case "load" | "let":
                    constants.take(item)
                case kind if kind in _DECLARATIONS:
                    later.append(item)
                case "rule":
                    self.plan_tree(unit, item)
                case "post":
                    self._plan_start(unit, item)
                case "timer":
                    self._plan_timer(unit, item)
                case "test":
                    self._tests.append((unit, item))
                case _:
                    assert item.data in ("breakpoint", "logpoint"), item.data
                    self._points.append((unit, item))
        for item in later:
            self._declare(unit, item)

    def _declare(self, unit: Unit, item: Tree) -> None:
        """A declaration, once; what it holds of rules is compiled when all is declared."""
        if id(item) in self._declared:
            return
        self._declared[id(item)] = item
        declarer = Declarer(unit, self.rules, self.kinds)
        if item.data == "procedure":
            signature = declarer.signature(item)
            if signature is None:
                return
            other = self._procedures.get(signature.name)
            if other is not None:
                unit.refuse(DuplicateRule("procedure", signature.name, signature.span, other.span), item.children[0])
                return
            self._procedures[signature.name] = signature
            self._plan.append(lambda declared: self._compile_procedure(unit, item, signature, declared))
            return
        declarer.declare(item)
        if item.data == "task" and item.find("finally") is not None:
            self._plan.append(lambda declared: self._end_with(task_ending(item, self._compiler(unit, declared))))

    def _take_python(self, key: str) -> None:
        if self.load_python is None:
            raise FileRefused(f'"{self.reader.shown(key)}" is Python, which is not run here')
        given = self.load_python(self.root / key)
        for group in (given.records, given.events, given.tasks, given.procedures, given.secrets, given.timers):
            for declaration in group.values():
                try:
                    self.rules.declare(declaration)
                except RuleError as error:
                    self.findings.refuse(error)
        for rule in given.endings.values():
            self._end_with(rule)
        for point in given.breakpoints.values():
            try:
                self.rules.stop_at(point)
            except RuleError as error:
                self.findings.refuse(error)
        self.rules.continuations.update(given.continuations)
        self.rules.starts.extend(given.starts)
        self.rules.sources.update(given.sources)
        self._plan.append(lambda declared: given.rules)

    # -- use -----------------------------------------------------------------------

    def _use(self, item: Tree, unit: Unit, chain: tuple[str, ...]) -> None:
        *names, path_token = item.children
        assert isinstance(path_token, Token)
        try:
            path = read_text(path_token)
        except RuleError as error:
            self._fail(error, (unit, path_token))
            return
        self.use(path, [(dotted(name), name) for name in names], unit, chain, path_token)

    def use(
        self, path: str, names: list[tuple[str, Tree | Token]], unit: Unit, chain: tuple[str, ...], at: Token
    ) -> None:
        """`use "file"`, or `use a, b from "file"`: only those declarations, and what they need.

        Args:
            path: relative to the file.
            chain: the files that led to this one.
        """
        chain = (*chain, unit.key)
        try:
            key = beside(unit.key, path)
            self._uses.setdefault(unit.key, []).append(key)
            if not names:
                used = self.take(key, chain, (unit, at))
                if used is not None:
                    unit.constants.update(
                        {name: value for name, value in used.constants.items() if name not in unit.constants}
                    )
                return
            self._check_chain(key, chain)
            used = self._parsed(key, chain)
        except RuleError as error:
            self._fail(error, (unit, at))
            return
        for name, token in names:
            if name in used.constants:
                unit.constants[name] = used.constants[name]
            elif not self._declare_one(name, used):
                unit.refuse(UnknownName(f"declaration of {used.file}", name, self._names(used)), token)

    def _parsed(self, key: str, chain: tuple[str, ...]) -> Unit:
        """A file of which only some declarations are taken: its constants are needed, its rules are not."""
        is_new = key not in self.units
        unit = self.unit(key)
        if is_new and unit.tree is not None:
            constants = Constants(unit, self.reader, self.env, self.rules)
            for item in unit.tree.children:
                assert isinstance(item, Tree)
                if item.data in ("load", "let"):
                    constants.take(item)
                elif item.data == "use":
                    path = item.children[-1]
                    assert isinstance(path, Token)
                    inner = beside(key, read_text(path))
                    self._check_chain(inner, (*chain, key))
                    self._uses.setdefault(key, []).append(inner)
                    self._parsed(inner, (*chain, key))
        return unit

    def _declare_one(self, name: str, unit: Unit) -> bool:
        """Declares what a file calls so, and the records that it is made of; False where it has no such name."""
        item = self._items(unit).get(name)
        if item is None:
            return any(
                self._declare_one(name, self.units[key]) for key in self._uses.get(unit.key, ()) if key in self.units
            )
        if id(item) not in self._declared:
            self._declare(unit, item)
            for tree in item.iter_trees():
                if tree.data in ("type", "secretref"):
                    self._declare_one(str(tree.children[0]), unit)
                elif tree.data == "tname":
                    self._declare_one(dotted(tree), unit)
        return True

    def _items(self, unit: Unit) -> dict[str, Tree]:
        if unit.tree is None:
            return {}
        items = (item for item in unit.tree.children if isinstance(item, Tree))
        return {dotted(item.children[0]): item for item in items if item.data in _DECLARATIONS}

    def _names(self, unit: Unit) -> list[str]:
        return [*self._items(unit), *unit.constants]

    # -- rules -----------------------------------------------------------------------

    def plan_tree(self, unit: Unit, item: Tree) -> None:
        """Notes a rule of a `.then` file at this place of the order."""
        self._plan.append(lambda declared: self._compile(unit, item, declared))

    def take_tree(self, unit: Unit, tree: Tree) -> None:
        """A declaration or timer of a file whose trees were made elsewhere: YAML."""
        if tree.data == "timer":
            self._plan_timer(unit, tree)
        else:
            self._declare(unit, tree)

    def plan(self, part: Callable[[Declared], list[Rule]]) -> None:
        """Notes what gives rules, once everything is declared, at this place of the order."""
        self._plan.append(part)

    def _plan_start(self, unit: Unit, item: Tree) -> None:
        def compile_start(declared: Declared) -> list[Rule]:
            self.rules.starts.append(Compiler(unit, declared).start(item))
            return []

        self._plan.append(compile_start)

    def _plan_timer(self, unit: Unit, item: Tree) -> None:
        def compile_timer(declared: Declared) -> list[Rule]:
            timer = timer_of(item, self._compiler(unit, declared))
            if timer is not None:
                self.rules.declare(timer)
            return []

        self._plan.append(compile_timer)

    def _compiler(self, unit: Unit, declared: Declared) -> Compiler:
        compiler = self._compilers.get(unit.key)
        if compiler is None:
            if unit.tree is None:
                from then.language.yaml_trees import yaml_compiler

                compiler = yaml_compiler(unit, declared)
            else:
                compiler = Compiler(unit, declared)
            self._compilers[unit.key] = compiler
        return compiler

    def take_point(self, unit: Unit, tree: Tree) -> None:
        """A breakpoint or logpoint of a file whose trees were made elsewhere: YAML."""
        self._points.append((unit, tree))

    def _take_points(self, declared: Declared) -> None:
        """Breakpoints and logpoints, when all rules are there to be named."""
        for unit, item in self._points:
            known = (self.rules,) if self.known is None else (self.rules, self.known)
            text = item.lines.text[item.start_pos : item.end_pos]
            point = breakpoint_of(item, self._compiler(unit, declared), known, text)
            item.children.clear()
            if point is None:
                continue
            try:
                other = self.known.breakpoints.get(point.name) if self.known is not None else None
                if other is not None:
                    raise DuplicateRule("breakpoint", point.name, point.span, other.span)
                self.rules.stop_at(point)
            except RuleError as error:
                self._refuse(error)

    def _take_tests(self, entries: list[str], declared: Declared) -> None:
        """The tests of the files that were asked for, when all rules are there to be named."""
        known = (self.rules,) if self.known is None else (self.rules, self.known)
        is_whole, names = not self.findings.errors, dict[str, Scenario]()
        for unit, item in self._tests:
            if unit.key not in entries:
                continue
            scenario = ScenarioCompiler(self._compiler(unit, declared), known, is_whole=is_whole).scenario(item)
            item.children.clear()
            if scenario is None:
                continue
            other = names.setdefault(scenario.name, scenario)
            if other is not scenario:
                twin = DuplicateRule("test", scenario.name, scenario.span, other.span)
                twin.line = unit.line(scenario.span)
                self.findings.refuse(twin)
            self.rules.scenarios.append(scenario)

    def _compile(self, unit: Unit, item: Tree, declared: Declared) -> list[Rule]:
        rule = self._compiler(unit, declared).rule(item)
        # Its tree is several times as large as the rule, and of no further use.
        item.children.clear()
        return [] if rule is None else [rule]

    def _compile_procedure(self, unit: Unit, item: Tree, signature: Procedure, declared: Declared) -> list[Rule]:
        procedure, ending = procedure_of(item, signature, self._compiler(unit, declared))
        item.children.clear()
        try:
            self.rules.declare(procedure)
        except RuleError as error:
            self._refuse(error)
        return self._end_with(ending)

    def _end_with(self, rule: Rule | None) -> list[Rule]:
        if rule is not None:
            try:
                self.rules.finish(rule)
            except RuleError as error:
                self._refuse(error)
        return []

    def _add(self, rule: Rule) -> None:
        other = self.known.rule(rule.name) if self.known is not None else None
        try:
            if other is not None:
                raise DuplicateRule("rule", rule.name, rule.span, other.span)
            self.rules.add(rule)
        except RuleError as error:
            self._refuse(error)

    def _refuse(self, error: RuleError) -> None:
        for unit in self.units.values():
            error.line = error.line or unit.line(error.span)
        self.findings.refuse(error)

    def _fail(self, error: RuleError, at: tuple[Unit, Token] | None = None) -> None:
        """Keeps an error that leaves a file out: what it declares is not known."""
        self._is_whole = False
        if at is not None and error.span is None:
            at[0].refuse(error, at[1])
        else:
            self.findings.refuse(error)
