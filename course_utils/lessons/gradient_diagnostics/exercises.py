"""Checks of the exercises of notebook 07."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ...classroom.check import exercise
from ...classroom.design import fair_design


@exercise(
    "07.1",
    hints=[
        "Subtract first: what is the update?",
        "Compare the size of the update with the size of the weights.",
        "float(torch.log10((after - before).norm() / before.norm()))",
    ],
)
def check_update_ratio(update_ratio: Callable[[Tensor, Tensor], Any]) -> Iterator[tuple[Any, str]]:
    """log10 of the update's norm over the weights' norm."""
    weight = torch.randn(30, 20, generator=torch.Generator().manual_seed(0))
    step = torch.randn(30, 20, generator=torch.Generator().manual_seed(1))
    step *= weight.norm() / step.norm()
    first = float(update_ratio(weight, weight + 1e-3 * step))
    yield math.isfinite(first), "One finite number is wanted for two tensors."
    yield abs(first + 3) < 0.02, "An update of a thousandth of the weights should read -3."
    second = float(update_ratio(weight, weight - 1e-2 * step))
    yield abs(second + 2) < 0.02, "An update of a hundredth should read -2."
    third = float(update_ratio(1000 * weight, 1000 * weight + step))
    told = "Measure the update against the weights: with both a thousand times larger, it is equal."
    yield abs(third + 3) < 0.02, told


@exercise(
    "07.2",
    hints=[
        "Where would a blank image divide by zero?",
        "Add a small number where the variance is still under the root.",
        "centred / (variance + 1e-5).sqrt(), with the variance of each image over its pixels.",
    ],
    praise="That is right: finite values, and finite slopes.",
)
def check_standardise(standardise: Callable[[Tensor], Tensor]) -> Iterator[tuple[Any, str]]:
    """Zero mean and unit spread for each image; finite values and gradients for blank ones, too."""
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    blank = torch.cat([images, torch.zeros(1, 1, 8, 8)])
    result = standardise(blank)
    yield isinstance(result, Tensor), "A tensor should come back."
    yield result.shape == blank.shape, "The result should have the shape of the images."
    ordinary = standardise(images).flatten(1)
    yield ordinary.mean(1).abs().max() < 1e-3, "An ordinary image should have mean zero afterwards."
    told = "An ordinary image should have standard deviation 1."
    yield (ordinary.std(1) - 1).abs().max() < 0.02, told
    yield result.isfinite().all(), "The blank image became NaN: zero divided by zero."
    leaf = blank.clone().requires_grad_()
    (standardise(leaf) ** 2).sum().backward()
    told = "The values are finite, and the gradient is not: a blank image makes the slope of the "
    told += "root or of the division infinite, and what mends the value afterwards comes too late."
    yield leaf.grad is not None and leaf.grad.isfinite().all(), told


@exercise(
    "07.3",
    hints=[
        "Start from the comparison of cures above, and keep two arms that differ in one thing.",
        "The table's last column says which choice lies at an edge. Add a value beyond it.",
        "*Supported* means that the whole interval of the gain lies above zero; *refuted*, below "
        "it; *not settled*, that zero is inside.",
    ],
    praise="That is a fair experiment, and your verdict follows from it.",
)
def check_my_cure(trial: Any, verdict: Any) -> Iterator[tuple[Any, str]]:
    """An experiment of the learner's own: two arms, both tuned, eight seeds, a verdict."""
    yield from fair_design(trial, verdict)
