"""What site and slides are made with: titles, tables, figures, text of slides, a site's folder."""

import base64
import io
import json
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

import site_notebook
from figures import clip_path, figure, pictures_within
from pages import HERE, NOTEBOOKS, plain, shortened, titles
from site_folder import MANIFEST, contents, exchange, is_fresh, manifest, synchronise
from slide_text import MOST_WORDS, count_words, split_notes
from tables import tidy_tables

PANDAS = """<div><style scoped>.dataframe thead th {text-align: right;}</style>
<table border="1" class="dataframe"><thead>
<tr style="text-align: right;"><th></th><th>name</th><th>seeds</th></tr></thead>
<tbody><tr><th>0</th><td>SGD</td><td>8</td></tr>
<tr><th>1</th><td>Adam</td><td>16</td></tr></tbody></table></div>"""
NAMED = """<table border="1" class="dataframe"><thead>
<tr><th></th><th>gain</th></tr><tr><th>arm</th><th></th></tr></thead>
<tbody><tr><th>dropout</th><td>+0.5 points [+0.1, +0.9]</td></tr></tbody></table>"""


def png(image):
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


# ---- titles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "heading", ["Batch size", "05 Batch size", "05 · Batch size", "5. Batch size", "05: Batch size"]
)
def test_every_title_follows_one_pattern_however_a_heading_is_written(tmp_path, heading):
    (tmp_path / "solutions").mkdir()
    for name, text in (
        ("05_batch_size", heading),
        ("solutions/05_batch_size_solutions", "Answers"),
    ):
        notebook = new_notebook(cells=[new_markdown_cell(f"# {text}\n\n## A section")])
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    assert list(titles(tmp_path).values()) == ["05 · Batch size", "05 · Batch size: solutions"]


def test_the_course_has_a_title_for_each_notebook_with_its_files_number():
    for path, title in titles(NOTEBOOKS).items():
        assert re.match(rf"{path.name[:2]} · [^\d·]", title), title


