"""The figures of notebook 03."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...engine.history import History
from ...evidence import basin
from ...plots import GREY, LINES, legend_outside, plot_band, style

Climb = tuple[np.ndarray, np.ndarray]
Picks = tuple[float, float]
EDGES = {1: "the bowl's edge, 2/λ", 2: "twice that, 4/λ"}
RULES = {"lowest / 10": "o", "steepest": "s"}


def plot_edges(history: History, edge: float, ax: Axes | None = None) -> Axes:
    """Final accuracy against the learning rate as a multiple of ``edge``, the bowl's 2/λ."""
    ax = plt.gca() if ax is None else ax
    rates, *band = basin(history)
    plot_band(rates / edge, tuple(band), "the network", 0, ax)
    for number, (place, name) in enumerate(
        {1: "the bowl's edge, 2/λ", 2: "twice that, 4/λ"}.items()
    ):
        ax.axvline(place, color=GREY, linestyle=LINES[number + 1], linewidth=1.4)
        ax.annotate(name, (place, 0.03), xytext=(4, 0), textcoords="offset points", fontsize=9.5)
    ax.set(ylim=(0, 1), xlabel="learning rate, as a multiple of 2/λ")
    ax.set(ylabel="final validation accuracy")
    return ax


def plot_curvatures(tracks: Mapping[float, np.ndarray], looks: list[int]) -> Figure:
    """The steepest curvature [seed, look] on the way, one panel for each learning rate η; dashed:
    the curvature 2/η, at which a bowl would break."""
    figure, axes = plt.subplots(1, len(tracks), figsize=(7.6, 2.7), sharey=True)
    for ax, (rate, curvature) in zip(axes, tracks.items(), strict=True):
        ax.axhline(2 / rate, color=style(1)["color"], linestyle="--", linewidth=1.6)
        ax.plot(looks, curvature.T, color=style(0)["color"], alpha=0.45, linewidth=1)
        ax.plot(looks, curvature.mean(0), color=style(0)["color"], linewidth=2.4)
        ax.set_title(f"η = {rate:g}, 2/η = {2 / rate:g}", fontsize=10)
        ax.set_xscale("symlog", linthresh=1)
        ax.set(xlabel="step", xlim=(0, looks[-1]))
        ax.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        ax.minorticks_off()
    axes[0].set(ylabel="steepest curvature λ", ylim=(0, None))
    return figure


def plot_climbs(
    climbs: Mapping[str, Climb], picks: Mapping[str, Picks], basins: Mapping[str, History]
) -> Figure:
    """Range tests of several optimisers: the loss while the rate climbs, the picks of both rules
    (circle: lowest / 10, square: steepest), and below them each optimiser's own basin as a bar."""
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(6.8, 3.9), sharex=True, height_ratios=(3, 1.2)
    )
    for number, (name, (rates, losses)) in enumerate(climbs.items()):
        look = style(list(basins).index(name))  # as in the figure of the basins
        upper.plot(rates, losses, label=name, **look)
        for pick, marker in zip(picks[name], RULES.values(), strict=True):
            height = np.interp(pick, rates, losses)
            upper.plot(pick, height, marker, color=look["color"], markersize=8, zorder=3)
            lower.plot(pick, number, marker, color=look["color"], markersize=8, zorder=3)
        low, high = good_rates(basins[name])
        lower.plot([low, high], [number, number], color=look["color"], linewidth=9, alpha=0.3)
    upper.set(ylim=(0, 4), ylabel="loss of each batch", xscale="log", xlim=(3e-4, 10))
    legend_outside(upper)
    lower.set(xlabel="learning rate", yticks=range(len(climbs)), yticklabels=list(climbs))
    lower.set_ylim(len(climbs) - 0.4, -0.6)
    lower.grid(axis="y", visible=False)
    lower.set_title("bars: where the accuracy is within two points of the best", fontsize=9.5)
    return figure


def left_of_basin(picks: Mapping[str, Picks], basins: Mapping[str, History]) -> list[str]:
    """The optimisers whose pick by the first rule lies left of their basin."""
    return [name for name, pick in picks.items() if pick[0] < good_rates(basins[name])[0]]


def good_rates(history: History, within: float = 0.02) -> Picks:
    """The smallest and the largest learning rate tried whose mean accuracy is within ``within`` of
    the best; between two rates the curve is taken to be straight."""
    rates, mean, *_ = basin(history)
    height = mean - (mean.max() - within)
    inside = np.flatnonzero(height >= 0)
    ends = []
    for end, beyond in ((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)):
        share = height[end] / (height[end] - height[beyond]) if 0 <= beyond < len(rates) else 0.0
        beyond = min(max(beyond, 0), len(rates) - 1)
        ends.append(float(rates[end] ** (1 - share) * rates[beyond] ** share))
    return ends[0], ends[1]
