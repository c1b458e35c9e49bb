"""The teacher's plan adds up, and names what is there: lessons, labs, questions, wrong answers."""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from course_utils.lessons.clinic.ward import deal
from stored import NOTEBOOKS, tags

DOCS = Path(__file__).resolve().parents[1] / "docs"
TEXT = (DOCS / "TEACHING.md").read_text(encoding="utf-8")
COMPUTING_SHARE = 0.1  # of the minutes in class that may pass while a cell computes
QUESTION, LAB = re.compile(r"`(\d\d\.[\w-]+)`"), re.compile(r"`(\w+_lab)`")
HALF_DAY, TIMES = "Half a day", "How long things take"
LESSONS = tuple(re.findall(r"^### (Lesson \d.*)$", TEXT, re.MULTILINE))
SEMESTER, MARKS, WRONG = "A semester with a project", "Marking sheet", "The usual wrong answers"


@dataclass(frozen=True)
class Asked:
    """One question of a notebook; options and result are None where they are not plain text."""

    text: str
    options: list[str] | None
    measured: str | None


def rows(heading: str) -> list[dict[str, str]]:
    """The first table under a heading, one dict for each row, by the column's name."""
    part = re.split(rf"^#+ {re.escape(heading)}$", TEXT, flags=re.MULTILINE)[1]
    lines = re.search(r"(?:^\|.*\n)+", part, re.MULTILINE)[0].splitlines()
    cells = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]


def plan(heading: str) -> tuple[list[dict[str, str]], int]:
    """(the rows of a table with minutes, the total that its last row names)."""
    *parts, total = rows(heading)
    return parts, int(total["minutes"])


@functools.cache
def lesson(number: str) -> nbformat.NotebookNode:
    [path] = NOTEBOOKS.glob(f"{number}_*.ipynb")
    return nbformat.read(path, as_version=4)


@functools.cache
def labs(number: str) -> set[str]:
    cells = (cell.source for cell in lesson(number).cells if "lab" in tags(cell))
    return set(re.findall(r"labs\.(\w+_lab)\(", "\n".join(cells)))


@functools.cache
def questions(number: str) -> dict[str, Asked]:
    cells = lesson(number).cells
    outputs = (output for cell in cells for output in cell.get("outputs", []))
    said = "\n".join(output.get("data", {}).get("text/plain", "") for output in outputs)
    found = {}
    for cell in cells:
        if "predict" not in tags(cell):
            continue
        calls = (node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call))
        call = next(node for node in calls if getattr(node.func, "id", "") == "predict")
        [id] = (ast.literal_eval(word.value) for word in call.keywords if word.arg == "id")
        text = ast.literal_eval(call.args[0])
        listed = [node for node in call.args[1:] if isinstance(node, ast.List)]
        options = ast.literal_eval(listed[0]) if listed else None
        shown = [each for each in options or [] if f"{text} Measured: {each}." in said]
        found[id] = Asked(text, options, max(shown, key=len, default=None))
    return found


def class_minutes(number: str) -> int:
    match = re.search(r"[Aa]bout (\d+) minutes in class", lesson(number).cells[0].source)
    assert match is not None, f"notebook {number} does not say how long it takes in class"
    return int(match[1])


def computing_seconds() -> dict[str, int]:
    """{notebook: seconds of all its cells}, of those that docs/CELL_TIMES.md knows."""
    text = (DOCS / "CELL_TIMES.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| \*\*(\d\d)\*\* \|.*?(\d+) s\b", text, re.MULTILINE)
    return {number: int(seconds) for number, seconds in found}


def numbers(parts: list[dict[str, str]]) -> list[str]:
    return [row["notebook"][:2] for row in parts if row["notebook"][:2].isdigit()]


PLANS = pytest.mark.parametrize("heading", [HALF_DAY, *LESSONS])


def test_there_are_six_lessons_and_the_plan_names_every_notebook_once():
    assert len(LESSONS) == 6
    assert numbers(rows(TIMES)) == sorted(path.name[:2] for path in NOTEBOOKS.glob("[0-9]*.ipynb"))


# Minutes ------------------------------------------------------------------------------------------


@PLANS
def test_the_minutes_of_a_plan_add_up(heading):
    parts, total = plan(heading)
    assert sum(int(row["minutes"]) for row in parts) == total
    assert total == (210 if heading == HALF_DAY else 90)


