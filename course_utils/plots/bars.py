"""Estimates with their intervals: in a column, as gains, as a waterfall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from ..evidence import Estimate
from ..protocol import Trial
from .theme import COLOURS, GREY, axes_or_current


def plot_estimates(
    estimates: Mapping[str, Estimate],
    ax: Axes | None = None,
    scale: float = 100.0,
    zero: bool = False,
) -> Axes:
    """Named estimates as points with their 95 % intervals, top to bottom, each with its number.

    ``scale`` 100 shows per cent or points; ``zero`` draws a line at zero, and signs the numbers.
    """
    ax = axes_or_current(ax)
    form = "{:+.1f}" if zero else "{:.3g}" if scale == 1 else "{:.1f}"
    for row, each in enumerate(estimates.values()):
        ax.plot([scale * each.low, scale * each.high], [row, row], color=COLOURS[0], linewidth=2.4)
        ax.plot(scale * each.value, row, "o", color=COLOURS[0], markersize=6)
        number = form.format(scale * each.value)
        ax.annotate(
            number,
            (scale * each.value, row),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=9.5,
        )
    if zero:
        ax.axvline(0, color=GREY, linewidth=1)
    ax.set(yticks=range(len(estimates)), yticklabels=list(estimates))
    ax.set_ylim(len(estimates) - 0.5, -0.7)
    ax.grid(axis="y", visible=False)
    return ax


def plot_gains(trial: Trial, ax: Axes | None = None) -> Axes:
    """What each arm of a comparison gains over the first, paired, with its 95 % interval."""
    ax = plot_estimates(trial.gains(), ax, zero=True)
    ax.set_xlabel(f"points of validation accuracy gained over “{trial.first}”")
    return ax


def plot_waterfall(
    start: Estimate, steps: Mapping[str, Estimate], ax: Axes | None = None, name: str = "start"
) -> Axes:
    """From ``start`` by paired gains to the end: each bar is what one step added."""
    ax = axes_or_current(ax)
    names, level = [name, *steps], 100 * start.value
    ends = [level]
    text: dict[str, Any] = {
        "xytext": (6, 0),
        "textcoords": "offset points",
        "va": "center",
        "fontsize": 9.5,
    }
    ax.plot([level, level], [-0.4, 0.4], color=GREY, linewidth=3)
    ax.annotate(f"{level:.1f} %", (level, 0), **text)
    for row, gain in enumerate(steps.values(), start=1):
        value, up, before = 100 * gain.value, gain.value >= 0, level
        colour, hatch = (COLOURS[0], "") if up else (COLOURS[1], "///")
        ax.barh(row, value, left=level, color=colour, hatch=hatch, alpha=0.85)
        level = round(level + value, 6)  # or a sum of roundings is told
        low, high = 100 * (gain.value - gain.low), 100 * (gain.high - gain.value)
        ax.errorbar(level, row, xerr=[[low], [high]], color="black", linewidth=1.2, capsize=2.5)
        ax.annotate(f"{value:+.1f}  →  {level:.1f} %", (max(before, level + high), row), **text)
        ends += [level - low, level + high]
    room = max(ends) - min(ends)
    ax.set_xlim(min(ends) - 0.08 * room, max(ends) + 0.35 * room)
    ax.set(yticks=range(len(names)), yticklabels=names, xlabel="validation accuracy in %")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return ax
