"""Files: read with their checksum, written in one step, one writer at a time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import struct
import tempfile
import time
import tokenize
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from tarfile import TarError
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from filelock import FileLock

PACKAGED = Path(__file__).resolve().parent / "data"  # where a package that was built carries them
DATA_FOLDER = PACKAGED if PACKAGED.is_dir() else PACKAGED.parent.parent / "data"
WAIT_SECONDS = 10  # for another writer of the same file
STALE_SECONDS = 3600  # after which what an interrupted writer left behind is cleared away
LARGEST_FILE, LARGEST_ARRAYS = 300_000_000, 1_500_000_000  # bytes, packed and unpacked
# What Python's and NumPy's readers raise for contents that are no archive, or no array.
DAMAGED = (
    *(OSError, EOFError, BadZipFile, zlib.error, struct.error, tokenize.TokenError, SyntaxError),
    *(ValueError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError),
)


def restore(path: Path) -> str:
    """How a file that belongs to the course is got back, with git and without."""
    inside = path.resolve().is_relative_to(DATA_FOLDER.resolve())
    name = path.resolve().relative_to(DATA_FOLDER.resolve()).as_posix() if inside else path.name
    return (
        f"Get it back with: git checkout -- :/data/{name} "
        f"(without git: download the course again, and copy its data/{name})"
    )


def reason(error: BaseException) -> str:
    """What went wrong in a few words, without the absolute path that the system's errors carry."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def read_bytes(path: Path, advice: str, most: int = LARGEST_FILE) -> bytes:
    """The contents of a regular file of at most ``most`` bytes.

    Raises FileNotFoundError, or ValueError for what cannot be read; each ends with ``advice``.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is no ordinary file. {advice}")
        if status.st_size > most:
            raise ValueError(
                f"{path.name} has {status.st_size:,} bytes, more than {most:,}. {advice}"
            )
        return path.read_bytes()
    except FileNotFoundError:
        folder = path.parent.name
        raise FileNotFoundError(
            f"{path.name} is missing from the folder {folder!r}. {advice}"
        ) from None
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({reason(error)}). {advice}") from error


def read_arrays(
    path: Path, advice: str | None = None, sha256: str | None = None
) -> dict[str, np.ndarray]:
    """All arrays of an npz file, none of which may hold objects; ``sha256`` is of the whole file.

    Raises FileNotFoundError or ValueError, each with ``advice`` on how to get the file back.
    """
    advice = restore(path) if advice is None else advice
    packed = read_bytes(path, advice)
    found = hashlib.sha256(packed).hexdigest()
    if sha256 is not None and found != sha256:
        raise ValueError(
            f"{path.name} is damaged or was changed: its SHA-256 begins with {found[:12]}, "
            f"expected {sha256[:12]} ({len(packed):,} bytes on disk). {advice}"
        )
    try:
        with ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > LARGEST_ARRAYS:
            raise ValueError(f"it would unpack to {unpacked:,} bytes")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except DAMAGED as error:
        raise ValueError(
            f"{path.name} is damaged: it cannot be read ({reason(error)}). {advice}"
        ) from error


def read_json(path: Path, advice: str | None = None) -> Any:
    """What a JSON file holds. Raises FileNotFoundError or ValueError, with how to get it back."""
    advice = restore(path) if advice is None else advice
    contents = read_bytes(path, advice)
    try:
        return json.loads(contents.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # of text, of JSON, of a number's length
        raise ValueError(f"{path.name} is damaged: {reason(error)}. {advice}") from error


def array_checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and contents of all arrays, however they are packed."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write(path: Path, contents: str | bytes) -> None:
    """All or nothing: a new file beside the old one takes its place once it is complete on disk.

    Raises OSError where the folder cannot be written to.
    """
    data = contents.encode("utf-8") if isinstance(contents, str) else contents
    _clear_leftovers(path)
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".unfinished", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _clear_leftovers(path: Path) -> None:
    for leftover in path.parent.glob(f"{path.name}.*.unfinished"):
        try:
            if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                leftover.unlink()
        except OSError:  # another writer was faster
            continue


def download_folder(
    place: Path, wanted: str, fetch: Callable[[Path], object], name: str, call: str, otherwise: str
) -> None:
    """Let ``fetch`` (folder -> None) make the folder ``wanted`` in a folder of its own, and move it
    to ``place`` once it is complete.

    ``name`` says what is downloaded, ``call`` how to do so again, ``otherwise`` what else can be
    done. Raises RuntimeError that says all three; leaves no half folder.
    """
    prefix = f"{wanted.lower()}-download-"
    try:
        place.mkdir(parents=True, exist_ok=True)
        clear_folders(place, prefix)
        unfinished = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    except OSError as error:
        raise RuntimeError(
            f"cannot write into the folder {place.name!r} ({reason(error)}). "
            f"Pass a folder of your own: {call}."
        ) from error
    try:
        fetch(unfinished)
        os.replace(unfinished / wanted, place / wanted)
    except (RuntimeError, ValueError, OSError, EOFError, HTTPException, TarError) as error:
        if (place / wanted).is_dir():  # a second download at the same time was faster
            return
        raise RuntimeError(
            f"{name} could not be downloaded ({reason(error)}). Check the connection and call "
            f"{call} again; or {otherwise}."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def clear_folders(place: Path, prefix: str) -> None:
    """Clear away folders of this name that an interrupted download has left behind."""
    for leftover in place.glob(f"{prefix}*"):
        with suppress(OSError):  # somebody else was faster
            if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let nobody else who asks for the same lock read or write ``path`` meanwhile."""
    with FileLock(f"{path}.lock", timeout=WAIT_SECONDS):
        yield
