"""The lab of notebook 12: the best learning rate, swept live at the width that you set."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from ...classroom.controls import choice, slider
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...classroom.worker import Values
from ...engine.config import Config, sweep
from ...engine.data import Dataset
from ...engine.plan import Model
from ...engine.training import train
from ...plots import EARLIER, style

RATES = [2.0**exponent for exponent in range(-10, -1)]
SEEDS = 2
# The first epoch is looked at after so many updates, on fewer images: a picture is to come soon.
LOOKS, FIRST_IMAGES = (1, 4), 200


@dataclass
class Sweep:
    """Training loss and validation accuracy [rate], now; ``place`` in epochs of ``epochs``."""

    loss: np.ndarray
    accuracy: np.ndarray
    place: float
    epochs: int


def width_lab(dataset: Dataset, models: Mapping[str, Model]) -> Lab:
    """Width, parametrisation, length: nine learning rates train at once, two seeds each.

    ``models`` are {name of a parametrisation: what builds its networks}.
    """
    names = list(models)
    controls = {
        "parametrisation": choice("parametrisation", names, names[0]),
        "width": slider("width", [8, 16, 32, 64, 128, 256], 32),
        "epochs": slider("epochs", [1, 2, 4, 8], 2),
    }

    def run(values: Values) -> Generator[Sweep, Values | None, None]:
        config = Config(optimizer="adam", depth=2, width=values["width"], epochs=values["epochs"])
        configs = sweep(config, learning_rate=RATES, seeds=SEEDS)
        return _follow(configs, dataset, models[values["parametrisation"]])

    return Lab(
        controls,
        run,
        Picture(_frame),
        _draw,
        _describe,
        name="training loss and validation accuracy against the learning rate",
    )


def _follow(
    configs: list[Config], dataset: Dataset, model: Model
) -> Generator[Sweep, Values | None, None]:
    """Where a stack is cut, the rates that have not begun are NaN."""
    loss, accuracy = np.full(len(configs), np.nan), np.full(len(configs), np.nan)
    soon = dataset.train.first(FIRST_IMAGES), dataset.val.first(FIRST_IMAGES)
    later = dataset.train.first(500), dataset.val
    for run in train(configs, dataset, model=model, keep_models=False):
        if run.epoch_ended or run.step in LOOKS or not run.active.any():
            known, fresh = later if run.epoch_ended else soon
            losses, _ = run.evaluate(known)
            _, correct = run.evaluate(fresh)
            loss[run.indices], accuracy[run.indices] = losses.mean(1), correct.mean(1)
            place = run.step / run.batches.count
            yield Sweep(_by_rate(loss), _by_rate(accuracy), place, configs[0].epochs)


def _by_rate(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(RATES), SEEDS).mean(1)


def _frame(axes: list[Axes]) -> None:
    for panel in axes:
        panel.set_xscale("log", base=2)
        panel.set(xlim=(RATES[0] / 1.3, RATES[-1] * 1.3), xlabel="learning rate")
    axes[0].set(yscale="log", ylim=(0.001, 4), ylabel="training loss")
    axes[1].set(ylim=(0, 1), ylabel="validation accuracy")


def _draw(axes: list[Axes], result: Sweep, earlier: Sequence[Earlier] = ()) -> None:
    for number, (panel, name) in enumerate(zip(axes, ("loss", "accuracy"), strict=True)):
        for old in earlier:
            panel.plot(RATES, getattr(old.result, name), color=EARLIER, linewidth=1.3)
        values = getattr(result, name)
        panel.plot(RATES, values, "o-", linewidth=2.2, markersize=4, color=style(number)["color"])
        if np.isfinite(values).any():
            at = int(np.nanargmin(values) if name == "loss" else np.nanargmax(values))
            panel.plot(RATES[at], values[at], "*", markersize=15, color=style(number)["color"])


def _describe(result: Sweep) -> str:
    text = f"Epoch {result.place:.2g} of {result.epochs}: "
    if not np.isfinite(result.loss).any():
        return text + "no network has begun"
    loss, accuracy = np.nanargmin(result.loss), np.nanargmax(result.accuracy)
    text += f"lowest training loss {result.loss[loss]:.3f} at {_power(RATES[loss])}, "
    best = 100 * result.accuracy[accuracy]
    return text + f"highest validation accuracy {best:.1f} % at {_power(RATES[accuracy])}"


def _power(rate: float) -> str:
    return f"2^{np.log2(rate):.0f}"
