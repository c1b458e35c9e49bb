"""The official batches of CIFAR-10: downloaded, checked, and read without being unpickled.

The batches are pickles, and a pickle can run code. Here none is ever unpickled: once its MD5 was
found to be the official one, a file is read as a list of opcodes (``pickletools``), from which the
pixels and labels are taken as data. Notebook 15.
"""

from __future__ import annotations

import hashlib
import pickletools
import tarfile
from pathlib import Path
from urllib.request import urlopen

import numpy as np
from tqdm.auto import tqdm

from ...files import download_folder, read_bytes

BATCHES = "cifar-10-batches-py"
PIXELS = 3 * 32 * 32
LARGEST_BATCH, LARGEST_ARCHIVE = 40_000_000, 250_000_000  # bytes; the official ones are smaller
PATIENCE = 30  # seconds that a server may be silent
PART = 1 << 20  # bytes that are read at a time
KEYS = ("batch_label", "labels", "data", "filenames")
DATA = ("BINSTRING", "BINBYTES")
TEXTS = ("SHORT_BINSTRING", "BINUNICODE", "SHORT_BINBYTES")


def read_batches(folder: Path) -> dict[str, np.ndarray]:
    """{train_images, train_labels, test_images, test_labels}, all uint8.

    Raises ValueError that names the file which is missing or is not the official one.
    """
    from torchvision.datasets import CIFAR10  # slow to import; knows the official checksums

    advice = f"Delete the folder {folder.name} and call load_cifar10(download=True)."
    arrays: dict[str, np.ndarray] = {}
    for part, files in (("train", CIFAR10.train_list), ("test", CIFAR10.test_list)):
        pairs = []
        for name, md5 in files:
            if not (folder / name).exists():
                raise ValueError(f"{folder.name} is incomplete: {name} is missing. {advice}")
            content = read_bytes(folder / name, advice, LARGEST_BATCH)
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
                raise ValueError(
                    f"{folder.name}/{name} is damaged: its MD5 is not the official one "
                    f"({len(content):,} bytes on disk). {advice}"
                )
            pairs.append(read_batch(content))
        arrays[f"{part}_images"] = np.concatenate([images for images, _ in pairs])
        arrays[f"{part}_labels"] = np.concatenate([labels for _, labels in pairs])
    return arrays


def read_batch(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 [n, 3, 32, 32], labels uint8 [n]) of one official batch, without unpickling it.

    A batch is a pickled dictionary; its "labels" are a list of small integers, and "data" holds one
    long string of pixels. Both are read off the opcodes; none is carried out. Raises ValueError for
    anything else.
    """
    key, labels, pixels = "", [], b""
    try:
        for opcode, argument, _ in pickletools.genops(content):
            text = argument.decode("latin-1") if isinstance(argument, bytes) else argument
            if opcode.name in TEXTS and text in KEYS:
                key = text
            elif key == "labels" and opcode.name == "BININT1":
                labels.append(argument)
            elif key == "data" and opcode.name in DATA and len(argument) >= PIXELS:
                pixels = argument if isinstance(argument, bytes) else argument.encode("latin-1")
    except (ValueError, UnicodeError) as error:
        raise ValueError(f"batch: is no pickle that can be read to its end ({error})") from error
    if not labels or len(pixels) != PIXELS * len(labels) or max(labels) > 9:
        raise ValueError(
            f"batch: got {len(labels):,} labels and {len(pixels):,} bytes of pixels, "
            f"takes labels 0 to 9 and {PIXELS:,} bytes for each"
        )
    return np.frombuffer(pixels, np.uint8).reshape(-1, 3, 32, 32), np.array(labels, np.uint8)


def download_batches(folder: Path) -> None:
    """Fetch the official archive, and unpack it under another name until all is there.

    Raises RuntimeError that says what to do; leaves no half folder.
    """
    download_folder(
        folder,
        BATCHES,
        _fetch_batches,
        name="CIFAR-10",
        call="load_cifar10(folder, download=True)",
        otherwise=f"copy the folder {BATCHES} from a machine that has it into {folder.name}; "
        "or use an archive of image files",
    )


def _fetch_batches(folder: Path) -> None:
    from torchvision.datasets import CIFAR10

    _fetch(CIFAR10.url, CIFAR10.tgz_md5, folder / CIFAR10.filename)
    _unpack(folder / CIFAR10.filename, folder)


def _fetch(url: str, md5: str, path: Path) -> None:
    """Raises ValueError for a file that is larger than expected, or another one."""
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with urlopen(url, timeout=PATIENCE) as answer, open(path, "wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        with tqdm(total=total, unit="B", unit_scale=True, leave=False) as bar:
            while part := answer.read(PART):
                size += len(part)
                if max(size, total) > LARGEST_ARCHIVE:
                    raise ValueError(f"it is larger than {LARGEST_ARCHIVE:,} bytes")
                digest.update(part)
                file.write(part)
                bar.update(len(part))
    if digest.hexdigest() != md5:
        raise ValueError(f"the {size:,} bytes that came are not the official archive")


def _unpack(archive: Path, folder: Path) -> None:
    """Regular files of an expected size, and nothing else. Raises ValueError for others."""
    with tarfile.open(archive) as packed:
        members = packed.getmembers()
        for member in members:
            if not (member.isfile() or member.isdir()) or member.size > LARGEST_BATCH:
                raise ValueError(f"{member.name} is no file of at most {LARGEST_BATCH:,} bytes")
        packed.extractall(folder, members, filter="data")
