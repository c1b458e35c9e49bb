"""Data as tensors in memory: no loader, no decoding, nothing to wait for."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import require

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Images float32 [n, channels, height, width], usually in [0, 1], and labels int64 [n].

    Raises TypeError or ValueError that names ``images`` or ``labels`` for anything else.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        for name, dtype in (("images", torch.float32), ("labels", torch.int64)):
            got, takes = getattr(self, name), f"takes a torch tensor of {dtype}"
            is_tensor = isinstance(got, Tensor)
            kind = f"tensor of {got.dtype}" if is_tensor else type(got).__name__
            good = is_tensor and got.dtype == dtype
            require(good, f"{name}: got a {kind}, {takes}", TypeError)
        images, labels = self.images, self.labels
        shapes = f"{list(images.shape)}, takes [n, channels, height, width]"
        require(images.dim() == 4, f"images: got the shape {shapes}")
        shapes = f"{list(labels.shape)}, takes [n], the number of each image's class, not one-hot"
        require(labels.dim() == 1, f"labels: got the shape {shapes}")
        counts = f"{len(images):,} images and {len(labels):,} labels"
        require(len(images) == len(labels), f"images, labels: got {counts}, takes one for each")
        places = f"{images.device} and {labels.device}"
        require(images.device == labels.device, f"images, labels: got {places}, takes one device")
        require(images[:1].numel() or not len(images), "images: got no pixel, takes at least one")
        learnt = "images: got a tensor that requires a gradient, takes images.detach()"
        require(not images.requires_grad, learnt)
        self.look()

    def look(self) -> None:
        """Refuse contents that no network could learn from."""
        if len(self) and not self.images.is_meta:
            finite = self.images.sum().isfinite() or self.images.isfinite().all()
            require(finite, "images: got NaN or infinite pixels, takes numbers")
            least = int(self.labels.min())
            require(least >= 0, f"labels: got {least}, takes classes from 0 on")

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Split:
        """The first ``count`` examples (all of them, if there are fewer)."""
        return self._alike(self.images[:count], self.labels[:count])

    def to(self, device: torch.device | str) -> Split:
        return self._alike(self.images.to(device), self.labels.to(device))

    def _alike(self, images: Tensor, labels: Tensor) -> Split:
        """Made of this split's own contents, which were looked at when it was made."""
        part = copy.copy(self)
        vars(part).update(images=images, labels=labels)
        return part


@dataclass(frozen=True)
class Dataset:
    """Three splits: ``train`` to fit, ``val`` to judge by, ``test`` to open once.

    Where there are images to spare, ``tuning`` holds some more: to choose settings by, so that the
    validation images need not do both. Raises TypeError or ValueError that names the split for
    parts that do not fit together.
    """

    train: Split
    val: Split
    test: Split
    name: str = "dataset"
    tuning: Split | None = None

    def __post_init__(self) -> None:
        for name in SPLITS if self.tuning is None else (*SPLITS, "tuning"):
            part = getattr(self, name)
            got = f"{name}: got a {type(part).__name__}, takes a Split"
            require(isinstance(part, Split), got, TypeError)
            shape, own = tuple(part.images.shape[1:]), self.image_shape
            require(shape == own, f"{name}: got images shaped {list(shape)}, train has {list(own)}")
            device = part.images.device
            elsewhere = f"{name}: got images on {device}, train on {self.device}"
            require(device == self.device, elsewhere)
            require(len(part) or name == "test", f"{name}: got no image, takes at least one")

    def look(self) -> None:
        """Refuse contents that no network could learn from: in place, a tensor can be changed."""
        for part in (self.train, self.val, self.test, self.tuning):
            if part is not None:
                part.look()

    def __getitem__(self, split: str) -> Split:
        if split not in SPLITS:
            raise KeyError(f"there is no split {split!r}; a dataset has {', '.join(SPLITS)}")
        return getattr(self, split)

    def to(self, device: torch.device | str) -> Dataset:
        moved = {name: self[name].to(device) for name in SPLITS}
        tuning = None if self.tuning is None else self.tuning.to(device)
        return Dataset(**moved, name=self.name, tuning=tuning)

    @property
    def device(self) -> torch.device:
        return self.train.images.device

    @property
    def image_shape(self) -> tuple[int, ...]:
        return tuple(self.train.images.shape[1:])

    @property
    def classes(self) -> int:
        return int(self.train.labels.max()) + 1

    def __repr__(self) -> str:
        sizes = " / ".join(f"{len(self[name]):,}" for name in SPLITS)
        shape = "x".join(map(str, self.image_shape))
        return f"<{self.name}: {sizes} images (train / val / test) of {shape}, on {self.device}>"


def best_device() -> torch.device:
    """CUDA where there is one, the processor otherwise.

    Apple's MPS works too, but only when asked for (``device="mps"``): networks as small as ours
    spend more time on being sent there than on being computed.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
