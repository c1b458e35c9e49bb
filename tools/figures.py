"""Stored pictures as figures of a page: named by contents, readable on a phone, and in the dark."""

from __future__ import annotations

import base64
import hashlib
import html
import io
from collections.abc import Callable

import nbformat
import numpy as np
from PIL import Image
from scipy import ndimage

WHITE = 250  # of 255: lighter is paper
DARK = 110  # of 255: a flat area that is darker may stay as it is
SMALLEST_PICTURE = 40  # pixels: smaller filled boxes are bars and markers
FLAT = 0.5  # of a box in one tone, from which on it is shading
FILLED = 0.85  # of a box, from which on it is a picture and no drawing
# Figures have letters of 8 points at least, 10.7 pixels: at this part of their size they have 9.
SMALLEST_SCALE = 0.85

Store = Callable[[str, bytes], None]  # (name below the site's top, contents)


def pictures_within(image: Image.Image) -> list[tuple[int, int, int, int]]:
    """The boxes (left, top, right, bottom) in a figure that are pictures themselves: heat maps,
    digits, photographs. What is drawn with lines on white, an area in one pale colour, and text, is
    none.

    Thin white lines between cells are filled in first; what is then too narrow for a picture falls
    away, ticks and letters among it.
    """
    grey = np.asarray(image.convert("L"))
    ink = (np.asarray(image.convert("RGB")).min(axis=2) < WHITE).astype(np.uint8)
    joined = ndimage.minimum_filter(ndimage.maximum_filter(ink, 4), 4, origin=-1)
    solid = ndimage.minimum_filter(joined, SMALLEST_PICTURE, mode="constant")
    solid = ndimage.maximum_filter(solid, SMALLEST_PICTURE, origin=-(1 - SMALLEST_PICTURE % 2))
    labels, _ = ndimage.label(solid)
    boxes = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        inside = grey[rows, columns]
        commonest = np.bincount(inside.ravel(), minlength=256)
        pale = commonest.max() > FLAT * inside.size and commonest.argmax() > DARK
        if not pale and (labels[rows, columns] == number).mean() >= FILLED:
            boxes.append((columns.start, rows.start, columns.stop, rows.stop))
    return boxes


def clip_path(boxes: list[tuple[int, int, int, int]], size: tuple[int, int]) -> str:
    """The boxes as one polygon for CSS, in per cent: from the corner around each, and back."""
    points = []
    for left, top, right, bottom in boxes:
        corners = ((0, 0), (left, top), (right, top), (right, bottom), (left, bottom), (left, top))
        points += [f"{100 * x / size[0]:.2f}% {100 * y / size[1]:.2f}%" for x, y in corners]
    return f"polygon(evenodd,{','.join([*points, '0 0'])})"


def figure(png: bytes, text: str, store: Store, root: str, width: int | None = None) -> str:
    """Hand a picture to ``store``; returns the HTML that shows it.

    text    what it shows
    root    the way from the page to the site's top, "../" say
    width   in CSS pixels, where the picture has more for sharp screens
    """
    image = Image.open(io.BytesIO(png))
    suffix = (image.format or "png").lower()
    name = f"{hashlib.sha256(png).hexdigest()[:16]}.{suffix}"
    store(f"figures/{name}", png)
    address = f"{root}figures"
    width = width or image.width
    height = round(width * image.height / image.width)
    kept = ""
    if boxes := pictures_within(image):
        path = clip_path(boxes, image.size)
        style = f"background-image:url({address}/{name});clip-path:{path}"
        kept = f'<div class="kept" style="{style}"></div>'
    return (
        f'<div class="figure"><div class="sheet" style="--width:{width}px;'
        f'--least:{round(SMALLEST_SCALE * width)}px">'
        f'<img src="{address}/{name}" width="{width}" height="{height}" loading="lazy" '
        f'alt="{html.escape(text)}">{kept}</div></div>'
    )


def set_figures(notebook: nbformat.NotebookNode, store: Store, root: str) -> None:
    """Every stored picture of a notebook as HTML that shows it, in place."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for mime in ("image/png", "image/jpeg"):
                if mime in output.get("data", {}):
                    given = output.metadata.get(mime, {})
                    picture = base64.b64decode(output.data[mime])
                    shown = figure(picture, given.get("alt", ""), store, root, given.get("width"))
                    output.data = nbformat.from_dict({"text/html": shown})
                    break
