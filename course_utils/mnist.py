"""All 70,000 handwritten digits of MNIST, downloaded where a learner asks for them by name."""

from __future__ import annotations

import os
import shutil
import tempfile
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from .engine.data import Dataset, Split, best_device
from .files import DATA_FOLDER, reason


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
    return Dataset(**parts, name="MNIST").to(best_device() if device is None else device)


def _download_mnist(folder: Path) -> None:
    from torchvision.datasets import MNIST

    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix="mnist-download-", dir=folder))
    except OSError as error:
        raise RuntimeError(
            f"cannot write into the folder {folder.name!r} ({reason(error)}). "
            "Pass a folder of your own: load_mnist_full(folder=...)."
        ) from error
    try:
        MNIST(unfinished, download=True)  # fetches both splits, and checks their MD5
        os.replace(unfinished / "MNIST", folder / "MNIST")
    except (RuntimeError, OSError, EOFError, HTTPException) as error:
        if (folder / "MNIST").is_dir():  # a second download at the same time was faster
            return
        raise RuntimeError(
            f"MNIST could not be downloaded ({reason(error)}). Check the connection and call "
            "load_mnist_full() again; or copy the folder MNIST/raw from a machine that has it "
            f"into {folder.name}/MNIST/raw; or stay with load_mnist(), which needs no network."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
