"""Figures of notebook 15."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...engine.history import History
from ...evidence import Estimate, accuracy, difference
from ...plots import GREY, plot_estimates, style
from ...plots.theme import axes_or_current
from .records import Record

BAR = 0.8  # the accuracy that the challenge asks for


def plot_ladder(rungs: Mapping[str, History], ax: Axes | None = None) -> Axes:
    """Accuracy rung by rung, from the top down, with its interval; beside each, what the step
    gained, paired with the rung above."""
    ax = axes_or_current(ax)
    histories = list(rungs.values())
    reached = [accuracy(history) for history in histories]
    for row, each in enumerate(reached):
        ax.plot([100 * each.low, 100 * each.high], [row, row], linewidth=2.4, **style(0))
    ax.plot([100 * each.value for each in reached], range(len(reached)), "o", **style(0))
    for row, (after, before) in enumerate(zip(histories[1:], histories, strict=False), start=1):
        gained = difference(after, before)
        text = f"{100 * gained.value:+.1f} [{100 * gained.low:+.1f}, {100 * gained.high:+.1f}]"
        ax.text(1.01, row, text, transform=ax.get_yaxis_transform(), va="center", fontsize=9)
    ax.text(1.01, 0, "gained, points", transform=ax.get_yaxis_transform(), va="center", fontsize=9)
    ax.set(yticks=range(len(rungs)), yticklabels=list(rungs), xlabel="validation accuracy in %")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return ax


def plot_reached(reached: Mapping[str, Estimate], ax: Axes | None = None) -> Axes:
    """Accuracies with their intervals against the bar of 80 %."""
    ax = plot_estimates(reached, ax)
    ax.axvline(100 * BAR, color=GREY, linewidth=1, linestyle="--")
    ax.set_xlabel("validation accuracy in %")
    return ax


def plot_ward(patients: Mapping[str, Record]) -> Figure:
    """Two charts for each patient: losses and accuracies over the epochs."""
    rows = -(-len(patients) // 2)
    figure, panels = plt.subplots(rows, 4, figsize=(8.8, 1.75 * rows), squeeze=False)
    places = panels.reshape(-1, 2)
    for (letter, record), (left, right) in zip(patients.items(), places, strict=False):
        _chart(record, left, right)
        left.set_title(letter)
    for panel in places[max(0, len(patients) - 2) : len(patients)].flat:
        panel.set_xlabel("epoch", fontsize=9)
    for left, right in places[len(patients) :]:
        left.set_axis_off()
        right.set_axis_off()
    handles, names = places[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


def _chart(record: Record, left: Axes, right: Axes) -> None:
    train_loss, train, val_loss, val, batch_loss, _ = record.lines
    epochs = np.arange(1, len(train) + 1)
    curves = {"training": train_loss, "validation": val_loss, "batches in training": batch_loss}
    for number, (name, values) in enumerate(curves.items()):
        left.plot(epochs, values, label=name, **style(number))
    right.plot(epochs, 100 * train, **style(0))
    right.plot(epochs, 100 * val, **style(1))
    left.set_ylim(0, 3.2)
    right.set_ylim(0, 102)
    left.set_ylabel("loss", fontsize=9)
    right.set_ylabel("right, %", fontsize=9)
    for panel in (left, right):
        panel.tick_params(labelsize=8)
        panel.xaxis.get_major_locator().set_params(integer=True)
    if val_loss.min() > 3.2:
        left.text(
            0.5,
            0.85,
            f"validation: {val_loss[-1]:.3g}",
            transform=left.transAxes,
            ha="center",
            fontsize=8,
        )
