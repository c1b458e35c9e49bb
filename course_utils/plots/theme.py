"""How the course's figures look."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#00795B", "#B0478C", "#806000", "#3A8FC4", "#000000")
LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)))
GREY = "#5A5A5A"
EARLIER = "#8A8A8A"  # earlier runs of a lab: to be seen on a light page and on a dark one
THEME: Any = {
    "figure.figsize": (6.4, 3.3),
    "figure.dpi": 96,
    "savefig.dpi": 96,
    "figure.constrained_layout.use": True,
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.9,
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
    "weight_decay": "weight decay",
    "batch_size": "batch size",
}


def use_theme() -> None:
    """Set the course's theme for this notebook; its set-up cell calls it."""
    plt.rcParams.update(THEME)


def style(number: int) -> dict[str, Any]:
    """Colour and line style of the curve with this number."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": LINES[number % len(LINES)]}


def axes_or_current(ax: Axes | None) -> Axes:
    return plt.gca() if ax is None else ax


def legend_outside(ax: Axes) -> None:
    """The legend to the right of the axes, where it can hide no curve."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, handlelength=2.6)
