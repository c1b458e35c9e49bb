"""Make the two pictures of the README: a lab at work in JupyterLab, and notebook 07's waterfall.

    python tools/readme_pictures.py

Needs an installed Chromium or Chrome, and the stored outputs of notebook 07.
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from pathlib import Path

import nbformat
from PIL import Image

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE / "tests"))

from browser import JupyterLab, browse, find_browser, serve  # noqa: E402

DOCS = HERE / "docs"


def waterfall() -> None:
    """The first figure of the cell that draws the waterfall."""
    notebook = nbformat.read(HERE / "notebooks" / "07_mnist_case_study.ipynb", as_version=4)
    [cell] = [cell for cell in notebook.cells if cell.cell_type == "code" and "plot_waterfall(accuracy" in cell.source]
    [picture] = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    (DOCS / "waterfall.png").write_bytes(base64.b64decode(picture))


def lab() -> None:
    """The first lab after a few moves, cut out of the page."""
    with (tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as (address, token),
          browse(find_browser()) as page):
        jupyter = JupyterLab(address, token, Path(folder) / "course", page)
        notebook = jupyter.open_notebook(
            "00_start_here.ipynb", lambda cell: {"setup", "static-figure", "lab"} & set(cell.metadata.get("tags", [])))
        notebook.run_all()
        [first] = notebook.labs()
        for key in ("ArrowRight", "ArrowRight", "ArrowRight"):
            before = first.picture()
            first.sliders()[0].press(key)
            first.wait_for_change(before)
            first.wait_for_status(lambda status: status.startswith("epoch 10 of 10"))
            page.wait_for_function("() => !document.querySelector('.course-lab-busy')")
        first.root.scroll_into_view_if_needed()
        picture = Image.open(io.BytesIO(first.root.screenshot())).convert("RGB")
    picture.quantize(128, method=Image.Quantize.FASTOCTREE).save(DOCS / "lab.png", optimize=True)


if __name__ == "__main__":
    DOCS.mkdir(exist_ok=True)
    waterfall()
    lab()
