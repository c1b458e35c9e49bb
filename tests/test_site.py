"""The web site: every notebook with the figures it stores, every link whole, nothing fetched from elsewhere."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from sphinx.cmd.build import build_main

import build_site
from browser import browse, find_browser
from pages import HERE, NOTEBOOKS
from run_notebooks import find_notebooks

pytestmark = pytest.mark.slow
SHORTEST_ALTERNATIVE = 20      # letters, as in "refuted: claimed above 1"


class Page(HTMLParser):
    """What a page links to, asks for, shows and can be linked at."""

    def __init__(self, path):
        super().__init__()
        self.links, self.asked, self.images, self.anchors, self.figures = [], [], [], {""}, 0
        self._output = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in ("script", "img", "iframe", "source", "video", "embed") and given.get("src"):
            self.asked.append(given["src"])
        if tag == "link" and given.get("rel") not in ("index", "search", "next", "prev", "canonical", "author"):
            self.asked.append(given["href"])
        if tag == "img":
            self.images.append((given.get("src", ""), given.get("alt") or ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build_site.build(tmp_path_factory.mktemp("site") / "html").parent


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts}


def local(address):
    """The path in an address, unless it leads to another host."""
    parts = urlsplit(address)
    return None if parts.scheme or parts.netloc else (unquote(parts.path), unquote(parts.fragment))


def test_every_notebook_solution_and_deck_is_a_page(site):
    for path in find_notebooks():
        assert (site / "notebooks" / path.relative_to(NOTEBOOKS)).with_suffix(".html").is_file()
        if path.parent == NOTEBOOKS:
            assert (site / "slides" / path.name).with_suffix(".html").is_file()


def test_every_link_leads_somewhere(site, pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            if (found := local(link)) is None:
                continue
            target = Path(os.path.normpath(path.parent / found[0])) if found[0] else path
            target = target / "index.html" if target.is_dir() else target
            whole = target in pages and found[1] in pages[target].anchors | {"/"} if found[1] else target.exists()
            if not whole and "slides" not in path.parts:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken


def test_pages_and_styles_ask_for_nothing_from_elsewhere(site, pages):
    for path, page in pages.items():
        for address in page.asked:
            if address.startswith("data:"):
                continue
            found = local(address)
            assert found is not None, f"{path.name} asks for {address}"
            assert (path.parent / found[0]).is_file(), f"{path.name} asks for {address}, which is not there"
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import\s*|url\()\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style.name


def test_every_picture_says_what_it_shows(pages):
    mute = [(path.name, alternative) for path, page in pages.items() for _, alternative in page.images
            if len(alternative) < SHORTEST_ALTERNATIVE or re.fullmatch(r"\S+\.png|.*_images/.*", alternative)]
    assert not mute


def test_the_figures_are_those_that_the_notebooks_store(site, pages):
    for path in find_notebooks():
        stored = sum(any(mime.startswith("image/") for mime in output.get("data", {}))
                     for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", []))
        page = pages[(site / "notebooks" / path.relative_to(NOTEBOOKS)).with_suffix(".html")]
        assert len(page.images) >= stored, path.name


def test_the_glossary_is_a_page_that_names_fields_and_leads_to_notebooks(site, pages):
    text = (site / "glossary.html").read_text(encoding="utf-8")
    assert "学习率" in text and "learning rate" in text and "<code>learning_rate</code>" in text
    assert "term-learning-rate" in pages[site / "glossary.html"].anchors


def test_a_broken_link_ends_the_build(tmp_path, capfd):
    source = tmp_path / "source"
    source.mkdir()
    for path in build_site.SITE.iterdir():
        if path.is_file():
            (source / path.name).write_bytes(path.read_bytes())
    (source / "index.md").write_text("# A page\n\n[nowhere](missing.md)\n", encoding="utf-8")
    assert build_main(["-b", "html", "-q", "-W", str(source), str(tmp_path / "html")])
    assert "missing" in capfd.readouterr().err


def test_search_and_navigation_work_without_a_server_and_without_a_network(site):
    pytest.importorskip("playwright", reason="browser tests need playwright: pip install -r requirements-test.txt")
    executable = find_browser()
    if executable is None:
        pytest.skip("browser tests need Chromium or Chrome on the PATH")
    outside = []
    with browse(executable) as page:
        page.on("request", lambda request: outside.append(request.url)
                if not request.url.startswith(("file:", "data:", "blob:")) else None)
        page.goto((site / "search.html").as_uri() + "?q=dropout")
        page.wait_for_selector("#search-results a")
        found = page.locator("#search-results a").all_inner_texts()
        assert any("egularisation" in title for title in found)
        page.goto((site / "index.html").as_uri())
        page.click("nav.bd-links a:has-text('Glossary')")
        page.wait_for_selector("table.glossary")
        page.goto((site / "notebooks" / "00_start_here.html").as_uri())
        page.click("a.right-next")
        assert page.url.endswith("01_weights_and_activations.html")
    assert not outside


def test_the_teachers_page_names_every_notebook():
    text = (HERE / "docs" / "TEACHING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| (\d\d) ", text, re.MULTILINE))           # the rows of the table of times
    assert {path.stem[:2] for path in NOTEBOOKS.glob("*.ipynb")} <= named
