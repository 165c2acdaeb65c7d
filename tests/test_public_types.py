"""The stub of the package says what the package does; what a type checker makes of it is in typed_program.py."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import then
from tests import typed_program

STUB = ast.parse((Path(then.__file__).parent / "__init__.pyi").read_text())
IMPORTS = [(node.module, alias) for node in STUB.body if isinstance(node, ast.ImportFrom) for alias in node.names]


def test_the_stub_exports_the_names_of_the_package_and_finds_them_where_it_does() -> None:
    assert {alias.asname: module for module, alias in IMPORTS} == vars(then)["_HOMES"]
    assert all(alias.name == alias.asname for _, alias in IMPORTS)
    assert (Path(then.__file__).parent / "py.typed").exists()


def test_the_typed_program_does_what_it_says() -> None:
    assert typed_program.outcome("main") == "done"
    assert asyncio.run(typed_program.outcome_of("main")) == "done"
    assert typed_program.names("main") == ["publish_main"]
    assert typed_program.names("other") == []
