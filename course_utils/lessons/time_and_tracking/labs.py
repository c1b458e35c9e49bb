"""The lab of notebook 13: many networks in one stack, against a loop over them, timed live."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ...classroom.controls import slider
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...engine.config import Config
from ...engine.data import Dataset
from ...engine.training import train
from ...plots import COLOURS, EARLIER, GREY

ROUNDS, UPDATES = 16, 2  # so many measurements of so many updates, after one that warms up
COUNTS = [1, 2, 4, 8, 16, 32, 64]
MOST, LEAST = 1000.0, 0.1  # milliseconds on the left axis
HIGHEST_GAIN = 16


@dataclass
class Timing:
    """Milliseconds for an update of all networks, measurement after measurement."""

    count: int
    loop: list[float] = field(default_factory=list)
    stack: list[float] = field(default_factory=list)

    @property
    def gain(self) -> float:
        """How many times as fast as the loop the stack is."""
        return float(np.median(self.loop) / np.median(self.stack))


def _updates(configs: list[Config], dataset: Dataset) -> Iterator[float]:
    """Seconds for each next few updates of these networks, trained as one stack."""
    runs = train(configs, dataset, keep_models=False)
    next(runs)  # the first one builds the networks, and warms up
    while True:
        start = time.perf_counter()
        for _ in range(UPDATES):
            next(runs)
        yield (time.perf_counter() - start) / UPDATES


def measure(
    dataset: Dataset, count: int, width: int, batch_size: int
) -> Generator[Timing, Any, None]:
    """Time one network, whose seconds count once for each network of a loop, and a stack."""
    steps = math.ceil(len(dataset.train) / batch_size)
    epochs = math.ceil((1 + ROUNDS * UPDATES) / steps)
    config = Config(width=width, batch_size=batch_size, epochs=epochs)
    single, stack = _updates([config], dataset), _updates(config.seeds(count), dataset)
    timing = Timing(count)
    for _ in range(ROUNDS):
        timing.loop.append(1000 * count * next(single))
        timing.stack.append(1000 * next(stack))
        yield timing


def _frame(axes: list[Axes]) -> None:
    left, right = axes
    left.set(yscale="log", ylim=(LEAST, MOST), yticks=(0.1, 1, 10, 100, 1000))
    left.set(yticklabels=("0.1", "1", "10", "100", "1000"), xlim=(-0.6, 1.6), xticks=(0, 1))
    left.set(xticklabels=("a loop over them", "one stack"), ylabel="ms for an update of all")
    right.set(xscale="log", xlim=(0.8, 80), xticks=COUNTS, xticklabels=COUNTS)
    right.set(ylim=(0, HIGHEST_GAIN), xlabel="networks", ylabel="times as fast as the loop")
    right.axhline(1, color=GREY, linewidth=1)
    for panel in axes:
        panel.minorticks_off()


def _draw(axes: list[Axes], timing: Timing, earlier: Sequence[Earlier]) -> None:
    left, right = axes
    for place, (values, hatch) in enumerate(((timing.loop, "//"), (timing.stack, ""))):
        middle, colour = float(np.median(values)), COLOURS[place]
        left.bar(place, middle - LEAST, 0.6, bottom=LEAST, color=colour, hatch=hatch, alpha=0.8)
        left.plot(np.full(len(values), place), values, "_", color=GREY, markersize=16)
        left.text(place + 0.33, min(middle, 0.6 * MOST), f"{middle:.3g}", ha="left", va="center")
    for old in earlier:
        right.plot(old.result.count, min(old.result.gain, HIGHEST_GAIN), "s", color=EARLIER)
    right.plot(timing.count, min(timing.gain, HIGHEST_GAIN), "o", color=COLOURS[1], markersize=9)


def _describe(timing: Timing) -> str:
    loop, stack = float(np.median(timing.loop)), float(np.median(timing.stack))
    networks = "1 network" if timing.count == 1 else f"{timing.count} networks"
    return (
        f"{networks}: an update of all takes {loop:.3g} ms in a loop and {stack:.3g} ms as one "
        f"stack; the stack is {timing.gain:.2g} times as fast"
    )


def stacking_lab(dataset: Dataset) -> Lab:
    """Number of networks, width and batch size; the times are taken on this machine, now."""
    controls = {
        "count": slider("networks", COUNTS, 16),
        "width": slider("width", [8, 16, 32, 64, 128, 256], 32),
        "batch_size": slider("batch size", [16, 32, 64, 128, 256], 64),
    }

    def code(values: dict[str, Any]) -> str:
        config = f"Config(width={values['width']}, batch_size={values['batch_size']})"
        return f"history = fit({config}.seeds({values['count']}), small_mnist)"

    return Lab(
        controls,
        lambda values: measure(dataset, **values),
        Picture(_frame),
        _draw,
        _describe,
        name="milliseconds of a loop and of a stack, and how many times as fast the stack is",
        code=code,
    )
