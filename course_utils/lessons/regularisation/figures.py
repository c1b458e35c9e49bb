"""The figures of lesson 06."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...engine.config import Config
from ...engine.history import History
from ...evidence import accuracy, curve_interval, mean_interval
from ...plots import COLOURS, GREY, plot_band, plot_estimates, plot_gap, style
from ...protocol import Trial
from .experiments import Masks

MARKERS = "os^Dv"


def plot_sizes(by_size: Mapping[int, History], loss_of: int) -> Figure:
    """Left: final training and validation accuracy against the number of training images, the gap
    in grey. Right: the loss of one size over the epochs."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 3.0))
    sizes = list(by_size)
    seen = [100 * each.final("train_accuracy").mean() for each in by_size.values()]
    new = [accuracy(each) for each in by_size.values()]
    left.plot(sizes, seen, marker="o", label="training", **style(0))
    ends = [[100 * getattr(each, end) for each in new] for end in ("value", "low", "high")]
    plot_band(sizes, np.array(ends), "validation", 1, left)
    left.fill_between(sizes, ends[0], seen, color=GREY, alpha=0.3, linewidth=0, zorder=0)
    left.set(xscale="log", xlabel="training digits", ylabel="accuracy in %")
    left.set_xticks(sizes, [str(size) for size in sizes])
    left.minorticks_off()
    left.set_title("the gap (grey)")
    left.set_ylim(min(ends[1]) - 3, None)
    left.legend(loc="lower right")
    plot_gap(by_size[loss_of], "loss", right).set_ylim(0, None)
    right.xaxis.get_major_locator().set_params(integer=True)
    right.set_title(f"{loss_of} digits: the loss")
    right.get_legend().remove()
    return figure


def plot_levers(trial: Trial) -> Figure:
    """Left: training and validation accuracy of each arm, the gap in grey. Right: what each gained
    over the first arm, paired."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 0.75 + 0.33 * len(trial.histories)))
    for row, (arm, history) in enumerate(trial.histories.items()):
        seen, score = 100 * history.final("train_accuracy").mean(), trial.accuracy(arm)
        low, value, high = (100 * each for each in (score.low, score.value, score.high))
        left.barh(row, seen - value, 0.34, value, color=GREY, alpha=0.35)
        left.plot([low, high], [row, row], color=COLOURS[1], linewidth=2)
        label = ("training", "validation") if row == 0 else ("", "")
        left.plot(seen, row, "^", color=COLOURS[0], markersize=7, label=label[0])
        left.plot(value, row, "o", color=COLOURS[1], label=label[1])
    left.set(yticks=range(len(trial.histories)), yticklabels=list(trial.histories))
    left.set(xlabel="accuracy in %", ylim=(len(trial.histories) - 0.5, -0.7))
    left.grid(axis="y", visible=False)
    left.legend(loc="lower left", bbox_to_anchor=(0, 0.98), ncols=2)
    plot_estimates(trial.gains(), right, zero=True).set(
        xlabel=f"points gained over “{trial.first}”", yticks=range(len(trial.gains()))
    )
    right.set_ylim(len(trial.gains()) - 0.5, -1.7)
    right.set_yticklabels([])
    return figure


def plot_by_rate(
    configs: Sequence[Config], learnt: Mapping[str, np.ndarray], judged: Mapping[str, np.ndarray]
) -> Figure:
    """Two panels over the learning rates of the configs, both {name: [run]}: the share of the
    labels given that is learnt, and the accuracy on validation images."""
    figure, axes = plt.subplots(1, 2, figsize=(8.2, 3.0))
    rate_of = np.array([config.learning_rate for config in configs])
    rates = np.unique(rate_of)
    for ax, tables, first in zip(axes, (learnt, judged), (0, 2), strict=True):
        for number, (name, values) in enumerate(tables.items(), first):
            rows = [mean_interval(100 * values[rate_of == rate]) for rate in rates]
            plot_band(rates, rows, name, number, ax)
            means = [row.value for row in rows]
            ax.plot(rates, means, MARKERS[number], markersize=4.5, color=COLOURS[number])
        ax.set(xscale="log", xlabel="learning rate")
        ax.legend(loc="best")
    axes[0].set(ylabel="labels given back, in %", title="what is learnt of the training set")
    axes[1].set(ylabel="accuracy in %", title="validation images")
    return figure


def plot_masks(masks: Masks) -> Figure:
    """One network measured again and again with its masks on; and the masks' mean opinion."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.0, 2.9), sharey=True)
    alone, averaged, whole = (100 * each for each in (masks.alone, masks.averaged, masks.whole))
    count = np.arange(1, alone.shape[1] + 1)
    left.plot(count, alone[0], ".", color=COLOURS[1], label="train(), again and again")
    left.axhline(whole[0], label="eval()", **style(0))
    left.set(xlabel="measurement", ylabel="validation accuracy in %", title="one network")
    right.plot(count, averaged.mean(0), label="mean opinion of the masks", **style(1))
    right.axhline(whole.mean(), label="eval()", **style(0))
    right.set(xscale="log", xlabel="masks averaged", title="mean of eight networks")
    shown = [each for each in (1, 2, 5, 10, 20, 50) if each <= len(count)]
    right.set_xticks(shown, [str(each) for each in shown])
    right.minorticks_off()
    for ax in (left, right):
        ax.legend(loc="lower right")
    left.set_ylim(alone[0].min() - 4, None)
    return figure


