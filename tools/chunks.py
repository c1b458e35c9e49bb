"""Long builds in chunks: a finished chunk is a file with a checksum, and a killed build goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from course_utils.bank import read_sealed, write_sealed


def folder_for(settings: Mapping[str, Any], work: Path) -> Path:
    """A folder below ``work`` for chunks made with just these settings: never those of others."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    folder = work / digest[:12]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def finished(path: Path, names: set[str]) -> dict[str, np.ndarray] | None:
    """The arrays of a chunk, or None if it is yet to be made.

    A damaged one (of a disk that was full, a copy that broke off) is named and set aside.
    """
    if not path.exists():
        return None
    aside = path.with_name(f"{path.name}.damaged")
    try:
        return read_sealed(path, names, f"It is set aside as {aside.name} and made again.")
    except ValueError as error:
        path.replace(aside)
        tqdm.write(str(error))
        return None


def make_all(
    folder: Path, jobs: Mapping[str, Callable[[], dict[str, np.ndarray]]], names: Iterable[str]
) -> dict[str, dict[str, np.ndarray]]:
    """Run every job whose chunk is missing or damaged; {name of job: arrays} of them all."""
    chunks, names = {}, set(names)
    for job, make in tqdm(jobs.items(), unit="chunk", desc=folder.parent.name):
        path = folder / f"{job}.npz"
        arrays = finished(path, names)
        if arrays is None:
            write_sealed(path, make())
            arrays = read_sealed(
                path, names, "The disk gives back something else than it was given."
            )
        chunks[job] = arrays
    return chunks
