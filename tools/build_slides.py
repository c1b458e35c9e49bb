"""Make a deck of reveal.js slides of every notebook: what `make slides` does.

    python tools/build_slides.py [--check] [07 ...]

The decks go to build/slides, need no network, and carry nothing that asks for one. What does not fit on a slide goes
on to the next; the deck's own script sees to that (docs/deck/deck.js). --check opens every slide in an installed
Chromium or Chrome at 1280x720 and names what still runs off.
"""

from __future__ import annotations

import argparse
import html
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from nbformat.v4 import new_markdown_cell
from pygments.formatters import HtmlFormatter

from pages import (
    HERE,
    NOTEBOOKS,
    describe_figures,
    link_to_pages,
    pose_questions,
    put_formulas_back,
    set_formulas_aside,
    spare_the_reader,
    title,
)

DECK = HERE / "docs" / "deck"
TARGET = HERE / "build" / "slides"
STYLE = "a11y-high-contrast-light"                         # code colours with a contrast of 7:1 on white
LIVE = "<p class='live'>In the notebook this is a lab: move its controls, and it trains.</p>"


def prepare(notebook: nbformat.NotebookNode, formulas: list[str]) -> nbformat.NotebookNode:
    """What a class should see: no plumbing, questions in place of the cells that ask them, labs as their picture; its
    formulas are set aside in ``formulas``."""
    describe_figures(notebook)
    pose_questions(notebook)
    spare_the_reader(notebook)
    link_to_pages(notebook)
    cells, boundary = [], None
    for cell in notebook.cells:
        tags, slide = set(cell.metadata.get("tags", [])), cell.metadata.get("slideshow", {}).get("slide_type", "-")
        if tags & {"setup", "lab"} or slide == "skip":
            boundary = boundary or (slide if slide in ("slide", "subslide") else None)
            continue                                       # but the slide that would begin here begins with the next
        if cell.cell_type == "code" and tags & {"static-figure", "hide-input"}:
            cell.metadata["transient"] = {"remove_source": True}
        if cell.cell_type == "markdown":
            cell.source = set_formulas_aside(cell.source, formulas)
        if slide in ("slide", "subslide"):
            boundary = None
        elif boundary and slide != "notes":
            cell.metadata["slideshow"], boundary = {"slide_type": boundary}, None
        cells.append(cell)
        if "static-figure" in tags:
            cells.append(new_markdown_cell(LIVE, metadata={"slideshow": {"slide_type": "-"}}))
    notebook.cells = cells
    return notebook


def build(paths: list[Path], target: Path = TARGET) -> list[Path]:
    """Write a deck for each notebook, the files they share and a page that lists them; returns the decks."""
    reveal = Path(find_spec("sphinx_revealjs").origin).parent / "_static" / "revealjs"
    assets = target / "assets"
    assets.mkdir(parents=True, exist_ok=True)
    for source, name in ((reveal / "dist/reveal.js", "reveal.js"), (reveal / "dist/reveal.css", "reveal.css"),
                         (reveal / "plugin/notes/notes.js", "notes.js"), (reveal / "LICENSE", "reveal-LICENSE.txt"),
                         (DECK / "deck.css", "deck.css"), (DECK / "deck.js", "deck.js")):
        shutil.copyfile(source, assets / name)
    colours = HtmlFormatter(style=STYLE).get_style_defs(".highlight")
    (assets / "code.css").write_text(colours + "\n", encoding="utf-8", newline="\n")
    exporter = SlidesExporter(extra_template_basedirs=[str(DECK.parent)], template_name="deck", embed_images=True)
    decks, entries = [], []
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        name = title(notebook)
        formulas: list[str] = []
        text, _ = exporter.from_notebook_node(prepare(notebook, formulas), {"metadata": {"name": name}})
        decks.append(target / f"{path.stem}.html")
        decks[-1].write_text(put_formulas_back(text, formulas), encoding="utf-8", newline="\n")
        entries.append(f"<li><a href='{path.stem}.html'>{html.escape(name)}</a></li>")
    (target / "index.html").write_text(
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'><title>Slides</title>"
        "<link rel='stylesheet' href='assets/deck.css'></head><body class='list'><h1>Slides</h1>\n<ul>\n"
        + "\n".join(entries) + "\n</ul>\n<p>Arrow keys and space move on, <kbd>o</kbd> shows all slides, <kbd>s</kbd> the "
        "speaker's notes, <kbd>f</kbd> fills the screen.</p></body></html>\n", encoding="utf-8", newline="\n")
    return decks


