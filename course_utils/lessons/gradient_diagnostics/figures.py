"""The figures of notebook 07."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ...diagnostics import Instruments
from ...plots import GREY, legend_outside, style
from .experiments import GUIDE, RatioStudy


def plot_fan(table: pd.DataFrame, ax: Axes, title: str = "") -> Axes:
    """One line over the steps for each layer: the first and the last large, the others thin."""
    values = table.where(np.isfinite(table))
    for name in table.columns[1:-1]:
        ax.plot(table.index, values[name], color=GREY, linewidth=0.8, alpha=0.7)
    for number, (name, place) in enumerate((("first layer", 0), ("last layer", -1))):
        ax.plot(table.index, values.iloc[:, place], label=name, **style(number))
    ax.set(xlabel="step", title=title)
    return ax


def plot_gradient_norms(watched: Mapping[str, Instruments]) -> Figure:
    """The gradient's norm by layer over the steps, a panel for each network."""
    figure, axes = plt.subplots(1, len(watched), figsize=(8.0, 3.2), sharey=True, squeeze=False)
    for ax, (name, instruments) in zip(axes[0], watched.items(), strict=True):
        plot_fan(instruments["gradient_norm"], ax, name)
    axes[0, 0].set(yscale="log", ylabel="gradient norm")
    legend_outside(axes[0, -1])
    return figure


def plot_ridges(
    watched: Mapping[str, Instruments], limits: tuple[float, float] = (-10, 0)
) -> Figure:
    """Histograms of the first layer's gradient over time, as TensorBoard stacks them."""
    figure, axes = plt.subplots(1, len(watched), figsize=(8.0, 3.2), sharey=True, squeeze=False)
    for ax, (name, instruments) in zip(axes[0], watched.items(), strict=True):
        snapshots = {s: next(iter(each.values())) for s, each in instruments.snapshots.items()}
        _plot_ridge(snapshots, ax, limits)
        ax.set_title(name)
    axes[0, 0].set_ylabel("step")
    return figure


def _plot_ridge(snapshots: Mapping[int, Tensor], ax: Axes, limits: tuple[float, float]) -> None:
    """One hill for each snapshot, the newest in front; entries of zero have no logarithm."""
    edges = np.linspace(*limits, 61)
    centres, steps = (edges[:-1] + edges[1:]) / 2, sorted(snapshots)
    for row, step in enumerate(steps):
        sizes = snapshots[step].detach().flatten().abs().cpu().numpy()
        share = np.histogram(np.log10(sizes[sizes > 0]), edges)[0] / max(len(sizes), 1)
        look = {"color": style(0)["color"], "zorder": row}
        ax.fill_between(centres, -row, 12 * share - row, alpha=0.35, linewidth=0, **look)
        ax.plot(centres, 12 * share - row, linewidth=1, **look)
    ax.set(xlabel="first layer: log10 of |gradient|", xlim=limits)
    ax.set(yticks=[-row for row in range(len(steps))], yticklabels=steps)
    ax.grid(axis="y", visible=False)


def plot_spreads(looks: Mapping[str, pd.DataFrame]) -> Figure:
    """Two ways to measure a layer's spread: over everything, and between images."""
    figure, axes = plt.subplots(1, len(looks), figsize=(8.0, 3.2), sharey=True, squeeze=False)
    names = {"std": "over all outputs", "between_images": "between images"}
    for ax, (title, table) in zip(axes[0], looks.items(), strict=True):
        for number, (column, name) in enumerate(names.items()):
            layers = np.arange(1, len(table) + 1)
            ax.plot(layers, table[column], marker="o", label=name, **style(number))
        ax.set(title=title, xlabel="hidden layer", yscale="log")
    axes[0, 0].set_ylabel("standard deviation")
    legend_outside(axes[0, -1])
    return figure


def plot_success(nets: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """A map of accuracies of a survey: networks down, initialisations across."""
    ax = plt.gca() if ax is None else ax
    index = ["activation", "depth"]
    table = nets.pivot_table(index=index, columns="init", values="accuracy", sort=False)
    ax.imshow(table, vmin=0, vmax=1, aspect="auto", cmap="cividis")
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        colour = "white" if value < 0.55 else "black"
        text = {"ha": "center", "va": "center", "color": colour, "fontsize": 10}
        ax.text(column, row, f"{100 * value:.0f}", **text)
    ax.set(xticks=range(table.shape[1]), xticklabels=table.columns, xlabel="initialisation")
    labels = [f"{activation}, {depth} layers" for activation, depth in table.index]
    ax.set(yticks=range(len(labels)), yticklabels=labels)
    ax.grid(visible=False)
    return ax


def plot_ratios(studies: Mapping[str, RatioStudy], ax: Axes | None = None) -> Axes:
    """Accuracy against the update-to-weight ratio, a curve for each study; a star at the best."""
    ax = plt.gca() if ax is None else ax
    for number, (name, study) in enumerate(studies.items()):
        look, curve = style(number), study.curve
        ax.plot(curve.ratio, curve.accuracy, marker="o", markersize=4, label=name, **look)
        best = curve[curve.learning_rate == study.rate]
        ax.plot(best.ratio, best.accuracy, "*", markersize=15, color=look["color"])
    ax.axvline(GUIDE, color=GREY, linewidth=1.2, linestyle=(0, (2, 2)))
    ax.annotate("guide", (GUIDE, 0.02), xytext=(4, 0), textcoords="offset points", color=GREY)
    ax.set(xlabel="log10 of update / weight (median)", ylabel="accuracy")
    ax.set(ylim=(0, 1), xlim=(-4, -0.9))
    legend_outside(ax)
    return ax
