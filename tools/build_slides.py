"""Make a deck of reveal.js slides of every notebook: what `make slides` does.

    python tools/build_slides.py [--check] [07 ...]

The decks go to build/slides, need no network, and carry nothing that asks for one. A deck shows
what a class should look at: questions, figures with their reading, tables, and code only where a
cell is tagged "show-code". Long text goes to the speaker's notes; what does not fit on a slide goes
on to the next (docs/deck/deck.js). --check opens every slide in an installed Chromium or Chrome at
1280x720 and names what still runs off.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import nbformat

from pages import (
    HERE,
    NOTEBOOKS,
    describe_figures,
    has_picture,
    keep_together,
    pose_questions,
    put_formulas_back,
    read,
    set_formulas_aside,
    set_title,
    spare_the_reader,
    tags,
    title,
)
from site_folder import fingerprint
from slide_text import markdown_cell, part_sections, reading_of, split_notes
from tables import tidy_tables

DECK = HERE / "docs" / "deck"
TARGET = HERE / "build" / "slides"
STYLE = "a11y-high-contrast-light"  # code colours with a contrast of 7:1 on white
PLUMBING = {"setup", "claim", "exercise"}  # code that no class needs to see
PICTURED = {"lab", "static-figure"}  # a lab: its picture, and a word
SHOW_CODE = "show-code"
STARTS = ("slide", "subslide")
ASKED = re.compile(r"(?s)^<p>[^<]*(?=<b>Measured:</b>)")  # a slide of its own has asked it
WIDEST = 107  # characters of 18 px: longer lines would be broken
LIVE = "<p class='live'>In the notebook this is a lab: move its controls, and it trains.</p>"


def prepare(notebook: nbformat.NotebookNode, formulas: list[str]) -> nbformat.NotebookNode:
    """What a class should see: no plumbing, questions in place of the cells that ask them, each
    alone, what should be seen below what came out, labs as their picture, and code only where it is
    the subject; formulas go to ``formulas``."""
    describe_figures(notebook)
    pose_questions(notebook)
    spare_the_reader(notebook)
    cells: list[nbformat.NotebookNode] = []
    start = None
    for cell in part_sections(notebook.cells):
        slide = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        shown = [] if slide == "skip" else cells_of_a_slide(cell, slide, formulas)
        told = slide == "notes" and cells and cells[-1].source != LIVE
        if told and (seen := reading_of(shown[0].source)):
            cells.append(markdown_cell(seen, "fragment"))
        if not shown:  # the slide that would begin here begins with the next cell
            start = start or (slide if slide in STARTS else None)
            continue
        asks = cell.cell_type == "markdown" and "predict" in tags(cell)
        if slide == "subslide" and not shown[0].source.startswith("#"):
            slide = "fragment"  # a figure's reading, say: deck.js sees whether it fits
        if slide != "notes":
            slide = slide if slide in STARTS else start or ("subslide" if asks else slide)
            start = "subslide" if asks else None
        shown[0].metadata["slideshow"] = {"slide_type": slide}
        cells += shown
    notebook.cells = cells
    return notebook


def cells_of_a_slide(
    cell: nbformat.NotebookNode, slide: str, formulas: list[str]
) -> list[nbformat.NotebookNode]:
    """A cell as a deck has it, with notes as a cell of their own; none if nothing is to be seen."""
    own = tags(cell)
    if cell.cell_type == "code" and own & PLUMBING:
        return []
    if cell.cell_type == "markdown":
        source = set_formulas_aside(cell.source, formulas)
        if slide == "notes":
            return [markdown_cell(source, slide)]
        seen, notes = (source, "") if "predict" in own else split_notes(source)  # all its answers
        kinds = [(seen, slide), (notes, "notes")]
        return [markdown_cell(text, kind) for text, kind in kinds if text.strip()]
    if SHOW_CODE not in own:
        cell.metadata["transient"] = {"remove_source": True}
    if own & PICTURED:
        cell.metadata["transient"] = {"remove_source": True}
        cell.outputs = [output for output in cell.outputs if has_picture(output)]
        return [cell, markdown_cell(LIVE, "-")] if cell.outputs else []
    if not cell.outputs and SHOW_CODE not in own:
        return []
    if any(map(has_picture, cell.outputs)):
        cell.outputs = [output for output in cell.outputs if not too_wide(output)]
    for output in cell.outputs:
        if "text/html" in output.get("data", {}):
            table = tidy_tables(output.data["text/html"])
            output.data["text/html"] = ASKED.sub("<p>", table)
    return [cell]


def too_wide(output: nbformat.NotebookNode) -> bool:
    """Whether it is printed in lines that no slide holds, beside a figure that says it."""
    return max(map(len, output.get("text", "").splitlines()), default=0) > WIDEST


def build(paths: list[Path], target: Path = TARGET) -> list[Path]:
    """Write a deck for each notebook, the files they share and a page that lists them; returns the
    decks. A deck whose notebook, and whose making, are as they were is left as it is."""
    assets = target / "assets"
    assets.mkdir(parents=True, exist_ok=True)
    copy_assets(assets)
    record = target / "decks.json"
    made = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    makers = ("build_slides", "slide_text", "pages", "tables")
    tools = [*DECK.iterdir(), *(HERE / "tools" / f"{name}.py" for name in makers)]
    decks, entries = [], []
    for path in paths:
        notebook = read(path)
        name = title(path, notebook)
        deck = target / f"{path.stem}.html"
        key = fingerprint([path, *tools])
        if made.get(path.stem) != key or not deck.is_file():
            deck.write_text(render(notebook, name), encoding="utf-8", newline="\n")
            made[path.stem] = key
        decks.append(deck)
        entries.append(f"<li><a href='{deck.name}'>{html.escape(name)}</a></li>")
    record.write_text(json.dumps(made, indent=0) + "\n", encoding="utf-8", newline="\n")
    page = (DECK / "list.html").read_text(encoding="utf-8").replace("ENTRIES", "\n".join(entries))
    (target / "index.html").write_text(page, encoding="utf-8", newline="\n")
    return decks


def render(notebook: nbformat.NotebookNode, name: str) -> str:
    """The HTML of a notebook's deck."""
    from nbconvert import SlidesExporter

    exporter = SlidesExporter(
        extra_template_basedirs=[str(DECK.parent)], template_name="deck", embed_images=True
    )
    set_title(notebook, name)
    formulas: list[str] = []
    resources = {"metadata": {"name": name}}
    text, _ = exporter.from_notebook_node(prepare(notebook, formulas), resources)
    text = re.sub(r"<th>\s*</th>", "<td></td>", text)  # a head without a word heads nothing
    return keep_together(put_formulas_back(text, formulas))


