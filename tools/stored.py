"""What is stored in notebooks, normalised: it depends on the results and on nothing else.

No times, no widgets' state, no paths, no progress bars; a lab's picture in the place of its
sliders; what an experiment brought to light is folded where a question stands before it.
"""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_output
from PIL import Image

HERE = Path(__file__).resolve().parent.parent
NOTEBOOKS = HERE / "notebooks"
CLAIMS = HERE / "data" / "claims.json"
LEDGER = HERE / "data" / "claims_ledger.json"
COLOURS = 224  # of a stored picture

WIDGET = "application/vnd.jupyter.widget-view+json"
TO_GET_SLIDERS = "*Run this cell (Shift + Enter) to get the sliders.*"
# Where somebody's files lie. In a URL the slash follows a host, so a letter.
MACHINE_PATH = re.compile(
    r"(?<![\w.~/-])/(?:root|home|work|tmp|Users|private/var)(?=/|\b)|"
    r"\b[A-Za-z]:[\\/]+Users\b|file:/{3}"
)
# Progress bars ("30%|███       | 3/10 [00:01<00:02]"), and what torch's profiler logs.
PASSING_LINE = re.compile(
    r"\d+%\|.*\|.*\[|\d+it \[\d\d:\d\d|"
    r"^(USDT|ERROR):\d{4}-\d\d-\d\d .*(Profiler|DeviceProperties)"
)
PASSING_METADATA = {"execution", "ExecuteTime", "collapsed", "scrolled", "autoscroll"}
QUESTION = re.compile(r"^(\w+)\s*=\s*predict\(", re.MULTILINE)


def find_notebooks(
    prefixes: list[str] | tuple[str, ...] = (), folder: Path = NOTEBOOKS
) -> list[Path]:
    """All notebooks of the course and their solutions, in the order they are learnt."""
    found = sorted(folder.glob("*.ipynb")) + sorted(folder.glob("solutions/*.ipynb"))
    return [path for path in found if not prefixes or path.name.startswith(tuple(prefixes))]


def tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def normalise(notebook: nbformat.NotebookNode) -> None:
    """Strip what differs between two runs of the same notebook, in place."""
    notebook.nbformat, notebook.nbformat_minor = 4, max(5, notebook.nbformat_minor)
    for name in ("widgets", "celltoolbar", "toc-autonumbering"):
        notebook.metadata.pop(name, None)
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata["kernelspec"] = kernel
    notebook.metadata["language_info"] = {"name": "python"}
    count = 0
    for cell in notebook.cells:
        for name in PASSING_METADATA & set(cell.metadata):
            del cell.metadata[name]
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = normalised_outputs(cell.outputs, count)
            if "lab" in tags(cell) and cell.outputs:
                words = {"text/markdown": TO_GET_SLIDERS, "text/plain": TO_GET_SLIDERS.strip("*")}
                cell.outputs.append(new_output("display_data", data=words))
    fold_answers(notebook)


def fold_answers(notebook: nbformat.NotebookNode) -> None:
    """Hide the stored outputs of the cells between a question and the cell that compares: who reads
    first is not told. JupyterLab shows them as soon as the cell runs."""
    open_questions: set[str] = set()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        hidden = bool(open_questions) and bool(cell.outputs)
        jupyter = {**cell.metadata.get("jupyter", {}), "outputs_hidden": True}
        if hidden:
            cell.metadata["jupyter"] = jupyter
        elif "jupyter" in cell.metadata:
            cell.metadata["jupyter"].pop("outputs_hidden", None)
            if not cell.metadata["jupyter"]:
                del cell.metadata["jupyter"]
        open_questions -= {name for name in open_questions if f"{name}.compare(" in cell.source}
        open_questions |= set(QUESTION.findall(cell.source))


def normalised_outputs(
    outputs: list[nbformat.NotebookNode], count: int
) -> list[nbformat.NotebookNode]:
    """Without widgets and passing lines; streams that follow one another joined."""
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            text = lasting(output.text) if output.name == "stderr" else output.text
            last = kept[-1] if kept else None
            if not text:
                continue
            if last is not None and last.output_type == "stream" and last.name == output.name:
                last.text += text
                continue
            output.text = text
        elif "data" in output:
            if output.data.pop(WIDGET, None) is not None and set(output.data) <= {"text/plain"}:
                continue  # all that is left is the widget's name
            output.metadata.pop(WIDGET, None)
            if "image/png" in output.data:
                output.data["image/png"] = with_palette(output.data["image/png"])
            if "execution_count" in output:
                output.execution_count = count
        kept.append(output)
    return kept


def lasting(text: str) -> str:
    """A stream without progress bars and the like."""
    lines = re.split(r"(?<=[\r\n])", text)
    rest = "".join(line for line in lines if not PASSING_LINE.search(line))
    return rest if rest.strip() else ""


def with_palette(png: str) -> str:
    """The same picture (base64) with a palette, about a third of the size: a plot needs no more.

    Pale greys stay what they are: the colours are dealt by how many pixels have them, not by how
    far they lie apart. Transparent pictures become white.
    """
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    packed = page.convert("RGB").quantize(
        COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    file = io.BytesIO()
    packed.save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def texts(cell: nbformat.NotebookNode) -> list[str]:
    """All that can be read in a cell: source, and outputs other than pictures."""
    found = [cell.source]
    for output in cell.get("outputs", []):
        found += [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", [])]
        for mime, value in output.get("data", {}).items():
            if not mime.startswith("image/") or mime == "image/svg+xml":
                found.append(value if isinstance(value, str) else repr(value))
    return found


def machine_paths(notebook: nbformat.NotebookNode) -> list[str]:
    """Where the notebook names a folder of the machine it ran on: "cell 3: ...", counted from 0."""
    found = []
    for index, cell in enumerate(notebook.cells):
        for text in texts(cell):
            for match in MACHINE_PATH.finditer(text):
                around = text[max(0, match.start() - 40) : match.end() + 40]
                found.append(f"cell {index}: ...{around!r}...")
    return found


def unsolved(notebook: nbformat.NotebookNode) -> list[str]:
    """Cells of a solution whose own check is not content with it."""
    return [
        f"cell {index}"
        for index, cell in enumerate(notebook.cells)
        if "check_" in cell.source and "not yet" in "".join(texts(cell)[1:])
    ]


def gather_claims(folder: Path = NOTEBOOKS) -> list[dict]:
    """The claims of the ledger that the stored notebooks show, in order, each with its notebook."""
    known = {claim["id"] for claim in json.loads(LEDGER.read_text(encoding="utf-8"))["claims"]}
    found = []
    for path in sorted(folder.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                claim = output.get("metadata", {}).get("claim")
                if claim and claim["id"] in known:
                    found.append({"notebook": path.stem, **claim})
    return found


def one_a_line(rows: list[dict]) -> str:
    """A JSON list with one entry a line, so that a change can be seen in a diff."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return f"[\n{lines}\n]\n" if rows else "[]\n"
