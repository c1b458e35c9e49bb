"""Checks of the exercises of notebook 03."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from ...classroom.check import exercise
from ...classroom.design import fair_design
from .experiments import gap_to_torch

ROUNDING = 1e-3  # of the way that the weights went


@exercise(
    "03.1",
    hints=[
        "The velocity is updated as in the starter. What changes is the line that steps.",
        "The step is rate times (gradient + beta * velocity), with the new velocity.",
        'return weight - rate * (gradient + beta * state["velocity"])',
    ],
    praise="torch.optim.SGD(nesterov=True) arrives at the same weights.",
)
def check_nesterov(step: Any) -> Iterator[tuple[Any, str]]:
    """A step with Nesterov's momentum, compared with torch's own."""
    yield callable(step), "`nesterov_step` should be a function."

    def gap(nesterov: bool, momentum: float = 0.9) -> float:
        mine = lambda *given: step(*given, momentum)  # noqa: E731
        return gap_to_torch(mine, "SGD", 0.1, momentum=momentum, nesterov=nesterov)

    plain = "This is still plain momentum: it steps along the velocity."
    yield gap(nesterov=False) > ROUNDING, plain
    apart = f"{gap(nesterov=True):.1g} of the distance moved"
    off = f"After 20 updates, torch's Nesterov and yours differ by {apart}."
    yield gap(nesterov=True) < ROUNDING, off
    fixed = "Right for beta = 0.9, and not for another one: use `beta`."
    yield gap(nesterov=True, momentum=0.5) < ROUNDING, fixed


@exercise(
    "03.2",
    hints=[
        "One direction is the first to overshoot by more than it gained. Which?",
        "Without momentum each step multiplies the distance by 1 − ηλ. Its size must stay below 1, "
        "for every λ.",
        "With momentum β, put the swing x(t) = (−1)^t into "
        "x(t+1) = x(t) + β (x(t) − x(t−1)) − ηλ x(t).",
    ],
    praise="The real optimiser agrees, on both sides of the edge.",
)
def check_largest_stable_rate(largest_stable_rate: Any) -> Iterator[tuple[Any, str]]:
    """The edge of stability of a bowl, with and without momentum."""
    yield callable(largest_stable_rate), "`largest_stable_rate` should be a function."
    cases = [([1.0, 4.0, 10.0], 0.0), ([5.0], 0.0), ([1.0, 4.0, 10.0], 0.9), ([3.0, 0.5], 0.5)]
    for curvatures, momentum in cases:
        rate = float(largest_stable_rate(list(curvatures), momentum))
        case = (
            f"With curvatures {curvatures} and momentum {momentum:g} your edge is {rate:.3g}, but "
        )
        yield rate > 0, f"{case}a learning rate is positive."
        below, beyond = (
            distance_left(share * rate, curvatures, momentum) for share in (0.97, 1.03)
        )
        yield below < 1, f"{case}SGD just below it is thrown out."
        yield beyond > 1, f"{case}SGD just beyond it still converges."


def distance_left(
    rate: float, curvatures: Sequence[float], momentum: float, steps: int = 500
) -> float:
    """How far ``torch.optim.SGD`` is from the bottom after so many steps from a distance of 1."""
    curvature = torch.tensor(curvatures, dtype=torch.float64)
    point = nn.Parameter(torch.ones_like(curvature))
    optimizer = torch.optim.SGD([point], lr=rate, momentum=momentum)
    for _ in range(steps):
        point.grad = curvature * point.detach()
        optimizer.step()
    left = point.detach().abs().max().item()
    return left if left == left else float("inf")  # NaN: thrown out beyond all numbers


@exercise(
    "03.3",
    hints=[
        "Let the second arm be the first with one field changed: "
        "optimisers['SGD'].replace(normalisation='layer').",
        "The table's last column says which choice lies at an edge. Add rates beyond it.",
        'The verdict is "supported" when the whole interval of the gain lies above zero, "refuted" '
        'when it lies below, and "not settled" when zero is inside.',
    ],
    praise="That is a fair experiment, and your verdict follows from it.",
)
def check_my_experiment(trial: Any, verdict: Any) -> Iterator[tuple[Any, str]]:
    """An experiment of the learner's own: two arms, both tuned, eight seeds, a verdict."""
    yield from fair_design(trial, verdict)
