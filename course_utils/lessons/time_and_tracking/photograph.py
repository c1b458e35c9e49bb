"""Take the pictures of TensorBoard's page that notebook 13 shows.

    python -m course_utils.lessons.time_and_tracking.photograph

It needs what the tests need: playwright, and a Chromium that is installed.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ... import servers
from .experiments import log_runs, random_runs

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = {"width": 1180, "height": 860}
PART = {"x": 240, "y": 64, "width": 940, "height": 796}  # what is no menu
CARD = {"x": 0, "y": 0, "width": 720, "height": 630}
WAIT = 60_000  # milliseconds


def photograph(address: str, browser: str, folder: Path) -> None:
    """Both pictures, into ``folder``, of the page at ``address``."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        window = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = window.new_page(viewport=SIZE)  # type: ignore[arg-type]
        page.goto(address + "#hparams")
        page.get_by_text("PARALLEL COORDINATES VIEW").click(timeout=WAIT)
        page.locator("svg path").nth(20).wait_for(state="attached", timeout=WAIT)
        page.get_by_text("Logarithmic").nth(1).click()  # of the learning rate
        page.wait_for_timeout(1500)  # the axes are laid out anew
        page.screenshot(path=folder / "settings.png", clip=PART)
        page.goto(address + "#timeseries")
        page.reload()
        page.get_by_role("combobox", name="Filter tags (regex)").fill("^val_accuracy")
        page.get_by_role("button", name="Settings").click()
        page.locator("line-chart").first.wait_for(timeout=WAIT)
        page.wait_for_timeout(4000)  # lines come one request after another
        page.screenshot(path=folder / "curves.png", clip=CARD)
        window.close()


def main() -> None:
    """Train, log, serve, photograph."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"a picture needs one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as logs:
        log_runs(random_runs(), Path(logs))
        page = servers.start_page(servers.tensorboard(logs), "TensorBoard")
        try:
            photograph(page.address, browser, Path(__file__).parent)
        finally:
            servers.stop_page(page)


if __name__ == "__main__":
    main()