def test_a_notebook_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "01_broken.ipynb").write_text("<<<<<<< HEAD\n{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"01_broken\.ipynb"):
        titles(tmp_path)


# ---- tables --------------------------------------------------------------------------------------


def test_a_table_loses_its_counting_column_and_heads_stand_over_their_columns():
    text = tidy_tables(PANDAS)
    assert "<th>0</th>" not in text and "style" not in text and "border" not in text
    assert re.findall(r'class="number">([^<]*)<', text) == ["seeds", "8", "16"]
    assert "<th>name</th>" in text and '<div class="table">' in text


def test_the_name_of_an_index_joins_the_other_heads_and_no_head_is_empty():
    text = tidy_tables(NAMED)
    assert text.count("<tr>") == 2 and "<th>arm</th>" in text and 'number">gain' in text
    assert not re.search(r"<th[^>]*></th>", tidy_tables(PANDAS) + text)


def test_an_index_that_says_something_stays():
    labels = PANDAS.replace("<th>0</th>", "<th>first</th>").replace("<th>1</th>", "<th>second</th>")
    assert ">first</th>" in tidy_tables(labels) and "<td></td>" in tidy_tables(labels)


def test_links_to_notebooks_lead_to_pages_and_others_stay():
    text = tidy_tables("<a href='../05_x.ipynb#part'>a</a><a href='https://x.org/y.ipynb'>b</a>")
    assert 'href="../05_x.html#part"' in text and 'href="https://x.org/y.ipynb"' in text


# ---- figures -------------------------------------------------------------------------------------


def plot_with_heat_map():
    """A white figure with a dark line, letters, a pale area, and a heat map at (60, 40)."""
    pixels = np.full((200, 400, 3), 255, np.uint8)
    pixels[100:102, 220:380] = (0, 114, 178)
    pixels[20:30, 20:26] = pixels[20:30, 30:36] = 0
    pixels[60:160, 250:350] = (220, 235, 245)
    cells = np.random.default_rng(0).integers(0, 255, (8, 12, 3)).repeat(10, 0).repeat(10, 1)
    pixels[40:120, 60:180] = cells
    pixels[40:120, 60:180][::10] = 255  # thin white lines between the cells
    return Image.fromarray(pixels)


def test_pictures_within_a_figure_are_told_from_lines_letters_and_shading():
    [(left, top, right, bottom)] = pictures_within(plot_with_heat_map())
    assert (left, right, bottom) == (60, 180, 120) and top in (40, 41)


def test_a_clip_path_returns_to_the_corner_after_each_box():
    path = clip_path([(0, 0, 10, 20), (50, 50, 100, 100)], (100, 200))
    assert path.count("0 0") == 0 or path.endswith("0 0)")
    assert path.startswith("polygon(evenodd,0.00% 0.00%") and path.count("%,") == 12


def test_a_figure_knows_its_size_says_what_it_shows_and_is_stored_once():
    stored = {}
    picture = png(plot_with_heat_map())
    for _ in range(2):
        text = figure(picture, 'a "heat" map <b>', stored.__setitem__, "../")
    [name] = stored
    assert (
        stored[name] == picture
        and f'src="../{name}"' in text
        and 'alt="a &quot;heat&quot; map &lt;b&gt;"' in text
    )
    assert 'width="400" height="200"' in text and "clip-path:polygon" in text
    assert 'width="200" height="100"' in figure(picture, "", stored.__setitem__, "", width=200)


# ---- text of slides ------------------------------------------------------------------------------


def test_a_long_text_is_cut_at_a_sentence():
    assert shortened("One. Two is longer. Three.", 20) == "One. Two is longer."
    assert shortened("word " * 50, 20).endswith(" ...")
    assert plain("**Bold** `code` [link](a.html) <b>x</b> &amp; y_1") == "Bold code link x & y_1"


def test_an_author_marks_where_the_notes_begin():
    assert split_notes("Seen.\n\n<!-- notes -->\n\nHeard.") == ("Seen.", "Heard.")
    assert split_notes("Short. And whole.") == ("Short. And whole.", "")


def test_what_is_too_long_for_a_slide_is_cut_at_a_sentence_and_stands_in_the_notes_in_full():
    paragraph = "**What you should see.** " + "Three basins, e.g. A and B, with one floor. " * 12
    seen, notes = split_notes(f"## A heading\n\nA first one.\n\n{paragraph}\n\nA last one.")
    assert seen.startswith(
        "## A heading\n\nA first one.\n\n**What you should see.** Three basins, e.g. A and B, with"
    )
    assert seen.endswith("one floor.") and count_words(seen) <= MOST_WORDS < count_words(notes)
    assert notes == f"{paragraph}\n\nA last one."


def test_a_heading_within_a_cell_begins_a_new_slide_with_room_of_its_own():
    seen, notes = split_notes("Word. " * 70 + "\n\n### Next\n\nShort.")
    assert seen.endswith("### Next\n\nShort.") and notes.startswith("Word.")


def test_a_list_keeps_its_first_items_and_what_announces_it_goes_with_it():
    items = "\n".join(f"- item {number} " + "word " * 20 for number in range(4))
    seen, notes = split_notes(items)
    assert seen.count("- item") == 2 and notes.count("- item") == 4
    seen, notes = split_notes(
        "Why. " * 40 + "You will be able to\n\n" + items.replace("- item 0", "- " + "long " * 9)
    )
    assert seen.endswith("Why.") and "You will" not in seen and notes.count("item") == 3


def test_one_sentence_that_is_too_long_is_shown_whatever_it_takes_and_a_bold_title_alone_is_not():
    long = "word " * 80 + "end."
    assert split_notes(long)[0] == long.strip()
    assert split_notes(f"Short.\n\n**Why.** {long}")[0] == "Short."


# ---- notebooks as pages --------------------------------------------------------------------------


def test_results_behind_a_question_are_folded_and_a_lab_is_its_picture_or_its_recording(tmp_path):
    def notebook():
        picture = new_output(
            "display_data", {"image/png": base64.b64encode(png(plot_with_heat_map())).decode()}
        )
        hidden = new_code_cell(
            "run()",
            outputs=[new_output("stream", text="42")],
            metadata={"jupyter": {"outputs_hidden": True}},
        )
        lab = new_code_cell(
            "lab",
            outputs=[picture, new_output("display_data", {"text/markdown": "Run this cell"})],
            metadata={"tags": ["lab"]},
        )
        return new_notebook(
            cells=[
                new_markdown_cell("# A"),
                hidden,
                lab,
                new_markdown_cell("What it shows is told here."),
            ]
        )

    stored = {}
    page = notebook()
    site_notebook.prepare(page, "05 · A", "05_a", "../", stored.__setitem__, tmp_path)
    assert page.cells[0].source == "# 05 · A"
    assert "hide-output" in page.cells[1].metadata.tags
    assert page.cells[1].metadata.mystnb.code_prompt_show == "Show what came out"
    assert "remove-input" in page.cells[2].metadata.tags and len(page.cells[2].outputs) == 1
    assert "What it shows is told here." in page.cells[2].outputs[0].data["text/html"]
    assert "In the notebook a lab stands here" in page.cells[3].source
    recording = tmp_path / "05_a-1"
    recording.mkdir()
    (recording / "lab.html").write_text(
        "<div class='lab'><img src='{folder}/0.png' alt='…'></div>", encoding="utf-8"
    )
    (recording / "0.png").write_bytes(b"png")
    page = notebook()
    site_notebook.prepare(page, "05 · A", "05_a", "../", stored.__setitem__, tmp_path)
    assert "src='../labs/05_a-1/0.png'" in page.cells[2].outputs[0].data["text/html"]
    assert stored["labs/05_a-1/0.png"] == b"png" and len(page.cells) == 4


def test_a_page_shows_the_questions_of_a_self_test_without_the_call_and_reproaches_nobody(tmp_path):
    none = {
        "text/plain": "No guess of this lesson is in your record yet.",
        "text/html": "<p>No</p>",
    }
    shown = [
        new_output("display_data", none),
        new_output("display_data", {"text/html": "<p>1</p>"}),
    ]
    cells = [new_markdown_cell("# A"), new_code_cell('self_test("05")', outputs=shown)]
    page = new_notebook(cells=[*cells, new_code_cell("x = self_test(1)")])
    site_notebook.prepare(page, "05 · A", "05_a", "../", {}.__setitem__, tmp_path)
    assert [output.data["text/html"] for output in page.cells[1].outputs] == ["<p>1</p>"]
    assert "hide-input" in page.cells[1].metadata.tags
    assert "hide-input" not in page.cells[2].metadata.tags


def test_the_pages_are_published_from_wherever_the_workflow_runs():
    workflow = (HERE / ".github" / "workflows" / "pages.yml").read_text(encoding="utf-8")
    assert "${{ github.server_url }}/${{ github.repository }}" in workflow
    assert not re.search(r"https?://|github\.com", workflow)


# ---- the folder of a site ------------------------------------------------------------------------


@pytest.fixture
def built(tmp_path):
    folder = tmp_path / "built"
    (folder / "deep").mkdir(parents=True)
    (folder / "index.html").write_text("new", encoding="utf-8")
    (folder / "deep" / "page.html").write_text("page", encoding="utf-8")
    (folder / "unused.css").write_text("", encoding="utf-8")
    return folder


def test_a_site_takes_the_place_of_an_older_one(tmp_path, built):
    target = tmp_path / "site"
    exchange({"": built}, target, "first", ("unused.*",))
    assert contents(target) == {"deep/page.html": 4, "index.html": 3} and is_fresh(target, "first")
    (built / "deep" / "page.html").unlink()
    exchange({"": built, "slides": built / "deep"}, target, "second", ("unused.*",))
    assert contents(target) == {"index.html": 3} and not is_fresh(target, "first")
    (target / "index.html").write_text("cut", encoding="utf-8")
    assert is_fresh(target, "second")  # sizes are compared, and
    (target / "index.html").unlink()
    assert not is_fresh(target, "second")  # a site that has lost a page is none
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("case", ["unrelated", "added", "file", "damaged"])
def test_a_folder_that_is_not_a_site_of_ours_is_refused_and_stays_as_it_is(tmp_path, built, case):
    target = tmp_path / "site"
    if case == "file":
        target.write_text("mine", encoding="utf-8")
    else:
        if case != "unrelated":
            exchange({"": built}, target, "first")
        target.mkdir(exist_ok=True)
        (target / (MANIFEST if case == "damaged" else "thesis.tex")).write_text(
            "mine", encoding="utf-8"
        )
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for act in (lambda: manifest(target), lambda: exchange({"": built}, target, "second")):
        with pytest.raises(SystemExit, match="site.*(Name a new or empty folder)"):
            act()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_exchange_that_fails_leaves_the_old_site(tmp_path, built, monkeypatch):
    target = tmp_path / "site"
    exchange({"": built}, target, "first")
    with pytest.raises(FileNotFoundError):
        exchange({"": tmp_path / "missing"}, target, "second")
    assert is_fresh(target, "first")
    moves = iter([os.replace, None, os.replace])  # away with the old, the new refused, back

    def move(source, destination):
        if (real := next(moves)) is None:
            raise PermissionError("in use")
        real(source, destination)

    monkeypatch.setattr("site_folder.os", SimpleNamespace(replace=move))
    with pytest.raises(PermissionError):
        exchange({"": built}, target, "second")
    assert is_fresh(target, "first")


def test_what_is_as_it_should_be_is_not_touched(tmp_path):
    synchronise({"a/b.md": b"1", "c.md": b"2"}, tmp_path / "s")
    old = (tmp_path / "s" / "c.md").stat().st_mtime_ns
    synchronise({"a/b.md": b"changed", "c.md": b"2"}, tmp_path / "s")
    assert (tmp_path / "s" / "a" / "b.md").read_bytes() == b"changed"
    assert (tmp_path / "s" / "c.md").stat().st_mtime_ns == old
    synchronise({"c.md": b"2"}, tmp_path / "s")
    assert not (tmp_path / "s" / "a" / "b.md").exists()
