"""Run notebooks in fresh kernels and store their outputs, normalised: what `make notebooks` does.

    python tools/run_notebooks.py [--times] [--altered widened|doubled] [07 ...]

With arguments, only notebooks whose names begin so. A file changes only if all of its cells
ran, and a solution only if its checks pass. The claims of all notebooks are gathered in
data/claims.json.

``--times`` leaves the notebooks as they are, and writes the seconds of their cells, and each
notebook's peak of memory, into docs/CELL_TIMES.md, for teachers. ``--altered`` is what `make
robustness` does: it leaves the notebooks alone, too, runs them with wider grids or longer training,
and writes what became of their claims into data/robustness.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from cards import mark_reached, renew_cards
from course_utils.files import locked, write
from stored import (
    CLAIMS,
    HERE,
    NOTEBOOKS,
    find_notebooks,
    gather_claims,
    machine_paths,
    normalise,
    one_a_line,
    unsolved,
)

TIMES = HERE / "docs" / "CELL_TIMES.md"
ROBUSTNESS = HERE / "data" / "robustness.json"
LARGEST = 500_000  # bytes of a stored notebook
CELL_SECONDS = 600
FAILURES = (CellExecutionError, CellTimeoutError, DeadKernelError)


class Watch:
    """Seconds of each cell, counted from 0, and the kernel's peak of memory in MB."""

    def __init__(self, client: NotebookClient):
        self.client, self.cells, self.peak = client, {0: 0.0}, 0.0
        self._started: dict[int, float] = {}

    def start(self, cell: nbformat.NotebookNode, cell_index: int) -> None:
        self._started[cell_index] = time.perf_counter()

    def end(self, cell: nbformat.NotebookNode, cell_index: int, **_: object) -> None:
        self.cells[cell_index] = time.perf_counter() - self._started[cell_index]
        provisioner = self.client.km.provisioner  # the kernel's process
        if (pid := getattr(provisioner, "pid", None)) is not None:
            memory = psutil.Process(pid).memory_info()
            self.peak = max(self.peak, getattr(memory, "peak_wset", memory.rss) / 1e6)


def execute(
    notebook: nbformat.NotebookNode, folder: Path, environment: dict[str, str] | None = None
) -> Watch:
    """Run all cells in ``folder``. Raises what nbclient raises when a cell fails, takes too long,
    or ends the kernel."""
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    watch = Watch(client)
    client.on_cell_execute, client.on_cell_executed = watch.start, watch.end
    with tempfile.TemporaryDirectory() as nobody:  # what the checks note is no learner's record
        record = {"COURSE_RECORD": nobody}
        client.execute(env={**os.environ, **record, **(environment or {})})
    return watch


def store(path: Path) -> str | None:
    """Execute one notebook and store it; returns what went wrong, if anything."""
    notebook = nbformat.read(path, as_version=4)
    try:
        watch = execute(notebook, path.parent)
    except FAILURES as error:
        return str(error)
    normalise(notebook)
    if paths := machine_paths(notebook):
        return "\n  ".join(
            ["names a folder of this machine, which means nothing elsewhere:", *paths]
        )
    if path.parent != NOTEBOOKS and (cells := unsolved(notebook)):
        return f"its own checks do not pass this solution: {', '.join(cells)}"
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    if (size := len(text.encode())) > LARGEST:
        return (
            f"would take {size:,} bytes of the {LARGEST:,} allowed: draw fewer or smaller figures"
        )
    write(path, text)
    report(path, watch, f"{size / 1000:4.0f} kB  ")
    write(CLAIMS, one_a_line(gather_claims()))  # at once: the last notebook reads them
    return None


def report(path: Path, watch: Watch, more: str = "") -> None:
    slowest = max(watch.cells, key=lambda cell: watch.cells[cell])
    seconds, name = sum(watch.cells.values()), path.relative_to(NOTEBOOKS).as_posix()
    slow = f"slowest: cell {slowest}, {watch.cells[slowest]:.1f} s"
    print(f"{seconds:6.1f} s  {watch.peak:5.0f} MB  {more}{name}  ({slow})", flush=True)


# Times --------------------------------------------------------------------------------------------


