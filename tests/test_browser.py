"""Notebooks in a real JupyterLab, driven by a real browser."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

from browser import (
    axe_script,
    axe_violations,
    jupyterlab,  # noqa: F401  (a fixture)
    wait_until,
)

pytestmark = pytest.mark.slow

# A lab in small: its picture is a line from 0 to the slider's value.
SMALL_LAB = """
from course_utils.classroom.controls import slider
from course_utils.classroom.lab import Lab
from course_utils.classroom.picture import Picture

def run(values):
    yield values["level"]

def draw(axes, level, earlier):
    axes[0].plot([0, level], color="black")

picture = Picture(lambda axes: axes[0].set(ylim=(0, 10)), columns=1)
levels = {"level": slider("level", list(range(11)), 3)}
lab = Lab(levels, run, picture, draw, lambda level: f"level {level}", name="a line")
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
    assert lab.wait_for_status(lambda status: status == "level 3")
    before = lab.seen()["picture"]
    lab.sliders()[0].press("ArrowRight")
    lab.wait_for_status(lambda status: status == "level 4")
    assert lab.seen()["picture"] != before


def test_the_kernel_agrees_with_the_page(small):
    [lab] = small.labs()
    lab.sliders()[0].press("End")
    lab.wait_for_status(lambda status: status == "level 10")
    assert small.kernel_eval("lab.values") == "{'level': 10}"
    assert small.kernel_eval("print('a'); 1 + 1") == "a\n2"


def test_an_error_in_a_cell_is_found(jupyterlab):  # noqa: F811
    cells = [new_code_cell("1 + 1"), new_code_cell("raise ValueError('on purpose')")]
    jupyterlab.write_notebook("wrong.ipynb", cells)
    notebook = jupyterlab.open_notebook("wrong.ipynb")
    with pytest.raises(AssertionError, match=r"wrong\.ipynb: cell 1: ValueError: on purpose"):
        notebook.run_all()


def test_a_self_test_and_a_class_with_raised_hands_need_no_mouse(jupyterlab):  # noqa: F811
    cells = [
        new_code_cell("from course_utils import predict, self_test\ntest = self_test('03')\ntest"),
        new_code_cell("from course_utils.classroom.predict import class_mode\nclass_mode()"),
        new_code_cell("hands = predict('Which?', ['this', 'that'])\nhands"),
    ]
    jupyterlab.write_notebook("room.ipynb", cells)
    notebook = jupyterlab.open_notebook("room.ipynb")
    notebook.run_all()
    if script := axe_script():
        assert axe_violations(notebook.page, script, ".course-self-test") == []
        assert axe_violations(notebook.page, script, ".course-prediction") == []
    first = notebook.page.locator(".course-self-test .widget-radio").first
    first.locator("input").first.focus()
    notebook.page.keyboard.press("Tab")
    notebook.page.keyboard.press("Space")
    wait_until(
        lambda: notebook.kernel_eval("test.choices[0].index") == "1", 10, "no answer was chosen"
    )
    told = notebook.page.locator(".course-self-test [role=status]")
    told.first.wait_for(timeout=10_000)
    assert told.count() == 1
    that = notebook.page.locator(".course-prediction").get_by_label("that")
    that.fill("3")
    that.press("Tab")
    wait_until(
        lambda: notebook.kernel_eval("hands.guess") == "{'this': 0, 'that': 3}", 10, "no hands"
    )
    notebook.kernel_eval("hands.compare('this')")
    notebook.page.locator(".course-prediction table").wait_for(timeout=10_000)
    if script:
        assert axe_violations(notebook.page, script, ".course-prediction") == []


def test_a_guess_in_the_page_stands_beside_the_result(jupyterlab):  # noqa: F811
    """A number and a choice, by keyboard; Run All was not held up by either."""
    cells = [
        new_code_cell(
            "from course_utils import predict\nmany = predict('How many?', between=(0, 10))\nmany"
        ),
        new_code_cell("which = predict('Which?', ['this', 'that'])\nwhich"),
        new_code_cell("print(which.compare('this'))"),
    ]
    jupyterlab.write_notebook("guesses.ipynb", cells)
    notebook = jupyterlab.open_notebook("guesses.ipynb")
    notebook.run_all()
    assert notebook.kernel_eval("which.guess, many.guess") == "(None, None)"
    if script := axe_script():
        assert axe_violations(notebook.page, script, ".course-prediction") == []
    many, which = notebook.page.locator(".course-prediction").all()
    many.locator("input").fill("10")
    many.locator("input").press("Tab")
    which.get_by_role("button", name="that").press("Enter")
    wait_until(
        lambda: notebook.kernel_eval("which.guess, many.guess") == "('that', 10)",
        10,
        "no guess arrived",
    )
    notebook.kernel_eval("which.compare('this'), many.compare(7)")
    shown = {
        which: "Measured: this. ○ you predicted that.",
        many: "Measured: 7. ○ you predicted 10.",
    }
    for asked, answer in shown.items():
        words = asked.locator("[role=status]").filter(has_text=answer)
        words.wait_for(timeout=10_000)
    assert which.get_by_role("button", name="that").is_disabled(), (
        "a guess stands once the result is known"
    )
