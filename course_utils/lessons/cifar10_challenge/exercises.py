"""Checks of the exercises of notebook 15: the examination, for everyone, on stored runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...classroom.check import exercise
from ...classroom.design import fair_design
from ...protocol import Trial
from .examination import (
    ILLNESSES,
    VERDICTS,
    illness_of,
    lever_gains,
    right_verdicts,
    situations,
    ward,
)
from .records import Stored
from .reports import FLAWS, reports

Conditions = Iterator[tuple[Any, str]]
JUDGES = 3  # seeds


def _marked(
    answers: Any, right: Mapping[Any, str], allowed: Mapping[str, str] | tuple[str, ...], most: int
) -> Conditions:
    """An answer to every question, from the list, and at most ``most`` mistakes: which ones they
    are is not told."""
    yield isinstance(answers, Mapping), "The answers should be a dictionary, as in the starter."
    missing = [str(key) for key in right if not answers.get(key)]
    yield not missing, f"There is no answer yet to {', '.join(missing)}."
    strange = [str(answers[key]) for key in right if answers[key] not in list(allowed)]
    yield not strange, f"{', '.join(strange)}: takes one of: {'; '.join(allowed)}."
    count = sum(answers[key] == each for key, each in right.items())
    yield count >= len(right) - most, f"{count} of {len(right)} are right."


@exercise(
    "15.1",
    hints=[
        "Two intervals that overlap do not answer it: the runs are paired, seed by seed.",
        "difference(treated, control) gives one interval for each question. Where does zero lie?",
        "low > 0 is a gain, high < 0 is a loss, and everything else is not settled.",
    ],
    praise="All of them follow from the paired intervals.",
)
def check_verdicts(verdicts: Any, stored: Stored) -> Conditions:
    """What do six comparisons show?"""
    yield from _marked(verdicts, right_verdicts(stored), VERDICTS, 0)


@exercise(
    "15.2",
    hints=[
        "Compare the two sides column by column: what did one have that the other had not?",
        "Exactly one of them is fair. Who chose, who judged, and how many updates were there?",
        "A choice at the end of a grid says that the best value may lie beyond. A maximum of ten "
        "runs is higher than their mean even if nothing was changed.",
    ],
    praise="You found what is wrong with them.",
)
def check_flaws(flaws: Any, stored: Stored) -> Conditions:
    """What is wrong with seven comparisons? One mistake is allowed."""
    right = {letter: report.flaw for letter, report in reports(stored).items()}
    yield from _marked(flaws, right, FLAWS, 1)


@exercise(
    "15.3",
    hints=[
        "Begin with the training curve: does it learn at all, and does it go on to the end?",
        "Then compare three losses of one epoch: on the batches, on training and on validation "
        "images. Which pair is farther apart than in the healthy example?",
        "The table tells the rate in the middle of the training, and which layers have moved.",
    ],
    praise="The ward is in good hands.",
)
def check_diagnoses(diagnoses: Any, stored: Stored) -> Conditions:
    """What do eight patients have? One mistake is allowed."""
    right = {letter: illness_of(record) for letter, record in ward(stored).items()}
    yield from _marked(diagnoses, right, ILLNESSES, 1)


@exercise(
    "15.4",
    hints=[
        "Which of the two has learnt its training images, and which one has not?",
        "A network that knows its training images by heart needs more different images. One that "
        "cannot even learn its training images needs more channels and layers, and nothing that "
        "makes learning harder.",
    ],
    praise="Each lever fits what the run lacks.",
)
def check_levers(levers: Any, stored: Stored) -> Conditions:
    """Which lever helps each of two runs? Right is what cannot be told from the best."""
    yield isinstance(levers, Mapping), "The answers should be a dictionary, as in the starter."
    asked = situations(stored)
    missing = [situation for situation in asked if not levers.get(situation)]
    yield not missing, f"There is no answer yet to {', '.join(missing)}."
    for situation in asked:
        lever, gains = levers[situation], lever_gains(stored, situation)
        yield lever in list(gains), f"{situation}: got {lever!r}, takes one of {', '.join(gains)}."
        best = max(each.value for each in gains.values())
        told = f"{situation}: {lever} gained {gains[lever]}. Another lever gained more."
        yield gains[lever].high >= best and gains[lever].value > 0, told


@exercise(
    "15.5",
    hints=[
        "Copy the call of replay above, and change what you ask about, the rates and the seeds.",
        "Seed 4 tried all rates, so it can choose; seeds 0, 1 and 5 judge.",
        "If the choice lies at an edge of your rates, take the neighbour beyond into the list.",
    ],
    praise="That is a fair experiment, and your verdict follows from it.",
)
def check_my_experiment(trial: Any, verdict: Any) -> Conditions:
    """An experiment of the learner's own on the bank of stored runs, which has four seeds."""
    yield isinstance(trial, Trial), "`my_trial` should be what replay(...) returns."
    yield from fair_design(trial, verdict, seeds=JUDGES)
