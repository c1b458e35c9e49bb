"""What slides and site share: titles, a text for every figure, questions in words, formulas."""

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
LONGEST_ALTERNATIVE = 400  # characters: a screen reader reads it in one go
FORMULA = re.compile(r"`[^`]*`|\$\$(.+?)\$\$|\$(?!\s)([^$\n]+?)(?<!\s)\$", re.DOTALL)
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
SOLUTIONS = "_solutions"


def tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def heading_of(cell: nbformat.NotebookNode) -> str | None:
    """The last heading that stands in a text cell."""
    headings = HEADING.findall(cell.source) if cell.cell_type == "markdown" else []
    return plain(headings[-1]) if headings else None


def first_heading(notebook: nbformat.NotebookNode) -> str:
    """The notebook's own title, without a number in front. Raises ValueError when there is none."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := HEADING.search(cell.source)):
            return re.sub(r"^\d+\s*[·:.–-]?\s*", "", plain(found.group(1)))
    raise ValueError("the notebook has no heading, so no title")


def title(path: Path, notebook: nbformat.NotebookNode) -> str:
    """A lesson's title on the site and on its slides: "05 · Batch size", the number its file's."""
    number = re.match(r"\d+", path.name)
    name = first_heading(notebook)
    return f"{number.group()} · {name}" if number else name


def short(title: str) -> str:
    """A title without what follows a colon, for lists: "07 · MNIST case study"."""
    return title.partition(":")[0]


def titles(folder: Path = NOTEBOOKS) -> dict[Path, str]:
    """The titles of all lessons and solutions, in order; a solution is named after its lesson."""
    lessons = {path: title(path, read(path)) for path in sorted(folder.glob("*.ipynb"))}
    stems = {path.stem: name for path, name in lessons.items()}
    solutions = {}
    for path in sorted(folder.glob("solutions/*.ipynb")):
        lesson = stems.get(path.stem.removesuffix(SOLUTIONS))
        solutions[path] = f"{short(lesson)}: solutions" if lesson else title(path, read(path))
    return lessons | solutions


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook; raises ValueError, with its name, when it cannot be read."""
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, AttributeError) as error:  # nbformat's own errors are ValueErrors
        raise ValueError(f"{path.name} is not a notebook that can be read: {error}") from error


def set_title(notebook: nbformat.NotebookNode, name: str) -> None:
    """Replace the notebook's first heading, in place."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and HEADING.search(cell.source):
            cell.source = HEADING.sub(lambda _: f"# {name}", cell.source, count=1)
            return


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


def has_picture(output: nbformat.NotebookNode) -> bool:
    return any(mime.startswith("image/") for mime in output.get("data", {}))


def alternatives(notebook: nbformat.NotebookNode) -> dict[int, str]:
    """{cell: what its figures show}, for every code cell that stores a picture.

    A lab's picture says it itself. Other figures are told by the text that follows, up to the next
    section ("What you should see"), after the heading that they stand under.
    """
    described, heading = {}, ""
    for index, cell in enumerate(notebook.cells):
        heading = heading_of(cell) or heading
        pictures = [output for output in cell.get("outputs", []) if has_picture(output)]
        if not pictures:
            continue
        own = [
            plain(part["alt"])
            for output in pictures
            for part in output.metadata.values()
            if isinstance(part, dict) and part.get("alt")
        ]
        text = " ".join(own) or _explanation(notebook, index)
        described[index] = shortened(f"{heading}. {text}")
    return described


def _explanation(notebook: nbformat.NotebookNode, index: int) -> str:
    """The first text after a cell, which explains it, else the last one before it."""
    for cell in notebook.cells[index + 1 :]:
        if cell.cell_type == "markdown":
            if cell.source.startswith("#"):
                break
            return plain(cell.source)
    before = (plain(cell.source) for cell in notebook.cells[:index] if cell.cell_type == "markdown")
    return next((text for text in reversed([*before]) if text), "A figure without a text.")


def describe_figures(notebook: nbformat.NotebookNode) -> None:
    """Store each figure's text in its metadata as "alt", in place."""
    for index, text in alternatives(notebook).items():
        for output in notebook.cells[index].outputs:
            for mime in output.get("data", {}):
                if mime.startswith("image/"):
                    output.metadata.setdefault(mime, {})["alt"] = text


def to_mathml(formula: str, display: bool = False) -> str:
    """A LaTeX formula as MathML, which browsers draw, and screen readers read, without scripts."""
    return convert(formula, display="block" if display else "inline")


def set_formulas_aside(markdown: str, kept: list[str]) -> str:
    """Markdown with a mark for each formula in single or double dollars.

    They join ``kept`` as MathML; code stays as it is. Most converters would not leave the formula's
    tags in one piece: see
    ``put_formulas_back``.
    """

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


def keep_together(text: str) -> str:
    """HTML in which no line begins with what closes a formula, or with the sign of a percentage."""
    parts = re.split(r"(?s)(<pre.*?</pre>)", text)
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r"(?<=\d) %(?![\w(])", "\u00a0%", parts[index])
        parts[index] = re.sub(
            r"(?s)(<math(?![^>]*\"block\")[^>]*>(?:(?!</math>).)*</math>)([.,;:)]+)",
            r"<span style='white-space: nowrap'>\1\2</span>",
            parts[index],
        )
    return "".join(parts)


def question(source: str, above: str = "") -> tuple[str, list[str]] | None:
    """The question and the answers of a ``predict`` cell, where they are written out: in it, or in
    the first line of the code ``above`` it."""
    names: dict[str, ast.expr] = {}
    if named := re.match(r"(\w+) = (\[[^\]]*\])$", above.split("\n")[0]):
        names[named[1]] = ast.parse(named[2], mode="eval").body
    for node in ast.walk(ast.parse(TransformerManager().transform_cell(source))):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names[node.targets[0].id] = node.value  # predict(..., places), with places a line above
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "predict" and node.args:
            asked, *answers = (names.get(getattr(part, "id", ""), part) for part in node.args)
            try:
                given = ast.literal_eval(answers[0]) if answers else ["a number"]
                return ast.literal_eval(asked), [str(answer) for answer in given]
            except (ValueError, TypeError):  # they are computed
                return None
    return None


def pose_questions(notebook: nbformat.NotebookNode) -> None:
    """Turn each ``predict`` cell, whose buttons need a kernel, into words, in place."""
    for index, cell in enumerate(notebook.cells):
        if "predict" not in tags(cell):
            continue
        above = [other.source for other in notebook.cells[:index] if other.cell_type == "code"]
        found = (question(cell.source, each) for each in ["", *above])
        if asked := next(filter(None, found), None):
            text = f"**Your guess?** {asked[0]}\n\n" + "".join(f"- {one}\n" for one in asked[1])
            notebook.cells[index] = new_markdown_cell(text, metadata=cell.metadata, id=cell.id)


def spare_the_reader(notebook: nbformat.NotebookNode) -> None:
    """Whoever reads a page had no buttons to guess with: drop the reproaches, in place."""
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not _without_guesses(output)]
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = re.sub(r" *\(You made no guess[^)]*\)", "", output.text)


def _without_guesses(output: nbformat.NotebookNode) -> bool:
    """Whether an output says nothing but that its reader has made no guess."""
    return output.get("data", {}).get("text/plain", "").startswith("No guess of this lesson")
