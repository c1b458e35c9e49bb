"""Checks of the exercises of notebook 00."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...classroom.check import exercise
from ...classroom.design import fair_design
from ...engine.history import History
from ...evidence import Estimate


@exercise(
    "00.1",
    hints=[
        "fit takes one Config or a list of them.",
        "A Config has a method that makes copies with other seeds: config.seeds(8).",
        'fit(Config(optimizer="sgd", learning_rate=0.1, width=8, epochs=10).seeds(8), mnist)',
    ],
)
def check_eight_seeds(history: Any) -> Iterator[tuple[Any, str]]:
    """Eight runs that differ in nothing but their seed."""
    yield isinstance(history, History), "`narrow` should be what fit(...) returns."
    yield len(history) >= 8, f"There should be eight runs; this is {len(history)}."
    seeds = {config.seed for config in history.configs}
    yield len(seeds) == len(history), "Every run needs a seed of its own."
    yield set(history.varied()) <= {"seed"}, "The runs should differ in their seed alone."
    widths = {config.width for config in history.configs}
    yield widths == {8}, f"The networks should have width 8; these have {widths}."
    plain = {(one.optimizer, one.momentum or 0, one.learning_rate) for one in history.configs}
    yield plain == {("sgd", 0, 0.1)}, "They should train with plain SGD, at a learning rate of 0.1."


@exercise(
    "00.2",
    hints=[
        "Print the difference. What do the two ends of its interval say?",
        "If zero lies inside the interval, these eight seeds do not settle it.",
    ],
    praise="That is right: a difference is shown when its whole interval lies on one side of zero.",
)
def check_real_difference(answer: Any, measured: Any) -> Iterator[tuple[Any, str]]:
    """Does an interval show that a difference is real?"""
    yield isinstance(measured, Estimate), "`gain` should be what difference(...) returns."
    yield isinstance(answer, (bool, np.bool_)), "`answer` should be True or False."
    shown = measured.low > 0 or measured.high < 0
    yield bool(answer) == shown, f"The interval is {measured}. Look at where zero lies."


@exercise(
    "00.3",
    hints=[
        "Start from the cell above that calls compare, and change one thing between the two arms.",
        "The table's last column says which choice lies at an edge. Add a value beyond it.",
        'The verdict is "supported" when the whole interval of the gain lies above zero, "refuted" '
        'when it lies below, and "not settled" when zero is inside.',
    ],
    praise="That is a fair experiment, and your verdict follows from it.",
)
def check_my_experiment(trial: Any, verdict: Any) -> Iterator[tuple[Any, str]]:
    """An experiment of the learner's own: two arms, both tuned, eight seeds, a verdict."""
    yield from fair_design(trial, verdict)
