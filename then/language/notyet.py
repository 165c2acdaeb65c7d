"""What parses and does not run in this version, in one place.

A row here is the one answer to a form of the language: `FILE:LINE:COL: … is
not there yet`. Who brings a form to life takes its row away; the passes ask
`is_there` before they look at a tree.
"""

from __future__ import annotations

from typing import Final

from then.core.errors import NotYet
from then.language.tree import Tree
from then.language.units import Unit

NOT_YET: Final = {
    "breakpoint": "`breakpoint`",
    "logpoint": "`logpoint`",
}
"""Name of the tree: how the answer names it."""


def is_there(tree: Tree, unit: Unit) -> bool:
    """Whether this form runs; if not, that is reported."""
    what = NOT_YET.get(tree.data)
    if what is not None:
        unit.refuse(NotYet(what), tree)
    return what is None


def report_not_yet(tree: Tree, unit: Unit) -> None:
    """Reports all such forms in a tree that is not looked at otherwise."""
    for node in tree.iter_trees():
        is_there(node, unit)
