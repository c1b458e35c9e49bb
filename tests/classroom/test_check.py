"""A check never raises, shows the learner's own errors, and hints a little more each time."""

import numpy as np
import pytest
import torch

from course_utils.classroom import check as module
from course_utils.classroom.check import exercise
from course_utils.classroom.record import load

HINTS = ["look", "look there", "it is 7"]


@exercise("7.1", hints=HINTS)
def check_seven(answer):
    yield isinstance(answer, int), "A whole number is wanted."
    yield answer == 7, "It is another number."


@exercise("07.2")
def check_doubling(double):
    yield callable(double), "`double` should be a function."
    yield double(3) == 6, "It should double 3."


def test_the_first_condition_that_fails_speaks():
    assert check_seven("seven").message == "A whole number is wanted."
    assert (
        check_seven(8).message == "It is another number."
        and check_seven(7)
        and check_seven(7).exercise == "07.1"
    )


def test_hints_escalate_stay_at_the_last_and_start_anew_after_a_pass():
    assert [check_seven(0).hint for _ in range(5)] == ["look", "look there", *["it is 7"] * 3]
    assert check_seven(7) and check_seven(0).hint == "look"


def test_the_verdict_has_a_sign_and_words_and_the_two_look_different():
    passed, not_yet = check_seven(7), check_seven(8)
    assert repr(passed).startswith("✔ passed  07.1") and repr(not_yet).startswith("○ not yet  07.1")
    assert repr(not_yet).endswith("\nHint: look")
    pages = [result._repr_html_() for result in (passed, not_yet)]
    assert "✔ passed" in pages[0] and "○ not yet" in pages[1] and "<b>Hint:</b> look" in pages[1]
    assert all("word-break:normal" in page for page in pages)


def test_what_a_learner_wrote_is_escaped():
    @exercise("07.3")
    def check_it(answer):
        yield False, f"got {answer}"

    assert "<script>" not in check_it("<script>alert(1)</script>")._repr_html_()
    page = check_it("`<b>`, and a lone `")._repr_html_()
    assert "<code>&lt;b&gt;</code>, and a lone `" in page


@pytest.mark.parametrize(
    ("double", "error"),
    [
        (lambda x: undefined_name, "NameError: name 'undefined_name' is not defined"),  # noqa: F821
        (lambda x: 1 / 0, "ZeroDivisionError"),
        (lambda: 6, "TypeError"),
        (lambda x: [][x], "IndexError"),
    ],
)
def test_the_learners_own_exception_is_shown_and_not_judged(double, error):
    result = check_doubling(double)
    assert not result and error in result.message and result.message != "It should double 3."
    if error != "TypeError":
        assert result.message.startswith("Your code raised") and "line" in result.message


def test_the_line_that_raised_is_shown():
    def double(x):
        total = x + x
        return total.no_such_attribute

    assert "return total.no_such_attribute" in check_doubling(double).message


@pytest.mark.parametrize(
    "answer",
    [
        np.zeros(3),
        torch.zeros(3),
        None,
        object(),
        float("nan"),
        [1, [2]],
        {},
        b"",
        int,
        Exception(),
    ],
)
def test_no_answer_makes_a_check_raise(answer):
    assert not check_seven(answer)
    assert not check_doubling(answer)


def test_an_answer_that_cannot_even_be_looked_at_is_told_so():
    @exercise("07.4")
    def check_set(answer):
        yield set(answer) == {1}, "The set of 1 is wanted."

    @exercise("07.5")
    def check_truth(answer):
        yield answer == answer, "It should equal itself."

    assert (
        "cannot be judged" in check_set([["dropout"]]).message
        or "unhashable" in check_set([["dropout"]]).message
    )
    assert not check_truth(np.zeros(3))  # its truth is ambiguous


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Odd:
    """Its comparisons raise; its text does, too."""

    def __eq__(self, other):
        raise Mute

    def __repr__(self):
        raise Mute

    __hash__ = None
    __mul__ = __eq__


def leaves(x):
    raise SystemExit(x)


def mute(x):
    raise Mute


def falls(x):
    return falls(x)


@pytest.mark.parametrize("double", [leaves, mute, falls, lambda x: Odd(), lambda x: exit()])
def test_no_code_makes_a_check_raise(double):
    assert not check_doubling(double)
    assert not check_seven(Odd())
    assert "○ not yet" in repr(check_doubling(double))


def test_every_check_of_the_course_is_one_of_these():
    """So what holds for these checks holds for all."""
    import importlib
    import pkgutil

    from course_utils import lessons

    found = pkgutil.walk_packages(lessons.__path__, "course_utils.lessons.")
    modules = [importlib.import_module(f.name) for f in found if f.name.endswith("exercises")]
    checks = {
        f"{module.__name__}.{name}": check
        for module in modules
        for name, check in vars(module).items()
        if name.startswith("check_")
    }
    assert len(checks) > 40 and all(hasattr(check, "exercise") for check in checks.values())
    for name, check in checks.items():
        for answers in ((), (Odd(),) * 9, (None,), (torch.zeros(2, 2),), (leaves,)):
            assert not check(*answers), name


def test_a_keyboard_interrupt_is_no_answer():
    def double(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_doubling(double)


# The record


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    (tmp_path / "07_lesson.ipynb").write_text(
        '{"cells": [{"cell_type": "code", "metadata": {"tags": ["exercise"]}, "source": "check_seven(1)"}]}',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "in_notebook", lambda: True)
    return tmp_path


def test_in_a_notebook_a_pass_is_noted_and_a_failure_is_not(kernel):
    check_seven(6)
    assert not (kernel / "progress.json").exists()
    assert "1 of 1 exercises passed: see progress()" in check_seven(7).message
    assert list(load(kernel / "progress.json")["passed"]) == ["07.1"]


def test_a_pass_that_cannot_be_noted_is_still_a_pass_and_says_so(kernel, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "note_pass", full)
    result = check_seven(7)
    assert (
        result
        and "could not be noted" in result.message
        and "No space left on device" in result.message
    )


def test_outside_a_notebook_nothing_is_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check_seven(7) and not list(tmp_path.iterdir())
