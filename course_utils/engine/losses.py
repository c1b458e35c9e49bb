"""What a stack is taught: the loss of every network on its batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..randomness import Chance, may_draw
from ..refusals import checked_loss

Loss = Callable[[Tensor, Tensor], Tensor]


class Losses:
    """Cross-entropy for all networks in one call; a loss of one's own for one after another, with
    the random draws that each network's seed gives it."""

    def __init__(self, loss: Loss | None, smoothing: list[float], chances: list[Chance]):
        self.loss, self.smoothing = loss, np.array(smoothing)
        later = loss is not None and may_draw(loss)
        self.chances = [Chance(each.seed, each.device, suspected=later) for each in chances]

    def keep(self, positions: np.ndarray) -> None:
        """Go on with these networks alone."""
        self.chances = [self.chances[position] for position in positions]
        self.smoothing = self.smoothing[positions]

    def of_images(self, logits: Tensor, labels: Tensor, chances: list[Chance]) -> Tensor:
        """[K, n]: the loss of each image, for logits [K, n, classes] and labels [K or 1, n]."""
        labels = labels.expand(logits.shape[:2])
        if self.loss is None:
            # With the classes in the middle, as for the pixels of an image, torch is much faster.
            return functional.cross_entropy(logits.mT, labels, reduction="none")
        rows = []
        for chance, own_logits, own_labels in zip(chances, logits, labels, strict=True):
            with chance:
                # Copies: it may change in place what the other networks are to see as it was.
                answer = self.loss(own_logits.clone(), own_labels.clone())
                rows.append(checked_loss(answer, own_labels))
        return torch.stack(rows)

    def of_networks(self, logits: Tensor, labels: Tensor) -> Tensor:
        """[K]: each network's mean loss on its batch, as the optimiser is to lower it."""
        losses = self.of_images(logits, labels, self.chances).mean(1)
        if self.smoothing.any():
            share = torch.from_numpy(self.smoothing).to(losses)
            losses = torch.lerp(losses, -logits.log_softmax(-1).mean((1, 2)), share)
        return losses
