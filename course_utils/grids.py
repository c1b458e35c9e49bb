"""The grids that a comparison tries, and their edges; and how `make robustness` alters them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .engine.config import RULES

# What `make robustness` sets: notebooks then run with "widened" grids, or with "doubled" training.
ALTERED = os.environ.get("COURSE_ALTERED", "")
# Below these there is nothing: the lower end of such a grid hides no better value.
NATURAL_ENDS = {"dropout": 0, "weight_decay": 0, "momentum": 0, "warmup": 0, "label_smoothing": 0}


def edges(chosen: Mapping[str, Any], grids: Mapping[str, Sequence[Any]]) -> list[str]:
    """A flag for each choice that lies at an end of what was tried, where more might lie beyond."""
    flags = []
    for name, values in grids.items():
        numbers = [value for value in values if is_number(value)]
        if len(numbers) < 2 or not is_number(chosen[name]):
            continue
        if chosen[name] == max(numbers):
            flags.append(f"{name} {shown(chosen[name])} is the largest that was tried")
        elif chosen[name] == min(numbers) and chosen[name] != NATURAL_ENDS.get(name):
            flags.append(f"{name} {shown(chosen[name])} is the smallest that was tried")
    return flags


def widened(name: str, values: Sequence[Any]) -> list[Any]:
    """The values of a grid; for `make robustness` with one more at each end, as far from its
    neighbour as that from the next (in ratio, where all are positive)."""
    values = list(values)
    numbers = sorted(value for value in values if is_number(value))
    if ALTERED != "widened" or len(numbers) < 2:
        return values
    ends = []
    for end, neighbour in ((numbers[0], numbers[1]), (numbers[-1], numbers[-2])):
        beyond = end * end / neighbour if numbers[0] > 0 else 2 * end - neighbour
        beyond = round(beyond) if all(isinstance(n, (int, np.integer)) for n in numbers) else beyond
        ends += [beyond] if RULES[name].allows(beyond) and beyond not in numbers else []
    return [
        *(end for end in ends if end < numbers[0]),
        *values,
        *(e for e in ends if e > numbers[-1]),
    ]


def log_grid(low: float, high: float, count: int) -> np.ndarray:
    """``count`` values from ``low`` to ``high`` at equal ratios: a grid of a card's experiment."""
    values = np.geomspace(low, high, count)
    return np.array(widened("learning_rate", values.tolist()))


def budget(epochs: int) -> int:
    """The epochs of a card's experiment; for `make robustness` twice as many."""
    return 2 * epochs if ALTERED == "doubled" else epochs


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return getattr(value, "__name__", str(value)) if callable(value) else str(value)
