"""Make a web site of the course: what `make site` does.

    python tools/build_site.py [--target build/site] [--repository https://...]

Every notebook with the outputs that it stores (nothing is run), its solution, its slides, the pages
of docs/ and the glossary, with navigation and search, as plain files that any web server, or a
browser without one, can show. The pages ask for nothing from elsewhere. Warnings of Sphinx, a
broken link among them, end it with an error. What has not changed since the last time is not built
again.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from pathlib import Path

from filelock import FileLock

from pages import HERE, NOTEBOOKS
from site_folder import exchange, fingerprint, is_fresh, manifest, synchronise
from site_notebook import RECORDINGS
from site_source import SITE, TOOLS, Files, Source, inputs

TARGET = HERE / "build" / "site"
CACHE = HERE / "build" / "site-cache"
# What Sphinx writes for themes that this site does not use.
UNUSED = (
    ".buildinfo*",
    "objects.inv",
    "_sources",
    "basic.css",
    "pygments.css",
    "mystnb.*.css",
    "*.png.map",
)


def build(
    target: Path = TARGET,
    notebooks: Path = NOTEBOOKS,
    cache: Path = CACHE,
    repository: str | None = None,
    recordings: Path = RECORDINGS,
) -> Path:
    """Build the site with its slides; returns its front page.

    target      replaced as a whole at the end, and only if it is empty or a site of ours
    cache       what an earlier build left, to build only what has changed; may be deleted
    repository  where the repository can be read, to link what is no part of the site

    Raises SystemExit when ``target`` is something else, or when Sphinx finds something wrong.
    """
    target = target.resolve()
    made_from = fingerprint(inputs(notebooks, recordings), repository or "")
    if is_fresh(target, made_from):
        return target / "index.html"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "lock"):
        source = Source(notebooks, recordings, repository)
        html = build_pages(source.gather(), cache, repository)
        slides = build_decks(source, cache / "slides")
        exchange({"": html, "slides": slides}, target, made_from, UNUSED)
    return target / "index.html"


def build_pages(files: Files, cache: Path, repository: str | None) -> Path:
    """Let Sphinx write the pages; those that have not changed since the last time are kept.

    Every page shows the titles of all, and may link to any heading: when one of them changes, or
    the look of the pages, all are written anew.
    """
    from sphinx.cmd.build import build_main

    headings = [
        f"{name}: {heading}"
        for name, data in sorted(files.items())
        if name.endswith((".md", ".ipynb"))
        for heading in re.findall(r'(?m)^\s*"?(#+ .*)$', data.decode())
    ]
    look = [*SITE.iterdir(), *TOOLS]
    room = cache / fingerprint(look, repository or "", *headings)[:16]
    for other in cache.iterdir():
        if other.is_dir() and other not in (room, cache / "slides"):
            shutil.rmtree(other)
    synchronise(files, room / "source")
    shutil.rmtree(
        room / "html" / "figures", ignore_errors=True
    )  # the next step copies those in use
    options = ["-b", "html", "-q", "-W", "--keep-going", "-d", str(room / "doctrees")]
    options += ["-A", f"repository={repository}"] if repository else []
    if build_main([*options, str(room / "source"), str(room / "html")]):
        shutil.rmtree(room)  # what was warned of once would not be warned of again
        raise SystemExit("The site was not built: see the warnings above.")
    return room / "html"


def build_decks(source: Source, folder: Path) -> Path:
    """The lessons' slides; those of notebooks that are gone, are gone."""
    import build_slides

    lessons = [path for path in source.titles if path.parent == source.notebooks]
    decks = build_slides.build(lessons, folder)
    for path in folder.glob("*.html"):
        if path not in decks and path.name != "index.html":
            path.unlink()
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=Path, default=TARGET, help="folder of the site")
    parser.add_argument("--repository", help="address at which the repository can be read")
    given = parser.parse_args()
    begun, before = time.perf_counter(), manifest(given.target)
    page = build(given.target, repository=given.repository)
    unchanged = before is not None and before == manifest(given.target)
    shown = (
        page.relative_to(HERE).as_posix() if page.is_relative_to(HERE) else given.target / page.name
    )
    print(
        f"{'Nothing has changed' if unchanged else 'The site is built'}: open {shown}"
        f" ({time.perf_counter() - begun:.1f} s)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
