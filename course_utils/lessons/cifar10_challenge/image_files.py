"""CIFAR-10 as a tree of image files: ``train/<class>/*.png|jpg``, and perhaps ``test/``.

Decoded once, into a cache that is only a copy: where it is damaged, or could not be written, the
images are decoded again. Notebook 15.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ...files import array_checksum, read_arrays, read_bytes, write

CACHE = "cifar10_cache.npz"
COUNTS = {"train": 50_000, "test": 10_000}
SUFFIXES = {".png", ".jpg", ".jpeg"}
SIZE = 32  # pixels
LARGEST_IMAGE = 100_000  # bytes; 32 x 32 pixels take 3,072 and a header
UNPACK_AGAIN = "Unpack the archive again."
# What Pillow raises for files that are damaged, each in its own way.
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error)
DAMAGED += (zlib.error, ArithmeticError, MemoryError, Image.DecompressionBombError)


def read_tree(tree: Path, classes: Sequence[str], partial: bool) -> dict[str, np.ndarray]:
    """{train_images, train_labels, test_images, test_labels}, all uint8; from the cache, if it is
    whole and belongs to these files.

    Raises ValueError that names the folder or file that is not as it should be.
    """
    files = {
        part: _list_files(tree / part, classes) if (tree / part).is_dir() else [] for part in COUNTS
    }
    for part, wanted in COUNTS.items():
        found = len(files[part])
        if found != wanted and not partial and (found or part == "train"):
            raise ValueError(
                f"{tree.name}/{part} holds {found:,} images, CIFAR-10 has {wanted:,}. "
                f"{UNPACK_AGAIN} Or pass partial=True to train on what is there."
            )
    fingerprint = _fingerprint(files)
    arrays = _read_cache(tree / CACHE, fingerprint)
    if arrays is None:
        arrays = {}
        for part, paths in files.items():
            with ThreadPoolExecutor() as pool:
                images = list(pool.map(_decode, paths))
            labels = [classes.index(path.parent.name) for path in paths]
            arrays[f"{part}_images"] = np.array(images, np.uint8).reshape(-1, 3, SIZE, SIZE)
            arrays[f"{part}_labels"] = np.array(labels, np.uint8)
        _write_cache(tree / CACHE, arrays, fingerprint)
    return arrays


def _list_files(folder: Path, classes: Sequence[str]) -> list[Path]:
    """All images, class by class, by their names."""
    images = {
        name: sorted(path for path in (folder / name).glob("*") if path.suffix.lower() in SUFFIXES)
        for name in classes
    }
    where = f"{folder.parent.name}/{folder.name}"
    if missing := [name for name, paths in images.items() if not paths]:
        raise ValueError(
            f"{where} has no images of: {', '.join(missing)}. "
            f"Each of the ten classes needs a folder: {', '.join(classes)}."
        )
    return [path for paths in images.values() for path in paths]


def _fingerprint(files: dict[str, list[Path]]) -> np.ndarray:
    """Another one for other files: names, sizes and times of all of them."""
    digest = hashlib.sha256()
    for part, paths in files.items():
        for path in paths:
            status = path.stat()
            about = [part, path.parent.name, path.name, status.st_size, status.st_mtime_ns]
            digest.update(json.dumps(about).encode())
    return np.frombuffer(digest.digest(), np.uint8)


def _decode(path: Path) -> np.ndarray:
    """uint8 [3, 32, 32]. Size is looked at before any pixel is unpacked."""
    name = f"{path.parent.name}/{path.name}"
    content = read_bytes(path, UNPACK_AGAIN, LARGEST_IMAGE)
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
            size = picture.size
            pixels = np.asarray(picture.convert("RGB")) if size == (SIZE, SIZE) else None
    except DAMAGED as error:
        raise ValueError(
            f"{name} cannot be decoded: it is damaged, or no image. {UNPACK_AGAIN}"
        ) from error
    if pixels is None:
        raise ValueError(f"{name} has {size[0]}x{size[1]} pixels, CIFAR-10 has {SIZE}x{SIZE}.")
    return pixels.transpose(2, 0, 1)


def _read_cache(path: Path, fingerprint: np.ndarray) -> dict[str, np.ndarray] | None:
    """None for a cache that is missing, damaged, or of other files."""
    try:
        arrays = read_arrays(path, advice="")
    except (FileNotFoundError, ValueError):
        return None
    checksum, made_of = arrays.pop("checksum", None), arrays.pop("fingerprint", None)
    whole = checksum is not None and str(checksum) == array_checksum(arrays)
    return arrays if whole and np.array_equal(made_of, fingerprint) else None


def _write_cache(path: Path, arrays: dict[str, np.ndarray], fingerprint: np.ndarray) -> None:
    """As a whole or not at all. A folder that may not be written to, or is full, has no cache."""
    checks = {"checksum": np.array(array_checksum(arrays)), "fingerprint": fingerprint}
    file = io.BytesIO()
    np.savez(file, **arrays, **checks)
    try:
        write(path, file.getvalue())
    except OSError:
        return
