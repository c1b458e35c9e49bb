"""`make hand-in`: one file, said to hold what it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

import hand_in as tool
from course_utils.classroom.hand_in import read
from course_utils.classroom.record import note_guess, note_pass

MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"


@pytest.fixture
def course(tmp_path, monkeypatch):
    (tmp_path / "03_a.ipynb").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    note_pass("03.1")
    note_pass("03.2")
    note_guess("03.widest", {"question": "Which?", "guess": "SGD"})
    return tmp_path


def test_it_writes_one_file_and_says_what_it_holds(course, capsys):
    before = set(course.iterdir())
    assert tool.main(["Ann Lee"]) == 0
    assert set(course.iterdir()) - before == {course / "ann-lee.record.json"}
    record = read(course / "ann-lee.record.json")
    assert record.name == "Ann Lee" and record.passed == ("03.1", "03.2")
    said = capsys.readouterr().out
    assert "2 passed exercises, 1 guesses and 0 answers" in said
    assert "Nothing was sent" in said and str(course) not in said


def test_the_file_can_be_named(course, capsys):
    assert tool.main(["Ann", "--path", "mine.record.json"]) == 0
    assert read(course / "mine.record.json").name == "Ann"


@pytest.mark.parametrize("name", ["", "   ", "x" * 61])
def test_without_a_name_nothing_is_written(course, capsys, name):
    assert tool.main([name]) == 1
    assert not list(course.glob("*.record.json"))
    assert "Nothing was written" in capsys.readouterr().out


def test_make_knows_it():
    text = MAKEFILE.read_text(encoding="utf-8")
    assert 'tools/hand_in.py "$(NAME)"' in text and "make hand-in " in text
