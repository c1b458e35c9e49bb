"""Images, histograms, matrices of confusion, quantities by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from .theme import GREY, axes_or_current, legend_outside, style


def plot_images(images: Tensor, titles: Sequence[str] | None = None, columns: int = 8) -> Figure:
    """Images [n, 1 or 3, h, w] in a grid, each with a short title; returns the figure."""
    rows = -(-len(images) // columns)
    size = (0.85 * columns, (1.15 if titles else 0.85) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for number, ax in enumerate(axes.flat):
        ax.axis("off")
        if number < len(images):
            image = images[number].movedim(0, -1).squeeze(-1).cpu()
            ax.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            if titles:
                ax.set_title(titles[number], fontsize=9, fontweight="normal", loc="center")
    return figure


def plot_histograms(
    values: Mapping[str, Tensor | np.ndarray],
    ax: Axes | None = None,
    bins: int = 60,
    limits: tuple[float, float] | None = None,
    log: bool = False,
) -> Axes:
    """Histograms of named numbers as outlines on common axes.

    ``log`` takes log10 of the absolute values first. What cannot be shown (zeros then, and numbers
    that are not finite) is counted in the legend.
    """
    ax = axes_or_current(ax)
    shown, labels = [], []
    for name, each in values.items():
        array = (
            each.detach().flatten().cpu().numpy() if isinstance(each, Tensor) else np.ravel(each)
        )
        usable = np.isfinite(array) & ((array != 0) if log else True)
        shown.append(np.log10(np.abs(array[usable])) if log else array[usable])
        missing = 1 - usable.mean() if len(array) else 0
        labels.append(f"{name} ({100 * missing:.0f} % not shown)" if missing > 0.0005 else name)
    low, high = limits or (min(each.min() for each in shown), max(each.max() for each in shown))
    for number, (label, array) in enumerate(zip(labels, shown, strict=True)):
        density, edges = np.histogram(array, bins, (low, high), density=True)
        ax.stairs(density, edges, label=label, linewidth=1.6, **style(number))
    ax.set(ylabel="density")
    legend_outside(ax)
    return ax


def plot_confusion(counts: np.ndarray, ax: Axes | None = None) -> Axes:
    """A confusion matrix [true, predicted]: mistakes with their counts, the diagonal in grey."""
    ax = axes_or_current(ax)
    mistakes = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    ax.imshow(mistakes, cmap="Blues", vmax=max(mistakes.max(), 1))
    for true, predicted in np.ndindex(counts.shape):
        if counts[true, predicted]:
            dark = mistakes[true, predicted] > 0.6 * mistakes.max()
            colour = GREY if true == predicted else "white" if dark else "black"
            text = str(counts[true, predicted])
            ax.text(predicted, true, text, ha="center", va="center", fontsize=9, color=colour)
    ax.set(xlabel="predicted digit", ylabel="true digit")
    ax.set(xticks=range(len(counts)), yticks=range(len(counts)))
    ax.grid(visible=False)
    return ax


def plot_layers(
    values: Mapping[str, Sequence[float] | np.ndarray], ylabel: str, ax: Axes | None = None
) -> Axes:
    """A quantity by layer, from the input on: one line for each name."""
    ax = axes_or_current(ax)
    for number, (name, each) in enumerate(values.items()):
        ax.plot(np.arange(1, len(each) + 1), each, marker="o", label=name, **style(number))
    ax.set(xlabel="layer, from the input on", ylabel=ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(values) > 1:
        legend_outside(ax)
    return ax
