"""One network by itself: what cannot be stacked is trained as an ordinary module."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from ..randomness import Chance, may_draw
from .copies import settled_copy
from .stack import Stack, Weights, flat, hidden_matrices


class Single(Stack):
    """One network as it is: an ordinary module with its ordinary gradients."""

    def __init__(
        self,
        networks: list[nn.Module],
        chances: list[Chance],
        device: torch.device,
        disturbed: bool = False,
        touches: bool = False,
    ):
        super().__init__(networks, chances, device)
        self.module = self.template = settled_copy(self.template).to(device)
        self.disturbed = disturbed  # whether even an evaluation changes its state
        self.touches = touches  # whether it changes the images that it is given
        chances[0].suspected = may_draw(self.module)

    def slice_size(self, images: int) -> int:
        """All at once where the answers may depend on what came before."""
        return 2**63 - 1 if self.disturbed else super().slice_size(images)

    @property
    def rows(self) -> Tensor:  # type: ignore[override]
        return flat(self._trained()).unsqueeze(0)

    @property
    def gradients(self) -> Tensor:  # type: ignore[override]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._trained()]
        return flat(parts).unsqueeze(0)

    def _trained(self) -> list[nn.Parameter]:
        return [p for p in self.module.parameters() if p.requires_grad]

    def logits(self, images: Tensor, training: bool) -> Tensor:
        if training:
            with self.chances[0]:
                return self.module.train()(images[0]).unsqueeze(0)
        module = settled_copy(self.module) if self.disturbed else self.module
        with Chance(self.chances[0].seed, self.device):
            given = images[0].clone() if self.touches else images[0]
            return module.eval()(given).unsqueeze(0)

    def backward(self, losses: Tensor) -> None:
        self.module.zero_grad()
        with self.chances[0]:  # a hook may draw, too
            losses.sum().backward()

    def clip(self, limits: Tensor) -> None:
        clip_grad_norm_(self._trained(), float(limits[0]))

    def parameters(self, rows: slice, part: str) -> list[nn.Parameter]:
        if part == "all":
            return self._trained()
        shapes = [parameter.shape for parameter in self._trained()]
        both = zip(self._trained(), hidden_matrices(shapes), strict=True)
        return [parameter for parameter, hidden in both if hidden == (part == "matrices")]

    def keep(self, positions: np.ndarray) -> None:
        """There is nothing to leave behind: a single row stays, or the run has ended."""

    def weights(self, position: int) -> Weights:
        return Weights(settled_copy(self.module), {})
