"""Predictions, exercise checks and hints: what answers a learner. Floor 6.

A check never raises on a wrong answer. It says what is wrong, hints a little more with every try, and stays
friendly. Use ``check`` to build one:

    def check_best_rate(answer):
        return check("02.1", [(isinstance(answer, float), "a float is wanted"), ...], hints=[...])
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets as widgets

_tries: Counter[str] = Counter()


@dataclass(frozen=True)
class Result:
    """What a check found; true in an ``if`` when the exercise is passed."""

    exercise: str
    passed: bool
    message: str

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"{'passed' if self.passed else 'not yet'}  {self.exercise}: {self.message}"


def check(exercise: str, conditions: Sequence[tuple[object, str]], hints: Sequence[str] = (),
          praise: str = "that is right.") -> Result:
    """Judge an answer by conditions (holds, what to say if not), in order; the first that fails speaks.

    Each further failed try adds the next hint. A condition may be a callable, so that later ones can rely on
    earlier ones; one that raises counts as not holding, for a learner's answer can be anything.
    """
    for holds, complaint in conditions:
        if not _holds(holds):
            hint = hints[min(_tries[exercise], len(hints) - 1)] if hints else ""
            _tries[exercise] += 1
            return Result(exercise, False, complaint + (f" Hint: {hint}" if hint else ""))
    _tries.pop(exercise, None)
    return Result(exercise, True, praise)


def _holds(condition: object) -> bool:
    if not callable(condition):
        return bool(condition)
    try:
        return bool(condition())
    except Exception:                                      # whatever the learner's answer did: it is not right yet
        return False


class Prediction(widgets.VBox):
    """A question with a choice, asked before an experiment. It never blocks: no guess is a guess too."""

    def __init__(self, question: str, options: Sequence[str]):
        self._buttons = widgets.ToggleButtons(options=list(options), value=None, style={"button_width": "auto"})
        self._options = list(options)
        super().__init__([widgets.HTML(f"<b>Predict first.</b> {html.escape(question)}"), self._buttons])
        self.add_class("course-prediction")

    @property
    def guess(self) -> str | None:
        return self._buttons.value

    def compare(self, measured: str) -> str:
        """The guess beside what was measured, in one sentence."""
        if measured not in self._options:
            raise ValueError(f"measured: got {measured!r}, takes one of {self._options}")
        if self.guess is None:
            return f"Measured: {measured}. (You made no guess; next time, commit to one first.)"
        verdict = "as you predicted" if self.guess == measured else f"you predicted: {self.guess}"
        return f"Measured: {measured}; {verdict}."


def predict(question: str, options: Sequence[str]) -> Prediction:
    """Ask the learner to commit to a guess: ``guess = predict(...)``, then, after the experiment, ``guess.compare(...)``."""
    return Prediction(question, options)
