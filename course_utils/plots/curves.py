"""Curves with their 95 % bands: over the epochs, over learning rates, over a field of Config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..engine.history import History
from ..evidence import Estimate, accuracy, basin, basin_width, curve_interval
from ..protocol import Trial
from .theme import GREY, LABELS, axes_or_current, legend_outside, style

Band = tuple[np.ndarray, np.ndarray, np.ndarray]


def plot_band(
    x: Sequence[float] | np.ndarray,
    band: Band | Sequence[Estimate],
    label: str = "",
    number: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """One line with its interval shaded: ``band`` is (middle, low, high), or one Estimate per x.

    ``number`` gives colour and line style.
    """
    ax = axes_or_current(ax)
    if isinstance(band[0], Estimate):
        estimates = [each for each in band if isinstance(each, Estimate)]
        middle, low, high = np.array([(each.value, each.low, each.high) for each in estimates]).T
    else:
        middle, low, high = np.asarray(band)
    ax.plot(x, middle, label=label, **style(number))
    ax.fill_between(x, low, high, color=style(number)["color"], alpha=0.2, linewidth=0)
    return ax


def plot_curves(
    histories: Mapping[str, History], metric: str = "val_accuracy", ax: Axes | None = None
) -> Axes:
    """One curve over the epochs for each entry: the mean over its runs, with its 95 % interval."""
    ax = axes_or_current(ax)
    for number, (name, history) in enumerate(histories.items()):
        band = curve_interval(history, metric)
        plot_band(np.arange(1, len(band[0]) + 1), band, name, number, ax)
    ax.set(xlabel="epoch", ylabel=LABELS.get(metric, metric))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(histories) > 1:
        legend_outside(ax)
    return ax


def plot_gap(history: History, quantity: str = "accuracy", ax: Axes | None = None) -> Axes:
    """Training and validation curves of the same runs, the gap between them in grey.

    ``quantity`` is "accuracy" or "loss".
    """
    ax = axes_or_current(ax)
    means = []
    for number, (split, name) in enumerate((("train", "training"), ("val", "validation"))):
        band = curve_interval(history, f"{split}_{quantity}")
        epochs = np.arange(1, len(band[0]) + 1)
        plot_band(epochs, band, name, number, ax)
        means.append(band[0])
    ax.fill_between(epochs, means[0], means[1], color=GREY, alpha=0.25, linewidth=0, zorder=0)
    ax.set(xlabel="epoch", ylabel=quantity)
    legend_outside(ax)
    return ax


def plot_basin(
    histories: Mapping[str, History], within: float = 0.02, ax: Axes | None = None
) -> Axes:
    """Final validation accuracy against the learning rate; where a curve lies within ``within`` of
    its best, it is drawn thick, and the legend says over how many decades."""
    ax = axes_or_current(ax)
    for number, (name, history) in enumerate(histories.items()):
        rates, mean, low, high = basin(history)
        width = basin_width(history, within).value
        plot_band(rates, (mean, low, high), f"{name}: {width:.1f} decades", number, ax)
        good = np.where(mean >= mean.max() - within, mean, np.nan)
        ax.plot(rates, good, color=style(number)["color"], linewidth=5, alpha=0.45)
    ax.set(xscale="log", xlabel="learning rate", ylabel="final validation accuracy")
    legend_outside(ax)
    return ax


def plot_rows(
    rows: Mapping[str, np.ndarray], xlabel: str = "", ylabel: str = "", ax: Axes | None = None
) -> Axes:
    """Named arrays [step] or [run, step] as lines; several runs of one name share its style."""
    ax = axes_or_current(ax)
    for number, (name, values) in enumerate(rows.items()):
        lines = ax.plot(np.atleast_2d(values).T, **style(number))
        lines[0].set_label(name)
        for line in lines if len(lines) > 1 else ():
            line.set(alpha=0.5, linewidth=1)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if len(rows) > 1:
        legend_outside(ax)
    return ax


def plot_tuning(trial: Trial, field: str, ax: Axes | None = None) -> Axes:
    """What each arm of a comparison was chosen by: accuracy on the tuning images against one field,
    with a star at the choice. Other tuned fields stand at their chosen values."""
    ax = axes_or_current(ax)
    for number, (arm, runs) in enumerate(trial.tuning.items()):
        others = {name: value for name, value in trial.chosen[arm].items() if name != field}
        groups = runs.select(**others).by(field) if others else runs.by(field)
        values = sorted(groups)
        estimates = [accuracy(groups[value]) for value in values]
        plot_band(values, estimates, arm, number, ax)
        at = values.index(trial.chosen[arm][field])
        ax.plot(values[at], estimates[at].value, "*", markersize=13, color=style(number)["color"])
    ax.set(xlabel=LABELS.get(field, field.replace("_", " ")), ylabel="accuracy on tuning images")
    if min(values) > 0 and max(values) / min(values) > 5:
        ax.set_xscale("log")
    legend_outside(ax)
    return ax
