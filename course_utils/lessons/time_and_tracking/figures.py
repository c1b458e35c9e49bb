"""Figures of notebook 13: parts of a loop, what a stack gains, and TensorBoard's page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from IPython.display import Image, display
from matplotlib.axes import Axes

from ...evidence import Estimate
from ...plots import COLOURS, GREY, legend_outside, style

PAGES = {
    "settings": "TensorBoard's page HParams, view “parallel coordinates”: one line for each run, "
    "through its learning rate, its width, its dropout and its validation accuracy. Lines of high "
    "accuracy come from one stretch of the axis of the learning rate, from most widths, and from "
    "all over the axis of dropout.",
    "curves": "TensorBoard's page Time Series: the validation accuracy of all runs against the "
    "epoch, one line each. Some lines rise at once, some late, some stay at chance.",
}


def plot_parts(spent: Mapping[str, pd.Series], ax: Axes) -> Axes:
    """One bar for each version of a loop, cut into its parts [part] in milliseconds."""
    table = pd.DataFrame(spent).T.iloc[::-1]
    left = 0 * table.iloc[:, 0]
    for number, (part, values) in enumerate(table.items()):
        look = {"color": COLOURS[number], "hatch": ("", "//", "..")[number % 3]}
        ax.barh(table.index, values, left=left, label=str(part), edgecolor="white", **look)
        left = left + values
    ax.set(xlabel="milliseconds for an epoch, under the profiler")
    ax.grid(axis="y", visible=False)
    legend_outside(ax)
    return ax


def plot_stack_gains(gains: Mapping[str, Mapping[int, Estimate]], ax: Axes) -> Axes:
    """How many times faster than one after another, against the number of networks in a stack."""
    for number, (name, by_count) in enumerate(gains.items()):
        counts = list(by_count)
        found = list(by_count.values())
        ax.plot(counts, [each.value for each in found], marker="o", label=name, **style(number))
        low, high = [each.low for each in found], [each.high for each in found]
        ax.fill_between(counts, low, high, color=COLOURS[number], alpha=0.2, linewidth=0)
    ax.axhline(1, color=GREY, linewidth=1)
    ax.set(xscale="log", xticks=counts, xticklabels=counts, ylim=(0, None))
    ax.minorticks_off()
    ax.set(xlabel="networks in the stack", ylabel="times as fast as a loop")
    ax.legend()
    return ax


class StoredPicture(Image):
    """A stored picture of a page, with words for those who cannot see it."""

    def __init__(self, name: str):
        self.words = PAGES[name]
        super().__init__(filename=str(Path(__file__).with_name(f"{name}.png")), alt=self.words)

    def __repr__(self) -> str:
        return self.words

    def show(self) -> None:
        """Show it below the cell."""
        display(self)


def picture_of_page(name: str) -> StoredPicture:
    """TensorBoard's page over this notebook's runs, as a browser showed it: "settings", "curves".

    Raises KeyError for another name. ``photograph.py`` takes the pictures.
    """
    return StoredPicture(name)
