"""Augmentation as batched tensor operations: every image its own transformation, no image library.

An augmentation is a function (images [n, channels, height, width], generator) -> images.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def random_affine(
    images: Tensor,
    generator: torch.Generator,
    degrees: float = 12.0,
    shift: float = 0.08,
    scale: float = 0.12,
    shear: float = 0.12,
) -> Tensor:
    """Turn, shift, scale and shear each image by its own random amount, uniform within the limits.

    ``shift`` is a share of the image's side, ``scale`` and ``shear`` are relative. What enters from
    outside is black. Sampling is bilinear.
    """
    n, _, height, width = images.shape
    amounts = torch.rand(6, n, generator=generator, device=generator.device) * 2 - 1
    turn, scale_x, scale_y, shear_x, shift_x, shift_y = amounts.to(images.device)
    turn = turn * math.radians(degrees)
    cos, sin = turn.cos(), turn.sin()
    scale_x, scale_y, shear_x = 1 + scale * scale_x, 1 + scale * scale_y, shear * shear_x
    rows = [  # of matrices [n, 2, 3], from output to input coordinates
        torch.stack([cos * scale_x, shear_x - sin, 2 * shift * shift_x], -1),
        torch.stack([sin, cos * scale_y, 2 * shift * shift_y], -1),
    ]
    # functional.affine_grid does the same five times slower on a CPU.
    y, x = torch.meshgrid(_centres(height, images), _centres(width, images), indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    grid = (torch.stack(rows, 1).reshape(2 * n, 3) @ points).view(n, 2, height, width)
    return functional.grid_sample(images, grid.permute(0, 2, 3, 1), align_corners=False)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    heads = torch.rand(len(images), 1, 1, 1, generator=generator, device=generator.device) < 0.5
    return torch.where(heads.to(images.device), images.flip(-1), images)


def random_shift(images: Tensor, generator: torch.Generator, shift: float = 0.08) -> Tensor:
    """Shift each image by its own random amount, up to ``shift`` of its side."""
    return random_affine(images, generator, degrees=0, shift=shift, scale=0, shear=0)


def _centres(size: int, like: Tensor) -> Tensor:
    """Pixel centres in grid_sample's coordinates, where an image reaches from -1 to 1."""
    return (torch.arange(size, device=like.device, dtype=like.dtype) * 2 + 1) / size - 1


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "affine": random_affine,
    "flip": random_flip,
    "shift": random_shift,
}
