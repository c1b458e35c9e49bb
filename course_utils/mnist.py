"""The handwritten digits: 5,000 that come with the course, or all 70,000, downloaded."""

from __future__ import annotations

import numbers
import socket
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from .engine import data
from .engine.data import Dataset, Split
from .files import DATA_FOLDER, download_folder, read_arrays, reason

PATIENCE = 30  # seconds that a silent server is waited for
MNIST_SAMPLE_SHA256 = "b35c75650ccc9539f7e97f7121d732618222ef33018bfd9573616dd9fa74ea8e"


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
    device = data.best_device() if device is None else device

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


def load_mnist_full(
    device: torch.device | str | None = None, folder: Path | str = DATA_FOLDER
) -> Dataset:
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
        raise RuntimeError(
            f"the MNIST files in {folder.name!r} are damaged ({reason(error)}). "
            f"Delete the folder {folder.name}/MNIST and call load_mnist_full() again."
        ) from error

    def split(images: Tensor, labels: Tensor) -> Split:
        return Split(images.float().div(255).unsqueeze(1), labels.long())

    held_out = len(train) // 12  # 5,000 of 60,000; its order is already random
    parts = {
        "train": split(train.data[:-held_out], train.targets[:-held_out]),
        "val": split(train.data[-held_out:], train.targets[-held_out:]),
        "test": split(test.data, test.targets),
    }
    return Dataset(**parts, name="MNIST").to(data.best_device() if device is None else device)


def _download_mnist(folder: Path) -> None:
    download_folder(
        folder,
        "MNIST",
        _fetch_mnist,
        name="MNIST",
        call="load_mnist_full(folder=...)",
        otherwise="copy the folder MNIST/raw from a machine that has it into "
        f"{folder.name}/MNIST/raw; or stay with load_mnist(), which needs no network",
    )


def _fetch_mnist(folder: Path) -> None:
    """Both splits, whose MD5 torchvision checks."""
    from torchvision.datasets import MNIST

    before = socket.getdefaulttimeout()  # torchvision itself would wait for ever
    socket.setdefaulttimeout(PATIENCE)
    try:
        MNIST(folder, download=True)
    finally:
        socket.setdefaulttimeout(before)
