"""Make the two pictures of the README: a lab at work in JupyterLab, and two patients.

    python tools/readme_pictures.py

Needs an installed Chromium or Chrome, and notebooks with their stored outputs.
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from browser import JupyterLab, browse, find_browser, serve
from pages import HERE, NOTEBOOKS, has_picture, read, tags

DOCS = HERE / "docs"
PATIENTS = "figures.plot_two_patients("  # what draws them, in whichever notebook
STEPS = ("ArrowRight", "ArrowRight", "ArrowRight")  # on the first slider, one training each


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
    """The first lab after a few moves, cut out of the page."""
    chromium = find_browser()
    assert chromium is not None  # `main` has looked
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Path(folder)) as (address, token),
        browse(chromium) as page,
    ):
        jupyter = JupyterLab(address, token, Path(folder) / "course", page)
        notebook = jupyter.open_notebook(
            first_lab(), lambda cell: bool({"setup", "lab"} & tags(cell))
        )
        notebook.run_all()
        root = page.locator(".course-lab").first
        picture, slider = root.locator(".shown img"), root.locator("input[type=range]").first
        for key in STEPS:
            before = picture.get_attribute("src")
            slider.press(key)
            page.wait_for_function(
                "([lab, before]) => lab.querySelector('.shown img').src !== before"
                " && !lab.classList.contains('busy')",
                arg=[root.element_handle(), before],
            )
        root.scroll_into_view_if_needed()
        shown = Image.open(io.BytesIO(root.screenshot())).convert("RGB")
    few = shown.quantize(128, method=Image.Quantize.FASTOCTREE)
    few.save(DOCS / "lab.png", optimize=True)


def main() -> int:
    if find_browser() is None:
        raise SystemExit("the pictures need Chromium or Chrome on the PATH")
    DOCS.mkdir(exist_ok=True)
    patients()
    lab()
    return 0


if __name__ == "__main__":
    sys.exit(main())