def store_times(path: Path) -> str | None:
    """Measure one notebook for docs/CELL_TIMES.md."""
    notebook = nbformat.read(path, as_version=4)
    try:
        watch = execute(notebook, path.parent)
    except FAILURES as error:
        return str(error)
    head, rule, table = TIMES.read_text(encoding="utf-8").partition("|---|---|---|---|\n")
    number = path.name[:2]
    rows = [row for row in table.splitlines() if row.strip("| *")[:2] != number]
    rows += time_rows(notebook, number, watch)
    write(TIMES, head + rule + "".join(f"{row}\n" for row in sorted(rows, key=_row_order)))
    report(path, watch)
    return None


def time_rows(notebook: nbformat.NotebookNode, number: str, watch: Watch) -> list[str]:
    """A row for the notebook, and one for each cell of a second or more."""
    total = sum(watch.cells.values())
    rows = [f"| **{number}** | | **all cells** | **{total:.0f} s, {watch.peak:.0f} MB** |"]
    heading, count = "", 0
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            titles = re.findall(r"^#+ (.+)", cell.source, re.MULTILINE)
            heading = titles[-1] if titles else heading
            continue
        count += 1
        if watch.cells.get(index, 0) >= 1:
            where = heading.replace("|", " ")
            rows.append(f"| {number} | [{count}] | {where} | {watch.cells[index]:.0f} s |")
    return rows


def _row_order(row: str) -> tuple[str, int]:
    match = re.match(r"\| \**(\d+)\** \| (?:\[(\d+)\])?", row)
    assert match is not None, f"not a row of the table: {row}"
    return match[1], int(match[2] or 0)


# Robustness ---------------------------------------------------------------------------------------


def store_altered(path: Path, altered: str) -> str | None:
    """Run a lesson with "widened" grids or "doubled" training, and keep its cards."""
    notebook = nbformat.read(path, as_version=4)
    if not any("claim" in cell.metadata.get("tags", []) for cell in notebook.cells):
        return None
    try:
        watch = execute(notebook, path.parent, {"COURSE_ALTERED": altered})
    except FAILURES as error:
        return str(error)
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if claim := output.get("metadata", {}).get("claim"):
                part = {name: claim[name] for name in ("id", "verdict", "effects")}
                found.append({"notebook": path.stem, "altered": altered, **part})
    with locked(ROBUSTNESS):
        which = (path.stem, altered)
        kept = [each for each in repeated() if (each["notebook"], each["altered"]) != which]
        every = sorted([*kept, *found], key=lambda each: (each["notebook"], each["altered"]))
        mark_reached(every, gather_claims())
        text = f'{{"made": "{date.today()}",\n "cards": {one_a_line(every).rstrip()}}}\n'
        write(ROBUSTNESS, text)
        renew_cards(path, every)
        write(CLAIMS, one_a_line(gather_claims()))
    report(path, watch, f"{altered}  ")
    return None


def repeated() -> list[dict]:
    """The cards of data/robustness.json."""
    if not ROBUSTNESS.exists():
        return []
    return json.loads(ROBUSTNESS.read_text(encoding="utf-8"))["cards"]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("prefixes", nargs="*", help="how the notebooks' names begin; all, if none")
    parser.add_argument("--times", action="store_true", help="measure them for docs/CELL_TIMES.md")
    parser.add_argument(
        "--altered", choices=["widened", "doubled"], help="for data/robustness.json"
    )
    chosen = parser.parse_args(arguments)
    paths = find_notebooks(chosen.prefixes)
    paths += find_notebooks(chosen.prefixes, NOTEBOOKS / "teacher")
    if chosen.times or chosen.altered:
        paths = [path for path in paths if path.parent == NOTEBOOKS]
    if not paths:
        print(f"no notebook begins with {', '.join(chosen.prefixes) or 'anything'}")
        return 1
    failed = []
    for path in paths:
        if chosen.altered:
            message = store_altered(path, chosen.altered)
        else:
            message = store_times(path) if chosen.times else store(path)
        if message:
            failed.append(path.name)
            print(f"FAILED  {path.name}\n{message}\n", flush=True)
    if failed:
        print(
            f"{len(failed)} of {len(paths)} failed and were left as they were: {', '.join(failed)}"
        )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
