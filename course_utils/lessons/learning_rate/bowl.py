"""A quadratic bowl, (x² + steepness · y²) / 2, and how SGD rolls in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

STEPS = 50
FAR = 1e6  # from the bottom: who is thrown out so far does not come back


@dataclass(frozen=True)
class Descent:
    """The settings of one descent, and its path [step, 2]; thrown far out, it ends early."""

    learning_rate: float
    momentum: float
    steepness: float
    path: np.ndarray

    @property
    def edge(self) -> float:
        """The largest stable learning rate of the steepest direction (Polyak, 1964)."""
        return 2 * (1 + self.momentum) / max(1.0, self.steepness)


def descend(
    learning_rate: float,
    momentum: float = 0.0,
    steepness: float = 10.0,
    start: Sequence[float] = (-4.0, 1.0),
    steps: int = STEPS,
) -> Descent:
    """Roll from ``start`` (flat, steep) with the real ``torch.optim.SGD``."""
    curvatures = torch.tensor([1.0, steepness], dtype=torch.float64)
    point = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = torch.optim.SGD([point], lr=learning_rate, momentum=momentum)
    path = [point.detach().numpy().copy()]
    while len(path) <= steps and np.abs(path[-1]).max() < FAR:
        point.grad = curvatures * point.detach()
        optimizer.step()
        path.append(point.detach().numpy().copy())
    return Descent(learning_rate, momentum, steepness, np.array(path))


def distances_after(
    rates: np.ndarray,
    momentum: float,
    steepness: float,
    start: Sequence[float],
    steps: int = STEPS,
) -> np.ndarray:
    """[rate]: how far from the bottom as many steps end, for many learning rates at once."""
    curvatures = np.array([1.0, steepness])
    points = np.tile(np.asarray(start, float), (len(rates), 1))
    velocities = np.zeros_like(points)
    for _ in range(steps):
        velocities = momentum * velocities + curvatures * points
        points = points - rates[:, None] * velocities
    return np.linalg.norm(points, axis=1)
