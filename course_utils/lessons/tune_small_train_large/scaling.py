"""Scaling curves of notebook 12: the error against the amount of data or the width, and forecasts.

At every size the rate is tuned, on images and seeds that do not judge, and the updates are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.special import stdtrit

from ...engine.config import Config, sweep
from ...engine.data import Dataset, Split
from ...engine.training import fit
from ...estimates import Estimate
from ...grids import edges
from ...mnist import load_mnist

DIGITS = 1920  # for training; of the 3,000, the last thousand are for tuning
BLOCKS = 20  # of validation images, each left out once


@dataclass(frozen=True)
class Curve:
    """What was measured at each size: ``field`` names what the size is of.

    wrong   {size: [seed, validation image] bool}: the wrong answers of tuned networks
    rates   {size: the learning rate that was chosen}
    flags   choices at an edge of what was tried
    """

    field: str
    wrong: dict[int, np.ndarray]
    rates: dict[int, float]
    flags: tuple[str, ...]

    @property
    def sizes(self) -> list[int]:
        return sorted(self.wrong)

    @property
    def table(self) -> np.ndarray:
        """[size, seed, image] bool: the wrong answers, sizes ascending."""
        return np.stack([self.wrong[size] for size in self.sizes])


def many_digits() -> Dataset:
    """1,920 digits to train on, 1,000 to tune on, and the validation digits of all lessons."""
    data = load_mnist(subset=2000, image_size=14)
    return replace(data, train=data.train.first(DIGITS))


def deal(data: Dataset, count: int, seed: int | None = None) -> Dataset:
    """The data with ``count`` training digits, as many of each class: the first, or, with a seed,
    digits drawn at random. They are repeated until an epoch has as many updates as with all."""
    tens, repeats = len(data.train) // 10, len(data.train) // count
    order = torch.arange(tens)
    if seed is not None:
        order = torch.randperm(tens, generator=torch.Generator().manual_seed(seed))
    rows = (10 * order[: count // 10, None] + torch.arange(10)).flatten().repeat(repeats)
    rows = rows.to(data.device)
    return replace(data, train=Split(data.train.images[rows], data.train.labels[rows]))


def against_digits(
    config: Config, data: Dataset, counts: Sequence[int], rates: Sequence[float]
) -> Curve:
    """The error against the number of training digits; each of eight seeds draws its own, if there
    are more than it needs."""
    wrong, chosen, flags = {}, {}, []
    for count in counts:
        config, found = _tuned(config, deal(data, count), rates)
        if count == len(data.train):
            right = _train(config.seeds(8), data)
        else:
            runs = [_train([each], deal(data, count, each.seed)) for each in config.seeds(8)]
            right = np.concatenate(runs)
        wrong[count], chosen[count] = ~right, config.learning_rate
        flags += [f"{count} digits: {flag}" for flag in found]
    return Curve("training digits", wrong, chosen, tuple(flags))


def against_width(
    config: Config, data: Dataset, widths: Sequence[int], rates: Sequence[float]
) -> Curve:
    """The error against the width, with all of the data."""
    wrong, chosen, flags = {}, {}, []
    for width in widths:
        config, found = _tuned(config.replace(width=width), data, rates)
        wrong[width], chosen[width] = ~_train(config.seeds(8), data), config.learning_rate
        flags += [f"width {width}: {flag}" for flag in found]
    return Curve("width", wrong, chosen, tuple(flags))


def _tuned(config: Config, data: Dataset, rates: Sequence[float]) -> tuple[Config, list[str]]:
    """As ``compare`` chooses: the highest mean accuracy of seeds 8 to 11 on the tuning images."""
    assert data.tuning is not None
    choosing = replace(data, val=data.tuning, tuning=None)
    right = _train(sweep(config, learning_rate=rates, seeds=range(8, 12)), choosing)
    score = right.mean(1).reshape(len(rates), -1).mean(1)
    choice: dict[str, Any] = {"learning_rate": float(rates[int(score.argmax())])}
    return config.replace(**choice), edges(choice, {"learning_rate": list(rates)})


def _train(configs: Sequence[Config], data: Dataset) -> np.ndarray:
    """[config, validation image]: whether each was named rightly."""
    return fit(configs, data, keep_models=False, progress=False).val_correct


# Forecasts ----------------------------------------------------------------------------------------


def power_law(sizes: Sequence[int], errors: np.ndarray) -> tuple[float, float]:
    """(exponent, factor) of error = factor * size ** exponent: a straight line through the
    logarithms of the errors [size], by least squares."""
    exponent, offset = np.polyfit(np.log(sizes), np.log(errors), 1)
    return float(exponent), float(np.exp(offset))


def law_of(curve: Curve, points: int | None = None) -> tuple[list[int], float, float]:
    """(sizes, exponent, factor) of the law through all sizes but the largest, or through the last
    ``points`` of these."""
    sizes = curve.sizes[slice(-1 - points if points else 0, -1)]
    errors = np.array([curve.wrong[size].mean() for size in sizes])
    return sizes, *power_law(sizes, errors)


def missed(curve: Curve, points: int | None = None) -> Estimate:
    """Points by which the measured error at the largest size lies above its forecast: what the
    law through the smaller sizes (or through the last ``points`` of them) says.

    The interval covers the seeds of both, and the validation images: a jackknife that leaves out
    each seed in turn, and each block of images, at all sizes at once.
    """
    table, start = curve.table, -1 - points if points else 0

    def of(part: np.ndarray) -> float:
        errors = part.mean((1, 2))
        exponent, factor = power_law(curve.sizes[start:-1], errors[start:-1])
        return errors[-1] - factor * curve.sizes[-1] ** exponent

    seeds, images = table.shape[1:]
    block = np.arange(images) % BLOCKS
    variance = _jackknife([of(np.delete(table, seed, axis=1)) for seed in range(seeds)])
    variance += _jackknife([of(table[:, :, block != each]) for each in range(BLOCKS)])
    value, half = of(table), stdtrit(seeds - 1, 0.975) * np.sqrt(variance)
    estimate = Estimate(value, value - half, value + half, seeds, "points")
    return estimate.flagged(*curve.flags)


def _jackknife(without: Sequence[float]) -> float:
    """The variance of a figure, from what it is without each part in turn."""
    return float((len(without) - 1) * np.var(without))


def distance(estimate: Estimate) -> Estimate:
    """How far from zero, whichever way: the same interval, seen from the side of its value."""
    if estimate.value >= 0:
        return estimate
    return replace(estimate, value=-estimate.value, low=-estimate.high, high=-estimate.low)
