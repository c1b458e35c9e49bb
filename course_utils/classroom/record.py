"""What a learner has done: exercises passed, guesses made, self-tests answered.

It stays on this machine. One file, ``progress.json``, beside the notebooks; in the home folder
where that one cannot be written to. It is written in one step, by one notebook at a time, and a
damaged one is set aside.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from IPython import get_ipython

from ..files import locked, write

FILE, VERSION = "progress.json", 2
PARTS = ("passed", "guesses", "answers")
NUMBER = re.compile(r"^0*(\d+)\.(\d+)")


def normalised(exercise: str) -> str:
    """ "2.1" and "02.1" name the same exercise, "02.1"; a name without numbers stays as it is."""
    match = NUMBER.match(exercise)
    return f"{int(match[1]):02d}.{match[2]}" if match else exercise


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel: a script, or a test, records nothing."""
    return getattr(get_ipython(), "kernel", None) is not None


def notebooks_folder(start: Path | str | None = None) -> Path:
    """The folder of the lessons, seen from ``start`` (this folder, unless named): itself, its
    ``notebooks``, one above it, or the one beside this package; else ``start``."""
    here = Path.cwd() if start is None else Path(start).resolve()
    checkout = Path(__file__).resolve().parents[2]
    for folder in (here, here / "notebooks", *here.parents, checkout / "notebooks"):
        if folder.name != "solutions" and any(folder.glob("[0-9][0-9]_*.ipynb")):
            return folder
    return here


def record_path(folder: Path | str | None = None) -> Path:
    """Where the record is kept; the variable COURSE_RECORD names another folder, for those who run
    notebooks that are nobody's work."""
    if folder is None and (elsewhere := os.environ.get("COURSE_RECORD")):
        return Path(elsewhere) / FILE
    beside = notebooks_folder(folder) / FILE
    if os.access(beside if beside.exists() else beside.parent, os.W_OK):
        return beside
    return Path.home() / ".tuning-course" / FILE


def load(path: Path) -> dict[str, dict[str, Any]]:
    """{"passed": {exercise: when}, "guesses": {question: {...}}, "answers": {...}}; all empty
    without a file.

    A file that is not what this module writes is renamed (``progress.json.damaged-1``, ``-2`` ...)
    and a warning says so.
    """
    empty: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return empty
    except (ValueError, RecursionError) as error:
        _set_aside(path, str(error))
        return empty
    if not isinstance(data, dict) or data.get("version") not in (1, VERSION):
        _set_aside(path, "it does not hold what it should")
        return empty
    found = empty | {part: data[part] for part in PARTS if part in data}
    if not all(isinstance(part, dict) for part in found.values()):
        _set_aside(path, "it does not hold what it should")
        return empty
    return found


def _set_aside(path: Path, why: str) -> None:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    os.replace(path, aside)
    warnings.warn(
        f"{path.name} was damaged ({why}). It now lies beside the notebook as {aside.name}, and "
        "progress begins anew: run the checks of your solved exercises again to restore it.",
        stacklevel=4,
    )


@contextmanager
def changing(folder: Path | str | None = None) -> Iterator[dict[str, dict[str, Any]]]:
    """The record, to be changed inside ``with``; notebooks that write at once wait for each other.

    Raises OSError if it cannot be written.
    """
    path = record_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        record = load(path)
        before = json.dumps(record, sort_keys=True)
        yield record
        if json.dumps(record, sort_keys=True) != before:
            write(path, json.dumps({"version": VERSION, **record}, indent=1, sort_keys=True) + "\n")


def now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def note_pass(exercise: str, folder: Path | str | None = None) -> None:
    """Note that an exercise is passed; the first time counts. Raises OSError."""
    with changing(folder) as record:
        record["passed"].setdefault(normalised(exercise), now())


def note_guess(question: str, guess: dict[str, Any], folder: Path | str | None = None) -> None:
    """Note a guess, or what was measured, under its question's id. Raises OSError."""
    with changing(folder) as record:
        record["guesses"].setdefault(question, {}).update(guess)
