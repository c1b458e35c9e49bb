"""Checks of the exercises of notebook 02."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...classroom.check import exercise
from ...classroom.design import fair_design


@exercise(
    "02.1",
    hints=[
        "SiLU is a product of two functions of z. What does the product rule say?",
        "The slope of z is 1, and that of s(z) is s(z)(1 - s(z)).",
        "s = torch.sigmoid(z); return s + z * s * (1 - s)",
    ],
    praise="It is above 1 where z s (1 - s) is larger than 1 - s.",
)
def check_silu_slope(slope: Any) -> Iterator[tuple[Any, str]]:
    """The derivative of z times sigmoid(z), for every z."""
    sums = torch.linspace(-30, 30, 601, requires_grad=True)
    right = torch.autograd.grad(functional.silu(sums).sum(), sums)[0]
    answer = slope(sums.detach())
    yield isinstance(answer, Tensor), "silu_slope(z) should return a tensor."
    yield answer.shape == right.shape, "One slope for each z, please."
    at = {"z = 0": 300, "z = 30": 600, "z = -30": 0, "z = 1": 310, "z = -2": 280}
    for place, index in at.items():
        got, wanted = float(answer[index]), right[index].item()
        told = f"At {place} the curve climbs with slope {wanted:.3g}; yours says {got:.3g}."
        yield abs(got - wanted) < 1e-3, told
    yield torch.allclose(answer, right, atol=1e-4), "Between those places it is not right yet."


@exercise(
    "02.2",
    hints=[
        "1 - sigmoid(z) is rounded to 0 for large z, and its logarithm is infinite. Never compute "
        "the sigmoid: what is -log(1 - sigmoid(z)), written with exp(z)?",
        "It is log(1 + exp(z)), which torch has as functional.softplus(z).",
        "return functional.softplus(z) - y * z",
    ],
    praise="It is finite and right, and something can be learnt from it.",
)
def check_stable_bce(bce: Callable[[Tensor, Tensor], Tensor]) -> Iterator[tuple[Any, str]]:
    """Binary cross-entropy of logits, right for every float32, in value and in gradient."""
    sizes = [0.1, 0.5, 3.0, 20.0, 90.0, 200.0, 1e4]
    logits = torch.tensor([-size for size in sizes[::-1]] + sizes)
    labels = torch.tensor([0.0, 1.0, 0.3])
    z, y = logits.repeat(len(labels)), labels.repeat_interleave(len(logits))
    right = functional.binary_cross_entropy_with_logits(z, y, reduction="none")
    answer = bce(z, y)
    yield isinstance(answer, Tensor), "bce(z, y) should return a tensor."
    yield answer.shape == right.shape, "One number for each logit, please: no mean, no sum."
    small, close = z.abs() < 5, {"rtol": 1e-4, "atol": 1e-5}
    told = "For small logits it is not the binary cross-entropy."
    yield torch.allclose(answer[small], right[small], **close), told
    yield answer.isfinite().all(), "For a large logit the loss is infinite, or no number."
    told = "For a large logit it is finite, but wrong: it must grow with the logit."
    yield torch.allclose(answer, right, **close), told
    ours, theirs = z.clone().requires_grad_(True), z.clone().requires_grad_(True)
    mine = torch.autograd.grad(bce(ours, y).sum(), ours)[0]
    loss = functional.binary_cross_entropy_with_logits(theirs, y, reduction="sum")
    wanted = torch.autograd.grad(loss, theirs)[0]
    told = "The values are right, but the gradient of a large logit is not."
    yield torch.allclose(mine, wanted, atol=1e-4), told


@exercise(
    "02.3",
    hints=[
        "Take two arms that differ in the activation, or in the loss, and in nothing else. Give "
        "each activation its own start: init='he' or init='xavier'.",
        "The last column of the table says which choice lies at an edge of the grid. Add a rate "
        "beyond it.",
        '"supported": the whole interval of the gain lies above zero. "refuted": it lies below. '
        '"not settled": zero is inside.',
    ],
    praise="That is a fair experiment, and your verdict follows from it.",
)
def check_my_experiment(trial: Any, verdict: Any) -> Iterator[tuple[Any, str]]:
    """The learner's own comparison, both sides tuned, eight seeds, and a verdict."""
    yield from fair_design(trial, verdict)
