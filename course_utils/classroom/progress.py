"""Which exercises of the course are passed: ``progress()``, in any of its notebooks."""

from __future__ import annotations

import html
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .record import load, notebooks_folder, record_path


def exercises(folder: Path | str | None = None) -> dict[str, list[str]]:
    """{notebook's name: its exercises, "02.1", "02.2" ...}: the cells tagged ``exercise`` that call
    a check, in order.

    A copy of a notebook ("... -Copy1", "... (1)") brings no exercises of its own, and a learner's
    notes with a lesson's number take none away. A file that cannot be read
    as a notebook is left out, and a warning names it.
    """
    found: dict[str, list[str]] = {}
    lessons: dict[str, str] = {}
    for path in sorted(notebooks_folder(folder).glob("[0-9][0-9]_*.ipynb"), key=_originals_first):
        if "-Copy" in path.stem or path.stem[:2] in lessons:
            continue
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            count = sum(_is_exercise(cell) for cell in cells)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            warnings.warn(
                f"{path.name} cannot be read as a notebook, and is left out", stacklevel=3
            )
            continue
        if count:
            lessons[path.stem[:2]] = path.stem
            found[path.stem] = [f"{path.stem[:2]}.{number}" for number in range(1, count + 1)]
    return found


def _originals_first(path: Path) -> tuple[str, int, str]:
    """By number, and of one number the shortest first: a copy's name adds something."""
    return path.stem[:2], len(path.stem), path.stem


def _is_exercise(cell: Mapping) -> bool:
    tagged = "exercise" in cell.get("metadata", {}).get("tags", [])
    return cell["cell_type"] == "code" and tagged and "check_" in "".join(cell["source"])


@dataclass(frozen=True)
class Progress:
    """All exercises of the course, by notebook, and when those that are passed were passed."""

    exercises: dict[str, list[str]]
    passed: Mapping[str, str]

    @property
    def summary(self) -> str:
        every = [name for names in self.exercises.values() for name in names]
        return f"{sum(name in self.passed for name in every)} of {len(every)} exercises passed"

    def rows(self) -> list[tuple[str, str, str]]:
        """(notebook, "2 of 5", the exercises with a sign for each)."""
        rows = []
        for notebook, names in self.exercises.items():
            done = [name in self.passed for name in names]
            signs = [
                f"{'✔' if good else '○'} {n.split('.')[1]}"
                for n, good in zip(names, done, strict=True)
            ]
            rows.append(
                (notebook.replace("_", " "), f"{sum(done)} of {len(done)}", "  ".join(signs))
            )
        return rows

    def __repr__(self) -> str:
        width = max((len(notebook) for notebook, *_ in self.rows()), default=0)
        lines = [f"{name:<{width}}  {count}  {signs}" for name, count, signs in self.rows()]
        return "\n".join([self.summary, *lines])

    def _repr_html_(self) -> str:
        left = "style='text-align:left; padding-right:1.2em; white-space:nowrap'"
        rows = "".join(
            f"<tr><th scope='row' {left}>{html.escape(name)}</th><td {left}>{count}</td>"
            f"<td {left}>{html.escape(signs)}</td></tr>"
            for name, count, signs in self.rows()
        )
        heads = "".join(
            f"<th scope='col' {left}>{head}</th>" for head in ("notebook", "passed", "exercises")
        )
        legend = "✔ passed, ○ not yet; the number is the exercise's"
        return (
            f"<table><caption {left}><b>{self.summary}</b> ({legend})</caption>"
            f"<tr>{heads}</tr>{rows}</table>"
        )


def progress(folder: Path | str | None = None) -> Progress:
    """Which exercises are passed, from whichever folder of the course this is called."""
    return Progress(exercises(folder), load(record_path(folder))["passed"])
