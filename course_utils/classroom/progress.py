"""Which exercises are passed: kept in ``progress.json`` beside the notebooks, shown by ``progress()``. Floor 6.

``checks.check`` records every exercise that is passed in a notebook. The file belongs to the learner: git ignores it, it
is written in one step, so that no interruption leaves half of it, and a damaged one is set aside, not overwritten.
"""

from __future__ import annotations

import html
import json
import os
import re
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock
from IPython import get_ipython

FILE = "progress.json"
VERSION = 1
WAIT_SECONDS = 10  # for another notebook that is writing just now
NUMBER = re.compile(r"^0*(\d+)\.(\d+)")  # "02.1", "2.1 step by epoch": notebook, exercise


def normalised(exercise: str) -> str:
    """ "2.1 step by epoch" and "02.1" name the same exercise, "02.1"; a name without numbers stays as it is."""
    match = NUMBER.match(exercise)
    return f"{int(match[1]):02d}.{match[2]}" if match else exercise


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel: a script, or a test, records no progress."""
    return getattr(get_ipython(), "kernel", None) is not None


def load(path: Path) -> dict[str, str]:
    """{exercise: when it was first passed}; empty without a file.

    A file that is not what ``record`` writes is renamed (``progress.json.damaged-1``, ``-2`` ...) and a warning says so.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:  # not JSON, or not UTF-8
        return _set_aside(path, str(error))
    passed = (
        data.get("passed") if isinstance(data, dict) and data.get("version") == VERSION else None
    )
    if not isinstance(passed, dict) or not all(isinstance(when, str) for when in passed.values()):
        return _set_aside(path, "it does not hold what it should")
    return passed


def _set_aside(path: Path, why: str) -> dict[str, str]:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    os.replace(path, aside)
    warnings.warn(
        f"{path.name} was damaged ({why}). It now lies beside the notebook as {aside.name}, and progress begins "
        "anew: run the checks of your solved exercises again to restore it.",
        stacklevel=4,
    )
    return {}


def record(exercise: str, folder: Path | str = ".") -> None:
    """Note that ``exercise`` is passed. The first time counts; notebooks that write at the same time wait for each other.

    Raises OSError if the folder cannot be written to.
    """
    path = Path(folder) / FILE
    with FileLock(f"{path}.lock", timeout=WAIT_SECONDS):
        passed = load(path)
        if normalised(exercise) not in passed:
            passed[normalised(exercise)] = datetime.now().astimezone().isoformat(timespec="seconds")
            _write(path, passed)


def _write(path: Path, passed: Mapping[str, str]) -> None:
    """All or nothing: a new file beside the old one takes its place when it is complete."""
    text = json.dumps({"version": VERSION, "passed": dict(sorted(passed.items()))}, indent=1) + "\n"
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".unfinished", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def exercises(folder: Path | str = ".") -> dict[str, list[str]]:
    """{notebook's name: its exercises, "02.1", "02.2" ...}: the cells tagged ``exercise`` that call a check, in order."""
    found = {}
    for path in sorted(Path(folder).glob("[0-9][0-9]_*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        count = sum(
            "exercise" in cell["metadata"].get("tags", []) and "check_" in "".join(cell["source"])
            for cell in cells
            if cell["cell_type"] == "code"
        )
        if count:
            found[path.stem] = [f"{path.stem[:2]}.{number}" for number in range(1, count + 1)]
    return found


@dataclass(frozen=True)
class Progress:
    """All exercises of the course, by notebook, and when those that are passed were passed."""

    exercises: dict[str, list[str]]
    passed: dict[str, str]

    def _rows(self) -> list[tuple[str, str, str]]:
        """(notebook, "2 of 5", "1 2 . . .") with a mark for each exercise."""
        rows = []
        for notebook, names in self.exercises.items():
            done = [name in self.passed for name in names]
            marks = " ".join(
                name.split(".")[1] if good else "·" for name, good in zip(names, done, strict=True)
            )
            rows.append((notebook, f"{sum(done)} of {len(done)}", marks))
        return rows

    @property
    def summary(self) -> str:
        every = [name for names in self.exercises.values() for name in names]
        return f"{sum(name in self.passed for name in every)} of {len(every)} exercises passed"

    def __repr__(self) -> str:
        width = max((len(notebook) for notebook in self.exercises), default=0)
        return "\n".join(
            [
                self.summary,
                *(f"{name:<{width}}  {count}  {marks}" for name, count, marks in self._rows()),
            ]
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th scope='row' style='text-align:left'>{html.escape(name.replace('_', ' '))}</th>"
            f"<td>{count}</td><td style='text-align:left; letter-spacing:.2em'>{marks}</td></tr>"
            for name, count, marks in self._rows()
        )
        return (
            f"<table><caption style='text-align:left'>{self.summary}</caption><tr><th scope='col'>notebook</th>"
            f"<th scope='col'>passed</th><th scope='col'>which</th></tr>{rows}</table>"
        )


def progress(folder: Path | str = ".") -> Progress:
    """Which exercises of the notebooks in ``folder`` are passed; the folder of this notebook, if you name none."""
    path = Path(folder) / FILE
    return Progress(exercises(folder), load(path))
