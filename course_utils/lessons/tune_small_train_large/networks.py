"""The two parametrisations of notebook 12, as its cells have them, for the trainings it stores."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...engine.config import Config
from ...engine.data import Dataset
from ...engine.networks import make_mlp

BASE = 32  # the width at which muP and its multipliers leave everything as it was


class Scaled(nn.Module):
    """A dense layer whose matrix is ``multiplier`` times its parameter: so Adam's steps are, too.

    See Yang et al., arXiv 2203.03466, and the notebook's section 1.
    """

    def __init__(self, inputs: int, outputs: int, multiplier: float, std: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * std / multiplier)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.multiplier = multiplier

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(self.multiplier * x, self.weight, self.bias)


def standard(config: Config, dataset: Dataset) -> nn.Module:
    """[n, 1, 14, 14] to [n, classes], with one learning rate for all layers."""
    return make_mlp(196, config.width, config.depth, dataset.classes)


def mup(config: Config, dataset: Dataset) -> nn.Module:
    """The same with two hidden layers, whose steps shrink with the width where they add up."""
    n = config.width
    first = make_mlp(196, n, 1, dataset.classes)[:3]  # flatten, linear, ReLU
    hidden = Scaled(n, n, multiplier=BASE / n, std=math.sqrt(2 / n))
    return nn.Sequential(*first, hidden, nn.ReLU(), Scaled(n, dataset.classes, BASE / n, std=0.0))
