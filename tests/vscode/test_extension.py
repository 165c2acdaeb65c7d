"""The extension in VS Code: colours, breakpoints on rules and on steps of scripts, and what it offers to debug.

With `THEN_SHOTS=FOLDER` the screenshots of the pages are written there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vscode.code_server import PATIENCE_S, code_server

SHOP = """\
event order(id: int, total: int, country: str)
task price(id: int, total: int) -> (net: int)
  run process ["sh", "-c", r'printf "{\\"net\\": %d}" $(($0 * 119 / 100)) > "$THEN_RESULT"', total]
task charge(id: int, amount: int)
  run process ["true"]
task letter(id: int)
  run process ["true"]
task remind(ids: list[int]) -> (sent: int)
  run script "remind.py"

procedure tax(id: int, total: int, country: str) -> (amount: int)
  first price(id: id, total: total)
  rule taxed when price done as p then return (amount: p.net)
end

rule placed
  when order as o
  then call tax(id: o.id, total: o.total, country: o.country) as t
  then save billed: t.amount, charge(id: o.id, amount: t.amount)

rule paid when charge done as c then remind(ids: [c.id, c.id + 1])
"""
REMIND = """\
def main(ids, **rest):
    sent = []
    for number in ids:
        sent.append(run("letter", id=number))
    wait(sent)
    return {"sent": len(sent)}
"""
LAUNCH = {
    "version": "0.2.0",
    "configurations": [
        {
            "type": "andthen", "request": "launch", "name": "An order", "path": "${workspaceFolder}/shop.then",
            "post": "order", "body": {"id": 7, "total": 450, "country": "CH"},
        }
    ],
}  # fmt: skip


BREAKPOINT = "[class*='codicon-debug-breakpoint']"


class Editor:
    """VS Code in a page."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def open(self, file: str) -> None:
        self.keys("Control+P")
        self.page.wait_for_selector(".quick-input-widget input")
        self.page.keyboard.type(file)
        self.page.wait_for_selector(f".quick-input-list .monaco-list-row:has-text('{file}')")
        self.keys("Enter")
        self.page.wait_for_selector(f".tab.active:has-text('{file}')")
        self.page.wait_for_selector(".monaco-editor .view-line")

    def breakpoint(self, line: int) -> None:
        """F9 on a line."""
        self.keys("Control+G")
        self.page.wait_for_selector(".quick-input-widget input")
        self.page.keyboard.type(str(line))
        self.keys("Enter")
        self.keys("F9")
        self.page.wait_for_selector(f".monaco-editor {BREAKPOINT}")

    def keys(self, keys: str) -> None:
        self.page.keyboard.press(keys)

    def shows(self, place: str, *texts: str) -> None:
        """Waits until a part of the window has rows with these texts."""
        for text in texts:
            self.page.wait_for_selector(f"{place} .monaco-list-row:has-text('{text}')")

    def shot(self, name: str) -> None:
        folder = os.environ.get("THEN_SHOTS")
        if folder:
            self.page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    playwright = pytest.importorskip("playwright.sync_api")
    project = tmp_path / "shop"
    (project / ".vscode").mkdir(parents=True)
    (project / "shop.then").write_text(SHOP)
    (project / "remind.py").write_text(REMIND)
    (project / ".vscode/launch.json").write_text(json.dumps(LAUNCH))
    installed = Path(os.environ["THEN_CODE_SERVER"])
    with code_server(installed, project, tmp_path) as address, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=os.environ.get("THEN_CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1180, "height": 720})
        page.set_default_timeout(PATIENCE_S * 1000)
        page.goto(address)
        page.wait_for_selector(".explorer-folders-view .monaco-list-row:has-text('shop.then')")
        editor = Editor(page)
        try:
            yield editor
        finally:
            editor.shot("vscode-last")  # Of a test that failed: what it was looking at.
            browser.close()


def test_rules_and_scripts_take_breakpoints_and_a_flow_is_offered_to_be_debugged(editor: Editor) -> None:
    editor.open("remind.py")
    editor.breakpoint(4)
    editor.open("shop.then")
    editor.breakpoint(13)
    editor.page.wait_for_selector(".monaco-editor .view-line span[class*='mtk']:has-text('procedure')")
    editor.page.wait_for_selector(".statusbar-item:has-text('then')")
    editor.keys("Control+Shift+D")
    editor.shows(".debug-breakpoints", "remind.py", "shop.then")
    editor.page.wait_for_selector(".start-debug-action-item:has-text('An order')")
    editor.shot("vscode")
