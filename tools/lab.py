"""Open the course in JupyterLab: in a browser where there is one, else by printing the address.

python tools/lab.py [notebook]
"""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import MutableMapping
from pathlib import Path
from urllib.parse import quote

START = Path(__file__).resolve().parent.parent / "notebooks" / "00_start_here.ipynb"
SETTINGS = Path(__file__).resolve().parent / "lab_settings"  # no question about news at the start
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def has_browser() -> bool:
    """A graphical one: in a bare terminal Python would settle for one that shows text only."""
    graphical = not sys.platform.startswith("linux") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return graphical


def options(notebook: Path, browser: bool) -> list[str]:
    """Bound to loopback, whatever a configuration file says; Jupyter's token stays as it is.

    The notebook is given as the address to start from: given as a file, it would open in a browser,
    but the address printed where there is none would not lead to it.
    """
    given = [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.root_dir={notebook.parent}",
        f"--LabApp.default_url=/lab/tree/{quote(notebook.name)}",
        f"--LabApp.app_settings_dir={SETTINGS}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        given.append("--allow-root")  # containers; Jupyter refuses root otherwise
    return given if browser else [*given, "--no-browser"]


def prepare(environment: MutableMapping[str, str]) -> None:
    """Take away what the kernels must not inherit: it would leave notebooks without figures.

    A backend set for the whole session would hide every figure, and a proxy would be asked for what
    runs on this machine. Without a proxy nothing is set: that would hide a system's own settings.
    """
    environment.pop("MPLBACKEND", None)
    if any(environment.get(name) or environment.get(name.upper()) for name in PROXIES):
        direct = f"{environment.get('no_proxy', '')},{environment.get('NO_PROXY', '')}".split(",")
        places = ",".join(dict.fromkeys(place for place in [*direct, *LOOPBACK] if place))
        environment["no_proxy"] = environment["NO_PROXY"] = places


if __name__ == "__main__":
    from jupyterlab.labapp import main

    prepare(os.environ)
    chosen = Path(sys.argv[1] if len(sys.argv) > 1 else START).resolve()
    if not chosen.is_file():
        sys.exit(f"There is no notebook {chosen.name} in {chosen.parent.name}.")
    found = has_browser()
    if not found:
        print("No browser here: open the address that JupyterLab prints below.", flush=True)
    sys.exit(main(options(chosen, found)))
