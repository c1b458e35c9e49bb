"""Checks of the exercises of notebook 12."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from ...classroom.check import exercise
from ...classroom.design import fair_design


@exercise(
    "12.1",
    hints=[
        "In muP, which of the rates depend on the width, and how?",
        "A matrix from width to width, and the head, take a rate in proportion to 1 / width.",
        'return {"input": rate, "hidden": rate * base / width, "head": rate * base / width}',
    ],
    praise="Only what multiplies a sum over the width needs a smaller rate.",
)
def check_rates(rates: Callable[..., Any]) -> Iterator[tuple[Any, str]]:
    """Adam's learning rates of the three kinds of matrices under muP."""
    at_base = rates(0.01, 64, 64)
    layers = {"input", "hidden", "head"}
    yield set(at_base) == layers, "Return a dict with the keys input, hidden and head."
    same = all(math.isclose(each, 0.01) for each in at_base.values())
    yield same, "At the width that was tuned, every layer should have the rate that was tuned."
    wide = rates(0.01, 64, 1024)
    yield math.isclose(wide["input"], 0.01), "The input layer's rate should not change with width."
    for layer in ("hidden", "head"):
        right = math.isclose(wide[layer], 0.01 / 16)
        yield right, f"At sixteen times the width, {layer} has {wide[layer]:g}: not right yet."
    narrow = rates(0.01, 64, 16)
    yield math.isclose(narrow["hidden"], 0.04), "For a narrower network, the rate should rise."


@exercise(
    "12.2",
    hints=[
        "Write down the first three averages by hand: what is the weight of each point?",
        "x_1 = z_1, x_2 = (z_1 + z_2) / 2, and x_3 = x_2 + (z_3 - x_2) / 3.",
        "average = average + (point - average) / count",
    ],
    praise="A mean that needs neither the earlier points nor how many will follow.",
)
def check_running_mean(update: Callable[..., Any]) -> Iterator[tuple[Any, str]]:
    """The equal-weight average of the points so far, kept with one number."""
    points = [3.0, -1.0, 4.0, 10.0, -6.0]
    average: Any = 0.0
    for count, point in enumerate(points, start=1):
        average = update(average, point, count)
        wanted = sum(points[:count]) / count
        points_so_far = "1 point" if count == 1 else f"{count} points"
        told = f"After {points_so_far} the mean is {wanted:g}; yours is {average:g}."
        yield math.isclose(average, wanted, abs_tol=1e-9), told


@exercise(
    "12.3",
    hints=[
        "Start from the cell of section 6 that calls compare, and change one thing.",
        "The table's last column says which choice lies at an edge. Add a value beyond it.",
        "A verdict is *supported* when the whole interval lies above zero, *refuted* when it lies "
        "below, and *not settled* when zero is inside.",
    ],
    praise="That is a fair experiment, and your verdict follows from it.",
)
def check_my_experiment(trial: Any, verdict: Any) -> Iterator[tuple[Any, str]]:
    """An experiment of the learner's own: two arms, both tuned, eight seeds, a verdict."""
    yield from fair_design(trial, verdict)
