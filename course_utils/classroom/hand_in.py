"""A learner's record as one file to hand in, and a class's files read together.

What is handed in may come from anybody: files are data of a known form (``FORM``), checked before
use, never executed. What does not keep to it is left out, and named.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..files import write
from .record import load, normalised, record_path

FORM, VERSION = "tuning-course-record", 1
ENDING = ".record.json"
LARGEST, MOST_FILES, MOST_ENTRIES, LONGEST = 200_000, 500, 1_000, 400
ID = re.compile(r"\d\d\.[\w-]{1,60}")
FIELDS: dict[str, dict[str, Any]] = {  # of one entry, with the types that its values may have
    "guesses": {"question": str, "guess": (str, int, float), "measured": (str, int, float),
                "right": bool},
    "answers": {"question": str, "chosen": str, "right": bool},
}  # fmt: skip


class NotARecord(ValueError):
    """A file that is not what ``export`` writes; says why."""


@dataclass(frozen=True)
class Record:
    """What one learner handed in."""

    name: str
    passed: tuple[str, ...]
    guesses: dict[str, dict[str, Any]]
    answers: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class ClassRecords:
    """The records of a class, and the files that were left out, {file's name: why}."""

    records: tuple[Record, ...]
    left_out: dict[str, str]

    def guesses(self) -> pd.DataFrame:
        """One row for each question and guess: how many made it, and what each measured."""
        rows = [
            {"id": id, "question": guess.get("question", ""), "guess": guess["guess"],
             "right": guess.get("right")}
            for record in self.records
            for id, guess in record.guesses.items()
            if "guess" in guess
        ]  # fmt: skip
        table = pd.DataFrame(rows, columns=["id", "question", "guess", "right"])
        grouped = table.groupby(["id", "question", "guess"], dropna=False, sort=True)
        return grouped.agg(learners=("guess", "size"), right=("right", "mean")).reset_index()

    def passed(self) -> pd.DataFrame:
        """One row for each exercise that anybody passed: by how many, and by what share."""
        counted = Counter(exercise for record in self.records for exercise in record.passed)
        rows = [
            {"exercise": exercise, "learners": count, "share": count / len(self.records)}
            for exercise, count in sorted(counted.items())
        ]
        return pd.DataFrame(rows, columns=["exercise", "learners", "share"])

    def wrong_answers(self) -> pd.DataFrame:
        """The wrong answers of the self-tests, the most frequent first."""
        counted = Counter(
            (id, answer["question"], answer["chosen"])
            for record in self.records
            for id, answer in record.answers.items()
            if not answer["right"]
        )
        rows = [(*key, count) for key, count in counted.most_common()]
        return pd.DataFrame(rows, columns=["id", "question", "answer", "learners"])


def export(name: str, path: Path | str | None = None, folder: Path | str | None = None) -> Path:
    """Write the learner's record to one file, under a name that the learner chooses.

    ``path`` is the file to write (beside the notebooks, unless named). Raises ValueError for a name
    that is empty or longer than 60 characters.
    """
    if not 0 < len(name.strip()) <= 60:
        raise ValueError(f"name: got {name!r}, takes 1 to 60 characters")
    own = load(record_path(folder))
    plain = re.sub(r"\W+", "-", name.strip()).strip("-").lower() or "learner"
    target = Path(path) if path is not None else record_path(folder).parent / f"{plain}{ENDING}"
    content = {
        "form": FORM,
        "version": VERSION,
        "name": name.strip(),
        "passed": sorted(own["passed"]),
        **{part: own[part] for part in FIELDS},
    }
    write(target, json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return target


def collect(folder: Path | str) -> ClassRecords:
    """Read every ``*.record.json`` of a folder. Files that are no records are left out, and named.

    Raises FileNotFoundError without the folder, ValueError for more than 500 files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"folder: got {folder}, which is not there")
    paths = sorted(folder.glob(f"*{ENDING}"))
    if len(paths) > MOST_FILES:
        raise ValueError(f"folder: got {len(paths)} files, takes up to {MOST_FILES}")
    records, left_out = [], {}
    for path in paths:
        try:
            records.append(read(path))
        except (OSError, NotARecord) as error:
            left_out[path.name] = str(error)
    return ClassRecords(tuple(records), left_out)


def read(path: Path) -> Record:
    """One file that was handed in. Raises NotARecord, with the reason; OSError."""
    if path.stat().st_size > LARGEST:
        raise NotARecord(f"larger than {LARGEST // 1000} kB")
    try:
        data = json.loads(path.read_bytes().decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise NotARecord(f"no JSON: {str(error)[:80]}") from error
    if not isinstance(data, dict) or data.get("form") != FORM:
        raise NotARecord(f"its form is not {FORM!r}")
    if data.get("version") != VERSION:
        raise NotARecord(f"version {str(data.get('version'))[:20]}, and this reads {VERSION}")
    return Record(
        _text("name", data.get("name"), 60),
        tuple(normalised(_id(each)) for each in _part(data, "passed", list)),
        *({_id(id): _entry(part, each) for id, each in _part(data, part, dict).items()}
          for part in FIELDS),
    )  # fmt: skip


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _part(data: dict[str, Any], name: str, kind: type) -> Any:
    if not isinstance(data.get(name), kind) or len(data[name]) > MOST_ENTRIES:
        raise NotARecord(f"{name}: not a {kind.__name__} of up to {MOST_ENTRIES} entries")
    return data[name]


def _text(name: str, value: Any, longest: int = LONGEST) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise NotARecord(f"{name}: not a text of up to {longest} characters")
    return value


def _id(value: Any) -> str:
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise NotARecord(f"{str(value)[:20]!r} names no question and no exercise")
    return value


def _entry(part: str, entry: Any) -> dict[str, Any]:
    """The known fields of an entry, checked; others are dropped."""
    if not isinstance(entry, dict):
        raise NotARecord(f"{part}: an entry is not a dict")
    found: dict[str, Any] = {}
    for field, kinds in FIELDS[part].items():
        if field not in entry:
            if part == "answers":
                raise NotARecord(f"{part}: {field} is missing")
            continue
        value = entry[field]
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise NotARecord(f"{part}: {field} is of another type")
        if isinstance(value, str):
            _text(f"{part}: {field}", value)
        elif isinstance(value, (int, float)) and not (abs(value) < 1e12 and math.isfinite(value)):
            raise NotARecord(f"{part}: {field} is no usual number")
        found[field] = value
    return found