def copy_assets(assets: Path) -> None:
    from pygments.formatters import HtmlFormatter

    spec = find_spec("sphinx_revealjs")
    assert spec is not None and spec.origin is not None
    reveal = Path(spec.origin).parent / "_static" / "revealjs"
    for source, name in (
        (reveal / "dist/reveal.js", "reveal.js"),
        (reveal / "dist/reveal.css", "reveal.css"),
        (reveal / "plugin/notes/notes.js", "notes.js"),
        (reveal / "LICENSE", "reveal-LICENSE.txt"),
        (DECK / "deck.css", "deck.css"),
        (DECK / "deck.js", "deck.js"),
    ):
        shutil.copyfile(source, assets / name)
    colours = HtmlFormatter(style=STYLE).get_style_defs(".highlight")
    (assets / "code.css").write_text(colours + "\n", encoding="utf-8", newline="\n")


def measure(page, deck: Path) -> list[dict]:
    """For each slide of a deck: {slide, heading, words: of text, problems: what runs off 1280x720,
    smallest: letters in pixels, zoom: of the smallest figure}."""
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto(deck.resolve().as_uri())
    page.wait_for_function("() => window.Reveal?.isReady()")
    return page.evaluate((HERE / "tools" / "measure_slides.js").read_text(encoding="utf-8"))


def summary(deck: Path, slides: list[dict]) -> str:
    """One line on a deck's length and legibility."""
    words = max(slide["words"] for slide in slides)
    letters = min(slide["smallest"] for slide in slides)
    zooms = [slide["zoom"] for slide in slides if slide["zoom"] < 9]  # 9: no figure
    figures = f"figures at {min(zooms):.2f} times their size or more" if zooms else "no figures"
    return (
        f"{deck.stem}: {len(slides)} slides, at most {words} words on one; letters of "
        f"{letters:.0f} px or more; {figures}"
    )


def check(decks: list[Path]) -> int:
    """Print what every deck is like, and what runs off its slides; returns how many slides do."""
    from headless import browse, find_browser

    executable = find_browser()
    if executable is None:
        sys.exit("--check needs Chromium or Chrome on the PATH")
    bad = 0
    with browse(executable) as page:
        for deck in decks:
            slides = measure(page, deck)
            print(summary(deck, slides))
            for slide in slides:
                if slide["problems"]:
                    bad += 1
                    found = "; ".join(slide["problems"])
                    print(f"  slide {slide['slide']} ({slide['heading']!r}): {found}")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="notebooks whose names begin so; all without")
    parser.add_argument("--check", action="store_true", help="look in a browser whether all fits")
    given = parser.parse_args()
    wanted = tuple(given.names) or ("",)
    paths = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.name.startswith(wanted)]
    if not paths:
        print(f"no notebook begins with {', '.join(given.names)}")
        return 1
    begun = time.perf_counter()
    decks = build(paths)
    seconds = time.perf_counter() - begun
    listed = (TARGET / "index.html").relative_to(HERE).as_posix()
    print(f"{len(decks)} decks: open {listed} ({seconds:.1f} s)")
    return min(1, check(decks)) if given.check else 0


if __name__ == "__main__":
    sys.exit(main())
