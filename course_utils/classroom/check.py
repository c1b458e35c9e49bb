"""Predictions, exercise checks and hints: what answers a learner. Floor 6.

A check never raises on a wrong answer. It says what is wrong, hints a little more with every try, and stays
friendly. What is passed in a notebook is noted for ``progress()``. Use ``check`` to build one:

    def check_best_rate(answer):
        return check("02.1", [(isinstance(answer, float), "a float is wanted"), ...], hints=[...])
"""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets as widgets

from .progress import in_notebook, record

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


def check(
    exercise: str,
    conditions: Sequence[tuple[object, str]],
    hints: Sequence[str] = (),
    praise: str = "that is right.",
) -> Result:
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
    return Result(exercise, True, praise + _noted(exercise))


def _noted(exercise: str) -> str:
    """Note the pass, if this is a notebook; what to add to the praise if that could not be done."""
    if not in_notebook():
        return ""
    try:
        record(exercise)
    except OSError as error:  # a full disk, a folder that may not be written to
        return f" (It could not be noted for progress(): {error})"
    return ""


def _holds(condition: object) -> bool:
    if not callable(condition):
        return bool(condition)
    try:
        return bool(condition())
    except Exception:  # whatever the learner's answer did: it is not right yet
        return False


class Prediction(widgets.VBox):
    """A question asked before an experiment; the guess stands beside the result after it. It never blocks: no guess is a
    guess too. Made by ``predict``.
    """

    def __init__(self, question: str, control: widgets.ValueWidget):
        self.control, self._revealed = control, widgets.HTML()
        self._revealed.add_class("course-prediction-result")
        super().__init__(
            [
                widgets.HTML(f"<b>Predict first.</b> {html.escape(question)}"),
                control,
                self._revealed,
            ]
        )
        self.add_class("course-prediction")

    @property
    def guess(self) -> str | float | None:
        """What the learner chose; None if nothing."""
        return self.control.value

    def compare(self, measured: str | float) -> str:
        """The guess beside what was measured, in one sentence; the question itself shows it too.

        A guess that was made can no longer be changed then. Raises ValueError for a result that is no possible answer.
        """
        self._accept(measured)
        if self.guess is None:
            text = f"Measured: {self._say(measured)}. (You made no guess; next time, commit to one first.)"
        else:
            text = f"Measured: {self._say(measured)}; {self._verdict(measured)}."
            self.control.disabled = True
        self._revealed.value = f"<span role='status' aria-live='polite'>{html.escape(text)}</span>"
        return text

    def _accept(self, measured: str | float) -> None:
        options = list(self.control.options)
        if measured not in options:
            raise ValueError(f"measured: got {measured!r}, takes one of {options}")

    def _say(self, answer: str | float) -> str:
        return str(answer)

    def _verdict(self, measured: str | float) -> str:
        return "as you predicted" if self.guess == measured else f"you predicted: {self.guess}"


class NumberPrediction(Prediction):
    """A question answered with a slider. Until it is moved, there is no guess."""

    def __init__(self, question: str, low: float, high: float, step: float, unit: str):
        whole = all(float(each).is_integer() for each in (low, high, step))
        middle = low + step * round((high - low) / 2 / step)
        kind = widgets.IntSlider if whole else widgets.FloatSlider
        numbers = {
            name: int(each) if whole else float(each)
            for name, each in {"min": low, "max": high, "step": step, "value": middle}.items()
        }
        slider = kind(
            **numbers,
            description=f"your guess{f' ({unit})' if unit else ''}",
            style={"description_width": "initial"},
            layout=widgets.Layout(width="36em"),
        )
        self.unit, self._moved = unit, False
        slider.observe(self._note_move, names="value")
        super().__init__(question, slider)

    def _note_move(self, _: object) -> None:
        self._moved = True

    @property
    def guess(self) -> float | None:
        return self.control.value if self._moved else None

    def _accept(self, measured: str | float) -> None:
        if isinstance(measured, str) or not math.isfinite(measured):
            raise ValueError(f"measured: got {measured!r}, takes a finite number")

    def _say(self, answer: str | float) -> str:
        return f"{answer:.4g}{self.unit and ' ' + self.unit}"

    def _verdict(self, measured: str | float) -> str:
        away = self.guess - measured
        if abs(away) <= self.control.step / 2:
            return "as you predicted"
        return f"you predicted {self._say(self.guess)}, {self._say(abs(away))} too {'high' if away > 0 else 'low'}"


def predict(
    question: str,
    options: Sequence[str] | None = None,
    *,
    between: tuple[float, float] | None = None,
    step: float = 1,
    unit: str = "",
) -> Prediction:
    """Ask the learner to commit to a guess: ``guess = predict(...)``, then, after the experiment, ``guess.compare(...)``.

    ``options`` are answers to choose from; ``between=(low, high)`` asks for a number instead, on a slider in steps of
    ``step``. Raises ValueError unless exactly one of the two is given and the slider has at least two steps.
    """
    if (options is None) == (between is None):
        raise ValueError(
            f"options, between: got {options} and {between}, takes exactly one of them"
        )
    if between is None:
        return Prediction(
            question,
            widgets.ToggleButtons(
                options=list(options), value=None, style={"button_width": "auto"}
            ),
        )
    low, high = between
    if not (step > 0 and high - low >= 2 * step):
        raise ValueError(
            f"between: got {between} in steps of {step}, takes low < high at least two steps apart"
        )
    return NumberPrediction(question, low, high, step, unit)
