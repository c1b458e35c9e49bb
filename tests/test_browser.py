"""Notebooks in a real JupyterLab, driven by a real browser."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

from browser import jupyterlab, wait_until  # noqa: F401  (jupyterlab is a fixture)

pytestmark = pytest.mark.slow

# A lab in small: what is drawn comes from a callback in the kernel, not from the slider itself.
SMALL_LAB = """
import io
import ipywidgets as widgets
from matplotlib.figure import Figure

def draw(level):
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([0, level], color="black")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    picture.value = file.getvalue()
    status.value = f"level {level}"

slider = widgets.IntSlider(3, 0, 10, description="level", continuous_update=False)
picture, status = widgets.Image(), widgets.HTML()
picture.add_class("course-lab-picture")
status.add_class("course-lab-status")
draw(slider.value)
slider.observe(lambda change: draw(change.new), "value")
lab = widgets.VBox([slider, picture, status])
lab.add_class("course-lab")
lab
"""


@pytest.fixture(scope="module")
def small(jupyterlab):  # noqa: F811
    cells = [new_markdown_cell("# Small"), new_code_cell(SMALL_LAB), new_code_cell("6 * 7")]
    jupyterlab.write_notebook("small.ipynb", cells)
    notebook = jupyterlab.open_notebook("small.ipynb")
    notebook.run_all()
    return notebook


def test_a_slider_changes_the_picture(small):
    [lab] = small.labs()
    before = lab.picture()
    assert lab.status() == "level 3"
    [handle] = lab.sliders()
    handle.press("ArrowRight")
    after = lab.wait_for_change(before)
    lab.wait_for_status(lambda status: status == "level 4")
    handle.press("ArrowLeft")
    lab.wait_for_status(lambda status: status == "level 3")
    assert lab.wait_for_change(after) == before


def test_the_kernel_agrees_with_the_page(small):
    [lab] = small.labs()
    [handle] = lab.sliders()
    handle.press("End")
    lab.wait_for_status(lambda status: status == "level 10")
    assert small.kernel_eval("slider.value") == "10"
    assert small.kernel_eval("print('a'); 1 + 1") == "a\n2"


def test_an_error_in_a_cell_is_found(jupyterlab):  # noqa: F811
    cells = [new_code_cell("1 + 1"), new_code_cell("raise ValueError('on purpose')")]
    jupyterlab.write_notebook("wrong.ipynb", cells)
    notebook = jupyterlab.open_notebook("wrong.ipynb")
    with pytest.raises(AssertionError, match=r"wrong\.ipynb: cell 1: ValueError: on purpose"):
        notebook.run_all()


def test_a_guess_in_the_page_stands_beside_the_result(jupyterlab):  # noqa: F811
    """A slider and a choice, by keyboard; Run All was not held up by either."""
    cells = [new_code_cell("from course_utils.classroom.check import predict\nmany = predict('How many?', between=(0, 10))\nmany"),
             new_code_cell("which = predict('Which?', ['this', 'that'])\nwhich"),
             new_code_cell("print(which.compare('this'))")]
    jupyterlab.write_notebook("guesses.ipynb", cells)
    notebook = jupyterlab.open_notebook("guesses.ipynb")
    notebook.run_all()
    assert notebook.kernel_eval("which.guess, many.guess") == "(None, None)"
    many, which = notebook.page.locator(".course-prediction").all()
    many.locator(".noUi-handle").press("End")
    which.get_by_role("button", name="that").press("Enter")
    wait_until(lambda: notebook.kernel_eval("which.guess, many.guess") == "('that', 10)", 10, "no guess arrived")
    notebook.kernel_eval("which.compare('this'), many.compare(7)")
    for asked, answer in ((which, "Measured: this; you predicted: that."),
                          (many, "Measured: 7; you predicted 10, 3 too high.")):
        wait_until(lambda: asked.locator(".course-prediction-result").inner_text().strip() == answer, 10,  # noqa: B023
                   f"the page does not show {answer!r}")
    assert which.get_by_role("button", name="that").is_disabled(), "a guess stands once the result is known"
