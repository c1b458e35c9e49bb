"""Decks: complete, offline, described, and read from the last row. The browser part opens every slide of every deck."""

import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import build_slides
from browser import browse, find_browser
from pages import NOTEBOOKS, plain, put_formulas_back, question, set_formulas_aside, shortened, spare_the_reader

LESSONS = sorted(NOTEBOOKS.glob("*.ipynb"))
SMALLEST_LETTERS = 18          # pixels of 720: 1/40 of the screen's height


def slide(kind, cell, *tags):
    cell.metadata.update(slideshow={"slide_type": kind}, tags=list(tags))
    return cell


class Tags(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    return build_slides.build(LESSONS, tmp_path_factory.mktemp("slides"))


def test_every_notebook_is_a_deck_and_the_list_names_them_all(decks):
    assert [deck.stem for deck in decks] == [path.stem for path in LESSONS]
    listed = Tags((decks[0].parent / "index.html").read_text(encoding="utf-8")).found
    assert [attributes["href"] for tag, attributes in listed if tag == "a"] == [deck.name for deck in decks]


def test_a_deck_asks_for_nothing_but_the_files_beside_it(decks):
    for deck in decks:
        for tag, attributes in Tags(deck.read_text(encoding="utf-8")).found:
            address = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
            if address and not address.startswith("data:"):
                assert (deck.parent / address).is_file(), f"{deck.name} asks for {address}"
    for style in (decks[0].parent / "assets").glob("*.css"):
        assert not re.search(r"@import|url\((?!['\"]?data:)", style.read_text(encoding="utf-8")), style.name


def test_every_picture_of_a_deck_says_what_it_shows(decks):
    for deck in decks:
        tags = Tags(deck.read_text(encoding="utf-8")).found
        texts = [attributes.get("alt") or "" for tag, attributes in tags if tag == "img"]
        assert all(len(text) >= 20 for text in texts), (deck.name, min(texts, key=len))


def test_a_class_sees_questions_and_pictures_but_no_plumbing():
    picture = new_output("display_data", {"image/png": "iVBORw0KGgo="})
    notebook = new_notebook(cells=[
        slide("slide", new_markdown_cell("# A title")),
        slide("skip", new_code_cell("import secret_setup"), "setup"),
        slide("fragment", new_code_cell('guess = predict("Up or down?", ["up", "down"])'), "predict"),
        slide("fragment", new_code_cell("lab.static()", outputs=[picture]), "static-figure"),
        slide("slide", new_code_cell("lab"), "lab"),
        slide("fragment", new_markdown_cell("What you should see: $x^2$ rises.")),
    ])
    formulas = []
    cells = build_slides.prepare(notebook, formulas).cells
    sources = " ".join(cell.source for cell in cells)
    assert "secret_setup" not in sources and "Up or down?" in sources and "- down" in sources
    assert "move its controls" in sources
    assert [cell.metadata.slideshow.slide_type for cell in cells] == ["slide", "fragment", "fragment", "-", "slide"], \
        "the slide that a lab's cell would begin begins with the next cell"
    assert formulas and "<msup>" in formulas[0] and "$" not in cells[-1].source


@pytest.mark.parametrize(("source", "expected"), [
    ('g = predict("Which?", ["a", "b"])\ng', ("Which?", ["a", "b"])),
    ('places = ["first", "last"]\ng = predict("Where?", places)', ("Where?", ["first", "last"])),
    ('%time\ng = predict("Which?", [1, 2])', ("Which?", ["1", "2"])),
    ('g = predict("How many?", between=(0, len(treatments)))', ("How many?", ["a number"])),
    ('g = predict("Which?", list(treatments))', None),
    ("print(1)", None),
])
def test_a_question_is_read_from_its_cell_where_it_is_written_out(source, expected):
    assert question(source) == expected


def test_formulas_survive_and_code_is_left_alone():
    kept = []
    text = set_formulas_aside("Costs `$x$` or $5 and $6; $a_1$ and\n\n$$\\frac{a}{b}$$", kept)
    assert "`$x$`" in text and "$5 and $6" in text and len(kept) == 2
    restored = put_formulas_back(text, kept)
    assert "<msub>" in restored and 'display="block"' in restored and "\ue000" not in restored


def test_a_reader_without_buttons_is_not_reproached():
    printed = new_output("stream", text="Measured: a. (You made no guess; next time, commit.)\nb\n")
    cell = new_code_cell("x", outputs=[printed])
    spare_the_reader(new_notebook(cells=[cell]))
    assert cell.outputs[0].text == "Measured: a.\nb\n"


def test_a_long_text_is_cut_at_a_sentence():
    assert shortened("One. Two is longer. Three.", 20) == "One. Two is longer."
    assert shortened("word " * 50, 20).endswith(" ...")
    assert plain("**Bold** `code` [link](a.html) <b>x</b> &amp; y_1") == "Bold code link x & y_1"


# ---- in a browser ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page():
    pytest.importorskip("playwright", reason="browser tests need playwright: pip install -r requirements-test.txt")
    executable = find_browser()
    if executable is None:
        pytest.skip("browser tests need Chromium or Chrome on the PATH")
    with browse(executable) as page:
        page.outside = []
        page.on("request", lambda request: page.outside.append(request.url)
                if not request.url.startswith(("file:", "data:", "blob:")) else None)
        yield page


@pytest.mark.slow
def test_nothing_runs_off_a_slide_and_all_can_be_read_from_the_last_row(decks, page):
    for deck in decks:
        slides = build_slides.measure(page, deck)
        assert len(slides) > 5
        assert not [each for each in slides if each["problems"]], deck.name
        assert min(each["smallest"] for each in slides) >= SMALLEST_LETTERS, deck.name
        assert min(each["zoom"] for each in slides) >= 1, f"{deck.name} shows a figure smaller than the notebook does"
    assert not page.outside


@pytest.mark.slow
def test_what_is_too_long_for_a_slide_goes_on_on_the_next_and_nothing_is_lost(tmp_path, page):
    lines = [f"value_{number} = compute({number})  " + "# remark " * (8 if number % 9 == 0 else 0) for number in range(90)]
    printed = "\n".join(f"row {number}: " + "x" * (number % 150) for number in range(70))
    items = "\n".join(f"- point {number} " + "and more words " * 8 for number in range(40))
    rows = ["".join(f"<td>cell {row}.{column}</td>" for column in range(5)) for row in range(60)]
    table = "<table><thead><tr><th>head</th></tr></thead>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
    groups = "".join(f"<tbody><tr><th rowspan='6'>group {group}</th></tr>" + "".join(
        f"<tr><td>member {group}.{row}</td></tr>" for row in range(5)) + "</tbody>" for group in range(9))
    cells = [slide("slide", new_markdown_cell("# Long\n\n" + items)),
             slide("fragment", new_code_cell("\n".join(lines), outputs=[
                 new_output("stream", text=printed), new_output("display_data", {"text/html": table}),
                 new_output("display_data", {"text/html": f"<table>{groups}</table>"})])),
             slide("slide", new_markdown_cell("## End"))]
    path = tmp_path / "long.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"language_info": {"name": "python"}}), path)
    [deck] = build_slides.build([path], tmp_path / "slides")
    slides = build_slides.measure(page, deck)
    assert not [each for each in slides if each["problems"]]
    shown = page.evaluate("() => Reveal.getSlides().map(slide => slide.textContent).join('\\n')")
    for text in (*(line.strip() for line in lines), *printed.splitlines(), "point 0 ", "point 39 ",
                 *(f"cell {row}.4" for row in range(60)), *(f"member {group}.4" for group in range(9))):
        assert text in shown, text
    assert shown.count("value_89 =") == shown.count("cell 59.4") == shown.count("member 8.4") == 1
    assert shown.count("head") > 1, "every part of a table has its head"


@pytest.mark.slow
def test_what_does_not_fit_would_be_found(tmp_path, page):
    path = tmp_path / "wide.ipynb"
    wide = "<table><tr>" + "<td>aword</td>" * 120 + "</tr></table>"
    cell = new_code_cell("wide", outputs=[new_output("display_data", {"text/html": wide})])
    nbformat.write(new_notebook(cells=[slide("slide", new_markdown_cell("# Wide")), slide("slide", cell)]), path)
    [deck] = build_slides.build([path], tmp_path / "slides")
    assert [each for each in build_slides.measure(page, deck) if each["problems"]]


@pytest.mark.slow
def test_arrow_keys_walk_through_a_whole_deck(decks, page):
    page.goto(decks[0].as_uri())
    page.wait_for_function("() => window.Reveal?.isReady()")
    total = page.evaluate("() => Reveal.getTotalSlides()")
    seen = {page.evaluate("() => Reveal.getSlidePastCount()")}
    for _ in range(400):
        page.keyboard.press("Space")
        seen.add(page.evaluate("() => Reveal.getSlidePastCount()"))
        if page.evaluate("() => Reveal.isLastSlide() && !Reveal.availableFragments().next"):
            break
    assert seen == set(range(total))
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("() => !Reveal.isLastSlide() || Reveal.availableFragments().next")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => Reveal.getSlidePastCount()") > 0
