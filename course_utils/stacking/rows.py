"""Many networks in one matrix: torch's common layers for all at once, and any other by ``vmap``."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ..randomness import Chance
from .copies import settled_copy
from .layers import TWINS, Dropout, layers_of
from .stack import Stack, Weights, dropouts_of, flat, hidden_matrices


class RowStack(Stack):
    """Many at once: the trained parameters in one matrix, all other tensors [K, ...] beside it."""

    def __init__(
        self,
        networks: list[nn.Module],
        chances: list[Chance],
        device: torch.device,
        unused: Iterable[str] = (),
    ):
        super().__init__(networks, chances, device)
        named = dict(self.template.named_parameters())
        self.trained = [name for name, p in named.items() if p.requires_grad and name not in unused]
        self.shapes = [named[name].shape for name in self.trained]
        vectors, others = [], []
        for network in networks:
            tensors = dict(network.named_parameters()) | dict(network.named_buffers())
            trained = [tensors.pop(name).to(device) for name in self.trained]
            vectors.append(flat(trained))
            others.append(tensors)
        self.rows = torch.stack(vectors)
        self.others = {
            name: torch.stack([each[name].detach().to(device) for each in others])
            for name in others[0]
        }
        self._point()

    def _point(self) -> None:
        """Views of every parameter [K, ...]: what the optimisers do to the rows, the layers see."""
        self.gradients = torch.zeros_like(self.rows)
        parts = self.rows.split([shape.numel() for shape in self.shapes], dim=1)
        self.views = {
            name: part.view(len(part), *shape).requires_grad_()
            for name, part, shape in zip(self.trained, parts, self.shapes, strict=True)
        }

    def backward(self, losses: Tensor) -> None:
        parts = torch.autograd.grad(
            losses, list(self.views.values()), torch.ones_like(losses), allow_unused=True
        )
        idle = [name for name, part in zip(self.trained, parts, strict=True) if part is None]
        if idle:  # plain PyTorch would leave these alone in this step, and move them in others
            raise RuntimeError(
                f"model: {idle[0]} took no part in this step, and did in the first: a network that "
                "chooses its layers as it goes needs a training loop of its own"
            )
        torch.cat([part.flatten(1) for part in parts], 1, out=self.gradients)

    def clip(self, limits: Tensor) -> None:
        norms = torch.linalg.vector_norm(self.gradients, dim=1)
        self.gradients *= (limits / (norms + 1e-6)).clamp(max=1).unsqueeze(1)

    def parameters(self, rows: slice, part: str) -> list[nn.Parameter]:
        whole = part == "all"
        pairs = [(self.rows[rows], self.gradients[rows])] if whole else self._pieces(rows, part)
        parameters = [nn.Parameter(values) for values, _ in pairs]
        for parameter, (_, gradient) in zip(parameters, pairs, strict=True):
            parameter.grad = gradient
        return parameters

    def _pieces(self, rows: slice, part: str) -> list[tuple[Tensor, Tensor]]:
        """(values, gradients) of the "matrices" or the "others", network by network: torch's fused
        optimisers would write beside a parameter that does not lie in one piece."""
        pieces: list[tuple[Tensor, Tensor]] = []
        start = 0
        for shape, is_matrix in zip(self.shapes, hidden_matrices(self.shapes), strict=True):
            place = slice(start, start := start + shape.numel())
            if is_matrix == (part == "matrices"):
                values, gradients = self.rows[rows, place], self.gradients[rows, place]
                pieces += zip(values.view(-1, *shape), gradients.view(-1, *shape), strict=True)
        return pieces

    def keep(self, positions: np.ndarray) -> None:
        chosen = torch.from_numpy(positions).to(self.device)
        self.rows = self.rows[chosen]
        self.others = {name: values[chosen] for name, values in self.others.items()}
        self.chances = [self.chances[position] for position in positions]
        self._point()

    def weights(self, position: int) -> Weights:
        tensors = self.views | self.others
        values = {name: each[position].detach().clone() for name, each in tensors.items()}
        return Weights(self.template, values)


class LayerStack(RowStack):
    """Torch's common layers, each computed for all networks in one call."""

    def __init__(self, networks: list[nn.Module], chances: list[Chance], device: torch.device):
        seeds = [chance.seed for chance in chances]
        rates = [[layer.p for layer in dropouts_of(network)] for network in networks]
        self.dropout = [
            Dropout(number, seeds, list(each), device)
            for number, each in enumerate(zip(*rates, strict=True))
        ]
        super().__init__(networks, chances, device)

    def _point(self) -> None:
        super()._point()
        tensors, masks = self.views | self.others, iter(self.dropout)
        self.steps: list[Any] = []
        for name, layer in layers_of(self.template):
            if isinstance(layer, nn.Dropout):
                self.steps.append(next(masks))
            else:
                own = {kind: tensors[f"{name}.{kind}"] for kind in layer.state_dict()}
                self.steps.append(partial(TWINS[type(layer)], layer, own))

    def logits(self, images: Tensor, training: bool) -> Tensor:
        x = images
        for step in self.steps:
            x = step(x, training)
        return x.mT  # the layers keep the images last

    def set_dropout(self, rate: float) -> None:
        for layer in self.dropout:
            layer.set(rate)

    def keep(self, positions: np.ndarray) -> None:
        for layer in self.dropout:
            layer.keep(positions)
        super().keep(positions)

    def weights(self, position: int) -> Weights:
        rates = tuple(layer.rates[position] for layer in self.dropout)
        return super().weights(position)._replace(rates=rates)


class MappedStack(RowStack):
    """Any module that depends on its tensors and the images alone, for all networks at once."""

    def __init__(
        self,
        networks: list[nn.Module],
        chances: list[Chance],
        device: torch.device,
        unused: Iterable[str] = (),
    ):
        super().__init__(networks, chances, device, unused)
        self.module = settled_copy(self.template).to(device)

    def logits(self, images: Tensor, training: bool) -> Tensor:
        self.module.train(training)
        shared = len(images) < len(self)

        def one(trained: dict[str, Tensor], others: dict[str, Tensor], batch: Tensor) -> Tensor:
            return functional_call(self.module, (trained, others), (batch,))

        batches = images[0] if shared else images
        return vmap(one, in_dims=(0, 0, None if shared else 0))(self.views, self.others, batches)
