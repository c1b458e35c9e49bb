"""CIFAR-10 from what is there: the official batches, or a tree of image files. Notebook 15."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ...engine.data import Dataset, Split, best_device
from ...files import DATA_FOLDER
from .image_files import read_tree
from .official import BATCHES, download_batches, read_batches

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HOW_TO_GET_IT = (
    "Call load_cifar10(download=True) once (170 MB, checked), or unpack an archive of image files "
    "so that data/cifar10/train/<class>/ holds the images of each of the ten classes."
)


def load_cifar10(
    folder: Path | str = DATA_FOLDER,
    *,
    download: bool = False,
    partial: bool = False,
    device: torch.device | str | None = None,
) -> Dataset:
    """CIFAR-10 (Krizhevsky, 2009): 45,000 / 5,000 / 10,000 images of 3x32x32.

    Looked for in this order: ``folder/cifar-10-batches-py`` (the official batches as torchvision
    keeps them), then ``train/<class>/*.png|jpg`` and perhaps ``test/`` in ``folder/cifar10`` or in
    ``folder`` (decoded once, into a cache beside ``train``). Without ``test/`` the test split is
    empty. A fixed tenth of the training images, drawn at random, is the validation split.
    ``partial=True`` takes image trees with fewer images. The dataset's name says what it came from.

    Raises FileNotFoundError where there is no CIFAR-10, ValueError for damaged or partial data,
    RuntimeError for a download that fails; each says what to do.
    """
    folder = Path(folder)
    if download and not (folder / BATCHES).is_dir():
        download_batches(folder)
    if (folder / BATCHES).is_dir():
        arrays, source = read_batches(folder / BATCHES), "official batches"
    else:
        trees = [tree for tree in (folder / "cifar10", folder) if (tree / "train").is_dir()]
        if not trees:
            raise FileNotFoundError(
                f"there is no CIFAR-10 in the folder {folder.name!r}. {HOW_TO_GET_IT}"
            )
        arrays, source = read_tree(trees[0], CLASSES, partial), "image files"
    images, labels = arrays["train_images"], arrays["train_labels"]
    order = np.random.default_rng(0).permutation(len(labels))  # image files come sorted by class
    held_out = len(labels) // 10
    dataset = Dataset(
        _split(images[order[held_out:]], labels[order[held_out:]]),
        _split(images[order[:held_out]], labels[order[:held_out]]),
        _split(arrays["test_images"], arrays["test_labels"]),
        name=f"CIFAR-10, {source}",
    )
    return dataset.to(device or best_device())


def has_cifar10(folder: Path | str = DATA_FOLDER) -> bool:
    """Whether ``load_cifar10(folder)`` would find something to read."""
    folder = Path(folder)
    places = (folder / BATCHES, folder / "cifar10" / "train", folder / "train")
    return any(place.is_dir() for place in places)


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    """From bytes to numbers between 0 and 1."""
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    return Split(pixels.float().div_(255), torch.from_numpy(labels.astype(np.int64)))
