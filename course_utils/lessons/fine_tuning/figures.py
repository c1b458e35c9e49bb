"""The figures of notebook 11."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...engine.data import Dataset
from ...engine.plan import build
from ...plots import legend_outside, plot_band, plot_estimates
from ...protocol import Arm, Trial
from .experiments import trainable


def plot_transfer(trials: Mapping[str, Mapping[int, Trial]]) -> Figure:
    """{task: {number of labels: trial}}: a panel for each task, a line for each arm."""
    figure, axes = plt.subplots(1, len(trials), figsize=(8.6, 3.2), sharey=True)
    for ax, (task, by_labels) in zip(axes, trials.items(), strict=True):
        arms = list(next(iter(by_labels.values())).histories)
        for number, arm in enumerate(arms):
            estimates = [trial.accuracy(arm) for trial in by_labels.values()]
            plot_band(list(by_labels), estimates, arm, number, ax)
        ax.set(xscale="log", xlabel="labelled images", title=task, ylim=(0.2, 1))
        ax.set_xticks(list(by_labels), [f"{labels:,}" for labels in by_labels])
        ax.minorticks_off()
    axes[0].set_ylabel("validation accuracy")
    legend_outside(axes[-1])
    return figure


def plot_ways(trial: Trial, arms: Mapping[str, Arm], dataset: Dataset) -> Axes:
    """The accuracy of each arm, and how many numbers of its network learn."""
    estimates = {}
    for name, arm in arms.items():
        count = trainable(build(arm.model, arm.config, dataset)[0])
        estimates[f"{name} ({count:,})"] = trial.accuracy(name)
    _, ax = plt.subplots(figsize=(6.4, 2.6))
    plot_estimates(estimates, ax)
    ax.set(xlabel="validation accuracy in %, tilted digits")
    return ax


def plot_eras(trials: Mapping[str, Trial]) -> Figure:
    """{era: trial}: the accuracies of each trial's arms, one panel above the other."""
    heights = [len(trial.histories) for trial in trials.values()]
    figure, axes = plt.subplots(
        len(trials), 1, figsize=(6.4, 4.2), sharex=True, height_ratios=heights
    )
    for ax, (era, trial) in zip(axes, trials.items(), strict=True):
        plot_estimates({arm: trial.accuracy(arm) for arm in trial.histories}, ax)
        ax.set(title=era, xlim=(0, 100))
    axes[-1].set_xlabel("validation accuracy in %, five hidden layers")
    return figure


def plot_moved(tables: Mapping[str, pd.DataFrame], rests: str = "body.") -> Axes:
    """What one training step moved, a column for each table of ``what_moved``; what should have
    rested and moved, or should have learned and did not, is marked.

    Tensors whose name begins with ``rests`` should rest.
    """
    names = list(next(iter(tables.values())).index)
    moved = np.array([[table.loc[name, "moved"] for table in tables.values()] for name in names])
    should = np.array([[not name.startswith(rests)] for name in names])
    _, ax = plt.subplots(figsize=(8.2, 0.34 * len(names) + 0.7))
    ax.imshow((moved > 0) != should, cmap="Oranges", vmax=1.7, aspect="auto")
    for (row, column), size in np.ndenumerate(moved):
        wrong = "" if (size > 0) == should[row, 0] else "!  "
        text = wrong + (f"moved {size:.1g}" if size else "still")
        ax.text(column, row, text, ha="center", va="center", fontsize=9.5)
    ax.set_xticks(range(len(tables)), list(tables))
    ax.xaxis.tick_top()
    labels = [f"{n} ({'learns' if s else 'rests'})" for n, s in zip(names, should, strict=True)]
    ax.set_yticks(range(len(names)), labels)
    ax.grid(visible=False)
    return ax
