"""Predictions never block, never scold, are kept, and stand beside the result."""

import pytest

from course_utils.classroom import predict as module
from course_utils.classroom.predict import class_mode, predict, review
from course_utils.classroom.record import load

OPTIONS = ["this", "that"]


def choose(question, text):
    question.buttons[question.options.index(text)].value = True


def test_whoever_made_no_guess_is_told_the_result_and_nothing_else():
    guess = predict("Which?", OPTIONS, id="03.which")
    assert repr(guess.compare("this")) == "Which? Measured: this."
    assert not any(button.disabled for button in guess.buttons), (
        "it can still be said what one would have guessed"
    )


def test_a_guess_stands_beside_the_result_and_can_no_longer_be_changed():
    guess = predict("Which?", OPTIONS)
    choose(guess, "that")
    assert guess.guess == "that" and "you predicted that" in repr(guess.compare("this"))
    assert (
        all(button.disabled for button in guess.buttons)
        and "you predicted that" in guess.children[2].value
    )
    assert "✔ as you predicted" in repr(guess.compare("that"))


def test_one_answer_at_a_time_and_its_name_says_that_it_is_chosen():
    guess = predict("Which?", ["a", "b", "c"])
    choose(guess, "a")
    choose(guess, "c")
    assert [button.value for button in guess.buttons] == [False, False, True]
    names = [button.description for button in guess.buttons]
    assert names == ["a", "b", "✔ c"], "a screen reader reads a button's name, not its colour"
    guess.buttons[2].value = False  # taken back
    assert guess.guess is None and guess.buttons[2].description == "c"


def test_a_result_that_is_no_answer_is_refused():
    with pytest.raises(ValueError, match="measured: got 'neither'"):
        predict("Which?", OPTIONS).compare("neither")
    for measured in (float("nan"), float("inf"), "many"):
        with pytest.raises(ValueError, match="measured"):
            predict("How many?", between=(0, 10)).compare(measured)


def test_a_number_is_guessed_in_a_field_and_unchanged_it_is_no_guess():
    guess = predict("How many?", between=(0, 40), unit="claims")
    assert guess.guess is None and repr(guess.compare(20)) == "How many? Measured: 20 claims."
    guess.control.value = 25
    assert "you predicted 25 claims" in repr(guess.compare(17)) and "✔" in repr(guess.compare(26))
    fine = predict("How much?", between=(0.0, 1.0), step=0.1)
    middle = fine.control.value
    fine.control.value = 0.9
    fine.control.value = middle  # the middle can be guessed, too
    assert fine.guess == pytest.approx(0.5) and "✔" in repr(fine.compare(0.53))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"options": OPTIONS, "between": (0, 1)},
        {"between": (1, 0)},
        {"between": (0, 1)},
        {"between": (0, 1), "step": 0},
        {"options": ["a"]},
        {"options": ["a", "a"]},
    ],
)
def test_a_question_without_a_possible_answer_is_refused(wrong):
    with pytest.raises(ValueError, match="options|between"):
        predict("Which?", **wrong)


def test_what_is_asked_is_escaped():
    guess = predict("<script>", ["<b>", "ok"])
    choose(guess, "<b>")
    said = guess.compare("ok")._repr_html_()
    assert (
        "<script>" not in said + guess.children[0].value + guess.children[2].value
        and "<b>." not in said
    )


# The record


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    (tmp_path / "03_lesson.ipynb").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "in_notebook", lambda: True)
    return tmp_path / "progress.json"


def test_guesses_are_kept_with_their_questions_id(kernel):
    guess = predict("Which?", OPTIONS, id="03.which")
    assert not kernel.exists()
    choose(guess, "that")
    assert load(kernel)["guesses"]["03.which"] == {"guess": "that", "question": "Which?"}
    guess.compare("this")
    assert load(kernel)["guesses"]["03.which"] == {
        "guess": "that",
        "question": "Which?",
        "measured": "this",
        "right": False,
    }


def test_a_lessons_guesses_are_reviewed(kernel):
    assert "No guess" in repr(review("03"))
    for number, (said, measured) in enumerate(
        [("this", "this"), ("that", "this"), ("this", "that")]
    ):
        guess = predict(f"Question {number}?", OPTIONS, id=f"03.q{number}")
        choose(guess, said)
        guess.compare(measured)
    other = predict("Elsewhere?", OPTIONS, id="04.q")
    choose(other, "this")
    other.compare("this")
    told = repr(review("03"))
    assert (
        told.startswith("You were right in 1 of 3.")
        and "Question 1? You said: that. Measured: this." in told
    )
    assert "Question 0" not in told and "Elsewhere" not in told


# A class


@pytest.fixture
def in_class():
    class_mode()
    yield
    class_mode(False)


def test_a_class_raises_hands_which_are_nobodys_record(in_class, kernel):
    question = predict("Which?", OPTIONS, id="03.which")
    assert question.guess is None and repr(question.compare("this")) == "Which? Measured: this."
    question.counts[0].value, question.counts[1].value = 5, 12
    told = question.compare("this")._repr_html_()
    assert (
        question.guess == {"this": 5, "that": 12}
        and "<td>12</td>" in told
        and told.count("█") == 20 + 8
    )
    assert not kernel.exists()
