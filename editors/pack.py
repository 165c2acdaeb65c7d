"""Packs the extension for VS Code: `python editors/pack.py FOLDER` writes `andthen-VERSION.vsix` there.

A `.vsix` is a zip of a certain shape (Open Packaging Conventions). The same files give the same bytes.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

HERE: Final = Path(__file__).parent
LICENSE: Final = HERE.parent / "LICENSE"
THEN: Final = (2026, 1, 1, 0, 0, 0)
"""The time of all files in it: that of the build would make each another one."""
TYPES: Final = {"json": "application/json", "md": "text/markdown", "txt": "text/plain", "vsixmanifest": "text/xml"}


def pack(folder: Path) -> Path:
    """Writes the package into a folder, and gives its path."""
    given = json.loads((HERE / "vscode" / "package.json").read_text(encoding="utf-8"))
    path = folder / f"{given['name']}-{given['version']}.vsix"
    folder.mkdir(parents=True, exist_ok=True)
    files = {"[Content_Types].xml": _types(), "extension.vsixmanifest": _manifest(given)}
    for file in sorted((HERE / "vscode").rglob("*")):
        if file.is_file():
            files[f"extension/{file.relative_to(HERE / 'vscode').as_posix()}"] = file.read_text(encoding="utf-8")
    files["extension/LICENSE.txt"] = LICENSE.read_text(encoding="utf-8")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, THEN), text, zipfile.ZIP_DEFLATED)
    return path


def _types() -> str:
    rows = "".join(f'<Default Extension=".{end}" ContentType="{type}"/>' for end, type in sorted(TYPES.items()))
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">{rows}</Types>\n'
    )


def _manifest(given: dict[str, Any]) -> str:
    asset = "Microsoft.VisualStudio"
    engine = json.dumps(given["engines"]["vscode"])
    identity = (
        f"Id={quoteattr(given['name'])} Version={quoteattr(given['version'])} Publisher={quoteattr(given['publisher'])}"
    )
    return f"""<?xml version="1.0" encoding="utf-8"?>
<PackageManifest Version="2.0.0" xmlns="http://schemas.microsoft.com/developer/vsx-schema/2011">
  <Metadata>
    <Identity Language="en-US" {identity}/>
    <DisplayName>{escape(given["displayName"])}</DisplayName>
    <Description xml:space="preserve">{escape(given["description"])}</Description>
    <Categories>{escape(",".join(given["categories"]))}</Categories>
    <GalleryFlags>Public</GalleryFlags>
    <Properties>
      <Property Id="{asset}.Code.Engine" Value={engine}/>
      <Property Id="{asset}.Code.ExtensionKind" Value="workspace"/>
    </Properties>
    <License>extension/LICENSE.txt</License>
  </Metadata>
  <Installation><InstallationTarget Id="{asset}.Code"/></Installation>
  <Dependencies/>
  <Assets>
    <Asset Type="{asset}.Code.Manifest" Path="extension/package.json" Addressable="true"/>
    <Asset Type="{asset}.Services.Content.Details" Path="extension/README.md" Addressable="true"/>
    <Asset Type="{asset}.Services.Content.License" Path="extension/LICENSE.txt" Addressable="true"/>
  </Assets>
</PackageManifest>
"""


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(pack(Path(sys.argv[1])))  # noqa: T201
