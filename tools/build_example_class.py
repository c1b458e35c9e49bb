"""Build data/example_class: GENERATED records, to try the teacher's notebook on.

    python tools/build_example_class.py

Nobody made these guesses: a random generator with a fixed seed did. The questions, their answers
and what was measured are those of the stored notebooks, the self-tests those of data/self_tests.
Run it again after a question of these lessons has changed.
"""

from __future__ import annotations

import ast
import json
import random
import re
from pathlib import Path
from typing import Any

import nbformat

from course_utils.classroom.hand_in import ENDING, FORM, VERSION
from course_utils.classroom.progress import exercises
from course_utils.classroom.self_test import FOLDER, Question, questions
from course_utils.files import DATA_FOLDER, write
from stored import NOTEBOOKS

TARGET = DATA_FOLDER / "example_class"
LESSONS = ("00_start_here", "01_initialisation", "02_activations_and_losses")
LEARNERS, SEED = 12, 7
README = """\
# An example class

**Generated, not real.** `tools/build_example_class.py` drew these records from a random generator,
so that a teacher can try `notebooks/teacher/class_report.ipynb` before a class has handed in
anything. Nothing can be learnt from them about learners.

- `learner-01.record.json` to `learner-12.record.json` are records as `make hand-in` writes them.
- `learner-13.record.json` is damaged (cut off in the middle), and `learner-14.record.json` has a
  version that does not exist: the report leaves both out, and says why.
"""


def asked(stem: str) -> dict[str, tuple[str, list[str], str]]:
    """{id: (question, options, what was measured)} of a stored notebook."""
    found = {}
    notebook = nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4)
    said = " ".join(
        output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    for cell in notebook.cells:
        if "predict" not in cell.metadata.get("tags", []):
            continue
        call = next(node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call))
        question, options = (ast.literal_eval(part) for part in call.args)
        id = next(ast.literal_eval(word.value) for word in call.keywords if word.arg == "id")
        words = "|".join(re.escape(option) for option in sorted(options, key=len, reverse=True))
        match = re.search(rf"{re.escape(question)} Measured: ({words})\.", said)
        if match is None:
            raise ValueError(f"{stem}: no stored result of {id}")
        found[id] = (question, options, match[1])
    return found


def guesses(draw: random.Random, share: float, taste: random.Random) -> dict[str, dict[str, Any]]:
    """A learner's guesses; ``share`` of the questions were reached, in the lessons' order.

    ``taste`` gives each question a favourite answer, the same for the whole class.
    """
    every = {id: entry for stem in LESSONS for id, entry in asked(stem).items()}
    reached = round(share * len(every))
    made: dict[str, dict[str, Any]] = {}
    for place, (id, (question, options, measured)) in enumerate(every.items()):
        favourite, liked = taste.choice(options), taste.uniform(0.1, 0.5)
        guess = favourite if draw.random() < liked else draw.choice(options)
        if place < reached:
            made[id] = {"question": question, "guess": guess}
        if place < reached - 1:  # the last experiment has not been run yet
            made[id] |= {"measured": measured, "right": guess == measured}
    return made


def answers(draw: random.Random, share: float) -> dict[str, dict]:
    """A learner's answers to the self-tests of the lessons that have one."""
    there = [stem[:2] for stem in LESSONS if (FOLDER / f"{stem[:2]}.json").exists()]
    every: list[Question] = [each for lesson in there for each in questions(lesson)]
    made = {}
    for each in every:
        right = next(option for option in each.options if option.right)
        tempting = next(option for option in each.options if not option.right)
        dice = draw.random()
        option = right if dice < 0.6 else tempting if dice < 0.85 else draw.choice(each.options)
        if draw.random() < share:
            made[each.id] = {"question": each.text, "chosen": option.text, "right": option.right}
    return made


def learner(number: int) -> dict:
    draw, taste = random.Random(SEED * 1000 + number), random.Random(SEED)
    share = draw.uniform(0.5, 1.0)
    known = [name for stem in LESSONS for name in exercises(NOTEBOOKS)[stem]]
    chance = {name: 0.95 * 0.82 ** int(name.split(".")[1]) for name in known}
    passed = [name for name in known if draw.random() < chance[name] * share]
    return {
        "form": FORM,
        "version": VERSION,
        "name": f"generated learner {number:02d}",
        "passed": passed,
        "guesses": guesses(draw, share, taste),
        "answers": answers(draw, share),
    }


def build(folder: Path = TARGET) -> None:
    """Write the twelve records, the two that are none, and the README."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "README.md", README)
    texts = {
        number: json.dumps(learner(number), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        for number in range(1, LEARNERS + 1)
    }
    texts[LEARNERS + 1] = texts[1][: len(texts[1]) // 2] + "\n"
    texts[LEARNERS + 2] = (
        json.dumps({"form": FORM, "version": 99, "name": "from the future"}) + "\n"
    )
    for number, text in texts.items():
        write(folder / f"learner-{number:02d}{ENDING}", text)
    print(f"{len(texts)} files in {folder.name}")


if __name__ == "__main__":
    build()
