"""What is passed stays passed: through interruptions, damaged files, and two notebooks at once."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_utils import progress as module
from course_utils.classroom.progress import Progress, exercises, load, normalised, progress, record

HERE = Path(__file__).resolve().parent.parent
NOTEBOOKS = HERE / "notebooks"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "progress.json"


def test_what_is_recorded_is_found_again(file):
    for exercise in ("02.1", "2.1 step by epoch", "7.3", "a puzzle"):
        record(exercise, file.parent)
    assert list(load(file)) == ["02.1", "07.3", "a puzzle"]


def test_the_first_pass_counts(file):
    record("02.1", file.parent)
    before = file.read_bytes()
    record("2.1", file.parent)
    assert file.read_bytes() == before


@pytest.mark.parametrize(("name", "means"), [("0.1", "00.1"), ("00.1", "00.1"), ("10.12 long", "10.12"), ("none", "none")])
def test_one_exercise_has_one_name(name, means):
    assert normalised(name) == means


@pytest.mark.parametrize("damage", [
    b"", b"{", b"\xff\xfe\x00", b"[]", b"null", b'{"passed": {}}', b'{"version": 1}', b'{"version": 2, "passed": {}}',
    b'{"version": 1, "passed": ["02.1"]}', b'{"version": 1, "passed": {"02.1": 3}}',
])
def test_a_damaged_file_is_set_aside_and_said_so(file, damage):
    file.write_bytes(damage)
    with pytest.warns(UserWarning, match=r"progress\.json was damaged .* progress\.json\.damaged-1"):
        record("02.1", file.parent)
    assert file.with_name("progress.json.damaged-1").read_bytes() == damage
    assert list(load(file)) == ["02.1"]
    file.write_bytes(b"again")
    with pytest.warns(UserWarning, match="damaged-2"):
        assert progress(file.parent).passed == {}
    assert file.with_name("progress.json.damaged-1").read_bytes() == damage, "the first one is still there"


def test_a_half_written_file_never_takes_the_place_of_a_whole_one(file, monkeypatch):
    record("02.1", file.parent)
    whole = file.read_bytes()

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        record("02.2", file.parent)
    assert file.read_bytes() == whole
    assert not [path for path in file.parent.iterdir() if "unfinished" in path.name]


def test_a_file_that_cannot_be_read_is_not_taken_for_an_empty_one(file):
    file.mkdir()
    with pytest.raises(OSError):
        record("02.1", file.parent)
    assert file.is_dir()


@pytest.mark.slow
def test_two_notebooks_that_pass_at_once_lose_nothing(file):
    program = ("import sys; from course_utils.classroom.progress import record\n"
               "for number in range(20): record(f'{sys.argv[1]}.{number}', sys.argv[2])")
    writers = [subprocess.Popen([sys.executable, "-c", program, number, str(file.parent)], cwd=HERE) for number in "12"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert len(load(file)) == 40


@pytest.mark.slow
def test_a_pass_in_a_kernel_is_noted_beside_the_notebook(tmp_path):
    cells = [new_code_cell("from course_utils import check\ncheck('03.2 of mine', [(True, '')])")]
    NotebookClient(new_notebook(cells=cells), kernel_name="python3", timeout=120,
                   resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert list(load(tmp_path / "progress.json")) == ["03.2"]


def test_open_exercises_are_shown_beside_the_passed_ones(tmp_path):
    exercise = [new_code_cell("answer = 1\ncheck_it(answer)", metadata={"tags": ["exercise"]}) for _ in range(3)]
    other = [new_markdown_cell("check_it", metadata={"tags": ["exercise"]}), new_code_cell("check_it(2)")]
    nbformat.write(new_notebook(cells=exercise + other), tmp_path / "02_rates.ipynb")
    nbformat.write(new_notebook(cells=other), tmp_path / "10_without.ipynb")
    record("02.2", tmp_path)
    shown = progress(tmp_path)
    assert shown.exercises == {"02_rates": ["02.1", "02.2", "02.3"]}
    assert repr(shown) == "1 of 3 exercises passed\n02_rates  1 of 3  · 2 ·"
    assert "1 of 3" in shown._repr_html_() and "02 rates" in shown._repr_html_()


def test_nothing_to_show_is_shown_too():
    assert repr(Progress({}, {})) == "0 of 0 exercises passed"


def test_every_exercise_of_the_course_has_a_check_of_its_number():
    """Else a pass would count for an exercise that progress() does not know."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (HERE / "course_utils" / "topics").glob("*.py"))
    checks = {normalised(name) for name in re.findall(r'\bcheck\(\s*f?"(\d+\.\d+[^"]*)"', sources)}
    for notebook, names in exercises(NOTEBOOKS).items():
        own = {name for name in checks if name.startswith(notebook[:2])}
        assert set(names) == own, f"{notebook}: cells tagged exercise {names}, checks {sorted(own)}"


def test_git_ignores_what_progress_writes():
    lines = (HERE / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "notebooks/**/progress.json*" in lines


def test_the_file_is_plain_json(file):
    record("02.1", file.parent)
    data = json.loads(file.read_text(encoding="utf-8"))
    assert data["version"] == 1 and list(data["passed"]) == ["02.1"]
