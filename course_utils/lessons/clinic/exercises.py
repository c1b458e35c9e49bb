"""Checks of the exercises of notebook 08."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ...classroom.check import exercise
from ...classroom.design import fair_design
from .charts import Chart
from .faults import FAULTS
from .ward import Quiz, answer


@exercise(
    "08.1",
    hints=[
        "A unit is a column, an image is a row.",
        "Ask of each column: is it zero in all rows?",
        "(outputs == 0).all(dim=0) says so for each unit.",
    ],
)
def check_dead_share(dead_share: Callable[[Tensor], Any]) -> Iterator[tuple[Any, str]]:
    """The share of units that are zero for every image."""
    outputs = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 3.0, 0.0, 0.0]])
    wide = torch.zeros(7, 10)
    wide[3, 4] = 1e-6
    yield 0 <= float(dead_share(outputs)) <= 1, "A share between 0 and 1 is wanted."
    told = "A layer whose units all answer has no dead unit."
    yield float(dead_share(torch.ones(5, 8))) == 0, told
    told = "Of four units two are zero for all images, the others for some: that is one half. "
    told += "A single zero is no death: a ReLU is meant to be silent at times."
    yield abs(float(dead_share(outputs)) - 0.5) < 1e-6, told
    told = "One small answer to one image is a sign of life."
    yield abs(float(dead_share(wide)) - 0.9) < 1e-6, told


@exercise(
    "08.2",
    hints=[
        "Which line of the facts was out of order in patient A? Which in no healthy patient?",
        "Rules of other faults stand in course_utils/lessons/clinic/faults.py.",
        "The cosine between a gradient and the one before: np.median(chart.alignment[:10]).",
    ],
    praise="That is right: the rule knows the ill from the healthy, and from the other ill.",
)
def check_rule(
    rule: Callable[[Chart], Any], name: str, charts: Mapping[str, Chart]
) -> Iterator[tuple[Any, str]]:
    """A sign as a rule: true of the patient with the fault ``name``, and of no other."""
    yield callable(rule), "`rule` should be a function of a chart."
    yield bool(rule(charts[name])), f"The patient with {name} does not show it."
    for other, chart in charts.items():
        if other != name:
            yield not rule(chart), "Another patient shows it, too: one with another fault, or none."


@exercise(
    "08.3",
    hints=[
        "Compare every instrument with the grey curves of the healthy patient.",
        "Go through the facts from the top: which line is out of order?",
    ],
    praise="That is right: all three are cured.",
)
def check_diagnoses(answers: Any, quiz: Quiz) -> Iterator[tuple[Any, str]]:
    """All patients of a quiz; a wrong one is told the sign that its diagnosis would have shown."""
    yield isinstance(answers, Mapping), "`diagnoses` should be {patient: diagnosis}."
    for number, fault in quiz.key().items():
        given = answers.get(number)
        yield given is not None, f"Patient {number} has no diagnosis."
        listed = isinstance(given, str) and given in FAULTS
        yield listed, f"Patient {number}: {given!r} is not in the list of diagnoses, FAULTS."
        yield given == fault, f"Patient {number}: {answer(fault, given)}"


@exercise(
    "08.4",
    hints=[
        "Two arms that differ in the cure you ask about, and in nothing else.",
        "Give compare a grid of learning rates, wide enough that no choice lies at an edge.",
        "*Supported* means that the whole interval of the gain lies above zero; *refuted*, below "
        "it; *not settled*, that zero is inside.",
    ],
    praise="That is a fair experiment, and your verdict follows from it.",
)
def check_my_treatment(trial: Any, verdict: Any) -> Iterator[tuple[Any, str]]:
    """An experiment of the learner's own: two arms, both tuned, eight seeds, a verdict."""
    yield from fair_design(trial, verdict)
