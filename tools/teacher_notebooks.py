"""Run the teacher's notebooks in fresh kernels and store their outputs, normalised.

    python tools/teacher_notebooks.py

They are no lessons (no page of the site, no solution, no claim): `make notebooks` leaves them out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat

from course_utils.files import write
from run_notebooks import FAILURES, execute, report
from stored import NOTEBOOKS, machine_paths, normalise

FOLDER = NOTEBOOKS / "teacher"


def store(path: Path) -> str | None:
    """Execute one notebook and store it; returns what went wrong, if anything."""
    notebook = nbformat.read(path, as_version=4)
    try:
        watch = execute(notebook, path.parent)
    except FAILURES as error:
        return str(error)
    normalise(notebook)
    if paths := machine_paths(notebook):
        return "\n  ".join(["names a folder of this machine:", *paths])
    write(path, nbformat.writes(notebook).rstrip("\n") + "\n")
    report(path, watch)
    return None


def main() -> int:
    failed = False
    for path in sorted(FOLDER.glob("*.ipynb")):
        if message := store(path):
            failed = True
            print(f"FAILED  {path.name}\n{message}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
