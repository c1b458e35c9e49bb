"""The lab of notebook 07: make the gradient vanish, and make it return."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ...classroom.controls import choice, slider, switch
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...classroom.training_lab import Curves, describe_training, follow
from ...classroom.worker import Values
from ...engine.config import Config
from ...engine.data import Dataset
from ...engine.plan import build_mlp
from ...plots import EARLIER, style
from .experiments import NOTHING, first_look, residual_mlp

EPOCHS, SEEDS = 6, 4
LOWEST, HIGHEST = -12.5, 4.5  # decades on the left axis
STARTS = ["small", "torch", "xavier", "xavier_sigmoid", "he", "normal"]


@dataclass(frozen=True)
class View:
    """gradients [network, hidden layer], before training; curves: what is learned."""

    gradients: np.ndarray
    curves: Curves


def vanishing_lab(dataset: Dataset) -> Lab:
    """Depth, activation, initialisation and cures; the gradient by layer, and what is learned."""
    controls = {
        "depth": slider("depth", [1, 2, 4, 6, 8, 12, 16], 8),
        "activation": choice("activation", ["sigmoid", "tanh", "relu", "gelu"], "sigmoid"),
        "init": choice("initialisation", STARTS, "xavier"),
        "normalisation": choice("normalisation", [None, "layer", "batch"], None),
        "residual": switch("residual connections"),
    }

    def run(values: Values) -> Iterator[View]:
        fields = {name: value for name, value in values.items() if name != "residual"}
        model = residual_mlp if values["residual"] else build_mlp
        config = Config(**fields, width=24, epochs=EPOCHS, batch_size=100, learning_rate=5e-3)
        configs = config.seeds(SEEDS)
        looks = [first_look(each, dataset, model)["gradient_std"] for each in configs]
        for curves in follow(configs, dataset, model=model):
            yield View(np.array(looks), curves)

    return Lab(
        controls,
        run,
        Picture(_frame),
        _draw,
        _describe,
        name="the gradient by layer before training, and the accuracy of four networks",
        code=_code,
    )


def _frame(axes: list[Axes]) -> None:
    left, right = axes
    left.set(ylim=(LOWEST, HIGHEST), xlim=(0.5, 16.5), title="before training")
    left.set(xlabel="hidden layer (1 is next to the input)", ylabel="log10 of gradient")
    right.set(ylim=(0, 1.02), xlim=(-0.1, EPOCHS + 0.1), title="what is learned")
    right.set(xlabel="epoch", ylabel="validation accuracy")


def _draw(axes: list[Axes], view: View, earlier: Sequence[Earlier]) -> None:
    left, right = axes
    for old in earlier:
        before: View = old.result
        grey = {"color": EARLIER, "linewidth": 1.3, "alpha": 0.8}
        left.plot(*_by_layer(before), **grey)
        right.plot(before.curves.places, _accuracy(before).mean(0), **grey)
    left.plot(*_by_layer(view), marker="o", markersize=4, **style(0))
    accuracies = _accuracy(view)
    gaps = np.full((len(accuracies), 1), np.nan)
    x = np.hstack([np.tile(view.curves.places, (len(accuracies), 1)), gaps]).ravel()
    y = np.hstack([accuracies, gaps]).ravel()
    right.plot(x, y, linewidth=0.7, alpha=0.5, **_colour())
    right.plot(view.curves.places, accuracies.mean(0), linewidth=2.4, **style(0))


def _colour() -> dict[str, Any]:
    return {"color": style(0)["color"]}


def _by_layer(view: View) -> tuple[np.ndarray, np.ndarray]:
    """(layer, log10 of the gradient's geometric mean over the networks), within the axis."""
    heights = np.log10(np.maximum(view.gradients, NOTHING)).mean(0)
    return np.arange(1, len(heights) + 1), heights.clip(LOWEST, HIGHEST)


def _accuracy(view: View) -> np.ndarray:
    """[network, point]; a network that has diverged answers by chance."""
    return np.nan_to_num(view.curves.values["val_accuracy"], nan=0.1)


def _describe(view: View) -> str:
    ends = np.log10(np.maximum(view.gradients[:, [0, -1]], NOTHING))
    kept = float((ends[:, 0] - ends[:, 1]).mean())
    text = f"The first layer's gradient is 10^{kept:.1f} of the last one's. "
    return text + describe_training(view.curves)


def _code(values: Values) -> str:
    fields = {name: value for name, value in values.items() if name != "residual"}
    given = ", ".join(f"{name}={value!r}" for name, value in fields.items())
    model = "experiments.residual_mlp" if values["residual"] else "experiments.build_mlp"
    return (
        f"config = Config({given}, width=24, epochs={EPOCHS}, batch_size=100, learning_rate=5e-3)\n"
        f"history = fit(config.seeds({SEEDS}), small, model={model})\naccuracy(history)"
    )
