"""Self-tests: data of every lesson, answers told apart, recorded once, read without a kernel."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from course_utils.classroom import self_test as module
from course_utils.classroom.record import load, record_path
from course_utils.classroom.self_test import FOLDER, Option, Question, SelfTest, questions
from stored import NOTEBOOKS

LESSONS = [path.stem[:2] for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))]
ASKED = (
    Question(
        "00.a", "Which <one>?", (Option("a", "no"), Option("b", "yes", True), Option("c", "no"))
    ),
    Question("00.b", "And?", (Option("x", "right", True), Option("y", "no"), Option("z", "no"))),
)


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_lesson_has_five_questions_with_reasons(lesson):
    asked = questions(lesson)
    assert len(asked) == 5 and len({each.id for each in asked}) == 5
    for question in asked:
        assert re.fullmatch(rf"{lesson}\.q-[a-z0-9-]+", question.id)
        assert question.text.endswith(("?", "."))
        for option in question.options:
            assert 10 <= len(option.why) <= 220 and option.why.endswith("."), option
            assert len(option.text) <= 110, option


def test_right_answers_stand_in_no_fixed_place():
    places = [
        [option.right for option in question.options].index(True)
        for lesson in LESSONS
        for question in questions(lesson)
    ]
    assert max(map(places.count, set(places))) <= 0.6 * len(places)


def test_an_answer_is_told_and_the_first_one_counts():
    test = SelfTest(ASKED)
    test.choices[0].index = 0
    assert "Not this one" in test.verdicts[0].value and "0 of 2" in test.total.value
    test.choices[0].index = 1
    assert "Right" in test.verdicts[0].value and "0 of 2" in test.total.value
    test.choices[1].index = 0
    assert "1 of 2" in test.total.value and test.right == {"00.a": False, "00.b": True}


def test_answers_go_into_the_record(tmp_path, monkeypatch):
    (tmp_path / "03_a.ipynb").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "in_notebook", lambda: True)
    test = SelfTest(ASKED)
    test.choices[0].index = 2
    test.choices[0].index = 1
    answers = load(record_path(Path(tmp_path)))["answers"]
    assert answers == {"00.a": {"question": "Which <one>?", "chosen": "c", "right": False}}


def test_a_page_without_a_kernel_has_all_answers_folded_and_escaped():
    counts: dict[str, int] = {}

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            counts[tag] = counts.get(tag, 0) + 1

    Reader().feed(SelfTest(ASKED).as_page())
    assert counts["details"] == counts["summary"] == 6 and "one" not in counts


@pytest.mark.parametrize(
    "options",
    [
        (Option("a", "no"), Option("b", "no"), Option("c", "no")),
        (Option("a", "yes", True), Option("b", "yes", True), Option("c", "no")),
        (Option("a", "yes", True), Option("b", "no")),
        (Option("a", "yes", True), Option("a", "no"), Option("c", "no")),
    ],
)
def test_a_question_has_exactly_one_right_answer(options):
    with pytest.raises(ValueError, match=r"00\.x"):
        Question("00.x", "Which?", options)


def test_the_data_are_packaged_with_the_course():
    assert FOLDER.is_dir()
