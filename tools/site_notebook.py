"""A notebook made ready to be read on a page: no kernel answers there, nobody presses buttons."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell, new_output

from figures import Store, set_figures
from pages import (
    HERE,
    describe_figures,
    has_picture,
    pose_questions,
    set_title,
    spare_the_reader,
    tags,
)
from tables import tidy_tables

RECORDINGS = HERE / "build" / "labs"
SELF_TEST = re.compile(r"^self_test\(", re.MULTILINE)  # its questions matter, not the call
LIVE = "In the notebook a lab stands here: move its controls, and it trains real networks."
SHOW_RESULT = {"code_prompt_show": "Show what came out", "code_prompt_hide": "Hide what came out"}


def prepare(
    notebook: nbformat.NotebookNode,
    title: str,
    stem: str,
    root: str,
    store: Store,
    recordings: Path = RECORDINGS,
) -> None:
    """Describe figures, put questions into words, labs into recordings or pictures, fold results
    that stand behind a question, all in place.

    stem    the notebook's name: the recording of its second lab lies in recordings/<stem>-2
    root    the way from the page to the site's top, "../" say
    store   takes (name below the site's top, contents) of files that the page shows
    """
    describe_figures(notebook)
    pose_questions(notebook)
    spare_the_reader(notebook)
    set_title(notebook, title)
    cells, number = [], 1
    for cell in notebook.cells:
        if tags(cell) & {"lab", "static-figure"}:
            cells += lab_cells(cell, recordings / f"{stem}-{number}", root, store)
            number += "lab" in tags(cell)
        else:
            show_for_readers(cell)
            cells.append(cell)
    notebook.cells = cells
    set_figures(notebook, store, root)


def lab_cells(
    cell: nbformat.NotebookNode, recording: Path, root: str, store: Store
) -> list[nbformat.NotebookNode]:
    """What stands for a lab's cell, or for that of its static figure: the recording if there is
    one, else the picture that is stored, and a word."""
    cell.metadata["tags"] = [*cell.metadata.get("tags", []), "remove-input"]
    is_lab = "lab" in tags(cell)
    if (recording / "lab.html").is_file():
        cell.outputs = [recorded(recording, root, store)] if is_lab else []
        return [cell] if is_lab else []
    cell.outputs = [output for output in cell.outputs if has_picture(output)]
    word = new_markdown_cell(f":::{{container}} lab-note\n{LIVE}\n:::")
    return [cell] * bool(cell.outputs) + [word] * is_lab


def recorded(recording: Path, root: str, store: Store) -> nbformat.NotebookNode:
    """The recording of a lab: ``lab.html`` goes into the page, the files beside it to labs/ on the
    site, and ``{folder}`` in the HTML names that place."""
    for path in sorted(recording.iterdir()):
        if path.name != "lab.html":
            store(f"labs/{recording.name}/{path.name}", path.read_bytes())
    text = (recording / "lab.html").read_text(encoding="utf-8")
    shown = text.replace("{folder}", f"{root}labs/{recording.name}")
    return new_output("display_data", {"text/html": shown})


def show_for_readers(cell: nbformat.NotebookNode) -> None:
    """Fold what a reader should not see at once, and put tables in order, in place."""
    jupyter, wanted = cell.metadata.get("jupyter", {}), tags(cell)
    if cell.cell_type == "markdown":
        if "predict" in wanted:
            cell.source = f":::{{container}} question\n{cell.source}\n:::"
        return
    if "setup" in wanted or jupyter.get("source_hidden") or SELF_TEST.search(cell.source):
        wanted.add("hide-input")
    if jupyter.get("outputs_hidden"):
        wanted.add("hide-output")
        cell.metadata["mystnb"] = SHOW_RESULT
    cell.metadata["tags"] = sorted(wanted)
    for output in cell.outputs:
        if "text/html" in output.get("data", {}):
            output.data["text/html"] = tidy_tables(output.data["text/html"])
