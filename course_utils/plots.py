"""The course's figures: ``plot_*(..., ax=None) -> Axes``. Floor 5, and the only module that knows matplotlib.

Functions here draw and return; they never call ``show`` and never change a global style. Colours are Okabe and
Ito's, and every colour comes with a line style of its own, so that no figure needs its colours to be read.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .engine.history import History
from .evidence import Estimate, basin, curve_interval

COLOURS = ("#0072B2", "#D55E00", "#00795B", "#B0478C", "#806000", "#3A8FC4", "#000000")
LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)))
GREY = "#5A5A5A"
THEME = {
    "figure.figsize": (6.4, 3.3),
    "figure.dpi": 96,
    "savefig.dpi": 96,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "image.cmap": "cividis",
}
LABELS = {
    "val_accuracy": "validation accuracy",
    "train_accuracy": "training accuracy",
    "val_loss": "validation loss",
    "train_loss": "training loss",
    "learning_rate": "learning rate",
    "step_loss": "loss of each batch",
}


def use_theme() -> None:
    """Set the course's theme for this notebook; its set-up cell calls it."""
    plt.rcParams.update(THEME)


def style(number: int) -> dict:
    """Colour and line style of the curve with this number."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": LINES[number % len(LINES)]}


def new_figure(
    columns: int = 1, rows: int = 1, size: tuple[float, float] | None = None
) -> tuple[Figure, np.ndarray]:
    """A figure outside pyplot (nothing to close, nothing shown twice) and its axes [rows, columns], in the theme."""
    width, height = size or (5.0 * columns, 3.2 * rows)
    with plt.rc_context(THEME | {"figure.constrained_layout.use": False}):
        figure = Figure(figsize=(width, height))
        axes = figure.subplots(rows, columns, squeeze=False)
        # Fixed margins, in inches: solving for a layout would take as long as drawing does.
        figure.subplots_adjust(
            left=0.65 / width,
            right=1 - 0.12 / width,
            bottom=0.62 / height,
            top=1 - 0.32 / height,
            wspace=0.75 * columns / (width - 0.77),
            hspace=0.85 * rows / (height - 0.94),
        )
        for ax in axes.flat:
            ax.locator_params(
                nbins=5 if rows == 1 else 4
            )  # a tick is two labels, three lines: a third of all drawing
            ax.set_title(
                "", y=1.0
            )  # a fixed height: else every tick is measured to find room for it
    return figure, axes


def caption(figure: Figure, text: str) -> None:
    """A small line at the foot of a figure: which settings it shows."""
    figure.text(0.99, 0.01, text, ha="right", va="bottom", fontsize=8, color=GREY)


def to_png(figure: Figure) -> bytes:
    """The figure as PNG bytes, in the theme."""
    with plt.rc_context(THEME):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def legend_outside(ax: Axes) -> None:
    """The legend to the right of the axes, where it can hide no curve."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, handlelength=2.6)


def plot_curves(
    histories: dict[str, History], metric: str = "val_accuracy", ax: Axes | None = None
) -> Axes:
    """One curve over the epochs for each entry: the mean over its runs, with the 95 % interval shaded."""
    ax = ax or plt.gca()
    for number, (name, history) in enumerate(histories.items()):
        mean, low, high = curve_interval(history, metric)
        epochs = np.arange(1, len(mean) + 1)
        ax.plot(epochs, mean, label=name, **style(number))
        ax.fill_between(epochs, low, high, color=style(number)["color"], alpha=0.18, linewidth=0)
    ax.set(xlabel="epoch", ylabel=LABELS.get(metric, metric))
    ax.xaxis.get_major_locator().set_params(integer=True)
    if len(histories) > 1:
        legend_outside(ax)
    return ax


