"""Decks: complete, offline, described, short, and read from the last row.

The browser part opens every slide of every deck.
"""

import base64
import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import build_slides
from browser import axe_script, axe_violations, browse, find_browser
from pages import (
    NOTEBOOKS,
    keep_together,
    put_formulas_back,
    question,
    read,
    set_formulas_aside,
    spare_the_reader,
    tags,
    titles,
)
from slide_text import READING_WORDS
from test_pages import png

LESSONS = sorted(NOTEBOOKS.glob("*.ipynb"))
SMALLEST_LETTERS = 18  # pixels of 720: 1/40 of the screen's height
MOST_SLIDES, MOST_WORDS = 30, 60  # of a deck for 45 minutes, and of a slide
# Held to these limits are the notebooks that mark what belongs on slides; with True, all of them.
ALL_ARE_HELD = False


def is_held(path):
    """Whether a notebook has the marks that a short deck needs: code to show, results to hide."""
    cells = read(path).cells
    marked = [
        "show-code" in tags(cell) or cell.metadata.get("jupyter", {}).get("outputs_hidden")
        for cell in cells
    ]
    return ALL_ARE_HELD or any(marked)


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
    assert [attributes["href"] for tag, attributes in listed if tag == "a"] == [
        deck.name for deck in decks
    ]


def test_a_deck_asks_for_nothing_but_the_files_beside_it(decks):
    for deck in decks:
        for tag, attributes in Tags(deck.read_text(encoding="utf-8")).found:
            address = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
            if address and not address.startswith("data:"):
                assert (deck.parent / address).is_file(), f"{deck.name} asks for {address}"
    for style in (decks[0].parent / "assets").glob("*.css"):
        assert not re.search(r"@import|url\((?!['\"]?data:)", style.read_text(encoding="utf-8")), (
            style.name
        )


def test_every_picture_of_a_deck_says_what_it_shows(decks):
    for deck in decks:
        tags = Tags(deck.read_text(encoding="utf-8")).found
        texts = [attributes.get("alt") or "" for tag, attributes in tags if tag == "img"]
        assert all(len(text) >= 20 for text in texts), (deck.name, min(texts, key=len))


def prepared(*cells):
    formulas = []
    notebook = new_notebook(cells=[slide("slide", new_markdown_cell("# A title")), *cells])
    return build_slides.prepare(notebook, formulas).cells[1:], formulas


def kinds(cells):
    return [cell.metadata.slideshow.slide_type for cell in cells]


PICTURE = new_output("display_data", {"image/png": "iVBORw0KGgo="})


def test_a_class_sees_questions_and_pictures_but_no_plumbing():
    cells, formulas = prepared(
        slide("skip", new_code_cell("import secret_setup"), "setup"),
        slide(
            "fragment", new_code_cell('guess = predict("Up or down?", ["up", "down"])'), "predict"
        ),
        slide("fragment", new_code_cell("lab.static()", outputs=[PICTURE]), "static-figure"),
        slide("slide", new_code_cell("lab"), "lab"),
        slide("-", new_code_cell("claim()", outputs=[PICTURE]), "claim"),
        slide("-", new_code_cell("check(1)", outputs=[PICTURE]), "exercise"),
        slide("fragment", new_markdown_cell("It shows that $x^2$ rises.")),
    )
    sources = " ".join(cell.source for cell in cells)
    assert "secret_setup" not in sources and "claim" not in sources and "check" not in sources
    assert "Up or down?" in sources and "- down" in sources and "move its controls" in sources
    assert kinds(cells) == ["subslide", "subslide", "-", "slide"], (
        "a question is alone; the slide that a lab's cell would begin begins with the next cell"
    )
    assert formulas and "<msup>" in formulas[0] and "$" not in cells[-1].source


def test_a_lab_that_stores_its_picture_is_that_picture_and_a_word():
    told = new_output("display_data", {"text/markdown": "Run this cell"})
    cells, _ = prepared(slide("-", new_code_cell("lab", outputs=[PICTURE, told]), "lab"))
    assert cells[0].outputs == [PICTURE] and cells[0].metadata.transient == {"remove_source": True}
    assert "move its controls" in cells[1].source


