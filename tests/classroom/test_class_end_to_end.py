"""Three learners work in real kernels, hand in, and their teacher sees what each of them did."""

from __future__ import annotations

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from course_utils.classroom import collect, export
from course_utils.classroom.report import plot_guesses, question_table
from course_utils.classroom.self_test import questions
from run_notebooks import execute

ASK = """
from course_utils import predict, self_test
from course_utils.classroom.record import note_pass
guess = predict("Which is wider?", ["SGD", "AdamW", "Muon"], id="03.width")
guess.buttons[{choice}].value = True
"""
RESULT = 'guess.compare("AdamW")'
TEST = """
test = self_test("00")
test.choices[0].index = {answer}
note_pass("3.{exercise}")
"""
FIRST = questions("00")[0]
WRONG = [not option.right for option in FIRST.options].index(True)


def work(folder, *cells):
    """A learner's folder, with a notebook that is run from top to bottom in a kernel of its own."""
    folder.mkdir()
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, folder / "03_lesson.ipynb")
    execute(notebook, folder, {"COURSE_RECORD": ""})  # the record lies where a learner's lies
    return folder


@pytest.mark.slow
def test_what_three_learners_did_is_what_their_teacher_sees(tmp_path):
    learners = {
        "Ann": [ASK.format(choice=0), RESULT, TEST.format(answer=WRONG, exercise=1)],
        "Bo": [ASK.format(choice=1), RESULT, TEST.format(answer=WRONG, exercise=1)],
        "Chen": [ASK.format(choice=0)],  # has not run the experiment yet
    }
    handed_in = tmp_path / "handed_in"
    handed_in.mkdir()
    for name, cells in learners.items():
        folder = work(tmp_path / name, *cells)
        export(name, handed_in / f"{name}.record.json", folder=folder)
    records = collect(handed_in)
    assert not records.left_out and [each.name for each in records.records] == list(learners)
    [row] = question_table(records).to_dict("records")
    assert (row["id"], row["learners"], row["right"]) == ("03.width", 3, 0.5)
    assert records.passed().set_index("exercise")["learners"].to_dict() == {"03.1": 2}
    [answer] = records.wrong_answers().to_dict("records")
    assert (answer["id"], answer["learners"]) == (FIRST.id, 2)
    assert answer["answer"] == FIRST.options[WRONG].text
    figure, ax = plt.subplots()
    plot_guesses(records, "03.width", ax, reveal=True)
    drawn = [
        (label.get_text(), bar.get_width())
        for label, bar in zip(ax.get_yticklabels(), ax.patches, strict=True)
    ]
    assert drawn == [("SGD", 2), ("AdamW ✔", 1)]
    plt.close(figure)
