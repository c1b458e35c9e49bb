"""Recorded labs: what is recorded, when it is recorded again, and what a page does with it."""

import itertools
import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import build_site
import record_labs
import recording
from course_utils.classroom.controls import choice, slider, switch
from course_utils.classroom.lab import Lab
from course_utils.classroom.picture import Picture
from headless import axe_script, axe_violations
from pages import NOTEBOOKS, tags
from test_site import look, server, window  # noqa: F401  (a fixture)


def tiny_lab(ran=None):
    """A lab that trains nothing: a line of a slope, which depends on three controls."""

    def run(values):
        if ran is not None:
            ran.append(dict(values))
        yield dict(values)

    def draw(axes, values, earlier):
        height = values["slope"] * (2 if values["double"] else 1)
        axes[0].plot([0, 1], [0, height], color=values["colour"])

    controls = {
        "slope": slider("slope", [0.1, 0.2, 0.3, 0.4], 0.2),
        "colour": choice("colour", ["red", "blue", "grey"], "red"),
        "double": switch("twice"),
    }
    return Lab(
        controls,
        run,
        Picture(lambda axes: axes[0].set_ylim(0, 1), size=(4, 2), columns=1),
        draw,
        lambda values: f"slope {values['slope']}, {values['colour']}, {values['double']}",
        name="a line through the origin",
        code=lambda values: f"draw({values['slope']})",
        table=lambda values: [["what", "is"], ["slope", values["slope"]]],
    )


# ---- which settings ------------------------------------------------------------------------------


def test_all_settings_are_recorded_where_there_is_room_with_the_start_first():
    chosen = recording.settings([4, 3, 2], (1, 0, 0), most=24)
    assert chosen[0] == (1, 0, 0)
    assert sorted(chosen) == [*itertools.product(range(4), range(3), range(2))]


def test_else_each_control_alone_and_the_first_two_together_or_their_corners():
    pairs = recording.settings([4, 3, 2], (1, 0, 0), most=23)
    assert set(pairs) == {(a, b, 0) for a in range(4) for b in range(3)} | {(1, 0, 1)}
    corners = recording.settings([4, 3, 2], (1, 0, 0), most=10)
    alone = {(a, 0, 0) for a in range(4)} | {(1, b, 0) for b in range(3)} | {(1, 0, 1)}
    assert set(corners) == alone | {(0, 2, 0), (3, 2, 0)}  # the other two corners are at the start
    assert len(corners) == len(set(corners))


def test_every_lab_of_the_course_but_the_games_has_a_name_for_its_recording():
    named = [
        name for path in sorted(NOTEBOOKS.glob("*.ipynb")) for name in record_labs.names_of(path)
    ]
    count = sum(
        "lab" in tags(cell)
        for path in NOTEBOOKS.glob("*.ipynb")
        for cell in nbformat.read(path, as_version=4).cells
    )
    assert len(named) == count - len(record_labs.GAMES) and count > 10
    assert not record_labs.GAMES & set(named)


def test_what_a_recording_depends_on_gives_its_key(tmp_path):
    path = tmp_path / "05_small.ipynb"
    keys = set()
    for words in ("a", "b"):
        cells = [new_code_cell(f"lab = {words!r}", metadata={"tags": ["lab"]})]
        nbformat.write(new_notebook(cells=cells), path)
        keys.add(record_labs.made_from(path))
        assert record_labs.made_from(path) in keys  # the same each time
    assert len(keys) == 2


# ---- recording -----------------------------------------------------------------------------------