def plot_gap(history: History, quantity: str = "accuracy", ax: Axes | None = None) -> Axes:
    """Training and validation curves of the same runs, and the gap between them. ``quantity``: "accuracy" or "loss"."""
    ax = ax or plt.gca()
    ends = []
    for number, split in enumerate(("train", "val")):
        mean, low, high = curve_interval(history, f"{split}_{quantity}")
        epochs = np.arange(1, len(mean) + 1)
        ax.plot(
            epochs, mean, label={"train": "training", "val": "validation"}[split], **style(number)
        )
        ax.fill_between(epochs, low, high, color=style(number)["color"], alpha=0.18, linewidth=0)
        ends.append(mean)
    ax.fill_between(epochs, *ends, color=GREY, alpha=0.08, linewidth=0)
    ax.set(xlabel="epoch", ylabel=quantity)
    legend_outside(ax)
    return ax


def plot_basin(histories: dict[str, History], within: float = 0.02, ax: Axes | None = None) -> Axes:
    """Final validation accuracy against the learning rate, log axis; bars mark the basin within ``within`` of the best."""
    ax = ax or plt.gca()
    for number, (name, history) in enumerate(histories.items()):
        rates, mean, low, high = basin(history)
        ax.plot(rates, mean, label=name, **style(number))
        ax.fill_between(rates, low, high, color=style(number)["color"], alpha=0.18, linewidth=0)
        good = rates[mean >= mean.max() - within]
        height = -0.06 - 0.05 * number
        ax.plot(
            [good[0], good[-1]],
            [height, height],
            color=style(number)["color"],
            linewidth=5,
            solid_capstyle="butt",
        )
        ax.annotate(
            f"{name}: {np.log10(good[-1] / good[0]):.1f} decades",
            (good[-1], height),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    ax.set(xscale="log", xlabel="learning rate", ylabel="final validation accuracy")
    ax.set_yticks(np.arange(0, 1.01, 0.2))
    legend_outside(ax)
    return ax


def plot_estimates(
    estimates: dict[str, Estimate], ax: Axes | None = None, scale: float = 100.0, zero: bool = False
) -> Axes:
    """Named estimates as points with their 95 % intervals, top to bottom; ``scale`` 100 shows per cent or points."""
    ax = ax or plt.gca()
    for row, each in enumerate(estimates.values()):
        ax.plot([scale * each.low, scale * each.high], [row, row], color=COLOURS[0], linewidth=2.2)
        ax.plot(scale * each.value, row, "o", color=COLOURS[0], markersize=5)
        ax.annotate(
            f"{scale * each.value:+.1f}" if zero else f"{scale * each.value:.1f}",
            (scale * each.high, row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    if zero:
        ax.axvline(0, color=GREY, linewidth=1)
    ax.set(
        yticks=range(len(estimates)), yticklabels=list(estimates), ylim=(len(estimates) - 0.5, -0.7)
    )
    ax.grid(axis="y", visible=False)
    return ax


def plot_waterfall(start: Estimate, steps: dict[str, Estimate], ax: Axes | None = None) -> Axes:
    """From ``start`` by paired gains to the end: each bar is what one treatment added after those above it."""
    ax = ax or plt.gca()
    names, level = ["start", *steps], 100 * start.value
    ax.barh(0, level, color=GREY, alpha=0.45)
    ax.annotate(
        f"{level:.1f} %",
        (level, 0),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
    )
    for row, gain in enumerate(steps.values(), start=1):
        value, up, before = 100 * gain.value, gain.value >= 0, level
        ax.barh(
            row,
            value,
            left=level,
            color=COLOURS[0] if up else COLOURS[1],
            hatch="" if up else "///",
            alpha=0.85,
        )
        level += value
        error = [[100 * (gain.value - gain.low)], [100 * (gain.high - gain.value)]]
        ax.errorbar(level, row, xerr=error, color="black", linewidth=1.2, capsize=2.5)
        ax.annotate(
            f"{value:+.1f}  →  {level:.1f} %",
            (max(before, level + error[1][0]), row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    ax.set(yticks=range(len(names)), yticklabels=names, xlabel="validation accuracy in %")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return ax


def plot_histograms(
    values: dict[str, Tensor],
    ax: Axes | None = None,
    bins: int = 60,
    limits: tuple[float, float] | None = None,
    log: bool = False,
) -> Axes:
    """Histograms of named tensors as outlines on common axes; ``log`` takes log10 of the absolute values first."""
    ax = ax or plt.gca()
    arrays = {name: value.detach().flatten().cpu().numpy() for name, value in values.items()}
    if log:
        arrays = {name: np.log10(np.abs(array[array != 0])) for name, array in arrays.items()}
    low, high = limits or (
        min(a.min() for a in arrays.values()),
        max(a.max() for a in arrays.values()),
    )
    for number, (name, array) in enumerate(arrays.items()):
        density, edges = np.histogram(array, bins, (low, high), density=True)
        ax.stairs(density, edges, label=name, linewidth=1.6, **style(number))
    ax.set(ylabel="density")
    legend_outside(ax)
    return ax


def plot_confusion(counts: np.ndarray, ax: Axes | None = None) -> Axes:
    """A confusion matrix [true, predicted]; each mistake's count is written, the diagonal in grey."""
    ax = ax or plt.gca()
    mistakes = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    ax.imshow(mistakes, cmap="Blues", vmax=max(mistakes.max(), 1))
    for true, predicted in np.ndindex(counts.shape):
        if counts[true, predicted]:
            dark = mistakes[true, predicted] > 0.6 * mistakes.max()
            ax.text(
                predicted,
                true,
                counts[true, predicted],
                ha="center",
                va="center",
                fontsize=8,
                color=GREY if true == predicted else "white" if dark else "black",
            )
    ax.set(
        xlabel="predicted digit",
        ylabel="true digit",
        xticks=range(len(counts)),
        yticks=range(len(counts)),
    )
    ax.grid(visible=False)
    return ax


def plot_images(images: Tensor, titles: Sequence[str] | None = None, columns: int = 8) -> Figure:
    """Images [n, 1 or 3, h, w] in a grid, each with a short title; returns the pyplot figure."""
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(0.85 * columns, (1.15 if titles else 0.85) * rows), squeeze=False
    )
    for number, ax in enumerate(axes.flat):
        ax.axis("off")
        if number < len(images):
            ax.imshow(
                images[number].movedim(0, -1).squeeze(-1).cpu(), cmap="gray_r", vmin=0, vmax=1
            )
            if titles:
                ax.set_title(titles[number], fontsize=8.5, fontweight="normal", loc="center")
    return figure


def draw_training(
    figure: Figure, axes: np.ndarray, history: History, earlier: Sequence[History] = ()
) -> None:
    """The picture of a training lab: loss and accuracy side by side, every network a thin line, the mean thick.

    ``earlier`` runs stay as faint grey curves, to compare.
    """
    for ax, quantity in zip(axes.flat, ("loss", "accuracy"), strict=True):
        for number, old in enumerate(earlier):
            ax.plot(
                np.arange(1, old.val_loss.shape[1] + 1),
                curve_interval(old, f"val_{quantity}")[0],
                color=GREY,
                alpha=0.4,
                linewidth=1.2,
                label="your earlier runs" if number == 0 else None,
            )
        for number, split in enumerate(("train", "val")):
            curves = getattr(history, f"{split}_{quantity}")
            epochs = np.arange(1, curves.shape[1] + 1)
            ax.plot(epochs, curves.T, linewidth=0.6, alpha=0.35, **style(number))
            reached = np.isfinite(curves).any(0)
            ax.plot(
                epochs[reached],
                np.nanmean(curves[:, reached], 0),
                linewidth=2.4,
                label={"train": "training", "val": "validation"}[split],
                **style(number),
            )
        ax.set(xlabel="epoch", ylabel=quantity, xlim=(0.7, history.val_loss.shape[1] + 0.3))
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes.flat[0].set_ylim(0, 3)
    axes.flat[1].set_ylim(0, 1.02)
    axes.flat[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    if history.diverged.any():
        first = np.isfinite(history.val_loss).sum(1)[history.diverged].min() + 1
        axes.flat[0].text(
            0.5,
            0.5,
            f"{history.diverged.sum()} of {len(history)} diverged at epoch {first}",
            transform=axes.flat[0].transAxes,
            ha="center",
            color="black",
        )
    elif np.nanmin(history.val_loss) > 3:
        axes.flat[0].text(
            0.5, 0.5, "loss above 3", transform=axes.flat[0].transAxes, ha="center", color=GREY
        )