def test_code_is_shown_only_where_it_is_the_subject():
    printed = new_output("stream", text="3")
    cells, _ = prepared(
        slide("-", new_code_cell("plumbing()")),
        slide("-", new_code_cell("print(1 + 2)", outputs=[printed])),
        slide("-", new_code_cell("loss.backward()"), "show-code"),
    )
    removed = [cell.metadata.get("transient", {}).get("remove_source", False) for cell in cells]
    assert [cell.source for cell in cells] == ["print(1 + 2)", "loss.backward()"]
    assert removed == [True, False]


def test_notes_are_for_the_speaker_and_a_reading_stands_below_its_figure_too():
    reading = "**What you should see.** " + "Two curves rise together. " * 20
    cells, _ = prepared(
        slide("notes", new_markdown_cell("Say hello.")),
        slide("-", new_code_cell("plot()", outputs=[PICTURE])),
        slide("notes", new_markdown_cell(reading)),
        slide("-", new_markdown_cell("Seen.\n\n<!-- notes -->\n\nHeard.")),
        slide("-", new_markdown_cell("Long. " * 100)),
    )
    assert kinds(cells) == ["notes", "-", "fragment", "notes", "-", "notes", "-", "notes"]
    assert len(cells[2].source.split()) <= READING_WORDS and cells[2].source in cells[3].source
    assert (cells[4].source, cells[5].source) == ("Seen.", "Heard.")
    assert (
        len(cells[6].source.split()) <= MOST_WORDS and cells[7].source == ("Long. " * 100).strip()
    )


def test_sections_in_the_notes_begin_slides_and_a_table_has_its_reading_too():
    table = new_output("display_data", {"text/html": "<p>Up? <b>Measured:</b> yes.</p>"})
    wide = new_output("stream", text="too wide for a slide " * 6)
    notes = "**How to read it.** So.\n\n**What you should see.** It rises.\n\n## Next\n\nMore."
    cells, _ = prepared(
        slide("-", new_code_cell("plot()", outputs=[PICTURE, wide, table])),
        slide("notes", new_markdown_cell(notes)),
        slide("slide", new_code_cell("show()", outputs=[table])),
        slide("notes", new_markdown_cell("**What you should see.**\n\n- a list")),
    )
    assert kinds(cells) == ["-", "fragment", "notes", "slide", "fragment", "notes"]
    assert cells[1].source == "**What you should see.** It rises." and "More." in cells[3].source
    assert len(cells[0].outputs) == 2 and "Up?" not in cells[0].outputs[1].data["text/html"]


def test_what_closes_a_formula_and_a_percentage_stay_in_their_line():
    text = keep_together("<math><mi>x</mi></math>, 5 % of <pre>5 % 2</pre>")
    assert "</math>,</span>" in text and "5\u00a0% of <pre>5 % 2</pre>" in text


def test_decks_carry_the_titles_of_the_course(decks):
    known = titles()
    for path, deck in zip(LESSONS, decks, strict=True):
        text = deck.read_text(encoding="utf-8")
        assert f"<title>{known[path]}</title>" in text.replace("&amp;", "&")


def test_a_deck_is_made_again_only_if_its_notebook_has_changed(tmp_path, monkeypatch):
    path = tmp_path / "01_small.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# One")]), path)
    [deck] = build_slides.build([path], tmp_path / "slides")
    with monkeypatch.context() as patched:
        patched.setattr(build_slides, "render", None)
        assert build_slides.build([path], tmp_path / "slides") == [deck]
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Two")]), path)
    build_slides.build([path], tmp_path / "slides")
    assert "<title>01 · Two</title>" in deck.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('g = predict("Which?", ["a", "b"])\ng', ("Which?", ["a", "b"])),
        (
            'places = ["first", "last"]\ng = predict("Where?", places)',
            ("Where?", ["first", "last"]),
        ),
        ('%time\ng = predict("Which?", [1, 2])', ("Which?", ["1", "2"])),
        ('g = predict("How many?", between=(0, len(treatments)))', ("How many?", ["a number"])),
        ('g = predict("Which?", list(treatments))', None),
        ("print(1)", None),
    ],
)
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


