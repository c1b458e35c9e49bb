"""The web site: every notebook with the figures it stores, every link whole, no call for help."""

import base64
import http.server
import io
import json
import os
import re
import threading
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import build_site
from browser import axe_script, axe_violations, browse, find_browser
from pages import HERE, NOTEBOOKS, short, titles
from run_notebooks import find_notebooks
from test_pages import plot_with_heat_map, png

pytestmark = pytest.mark.slow
SHORTEST_ALTERNATIVE = 20  # letters, as in "refuted: claimed above 1"
HEAVIEST_PAGE = 1_000_000  # bytes, with everything that it asks for
LONGEST_LINE = 100  # letters of code that a page holds at 1280 pixels
SMALLEST_LETTERS = 9  # pixels, of a figure's letters of 8 points on a phone
SIZES = {"laptop": (1280, 720), "tablet": (1024, 700), "phone": (390, 844)}


CARD = "> **XX1** A claim: ***refuted***\n>\n> | | measured |\n> |:--|:--|\n> | one | 2 points |\n"


class Page(HTMLParser):
    """What a page links to, asks for, shows and can be linked at."""

    def __init__(self, path):
        super().__init__()
        self.links, self.asked, self.images, self.anchors = [], [], [], {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in ("script", "img", "iframe", "source", "video", "embed") and given.get("src"):
            self.asked.append(given["src"])
        if tag == "link" and given.get("rel") not in ("index", "search", "next", "prev", "author"):
            self.asked.append(given["href"])
        if tag == "img":
            self.images.append((given.get("src", ""), given.get("alt") or ""))


def small_notebook(text="Some text."):
    """A lesson that tries a page: wide code, long output, a wide figure, a folded result."""
    wide = base64.b64encode(png(plot_with_heat_map().resize((1200, 600)))).decode()
    picture = new_output("display_data", {"image/png": wide})
    rows = "".join(f"<td>{'wide' * 6}</td>" for _ in range(20))
    line = "x = [" + "1, " * 31
    outputs = [
        new_output("stream", text="a long line of output " * 30),
        new_output("display_data", {"text/html": f"<table><tr>{rows}</tr></table>"}),
        new_output("display_data", {"text/markdown": CARD}),
    ]
    cells = [
        new_markdown_cell("# 5 A small lesson: to try things\n\n" + text),
        new_code_cell(f"{line:<{LONGEST_LINE - 1}}]", outputs=outputs),
        new_markdown_cell(
            f"## A section\n\n{'$' * 2}{' + '.join('abcdefghijklmnopqrstuv')}{'$' * 2}"
        ),
        new_code_cell("plot()", outputs=[picture], metadata={"jupyter": {"outputs_hidden": True}}),
        new_markdown_cell("**What you should see.** A heat map, a line and two letters."),
        new_code_cell("plot()", outputs=[picture]),
    ]
    metadata = {"language_info": {"name": "python"}}
    return new_notebook(cells=cells, metadata=metadata)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    return build_site.build(folder / "html", cache=folder / "cache").parent


@pytest.fixture(scope="module")
def pages(site):
    return {
        path: Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A site of one lesson, with what building it again needs."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "notebooks").mkdir()
    nbformat.write(small_notebook(), folder / "notebooks" / "05_small.ipynb")
    build = partial(
        build_site.build,
        folder / "html",
        folder / "notebooks",
        folder / "cache",
        recordings=folder / "labs",
    )
    build()
    return folder, build


@pytest.fixture(scope="module")
def window():
    """A browser's window."""
    pytest.importorskip(
        "playwright", reason="needs playwright: pip install -r requirements-test.txt"
    )
    executable = find_browser()
    if executable is None:
        pytest.skip("browser tests need Chromium or Chrome on the PATH")
    with browse(executable) as page:
        page.problems = []
        note = page.problems.append
        page.on("pageerror", lambda error: note(str(error)))
        page.on("console", lambda said: note(said.text) if said.type == "error" else None)
        yield page


def local(address):
    """The path in an address, unless it leads to another host."""
    parts = urlsplit(address)
    return None if parts.scheme or parts.netloc else (unquote(parts.path), unquote(parts.fragment))


# ---- what is there -------------------------------------------------------------------------------


def test_every_notebook_solution_and_deck_is_a_page(site):
    for path in find_notebooks():
        assert (site / "notebooks" / path.relative_to(NOTEBOOKS)).with_suffix(".html").is_file()
        if path.parent == NOTEBOOKS:
            assert (site / "slides" / path.name).with_suffix(".html").is_file()


def test_titles_follow_one_pattern_in_pages_navigation_and_decks(site):
    known = titles()
    listed = re.findall(r'<a class="reference internal" href="notebooks/([^"]+).html">([^<]+)</a>',
                        (site / "index.html").read_text(encoding="utf-8"))  # fmt: skip
    shown = {name: text.replace("&amp;", "&") for name, text in listed}
    for path, title in known.items():
        name = path.relative_to(NOTEBOOKS).with_suffix("").as_posix()
        text = (site / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
        [heading] = re.findall(r"<h1>(.*?)<a", text)
        assert re.sub("<[^>]+>", "", heading).replace("&amp;", "&") == title
        assert shown[name] == (title if "solutions/" in name else short(title))
        if "solutions/" not in name:
            deck = (site / "slides" / f"{name}.html").read_text(encoding="utf-8")
            assert f"<title>{title}</title>" in deck.replace("&amp;", "&")


def test_every_link_leads_somewhere(site, pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            if (found := local(link)) is None:
                continue
            target = Path(os.path.normpath(path.parent / found[0])) if found[0] else path
            target = target / "index.html" if target.is_dir() else target
            anchors = pages[target].anchors | {"/"} if target in pages else set()
            whole = found[1] in anchors if found[1] else target.exists()
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
            assert (path.parent / found[0]).is_file(), f"{path.name} misses {address}"
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"(@import\s*|url\()\s*['\"]?(https?:)?//", text), style.name


def test_a_page_is_light(site, pages):
    weights = {}
    for path, page in pages.items():
        asked = {path} | {
            Path(os.path.normpath(path.parent / local(address)[0]))
            for address in page.asked
            if not address.startswith("data:")
        }
        weights[path.relative_to(site).as_posix()] = sum(file.stat().st_size for file in asked)
    heaviest = max(weights, key=weights.get)
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    print(
        f"\nheaviest page: {heaviest}, {weights[heaviest] / 1e3:.0f} kB; in all {size / 1e6:.1f} MB"
    )
    assert weights[heaviest] < HEAVIEST_PAGE
    assert not [*site.rglob("*.map"), *site.rglob("*.woff*"), *site.rglob("fontawesome*")]


def test_every_picture_says_what_it_shows(pages):
    mute = [
        (path.name, alternative)
        for path, page in pages.items()
        for _, alternative in page.images
        if len(alternative) < SHORTEST_ALTERNATIVE
        or re.fullmatch(r"\S+\.png|.*_images/.*", alternative)
    ]
    assert not mute


def test_the_figures_are_those_that_the_notebooks_store(site, pages):
    for path in find_notebooks():
        stored = sum(
            any(mime.startswith("image/") for mime in output.get("data", {}))
            for cell in nbformat.read(path, as_version=4).cells
            for output in cell.get("outputs", [])
        )
        page = pages[(site / "notebooks" / path.relative_to(NOTEBOOKS)).with_suffix(".html")]
        assert len(page.images) >= stored, path.name


def test_the_glossary_is_a_page_that_names_fields_and_leads_to_notebooks(site, pages):
    text = (site / "glossary.html").read_text(encoding="utf-8")
    assert "学习率" in text and "learning rate" in text and "<code>learning_rate</code>" in text
    assert "term-learning-rate" in pages[site / "glossary.html"].anchors


def test_the_teachers_page_names_every_notebook():
    text = (HERE / "docs" / "TEACHING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| (\d\d) ", text, re.MULTILINE))  # the rows of the table of times
    assert {path.stem[:2] for path in NOTEBOOKS.glob("*.ipynb")} <= named


def test_tables_in_cards_are_tables_and_no_head_is_empty(small, pages):
    text = (small[0] / "html" / "notebooks" / "05_small.html").read_text(encoding="utf-8")
    assert re.search(r"<td[^>]*>\s*(<p>)?one(</p>)?\s*</td>", text) and "|:--|" not in text
    for path in pages:
        assert not re.search(r"<th[^>]*>\s*(<p>\s*</p>)?\s*</th>", path.read_text(encoding="utf-8"))


# ---- how it is built -----------------------------------------------------------------------------


def test_a_broken_link_ends_every_build_and_the_old_site_stays(small, capfd):
    folder, build = small
    path = folder / "notebooks" / "05_small.ipynb"
    before = (folder / "html" / "index.html").read_bytes()
    nbformat.write(small_notebook("[nowhere](missing.md)"), path)
    for _ in range(2):  # a warning must not be forgotten with the second call
        with pytest.raises(SystemExit):
            build()
        assert "missing" in capfd.readouterr().err
    assert (folder / "html" / "index.html").read_bytes() == before
    nbformat.write(small_notebook(), path)
    build()


def test_what_has_not_changed_is_not_built_again(small, monkeypatch):
    folder, build = small
    page = folder / "html" / "notebooks" / "05_small.html"
    old = page.stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr(build_site, "build_pages", None)
        assert build() == folder / "html" / "index.html"
    assert page.stat().st_mtime_ns == old
    nbformat.write(small_notebook("Another text."), folder / "notebooks" / "05_small.ipynb")
    build()
    assert "Another text." in page.read_text(encoding="utf-8")
    page.unlink()  # a site that lost a page is built again
    build()
    assert page.is_file()


def test_the_repositorys_address_comes_from_outside(small, tmp_path):
    folder, _ = small
    address = "https://code.example.org/somebody/course"
    page = build_site.build(
        tmp_path / "html", folder / "notebooks", tmp_path / "cache", address, folder / "labs"
    )
    text = page.read_text(encoding="utf-8")
    assert f'href="{address}"' in text
    lesson = (page.parent / "notebooks" / "05_small.html").read_text(encoding="utf-8")
    assert f'href="{address}/blob/HEAD/notebooks/05_small.ipynb"' in lesson


# ---- in a browser --------------------------------------------------------------------------------


def look(window, page, size="laptop", scheme="light"):
    window.problems.clear()
    window.set_viewport_size(dict(zip(("width", "height"), SIZES[size], strict=True)))
    window.emulate_media(color_scheme=scheme)
    window.goto(page.as_uri() if isinstance(page, Path) else page)
    window.wait_for_load_state("load")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def server(folder):
    """A plain web server on a folder; yields its address."""
    handler = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}/"
        serving.shutdown()


@pytest.mark.parametrize("way", ["files", "server"])
def test_search_and_navigation_work_from_files_and_from_a_plain_server(site, window, way):
    outside = []

    def note(request):
        own = request.url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:"))
        outside.extend([] if own else [request.url])

    window.on("request", note)
    with server(site) as address:
        top = site.as_uri() + "/" if way == "files" else address
        look(window, top + "search.html?q=dropout")
        window.wait_for_selector("#search-results a")
        found = window.locator("#search-results a").all_inner_texts()
        assert any("egularisation" in title for title in found)
        look(window, top + "search.html?q=学习率")
        window.wait_for_selector("#search-results a")
        look(window, top + "index.html")
        window.click("#pages a:has-text('Glossary')")
        window.wait_for_selector("table.glossary")
        first, second = sorted(NOTEBOOKS.glob("*.ipynb"))[:2]
        look(window, f"{top}notebooks/{first.stem}.html")
        window.click("a[rel=next]")
        assert window.url.endswith(f"{second.stem}.html")
        assert not window.problems
    window.remove_listener("request", note)
    assert not outside


def test_no_code_is_cut_off_on_a_laptop_and_outputs_wrap(small, site, window):
    look(window, small[0] / "html" / "notebooks" / "05_small.html")
    assert len(window.inner_text(".cell_input pre").rstrip()) == LONGEST_LINE
    assert not window.evaluate(CUT)["cut"]
    for path in sorted((site / "notebooks").glob("*.html")):
        look(window, path)
        measured = window.evaluate(CUT)
        line = "{}: {cut} of {cells} code cells cut, longest line {longest}; {room:.0f} letters fit"
        print("\n" + line.format(path.stem, **measured), end="")
        assert (
            measured["room"] >= LONGEST_LINE and not measured["short"] and not measured["outputs"]
        )


CUT = """() => {
    const all = selector => [...document.querySelectorAll(selector)].filter(pre => pre.clientWidth);
    const cut = pre => pre.scrollWidth > pre.clientWidth + 1;
    const longest = pre => Math.max(...pre.textContent.split('\\n').map(line => line.length));
    const code = all('.cell_input pre'), style = getComputedStyle(code[0]);
    const probe = document.createElement('span');
    probe.textContent = 'x'.repeat(100);
    code[0].append(probe);
    const letter = probe.getBoundingClientRect().width / 100;
    probe.remove();
    const room = code[0].clientWidth - 2 * parseFloat(style.paddingLeft);
    return {cells: code.length, cut: code.filter(cut).length,
            longest: Math.max(...code.map(longest)),
            short: code.filter(pre => cut(pre) && longest(pre) <= 100).length, room: room / letter,
            outputs: all('.cell_output pre').filter(cut).length};
}"""


def test_nothing_scrolls_a_page_sideways_on_a_phone_and_figures_can_be_read(site, small, window):
    for path in [*sorted(site.rglob("*.html")), small[0] / "html" / "notebooks" / "05_small.html"]:
        if "slides" in path.parts:
            continue
        look(window, path, "phone")
        window.evaluate(
            "() => document.querySelectorAll('details').forEach(part => part.open = true)"
        )
        wide = window.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{path.name} is {wide} pixels too wide"
        for scale in window.evaluate(
            "() => [...document.querySelectorAll('.figure img')].map(image => image.clientWidth"
            " / image.getAttribute('width'))"
        ):
            assert scale * 8 / 72 * 96 >= SMALLEST_LETTERS, path.name
    assert window.evaluate("() => document.querySelector('.figure').scrollWidth > 390")


def test_the_glossary_is_cards_on_a_phone(site, window):
    row = "() => getComputedStyle(document.querySelector('.glossary tr')).display"
    look(window, site / "glossary.html", "phone")
    assert window.evaluate(row) == "block"
    look(window, site / "glossary.html", "laptop")
    assert window.evaluate(row) == "table-row"


def test_a_result_behind_a_question_is_folded_until_it_is_asked_for(small, window):
    look(window, small[0] / "html" / "notebooks" / "05_small.html")
    fold = window.locator("details.hide")
    assert (
        fold.count() == 1 and fold.locator("summary").inner_text().strip() == "Show what came out"
    )
    assert not fold.locator("img").is_visible()
    fold.locator("summary").press("Enter")
    assert fold.locator("img").is_visible()
    assert fold.locator("summary").inner_text().strip() == "Hide what came out"


def test_figures_suit_the_dark_theme_and_pictures_within_keep_their_colours(small, window):
    page = small[0] / "html" / "notebooks" / "05_small.html"
    tones = {}
    for scheme in ("light", "dark"):
        look(window, page, "laptop", scheme)
        shown = window.locator(".figure").last
        shown.scroll_into_view_if_needed()
        window.wait_for_function("() => [...document.images].at(-1).complete")
        image = Image.open(io.BytesIO(shown.screenshot())).convert("RGB").resize((400, 200))
        tones[scheme] = np.asarray(image).astype(float)
    paper, heat_map = np.s_[170:195, 20:380], np.s_[45:115, 65:175]
    assert tones["light"][paper].mean() > 240 and tones["dark"][paper].mean() < 50
    assert tones["dark"][20:30, 20:26].mean() > 150, "letters are light on dark"
    assert abs(tones["light"][heat_map] - tones["dark"][heat_map]).mean() < 12


def test_the_choice_of_a_theme_is_kept_from_page_to_page(site, window):
    look(window, site / "index.html")
    for expected in ("light", "dark"):
        window.click("#theme")
        assert window.locator("#chosen").inner_text() == expected
    look(window, site / "glossary.html")
    assert window.evaluate("() => document.documentElement.dataset.theme") == "dark"
    window.click("#theme")
    assert window.locator("#chosen").inner_text() == "system"


def test_the_pages_open_from_the_bar_where_the_window_is_narrow(site, window):
    for size in ("phone", "tablet"):
        look(window, site / "glossary.html", size)
        assert not window.locator("#pages").is_visible()
        window.click("#menu")
        assert window.locator("#pages a.current").is_visible()
        window.keyboard.press("Escape")
        assert not window.locator("#pages").is_visible()


def test_axe_finds_nothing_in_light_or_dark_at_any_width(site, small, window):
    script = axe_script()
    if script is None:
        pytest.skip("axe-core needs npm, which is missing or has no network")
    lessons = sorted((site / "notebooks").glob("*.html"))
    some = [
        site / "index.html",
        site / "glossary.html",
        site / "search.html",
        lessons[0],
        lessons[-1],
    ]
    some += [site / "slides" / "index.html", small[0] / "html" / "notebooks" / "05_small.html"]
    found = {}
    for path in some:
        for size in SIZES:
            for scheme in ("light", "dark"):
                look(window, path, size, scheme)
                if bad := axe_violations(window, script):
                    found[f"{path.name} {size} {scheme}"] = bad
    assert not found, json.dumps(found, indent=1)
