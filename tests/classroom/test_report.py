"""The teacher's report: pictures of whatever was handed in, and the notebook that shows them."""

from __future__ import annotations

import ast
import json
import math

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest

import build_example_class as example
from course_utils.classroom import collect
from course_utils.classroom.hand_in import ClassRecords, Record
from course_utils.classroom.report import (
    MOST_BARS,
    plot_guesses,
    plot_lesson,
    plot_passed,
    question_table,
)
from course_utils.classroom.self_test import questions
from stored import NOTEBOOKS, machine_paths, tags

NOTEBOOK = NOTEBOOKS / "teacher" / "class_report.ipynb"


def guess(answer, measured=None, question="Which?"):
    made = {"question": question, "guess": answer}
    return made if measured is None else made | {"measured": measured, "right": answer == measured}


def class_of(*guesses, passed=()):
    """A class of one learner for each guess; all of them passed the same exercises."""
    records = [Record(f"n{k}", tuple(passed), {"03.q": g}, {}) for k, g in enumerate(guesses)]
    return ClassRecords(tuple(records), {})


def bars(ax):
    names = [label.get_text().replace("\n", " ") for label in ax.get_yticklabels()]
    return dict(zip(names, [round(bar.get_width()) for bar in ax.patches], strict=True))


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    figure.canvas.draw()  # whatever was drawn can be drawn
    plt.close(figure)


THREE = class_of(guess("a", "b"), guess("a"), guess("b", "b"))


def test_each_answer_is_a_bar_as_long_as_it_is_frequent(ax):
    assert bars(plot_guesses(THREE, "03.q", ax)) == {"a": 2, "b": 1}
    assert ax.get_xlabel() == "learners (3 of 3 guessed)" and "Which?" in ax.get_title("left")


def test_the_answer_is_shown_only_when_it_is_asked_for(ax):
    assert bars(plot_guesses(THREE, "03.q", ax, reveal=True)) == {"a": 2, "b ✔": 1}


def test_an_answer_that_nobody_guessed_is_shown_when_it_is_revealed(ax):
    records = class_of(guess("a", "c"), guess("b", "c"))
    assert bars(plot_guesses(records, "03.q", ax)) == {"a": 1, "b": 1}
    ax.clear()
    assert bars(plot_guesses(records, "03.q", ax, reveal=True)) == {"a": 1, "b": 1, "c ✔": 0}


def test_numbers_and_words_may_answer_one_question(ax):
    records = class_of(guess(7), guess(7.0), guess("seven"), guess(0.123456))
    assert bars(plot_guesses(records, "03.q", ax)) == {"7": 2, "0.1235": 1, "seven": 1}


def test_many_answers_become_few_bars_and_nobody_is_lost(ax):
    found = bars(plot_guesses(class_of(*(guess(f"w{k}") for k in range(40))), "03.q", ax))
    assert len(found) == MOST_BARS and sum(found.values()) == 40
    assert found[f"{40 - MOST_BARS + 1} other answers"] == 40 - MOST_BARS + 1


def test_many_numbers_become_ranges_in_order(ax):
    records = class_of(*(guess(k, 12) for k in range(13)), guess(12, 12))
    expected = {"0 to 2": 2, "2 to 4": 2, "4 to 6": 2, "6 to 8": 2, "8 to 10": 2, "10 to 12": 4}
    assert bars(plot_guesses(records, "03.q", ax)) == expected
    ax.clear()
    found = bars(plot_guesses(records, "03.q", ax, reveal=True))
    assert found.pop("10 to 12 ✔") == 4 and sum(found.values()) == 10
    ax.clear()
    beyond = class_of(*(guess(k, 99) for k in range(13)))
    assert bars(plot_guesses(beyond, "03.q", ax, reveal=True))["99 ✔"] == 0


@pytest.mark.parametrize("scale", [1e-300, 1e-6, 1e10])
@pytest.mark.parametrize("start", [0.0, 1e11, -1e11])
def test_no_number_is_lost_between_ranges(ax, start, scale):
    records = class_of(*(guess(start + scale * k, start) for k in range(13)))
    plot_guesses(records, "03.q", ax, reveal=True)
    assert sum(bar.get_width() for bar in ax.patches) == 13


@pytest.mark.parametrize(
    "text", ["$\\frac", "$x^$", "<script>", "x" * 400, "\x00\x1b\n", "", "_" * 9]
)
def test_no_text_is_read_as_a_formula_or_breaks_the_picture(ax, text):
    plot_guesses(class_of(guess(text, text, question=text)), "03.q", ax, reveal=True)
    assert sum(bars(ax).values()) == 1


