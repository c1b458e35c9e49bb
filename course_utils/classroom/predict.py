"""Predictions: a question before an experiment, the guess beside the result after it.

    guess = predict("Which optimiser forgives the most?", ["SGD", "AdamW"], id="03.basin")
    guess                                           # the learner chooses
    ...                                             # the experiment
    guess.compare("AdamW")

It never blocks: whoever runs all cells is asked nothing, and told nothing but the result. Guesses
are kept in the learner's record, on this machine. With a class, ``class_mode()`` asks for the
number of raised hands for each answer instead, and draws them beside the result.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from .record import in_notebook, load, note_guess, record_path
from .said import Said

_MODE = {"class": False}


def class_mode(on: bool = True) -> None:
    """Let the questions that follow take counts of raised hands instead of one learner's guess."""
    _MODE["class"] = on


class Prediction(widgets.VBox):
    """One question. Made by ``predict``."""

    def __init__(self, id: str, question: str, control: widgets.Widget):
        self.id, self.question, self.control = id, question, control
        self._result = widgets.HTML()
        heading = widgets.HTML(f"<b>Predict first.</b> {html.escape(question)}")
        super().__init__([heading, control, self._result])
        self.add_class("course-prediction")

    @property
    def guess(self) -> Any:
        """What was chosen; None if nothing."""
        raise NotImplementedError

    def compare(self, measured: Any) -> Said:
        """The guess beside what was measured, to be shown under the experiment too.

        Raises ValueError for a result that is no possible answer.
        """
        self._accept(measured)
        lines = [f"<b>Measured:</b> {html.escape(self._say(measured))}."]
        if self.guess is not None:
            lines.append(self._beside(measured))
            self._lock()
            self._note(
                {"guess": self.guess, "measured": measured, "right": self._is_right(measured)}
            )
        text = " ".join(lines)
        self._result.value = f"<span role='status'>{text}</span>"
        return Said(f"<p>{html.escape(self.question)} {text}</p>")

    def _beside(self, measured: Any) -> str:
        right = self._is_right(measured)
        sign = "✔ as you predicted" if right else f"○ you predicted {self._say(self.guess)}"
        return f"<b>{html.escape(sign)}.</b>"

    def _note(self, guess: dict[str, Any]) -> None:
        if in_notebook():
            note_guess(self.id, {"question": self.question, **guess})

    def _accept(self, measured: Any) -> None:
        raise NotImplementedError

    def _say(self, answer: Any) -> str:
        return str(answer)

    def _is_right(self, measured: Any) -> bool:
        return self.guess == measured

    def _lock(self) -> None:
        self.control.disabled = True


class ChoicePrediction(Prediction):
    """A question with a few answers to choose from."""

    def __init__(self, id: str, question: str, options: Sequence[str]):
        self.options = list(options)
        buttons = [widgets.ToggleButton(value=False, description=each) for each in self.options]
        for button in buttons:
            button.layout.width = "auto"
            button.observe(self._choose, names="value")
        self.buttons = buttons
        self._chosen: str | None = None
        super().__init__(id, question, widgets.HBox(buttons, layout={"flex_flow": "row wrap"}))

    def _choose(self, change: dict[str, Any]) -> None:
        option = self.options[self.buttons.index(change["owner"])]
        if change["new"]:
            self._chosen = option
        elif self._chosen == option:
            self._chosen = None
        # One answer at a time. Its sign is part of its name, for those who do not see the colour.
        for option, button in zip(self.options, self.buttons, strict=True):
            button.value = option == self._chosen
            button.description = f"✔ {option}" if button.value else option
        if self._chosen is not None:
            self._note({"guess": self._chosen})

    @property
    def guess(self) -> str | None:
        return self._chosen

    def _accept(self, measured: Any) -> None:
        if measured not in self.options:
            raise ValueError(f"measured: got {measured!r}, takes one of {self.options}")

    def _lock(self) -> None:
        for button in self.buttons:
            button.disabled = True


