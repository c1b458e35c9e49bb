"""Take the picture of Ray's dashboard that notebook 14 shows.

    python -m course_utils.lessons.many_machines.photograph

It needs what the tests need: playwright, and a Chromium that is installed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from pathlib import Path

from .engines import ray_workers
from .ray_search import start_ray, stop_ray
from .worker import load_small

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = {"width": 1180, "height": 640}
WAIT = 60_000  # milliseconds


def photograph(address: str, browser: str, place: Path) -> None:
    """The page of the cluster at ``address``, into the file ``place``."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        window = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = window.new_page(viewport=SIZE)  # type: ignore[arg-type]
        page.goto(f"{address}/#/cluster")
        box = page.locator("input[type=password]")
        box.fill(os.environ["RAY_AUTH_TOKEN"], timeout=WAIT)
        page.get_by_role("button", name="Submit").click(timeout=WAIT)
        page.wait_for_timeout(15_000)  # the workers' numbers come after some seconds
        page.screenshot(path=place)
        window.close()


def main() -> None:
    """Start Ray with its dashboard, search, photograph."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"a picture needs one of {', '.join(BROWSERS)}")
    address, small = start_ray(dashboard=True), load_small()
    assert address is not None
    with tempfile.TemporaryDirectory() as folder:
        search = threading.Thread(
            target=lambda: ray_workers(small, folder, trials=150), daemon=True
        )
        search.start()
        try:
            photograph(address, browser, Path(__file__).with_name("dashboard.png"))
        finally:
            stop_ray()


if __name__ == "__main__":
    main()
