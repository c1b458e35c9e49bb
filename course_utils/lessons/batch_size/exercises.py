"""Checks of the exercises of notebook 05."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...classroom.check import exercise
from ...classroom.design import fair_design
from ...protocol import Trial


@exercise(
    "05.1",
    hints=[
        "Two equations: small_square = G2 + trace / small, big_square = G2 + trace / big.",
        "Subtract one from the other: G2 disappears, and the trace is left.",
        "trace = (small_square - big_square) / (1 / small - 1 / big), and then G2 follows.",
    ],
    praise="Two batch sizes are enough, and no image needs a gradient of its own.",
)
def check_noise_scale(noise_scale: Any) -> Iterator[tuple[Any, str]]:
    """``noise_scale(small_square, big_square, small, big)`` inverts E|g|² = |G|² + trace / size."""
    yield callable(noise_scale), "`noise_scale` should be a function."
    cases = [
        (2.0, 6.0, 1, 3, "|G|² = 2 and tr Σ = 6 give the squares 8 and 4 for batches of 1 and 3."),
        (0.5, 40.0, 8, 64, "It is right for one example, but not for batches of 8 and 64."),
        (0.01, 300.0, 32, 512, "The estimate of |G|² still holds noise: the big batch has some."),
    ]
    for square, trace, small, big, complaint in cases:
        answer = noise_scale(square + trace / small, square + trace / big, small, big)
        wanted = trace / square
        yield isinstance(answer, (int, float, np.number)), "It should return a number."
        got = f" The noise scale is {wanted:g}; yours is {float(answer):g}."
        yield np.isclose(float(answer), wanted), complaint + got


@exercise(
    "05.2",
    hints=[
        "Multiply (1 + critical / B) (overhead + per_image B) out. Which terms depend on B?",
        "One of them grows with B and one shrinks: their sum is smallest where they are equal.",
        "return (critical * overhead / per_image) ** 0.5",
    ],
    praise="It lies half-way, on the log axis, between what the gradient and the machine can use.",
)
def check_fastest(fastest_batch: Any) -> Iterator[tuple[Any, str]]:
    """``fastest_batch(overhead, per_image, critical)`` needs the fewest seconds."""
    yield callable(fastest_batch), "`fastest_batch` should be a function."
    cases = [
        (
            1e-3,
            1e-5,
            100.0,
            "With an overhead worth 100 images and a critical batch size of 100, 100 is best.",
        ),
        (4e-3, 1e-5, 100.0, "Four times the overhead should move the best to a larger batch size."),
        (
            1e-3,
            1e-5,
            1600.0,
            "A larger critical batch size moves the best, but not as far as that.",
        ),
    ]
    for overhead, per_image, critical, complaint in cases:
        candidates = np.logspace(-2, 6, 4001)
        least = ((1 + critical / candidates) * (overhead + per_image * candidates)).min()
        size = fastest_batch(overhead, per_image, critical)
        yield isinstance(size, (int, float, np.number)) and size > 0, "It should be above 0."
        seconds = (1 + critical / size) * (overhead + per_image * size)
        yield seconds <= 1.003 * least, complaint


@exercise(
    "05.3",
    hints=[
        "Start from the cell of section 4 that calls compare, and change what you ask about.",
        "The table's last column says which choice lies at an edge. Add a value beyond it.",
        'The verdict is "supported" when the whole interval of the gain lies above zero, "refuted" '
        'when it lies below, and "not settled" when zero is inside.',
    ],
    praise="That is a fair experiment about the batch size, and your verdict follows from it.",
)
def check_my_experiment(trial: Any, verdict: Any) -> Iterator[tuple[Any, str]]:
    """An experiment of the learner's own, in which the batch size differs."""
    if isinstance(trial, Trial):
        sizes = {history.configs[0].batch_size for history in trial.histories.values()}
        yield len(sizes) > 1, "Let the arms differ in their batch size."
    yield from fair_design(trial, verdict)
