"""What Sphinx reads to make the site: pages of notebooks, of Markdown files and of the glossary."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell
from pygments.formatters import HtmlFormatter

from figures import figure
from pages import HERE, NOTEBOOKS, SOLUTIONS, plain, read, short, titles
from site_notebook import RECORDINGS, prepare

SITE = HERE / "docs" / "site"
MODULES = (
    "build_site site_source site_notebook site_folder build_slides slide_text pages tables figures"
)
# What shows a recorded lab is what shows a living one.
CLASSROOM = HERE / "course_utils" / "classroom"
TOOLS = [
    *(HERE / "tools" / f"{name}.py" for name in MODULES.split()),
    CLASSROOM / "lab.js",
    CLASSROOM / "lab.css",
]
CODE_COLOURS = {"light": "a11y-high-contrast-light", "dark": "a11y-high-contrast-dark"}
LINK = re.compile(
    r"(?<!!)\[((?:[^\[\]]|!?\[[^\]]*\](?:\([^)]*\))?)*)\]\((?!\w+:|#)([^)#\s]+)(#[^)]*)?\)"
)
PICTURE = re.compile(r"^!\[([^\]]*)\]\((?!\w+:)([^)\s]+)\)$", re.MULTILINE)
BADGE = re.compile(r"\[?!\[[^\]]*\]\(https?:[^)]*\)(\]\([^)]*\))?")
Files = dict[str, bytes]  # by name, as they are to lie below Sphinx's source


def inputs(notebooks: Path = NOTEBOOKS, recordings: Path = RECORDINGS) -> list[Path]:
    """All files of the repository from which pages may be made."""
    return [
        *notebooks.glob("*.ipynb"),
        *notebooks.glob("solutions/*.ipynb"),
        *HERE.glob("*.md"),
        *HERE.glob("LICENSE*"),
        *(path for path in (HERE / "docs").rglob("*") if path.is_file()),
        *(HERE / "data").glob("*.md"),
        HERE / "data" / "glossary.json",
        *(path for path in recordings.rglob("*") if path.is_file()),
        *TOOLS,
    ]


class Source:
    """Gathers the files that Sphinx reads, laid out as in the repository, so that links hold."""

    def __init__(self, notebooks: Path, recordings: Path, repository: str | None):
        self.notebooks, self.recordings, self.repository = notebooks, recordings, repository
        self.titles = titles(notebooks)
        self.files: Files = {}
        self.pages: list[str] = []  # Markdown pages, in the order in which they are linked to

    def gather(self) -> Files:
        for path in self.titles:
            self.files[self.name_of(path)] = self.notebook_page(path)
        self.add_page(HERE / "README.md", "index.md")
        self.files["index.md"] += self.tables_of_contents().encode()
        self.files["glossary.md"] = self.glossary_page().encode()
        for path in sorted(SITE.iterdir()):
            folder = {".html": "_templates/", ".css": "_static/", ".js": "_static/"}.get(
                path.suffix, ""
            )
            self.files[folder + path.name] = path.read_bytes()
        self.files["_static/code.css"] = code_colours().encode()
        self.files["_static/lab.js"] = lab_script().encode()
        self.files["_static/lab.css"] = (CLASSROOM / "lab.css").read_bytes()
        self.files["_extra/.nojekyll"] = b""
        return self.files

    def name_of(self, path: Path) -> str:
        return f"notebooks/{path.relative_to(self.notebooks).as_posix()}"

    # ---- notebooks -------------------------------------------------------------------------------

    def notebook_page(self, path: Path) -> bytes:
        """A notebook for readers: figures described, questions in words, labs as their recording or
        picture, results behind a question folded."""
        notebook = read(path)
        root = "../" * len(path.relative_to(self.notebooks).parts)
        prepare(notebook, self.titles[path], path.stem, root, self.store, self.recordings)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = self.follow_links(cell.source, path)
        notebook.cells.insert(1, new_markdown_cell(self.also(path)))
        for number, cell in enumerate(notebook.cells):
            cell.id = f"cell-{number}"  # the same words give the same page
        return nbformat.writes(notebook).encode()

    def store(self, name: str, contents: bytes) -> None:
        """A file of the site beside its pages."""
        self.files[f"_extra/{name}"] = contents

    def also(self, path: Path) -> str:
        """The line below a title: slides, solutions, the notebook itself."""
        links = []
        if path.parent == self.notebooks:
            links.append(f"<a href='../slides/{path.stem}.html'>As slides</a>")
            answers = path.parent / "solutions" / f"{path.stem}{SOLUTIONS}.ipynb"
            if answers in self.titles:
                links.append(f"[Solutions](solutions/{answers.name})")
        else:
            lesson = path.stem.removesuffix(SOLUTIONS)
            links.append(f"[The lesson](../{lesson}.ipynb)")
        if self.repository:
            links.append(f"[The notebook]({self.repository}/blob/HEAD/{self.name_of(path)})")
        return ":::{container} where\n" + " · ".join(links) + "\n:::"

    # ---- pages of text ---------------------------------------------------------------------------

    def add_page(self, path: Path, name: str) -> None:
        """A Markdown file of the repository, and what it links to."""
        self.files[name] = b""  # pages link to one another
        text = BADGE.sub("", path.read_text(encoding="utf-8"))
        root = "../" * name.count("/")

        def shown(match: re.Match) -> str:
            picture, alternative = path.parent / match.group(2), plain(match.group(1))
            if not picture.is_file():
                return match.group()  # which Sphinx will say
            return figure(picture.read_bytes(), alternative, self.store, root)

        text = PICTURE.sub(shown, text)
        for picture in re.findall(r"!\[[^\]]*\]\((?!\w+:)([^)\s]+)\)", text):  # within a line
            self.add_file(path.parent / picture)
        self.files[name] = self.follow_links(text, path).encode()

    def add_file(self, path: Path) -> None:
        path = Path(os.path.normpath(path))
        if path.is_file() and path.is_relative_to(HERE):
            self.files[path.relative_to(HERE).as_posix()] = path.read_bytes()

    def follow_links(self, text: str, page: Path) -> str:
        """A page's text with links that hold on the site: what is no part of it is linked to in the
        repository, or named only where the repository's address is not known."""

        def followed(match: re.Match) -> str:
            words, link, fragment = match.groups()
            path = Path(os.path.normpath(page.parent / link))
            if path in self.titles or not path.exists() or not path.is_relative_to(HERE):
                return match.group()  # a notebook's page; or broken, which Sphinx will say
            if path == HERE / "README.md":
                top = "../" * len(page.parent.relative_to(HERE).parts)
                return f"[{words}]({top}index.md{fragment or ''})"
            name = path.relative_to(HERE).as_posix()
            if path.suffix == ".md":
                if name not in self.files:
                    self.pages.append(name)
                    self.add_page(path, name)
                return match.group()
            if path.name.startswith("LICENSE"):
                self.add_file(path)
                return match.group()
            return f"[{words}]({self.repository}/tree/HEAD/{name})" if self.repository else words

        return LINK.sub(followed, text)

    def tables_of_contents(self) -> str:
        """The navigation, at the foot of the front page, where it is not shown."""

        def entries(wanted: Callable[[Path], bool]) -> list[str]:
            chosen = [(name, path) for path, name in self.titles.items() if wanted(path)]
            return [f"{short_title(name)} <{self.name_of(path)[:-6]}>" for name, path in chosen]

        parts = {
            "The course": entries(lambda path: path.parent == self.notebooks),
            "Words and teaching": ["glossary", *(page.removesuffix(".md") for page in self.pages)],
            "Solutions": entries(lambda path: path.parent != self.notebooks),
        }
        return "".join(
            f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"
            for caption, pages in parts.items()
            if pages
        )

    def glossary_page(self) -> str:
        from course_utils.classroom.glossary import (
            load_glossary,
        )  # brings torch along: only if needed

        lessons = [path for path in self.titles if path.parent == self.notebooks]
        pages = {path.stem[:2]: f"notebooks/{path.stem}.html" for path in lessons}
        table = load_glossary(HERE / "data" / "glossary.json").to_html(pages)
        return (
            "# Glossary · 词汇表\n\nThe course's terms in English and Chinese, with other names, "
            "the field of `Config` that carries them, and the notebooks that explain them.\n\n"
            f"{table}\n"
        )


def short_title(name: str) -> str:
    return name if name.endswith(": solutions") else short(name)


def code_colours() -> str:
    """The style sheet of code in both themes."""
    return "\n".join(
        HtmlFormatter(style=style).get_style_defs(f'html[data-theme="{theme}"] .highlight')
        for theme, style in CODE_COLOURS.items()
    )


def lab_script() -> str:
    """``lab.js`` as a plain script, which sets ``courseLab``: browsers load no module from a file.

    Raises ValueError when its end is not the one that it is known to have.
    """
    text = (CLASSROOM / "lab.js").read_text(encoding="utf-8")
    if text.count("export") != 1 or "export default {" not in text:
        raise ValueError('lab.js: takes one "export default {", got something else')
    shared = text.replace("export default {", "globalThis.courseLab = {")
    return f'(() => {{\n"use strict";\n{shared}}})();\n'
