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
from ...plots import GREY, LABELS, legend_outside, plot_band, style
from .experiments import best_exponents, finals_by
from .scaling import Curve, law_of

Sweeps = Mapping[str, Mapping[int, History]]


def plot_by_rate(sweeps: Sweeps) -> Figure:
    """{parametrisation: {width: runs}}: a column for each parametrisation, training loss above
    validation accuracy; a line for each width, a star at its best rate."""
    figure, axes = plt.subplots(2, len(sweeps), figsize=(8.4, 5.4), sharey="row", sharex="col")
    for row, metric in enumerate(("train_loss", "val_accuracy")):
        for ax, (name, by_width) in zip(axes[row], sweeps.items(), strict=True):
            for number, (width, history) in enumerate(by_width.items()):
                _line_with_star(ax, history, metric, f"width {width}", number)
            ax.set_xscale("log", base=2)
            ax.set(title="" if row else name, xlabel="learning rate" if row else "")
        axes[row, 0].set_ylabel(LABELS[metric])
    axes[0, 0].set_yscale("log")
    legend_outside(axes[0, -1])
    return figure


def _line_with_star(ax: Axes, history: History, metric: str, label: str, number: int) -> None:
    rates, values = finals_by(history, "learning_rate", metric)
    estimates = [mean_interval(row) for row in values]
    plot_band(rates, estimates, label, number, ax)
    means = [each.value for each in estimates]
    at = np.argmin(means) if metric.endswith("loss") else np.argmax(means)
    colour = style(number)["color"]
    ax.plot(rates[at], estimates[at].value, "*", markersize=14, color=colour)


def plot_best_rates(sweeps: Sweeps) -> Figure:
    """{parametrisation: {width: runs}}: the best rate against the width, by training loss and by
    validation accuracy, with its interval over the seeds; and a line of rate times width."""
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), sharey=True)
    titles = {"train_loss": "by training loss", "val_accuracy": "by validation accuracy"}
    for ax, (metric, title) in zip(axes, titles.items(), strict=True):
        for number, (name, by_width) in enumerate(sweeps.items()):
            exponents = [best_exponents(runs, metric=metric) for runs in by_width.values()]
            found = [mean_interval(each) for each in exponents]
            middle, low, high = np.exp2([(each.value, each.low, each.high) for each in found]).T
            reach, look = [middle - low, high - middle], style(number)
            ax.errorbar(
                list(by_width), middle, yerr=reach, marker="o", capsize=3, label=name, **look
            )
        widths = np.array(list(by_width), float)
        ax.plot(widths, 1 / widths, color=GREY, linewidth=1, label="1 / width")
        ax.set(title=title, xlabel="width")
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        ax.set_xticks(widths, [f"{width:,.0f}" for width in widths])
        ax.minorticks_off()
    axes[0].set_ylabel("best learning rate")
    legend_outside(axes[-1])
    return figure


def plot_decay(studies: Mapping[str, History]) -> Figure:
    """{network: runs}: a row for each network, a line for each learning rate: validation accuracy
    against the weight decay, and against learning rate times weight decay."""
    figure, axes = plt.subplots(len(studies), 2, figsize=(8.4, 5.4), sharey="row", sharex="col")
    for row, (name, runs) in zip(axes, studies.items(), strict=True):
        for number, (rate, some) in enumerate(runs.by("learning_rate").items()):
            decays, values = finals_by(some, "weight_decay", "val_accuracy")
            estimates = [mean_interval(each) for each in values]
            label = f"rate $2^{{{np.log2(rate):.0f}}}$"
            for ax, places in zip(row, (decays, rate * decays), strict=True):
                plot_band(places, estimates, label, number, ax)
                best = int(np.argmax([each.value for each in estimates]))
                ax.plot(
                    places[best],
                    estimates[best].value,
                    "*",
                    markersize=14,
                    color=style(number)["color"],
                )
        row[0].set(ylabel=LABELS["val_accuracy"])
        for ax in row:
            ax.set_xscale("log", base=2)
            ax.set_title(name)
    axes[-1, 0].set_xlabel("weight decay")
    axes[-1, 1].set_xlabel("learning rate × weight decay")
    legend_outside(axes[0, -1])
    return figure


def plot_scaling(curves: Sequence[Curve]) -> Figure:
    """The error against each curve's size, and power laws through the small sizes, drawn on to the
    largest: through all of them, and through the last two."""
    figure, axes = plt.subplots(1, len(curves), figsize=(8.4, 3.4), sharey=True)
    for ax, curve in zip(axes, curves, strict=True):
        found = [mean_interval(row) for row in curve.table.mean(2)]
        middle, low, high = np.array([(each.value, each.low, each.high) for each in found]).T
        for number, (points, name) in enumerate({None: "all four", 2: "the last two"}.items(), 1):
            sizes, exponent, factor = law_of(curve, points)
            line = np.array([sizes[0], curve.sizes[-1]], float)
            ax.plot(line, factor * line**exponent, label=f"law through {name}", **style(number))
        reach = [middle - low, high - middle]
        look = {"color": style(0)["color"], "linestyle": "none", "capsize": 3, "zorder": 5}
        small, largest = slice(0, -1), slice(-1, None)
        for part, marker, label in ((small, "o", "measured"), (largest, "*", "the largest")):
            bars = [each[part] for each in reach]
            places, heights = curve.sizes[part], middle[part]
            size = 14 if marker == "*" else 6
            ax.errorbar(
                places, heights, yerr=bars, marker=marker, markersize=size, label=label, **look
            )
        ax.set(xlabel=curve.field, xscale="log", yscale="log")
        ax.set_xticks(curve.sizes, [f"{size:,}" for size in curve.sizes])
        ax.set_yticks([0.05, 0.1, 0.2, 0.4], ["5 %", "10 %", "20 %", "40 %"])
        ax.minorticks_off()
    axes[0].set_ylabel("wrong validation digits")
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
