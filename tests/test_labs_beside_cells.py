"""Labs beside running cells, in a real JupyterLab: they answer, they spoil nothing, they end with
their cell; and what a page shows without a kernel."""

from __future__ import annotations

from pathlib import Path

import ipykernel
import nbformat
import pytest
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell

from browser import jupyterlab, wait_until  # noqa: F401  (jupyterlab is a fixture)
from test_labs_in_browser import NOTEBOOKS, WITH_LABS, lab_cells

pytestmark = pytest.mark.slow

# Every picture that the notebook's cells made, but those of labs, in their order.
PICTURES = """() => window.jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.type === 'code'
        && !(cell.model.getMetadata('tags') ?? []).includes('lab'))
    .flatMap(cell => cell.model.outputs.toJSON())
    .map(output => output.data?.['image/png']).filter(Boolean)"""
KEEP_BUSY = """() => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const code = 'import time\\nfor _ in range(1500): time.sleep(0.01)';
    window.courseBusy = true;
    kernel.requestExecute({code}).done.then(() => { window.courseBusy = false; });
}"""
MOVE = """(slider, up) => {
    slider.value = up ? 5 : 2;
    slider.dispatchEvent(new Event('input'));
}"""
COUNT = """
from comm import get_comm_manager
from course_utils.classroom.open_labs import OPEN
print(len(get_comm_manager().comms), len(OPEN))
"""
LAB = """
from course_utils import load_mnist
from course_utils.lessons.start_here.labs import first_lab
first_lab(load_mnist(subset=200, image_size=7, device="cpu"))
"""


def test_a_lab_that_is_moved_during_run_all_spoils_no_picture(jupyterlab):  # noqa: F811
    notebook = jupyterlab.open_notebook(NOTEBOOKS[0].name)
    notebook.run_all()
    undisturbed = notebook.page.evaluate(PICTURES)
    assert len(undisturbed) >= 2
    assert len(notebook.labs()) == 1
    notebook.page.evaluate("() => { window.courseRun = 'running'; }")
    notebook.page.evaluate(
        "() => { window.jupyterapp.commands.execute('notebook:run-all-cells')"
        ".then(() => { window.courseRun = 'done'; }); }"
    )
    up = True
    while notebook.page.evaluate("window.courseRun") == "running":
        for lab in notebook.labs():  # the old one until its cell runs, then the new one
            up = not up
            slider = lab.root.locator("input[type=range]").first
            slider.evaluate(MOVE, up)
        notebook.page.wait_for_timeout(100)
    notebook.wait_idle()
    assert notebook.errors() == []
    assert notebook.page.evaluate(PICTURES) == undisturbed


def test_a_lab_answers_while_a_cell_runs(jupyterlab, record_property):  # noqa: F811
    jupyterlab.write_notebook("busy.ipynb", [new_code_cell(LAB)])
    notebook = jupyterlab.open_notebook("busy.ipynb")
    notebook.run_all()
    [lab] = notebook.labs()
    lab.wait_at_rest()
    lab.watch()
    notebook.page.evaluate(KEEP_BUSY)
    if ipykernel.version_info[0] < 7:  # hears nothing beside a cell: the page says that it waits
        lab.sliders()[0].press("End")
        assert lab.wait_for_status(lambda status: status.startswith("waits: another cell"))
        return
    first, _ = lab.latency(lambda: lab.sliders()[0].press("End"))
    assert notebook.page.evaluate("window.courseBusy"), "it answered after the cell, not beside it"
    record_property("latency", f"a lab while a cell runs: first change {1000 * first:.0f} ms")
    notebook.wait_idle()


def test_a_cell_run_again_closes_the_lab_it_replaces(jupyterlab):  # noqa: F811
    jupyterlab.write_notebook("again.ipynb", [new_code_cell(LAB)])
    notebook = jupyterlab.open_notebook("again.ipynb")
    notebook.run_all()
    before = notebook.kernel_eval(COUNT)
    for _ in range(3):
        notebook.run_all()
    assert notebook.kernel_eval(COUNT) == before
    assert len(notebook.labs()) == 1


def test_a_lab_without_its_kernel_says_so(jupyterlab):  # noqa: F811
    jupyterlab.write_notebook("gone.ipynb", [new_code_cell(LAB)])
    notebook = jupyterlab.open_notebook("gone.ipynb")
    notebook.run_all()
    [lab] = notebook.labs()
    lab.wait_at_rest()
    jupyterlab.end_kernels()
    lab.sliders()[0].press("End")
    lab.wait_for_status(lambda status: "kernel" in status and "run this cell again" in status)


def test_a_saved_notebook_opened_again_still_shows_the_picture(jupyterlab):  # noqa: F811
    jupyterlab.write_notebook("saved.ipynb", [new_code_cell(LAB)])
    jupyterlab.open_notebook("saved.ipynb").run_all()
    jupyterlab.page.evaluate(
        "async () => { await window.jupyterapp.commands.execute('docmanager:save'); }"
    )
    notebook = jupyterlab.open_notebook(
        "saved.ipynb", keep_outputs=True
    )  # its kernel knows nothing
    picture = notebook.page.locator(".jp-OutputArea-output img")
    wait_until(picture.count, 10, "no picture")
    assert picture.first.evaluate("image => image.complete && image.naturalWidth") > 300
    assert notebook.labs() == []


@pytest.mark.parametrize("path", WITH_LABS, ids=lambda path: path.stem)
def test_a_page_without_a_kernel_shows_a_picture_where_each_lab_would_be(path: Path):
    """As stored, so also on a code host; and as HTML."""
    page = "".join(HTMLExporter().from_notebook_node(nbformat.read(path, as_version=4))[0].split())
    for cell in lab_cells(path):
        pictures = [each for each in cell.outputs if "image/png" in each.get("data", {})]
        assert len(pictures) == 1, "a lab stores one picture: run make notebooks"
        assert pictures[0].metadata["image/png"]["alt"]
        assert "".join(pictures[0].data["image/png"].split()) in page
        words = " ".join(
            str(each.get("data", {}).get("text/markdown", "")) for each in cell.outputs
        )
        assert "to get the sliders" in words
    assert "widget-view+json" not in page
