"""Checks of the exercises of notebook 16."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...claims import judge
from ...classroom.check import exercise
from ...classroom.design import fair_design
from ...evidence import Estimate

CASES = [(1.0, 0.2, 1.8), (-1.0, -1.8, -0.2), (0.5, -0.3, 1.3), (2.0, 0.0, 4.0), (0.4, 0.3, 0.5)]


@exercise(
    "16.1",
    hints=[
        "There are three answers, and only the two ends of the interval matter.",
        "Supported: even the low end lies above the threshold. Refuted: even the high end below.",
        "if effect.low > threshold: 'supported'; elif effect.high < threshold: 'refuted'; "
        "else: 'not settled'",
    ],
    praise="That is the whole rule behind every card of this course.",
)
def check_verdict(verdict: Callable[[Estimate, float], str]) -> Iterator[tuple[Any, str]]:
    """A function from an interval and a threshold to a verdict."""
    yield callable(verdict), "`verdict_of` should be a function of an effect and a threshold."
    for threshold in (0.0, 0.3):
        for value, low, high in CASES:
            effect = Estimate(value, low, high, 8)
            answer, right = verdict(effect, threshold), judge(effect, threshold, None)
            told = f"For an interval from {low} to {high} and the threshold {threshold}"
            yield answer == right, f"{told}, `verdict_of` says {answer!r}."


@exercise(
    "16.2",
    hints=[
        "Choose a claim of the wall whose verdict you doubt, and write its two sides as Configs.",
        "Give compare a grid for both sides: tune={'learning_rate': log_grid(1e-3, 1, 7)}.",
        "Where the table minds an edge, add values beyond it; then read the interval of the gain.",
    ],
    praise="That is a claim of your own, tested as fairly as those of the wall.",
)
def check_my_claim(trial: Any, verdict: Any) -> Iterator[tuple[Any, str]]:
    """A claim that the learner chose, tested on fresh seeds with both sides tuned."""
    yield from fair_design(trial, verdict)