# ---- in a browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page():
    pytest.importorskip(
        "playwright", reason="browser tests need playwright: pip install -r requirements-test.txt"
    )
    executable = find_browser()
    if executable is None:
        pytest.skip("browser tests need Chromium or Chrome on the PATH")
    with browse(executable) as page:
        page.outside = []
        page.on(
            "request",
            lambda request: (
                page.outside.append(request.url)
                if not request.url.startswith(("file:", "data:", "blob:"))
                else None
            ),
        )
        yield page


@pytest.mark.slow
def test_every_slide_fits_can_be_read_from_the_last_row_and_is_short(decks, page):
    print()
    for path, deck in zip(LESSONS, decks, strict=True):
        slides = build_slides.measure(page, deck)
        print(build_slides.summary(deck, slides) + " (held)" * is_held(path))
        assert not [each for each in slides if each["problems"]], deck.name
        assert min(each["smallest"] for each in slides) >= SMALLEST_LETTERS, deck.name
        assert min(each["zoom"] for each in slides) >= 1, f"{deck.name} shrinks a figure"
        if is_held(path):
            wordy = [each for each in slides if each["words"] > MOST_WORDS]
            assert not wordy, f"{deck.name}: more than {MOST_WORDS} words on {wordy[0]['slide']}"
            assert 5 < len(slides) <= MOST_SLIDES, f"{deck.name} has {len(slides)} slides"
    assert not page.outside


@pytest.mark.slow
def test_axe_finds_nothing_on_the_slides_of_a_deck(decks, page):
    script = axe_script()
    if script is None:
        pytest.skip("axe-core needs npm, which is missing or has no network")
    for deck in (decks[0], decks[-1]):
        total = len(build_slides.measure(page, deck))
        for number in range(0, total, 4):
            page.evaluate("number => Reveal.slide(...Object.values(Reveal.getIndices("
                          "Reveal.getSlides()[number])).slice(0, 2), 99)", number)  # fmt: skip
            assert not axe_violations(page, script), f"{deck.name}, slide {number + 1}"


def shown_slides(page, tmp_path, *cells):
    """Every slide of a deck of these cells: {text, questions, figure: its box, ...}."""
    path = tmp_path / "01_deck.ipynb"
    metadata = {"language_info": {"name": "python"}}
    nbformat.write(new_notebook(cells=list(cells), metadata=metadata), path)
    [deck] = build_slides.build([path], tmp_path / "slides")
    measured = build_slides.measure(page, deck)
    texts = page.evaluate("""() => Reveal.getSlides().map(slide => {
        const all = selector => [...slide.querySelectorAll(selector)];
        const words = block => block.textContent.replace(/\\s+/g, ' ').trim();
        return {text: all('.block').map(words).filter(Boolean).join(' '),
                notes: slide.querySelector('aside')?.textContent.trim() ?? '',
                figures: all('.figure img').map(image => image.clientWidth)};
    })""")
    return [{**one, **two} for one, two in zip(measured, texts, strict=True)]


@pytest.mark.slow
def test_a_figure_and_its_reading_share_a_slide_and_a_question_is_alone(tmp_path, page):
    picture = base64.b64encode(png(Image.new("RGB", (800, 320), "grey"))).decode()
    figure = new_output("display_data", {"image/png": picture})
    slides = shown_slides(
        page,
        tmp_path,
        slide("slide", new_markdown_cell("# A deck")),
        slide("slide", new_markdown_cell("## Which is it?\n\nAn announcement.")),
        slide("-", new_code_cell('predict("Up or down?", ["up", "down"])'), "predict"),
        slide("-", new_code_cell("plot()", outputs=[figure])),
        slide(
            "notes", new_markdown_cell("**What you should see.** It goes up. " + "And so on. " * 40)
        ),
        slide("slide", new_markdown_cell("## End\n\nGood bye.")),
    )
    _, announced, asked, answered, end = slides
    assert announced["text"] == "Which is it? An announcement."
    assert asked["text"] == "Which is it? Your guess? Up or down? up down"
    assert answered["text"].startswith("Which is it? What you should see. It goes up.")
    assert answered["figures"] and answered["zoom"] >= 1.3 and answered["words"] <= MOST_WORDS
    assert answered["notes"].count("And so on.") == 40
    assert end["text"] == "End Good bye." and not end["notes"]