def test_each_row_of_the_half_day_begins_where_the_one_before_ends():
    *parts, end = rows(HALF_DAY)
    now = 0
    for row in [*parts, end]:
        hours, minutes = map(int, row["from"].split(":"))
        assert 60 * hours + minutes == now, row["what"]
        now += int(row["minutes"])


@PLANS
def test_a_plan_gives_no_notebook_more_than_its_minutes(heading):
    for row in plan(heading)[0]:
        for number in numbers([row]):
            assert int(row["minutes"]) <= class_minutes(number), row


def test_the_parts_of_a_notebook_add_up_to_what_it_says_itself():
    for row in rows(TIMES):
        parts = [int(part.split()[-1]) for part in row["parts, in minutes"].split(";")]
        assert sum(parts) == int(row["class"]), row["notebook"]
        assert int(row["class"]) == class_minutes(row["notebook"][:2]), row["notebook"]


def test_the_weeks_of_a_semester_add_up():
    for row in rows(SEMESTER):
        parts = [int(row[name]) for name in ("class", "exercises, project", "self-test")]
        assert sum(parts) == int(row["total"]) == 90, row
        assert int(row["class"]) == class_minutes(row["notebook"]), row
    assert [row["week"] for row in rows(SEMESTER)] == [str(week) for week in range(1, 15)]
    assert class_minutes("12") == class_minutes("11"), "12 may take the place of 11"


def test_the_marks_add_up():
    *criteria, total = rows(MARKS)
    assert sum(int(row["points"]) for row in criteria) == int(total["points"]) == 100


@PLANS
def test_a_plan_leaves_room_for_the_computing(heading):
    parts, total = plan(heading)
    seconds = computing_seconds()
    used = sum(seconds.get(number, 0) for number in numbers(parts))
    assert used <= COMPUTING_SHARE * 60 * total


def test_a_notebook_leaves_room_for_its_computing():
    seconds = computing_seconds()
    assert seconds, "docs/CELL_TIMES.md has another form"
    for row in rows(TIMES):
        used = seconds.get(row["notebook"][:2], 0)
        assert used <= COMPUTING_SHARE * 60 * int(row["class"]), row["notebook"]


# Names --------------------------------------------------------------------------------------------


def test_the_table_names_all_labs_and_questions_of_each_notebook():
    for row in rows(TIMES):
        number = row["notebook"][:2]
        assert set(LAB.findall(row["labs"])) == labs(number), number
        assert set(QUESTION.findall(row["questions"])) == set(questions(number)), number


@PLANS
def test_a_plan_asks_what_its_notebook_asks_and_opens_its_labs(heading):
    for row in plan(heading)[0]:
        asked, opened = QUESTION.findall(row["ask"]), LAB.findall(row["lab"])
        if not numbers([row]):
            assert not asked and not opened
            continue
        [number] = numbers([row])
        assert set(asked) <= set(questions(number)) and set(opened) <= labs(number), row


def test_labs_and_exercises_named_in_passing_are_there():
    every = set().union(*(labs(number) for number in numbers(rows(TIMES))))
    assert set(LAB.findall(TEXT)) <= every
    for line in re.findall(r"^At home: .*", TEXT, re.MULTILINE):
        for number, place in re.findall(r"(\d\d)\.(\d)", line):
            cells = [cell for cell in lesson(number).cells if "exercise" in tags(cell)]
            assert int(place) <= sum("check_" in cell.source for cell in cells), line


def test_a_usual_wrong_answer_is_one_that_can_be_chosen_and_is_wrong():
    compared = 0
    for row in rows(WRONG):
        [id] = QUESTION.findall(row["question"])
        asked = questions(id[:2])[id]
        answer = row["you will hear"].strip("“”")
        assert answer in asked.options, id
        if asked.measured is not None:
            assert answer != asked.measured, id
            compared += 1
    assert compared > 0.8 * len(rows(WRONG))


def test_what_the_page_tells_to_type_is_there():
    clinic = "\n".join(cell.source for cell in lesson("08").cells)
    assert all(name in clinic for name in ("Quiz(", "plot_chart", "healthy = ", "small = "))
    [seed] = re.findall(r"Quiz\(small, seed=(\d+)\)", TEXT)
    assert deal(int(seed), 6).count("healthy") == 1
    assert all("make handouts" in text for text in (TEXT, lesson("16").cells[26].source))
    from course_utils.classroom.glossary import load_glossary
    from course_utils.classroom.predict import class_mode

    assert callable(load_glossary) and callable(class_mode)
    assert (NOTEBOOKS / "teacher" / "class_report.ipynb").exists()
