"""The extension for editors: its words are those of the language, and what is packed is whole."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from then.dap.arguments import AttachArguments, LaunchArguments
from then.language.tables import tables

FOLDER = Path(__file__).parent.parent / "editors/vscode"
VSIX = "{http://schemas.microsoft.com/developer/vsx-schema/2011}"
GRAMMAR = json.loads((FOLDER / "syntaxes/then.tmLanguage.json").read_text())


def rules(node: Any) -> Iterator[dict[str, Any]]:
    """All rules of the grammar, outer ones first."""
    if isinstance(node, dict):
        yield node
        for inner in node.values():
            yield from rules(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from rules(inner)


def test_its_words_are_those_of_the_language_each_once() -> None:
    words = [
        word
        for rule in GRAMMAR["repository"]["words"]["patterns"]
        for word in re.findall(r"[a-z]+", rule["match"].partition("(?:")[2].partition(")")[0])
    ]
    assert sorted(words) == sorted(tables().keywords)


def test_its_expressions_are_ones_and_what_it_includes_is_there() -> None:
    for rule in rules(GRAMMAR):
        for key in ("match", "begin", "end"):
            if isinstance(rule.get(key), str):
                re.compile(rule[key])
        if isinstance(rule.get("include"), str):
            assert rule["include"].removeprefix("#") in GRAMMAR["repository"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("when", "keyword.control.then"),
        ("timed", "constant.language.outcome.then"),
        ("o.when", None),
        ("when: 1", None),
        ("whenever", None),
    ],
)
def test_a_word_is_none_after_a_dot_or_before_a_colon(text: str, name: str | None) -> None:
    found = [rule["name"] for rule in GRAMMAR["repository"]["words"]["patterns"] if re.search(rule["match"], text)]
    assert found == ([name] if name else [])


def test_the_extension_names_files_that_are_there() -> None:
    package = json.loads((FOLDER / "package.json").read_text())["contributes"]
    (language,), (grammar,) = package["languages"], package["grammars"]
    assert language["id"] == grammar["language"]
    assert grammar["scopeName"] == GRAMMAR["scopeName"]
    for path in (language["configuration"], grammar["path"]):
        json.loads((FOLDER / path).read_text())


def packed(folder: Path) -> Path:
    """The extension, packed as the tox env vsix does it."""
    done = subprocess.run(
        [sys.executable, FOLDER.parent / "pack.py", folder], capture_output=True, text=True, check=True
    )
    return Path(done.stdout.strip())


def test_the_package_holds_all_that_its_manifests_name_and_no_program(tmp_path: Path) -> None:
    with zipfile.ZipFile(packed(tmp_path)) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        manifest = ET.fromstring(archive.read("extension.vsixmanifest"))
        types = ET.fromstring(archive.read("[Content_Types].xml"))
        given = json.loads(archive.read("extension/package.json"))
    assert {asset.get("Path") for asset in manifest.iter(f"{VSIX}Asset")} <= names
    identity = next(manifest.iter(f"{VSIX}Identity"))
    assert (identity.get("Id"), identity.get("Version")) == (given["name"], given["version"])
    contributed = given["contributes"]
    for path in (contributed["languages"][0]["configuration"], contributed["grammars"][0]["path"]):
        assert f"extension/{path.removeprefix('./')}" in names
    known = {one.get("Extension") for one in types}
    assert {f".{name.rpartition('.')[2]}" for name in names if name != "[Content_Types].xml"} <= known
    assert not {name for name in names if name.endswith((".js", ".ts", ".py"))}


def test_the_same_files_are_packed_to_the_same_bytes(tmp_path: Path) -> None:
    assert packed(tmp_path / "one").read_bytes() == packed(tmp_path / "two").read_bytes()


def test_its_debugger_is_the_command_and_its_fields_are_those_of_the_adapter() -> None:
    (debugger,) = json.loads((FOLDER / "package.json").read_text())["contributes"]["debuggers"]
    assert [debugger["runtime"], *debugger["runtimeArgs"]] == ["andthen", "debug", "--dap"]
    for request, known in (("launch", LaunchArguments), ("attach", AttachArguments)):
        fields = {field.encode_name for field in msgspec.structs.fields(known)}
        assert set(debugger["configurationAttributes"][request]["properties"]) <= fields
