"""The figures of notebook 12."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...engine.history import History
from ...evidence import mean_interval
from ...plots import LABELS, legend_outside, plot_band, style
from .experiments import losses_by_rate

Sweeps = Mapping[str, Mapping[int, History]]


def plot_by_rate(sweeps: Sweeps, metric: str = "train_loss") -> Figure:
    """{parametrisation: {width: runs}}: a panel for each parametrisation, a line for each width,
    a star at its best rate."""
    figure, axes = plt.subplots(1, len(sweeps), figsize=(8.4, 3.2), sharey=True)
    best = np.argmin if metric.endswith("loss") else np.argmax
    for ax, (name, by_width) in zip(axes, sweeps.items(), strict=True):
        for number, (width, history) in enumerate(by_width.items()):
            rates, values = losses_by_rate(history, metric)
            estimates = [mean_interval(row) for row in values]
            plot_band(rates, estimates, f"width {width}", number, ax)
            at = best([each.value for each in estimates])
            colour = style(number)["color"]
            ax.plot(rates[at], estimates[at].value, "*", markersize=14, color=colour)
        ax.set(title=name, xlabel="learning rate")
        ax.set_xscale("log", base=2)
        if metric.endswith("loss"):
            ax.set_yscale("log")
    axes[0].set_ylabel(LABELS[metric])
    legend_outside(axes[-1])
    return figure


def plot_coordinates(moved: Mapping[str, np.ndarray], widths: Sequence[int]) -> Figure:
    """{parametrisation: [width, step]}: how far the logits have moved after one to four steps."""
    figure, axes = plt.subplots(1, len(moved), figsize=(8.4, 2.8), sharey=True)
    for ax, (name, sizes) in zip(axes, moved.items(), strict=True):
        for step in range(sizes.shape[1]):
            label = f"after step {step + 1}"
            ax.plot(widths, sizes[:, step], marker="o", label=label, **style(step))
        ax.set(title=name, xlabel="width", yscale="log")
        ax.set_xscale("log", base=2)
        ax.set_xticks(list(widths), list(map(str, widths)))
        ax.minorticks_off()
    axes[0].set_ylabel("movement of the logits")
    legend_outside(axes[-1])
    return figure


def plot_halfway(histories: Mapping[str, History], ax: Axes | None = None) -> Axes:
    """Validation accuracy over the epochs, the mean of the seeds of each."""
    ax = plt.gca() if ax is None else ax
    for number, (name, history) in enumerate(histories.items()):
        mean = history.mean()
        epochs = np.arange(1, len(mean) + 1)
        ax.plot(epochs, 100 * mean, marker="o", label=name, **style(number))
    ax.set(xlabel="epoch", ylabel="validation accuracy in %")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_outside(ax)
    return ax