@pytest.mark.slow
def test_a_nearly_square_figure_has_its_reading_beside_it(tmp_path, page):
    picture = base64.b64encode(png(Image.new("RGB", (400, 360), "grey"))).decode()
    figure = new_output("display_data", {"image/png": picture})
    reading = new_markdown_cell("**What you should see.** " + "Something to the left of it. " * 5)
    cells = [slide("slide", new_code_cell("plot()", outputs=[figure])), slide("-", reading)]
    shown_slides(page, tmp_path, slide("slide", new_markdown_cell("# A deck")), *cells)
    boxes = page.evaluate("""() => ['.pair .figure img', '.pair .reading'].map(part => {
        const {left, right} = document.querySelector(part).getBoundingClientRect();
        return [left, right];
    })""")
    assert boxes[0][1] < boxes[1][0] and boxes[0][1] - boxes[0][0] > 640


@pytest.mark.slow
def test_what_is_too_long_for_a_slide_goes_on_on_the_next_and_nothing_is_lost(tmp_path, page):
    lines = [
        f"value_{number} = compute({number})  " + "# remark " * (8 if number % 9 == 0 else 0)
        for number in range(90)
    ]
    printed = "\n".join(f"row {number}: " + "x" * (number % 150) for number in range(70))
    items = "\n".join(f"- point {number} " + "and more words " * 8 for number in range(40))
    rows = ["".join(f"<td>cell {row}.{column}</td>" for column in range(5)) for row in range(60)]
    table = (
        "<table><thead><tr><th>head</th></tr></thead>"
        + "".join(f"<tr>{row}</tr>" for row in rows)
        + "</table>"
    )
    groups = "".join(
        f"<tbody><tr><th rowspan='6'>group {group}</th></tr>"
        + "".join(f"<tr><td>member {group}.{row}</td></tr>" for row in range(5))
        + "</tbody>"
        for group in range(9)
    )
    cells = [
        slide("slide", new_markdown_cell("# Long\n\n" + items)),
        slide(
            "fragment",
            new_code_cell(
                "\n".join(lines),
                outputs=[
                    new_output("stream", text=printed),
                    new_output("display_data", {"text/html": table}),
                    new_output("display_data", {"text/html": f"<table>{groups}</table>"}),
                ],
            ),
            "show-code",
        ),
        slide("slide", new_markdown_cell("## End")),
    ]
    path = tmp_path / "long.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata={"language_info": {"name": "python"}}), path)
    [deck] = build_slides.build([path], tmp_path / "slides")
    slides = build_slides.measure(page, deck)
    assert not [each for each in slides if each["problems"]]
    shown = page.evaluate("() => Reveal.getSlides().map(slide => slide.textContent).join('\\n')")
    for text in (
        *(line.strip() for line in lines),
        *printed.splitlines(),
        "point 0 ",
        "point 39 ",
        *(f"cell {row}.4" for row in range(60)),
        *(f"member {group}.4" for group in range(9)),
    ):
        assert text in shown, text
    assert shown.count("value_89 =") == shown.count("cell 59.4") == shown.count("member 8.4") == 1
    assert shown.count("head") > 1, "every part of a table has its head"


@pytest.mark.slow
def test_what_does_not_fit_would_be_found(tmp_path, page):
    path = tmp_path / "wide.ipynb"
    wide = "<table><tr>" + "<td>aword</td>" * 120 + "</tr></table>"
    cell = new_code_cell("wide", outputs=[new_output("display_data", {"text/html": wide})])
    nbformat.write(
        new_notebook(cells=[slide("slide", new_markdown_cell("# Wide")), slide("slide", cell)]),
        path,
    )
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
