"""Three learners work through the first lesson in JupyterLab, with the mouse; then their teacher
opens the report of what they handed in."""

from __future__ import annotations

import shutil

import nbformat
import pytest

from browser import jupyterlab  # noqa: F401  (a fixture)
from course_utils.classroom import collect, export
from course_utils.classroom.record import record_path
from course_utils.classroom.report import question_table
from course_utils.classroom.self_test import questions
from pages import NOTEBOOKS, tags

pytestmark = pytest.mark.slow

LESSON, SOLUTION = "00_start_here.ipynb", "solutions/00_start_here_solutions.ipynb"
REPORT = "teacher/class_report.ipynb"
ASKED = {"same_weights": "00.same-weights", "seed_spread": "00.seed-spread"}
# (runs the solutions too, {question: the place of the answer}, places of the self-test's answers)
LEARNERS = {
    "Ann": (True, {"same_weights": 0, "seed_spread": 1}, None),
    "Bo": (False, {"same_weights": 2, "seed_spread": 1}, 0),
    "Chen": (False, {"same_weights": 2}, None),
}
RUN = """async index => {
    const panel = window.jupyterapp.shell.currentWidget;
    panel.content.activeCellIndex = index;
    panel.content.deselectAll();
    await window.jupyterapp.commands.execute('notebook:run-cell');
}"""


def work_through(notebook, cells, guesses, place) -> None:
    """Run one cell after the other; choose where something is asked."""
    page = notebook.page
    for index, cell in enumerate(cells):
        if cell.cell_type != "code" or "lab" in tags(cell):
            continue
        page.evaluate(RUN, index)
        shown = page.locator(".jp-Notebook > .jp-WindowedPanel-outer .jp-Cell").nth(index)
        for name, choice in guesses.items():
            if cell.source.startswith(f"{name} = predict("):
                shown.locator(".course-prediction button").nth(choice).click()
        if "self_test(" in cell.source:
            for number, question in enumerate(questions("00")):
                right = [option.right for option in question.options].index(True)
                chosen = shown.locator(".course-self-test .widget-radio").nth(number)
                chosen.locator("input").nth(right if place is None else place).check()
    notebook.wait_idle()
    assert notebook.errors() == []


def test_what_they_did_is_what_the_report_shows(jupyterlab, tmp_path):  # noqa: F811
    handed_in = tmp_path / "handed in"
    handed_in.mkdir()
    for name, (solves, guesses, place) in LEARNERS.items():
        folder = jupyterlab.notebooks / name
        (folder / "solutions").mkdir(parents=True)
        for lesson in [LESSON, SOLUTION] if solves else [LESSON]:
            shutil.copy(NOTEBOOKS / lesson, folder / lesson)
            cells = nbformat.read(NOTEBOOKS / lesson, as_version=4).cells
            work_through(jupyterlab.open_notebook(f"{name}/{lesson}"), cells, guesses, place)
        assert record_path(folder).parent == folder
        export(name, handed_in / f"{name}.record.json", folder=folder)

    records = collect(handed_in)
    assert not records.left_out and [each.name for each in records.records] == list(LEARNERS)
    table = question_table(records).set_index("id")
    assert table["learners"].to_dict() == {ASKED["same_weights"]: 3, ASKED["seed_spread"]: 2}
    assert table["right"][ASKED["same_weights"]] == pytest.approx(1 / 3)
    passed = records.passed().set_index("exercise")["learners"].to_dict()
    assert passed and set(passed.values()) == {1}  # Ann's
    asked = questions("00")
    wrong = [question.id for question in asked if not question.options[0].right]
    assert sorted(records.wrong_answers()["id"]) == sorted(wrong)  # Bo's, who chose the first

    report = nbformat.read(NOTEBOOKS / REPORT, as_version=4)
    for cell in report.cells:  # what the notebook asks its teacher to change
        cell.source = cell.source.replace('DATA_FOLDER / "example_class"', repr(str(handed_in)))
        cell.source = cell.source.replace('"01.shrink"', repr(ASKED["same_weights"]))
        cell.source = cell.source.replace('plot_lesson(records, "01"', 'plot_lesson(records, "00"')
    nbformat.write(report, jupyterlab.notebooks / REPORT)
    page = jupyterlab.open_notebook(REPORT)
    page.run_all()
    text = page.page.locator(".jp-Notebook").inner_text()
    assert "3 records read, 0 files left out" in text and "['Ann', 'Bo', 'Chen']" in text
    assert page.page.locator(".jp-OutputArea-output img").count() == 3
