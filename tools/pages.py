"""What the slides and the site share: a text for every figure, formulas without scripts, questions to guess at."""

from __future__ import annotations

import ast
import html
import re
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from latex2mathml.converter import convert
from nbformat.v4 import new_markdown_cell

HERE = Path(__file__).resolve().parent.parent
NOTEBOOKS = HERE / "notebooks"
LONGEST_ALTERNATIVE = 400                                  # characters: a screen reader reads it in one go
FORMULA = re.compile(r"`[^`]*`|\$\$(.+?)\$\$|\$(?!\s)([^$\n]+?)(?<!\s)\$", re.DOTALL)


def title(notebook: nbformat.NotebookNode) -> str:
    """The notebook's first heading."""
    return next(heading for cell in notebook.cells if (heading := heading_of(cell)))


def heading_of(cell: nbformat.NotebookNode) -> str | None:
    """The last heading that stands in a text cell."""
    found = re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else []
    return plain(found[-1]) if found else None


def plain(text: str) -> str:
    """Markdown or HTML as running text."""
    text = html.unescape(re.sub(r"<[^>]+>", " ", text))
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^#+ .*$|^[>*|\-]+ ", " ", text, flags=re.MULTILINE)
    return " ".join(re.sub(r"[`$]|\*\*?|(?<!\w)_|_(?!\w)", "", text).split())


def shortened(text: str, most: int = LONGEST_ALTERNATIVE) -> str:
    """The first whole sentences, as many as fit; never an empty text."""
    if len(text) <= most:
        return text
    end = text.rfind(". ", 0, most)
    return text[: end + 1] if end > 0 else text[: text.rfind(" ", 0, most)] + " ..."


def alternatives(notebook: nbformat.NotebookNode) -> dict[int, str]:
    """{cell: what its figures show}, for every code cell that stores a picture.

    A lab's picture says it itself. Other figures are told by the text that follows, up to the next section
    ("What you should see"), after the heading that they stand under.
    """
    found, heading = {}, ""
    for index, cell in enumerate(notebook.cells):
        heading = heading_of(cell) or heading
        pictures = [output for output in cell.get("outputs", []) if any(
            mime.startswith("image/") for mime in output.get("data", {}))]
        if not pictures:
            continue
        own = [plain(part["alt"]) for output in pictures for part in output.metadata.values()
               if isinstance(part, dict) and part.get("alt")]
        found[index] = shortened(f"{heading}. " + (" ".join(own) or _explanation(notebook, index)))
    return found


def _explanation(notebook: nbformat.NotebookNode, index: int) -> str:
    """The first text after a cell that explains it, else the last one before it that announces it."""
    for cell in notebook.cells[index + 1 :]:
        if cell.cell_type == "markdown":
            if cell.source.startswith("#"):
                break
            return plain(cell.source)
    before = [plain(cell.source) for cell in notebook.cells[:index] if cell.cell_type == "markdown" and plain(cell.source)]
    return before[-1]


def describe_figures(notebook: nbformat.NotebookNode) -> None:
    """Store each figure's text where nbconvert's template and MyST-NB look for it, in place."""
    for index, text in alternatives(notebook).items():
        cell = notebook.cells[index]
        cell.metadata.setdefault("mystnb", {})["image"] = {"alt": text}
        for output in cell.outputs:
            for mime in output.get("data", {}):
                if mime.startswith("image/"):
                    output.metadata.setdefault(mime, {})["alt"] = text


def to_mathml(formula: str, display: bool = False) -> str:
    """A LaTeX formula as MathML, which browsers draw, and screen readers read, without any script."""
    return convert(formula, display="block" if display else "inline")


def set_formulas_aside(markdown: str, kept: list[str]) -> str:
    """Markdown with a mark for each formula in single or double dollars, which joins ``kept`` as MathML; code stays as
    it is. Most converters would not leave the formula's tags in one piece: see ``put_formulas_back``."""
    def replaced(match: re.Match) -> str:
        block, inline = match.groups()
        if not block and not inline:
            return match.group()
        kept.append(to_mathml(block.strip(), True) if block else to_mathml(inline))
        return f"\ue000{len(kept) - 1}\ue001"

    return FORMULA.sub(replaced, markdown)


def put_formulas_back(text: str, kept: list[str]) -> str:
    """The formulas in place of their marks."""
    return re.sub("\ue000(\\d+)\ue001", lambda match: kept[int(match.group(1))], text)


def question(source: str) -> tuple[str, list[str]] | None:
    """The question and the answers of a ``predict`` cell, where they are written out in it."""
    names: dict[str, ast.expr] = {}
    for node in ast.walk(ast.parse(TransformerManager().transform_cell(source))):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names[node.targets[0].id] = node.value         # predict(..., places), with places a line above
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "predict" and node.args:
            asked, *answers = (names.get(getattr(part, "id", ""), part) for part in node.args)
            try:
                return (ast.literal_eval(asked),
                        [str(answer) for answer in ast.literal_eval(answers[0])] if answers else ["a number"])
            except ValueError:                             # they are computed: the cell is shown as it is
                return None
    return None


def pose_questions(notebook: nbformat.NotebookNode) -> None:
    """Turn each ``predict`` cell, whose buttons need a kernel, into its question and answers in words, in place."""
    for index, cell in enumerate(notebook.cells):
        if "predict" in cell.metadata.get("tags", []) and (asked := question(cell.source)):
            text = f"**Your guess?** {asked[0]}\n\n" + "".join(f"- {answer}\n" for answer in asked[1])
            notebook.cells[index] = new_markdown_cell(text, metadata=cell.metadata, id=cell.id)


def spare_the_reader(notebook: nbformat.NotebookNode) -> None:
    """Whoever reads a page had no buttons to guess with: drop the reproach from the stored outputs, in place."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = re.sub(r" *\(You made no guess[^)]*\)", "", output.text)


def link_to_pages(notebook: nbformat.NotebookNode) -> None:
    """In tables that a cell shows, links to notebooks become links to their pages, in place; those in text are MyST's."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):
                output.data["text/html"] = re.sub(r"""(href=["'](?![a-z]+:)[^"'#]*)\.ipynb""", r"\1.html",
                                                  output.data["text/html"])
