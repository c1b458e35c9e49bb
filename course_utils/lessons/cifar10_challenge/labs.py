"""The lab of notebook 15: how many seeds does a difference need?"""

from __future__ import annotations

import copy
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ...classroom.controls import choice, slider
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...engine.history import History
from ...evidence import Estimate, difference
from ...plots import EARLIER, style
from .records import Stored

AUGMENTATIONS = ["none", "crop", "crop_flip"]
RATES = [0.2, 0.4, 0.8]
SEEDS = 6


@dataclass(frozen=True)
class Pair:
    """Two settings side by side: their runs, and what the second gains by so many seeds."""

    one: History
    two: History
    gains: dict[int, Estimate]
    seeds: int


def difference_lab(stored: Stored) -> Lab:
    """Two settings of the bank of stored runs, and what so many seeds and images say of them."""
    bank = stored.starting("bank, ")

    def run(values: dict[str, Any]) -> Generator[Pair, Any, None]:
        sides = [
            _first(
                bank[f"{values[f'augment {side}']} {values[f'rate {side}']:g}"], values["images"]
            )
            for side in ("A", "B")
        ]
        gains = {
            count: difference(sides[1][:count], sides[0][:count]) for count in range(2, SEEDS + 1)
        }
        yield Pair(*sides, gains, values["seeds"])

    controls = {
        "augment A": choice("A: augmentation", AUGMENTATIONS, "crop"),
        "rate A": slider("A: peak rate", RATES, 0.4),
        "augment B": choice("B: augmentation", AUGMENTATIONS, "crop_flip"),
        "rate B": slider("B: peak rate", RATES, 0.4),
        "seeds": slider("seeds", list(range(2, SEEDS + 1)), 2),
        "images": slider("validation images", [100, 300, 1000, 3000, 5000], 5000),
    }
    return Lab(
        controls,
        run,
        Picture(_frame),
        _draw,
        _describe,
        name="accuracy of two settings, and the difference between them by number of seeds",
        code=_code,
    )


def _first(history: History, images: int) -> History:
    """The same runs, as the first so many validation images judge them."""
    few = copy.copy(history)
    few.val_correct = history.val_correct[:, :images]
    return few


def _frame(axes: list[Axes]) -> None:
    axes[0].set(xlabel="epoch", ylabel="validation accuracy", xlim=(0.7, 10.3), ylim=(0.2, 0.8))
    axes[1].set(xlabel="seeds", ylabel="points that B gains", xlim=(1.5, SEEDS + 0.5), ylim=(-9, 9))
    axes[1].axhline(0, color=EARLIER, linewidth=1)


def _draw(axes: list[Axes], pair: Pair, earlier: Sequence[Earlier]) -> None:
    epochs = np.arange(1, pair.one.val_accuracy.shape[1] + 1)
    for number, (name, history) in enumerate({"A": pair.one, "B": pair.two}.items()):
        curves = history.val_accuracy[: pair.seeds]
        for curve in curves:
            axes[0].plot(epochs, curve, linewidth=0.7, alpha=0.5, **style(number))
        axes[0].plot(epochs, curves.mean(0), linewidth=2.4, **style(number))
        axes[0].text(epochs[-1], 0.22 + 0.06 * number, name, color=style(number)["color"])
    for count, gain in pair.gains.items():
        colour = style(0)["color"] if count == pair.seeds else EARLIER
        ends = [100 * gain.low, 100 * gain.high]
        axes[1].plot([count, count], ends, color=colour, linewidth=2 + 2 * (count == pair.seeds))
        axes[1].plot(count, 100 * gain.value, "o", color=colour, markersize=5)


def _describe(pair: Pair) -> str:
    gain = pair.gains[pair.seeds]
    words = "B gains" if gain.low > 0 else "B loses" if gain.high < 0 else "not settled"
    images = pair.one.val_correct.shape[1]
    return f"{pair.seeds} seeds, {images:,} images: B minus A is {gain}: {words}"


def _code(values: dict[str, Any]) -> str:
    names = [f"bank, {values[f'augment {side}']} {values[f'rate {side}']:g}" for side in "AB"]
    count = values["seeds"]
    return (
        f'a, b = stored["{names[0]}"], stored["{names[1]}"]\ndifference(b[:{count}], a[:{count}])'
    )
