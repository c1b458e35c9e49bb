"""CIFAR-10 from what is there: the official batches, or a tree of image files. Floor 0.

The official batches are pickles, and a pickle can run code. Here none is ever unpickled: after the official MD5 was
checked, the file is read as a list of opcodes (``pickletools``), from which the pixels and labels are taken as data.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickletools
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from .engine.data import Dataset, Split, best_device
from .mnist import load_mnist
from .files import DATA_FOLDER, reason

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = "cifar-10-batches-py"
CACHE = "cifar10_cache.npz"
TRAIN_IMAGES, TEST_IMAGES = 50_000, 10_000
PIXELS = 3 * 32 * 32
SUFFIXES = {".png", ".jpg", ".jpeg"}
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
    """CIFAR-10 (Krizhevsky, 2009): 45,000 / 5,000 / 10,000 images of 3x32x32; its ``name`` says where they came from.

    Looked for in this order: ``folder/cifar-10-batches-py`` (the official batches as torchvision keeps them), then
    ``train/<class>/*.png|jpg`` with an optional ``test/`` in ``folder/cifar10`` or ``folder`` itself (decoded once into a
    cache beside ``train``). Without ``test/`` the test split is empty. A fixed tenth of the training images, drawn at
    random, is the validation split. ``partial=True`` takes image trees with fewer than 50,000 images.

    Raises FileNotFoundError where there is no CIFAR-10, ValueError for damaged or partial data, RuntimeError for a
    download that fails; each says what to do.
    """
    folder = Path(folder)
    if download and not (folder / BATCHES).is_dir():
        _download(folder)
    if (folder / BATCHES).is_dir():
        arrays, source = _read_batches(folder / BATCHES), "official batches"
    else:
        trees = [tree for tree in (folder / "cifar10", folder) if (tree / "train").is_dir()]
        if not trees:
            raise FileNotFoundError(
                f"there is no CIFAR-10 in the folder {folder.name!r}. {HOW_TO_GET_IT}"
            )
        arrays, source = _read_tree(trees[0], partial), "image files"
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
    return any(
        path.is_dir() for path in (folder / BATCHES, folder / "cifar10" / "train", folder / "train")
    )


def load_digits_as_cifar(train: int = 3000, device: torch.device | str | None = None) -> Dataset:
    """The bundled digits in CIFAR's shape, 3x32x32: grey in all three channels, two black pixels around.

    For trying the code where there are no photographs. What it scores says nothing about CIFAR-10.
    """
    digits = load_mnist(subset=train, device=device)

    def as_cifar(split: Split) -> Split:
        return Split(
            functional.pad(split.images, (2, 2, 2, 2)).expand(-1, 3, -1, -1).contiguous(),
            split.labels,
        )

    return Dataset(
        *(as_cifar(digits[name]) for name in ("train", "val", "test")),
        name="digits in CIFAR's shape",
    )


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    pixels: Tensor = torch.from_numpy(np.ascontiguousarray(images))
    return Split(pixels.float().div_(255), torch.from_numpy(labels.astype(np.int64)))


# ---- the official batches ---------------------------------------------------------------------------------------------


def _read_batches(folder: Path) -> dict[str, np.ndarray]:
    from torchvision.datasets import CIFAR10  # slow to import; knows the official checksums

    restore = f"Delete the folder {folder.name} and call load_cifar10(download=True)."
    arrays: dict[str, np.ndarray] = {}
    for part, files in (("train", CIFAR10.train_list), ("test", CIFAR10.test_list)):
        pairs = []
        for name, md5 in files:
            if not (folder / name).is_file():
                raise ValueError(f"{folder.name} is incomplete: {name} is missing. {restore}")
            content = (folder / name).read_bytes()
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
                raise ValueError(
                    f"{folder.name}/{name} is damaged: its MD5 is not the official one "
                    f"({len(content):,} bytes on disk). {restore}"
                )
            pairs.append(read_batch(content))
        arrays[f"{part}_images"] = np.concatenate([images for images, _ in pairs])
        arrays[f"{part}_labels"] = np.concatenate([labels for _, labels in pairs])
    return arrays


def read_batch(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [n, 3, 32, 32], labels uint8 [n]) of one official batch, without unpickling it.

    A batch is a pickled dictionary; its "labels" are a list of small integers, and "data" holds one long string of
    pixels. Both are read off the opcodes; none is carried out. Raises ValueError for anything else.
    """
    key, labels, pixels = "", [], b""
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name in ("SHORT_BINSTRING", "BINUNICODE", "SHORT_BINBYTES") and argument in (
                "batch_label",
                "labels",
                "data",
                "filenames",
                b"batch_label",
                b"labels",
                b"data",
                b"filenames",
            ):
                key = argument if isinstance(argument, str) else argument.decode()
            elif key == "labels" and opcode.name == "BININT1":
                labels.append(argument)
            elif (
                key == "data"
                and opcode.name in ("BINSTRING", "BINBYTES")
                and len(argument) >= PIXELS
            ):
                pixels = argument if isinstance(argument, bytes) else argument.encode("latin-1")
    except (ValueError, UnicodeError) as error:
        raise ValueError(f"batch: is no pickle that can be read to its end ({error})") from error
    if not labels or len(pixels) != PIXELS * len(labels) or max(labels) > 9:
        raise ValueError(
            f"batch: got {len(labels):,} labels and {len(pixels):,} bytes of pixels, "
            f"takes labels 0 to 9 and {PIXELS:,} bytes for each"
        )
    return np.frombuffer(pixels, np.uint8).reshape(-1, 3, 32, 32), np.array(labels, np.uint8)


def _download(folder: Path) -> None:
    """Fetch the official archive (torchvision shows a bar and checks it), under another name until all is there."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import download_url

    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix="cifar10-download-", dir=folder))
    except OSError as error:
        raise RuntimeError(
            f"cannot write into the folder {folder.name!r} ({reason(error)}). "
            "Pass a folder of your own: load_cifar10(folder, download=True)."
        ) from error
    try:
        download_url(CIFAR10.url, unfinished, CIFAR10.filename, CIFAR10.tgz_md5)
        with tarfile.open(unfinished / CIFAR10.filename) as archive:
            archive.extractall(unfinished, filter="data")
        os.replace(unfinished / BATCHES, folder / BATCHES)
    except (RuntimeError, OSError, EOFError, HTTPException, tarfile.TarError) as error:
        raise RuntimeError(
            f"CIFAR-10 could not be downloaded ({reason(error)}). Check the connection and try again; or copy the folder "
            f"{BATCHES} from a machine that has it into {folder.name}; or use an archive of image files."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


# ---- image files ------------------------------------------------------------------------------------------------------


def _read_tree(tree: Path, partial: bool) -> dict[str, np.ndarray]:
    """The arrays of an image tree, from its cache if that is whole and belongs to these files."""
    files = {
        part: _list_files(tree / part) if (tree / part).is_dir() else []
        for part in ("train", "test")
    }
    for part, wanted in (("train", TRAIN_IMAGES), ("test", TEST_IMAGES)):
        found = len(files[part])
        if found != wanted and not partial and (found or part == "train"):
            raise ValueError(
                f"{tree.name}/{part} holds {found:,} images, CIFAR-10 has {wanted:,}. Unpack the archive "
                "again, or pass partial=True to train on what is there."
            )
    listing = [
        [part, path.parent.name, path.name, path.stat().st_size, path.stat().st_mtime_ns]
        for part, paths in files.items()
        for path in paths
    ]
    fingerprint = hashlib.sha256(json.dumps(listing).encode()).digest()
    arrays = _read_cache(tree / CACHE, fingerprint)
    if arrays is None:
        arrays = {}
        for part, paths in files.items():
            with ThreadPoolExecutor() as pool:
                images = list(pool.map(_decode, paths))
            arrays[f"{part}_images"] = np.array(images, np.uint8).reshape(-1, 3, 32, 32)
            arrays[f"{part}_labels"] = np.array(
                [CLASSES.index(path.parent.name) for path in paths], np.uint8
            )
        _write_cache(tree / CACHE, arrays, fingerprint)
    return arrays


def _list_files(folder: Path) -> list[Path]:
    found = {
        name: sorted(path for path in (folder / name).glob("*") if path.suffix.lower() in SUFFIXES)
        for name in CLASSES
    }
    if missing := [name for name, paths in found.items() if not paths]:
        raise ValueError(
            f"{folder.parent.name}/{folder.name} has no images of: {', '.join(missing)}. "
            f"Each of the ten classes needs a folder: {', '.join(CLASSES)}."
        )
    return [path for paths in found.values() for path in paths]


def _decode(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(
            f"{path.parent.name}/{path.name} cannot be decoded: it is damaged, or no image. "
            "Unpack the archive again."
        ) from error
    if pixels.shape != (32, 32, 3):
        raise ValueError(
            f"{path.parent.name}/{path.name} has {pixels.shape[1]}x{pixels.shape[0]} pixels, "
            "CIFAR-10 has 32x32."
        )
    return pixels.transpose(2, 0, 1)


def _checksum(arrays: dict[str, np.ndarray], fingerprint: bytes) -> np.ndarray:
    digest = hashlib.sha256(fingerprint)
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]))
    return np.frombuffer(digest.digest(), np.uint8)


def _read_cache(path: Path, fingerprint: bytes) -> dict[str, np.ndarray] | None:
    """None for a cache that is missing, damaged, or of other files: it is only a copy, and made again."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        checksum = arrays.pop("checksum")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return arrays if np.array_equal(checksum, _checksum(arrays, fingerprint)) else None


def _write_cache(path: Path, arrays: dict[str, np.ndarray], fingerprint: bytes) -> None:
    """Written under another name and then renamed. A folder that may not be written to has no cache."""
    try:
        handle, unfinished = tempfile.mkstemp(suffix=".npz", dir=path.parent)
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays, checksum=_checksum(arrays, fingerprint))
        os.replace(unfinished, path)
    finally:
        Path(unfinished).unlink(missing_ok=True)