def test_a_question_that_nobody_answered_is_named_with_those_that_were(ax):
    with pytest.raises(ValueError, match=r"'03.other', takes one of \['03.q'\]"):
        plot_guesses(THREE, "03.other", ax)
    with pytest.raises(ValueError, match="'04', and nobody"):
        plot_lesson(THREE, "04")


def test_a_lesson_has_a_picture_for_each_question_of_its_own():
    record = Record("n", (), {"03.a": guess("x"), "03.b": guess("y"), "30.a": guess("z")}, {})
    figure = plot_lesson(ClassRecords((record,), {}), "03")
    assert [ax.get_title("left").split("\n")[0] for ax in figure.axes] == ["03.a", "03.b"]


def test_the_share_of_right_guesses_counts_those_who_saw_the_result():
    [row] = question_table(THREE).to_dict("records")
    assert row == {"id": "03.q", "question": "Which?", "learners": 3, "right": 0.5}
    [unseen] = question_table(class_of(guess("a"))).to_dict("records")
    assert math.isnan(unseen["right"])
    assert question_table(ClassRecords((), {})).empty


def test_exercises_that_nobody_passed_are_shown(ax):
    records = ClassRecords(
        (Record("a", ("03.1", "03.2"), {}, {}), Record("b", ("03.1",), {}, {})), {}
    )
    assert bars(plot_passed(records, ["03.1", "03.2", "03.3"], ax)) == {
        "03.1": 100,
        "03.2": 50,
        "03.3": 0,
    }
    assert [text.get_text() for text in ax.texts] == ["2 of 2", "1 of 2", "0 of 2"]
    ax.clear()
    assert bars(plot_passed(records, ax=ax)) == {"03.1": 100, "03.2": 50}


@pytest.mark.parametrize(
    "records", [ClassRecords((), {}), class_of(guess("a"))], ids=["none", "no"]
)
def test_nothing_to_show_is_said(records):
    with pytest.raises(ValueError, match="records, exercises: got"):
        plot_passed(records)


# The example class --------------------------------------------------------------------------------


def test_the_tool_builds_the_same_files_each_time(tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        example.build(folder)
    stored = {path.name for path in example.TARGET.iterdir()}
    assert {path.name for path in (tmp_path / "a").iterdir()} == stored
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_example_says_that_it_is_generated_and_asks_what_the_course_asks():
    """It does not? Run tools/build_example_class.py."""
    records = collect(example.TARGET)
    assert len(records.records) == example.LEARNERS and len(records.left_out) == 2
    assert "Generated, not real" in (example.TARGET / "README.md").read_text(encoding="utf-8")
    assert all(record.name.startswith("generated") for record in records.records)
    asked = {id: entry for stem in example.LESSONS for id, entry in example.asked(stem).items()}
    for record in records.records:
        for id, made in record.guesses.items():
            question, options, measured = asked[id]
            assert made["question"] == question and made["guess"] in options
            assert made.get("measured", measured) == measured
        for id, answer in record.answers.items():
            [of] = [each for each in questions(id[:2]) if each.id == id]
            assert answer["question"] == of.text
            assert (answer["chosen"], answer["right"]) in [(o.text, o.right) for o in of.options]


# The notebook -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_teachers_notebook_keeps_the_house_rules(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not machine_paths(notebook) and "widgets" not in notebook.metadata
    for cell in notebook.cells:
        assert cell.metadata["slideshow"]["slide_type"] in {"slide", "subslide", "skip"}
        assert tags(cell) <= {"setup"}
    for cell in code:
        ast.parse(cell.source)
        assert len(cell.source.splitlines()) <= 15
        assert max(map(len, cell.source.splitlines())) <= 100
        assert " at 0x" not in json.dumps(cell.outputs)
        assert all(output.output_type != "error" for output in cell.outputs)


def test_the_teachers_notebook_shows_what_it_promises(notebook):
    shown = "".join(json.dumps(cell.get("outputs", [])) for cell in notebook.cells)
    pictures = shown.count('"image/png"')
    assert pictures == 3
    records = collect(example.TARGET)
    assert f"{len(records.records)} records read, 2 files left out" in shown
    for name, reason in records.left_out.items():
        assert name in shown and reason[:30] in shown
    first = records.wrong_answers().iloc[0]
    assert first["answer"] in shown and isinstance(records.guesses(), pd.DataFrame)
