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
from .studies import BANK_JUDGES

SEEDS = 8
PAIRS = {  # {name: (A, B)}
    "crop, 5,000 photographs": ("bank, none 1.6", "bank, crop 1.6"),
    "flip besides crop, 5,000": ("bank, crop 1.6", "bank, crop_flip 0.8"),
    "flip besides crop, 45,000": ("flips, without", "flips, with"),
    "one cycle for constant, 45,000": ("judged, constant 0.2", "flips, with"),
    "triangles for constant, 45,000": ("judged, constant 0.2", "judged, cyclic 0.2"),
}


@dataclass(frozen=True)
class Pair:
    """Two settings side by side: their runs, and what the second gains by so many seeds, of those
    that were ``asked`` for."""

    one: History
    two: History
    gains: dict[int, Estimate]
    seeds: int
    asked: int


def difference_lab(stored: Stored) -> Lab:
    """Two settings of stored runs, A and B, and what so many seeds and images say of them."""

    def run(values: dict[str, Any]) -> Generator[Pair, Any, None]:
        names = PAIRS[values["pair"]]
        sides = [_first(stored[name], values["images"]) for name in names]
        # The last seed of the bank chose the rates, so it does not judge them.
        most = len(BANK_JUDGES) if names[0].startswith("bank") else min(map(len, sides))
        gains = {
            count: difference(sides[1][:count], sides[0][:count]) for count in range(2, most + 1)
        }
        yield Pair(*sides, gains, min(values["seeds"], most), values["seeds"])

    controls = {
        "pair": choice("what B has, and A has not", list(PAIRS), next(iter(PAIRS))),
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
    axes[0].set(xlabel="epoch", ylabel="validation accuracy", xlim=(0.7, 10.3), ylim=(0.1, 0.9))
    axes[1].set(xlabel="seeds", ylabel="points that B gains", xlim=(1.5, SEEDS + 0.5), ylim=(-9, 9))
    axes[1].axhline(0, color=EARLIER, linewidth=1)


def _draw(axes: list[Axes], pair: Pair, earlier: Sequence[Earlier]) -> None:
    epochs = np.arange(1, pair.one.val_accuracy.shape[1] + 1)
    for number, (name, history) in enumerate({"A": pair.one, "B": pair.two}.items()):
        curves = history.val_accuracy[: pair.seeds]
        for curve in curves:
            axes[0].plot(epochs, curve, linewidth=0.7, alpha=0.5, **style(number))
        axes[0].plot(epochs, curves.mean(0), linewidth=2.4, **style(number))
        axes[0].text(epochs[-1], 0.12 + 0.06 * number, name, color=style(number)["color"])
    axes[1].axvline(pair.asked, color=EARLIER, linewidth=1, linestyle=":")
    for count, gain in pair.gains.items():
        colour = style(0)["color"] if count == pair.seeds else EARLIER
        ends = [100 * gain.low, 100 * gain.high]
        axes[1].plot([count, count], ends, color=colour, linewidth=2 + 2 * (count == pair.seeds))
        axes[1].plot(count, 100 * gain.value, "o", color=colour, markersize=5)


def _describe(pair: Pair) -> str:
    gain = pair.gains[pair.seeds]
    words = "B gains" if gain.low > 0 else "B loses" if gain.high < 0 else "not settled"
    images = pair.one.val_correct.shape[1]
    stored = "" if pair.asked == pair.seeds else f" (of {pair.asked}: no more are stored)"
    return f"{pair.seeds} seeds{stored}, {images:,} images: B minus A is {gain}: {words}"


def _code(values: dict[str, Any]) -> str:
    one, two = PAIRS[values["pair"]]
    count = values["seeds"]
    return f'a, b = stored["{one}"], stored["{two}"]\ndifference(b[:{count}], a[:{count}])'
