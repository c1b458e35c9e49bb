"""A browser without a window, found on this machine: for the tests and tools that look at pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
AXE = HERE / "build" / "axe"


class Problem(AssertionError):
    """A notebook in the browser did not do what it should."""


def wait_until(condition: Callable[[], object], seconds: float, complaint: str):
    """The first true value of ``condition()``. Raises Problem(complaint) after ``seconds``."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise Problem(f"{complaint} within {seconds:g} s")
        time.sleep(0.01)
    return value


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


@contextmanager
def browse(executable: str) -> Iterator[Any]:
    """A page of a browser without a window."""
    from playwright.sync_api import sync_playwright

    arguments = ["--disable-gpu", "--disable-background-networking"]
    if is_root() and sys.platform.startswith("linux"):
        arguments.append("--no-sandbox")  # Chromium's sandbox refuses to start as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        try:
            yield browser.new_page(viewport={"width": 1280, "height": 900})
        finally:
            browser.close()


def axe_script() -> Path | None:
    """axe-core's script, which looks for barriers to people with disabilities, fetched once by npm.

    None where there is no npm, or npm cannot reach its registry.
    """
    script = AXE / "node_modules" / "axe-core" / "axe.min.js"
    npm = shutil.which("npm")
    if not script.is_file() and npm:
        AXE.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(AXE)]
        subprocess.run([*command, "axe-core@4"], stdin=subprocess.DEVNULL, check=False, timeout=120)
    return script if script.is_file() else None


def axe_violations(page, script: Path, within: str | None = None) -> list[str]:
    """What axe-core finds on the open page, or within a CSS selector: "rule (impact): where"."""
    page.add_script_tag(path=str(script))
    options = {"resultTypes": ["violations"], "preload": False}
    found = page.evaluate(
        "async ([part, options]) => (await axe.run(part ?? document, options)).violations",
        [within, options],
    )
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:120]}"
        for each in found
        for node in each["nodes"]
    ]
