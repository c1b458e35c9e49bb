"""Make a web site of the course: what `make site` does.

    python tools/build_site.py [--target build/site]

Every notebook with the outputs that it stores (nothing is run), its solution, its slides, the teacher's page and the
glossary, with navigation and search, as plain files that any web server, or a browser without one, can show. The
pages ask for nothing from elsewhere. Warnings of Sphinx, a broken link among them, end it with an error.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell
from sphinx.cmd.build import build_main

import build_slides
from course_utils.classroom.glossary import load_glossary
from pages import HERE, NOTEBOOKS, describe_figures, link_to_pages, pose_questions, spare_the_reader

SITE = HERE / "docs" / "site"
TARGET = HERE / "build" / "site"
LIVE = "In the notebook a lab stands here: move its controls, and it trains real networks."


def prepare(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook for readers: every figure described, questions in words, labs as their picture, set-up folded away."""
    describe_figures(notebook)
    pose_questions(notebook)
    spare_the_reader(notebook)
    link_to_pages(notebook)
    cells = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "lab" in tags:
            continue
        if {"setup", "static-figure"} & set(tags):
            cell.metadata["tags"] = sorted({*tags, "hide-input"})
        cells.append(cell)
        if "static-figure" in tags:
            cells.append(new_markdown_cell(f":::{{container}} lab-note\n{LIVE}\n:::"))
    notebook.cells = cells
    return notebook


def lay_out(source: Path, notebooks: Path = NOTEBOOKS) -> list[Path]:
    """Write everything that Sphinx reads below ``source``, laid out as in the repository, so that links between files
    hold; returns the course's notebooks, in order."""
    lessons = sorted(notebooks.glob("*.ipynb"))
    solutions = sorted(notebooks.glob("solutions/*.ipynb"))
    answers = {path.name.removesuffix("_solutions.ipynb"): path for path in solutions}
    for path in lessons + solutions:
        notebook = prepare(nbformat.read(path, as_version=4))
        if path in lessons:
            also = [f"<a href='../slides/{path.stem}.html'>As slides</a>"]
            also += [f"[Solutions](solutions/{path.stem}_solutions.ipynb)"] * (path.stem in answers)
            notebook.cells.insert(1, new_markdown_cell(" · ".join(also)))
        target = source / "notebooks" / path.relative_to(notebooks)
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)
    for path in (SITE / "conf.py", SITE / "site.css"):
        shutil.copyfile(path, source / path.name)
    for path in (HERE / "README.md", HERE / "docs" / "TEACHING.md"):
        text = path.read_text(encoding="utf-8")
        copy_what_it_links_to(text, path.parent, source)
        target = source / ("index.md" if path.name == "README.md" else path.relative_to(HERE))
        target.parent.mkdir(exist_ok=True)
        target.write_text(text + tables_of_contents(lessons, solutions) * (path.name == "README.md"),
                          encoding="utf-8", newline="\n")
    (source / "glossary.md").write_text(glossary_page(lessons), encoding="utf-8", newline="\n")
    return lessons


def copy_what_it_links_to(text: str, folder: Path, source: Path) -> None:
    """Files of the repository that a page links to come along: pictures, licences, the word on the data."""
    for link in re.findall(r"\]\((?!\w+:|#)([^)#]+)", text):
        path = (folder / link).resolve()
        target = source / path.relative_to(HERE)
        if path.is_file() and path.suffix != ".ipynb" and path not in (HERE / "README.md", HERE / "docs" / "TEACHING.md"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def tables_of_contents(lessons: list[Path], solutions: list[Path]) -> str:
    """The navigation, at the foot of the front page, where it is not shown."""
    parts = {"The course": [f"notebooks/{path.stem}" for path in lessons],
             "Words and teaching": ["glossary", "docs/TEACHING", "docs/CELL_TIMES", "data/README", "LICENSE-text"],
             "Solutions": [f"notebooks/solutions/{path.stem}" for path in solutions]}
    return "".join(f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"
                   for caption, pages in parts.items())


def glossary_page(lessons: list[Path]) -> str:
    pages = {path.stem[:2]: f"notebooks/{path.stem}.html" for path in lessons}
    return ("# Glossary · 词汇表\n\nThe course's terms in English and Chinese, with other names, the field of `Config` "
            "that carries them, and the notebooks that explain them.\n\n" + load_glossary().to_html(pages) + "\n")


def build(target: Path = TARGET, notebooks: Path = NOTEBOOKS) -> Path:
    """Build the site with its slides; returns its front page. Raises SystemExit when Sphinx finds something wrong."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        lessons = lay_out(source, notebooks)
        shutil.rmtree(target, ignore_errors=True)
        options = ["-b", "html", "-q", "-W", "--keep-going", "-d", str(Path(folder) / "doctrees")]
        if build_main([*options, str(source), str(target)]):
            raise SystemExit("The site was not built: see the warnings above.")
    build_slides.build(lessons, target / "slides")
    return target / "index.html"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=Path, default=TARGET, help="folder of the site; what is in it is replaced")
    page = build(parser.parse_args().target)
    print(f"The site is built: open {page.relative_to(HERE).as_posix() if page.is_relative_to(HERE) else page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
