"""Make the two pictures of the README: a lab at work in JupyterLab, moving, and two patients.

    python tools/readme_pictures.py

Needs an installed Chromium or Chrome, and notebooks with their stored outputs.
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from browser import JupyterLab, browse, find_browser, serve
from lab_page import Lab
from needed_cells import needed_cells
from pages import HERE, NOTEBOOKS, has_picture, read, tags

DOCS = HERE / "docs"
PATIENTS = "figures.plot_two_patients("  # what draws them, in whichever notebook
# On the first slider, one training each; the last leads back to where the film begins.
STEPS = (*["ArrowLeft"] * 3, *["ArrowRight"] * 5, *["ArrowLeft"] * 2)
REST = 0.7  # seconds that a finished training stands
COLOURS, LARGEST = 64, 1_000_000  # bytes


def patients() -> None:
    """The last figure of the first cell that draws the two patients and stores them."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        for cell in read(path).cells:
            pictures = [output for output in cell.get("outputs", []) if has_picture(output)]
            if cell.cell_type == "code" and PATIENTS in cell.source and pictures:
                picture = base64.b64decode(pictures[-1].data["image/png"])
                (DOCS / "patients.png").write_bytes(picture)
                return
    raise SystemExit(f"no notebook stores a figure from {PATIENTS}...)")


def first_lab() -> str:
    """The first notebook with a lab."""
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    return next(
        path.name for path in paths if any("lab" in tags(cell) for cell in read(path).cells)
    )


def lab() -> None:
    """The first lab while its slider is moved, cut out of the page: a film of what it shows, at the
    speed that it had. It stands still for a moment after each training."""
    chromium = find_browser()
    assert chromium is not None  # `main` has looked
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Path(folder)) as (address, token),
        browse(chromium) as page,
    ):
        jupyter = JupyterLab(address, token, Path(folder) / "course", page)
        path = NOTEBOOKS / first_lab()
        jupyter.write_notebook(f"film_of_{path.name}", needed_cells(path, {"setup", "lab"}))
        jupyter.open_notebook(f"film_of_{path.name}").run_all()
        root = page.locator(".course-lab").first
        root.scroll_into_view_if_needed()
        Lab(root).wait_at_rest()
        frames = [picture for key in STEPS for picture in film(root, key)]
    write_film(frames, DOCS / "lab.gif")


def film(root: Any, key: str) -> Iterator[tuple[Image.Image, float]]:
    """(picture, seconds that it stands) from a key press on the first slider to the end of the
    training."""
    root.locator("input[type=range]").first.press(key)
    root.page.wait_for_function("lab => lab.classList.contains('busy')", arg=root.element_handle())
    is_busy = True
    while is_busy:
        began = time.perf_counter()
        is_busy = "busy" in (root.get_attribute("class") or "")
        picture = Image.open(io.BytesIO(root.screenshot())).convert("RGB")
        yield picture, time.perf_counter() - began
    yield picture, REST


def write_film(frames: list[tuple[Image.Image, float]], path: Path) -> None:
    """As an animated GIF, in the colours of its last picture."""
    palette = frames[-1][0].quantize(COLOURS)
    pictures = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each, _ in frames]
    pictures[0].save(
        path,
        save_all=True,
        append_images=pictures[1:],
        duration=[round(1000 * seconds) for _, seconds in frames],
        loop=0,
        optimize=False,
    )
    if (size := path.stat().st_size) > LARGEST:
        raise SystemExit(f"{path.name} has {size:,} bytes, more than {LARGEST:,}: film fewer steps")


def main() -> int:
    if find_browser() is None:
        raise SystemExit("the pictures need Chromium or Chrome on the PATH")
    DOCS.mkdir(exist_ok=True)
    patients()
    lab()
    return 0


if __name__ == "__main__":
    sys.exit(main())
