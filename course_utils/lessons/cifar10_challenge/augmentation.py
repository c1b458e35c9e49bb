"""Augmentations for photographs, a whole batch at once: ``augment`` of a Config takes them.

Notebook 15, sections 2 and 4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...engine.augment import random_flip

PADDING = 2  # pixels that a crop moves an image by, at most
SQUARE = 8  # pixels on a side of the square that cutout hides


def crop(images: Tensor, generator: torch.Generator, padding: int = PADDING) -> Tensor:
    """Move each image [n, channels, size, size] by its own random number of pixels.

    Up to ``padding`` pixels each way; what comes in at the border is mirrored.
    """
    n, channels, size, _ = images.shape
    shift = torch.randint(2 * padding + 1, (2, n, 1), generator=generator, device=images.device)
    source = (torch.arange(size, device=images.device) + shift - padding).abs()
    rows, columns = torch.where(source < size, source, 2 * (size - 1) - source)
    # One gather over all pixels: padding, then cutting windows out, is ten times slower on a CPU.
    pixels = rows[:, :, None] * size + columns[:, None, :]
    pixels = pixels.view(n, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, pixels).view(images.shape)


def cutout(images: Tensor, generator: torch.Generator, square: int = SQUARE) -> Tensor:
    """Hide a square of each image, at its own random place, behind the mean colour of the batch.

    ``square`` is its side in pixels (DeVries and Taylor, 2017).
    """
    n, _, height, width = images.shape
    place = torch.rand(2, n, generator=generator, device=images.device)
    top = (place[0] * (height - square + 1)).long()
    left = (place[1] * (width - square + 1)).long()
    y, x = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    rows = (y >= top[:, None]) & (y < top[:, None] + square)
    columns = (x >= left[:, None]) & (x < left[:, None] + square)
    hidden = (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)
    return torch.where(hidden, images.mean((0, 2, 3), keepdim=True), images)


def crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """A random crop, mirrored left to right with probability one half."""
    return random_flip(crop(images, generator), generator)


def crop_flip_cutout(images: Tensor, generator: torch.Generator) -> Tensor:
    """``crop_flip``, then ``cutout``."""
    return cutout(crop_flip(images, generator), generator)


def nearly_everything_hidden(images: Tensor, generator: torch.Generator) -> Tensor:
    """A mistake: so much of each image is moved out of sight and hidden that little is left."""
    return cutout(crop(images, generator, padding=8), generator, square=20)


# By the name under which a stored run has them.
AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    each.__name__: each
    for each in (
        *(random_flip, crop, cutout, crop_flip, crop_flip_cutout),
        nearly_everything_hidden,
    )
}
