"""The figures of lesson 05."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ...evidence import Estimate, ratio_interval
from ...plots import COLOURS, GREY, plot_band, style

MARKERS = "os^D"


def _plain_log_axis(axis: object, span: float) -> None:
    """Numbers as one reads them, and several of them also where the axis spans little."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if span < 25 else (1,)))  # type: ignore
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # type: ignore
    axis.set_minor_formatter(NullFormatter())  # type: ignore


def plot_clocks(clocks: Mapping[str, Mapping[int, np.ndarray]]) -> Figure:
    """One panel for each clock: {clock: {batch size: [seed]}}, what it took to reach the target.

    The line is the geometric mean over the seeds with its 95 % interval, the star the smallest.
    """
    figure, axes = plt.subplots(1, len(clocks), figsize=(7.6, 2.6))
    for number, (ax, (name, taken)) in enumerate(zip(axes, clocks.items(), strict=True)):
        sizes = list(taken)
        estimates = [ratio_interval(each, np.ones(len(each))) for each in taken.values()]
        plot_band(sizes, estimates, number=number, ax=ax)
        means = np.array([each.value for each in estimates])
        ax.plot(sizes, means, "o", markersize=4, color=COLOURS[number])
        best = int(means.argmin())
        ax.plot(sizes[best], means[best], "*", color="black", markersize=13)
        ax.set(xscale="log", yscale="log", xlabel="batch size", title=f"{name} to the target")
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.minorticks_off()
        _plain_log_axis(ax.yaxis, means.max() / means.min())
    return figure


def plot_traces(traces: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """{name: (the batch's loss, the loss on fixed images)}, each [update, seed]; draws one seed."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.5), sharey=True)
    for number, (name, pair) in enumerate(traces.items()):
        for ax, losses in zip(axes, pair, strict=True):
            updates = np.arange(1, len(losses) + 1)
            ax.plot(updates, losses[:, 0], label=name, **{**style(number), "linewidth": 1.2})
    axes[0].set(xlabel="update", ylabel="loss", ylim=(0, None), title="in the log: the batch loss")
    axes[1].set(xlabel="update", title="always on the same images")
    axes[1].legend()
    return figure


def plot_angles(
    sizes: Sequence[int],
    measured: Mapping[str, Sequence[np.ndarray]],
    scales: Mapping[str, Sequence[float]],
    images: int,
) -> Axes:
    """Measured angles {look: [seed][size]} as points, and as lines what their noise scales [seed]
    predict."""
    _, ax = plt.subplots(figsize=(5.6, 3.0))
    smooth = np.geomspace(1, images - 1, 200)
    for number, (name, table) in enumerate(measured.items()):
        # A batch of all images has no noise: one factor more than the formula for ever new images.
        scale = np.exp(np.log(scales[name]).mean())
        tangent = np.sqrt(scale / smooth * (1 - smooth / images))
        ax.plot(smooth, np.rad2deg(np.arctan(tangent)), **style(number))
        colour = style(number)["color"]
        ax.plot(sizes, np.mean(table, axis=0), MARKERS[number], color=colour, label=name)
    ax.axhline(45, color=GREY, linewidth=0.8)
    ax.annotate("45 degrees", (1, 45), xytext=(0, 3), textcoords="offset points", color=GREY)
    ax.set(
        xscale="log", ylim=(0, 92), xlabel="batch size", title="points measured, lines predicted"
    )
    ax.set(ylabel="angle to the gradient\nof all images, in degrees")
    ax.set_xticks([*sizes, images], [f"{size:,}" for size in [*sizes, images]])
    ax.minorticks_off()
    ax.legend(loc="lower left")
    return ax


def plot_law(taken: Mapping[int, np.ndarray], fewest: float, critical: Estimate) -> Axes:
    """Updates to the target {batch size: [seed]} beside the law fewest (1 + critical / size)."""
    _, ax = plt.subplots(figsize=(5.6, 3.0))
    sizes = np.array(list(taken))
    means = np.array([np.exp(np.log(each).mean()) for each in taken.values()])
    smooth = np.geomspace(sizes.min(), sizes.max(), 100)
    ax.plot(smooth, fewest * (1 + critical.value / smooth), label="law", **style(1))
    steep = smooth[smooth <= 4 * critical.value]
    ax.plot(steep, means[0] * sizes[0] / steep, label="perfect scaling", **style(2))
    ax.plot(sizes, means, "o", color=COLOURS[0], label="measured")
    ax.axvspan(critical.low, critical.high, color=GREY, alpha=0.3, linewidth=0)
    ax.set(xscale="log", yscale="log", xlabel="batch size", ylabel="updates to the target")
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    _plain_log_axis(ax.yaxis, means.max() / means.min())
    ax.set_title("critical batch size (grey)")
    ax.legend()
    return ax


def plot_rates_needed(
    needed: Mapping[str, Mapping[int, np.ndarray]], noise_scales: Sequence[float]
) -> Axes:
    """{optimiser: {batch size: [seed]}}: how many times the first batch size's learning rate the
    others need; with the lines of three rules, one of them from noise scales [seed]."""
    noise_scale = np.exp(np.log(noise_scales).mean())
    _, ax = plt.subplots(figsize=(5.6, 3.2))
    sizes = np.array(list(next(iter(needed.values()))))
    smooth = np.geomspace(sizes[0], sizes[-1], 100)
    growth = smooth / sizes[0]
    law = np.sqrt(growth * (smooth + noise_scale) / (sizes[0] + noise_scale))
    for number, (name, line) in enumerate(
        {
            "in proportion": growth,
            "from the noise scale": law,
            "square root": np.sqrt(growth),
        }.items()
    ):
        ax.plot(smooth, line, label=name, **{**style(number), "color": GREY, "linewidth": 1.3})
    for number, (name, taken) in enumerate(needed.items()):
        ratios = [ratio_interval(taken[size], taken[sizes[0]]) for size in sizes[1:]]
        values = [1, *(each.value for each in ratios)]
        ax.plot(sizes, values, MARKERS[number], color=COLOURS[number], markersize=7, label=name)
        for size, each in zip(sizes[1:], ratios, strict=True):
            ax.plot([size, size], [each.low, each.high], color=COLOURS[number], linewidth=2)
    ax.set(xscale="log", yscale="log", xlabel="batch size")
    ax.set_ylabel(f"learning rate needed,\nas multiple of batch {sizes[0]}")
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    multiples = sizes / sizes[0]
    ax.set_yticks(multiples, [f"{multiple:g}" for multiple in multiples])
    ax.legend()
    return ax