def test_a_recording_has_every_setting_and_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    folder, ran = tmp_path / "labs" / "05_small-1", []
    written = recording.write_files
    monkeypatch.setattr(record_labs, "write_files", lambda *_: (_ for _ in ()).throw(OSError()))
    with pytest.raises(OSError):
        record_labs.record(tiny_lab(ran), folder, "key")
    assert not folder.exists()
    monkeypatch.setattr(record_labs, "write_files", written)
    again = []
    size = record_labs.record(tiny_lab(again), folder, "key")
    assert len(ran) == 1 + 24 and len(again) == 1  # the one with which every lab begins
    assert size == sum(path.stat().st_size for path in folder.iterdir())
    assert record_labs.is_current(folder, "key") and not record_labs.is_current(folder, "other")
    text = (folder / "recording.js").read_text(encoding="utf-8")
    stored = json.loads(text.partition("] = ")[2].removesuffix(";\n"))
    assert len(stored["states"]) == 24 and "all 24 settings" in stored["about"]
    assert stored["states"]["3,1,1"]["text"] == "slope 0.4, blue, True"
    assert stored["states"]["3,1,1"]["code"] == "draw(0.4)"
    assert stored["states"]["3,1,1"]["table"][1] == ["slope", "0.4"]
    pictures = {(folder / each["picture"]).read_bytes() for each in stored["states"].values()}
    assert len(pictures) == 6 * 3  # slope 0.2 twice is slope 0.4, and 0.1 twice is 0.2


def test_a_recording_that_is_too_heavy_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="at most 1,000 bytes"):
        record_labs.record(tiny_lab(), tmp_path / "labs" / "05_small-1", "key")


# ---- on a page -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[recording.MOST_SETTINGS, 10], ids=["all", "some"])
def site(request, tmp_path_factory):
    """A site of one lesson with a recorded lab, far down on its page."""
    folder = tmp_path_factory.mktemp("recorded")
    record_labs.record(tiny_lab(), folder / "labs" / "05_small-1", "key", request.param)
    (folder / "notebooks").mkdir()
    cells = [
        new_markdown_cell("# 5 A small lesson\n\n" + "A line of text.\n\n" * 60),
        new_code_cell("lab", metadata={"tags": ["lab"]}),
    ]
    notebook = new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})
    nbformat.write(notebook, folder / "notebooks" / "05_small.ipynb")
    return build_site.build(
        folder / "html", folder / "notebooks", folder / "cache", recordings=folder / "labs"
    ).parent


@pytest.mark.slow
@pytest.mark.parametrize("way", ["files", "server"])
def test_every_control_of_a_recorded_lab_shows_another_picture(site, window, way):  # noqa: F811
    with server(site) as address:
        top = site.as_uri() + "/" if way == "files" else address
        look(window, f"{top}notebooks/05_small.html")
        assert window.locator(".lab-recording > img").count() == 1
        assert window.evaluate("() => typeof courseLab") == "undefined"  # nothing loads in advance
        window.locator(".lab-recording").scroll_into_view_if_needed()
        window.wait_for_selector(".lab-recording .course-lab")
        status, picture = window.locator(".status"), window.locator(".shown img")
        assert status.inner_text() == "slope 0.2, red, False"
        seen = {picture.get_attribute("src")}

        def moved(text):
            window.wait_for_function("() => document.querySelector('.shown img').naturalWidth > 0")
            assert status.inner_text().startswith(text)
            assert picture.get_attribute("src") not in seen
            assert picture.get_attribute("alt").startswith(f"a line through the origin. {text}")
            seen.add(picture.get_attribute("src"))

        window.locator("input[type=range]").press("ArrowRight")
        moved("slope 0.3, red, False")
        assert window.locator("input[type=range]").get_attribute("aria-valuetext") == "0.3"
        assert window.locator(".course-lab pre").inner_text() == "draw(0.3)"
        window.locator("select").select_option(label="grey")
        whole = "slope 0.3, grey, False" in status.inner_text()
        moved("slope 0.3, grey, False" if whole else "slope 0.2, grey, False")
        assert whole or "slope, which moved back" in status.inner_text()
        window.locator("input[type=checkbox]").check()
        moved("slope 0.3, grey, True" if whole else "slope 0.2, red, True")
        window.get_by_role("button", name="Reset").click()
        assert status.inner_text() == "slope 0.2, red, False"
        assert "Recorded on" in window.locator(".about").inner_text()
        assert not window.problems
        for theme in ("light", "dark") if (script := axe_script()) else ():
            window.emulate_media(color_scheme=theme)
            assert axe_violations(window, script, ".lab-recording") == []
