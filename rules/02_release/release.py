"""The functions of the release: run in the engine's own process."""

import hashlib
import html
import shutil
from pathlib import Path

HERE = Path(__file__).parent


def checksum(folder: str) -> dict[str, object]:
    """One hash over all files below a folder, in order of their names."""
    digest = hashlib.sha256()
    files = sorted(path for path in (HERE / folder).rglob("*.py"))
    for path in files:
        digest.update(f"{path.relative_to(HERE)}\0".encode())
        digest.update(path.read_bytes())
    return {"sha256": digest.hexdigest(), "files": len(files)}


def publish(version: str, sha256: str) -> dict[str, object]:
    """Puts the wheel into a folder that `pip install --index-url` understands."""
    (wheel,) = (HERE / "dist").glob(f"greeter-{version}-*.whl")
    shelf = HERE / "index" / "greeter"
    shelf.mkdir(parents=True, exist_ok=True)
    shutil.copy2(wheel, shelf)
    names = sorted(path.name for path in shelf.glob("*.whl"))
    links = "\n".join(f'<a href="{html.escape(name)}">{html.escape(name)}</a>' for name in names)
    (shelf / "index.html").write_text(f"<!DOCTYPE html>\n<!-- sources {sha256} -->\n{links}\n")
    return {"wheel": wheel.name, "index": "index/greeter"}
