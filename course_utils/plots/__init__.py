"""The figures that several lessons share: ``plot_*(..., ax=None) -> Axes``.

They draw and return: none calls ``show``, none changes a global style. Colours are Okabe and Ito's,
and every colour comes with a line style of its own, so that no figure needs its colours to be read.
"""

from .bars import plot_estimates, plot_gains, plot_waterfall
from .curves import (
    plot_band,
    plot_basin,
    plot_curves,
    plot_gap,
    plot_rows,
    plot_tuning,
)
from .pictures import plot_confusion, plot_histograms, plot_images, plot_layers
from .theme import COLOURS, EARLIER, GREY, LABELS, LINES, legend_outside, style, use_theme

__all__ = [
    "COLOURS",
    "EARLIER",
    "GREY",
    "LABELS",
    "LINES",
    "legend_outside",
    "plot_band",
    "plot_basin",
    "plot_confusion",
    "plot_curves",
    "plot_estimates",
    "plot_gains",
    "plot_gap",
    "plot_histograms",
    "plot_images",
    "plot_layers",
    "plot_rows",
    "plot_tuning",
    "plot_waterfall",
    "style",
    "use_theme",
]