class NumberPrediction(Prediction):
    """A question answered with a number, in a field that has a name for those who cannot see it.
    Until it is changed, there is no guess."""

    def __init__(self, id: str, question: str, low: float, high: float, step: float, unit: str):
        whole = all(float(each).is_integer() for each in (low, high, step))
        middle = low + step * round((high - low) / 2 / step)
        kind = widgets.BoundedIntText if whole else widgets.BoundedFloatText
        numbers = {"min": low, "max": high, "step": step, "value": middle}
        field = kind(
            **{name: int(each) if whole else float(each) for name, each in numbers.items()},
            description=f"your guess{f' ({unit})' if unit else ''}",
            style={"description_width": "initial"},
            layout=widgets.Layout(width="20em"),
        )
        self.unit, self._moved = unit, False
        field.observe(self._note_move, names="value")
        super().__init__(id, question, field)

    def _note_move(self, change: dict[str, Any]) -> None:
        self._moved = True
        self._note({"guess": change["new"]})

    @property
    def guess(self) -> float | None:
        return self.control.value if self._moved else None

    def _accept(self, measured: Any) -> None:
        if isinstance(measured, str) or not math.isfinite(measured):
            raise ValueError(f"measured: got {measured!r}, takes a finite number")

    def _say(self, answer: Any) -> str:
        return f"{answer:.4g}{self.unit and ' ' + self.unit}"

    def _is_right(self, measured: Any) -> bool:
        return abs(self.control.value - measured) <= max(self.control.step, 0.1 * abs(measured))


class ClassPrediction(Prediction):
    """The same question for a room: how many hands for each answer?"""

    def __init__(self, id: str, question: str, options: Sequence[str]):
        self.options = list(options)
        self.counts = [
            widgets.BoundedIntText(
                value=0, min=0, max=999, description=each, layout={"width": "30em"}
            )
            for each in self.options
        ]
        for count in self.counts:
            count.style.description_width = "22em"
        super().__init__(id, question, widgets.VBox(self.counts))

    @property
    def guess(self) -> dict[str, int] | None:
        hands = {name: count.value for name, count in zip(self.options, self.counts, strict=True)}
        return hands if any(hands.values()) else None

    def _beside(self, measured: Any) -> str:
        hands = self.guess or {}
        most = max(hands.values())
        rows = []
        for name, count in hands.items():
            bar = "█" * round(20 * count / most)
            sign = "✔" if name == measured else ""
            rows.append(
                f"<tr><td>{html.escape(name)} {sign}</td><td>{count}</td><td>{bar}</td></tr>"
            )
        return f"<table><caption>raised hands</caption>{''.join(rows)}</table>"

    def _note(self, guess: dict[str, Any]) -> None:
        """A room's hands are nobody's record."""

    def _accept(self, measured: Any) -> None:
        if measured not in self.options:
            raise ValueError(f"measured: got {measured!r}, takes one of {self.options}")


def predict(
    question: str,
    options: Sequence[str] | None = None,
    *,
    between: tuple[float, float] | None = None,
    step: float = 1,
    unit: str = "",
    id: str = "",
) -> Prediction:
    """Ask for a guess: ``guess = predict(...)``; after the experiment, ``guess.compare(measured)``.

    ``options`` are answers to choose from; ``between=(low, high)`` asks for a number instead, in
    steps of ``step``. ``id`` names the question in the learner's record, "NN.word".
    Raises ValueError unless exactly one of the two is given, options are two or more, and the
    number has at least two steps.
    """
    id = id or re.sub(r"\W+", "-", question.lower()).strip("-")[:40]
    if (options is None) == (between is None):
        raise ValueError(f"options, between: got {options} and {between}, takes exactly one")
    if options is not None:
        if len(set(options)) < max(2, len(options)):
            raise ValueError(f"options: got {list(options)}, takes two or more that differ")
        return (ClassPrediction if _MODE["class"] else ChoicePrediction)(id, question, options)
    low, high = between if between is not None else (0, 0)
    if not (step > 0 and high - low >= 2 * step):
        raise ValueError(f"between: got {between} in steps of {step}, takes two steps or more")
    return NumberPrediction(id, question, low, high, step, unit)


def review(lesson: str) -> Said:
    """How the learner's guesses of one lesson ("03") went: how many were right, which were not."""
    guesses = load(record_path())["guesses"]
    made = [
        each for name, each in guesses.items() if name.startswith(f"{lesson}.") and "right" in each
    ]
    if not made:
        return Said("<p>No guess of this lesson is in your record yet.</p>")
    right = sum(each["right"] for each in made)
    lines = [f"<p><b>You were right in {right} of {len(made)}.</b></p>"]
    for each in made:
        if not each["right"]:
            texts = [html.escape(str(each[key])) for key in ("question", "guess", "measured")]
            lines.append(f"<li>{texts[0]} You said: {texts[1]}. Measured: {texts[2]}.</li>")
    surprises = f"<p>What surprised you:</p><ul>{''.join(lines[1:])}</ul>" if lines[1:] else ""
    return Said(lines[0] + surprises)
