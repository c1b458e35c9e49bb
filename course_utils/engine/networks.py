"""Plain networks of torch's own layers, and the ways to fill their weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..errors import known

M = TypeVar("M", bound=nn.Module)

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}
NORMALISATIONS: dict[str, Callable[[int], nn.Module]] = {
    "layer": nn.LayerNorm,
    "batch": nn.BatchNorm1d,
}


def _fans(weight: Tensor) -> tuple[int, int]:
    """(inputs, outputs) of one unit of a weight [out, in] or [out, in, height, width]."""
    receptive = math.prod(weight.shape[2:])
    return weight.shape[1] * receptive, weight.shape[0] * receptive


def _xavier(weight: Tensor) -> Tensor:
    return weight.normal_(0, math.sqrt(2 / sum(_fans(weight))))


def _he(weight: Tensor) -> Tensor:
    return weight.normal_(0, math.sqrt(2 / _fans(weight)[0]))


INITIALISATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros": lambda weight: weight.zero_(),
    "constant": lambda weight: weight.fill_(0.05),
    "normal": lambda weight: weight.normal_(0, 1),  # what "draw them at random" often means
    "small": lambda weight: weight.normal_(0, 0.01),
    "uniform": lambda weight: weight.uniform_(-0.5, 0.5),
    "xavier": _xavier,  # Glorot and Bengio, 2010
    "xavier_sigmoid": lambda weight: 4 * _xavier(weight),  # a sigmoid's slope at zero is a quarter
    "he": _he,  # He et al., 2015
    "torch": lambda weight: nn.init.kaiming_uniform_(weight, a=math.sqrt(5)),  # nn.Linear's own
}


@torch.no_grad()
def initialise(model: M, scheme: str) -> M:
    """Fill every weight of every dense or convolutional layer by ``scheme``; biases become zero.

    Takes a name in ``INITIALISATIONS``; draws from torch's global generator. Returns the model.
    """
    known("init", scheme, INITIALISATIONS)
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            layer.weight.copy_(INITIALISATIONS[scheme](layer.weight))
            if layer.bias is not None:
                layer.bias.zero_()
    return model


def make_mlp(
    inputs: int = 784,
    width: int = 64,
    depth: int = 1,
    outputs: int = 10,
    activation: str = "relu",
    init: str = "he",
    dropout: float = 0.0,
    normalisation: str | None = None,
) -> nn.Sequential:
    """A dense network: images [n, channels, height, width] -> logits [n, outputs].

    Each of ``depth`` hidden layers of ``width`` units is Linear, normalisation (if any),
    activation, Dropout.
    """
    known("activation", activation, ACTIVATIONS)
    known("normalisation", normalisation, [*NORMALISATIONS, None])
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(depth):
        layers.append(nn.Linear(inputs, width))
        if normalisation is not None:
            layers.append(NORMALISATIONS[normalisation](width))
        layers += [ACTIVATIONS[activation](), nn.Dropout(dropout)]
        inputs = width
    layers.append(nn.Linear(inputs, outputs))
    return initialise(nn.Sequential(*layers), init)
