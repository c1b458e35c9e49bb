"""Five questions at the end of each lesson, with one right answer each and reasons for all.

The questions stand in ``data/self_tests/NN.json``. In a notebook they are buttons to choose by, and
the answers go into the learner's record; on a page without a kernel each answer folds out. (Quiz
packages were looked at: those that work offline draw their own HTML, without names for those who
cannot see it, and record nothing.)
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from ..files import DATA_FOLDER, read_json
from .record import changing, in_notebook

FOLDER = DATA_FOLDER / "self_tests"
# Beside the buttons, the page for readers without a kernel is not needed.
HIDDEN = (
    "<style>.jp-OutputArea-child:has(.course-self-test) ~ "
    ".jp-OutputArea-child:has(.course-self-test-page) { display: none; }</style>"
)


@dataclass(frozen=True)
class Option:
    """One answer to choose, and why it is right or wrong."""

    text: str
    why: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question with one right answer; ``id`` is "NN.word"."""

    id: str
    text: str
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        if sum(option.right for option in self.options) != 1 or len(self.options) < 3:
            raise ValueError(f"{self.id}: takes three options or more, one of them right")
        if len({option.text for option in self.options}) < len(self.options):
            raise ValueError(f"{self.id}: two options have the same text")


def questions(lesson: str, folder: Path = FOLDER) -> tuple[Question, ...]:
    """The questions of a lesson ("03"). Raises FileNotFoundError, ValueError for a damaged file."""
    return tuple(
        Question(each["id"], each["text"], tuple(Option(**option) for option in each["options"]))
        for each in read_json(folder / f"{lesson}.json")
    )


class SelfTest:
    """The questions of a lesson: to be answered where a kernel runs, to be read elsewhere."""

    def __init__(self, asked: tuple[Question, ...]):
        self.questions = asked
        self.right: dict[str, bool] = {}
        self.choices = [_chooser(question) for question in asked]
        self.verdicts = [widgets.HTML() for _ in asked]
        self.total = widgets.HTML(f"<p>{len(asked)} questions. Choose an answer to each.</p>")
        for number, choice in enumerate(self.choices):
            choice.observe(lambda change, number=number: self._answer(number), names="index")

    def _answer(self, number: int) -> None:
        question, place = self.questions[number], self.choices[number].index
        if place is None:
            return
        option = question.options[place]
        self.right.setdefault(question.id, option.right)  # the first answer counts
        sign, word = ("✔", "Right") if option.right else ("○", "Not this one")
        told = f"<b>{sign} {word}.</b> {html.escape(option.why)}"
        self.verdicts[number].value = f"<p role='status'>{told}</p>"
        count = sum(self.right.values())
        self.total.value = f"<p><b>{count} of {len(self.questions)}</b> right at the first try.</p>"
        if in_notebook():
            entry = {"question": question.text, "chosen": option.text, "right": option.right}
            with changing() as record:
                record["answers"].setdefault(question.id, entry)

    def _ipython_display_(self) -> None:
        parts = [
            part
            for question, choice, verdict in zip(
                self.questions, self.choices, self.verdicts, strict=True
            )
            for part in (
                widgets.HTML(f"<b>{html.escape(question.text)}</b>"),
                choice,
                verdict,
            )
        ]
        box = widgets.VBox([*parts, self.total])
        box.add_class("course-self-test")
        display(box)
        words = {"text/plain": self.as_text(), "text/html": HIDDEN + self.as_page()}
        display(words, raw=True)

    def as_text(self) -> str:
        lines = []
        for number, question in enumerate(self.questions, start=1):
            lines.append(f"{number}. {question.text}")
            lines += [f"   - {option.text}" for option in question.options]
        return "\n".join(lines)

    def as_page(self) -> str:
        """The questions for a page without a kernel: each answer folds out and gives its reason."""
        parts = ["<div class='course-self-test-page'>"]
        for number, question in enumerate(self.questions, start=1):
            parts.append(f"<p><b>{number}. {html.escape(question.text)}</b></p>")
            for option in question.options:
                word = "✔ Right." if option.right else "○ Not this one."
                parts.append(
                    f"<details><summary>{html.escape(option.text)}</summary>"
                    f"<p><b>{word}</b> {html.escape(option.why)}</p></details>"
                )
        return "".join([*parts, "</div>"])


def _chooser(question: Question) -> Any:
    """Buttons of which one is chosen, with a name for those who cannot see the question above."""
    return widgets.RadioButtons(
        options=[option.text for option in question.options],
        index=None,
        layout=widgets.Layout(width="max-content", max_width="100%"),
        tooltip=question.text,
    )


def self_test(lesson: str) -> SelfTest:
    """Five questions on a lesson ("03"): the first answer to each goes into the record."""
    return SelfTest(questions(lesson))