MEASURE = """() => Reveal.getSlides().map((slide, number) => {
    const {h, v} = Reveal.getIndices(slide), scale = Reveal.getScale(), problems = [];
    Reveal.slide(h, v, 99);
    const page = document.querySelector('.slides').getBoundingClientRect();
    const edges = {left: page.left, top: page.top, right: page.left + 1280 * scale, bottom: page.top + 720 * scale};
    for (const part of slide.querySelectorAll('.block, .block *')) {
        const box = part.getBoundingClientRect();
        const cut = part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).overflowX === 'hidden';
        if (box.width && (box.left < edges.left - 1 || box.right > edges.right + 1 || box.top < edges.top - 1
                          || box.bottom > edges.bottom + 1 || cut))
            problems.push(`${part.tagName.toLowerCase()} ${Math.round(box.right - edges.left)} x `
                          + `${Math.round(box.bottom - edges.top)}: ${part.innerText?.slice(0, 40) ?? 'a picture'}`);
    }
    const sizes = [...slide.querySelectorAll('.block')].filter(b => b.innerText?.trim())
        .map(b => parseFloat(getComputedStyle(b.querySelector('pre') ?? b).fontSize));
    const zooms = [...slide.querySelectorAll('.figure img')].map(image => image.clientWidth / image.naturalWidth);
    return {slide: `${h + 1}.${v + 1}`, heading: slide.innerText.slice(0, 40), problems: problems.slice(0, 3),
            smallest: Math.min(99, ...sizes), zoom: Math.min(9, ...zooms)};
})"""


def measure(page, deck: Path) -> list[dict]:
    """For each slide of a deck: {slide, heading, problems: what runs off 1280x720, smallest: letters in pixels, zoom: of
    the smallest figure}."""
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto(deck.as_uri())
    page.wait_for_function("() => window.Reveal?.isReady()")
    return page.evaluate(MEASURE)


def check(decks: list[Path]) -> int:
    sys.path.insert(0, str(HERE / "tests"))
    from browser import browse, find_browser

    executable = find_browser()
    if executable is None:
        sys.exit("--check needs Chromium or Chrome on the PATH")
    bad = 0
    with browse(executable) as page:
        for deck in decks:
            slides = measure(page, deck)
            letters = min(slide["smallest"] for slide in slides)
            print(f"{deck.stem}: {len(slides)} slides, smallest letters {letters:.0f} px, "
                  f"figures at {min(slide['zoom'] for slide in slides):.2f} times their size or more")
            for slide in slides:
                if slide["problems"]:
                    bad += 1
                    print(f"  slide {slide['slide']} ({slide['heading']!r}): " + "; ".join(slide["problems"]))
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="notebooks whose names begin so; all without")
    parser.add_argument("--check", action="store_true", help="look in a browser whether everything fits")
    given = parser.parse_args()
    wanted = tuple(given.names) or ("",)
    paths = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.name.startswith(wanted)]
    if not paths:
        print(f"no notebook begins with {', '.join(given.names)}")
        return 1
    decks = build(paths)
    print(f"{len(decks)} decks: open {(TARGET / 'index.html').relative_to(HERE).as_posix()}")
    return min(1, check(decks)) if given.check else 0


if __name__ == "__main__":
    sys.exit(main())
