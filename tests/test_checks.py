"""Checks never raise, hint a little more each time, and predictions never block."""

import pytest

from course_utils import check, predict


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