def plot_distances(decays: Sequence[float], apart: Mapping[str, Sequence[float]]) -> Axes:
    """{optimiser: distance of its weights for each decay} from those of L2 in the loss."""
    _, ax = plt.subplots(figsize=(5.8, 3.0))
    for number, (name, values) in enumerate(apart.items()):
        ax.plot(decays, values, marker=MARKERS[number], label=name, **style(number))
    ax.set(xscale="log", yscale="log", xlabel="weight_decay")
    ax.set_xticks(decays, [f"{decay:g}" for decay in decays])
    ax.minorticks_off()
    ax.set_ylabel("relative distance of the weights")
    ax.set_title("distance from training with 0.01 Σw² in the loss")
    ax.legend(loc="center right")
    return ax


def plot_idle(sizes: Mapping[str, Sequence[float]], rate: float) -> Axes:
    """Mean size of the idle weights after each update {setting: [update]}, with what theory says
    of AdamW: a factor 1 - rate * decay each."""
    _, ax = plt.subplots(figsize=(6.4, 3.1))
    for number, (name, values) in enumerate(sizes.items()):
        width = 5 if number == len(sizes) - 2 else 1.9  # the last line lies upon this one
        ax.plot(values, label=name, **{**style(number), "linewidth": width}, alpha=0.8)
    for label, values in sizes.items():
        optimiser, _, decay = label.partition(", decay ")
        if optimiser == "AdamW":
            updates = np.arange(0, len(values), 25)
            ax.plot(updates, values[0] * (1 - rate * float(decay)) ** updates, "k.")
    ax.plot([], [], "k.", label="theory for AdamW")
    ax.set(yscale="log", xlabel="update", ylabel="mean size of the idle weights")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
    return ax


def plot_patients(runs: Mapping[str, History]) -> Figure:
    """Training and validation accuracy of each run over its epochs, without saying what it is."""
    figure, axes = plt.subplots(1, len(runs), figsize=(8.6, 2.3), sharey=True)
    for ax, (letter, history) in zip(axes, runs.items(), strict=True):
        for number, split in enumerate(("train", "val")):
            band = curve_interval(history, f"{split}_accuracy")
            name = "training" if split == "train" else "validation"
            plot_band(np.arange(1, len(band[0]) + 1), band, name, number, ax)
        ax.set(title=letter, xlabel="epoch", ylim=(0, 1.03))
    axes[0].set_ylabel("accuracy")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def plot_restored(
    shares: Mapping[str, Mapping[str, np.ndarray]], factors: Mapping[str, int]
) -> Axes:
    """{field: {patient: [seed]}}: the share of the missing training accuracy that multiplying a
    field by its factor gives back."""
    patients = list(next(iter(shares.values())))
    table = np.array([[shares[field][each].mean() for field in factors] for each in patients])
    _, ax = plt.subplots(figsize=(6.2, 3.0))
    ax.imshow(table, vmin=-0.2, vmax=1, cmap="cividis", aspect="auto")
    for row, column in np.ndindex(table.shape):
        share = table[row, column]
        colour = "black" if share > 0.45 else "white"
        weight = "bold" if share > 0.5 else "normal"
        text = f"{100 * share + 0.0:.0f} %".replace("-0 %", "0 %")
        ax.text(column, row, text, ha="center", va="center", color=colour, fontweight=weight)
    names = [f"{field.replace('_', ' ')} × {factor}" for field, factor in factors.items()]
    ax.set(xticks=range(len(names)), xticklabels=names)
    ax.set(yticks=range(len(patients)), yticklabels=patients)
    ax.set_title("missing training accuracy given back")
    ax.grid(visible=False)
    return ax
