"""The figures of notebook 01."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch import Tensor

from ...engine.history import History
from ...evidence import basin, mean_interval
from ...plots import plot_band, style
from .experiments import best_rates

TITLES = {"tanh": "tanh", "relu": "ReLU", "sigmoid": "sigmoid"}
MARKERS = "osv^D"


def plot_neurons(weights: Mapping[str, Tensor]) -> Figure:
    """A row of pictures for each name: the incoming weights [neuron, pixels] of a few neurons."""
    rows, columns = len(weights), len(next(iter(weights.values())))
    size = (0.8 * columns + 1.6, 0.86 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for row, (name, each) in zip(axes, weights.items(), strict=True):
        each, side = each.detach(), round(each.shape[1] ** 0.5)
        reach = float(each.abs().max()) or 1.0
        for ax, neuron in zip(row, each, strict=True):
            picture = neuron.view(side, side).cpu().numpy()
            ax.imshow(picture, cmap="PuOr", vmin=-reach, vmax=reach)
            ax.set(xticks=[], yticks=[])
            ax.grid(visible=False)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
    return figure


def plot_signals(table: pd.DataFrame) -> Figure:
    """What is left of a signal by layer: differences between images above, gradients below; one
    column for each activation, one line for each start (geometric means over the seeds)."""
    activations = list(dict.fromkeys(table["activation"]))
    figure, axes = plt.subplots(
        2, len(activations), figsize=(8.6, 4.6), sharex=True, sharey=True, squeeze=False
    )
    for column, activation in enumerate(activations):
        part = table[table["activation"] == activation]
        for number, (start, rows) in enumerate(part.groupby("start", sort=False)):
            logarithms = np.log10(rows[["spread", "gradient"]]).groupby(rows["layer"]).mean()
            for row, (quantity, first) in enumerate((("spread", 0), ("gradient", -1))):
                values = logarithms[quantity].to_numpy()
                look = {"marker": MARKERS[number], "markersize": 3.5, "label": start}
                left = 10 ** (values - values[first])
                axes[row, column].plot(logarithms.index, left, **look, **style(number))
        axes[0, column].set_title(TITLES.get(activation, activation))
        axes[1, column].set(xlabel="hidden layer", xticks=range(1, 11, 3))
    axes[0, 0].set(
        yscale="log", ylim=(1e-6, 1e4), ylabel="differences between\nimages: what is left"
    )
    axes[1, 0].set_ylabel("gradient: what is left")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def plot_starts(basins: Mapping[float, History], curvatures: Mapping[float, np.ndarray]) -> Figure:
    """Left: accuracy against the learning rate, one curve for each factor on He's weights. Right:
    the first curvature and the best rate (geometric means over the seeds), against the factor."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.4))
    for number, (gain, history) in enumerate(basins.items()):
        rates, mean, low, high = basin(history)
        plot_band(rates, (mean, low, high), f"He × {gain:g}", number, left)
    left.set(xscale="log", xlabel="learning rate (SGD)", ylabel="validation accuracy", ylim=(0, 1))
    left.legend(loc="upper left", fontsize=9)
    gains = list(curvatures)
    best = {gain: best_rates(history) for gain, history in basins.items()}
    plot_band(gains, _log_band(best), "best learning rate", 0, right)
    plot_band(gains, _log_band(curvatures), "curvature before training", 1, right)
    right.set(xscale="log", yscale="log", xlabel="factor on He's weights")
    right.set_ylabel("learning rate; curvature")
    right.set_xticks(gains, [f"{gain:g}" for gain in gains])
    right.xaxis.set_minor_formatter(NullFormatter())
    right.legend(loc="upper left", fontsize=9)
    return figure


def _log_band(values: Mapping[float, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(geometric mean, low, high) of the positive values [seed] for each entry."""
    logarithms = [mean_interval(np.log10(each)) for each in values.values()]
    ends = ("value", "low", "high")
    middle, low, high = (10.0 ** np.array([getattr(e, end) for e in logarithms]) for end in ends)
    return middle, low, high
