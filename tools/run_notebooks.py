"""Run notebooks in fresh kernels and store their outputs, normalised: what `make notebooks` does.

    python tools/run_notebooks.py [--times] [07 ...]

With arguments, only notebooks whose names begin so. A file changes only if all of its cells ran. What is
stored depends on nothing but the results: no times, no widget state, no paths, no progress bars. The claims of all
notebooks are gathered in data/claims.json, from which notebook 10 makes its table.

With ``--times`` the notebooks stay as they are, and the seconds of their cells go into docs/CELL_TIMES.md, for teachers.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from PIL import Image

HERE = Path(__file__).resolve().parent.parent
NOTEBOOKS = HERE / "notebooks"
CLAIMS = HERE / "data" / "claims.json"
TIMES = HERE / "docs" / "CELL_TIMES.md"
LARGEST = 500_000                                          # bytes of a stored notebook
CELL_SECONDS = 300

WIDGET = "application/vnd.jupyter.widget-view+json"
# Where somebody's files lie. In a URL the slash follows a host, so a letter.
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:root|home|work|tmp|Users|private/var)(?=/|\b)|"
                          r"\b[A-Za-z]:[\\/]+Users\b|file:/{3}")
# tqdm without widgets: "Training:  30%|███       | 3/10 [00:01<00:02,  3.00it/s]"
# Progress bars, and what torch's profiler logs of its start and end.
PASSING_LINE = re.compile(r"\d+%\|.*\|.*\[|\d+it \[\d\d:\d\d|^(USDT|ERROR):\d{4}-\d\d-\d\d .*(Profiler|DeviceProperties)")
PASSING_METADATA = {"execution", "ExecuteTime", "collapsed", "scrolled", "autoscroll"}


def find_notebooks(prefixes: list[str] | tuple[str, ...] = (), folder: Path = NOTEBOOKS) -> list[Path]:
    """All notebooks of the course and their solutions, in the order they are learnt."""
    found = sorted(folder.glob("*.ipynb")) + sorted(folder.glob("solutions/*.ipynb"))
    return [path for path in found if not prefixes or path.name.startswith(tuple(prefixes))]


def execute(notebook: nbformat.NotebookNode, folder: Path) -> tuple[float, dict[int, float]]:
    """Run all cells in ``folder``; returns the seconds taken in all, and {cell: its seconds}, cells counted from 0.

    Raises what nbclient raises when a cell fails, takes too long or ends the kernel.
    """
    started: dict[int, float] = {}
    taken: dict[int, float] = {0: 0.0}

    def note_start(cell: nbformat.NotebookNode, cell_index: int) -> None:
        started[cell_index] = time.perf_counter()

    def note_end(cell: nbformat.NotebookNode, cell_index: int, **_: object) -> None:
        taken[cell_index] = time.perf_counter() - started[cell_index]

    client = NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", record_timing=False,
                            store_widget_state=False, extra_arguments=["--log-level=ERROR"],
                            resources={"metadata": {"path": str(folder)}},
                            on_cell_execute=note_start, on_cell_executed=note_end)
    begun = time.perf_counter()
    client.execute()
    return time.perf_counter() - begun, taken


def normalise(notebook: nbformat.NotebookNode) -> None:
    """Strip what differs between two runs of the same notebook, in place."""
    notebook.nbformat, notebook.nbformat_minor = 4, max(5, notebook.nbformat_minor)
    metadata = notebook.metadata
    for name in ("widgets", "celltoolbar", "toc-autonumbering"):
        metadata.pop(name, None)
    metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata["language_info"] = {"name": "python"}
    count = 0
    for cell in notebook.cells:
        for name in PASSING_METADATA & set(cell.metadata):
            del cell.metadata[name]
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        cell.outputs = normalised_outputs(cell.outputs, count)


def normalised_outputs(outputs: list[nbformat.NotebookNode], count: int) -> list[nbformat.NotebookNode]:
    """Without widgets and passing lines; streams that follow one another joined."""
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            text = output.text
            if output.name == "stderr":
                text = "".join(line for line in re.split(r"(?<=[\r\n])", text) if not PASSING_LINE.search(line))
                text = text if text.strip() else ""
            if not text:
                continue
            if kept and kept[-1].output_type == "stream" and kept[-1].name == output.name:
                kept[-1].text += text
                continue
            output.text = text
        elif "data" in output:
            if output.data.pop(WIDGET, None) is not None and set(output.data) <= {"text/plain"}:
                continue                                   # all that is left is the widget's name
            output.metadata.pop(WIDGET, None)
            if "image/png" in output.data:
                output.data["image/png"] = with_palette(output.data["image/png"])
            if "execution_count" in output:
                output.execution_count = count
        kept.append(output)
    return kept


def with_palette(png: str) -> str:
    """The same picture (base64) in at most 128 colours, about a third of the size: a plot needs no more."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    file = io.BytesIO()
    picture.quantize(128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def texts(cell: nbformat.NotebookNode) -> list[str]:
    """All that can be read in a cell: source, and outputs other than pictures."""
    found = [cell.source]
    for output in cell.get("outputs", []):
        found += [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", [])]
        found += [value if isinstance(value, str) else repr(value) for mime, value in output.get("data", {}).items()
                  if not mime.startswith("image/") or mime == "image/svg+xml"]
    return found


def machine_paths(notebook: nbformat.NotebookNode) -> list[str]:
    """Where the notebook names a folder of the machine it ran on: "cell 3: ...", counted from 0."""
    return [f"cell {index}: ...{text[max(0, match.start() - 40) : match.end() + 40]!r}..."
            for index, cell in enumerate(notebook.cells) for text in texts(cell)
            for match in MACHINE_PATH.finditer(text)]


def store(notebook: nbformat.NotebookNode, path: Path) -> int:
    """Write in one step, so that no interruption leaves half a notebook; returns the bytes written."""
    return write(nbformat.writes(notebook).rstrip("\n") + "\n", path)


def write(text: str, path: Path) -> int:
    """Write all or nothing; returns the bytes written."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    os.replace(unfinished, path)
    return len(text.encode())


def gather_claims(folder: Path = NOTEBOOKS) -> list[dict]:
    """The claims that the stored notebooks show, in order, each with its notebook's name; solutions claim nothing."""
    return [{"notebook": path.stem, **claim}
            for path in sorted(folder.glob("*.ipynb"))
            for cell in nbformat.read(path, as_version=4).cells
            for output in cell.get("outputs", [])
            if (claim := output.get("metadata", {}).get("claim"))]


def store_claims(claims: list[dict], path: Path = CLAIMS) -> None:
    """One claim a line, so that a change can be seen in a diff."""
    lines = ",\n".join(json.dumps(claim, ensure_ascii=False) for claim in claims)
    write(f"[\n{lines}\n]\n" if claims else "[]\n", path)


def time_rows(notebook: nbformat.NotebookNode, name: str, taken: dict[int, float]) -> list[str]:
    """Rows of the table of times: the notebook as a whole, then each cell of a second or more, by its number in Jupyter."""
    rows, heading = [f"| **{name}** | | *all {sum(taken.values()):.0f} s* | |"], ""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            titles = [line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")]
            heading = titles[-1] if titles else heading
        elif taken.get(index, 0) >= 1:
            rows.append(f"| {name} | [{cell.execution_count}] | {heading.replace('|', ' ')} | {taken[index]:.0f} s |")
    return rows


def store_times(rows: list[str], name: str, path: Path) -> None:
    """Replace the rows of one notebook in the table and leave the others."""
    head, _, table = path.read_text(encoding="utf-8").partition("|---|---|---|---|\n")
    others = [row for row in table.splitlines() if row.strip("| *").split(" ")[0].strip("*") != name]
    write(f"{head}|---|---|---|---|\n" + "".join(f"{row}\n" for row in sorted(others + rows, key=_row_order)), path)


def _row_order(row: str) -> tuple[str, int]:
    name, number = re.match(r"\| \**(\d+)\** \| (?:\[(\d+)\])?", row).groups()
    return name, int(number or 0)


def run(path: Path, times: Path | None = None) -> str | None:
    """Execute one notebook and store it, or only its times in the table ``times``; returns what went wrong, if anything."""
    notebook = nbformat.read(path, as_version=4)
    try:
        seconds, taken = execute(notebook, path.parent)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return str(error)
    normalise(notebook)
    slowest = max(taken, key=taken.__getitem__)
    took = f"{path.relative_to(NOTEBOOKS).as_posix()}  (slowest: cell {slowest}, {taken[slowest]:.1f} s)"
    if times:
        store_times(time_rows(notebook, path.name[:2], taken), path.name[:2], times)
        print(f"{seconds:6.1f} s  {took}", flush=True)
        return None
    if paths := machine_paths(notebook):
        return "names a folder of this machine, which means nothing on another:\n  " + "\n  ".join(paths)
    size = len(nbformat.writes(notebook).encode())
    if size > LARGEST:
        return f"would take {size:,} bytes of the {LARGEST:,} that a notebook may have: draw fewer or smaller figures"
    store(notebook, path)
    print(f"{seconds:6.1f} s  {size / 1000:4.0f} kB  {took}", flush=True)
    return None


def main(arguments: list[str]) -> int:
    prefixes = [each for each in arguments if each != "--times"]
    times = TIMES if "--times" in arguments else None
    paths = [path for path in find_notebooks(prefixes) if not (times and path.parent != NOTEBOOKS)]   # lessons have times
    if not paths:
        print(f"no notebook begins with {', '.join(prefixes) or 'anything'}")
        return 1
    failed = {}
    for path in paths:
        if message := run(path, times):
            failed[path.name] = message
            print(f"FAILED  {path.name}\n{message}\n", flush=True)
        elif not times:
            store_claims(gather_claims())                  # at once: notebook 10 comes after those that claim
    if failed:
        print(f"{len(failed)} of {len(paths)} notebooks failed and were left as they were: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
