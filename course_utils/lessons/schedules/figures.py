"""The figures of notebook 04."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...engine.history import History
from ...plots import legend_outside, plot_band, style


def plot_schedules(planned: Mapping[str, np.ndarray]) -> Figure:
    """Each schedule [step] in a panel of its own, as a share of its peak."""
    columns = 4
    rows = -(-len(planned) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(7.6, 1.45 * rows), sharex=True, sharey=True, squeeze=False
    )
    for ax in axes.flat[len(planned) :]:
        ax.set_visible(False)
    for ax, (name, rates) in zip(axes.flat, planned.items(), strict=False):
        ax.plot(rates, color=style(0)["color"])
        ax.set_title(name, fontsize=9.5)
        ax.set(ylim=(-0.05, 1.08), xlim=(0, len(rates)), xticks=[0, len(rates) // 2, len(rates)])
    figure.supxlabel("update", fontsize=10)
    figure.supylabel("rate, as a share of the peak", fontsize=10)
    return figure


def plot_paths(paths: Mapping[str, np.ndarray], ax: Axes | None = None) -> Axes:
    """The loss on the way [pair, point] from one network to another: mean, and 95 % over pairs."""
    ax = plt.gca() if ax is None else ax
    for number, (name, values) in enumerate(paths.items()):
        middle = values.mean(0)
        half = 2.36 * values.std(0, ddof=1) / np.sqrt(len(values))  # Student's t, eight pairs
        band = (middle, middle - half, middle + half)
        plot_band(np.linspace(0, 1, len(middle)), band, name, number, ax)
    ax.set(xlabel="share of the way to the second network", ylabel="training loss", ylim=(0, None))
    legend_outside(ax)
    return ax


def plot_curvatures(
    tracks: Mapping[str, tuple[np.ndarray, History]], looks: Sequence[int]
) -> Figure:
    """The steepest curvature [seed, look] on the way, one panel each; dashed: 2/η of the moment."""
    figure, axes = plt.subplots(1, len(tracks), figsize=(7.6, 2.9), sharey=True)
    highest = max(np.nanmax(curvature) for curvature, _ in tracks.values())
    for ax, (name, (curvature, history)) in zip(axes, tracks.items(), strict=True):
        rates = history.learning_rate[0]
        ax.plot(np.arange(1, len(rates) + 1), 2 / rates, "--", color=style(1)["color"])
        ax.plot(looks, curvature.T, color=style(0)["color"], alpha=0.45, linewidth=1)
        ax.plot(looks, curvature.mean(0), color=style(0)["color"], linewidth=2.4)
        ax.set(xlabel="step", title=name, xlim=(0, looks[-1]), ylim=(0, 1.15 * highest))
    axes[0].set_ylabel("steepest curvature λ")
    axes[0].annotate("2/η", (0.8, 0.03), xycoords="axes fraction", color=style(1)["color"])
    return figure


def plot_budgets(trunk: Mapping[int, History], cosine: Mapping[int, History], cut: History) -> Axes:
    """Validation accuracy by epoch: cool-downs from one trunk, and at each end the cosine planned
    for it; ``cut`` is the cosine planned for the longest budget, all along."""
    ax = plt.gca()
    for epochs, history in trunk.items():
        label = "one trunk, three cool-downs" if epochs == max(trunk) else ""
        curve = history.val_accuracy.mean(0)
        ax.plot(np.arange(1, len(curve) + 1), curve, label=label, **style(0))
        ax.plot(epochs, curve[-1], "o", color=style(0)["color"])
    curve = cut.val_accuracy.mean(0)
    label = "the cosine planned for the longest run"
    ax.plot(np.arange(1, len(curve) + 1), curve, label=label, **style(1))
    ends = [history.val_accuracy[:, -1].mean() for history in cosine.values()]
    look = {"color": style(2)["color"], "markersize": 8, "linestyle": ""}
    ax.plot(list(cosine), ends, "s", label="a cosine planned for this length", **look)
    ax.set(xlabel="epoch", ylabel="validation accuracy", xlim=(0.5, max(trunk) + 0.5))
    legend_outside(ax)
    return ax
