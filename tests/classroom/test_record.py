"""What is passed stays passed: through interruptions, damaged files, copies, and several notebooks at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_utils import files
from course_utils.classroom.progress import Progress, exercises, progress
from course_utils.classroom.record import (
    changing,
    load,
    normalised,
    note_guess,
    note_pass,
    notebooks_folder,
    record_path,
)

HERE = Path(__file__).resolve().parents[2]
EXERCISE = [new_code_cell("answer = 1\ncheck_it(answer)", metadata={"tags": ["exercise"]})]


def lesson(path, count=1, more=()):
    nbformat.write(new_notebook(cells=EXERCISE * count + list(more)), path)


@pytest.fixture
def file(tmp_path):
    lesson(tmp_path / "02_rates.ipynb", 3)
    return tmp_path / "progress.json"


def passed(file):
    return load(file)["passed"]


def test_what_is_recorded_is_found_again_and_the_first_pass_counts(file):
    for exercise in ("02.1", "7.3", "a puzzle"):
        note_pass(exercise, file.parent)
    assert list(passed(file)) == ["02.1", "07.3", "a puzzle"]
    before = file.read_bytes()
    note_pass("2.1", file.parent)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "means"),
    [("0.1", "00.1"), ("00.1", "00.1"), ("10.12 long", "10.12"), ("none", "none")],
)
def test_one_exercise_has_one_name(name, means):
    assert normalised(name) == means


def test_passes_of_the_first_edition_are_kept(file):
    file.write_text(
        '{"version": 1, "passed": {"02.1": "2026-01-01T10:00:00+01:00"}}', encoding="utf-8"
    )
    note_guess("02.q", {"guess": "a"}, file.parent)
    assert (
        list(passed(file)) == ["02.1"]
        and json.loads(file.read_text(encoding="utf-8"))["version"] == 2
    )


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"passed": {}}',
        b'{"version": 9}',
        b'{"version": 2, "passed": ["02.1"]}',
        b'{"version": 2, "guesses": 3}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_set_aside_and_said_so(file, damage):
    file.write_bytes(damage)
    with pytest.warns(
        UserWarning, match=r"progress\.json was damaged .* progress\.json\.damaged-1"
    ):
        note_pass("02.1", file.parent)
    assert file.with_name("progress.json.damaged-1").read_bytes() == damage
    assert list(passed(file)) == ["02.1"]


def test_a_half_written_file_never_takes_the_place_of_a_whole_one(file, monkeypatch):
    note_pass("02.1", file.parent)
    whole = file.read_bytes()

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        note_pass("02.2", file.parent)
    assert file.read_bytes() == whole
    assert not [path for path in file.parent.iterdir() if "unfinished" in path.name]


def test_a_file_that_cannot_be_read_is_not_taken_for_an_empty_one(file):
    file.mkdir()
    with pytest.raises(OSError):
        note_pass("02.1", file.parent)
    assert file.is_dir()


def test_an_error_while_changing_changes_nothing(file):
    note_pass("02.1", file.parent)
    whole = file.read_bytes()
    with pytest.raises(ZeroDivisionError), changing(file.parent) as record:
        record["passed"].clear()
        raise ZeroDivisionError
    assert file.read_bytes() == whole


@pytest.mark.slow
def test_two_notebooks_that_pass_at_once_lose_nothing(file):
    program = (
        "import sys; from course_utils.classroom.record import note_pass\n"
        "for number in range(20): note_pass(f'{sys.argv[1]}.{number}', sys.argv[2])"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, number, str(file.parent)], cwd=HERE)
        for number in "12"
    ]
    assert [writer.wait(600) for writer in writers] == [0, 0]
    assert len(passed(file)) == 40


@pytest.mark.slow
def test_a_pass_in_a_kernel_is_noted_beside_the_notebook(file):
    cells = [
        new_code_cell(
            "from course_utils.classroom.check import exercise\n"
            "@exercise('03.2')\ndef check_it(answer):\n    yield answer, 'no'\ncheck_it(True)"
        )
    ]
    NotebookClient(
        new_notebook(cells=cells),
        kernel_name="python3",
        timeout=120,
        resources={"metadata": {"path": str(file.parent)}},
    ).execute()
    assert list(passed(file)) == ["03.2"]


# From any folder, among other files


def test_the_lessons_are_found_from_wherever_a_notebook_was_started(tmp_path, monkeypatch):
    notebooks = tmp_path / "course" / "notebooks"
    (notebooks / "solutions").mkdir(parents=True)
    lesson(notebooks / "02_rates.ipynb")
    for start in (notebooks, notebooks.parent, notebooks / "solutions"):
        assert notebooks_folder(start) == notebooks
        monkeypatch.chdir(start)
        assert record_path() == notebooks / "progress.json" and list(exercises()) == ["02_rates"]
    monkeypatch.chdir(tmp_path)  # nowhere near: the course's own
    assert notebooks_folder() == HERE / "notebooks"


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_where_the_folder_may_not_be_written_the_home_folder_keeps_the_record(
    file, monkeypatch, tmp_path_factory
):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setattr(Path, "home", lambda: home)
    file.parent.chmod(0o500)
    note_pass("02.1", file.parent)
    file.parent.chmod(0o700)
    assert list(passed(home / ".tuning-course" / "progress.json")) == ["02.1"]


def test_a_folder_that_refuses_to_be_written_is_replaced_by_home(
    file, monkeypatch, tmp_path_factory
):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setattr("course_utils.classroom.record.os.access", lambda *_: False)
    note_pass("02.1", file.parent)
    assert not file.exists() and list(passed(home / ".tuning-course" / "progress.json")) == ["02.1"]
    assert progress(file.parent).summary == "1 of 3 exercises passed"


@pytest.mark.parametrize(
    "contents", ["<<<<<<< HEAD\n{}\n=======\n", "", "[]", '{"cells": 3}', '{"cells": [3]}', "\0"]
)
def test_a_file_that_is_no_notebook_is_named_and_left_out(file, contents):
    (file.parent / "03_broken.ipynb").write_text(contents, encoding="utf-8")
    with pytest.warns(UserWarning, match=r"03_broken\.ipynb cannot be read"):
        assert list(exercises(file.parent)) == ["02_rates"]


def test_a_copy_brings_no_exercises_of_its_own(file):
    for name in ("02_rates-Copy1.ipynb", "02_rates_mine.ipynb", "02_rates (1).ipynb"):
        lesson(file.parent / name, 5)
    lesson(file.parent / "02_note.ipynb", 0)
    assert exercises(file.parent) == {"02_rates": ["02.1", "02.2", "02.3"]}


def test_open_exercises_are_shown_beside_the_passed_ones(file):
    other = [
        new_markdown_cell("check_it", metadata={"tags": ["exercise"]}),
        new_code_cell("check_it(2)"),
    ]
    lesson(file.parent / "10_without.ipynb", 0, other)
    note_pass("02.2", file.parent)
    shown = progress(file.parent)
    assert shown.exercises == {"02_rates": ["02.1", "02.2", "02.3"]}
    assert repr(shown) == "1 of 3 exercises passed\n02 rates  1 of 3  ○ 1  ✔ 2  ○ 3"
    page = shown._repr_html_()
    assert "1 of 3" in page and "02 rates" in page and "✔ passed, ○ not yet" in page


def test_names_of_files_are_escaped(tmp_path):
    lesson(tmp_path / "02_<b>rates.ipynb")
    assert "<b>rates" not in progress(tmp_path)._repr_html_()


def test_nothing_to_show_is_shown_too():
    assert repr(Progress({}, {})) == "0 of 0 exercises passed"


def test_git_ignores_what_progress_writes():
    assert (
        "notebooks/**/progress.json*"
        in (HERE / ".gitignore").read_text(encoding="utf-8").splitlines()
    )
