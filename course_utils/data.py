"""Data as tensors in memory: no loader, no decoding, nothing to wait for.

Floor 0. The only module that knows torchvision.
"""

from __future__ import annotations

import hashlib
import numbers
import os
import shutil
import tempfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

DATA_FOLDER = Path(__file__).resolve().parent.parent / "data"
MNIST_SAMPLE_SHA256 = "b35c75650ccc9539f7e97f7121d732618222ef33018bfd9573616dd9fa74ea8e"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Images float32 [n, channels, height, width] in [0, 1] and labels int64 [n]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Split:
        """The first ``count`` examples (all of them, if there are fewer)."""
        return Split(self.images[:count], self.labels[:count])

    def to(self, device: torch.device | str) -> Split:
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """Three splits: ``train`` to fit, ``val`` to choose by, ``test`` to open once."""

    train: Split
    val: Split
    test: Split
    name: str = "dataset"

    def __getitem__(self, split: str) -> Split:
        if split not in SPLITS:
            raise KeyError(f"there is no split {split!r}; a dataset has {', '.join(SPLITS)}")
        return getattr(self, split)

    def to(self, device: torch.device | str) -> Dataset:
        return Dataset(*(self[name].to(device) for name in SPLITS), name=self.name)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return tuple(self.train.images.shape[1:])

    @property
    def classes(self) -> int:
        return int(self.train.labels.max()) + 1

    def __repr__(self) -> str:
        sizes = " / ".join(f"{len(self[name]):,}" for name in SPLITS)
        shape = "x".join(map(str, self.image_shape))
        return f"<{self.name}: {sizes} images (train / val / test) of {shape}, on {self.train.images.device}>"


def best_device() -> torch.device:
    """CUDA where there is one, the processor otherwise.

    Apple's MPS works too, but only when asked for (``device="mps"``): networks as small as
    ours spend more time on being sent there than on being computed.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_mnist(subset: int | None = None, image_size: int = 28, device: torch.device | str | None = None,
               folder: Path | str = DATA_FOLDER) -> Dataset:
    """The 5,000 bundled MNIST digits, split 3,000 / 1,000 / 1,000. Works offline.

    ``subset`` keeps that many training images (any multiple of ten is stratified);
    ``image_size`` below 28 averages pixels, which makes small, fast networks.

    Raises FileNotFoundError or ValueError, each saying how to get the file back.
    """
    if subset is not None and not (isinstance(subset, numbers.Integral) and 1 <= subset <= 3000):
        raise ValueError(f"subset: got {subset!r}, takes 1 to 3000 training images, or None for all")
    if not isinstance(image_size, numbers.Integral) or image_size not in (28, 14, 7, 4, 2):
        raise ValueError(f"image_size: got {image_size!r}, takes 28, 14, 7, 4 or 2 pixels")
    arrays = _read_checked(Path(folder) / "mnist_sample.npz", MNIST_SAMPLE_SHA256)

    def split(name: str, count: int | None = None) -> Split:
        images = torch.from_numpy(arrays[f"{name}_images"][:count]).float().div_(255).unsqueeze(1)
        images = functional.adaptive_avg_pool2d(images, image_size)
        return Split(images, torch.from_numpy(arrays[f"{name}_labels"][:count]).long())

    dataset = Dataset(split("train", subset), split("val"), split("test"), name="MNIST sample")
    return dataset.to(device or best_device())


def _read_checked(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """All arrays of a bundled npz, once its checksum is right."""
    restore = f"Get it back with: git checkout -- data/{path.name}"
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing from the folder {path.parent.name!r}. {restore}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(f"{path.name} is damaged or was changed: its SHA-256 begins with {found[:12]}, "
                         f"expected {sha256[:12]} ({path.stat().st_size:,} bytes on disk). {restore}")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def load_mnist_full(device: torch.device | str | None = None, folder: Path | str = DATA_FOLDER) -> Dataset:
    """The whole of MNIST, 55,000 / 5,000 / 10,000; the test split is the official one.

    Downloads 11 MB on the first call (torchvision fetches and checks them) into ``folder``,
    under a temporary name that is renamed only once everything is there.

    Raises RuntimeError when the download fails, saying what to do; leaves no half file.
    """
    from torchvision.datasets import MNIST  # slow to import, and most learners never need it

    folder = Path(folder)
    if not (folder / "MNIST").is_dir():
        _download_mnist(folder)
    try:
        train, test = (MNIST(folder, train=part, download=False) for part in (True, False))
    except (RuntimeError, OSError, ValueError, TypeError, LookupError, AssertionError) as error:
        raise RuntimeError(f"the MNIST files in {folder.name!r} are damaged ({_reason(error)}). "
                           f"Delete the folder {folder.name}/MNIST and call load_mnist_full() again.") from error

    def split(images: Tensor, labels: Tensor) -> Split:
        return Split(images.float().div(255).unsqueeze(1), labels.long())

    held_out = len(train) // 12                            # 5,000 of 60,000; its order is already random
    dataset = Dataset(split(train.data[:-held_out], train.targets[:-held_out]),
                      split(train.data[-held_out:], train.targets[-held_out:]),
                      split(test.data, test.targets), name="MNIST")
    return dataset.to(device or best_device())


def _reason(error: Exception) -> str:
    """What went wrong in a few words, without the absolute path that the system's errors carry."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _download_mnist(folder: Path) -> None:
    from torchvision.datasets import MNIST

    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix="mnist-download-", dir=folder))
    except OSError as error:
        raise RuntimeError(f"cannot write into the folder {folder.name!r} ({_reason(error)}). "
                           "Pass a folder of your own: load_mnist_full(folder=...).") from error
    try:
        MNIST(unfinished, download=True)                   # fetches both splits, and checks their MD5
        os.replace(unfinished / "MNIST", folder / "MNIST")
    except (RuntimeError, OSError, EOFError, HTTPException) as error:
        raise RuntimeError(
            f"MNIST could not be downloaded ({_reason(error)}). Check the connection and call load_mnist_full() again; "
            "or copy the folder MNIST/raw from a machine that has it into "
            f"{folder.name}/MNIST/raw; or stay with load_mnist(), which needs no network.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
