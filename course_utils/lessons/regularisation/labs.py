"""The lab of lesson 06: close the gap without losing accuracy."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ...classroom.controls import choice, slider
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...classroom.training_lab import Curves, config_code, follow, rates
from ...classroom.worker import Values
from ...engine.config import Config
from ...engine.data import Dataset
from ...plots import COLOURS, EARLIER, GREY, style
from .experiments import wrong_labels

SEEDS, EPOCHS, WIDTH, BATCH = 4, 12, 64, 25
LOWEST, WIDEST = 40.0, 60.0  # the map reaches down to this accuracy, and out to this gap


@dataclass(frozen=True)
class Place:
    """Where a run stands: gap and accuracy on new digits, in per cent."""

    gap: float
    accuracy: float


def _place(curves: Curves) -> Place:
    seen, new = (100 * curves.values[f"{part}_accuracy"][:, -1] for part in ("train", "val"))
    good = np.isfinite(new)
    if not good.any():
        return Place(np.nan, np.nan)
    return Place(float((seen - new)[good].mean()), float(new[good].mean()))


def _data(full: Dataset, images: int, wrong: float) -> Dataset:
    """What a lab trains on; it looks at tuning images, because a lab is for choosing."""
    assert full.tuning is not None
    train = wrong_labels(full.train.first(images), wrong)
    return replace(full, train=train, val=full.tuning.first(500), tuning=None)


def _run(values: Values, full: Dataset) -> Generator[Curves, Values | None, None]:
    fields: dict[str, Any] = dict(values)
    data = _data(full, fields.pop("images"), fields.pop("wrong"))
    config = Config(**fields, epochs=EPOCHS, width=WIDTH, batch_size=BATCH)
    yield from follow(config.seeds(SEEDS), data)


def _frame(axes: list[Axes], start: Place) -> None:
    left, right = axes
    left.set(xlabel="epoch", ylabel="accuracy", xlim=(0, EPOCHS * 1.02), ylim=(0, 1.02))
    proxies = [
        Line2D([], [], linewidth=2.4, label=name, **style(number))
        for number, name in enumerate(("training", "new digits"))
    ]
    place = {"loc": "lower left", "bbox_to_anchor": (0, 0.98), "ncols": 2, "frameon": False}
    left.legend(handles=proxies, **place)
    right.set(xlim=(WIDEST, -WIDEST / 2), ylim=(LOWEST, 100))
    right.set(xlabel="gap in points", ylabel="accuracy on new digits in %")
    goal = [start.gap / 2, -WIDEST / 2]
    right.fill_between(goal, start.accuracy, 100, color=COLOURS[2], alpha=0.25, linewidth=0)
    right.plot(start.gap, start.accuracy, "s", color=GREY, markersize=13, markerfacecolor="none")
    marks = [
        Line2D([], [], linestyle="", marker="s", color=GREY, mfc="none", label="at the start"),
        Line2D([], [], linestyle="", marker="D", color=COLOURS[1], label="now"),
    ]
    right.legend(handles=marks, **place)


def _draw(axes: list[Axes], curves: Curves, earlier: Sequence[Earlier]) -> None:
    left, right = axes
    means = []
    for number, part in enumerate(("train", "val")):
        values = curves.values[f"{part}_accuracy"]
        reached = np.isfinite(values).any(0)
        mean = np.full(values.shape[1], np.nan)
        mean[reached] = np.nanmean(values[:, reached], axis=0)
        left.plot(curves.places, mean, linewidth=2.4, **style(number))
        means.append(mean)
    left.fill_between(curves.places, *means, color=GREY, alpha=0.3, linewidth=0)
    for old in earlier:
        place = _place(old.result)
        right.plot(place.gap, place.accuracy, "o", color=EARLIER)
    now = _place(curves)
    inside = min(now.gap, WIDEST), max(now.accuracy, LOWEST)  # at the edge rather than outside
    right.plot(*inside, "D", color=COLOURS[1], markersize=7)


def _describe(curves: Curves, start: Place) -> str:
    now = _place(curves)
    if np.isnan(now.gap):
        return "diverged: the loss is no longer a number"
    text = f"Epoch {curves.places[-1]:.2g} of {EPOCHS}: {now.accuracy:.1f} % on new digits "
    text += f"(start {start.accuracy:.1f} %), gap {now.gap:.1f} points (start {start.gap:.1f})"
    if not curves.at_rest:
        return text
    halved, kept = now.gap <= start.gap / 2, now.accuracy >= start.accuracy
    ends = {
        (True, True): "the gap is halved, and nothing is lost: done",
        (True, False): "the gap is halved, but from the wrong side: accuracy is lost",
        (False, True): "no accuracy is lost, but the gap is not halved",
        (False, False): "accuracy is lost, and the gap is not halved",
    }
    return f"{text}; {ends[halved, kept]}"


def _code(values: Values) -> str:
    fields = {**values, "epochs": EPOCHS, "width": WIDTH, "batch_size": BATCH}
    images, wrong = fields.pop("images"), fields.pop("wrong")
    return f"few = digits({images}, wrong={wrong})\n" + config_code(fields, SEEDS, "few")


def gap_lab(full: Dataset) -> Lab:
    """Every lever a control; the task is the green corner: half the gap, and no accuracy lost.

    ``full`` has 1,000 training images or more, and tuning images, which are the "new digits".
    """
    controls = {
        "images": slider("training digits", [100, 200, 500, 1000, 2000], 500),
        "wrong": slider("wrong labels", [0.0, 0.1, 0.2, 0.3, 0.5], 0.0),
        "learning_rate": slider("learning rate", rates(1e-4, 0.1, 2), 0.01),
        "dropout": slider("dropout", [0.0, 0.1, 0.2, 0.4, 0.6, 0.8], 0.0),
        "weight_decay": slider("weight decay", [0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0], 0.0),
        "augment": choice("augmentation", [None, "shift", "affine", "flip"], None),
    }
    *_, untreated = _run({name: control.start for name, control in controls.items()}, full)
    start = _place(untreated)
    return Lab(
        controls,
        lambda values: _run(values, full),
        Picture(lambda axes: _frame(axes, start), size=(8.4, 3.0)),
        _draw,
        lambda curves: _describe(curves, start),
        name="accuracy of four networks over the epochs, and a map of gap against accuracy",
        live=["learning_rate", "weight_decay"],
        code=_code,
    )
