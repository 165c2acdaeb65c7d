"""The extension in VS Code: colours, breakpoints on rules and on steps of scripts, and a flow that is debugged.

With `THEN_SHOTS=FOLDER` the screenshots that docs/debugger.md shows are written
there, and as `vscode-last.png` what a test that failed was looking at.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.examples import ROOT
from tests.vscode.code_server import PATIENCE_S, code_server, free_port

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
    "type": "andthen", "request": "launch", "name": "An order", "path": "${workspaceFolder}/shop.then",
    "post": "order", "body": {"id": 7, "total": 450, "country": "CH"},
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
        """A click left of the number of a line."""
        number = self._place(f".monaco-editor .line-numbers >> text=/^{line}$/")
        self.page.mouse.click(number["x"] - 10, number["y"] + number["height"] / 2)
        self.page.wait_for_selector(f".monaco-editor {BREAKPOINT}")

    def keys(self, keys: str) -> None:
        self.page.keyboard.press(keys)

    def shows(self, place: str, *texts: str) -> None:
        """Waits until a part of the window has rows with these texts."""
        for text in texts:
            self.page.wait_for_selector(f"{place} .monaco-list-row:has-text('{text}')")

    def stands_at(self, line: int, *frames: str) -> None:
        """Waits until the flow stands still, its call stack being these, and a line of a file marked."""
        self.shows(".debug-call-stack", f"{line}:", *frames)
        self.page.wait_for_selector(".monaco-editor .debug-top-stack-frame-line")
        self.page.wait_for_selector(f".monaco-editor .line-numbers.active-line-number >> text=/^{line}$/")

    def ends(self) -> None:
        """Waits until nothing is debugged any more."""
        self.page.wait_for_selector(".debug-call-stack .monaco-list-row", state="detached")
        self.page.wait_for_selector(".start-debug-action-item:has-text('An order')")

    def opens(self, scope: str) -> None:
        """A scope of the variables."""
        row = self.page.wait_for_selector(f".debug-variables .monaco-list-row[aria-label='Scope {scope}']")
        if row.get_attribute("aria-expanded") == "false":
            row.click()

    def makes_room(self) -> None:
        """A wider side bar, more of it for the variables, and none of it for what is watched."""
        self.page.click(".pane-header:has-text('Watch')")
        bar = self._place(".part.sidebar")
        self._drag(bar["x"] + bar["width"], 300, right=240)
        stack = self._place(".pane-header:has-text('Call Stack')")
        self._drag(stack["x"] + 200, stack["y"], down=100)

    def _place(self, selector: str) -> dict[str, float]:
        place: dict[str, float] | None = self.page.wait_for_selector(selector).bounding_box()
        assert place is not None
        return place

    def _drag(self, x: float, y: float, right: float = 0, down: float = 0) -> None:
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + right, y + down, steps=5)
        self.page.mouse.up()

    def shot(self, name: str) -> None:
        folder = os.environ.get("THEN_SHOTS")
        if folder:
            self.page.screenshot(path=Path(folder) / f"{name}.png")


@contextmanager
def window(
    folder: Path, launch: dict[str, Any], tasks: dict[str, Any], command: str, **environ: str
) -> Iterator[Editor]:
    """A window with the shop as its project. What it is given besides is where `andthen` is, and its environment."""
    playwright = pytest.importorskip("playwright.sync_api")
    project = folder / "shop"
    (project / ".vscode").mkdir(parents=True)
    (project / "shop.then").write_text(SHOP)
    (project / "remind.py").write_text(REMIND)
    (project / ".vscode/launch.json").write_text(json.dumps({"version": "0.2.0", "configurations": [launch]}))
    (project / ".vscode/tasks.json").write_text(json.dumps(tasks))
    installed = Path(os.environ["THEN_CODE_SERVER"])
    with (
        code_server(installed, project, folder, folder / command, **environ) as address,
        playwright.sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(
            executable_path=os.environ.get("THEN_CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
        )
        # Two points of the screen for each of the page, so that the pictures are sharp on screens of either kind.
        page = browser.new_page(viewport={"width": 1280, "height": 720}, device_scale_factor=2)
        page.set_default_timeout(PATIENCE_S * 1000)
        page.goto(address)
        page.wait_for_selector(".explorer-folders-view .monaco-list-row:has-text('shop.then')")
        editor = Editor(page)
        try:
            yield editor
        finally:
            editor.shot("vscode-last")  # Of a test that failed: what it was looking at.
            browser.close()


def test_a_flow_stops_at_a_rule_and_at_a_step_of_its_script_and_goes_on(tmp_path: Path) -> None:
    with window(tmp_path, LAUNCH, {}, "home/bin/andthen") as editor:
        debugs(editor)


def debugs(editor: Editor) -> None:
    editor.open("remind.py")
    editor.breakpoint(4)
    editor.open("shop.then")
    editor.breakpoint(13)
    editor.page.wait_for_selector(".monaco-editor .view-line span[class*='mtk']:has-text('procedure')")
    editor.page.wait_for_selector(".statusbar-item:has-text('then')")
    editor.keys("Control+Shift+D")
    editor.shows(".debug-breakpoints", "remind.py", "shop.then")
    editor.page.wait_for_selector(".start-debug-action-item:has-text('An order')")
    editor.makes_room()

    editor.keys("F5")
    editor.stands_at(13, "price", "done held, at tax.taxed", "running, by placed")
    editor.shows(".debug-variables", "450")
    editor.opens("Result")
    editor.shows(".debug-variables", "535")
    editor.opens("What would follow")
    editor.shows(".debug-variables", "tax.taxed")
    editor.shot("vscode-rule")

    editor.keys("F10")
    editor.stands_at(19, "done held, at placed/1")
    editor.opens("Body")
    editor.shows(".debug-variables", '"CH"')
    editor.shot("vscode-step")

    editor.keys("F5")
    editor.stands_at(4, "remind", "main")
    editor.shows(".debug-variables", "ids", "number", "remind would go on with")
    editor.shot("vscode-script")
    editor.page.click(".debug-breakpoints .monaco-list-row:has-text('remind.py') input")

    editor.keys("F5")
    editor.ends()


def documented() -> list[str]:
    """What docs/debugger.md says of virtual environments, in JSON."""
    page = (ROOT / "docs/debugger.md").read_text()
    section = page.partition("#### A virtual environment")[2].partition("\n### ")[0]
    return re.findall(r"```json\n(.*?)```", section, re.DOTALL)


def test_the_andthen_of_a_virtual_environment_serves_a_port_and_is_started_with_the_first_flow(tmp_path: Path) -> None:
    port = str(free_port())
    tasks, more = (json.loads(one.replace("4711", port)) for one in documented())
    with window(tmp_path, LAUNCH | more, tasks, "shop/.venv/bin/andthen", THEN_DAP_TOKEN="only ours") as editor:
        editor.open("shop.then")
        editor.breakpoint(13)
        editor.keys("Control+Shift+D")
        editor.shows(".debug-breakpoints", "shop.then")
        for _ in range(2):  # The second finds it there.
            editor.keys("F5")
            editor.stands_at(13, "price", "done held, at tax.taxed")
            editor.shot("vscode-venv")
            editor.keys("F5")
            editor.ends()
