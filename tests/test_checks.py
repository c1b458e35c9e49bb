"""Checks never raise, hint a little more each time, and predictions never block."""

import html

import pytest

from course_utils import check, checks, predict, progress
from course_utils.classroom.progress import load


def test_the_first_condition_that_fails_speaks():
    result = check("t.1", [(True, "first"), (False, "second"), (False, "third")])
    assert not result and result.message == "second"


def test_hints_escalate_and_stay_at_the_last():
    said = [check("t.2", [(False, "no.")], hints=["look", "look there", "it is 7"]).message for _ in range(5)]
    assert said == ["no. Hint: look", "no. Hint: look there", *["no. Hint: it is 7"] * 3]


def test_passing_starts_the_hints_anew():
    check("t.3", [(False, "no.")], hints=["a", "b"])
    assert check("t.3", [(True, "no.")])
    assert check("t.3", [(False, "no.")], hints=["a", "b"]).message == "no. Hint: a"


def test_whatever_an_answer_does_a_check_does_not_raise():
    assert not check("t.4", [(lambda: 1 / 0, "not a number yet.")])
    assert not check("t.5", [(lambda: None.accuracy, "no history yet.")])


def test_a_prediction_compares_with_or_without_a_guess():
    guess = predict("Which?", ["this", "that"])
    assert "made no guess" in guess.compare("this")
    guess.children[1].value = "that"
    assert guess.compare("this") == "Measured: this; you predicted: that."
    assert guess.compare("that") == "Measured: that; as you predicted."
    with pytest.raises(ValueError, match="measured"):
        guess.compare("neither")


def test_the_result_is_shown_beside_the_guess_which_then_stands():
    guess = predict("Which?", ["this", "that"])
    guess.compare("this")
    assert not guess.control.disabled, "no guess yet: it may still be made"
    guess.control.value = "that"
    said = guess.compare("this")
    assert said in html.unescape(guess.children[2].value)
    assert guess.control.disabled


def test_a_number_is_guessed_with_a_slider_and_unmoved_it_is_no_guess():
    guess = predict("How many?", between=(0, 40), unit="claims")
    assert guess.guess is None and "made no guess" in guess.compare(20)
    guess.control.value = 25
    assert guess.compare(17) == "Measured: 17 claims; you predicted 25 claims, 8 claims too high."
    assert guess.compare(30) == "Measured: 30 claims; you predicted 25 claims, 5 claims too low."
    assert guess.compare(25) == "Measured: 25 claims; as you predicted."


def test_the_middle_can_be_guessed_too():
    guess = predict("How much?", between=(0.0, 1.0), step=0.1)
    middle = guess.control.value
    guess.control.value = 0.9
    guess.control.value = middle
    assert guess.guess == pytest.approx(0.5)
    assert guess.compare(0.53).endswith("as you predicted.")            # nearer than half a step


@pytest.mark.parametrize("wrong", [{}, {"options": ["a"], "between": (0, 1)}, {"between": (1, 0)}, {"between": (0, 1)},
                                   {"between": (0, 1), "step": 0}])
def test_a_question_without_a_possible_answer_is_refused(wrong):
    with pytest.raises(ValueError, match="between"):
        predict("Which?", **wrong)


@pytest.mark.parametrize("measured", [float("nan"), float("inf"), "many"])
def test_a_number_is_compared_with_a_number(measured):
    with pytest.raises(ValueError, match="measured"):
        predict("How many?", between=(0, 10)).compare(measured)


def test_outside_a_notebook_no_progress_is_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check("99.1", [(True, "")])
    assert not list(tmp_path.iterdir())


def test_in_a_notebook_a_pass_is_noted_and_a_failure_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks, "in_notebook", lambda: True)
    check("2.1 the first", [(False, "no.")])
    assert load(tmp_path / "progress.json") == {}
    check("2.1 the first", [(True, "no.")])
    assert list(load(tmp_path / "progress.json")) == ["02.1"]


def test_a_pass_that_cannot_be_noted_is_still_a_pass_and_says_so(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks, "in_notebook", lambda: True)
    monkeypatch.setattr(progress.os, "replace", full)
    result = check("02.1", [(True, "no.")])
    assert result and "no space left on device" in result.message
    assert not [path.name for path in tmp_path.iterdir() if "unfinished" in path.name]
