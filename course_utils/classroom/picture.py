"""The picture of a lab: its frame is drawn once, what moves each time.

To draw a whole figure takes ten times as long as to draw its curves. So the frame (axes, ticks,
labels, legend) is kept as pixels, and each new result is drawn upon a copy. Nothing here changes a
setting of matplotlib's that others share: a lab may draw while a cell draws, too.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from ..plots import COLOURS

DPI = 96
LIGHT = {"ink": "#1A1A1A", "grid": "#B0B0B0"}
DARK = {"ink": "#E6E6E6", "grid": "#6A6A6A"}
MARGINS = {"left": 0.72, "right": 0.14, "bottom": 0.52, "top": 0.34}  # inches
BETWEEN = {"across": 0.78, "down": 0.80}  # inches, from one panel to the next


class Picture:
    """A figure that is drawn again and again.

    size     width and height in inches; ``rows`` and ``columns`` of panels
    frame    axes [panel] -> None: limits, labels, titles, legends, whatever stays
    """

    def __init__(
        self,
        frame: Callable[[list[Axes]], None],
        size: tuple[float, float] = (8.4, 3.0),
        columns: int = 2,
        rows: int = 1,
    ):
        self.frame, self.size, self.columns, self.rows = frame, size, columns, rows
        self.dark = False
        self.axes: list[Axes] = []
        self._background: Any = None

    def renew(self, dark: bool | None = None) -> None:
        """Draw the frame anew with the next picture, because it has changed or the theme has."""
        self.dark = self.dark if dark is None else dark
        self._background = None

    def png(self, draw: Callable[[list[Axes]], None]) -> bytes:
        """The frame with what ``draw`` (axes -> None) adds to it, as PNG bytes."""
        if self._background is None:
            self._draw_frame()
        before = [set(axes.get_children()) for axes in self.axes]
        for axes in self.axes:
            axes.set_prop_cycle(color=COLOURS)  # begins anew, and asks no setting that others share
        draw(self.axes)
        self.canvas.restore_region(self._background)
        for axes, old in zip(self.axes, before, strict=True):
            added = [artist for artist in axes.get_children() if artist not in old]
            for artist in sorted(added, key=Artist.get_zorder):
                self._suit(artist)
                axes.draw_artist(artist)
            for artist in added:
                artist.remove()
        image = Image.fromarray(np.asarray(self.canvas.buffer_rgba()))
        packed = io.BytesIO()
        image.save(packed, "png", compress_level=1)  # the best packing takes five times as long
        return packed.getvalue()

    def data_at(self, x: float, y: float) -> tuple[int, float, float] | None:
        """(panel, x, y) in a panel's own coordinates of a point given as shares of the picture's
        width and height, from the upper left; None outside of all panels."""
        pixels = np.array([x, 1 - y]) * self.figure.bbox.size
        for number, axes in enumerate(self.axes):
            if axes.bbox.contains(*pixels):
                return number, *axes.transData.inverted().transform(pixels)
        return None

    def _draw_frame(self) -> None:
        width, height = self.size
        # "none", not None: the learner's settings may ask for a layout. (Its stubs forget "none".)
        self.figure = Figure(figsize=self.size, dpi=DPI, layout="none")  # type: ignore[arg-type]
        self.canvas = FigureCanvasAgg(self.figure)
        self.figure.patch.set_alpha(0)  # so that it suits the page's theme
        panels = self.figure.subplots(self.rows, self.columns, squeeze=False)
        # Fixed margins: to solve for a layout would take as long as to draw.
        self.figure.subplots_adjust(
            left=MARGINS["left"] / width,
            right=1 - MARGINS["right"] / width,
            bottom=MARGINS["bottom"] / height,
            top=1 - MARGINS["top"] / height,
            wspace=BETWEEN["across"] * self.columns / (width - 0.86 - BETWEEN["across"]),
            hspace=BETWEEN["down"] * self.rows / (height - 0.86 - BETWEEN["down"]),
        )
        self.axes = list(panels.flat)
        theme = DARK if self.dark else LIGHT
        for axes in self.axes:
            _dress(axes, theme)
        self.frame(self.axes)
        for axes in self.axes:
            _colour(axes, theme["ink"])
        self.canvas.draw()
        self._background = self.canvas.copy_from_bbox(self.figure.bbox)

    def _suit(self, artist: Artist) -> None:
        """Black text is not to be read on a dark page."""
        if isinstance(artist, Text) and artist.get_color() == "black":
            artist.set_color((DARK if self.dark else LIGHT)["ink"])


def _dress(axes: Axes, theme: dict[str, str]) -> None:
    """The course's theme, as settings of these axes alone."""
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=theme["grid"], alpha=0.35, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9.5)
    axes.locator_params(nbins=5)
    axes.title.set(fontsize=10.5, fontweight="bold")


def _colour(axes: Axes, ink: str) -> None:
    """All text and lines of a frame in one colour, after the frame has made them."""
    axes.tick_params(which="both", colors=ink)
    for spine in axes.spines.values():
        spine.set_color(ink)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set_color(ink)
    axes.xaxis.label.set_fontsize(10)
    axes.yaxis.label.set_fontsize(10)
    if (legend := axes.get_legend()) is not None:
        for text in legend.get_texts():
            text.set(color=ink, fontsize=9.5)
        legend.get_frame().set_alpha(0)
