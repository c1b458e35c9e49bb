"""The batches of a stack: every network sees its images in the order that its own seed draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..randomness import Chance, generator_on, may_draw
from ..refusals import checked_augment
from .augment import AUGMENTATIONS
from .config import Config
from .data import Dataset

TOGETHER = 512  # images of each stream that are augmented in one call: half the time of one by one


class Stream:
    """The images as one seed and one augmentation serve them; networks may share a stream."""

    def __init__(self, seed: int, augment: str | Callable | None, device: torch.device):
        self.order = torch.Generator().manual_seed(seed)
        self.noise = generator_on(device).manual_seed(seed)
        self.augment = AUGMENTATIONS[augment] if isinstance(augment, str) else augment
        later = callable(augment) and may_draw(augment)
        self.chance = Chance(seed, device, suspected=later) if callable(augment) else None

    def augmented(self, images: Tensor) -> Tensor:
        if self.augment is None:
            return images
        if self.chance is None:
            return self.augment(images, self.noise)
        with self.chance:
            return checked_augment(self.augment(images, self.noise), images)


class Batches:
    """``epoch()`` yields (images, labels): [K, n, ...], or [1, n, ...] where all networks share."""

    def __init__(self, configs: Sequence[Config], dataset: Dataset):
        self.train = dataset.train
        self.size = min(configs[0].batch_size, len(self.train))
        keys = [(config.seed, config.augment) for config in configs]
        distinct = list(dict.fromkeys(keys))
        self.streams = [Stream(seed, augment, dataset.device) for seed, augment in distinct]
        self.of = np.array([distinct.index(key) for key in keys])  # [K]: each network's stream
        self._memory: Tensor | None = None

    @property
    def count(self) -> int:
        """Batches, and so updates, in an epoch; the last may be smaller than the others."""
        return -(-len(self.train) // self.size)

    def keep(self, positions: np.ndarray) -> None:
        """Go on with these networks alone."""
        of = self.of[positions].tolist()
        used = list(dict.fromkeys(of))
        self.streams, self._memory = [self.streams[each] for each in used], None
        self.of = np.array([used.index(each) for each in of])

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        orders = [torch.randperm(len(self.train), generator=each.order) for each in self.streams]
        order = torch.stack(orders).to(self.train.labels.device)
        if any(stream.augment for stream in self.streams):
            yield from self._augmented(order)
            return
        if 1 < len(order) < len(self.of):
            order = order[torch.from_numpy(self.of)]
        for chosen in order.split(self.size, dim=1):
            yield self._gather(chosen), self.train.labels[chosen]

    def _gather(self, chosen: Tensor) -> Tensor:
        """The images [stream, n] of ``chosen``, in memory that is kept: to allocate it takes longer
        than to fill it."""
        shape = self.train.images.shape[1:]
        if self._memory is None or len(self._memory) < chosen.numel():
            self._memory = self.train.images.new_empty(chosen.numel(), *shape)
        images = self._memory[: chosen.numel()]
        torch.index_select(self.train.images, 0, chosen.flatten(), out=images)
        return images.view(*chosen.shape, *shape)

    def _augmented(self, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Several batches of each stream at a time are augmented in one call."""
        several = self.size * max(1, TOGETHER // self.size)
        for block in order.split(several, dim=1):
            pairs = zip(self.streams, block, strict=True)
            images = torch.stack(
                [each.augmented(self.train.images[chosen]) for each, chosen in pairs]
            )
            labels = self.train.labels[block]
            if 1 < len(order) < len(self.of):
                images, labels = images[self.of], labels[self.of]
            yield from zip(images.split(self.size, 1), labels.split(self.size, 1), strict=True)
