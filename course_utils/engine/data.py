"""Data as tensors in memory: no loader, no decoding, nothing to wait for."""

from __future__ import annotations

import copy
import numbers
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ..files import DATA_FOLDER, read_arrays

MNIST_SAMPLE_SHA256 = "b35c75650ccc9539f7e97f7121d732618222ef33018bfd9573616dd9fa74ea8e"
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
            got = getattr(self, name)
            if not isinstance(got, Tensor):
                raise TypeError(
                    f"{name}: got a {type(got).__name__}, takes a torch tensor of {dtype}"
                )
            if got.dtype != dtype:
                raise TypeError(f"{name}: got a tensor of {got.dtype}, takes one of {dtype}")
        images, labels = self.images, self.labels
        if images.dim() != 4:
            shape = "[n, channels, height, width]"
            raise ValueError(f"images: got the shape {list(images.shape)}, takes {shape}")
        if labels.dim() != 1:
            shape = (
                f"[n], the number of each image's class; {list(labels.shape)} looks like one-hot"
            )
            raise ValueError(f"labels: got the shape {list(labels.shape)}, takes {shape}")
        if len(images) != len(labels):
            raise ValueError(
                f"images, labels: got {len(images):,} images and {len(labels):,} labels, "
                "takes one label for each image"
            )
        if images.device != labels.device:
            raise ValueError(
                f"images, labels: got them on {images.device} and {labels.device}, takes one device"
            )
        if images.is_meta or not len(images):
            return
        if not torch.isfinite(images).all():
            raise ValueError("images: got NaN or infinite pixels, takes finite numbers")
        if labels.min() < 0:
            raise ValueError(f"labels: got {int(labels.min())}, takes classes from 0 on")

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
            if not isinstance(part, Split):
                raise TypeError(f"{name}: got a {type(part).__name__}, takes a Split")
            if part.images.shape[1:] != self.train.images.shape[1:]:
                shapes = f"{list(part.images.shape[1:])}, train has {list(self.image_shape)}"
                raise ValueError(f"{name}: got images shaped {shapes}")
            if part.images.device != self.train.images.device:
                raise ValueError(
                    f"{name}: got images on {part.images.device}, train has them on {self.device}"
                )
            if not len(part) and name != "test":
                raise ValueError(f"{name}: got no image, takes at least one")

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


def load_mnist(
    subset: int | None = None,
    image_size: int = 28,
    device: torch.device | str | None = None,
    folder: Path | str = DATA_FOLDER,
) -> Dataset:
    """The 5,000 bundled MNIST digits, split 3,000 / 1,000 / 1,000. Works offline.

    ``subset`` keeps that many training images (any multiple of ten is stratified); where it leaves
    a thousand to spare, the last thousand are ``tuning``. ``image_size`` below 28 averages pixels,
    which makes small, fast networks.

    Raises FileNotFoundError or ValueError, each saying how to get the file back.
    """
    if subset is not None and not (isinstance(subset, numbers.Integral) and 1 <= subset <= 3000):
        raise ValueError(
            f"subset: got {subset!r}, takes 1 to 3000 training images, or None for all"
        )
    if not isinstance(image_size, numbers.Integral) or image_size not in (28, 14, 7, 4, 2):
        raise ValueError(f"image_size: got {image_size!r}, takes 28, 14, 7, 4 or 2 pixels")
    arrays = read_arrays(Path(folder) / "mnist_sample.npz", sha256=MNIST_SAMPLE_SHA256)
    device = best_device() if device is None else device

    def split(name: str, rows: slice) -> Split:
        pixels = torch.from_numpy(arrays[f"{name}_images"][rows]).float().div_(255).unsqueeze(1)
        images = functional.adaptive_avg_pool2d(pixels, int(image_size))
        labels = torch.from_numpy(arrays[f"{name}_labels"][rows]).long()
        return Split(images.to(device), labels.to(device))

    everything = slice(None)
    return Dataset(
        train=split("train", slice(subset)),
        val=split("val", everything),
        test=split("test", everything),
        name="MNIST sample",
        tuning=split("train", slice(2000, None)) if subset and subset <= 2000 else None,
    )
