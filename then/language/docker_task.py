"""The type `Docker` of rules in YAML: a record whose body says which container is to be run, and how.

It needs no declaration where a rule emits it, or a file starts with it; one that
is there goes before. In `.then` files, where all types are declared, this one is too.
"""

from __future__ import annotations

from typing import Final

from then.core.filters import Coalesce, Const, Expr, Field
from then.core.listening import emits_of
from then.core.rules import RuleSet, Run, TaskDecl
from then.language.executors import KINDS
from then.language.walks import all_rules

TYPE: Final = "Docker"


def _given(name: str) -> Expr:
    """What the body has under a name; null where it is missing, which is as if nothing was said."""
    return Coalesce((Field((name,), "body"), Const(None)))


DOCKER: Final = TaskDecl(
    TYPE, run=Run("docker", _given("image"), tuple((name, _given(name)) for name in KINDS["docker"].options))
)


def declare_docker(rules: RuleSet) -> None:
    """Declares it where it is emitted, and nobody did."""
    if TYPE in rules.tasks or TYPE in rules.events or TYPE in rules.procedures:
        return
    is_started = any(one.type == TYPE for one in rules.starts)
    if is_started or any(emit.type == TYPE for rule in all_rules(rules) for emit in emits_of(rule)):
        rules.declare(DOCKER)
