"""Checks of the exercises of notebook 04."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...classroom.check import exercise
from ...classroom.design import fair_design
from ...protocol import Trial


@exercise(
    "04.1",
    hints=[
        "step_size counts calls of scheduler.step(). How many calls does one epoch make here?",
        "Note the rate as an epoch begins; call scheduler.step() once, after its batches.",
    ],
    praise="Now step_size and the calls of scheduler.step() count the same thing.",
)
def check_rates_by_epoch(rates_by_epoch: Any) -> Iterator[tuple[Any, str]]:
    """The rate used in each epoch: 0.8, divided by ten every 30 epochs."""
    yield callable(rates_by_epoch), "`rates_by_epoch` should be a function."

    def is_right(epochs: int, steps: int) -> bool:
        wanted = [0.8 * 0.1 ** (epoch // 30) for epoch in range(epochs)]
        got = np.array(rates_by_epoch(epochs, steps), float)
        return got.shape == (epochs,) and np.allclose(got, wanted, rtol=1e-6, atol=0)

    yield len(rates_by_epoch(7, 3)) == 7, "There should be one rate for each epoch."
    early = "No drop is due before epoch 30, so the first three epochs should all use 0.8."
    yield is_right(3, 16), early
    used = "Note the rate that an epoch *uses*: epochs 0 to 29 use 0.8."
    yield is_right(90, 1), used
    thirds = "Of 90 epochs, 30 should use 0.8, 30 should use 0.08 and 30 should use 0.008."
    yield is_right(90, 16), thirds


@exercise(
    "04.2",
    hints=[
        "Three cases: step < warmup, step < total - cooldown, and the rest.",
        "In the cool-down, the share that is left is (total - step) / cooldown.",
    ],
    praise="With this function, LambdaLR makes the schedule in one line.",
)
def check_multiplier(multiplier: Any) -> Iterator[tuple[Any, str]]:
    """Warm-up, stable, decay as one function of the step."""
    yield callable(multiplier), "`multiplier` should be a function."
    total, warmup, cooldown = 200, 20, 50
    values = np.array([float(multiplier(n, total, warmup, cooldown)) for n in range(total + 1)])
    stable = values[warmup : total - cooldown + 1]
    yield np.allclose(stable, 1), "Between warm-up and cool-down, the multiplier should be 1."
    first = f"The first update should have a rate, and a small one; yours is {values[0]:g} times."
    yield 0 < values[0] <= 2 / warmup, first
    rising = np.diff(values[:warmup])
    yield (rising > 0).all(), "In the warm-up, the multiplier should rise with every step."
    straight = "Warm-up and cool-down should be straight lines."
    falling = np.diff(values[total - cooldown :])
    yield max(np.ptp(rising), np.ptp(falling)) < 1e-6, straight  # float32 is exact enough
    yield abs(values[total]) < 1e-6, f"It should end at 0; yours ends at {values[total]:g}."
    other = float(multiplier(90, 100, 10, 40))
    yield abs(other - 0.25) < 1e-6, "Right for one length, and not for another: use the arguments."


@exercise(
    "04.3",
    hints=[
        "Let the second arm be the first with one field changed: my_base.replace(schedule=...).",
        "The table's last column says which choice lies at an edge. Add rates beyond it.",
        'The verdict is "supported" when the whole interval of the gain lies above zero, "refuted" '
        'when it lies below, and "not settled" when zero is inside.',
    ],
    praise="That is a fair experiment, and your verdict follows from it.",
)
def check_my_experiment(trial: Any, verdict: Any) -> Iterator[tuple[Any, str]]:
    """An experiment of the learner's own: two schedules, both tuned, eight seeds, a verdict."""
    if isinstance(trial, Trial):
        configs = [history.configs[0] for history in trial.histories.values()]
        schedules = {(config.schedule, config.warmup) for config in configs}
        yield len(schedules) > 1, "Let the arms differ in their schedule."
    yield from fair_design(trial, verdict)
