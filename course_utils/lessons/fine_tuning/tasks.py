"""The tasks of notebook 11: what networks are pretrained on, and what they are fine-tuned for.

All are cut from 2,000 digits: half of the images for the source, the other half for the target.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ...engine.data import Dataset, Split

HALF = 1000  # images of the source, and as many that a target may draw from
AT_LEAST = 1600  # images in an epoch: few are repeated, so that all make as many updates
DEGREES = 30.0


def old_digits(dataset: Dataset) -> Dataset:
    """The digits 0 to 4: the source of ``new_digits``."""
    return _each_part(dataset, lambda split: _some_classes(split, 0, 4), "digits 0 to 4")


def new_digits(dataset: Dataset, labels: int, at_least: int = AT_LEAST) -> Dataset:
    """The digits 5 to 9, named 0 to 4, with ``labels`` images to train on.

    They are repeated until an epoch has ``at_least`` images.
    """
    target = _each_part(dataset, lambda split: _some_classes(split, 5, 9), "digits 5 to 9")
    return _with_few(target, labels, at_least)


def upright(dataset: Dataset) -> Dataset:
    """All ten digits, the first half of the training images: the source of ``tilted``."""
    return _with_train(dataset, dataset.train.first(HALF), "upright digits")


def tilted(dataset: Dataset, labels: int, at_least: int = AT_LEAST) -> Dataset:
    """All ten digits, tilted by 30 degrees; ``labels`` images to train on, of the second half.

    They are repeated until an epoch has ``at_least`` images.
    """
    rest = Split(dataset.train.images[HALF:], dataset.train.labels[HALF:])
    target = _with_train(dataset, rest, "tilted digits")
    turned = _each_part(target, lambda split: Split(tilt(split.images), split.labels), target.name)
    return _with_few(turned, labels, at_least)


def tilt(images: Tensor, degrees: float = DEGREES) -> Tensor:
    """[n, channels, height, width]: every image turned about its middle; what comes in is black."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]], device=images.device)
    grid = functional.affine_grid(
        matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False
    )
    return functional.grid_sample(images, grid, align_corners=False)


def _some_classes(split: Split, low: int, high: int) -> Split:
    keep = (split.labels >= low) & (split.labels <= high)
    return Split(split.images[keep], split.labels[keep] - low)


def _with_train(dataset: Dataset, train: Split, name: str) -> Dataset:
    return Dataset(train, dataset.val, dataset.test, name, dataset.tuning)


def _with_few(dataset: Dataset, labels: int, at_least: int) -> Dataset:
    """The first ``labels`` training images, again and again until there are ``at_least``."""
    if not 1 <= labels <= len(dataset.train):
        raise ValueError(f"labels: got {labels}, takes 1 to {len(dataset.train):,}")
    few = dataset.train.first(labels)
    places = torch.arange(max(at_least, labels), device=few.labels.device) % labels
    train = Split(few.images[places], few.labels[places])
    return _with_train(dataset, train, f"{dataset.name}, {labels:,} labels")


def _each_part(dataset: Dataset, change: Callable[[Split], Split], name: str) -> Dataset:
    tuning = None if dataset.tuning is None else change(dataset.tuning)
    parts = (change(split) for split in (dataset.train, dataset.val, dataset.test))
    return Dataset(*parts, name, tuning)
