"""Torch's common layers, K at a time: what K separate ones would answer, in one call.

``TWINS`` has for each kind of layer a function (layer, its tensors [K, ...] by name, x, training)
-> x, where x is [K, unit, image], or [1, unit, image] as long as all networks share it. With images
last, both of a dense layer's gradients come out of torch as they are to lie in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BLOCK = 8  # dropout is drawn for so many batches at a time,
MOST_DRAWN = 2**22  # or for fewer, so that each network keeps no more numbers than these
ELEMENTWISE = (
    *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus),
    nn.Identity,
)
Tensors = dict[str, Tensor]


def layers_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """(name, layer) of a Sequential in their order, with those of Sequentials inside it."""
    found: list[tuple[str, nn.Module]] = []
    for name, layer in model._modules.items():  # `named_children` leaves out one that comes again
        assert layer is not None  # no Sequential holds a None
        inside = layers_of(layer) if type(layer) is nn.Sequential else [("", layer)]
        found += [(f"{name}.{more}".rstrip("."), each) for more, each in inside]
    return found


def _flatten(layer: nn.Module, own: Tensors, x: Tensor, training: bool) -> Tensor:
    return x.flatten(2).mT


def _linear(layer: nn.Module, own: Tensors, x: Tensor, training: bool) -> Tensor:
    weight = own["weight"]
    x = x.expand(len(weight), -1, -1)
    if "bias" in own:
        return torch.baddbmm(own["bias"].unsqueeze(2), weight, x)
    return torch.bmm(weight, x)


def _elementwise(layer: nn.Module, own: Tensors, x: Tensor, training: bool) -> Tensor:
    return layer(x)


def _scaled(x: Tensor, mean: Tensor, var: Tensor, layer: Any, own: Tensors) -> Tensor:
    scale = (var + layer.eps).rsqrt() * own["weight"].unsqueeze(2)
    return (x - mean) * scale + own["bias"].unsqueeze(2)


def _layer_norm(layer: Any, own: Tensors, x: Tensor, training: bool) -> Tensor:
    var, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
    return _scaled(x, mean, var, layer, own)


def _batch_norm(layer: Any, own: Tensors, x: Tensor, training: bool) -> Tensor:
    mean, var = own["running_mean"].unsqueeze(2), own["running_var"].unsqueeze(2)
    if training:
        if x.shape[2] < 2:  # as torch's own layer does
            one = "batch_size: left a batch of one image"
            raise ValueError(f"{one}, which BatchNorm cannot normalise; takes one above 1")
        with torch.no_grad():
            batch_var, batch_mean = torch.var_mean(x, 2, correction=1, keepdim=True)
            mean.lerp_(batch_mean.float(), layer.momentum)
            var.lerp_(batch_var.float(), layer.momentum)
            own["num_batches_tracked"].add_(1)
        var, mean = torch.var_mean(x, 2, correction=0, keepdim=True)
    return _scaled(x, mean, var, layer, own)


TWINS: dict[type, Any] = {
    nn.Flatten: _flatten,
    nn.Linear: _linear,
    nn.LayerNorm: _layer_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.Dropout: None,  # keeps a state: see below
    **dict.fromkeys(ELEMENTWISE, _elementwise),
}


class Dropout:
    """One dropout layer of K networks: each with its own rate, and drawn from its own seed.

    Zeroes each unit with probability ``rate`` and scales the others by 1 / (1 - rate), in training
    alone (Srivastava et al., 2014). Equal seeds draw equal numbers, whoever their neighbours are.
    """

    def __init__(self, number: int, seeds: list[int], rates: list[float], device: torch.device):
        self.rates, self.device = rates, device
        distinct = list(dict.fromkeys(seeds))
        self._of = [distinct.index(seed) for seed in seeds]
        self._generators = [np.random.Generator(np.random.SFC64([s, number])) for s in distinct]
        self._numbers = np.empty((len(distinct), 0, 0, 0), np.float32)  # [seed, batch, unit, image]
        self._masks = torch.empty(0)  # [K, batch, unit, image]
        self._next = 0

    def __call__(self, x: Tensor, training: bool) -> Tensor:
        if not training or not any(self.rates):
            return x
        units, n = x.shape[1:]
        if self._next == self._numbers.shape[1] or n > self._numbers.shape[3]:
            block = max(1, min(BLOCK, MOST_DRAWN // (units * n)))
            draws = [each.random((block, units, n), np.float32) for each in self._generators]
            self._numbers, self._next = np.stack(draws), 0
            self._make_masks()
        self._next += 1
        return x * self._masks[:, self._next - 1, :, :n]

    def _make_masks(self) -> None:
        """0, or 1 / (1 - rate)."""
        rates = torch.tensor(self.rates, device=self.device).view(-1, 1, 1, 1)
        numbers = torch.from_numpy(self._numbers).to(self.device)
        shared = len(self._generators) < len(self._of)
        self._masks = ((numbers[self._of] if shared else numbers) >= rates) / (1 - rates)

    def set(self, rate: float) -> None:
        """Another rate for all, from the next batch on."""
        self.rates = [rate] * len(self.rates)
        self._make_masks()

    def keep(self, positions: np.ndarray) -> None:
        """Go on with these networks alone."""
        of = [self._of[position] for position in positions]
        used = list(dict.fromkeys(of))
        self._of = [used.index(each) for each in of]
        self._generators = [self._generators[each] for each in used]
        self._numbers, self.rates = self._numbers[used], [self.rates[each] for each in positions]
        self._make_masks()
