"""K networks of one architecture as one: their parameters are the rows of a matrix.

One call computes all of them, and one backward pass of the summed losses gives each its own
gradient. There are three ways to compute, and ``architecture`` finds out which serves a network:

LayerStack    torch's common layers in nn.Sequential, each for all networks in one call
MappedStack   other modules that depend on weights and images alone: ``torch.func.vmap``
Single        what draws at random, keeps a state of its own or convolves: one after another

Which way is taken depends on the network alone, never on its neighbours. It is a matter of time:
the results are the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..randomness import Chance
from .copies import settled_copy
from .layers import layers_of


class Weights(NamedTuple):
    """One network, set aside: a template, its own parameters and buffers by name, its dropout."""

    template: nn.Module
    values: dict[str, Tensor]
    rates: tuple[float, ...] = ()

    def to_module(self) -> nn.Module:
        """A plain module in evaluation mode, yours to keep."""
        model = settled_copy(self.template)
        tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        for name, value in self.values.items():
            tensors[name].data = value.clone()
        for layer, rate in zip(dropouts_of(model), self.rates, strict=False):
            layer.p = rate
        return model.eval()


class Stack(ABC):
    """K networks in training, ``chances`` [K] being what their own random draws come from."""

    rows: Tensor  # [K, parameters]: the trained weights
    gradients: Tensor  # [K, parameters]: what the last backward pass left

    def __init__(self, networks: list[nn.Module], chances: list[Chance], device: torch.device):
        self.template, self.chances, self.device = networks[0], chances, device

    def __len__(self) -> int:
        return len(self.chances)

    @abstractmethod
    def logits(self, images: Tensor, training: bool) -> Tensor:
        """[K, n, classes], of images [K, n, channels, height, width]; [1, ...] for a batch that
        all of them share."""

    @abstractmethod
    def backward(self, losses: Tensor) -> None:
        """The gradients of losses [K]."""

    @abstractmethod
    def clip(self, limits: Tensor) -> None:
        """``clip_grad_norm_`` with a limit [K] for each network."""

    @abstractmethod
    def parameters(self, rows: slice, part: str) -> list[nn.Parameter]:
        """Of some rows, what an optimiser takes: "all", "matrices" or "others"."""

    @abstractmethod
    def keep(self, positions: np.ndarray) -> None:
        """Go on with these rows alone."""

    @abstractmethod
    def weights(self, position: int) -> Weights:
        """A copy of one network."""

    def set_dropout(self, rate: float) -> None:
        """Another rate for every dropout layer of every network."""
        for part in self.template.modules():
            if isinstance(part, nn.Dropout):
                part.p = rate

    def slice_size(self, images: int) -> int:
        """How many images an evaluation may take at once, of ``images`` that memory allows."""
        return max(64, min(1024, images))


def dropouts_of(network: nn.Module) -> list[nn.Dropout]:
    """The dropout layers of a Sequential, in their order."""
    return [layer for _, layer in layers_of(network) if isinstance(layer, nn.Dropout)]


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """All numbers of several tensors in one row, however each lies in memory."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def hidden_matrices(shapes: list[torch.Size]) -> list[bool]:
    """Which parameters are for Muon: every matrix but the last, which is the output layer's."""
    matrices = [place for place, shape in enumerate(shapes) if len(shape) == 2]
    return [place in matrices[:-1] for place in range(len(shapes))]
