"""Procedures, and what follows an end (`finally`), from tree to model.

What a procedure takes and hands back is known before any rule is compiled
(`then.language.declare`); here its rules are. They see its parameters as
names, and the records of their own call.

Who calls: `then.language.loader`.
"""

from __future__ import annotations

from then.core.errors import RuleError
from then.core.rules import Called, Consequence, Ended, FieldDecl, ProcedureDecl, Rule
from then.core.tasks import check_name
from then.language.compile import Compiler
from then.language.declare import dotted
from then.language.findings import Misplaced
from then.language.policies import span_us
from then.language.scope import Procedure, Scope
from then.language.tree import Token, Tree
from then.language.units import Unit


def procedure_of(tree: Tree, signature: Procedure, compiler: Compiler) -> tuple[ProcedureDecl, Rule | None]:
    """A procedure with its rules, those that were refused left out, and its `finally`."""
    unit, name = compiler.unit, signature.name
    steps = tree.find("steps")
    assert steps is not None
    source = unit.text[tree.start_pos : steps.end_pos]
    called = compiler.acts.consequence(steps, _scope(compiler, signature))
    first = Rule(name, Called(name), called, source=source, span=unit.span(tree.children[0]))
    rules: list[Rule] = []
    place = 0
    for part in tree.children:
        if isinstance(part, Tree) and part.data in ("rule", "when"):
            place += 1
            rule = _rule(part, place, signature, compiler)
            if rule is not None:
                rules.append(rule)
    deadline_us, may_fail = _terms(tree, unit)
    declared = ProcedureDecl(
        name, signature.inputs, signature.result, first, tuple(rules), deadline_us, may_fail,
        span=unit.span(tree.children[0]),
    )  # fmt: skip
    return declared, ending_of(tree, name, signature.inputs, compiler)


def _terms(tree: Tree, unit: Unit) -> tuple[int | None, bool]:
    """Its deadline, and whether it may fail."""
    deadline_us, seen = None, set[str]()
    for mod in tree.children:
        if not isinstance(mod, Tree) or mod.data not in ("deadline", "mayfail"):
            continue
        if mod.data in seen:
            unit.refuse(Misplaced(f"`{'deadline' if mod.data == 'deadline' else 'may fail'}` is there twice"), mod)
        elif mod.data == "deadline":
            deadline_us = span_us(mod, "deadline", unit)
        seen.add(mod.data)
    return deadline_us, "mayfail" in seen


def _rule(tree: Tree, place: int, signature: Procedure, compiler: Compiler) -> Rule | None:
    """A rule, named by its place where it has no name of its own."""
    when = tree.children[-1] if tree.data == "rule" else tree
    assert isinstance(when, Tree)
    tokens = [child for child in tree.children if isinstance(child, Token)] if tree.data == "rule" else []
    own = str(tokens[-1]) if tokens else str(place)
    trigger, consequence = compiler.when(when, _scope(compiler, signature))
    unit = compiler.unit
    at = tokens[-1] if tokens else tree
    try:
        name = check_name(f"{signature.name}.{own}", "rule")
    except RuleError as error:
        unit.refuse(error, at)
        return None
    if trigger is None:
        return None
    source = unit.text[tree.start_pos : tree.end_pos]
    return Rule(name, trigger, consequence, final=len(tokens) > 1, source=source, span=unit.span(at))


def _scope(compiler: Compiler, signature: Procedure) -> Scope:
    names = {field.name: field.type for field in signature.inputs or ()}
    return Scope("act", compiler.unit.constants, names=names, procedure=signature)


def ending_of(tree: Tree, type: str, inputs: tuple[FieldDecl, ...] | None, compiler: Compiler) -> Rule | None:
    """The `finally` of a task or procedure: its inputs are names in it."""
    node = tree.find("finally")
    if node is None:
        return None
    steps = node.children[0]
    assert isinstance(steps, Tree)
    scope = Scope("ending", compiler.unit.constants, names={field.name: field.type for field in inputs or ()})
    consequence: Consequence = compiler.acts.consequence(steps, scope)
    unit = compiler.unit
    source = unit.text[node.start_pos : node.end_pos]
    return Rule(f"{type}.finally", Ended(type), consequence, source=source, span=unit.span(node))


def task_ending(tree: Tree, compiler: Compiler) -> Rule | None:
    """The `finally` of a task item."""
    name = dotted(tree.children[0])
    task = compiler.declared.rules.tasks.get(name)
    return ending_of(tree, name, task.inputs if task is not None else None, compiler)
