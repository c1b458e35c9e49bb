"""The lab of notebook 14: how long a search takes, on which engine, with how many workers."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ...classroom.controls import slider
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...plots import GREY, style
from .costs import TYPICAL, Engine, duration, search_seconds

WORKERS = [1, 2, 4, 8, 16, 32, 64, 100]
SECONDS = [0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 600.0, 3600.0]


@dataclass(frozen=True)
class Costs:
    """What the model says for one setting of the lab, by engine."""

    trials: int
    seconds: float
    workers: int
    by_workers: dict[str, list[float]]
    by_seconds: dict[str, list[float]]
    chosen: dict[str, float]


def compute(engines: Mapping[str, Engine], trials: int, seconds: float, workers: int) -> Costs:
    """Seconds of the search against the workers, and the gain over one process against the length
    of a trial."""
    by_workers, by_seconds, chosen = {}, {}, {}
    for name, engine in engines.items():
        by_workers[name] = [search_seconds(trials, seconds, each, engine) for each in WORKERS]
        by_seconds[name] = [
            trials * each / search_seconds(trials, each, workers, engine) for each in SECONDS
        ]
        chosen[name] = search_seconds(trials, seconds, workers, engine)
    return Costs(trials, seconds, workers, by_workers, by_seconds, chosen)


def _frame(axes: list[Axes], names: Sequence[str]) -> None:
    left, right = axes
    left.set(xscale="log", yscale="log", ylim=(0.5, 3e7), xlim=(0.8, 130), xlabel="workers")
    left.set_title("the whole search takes")
    left.set(yticks=(1, 60, 3600, 86_400, 864_000))
    left.set(yticklabels=("1 s", "1 min", "1 h", "1 day", "10 days"))
    left.set(xticks=WORKERS[::2], xticklabels=WORKERS[::2])
    right.set(xscale="log", yscale="log", xlim=(0.08, 5000), ylim=(0.01, 130))
    right.set(xticks=(0.1, 1, 10, 60, 600, 3600), xlabel="length of a trial")
    right.set(xticklabels=("0.1 s", "1 s", "10 s", "1 min", "10 min", "1 h"))
    right.set(yticks=(0.01, 0.1, 1, 10, 100), yticklabels=("0.01", "0.1", "1", "10", "100"))
    right.set_ylabel("times as fast as one process")
    right.axhline(1, color=GREY, linewidth=1)
    for panel in axes:
        panel.minorticks_off()
    lines = [Line2D([], [], label=name, **style(number)) for number, name in enumerate(names)]
    right.legend(handles=lines, loc="lower right", fontsize=8.5)


def _draw(axes: list[Axes], costs: Costs, earlier: Sequence[Earlier]) -> None:
    left, right = axes
    for number, name in enumerate(costs.chosen):
        look = style(number)
        left.plot(WORKERS, costs.by_workers[name], **look)
        left.plot(costs.workers, costs.chosen[name], "o", color=look["color"])
        right.plot(SECONDS, costs.by_seconds[name], **look)
        gain = costs.trials * costs.seconds / costs.chosen[name]
        right.plot(costs.seconds, gain, "o", color=look["color"])


def _describe(costs: Costs) -> str:
    order = sorted(costs.chosen.items(), key=lambda item: item[1])
    times = "; ".join(f"{name} {duration(seconds)}" for name, seconds in order)
    workers = "1 worker" if costs.workers == 1 else f"{costs.workers} workers"
    return f"{costs.trials} trials of {duration(costs.seconds)}, {workers}: {times}"


def cost_lab(engines: Mapping[str, Engine] | None = None) -> Lab:
    """Trials, length of a trial and workers, for engines as measured, or typical ones."""
    engines = dict(engines or TYPICAL)

    def run(values: dict[str, Any]) -> Generator[Costs, Any, None]:
        yield compute(engines, **values)

    controls = {
        "trials": slider("trials", [10, 30, 100, 300, 1000, 3000], 300),
        "seconds": slider("seconds of a trial", SECONDS, 1.0),
        "workers": slider("workers", WORKERS, 8),
    }
    return Lab(
        controls,
        run,
        Picture(lambda axes: _frame(axes, list(engines)), size=(8.4, 3.3)),
        _draw,
        _describe,
        name="time of a search against workers, and its gain against the length of a trial",
    )
