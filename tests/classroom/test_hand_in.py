"""Records that are handed in: what goes in comes out, and nothing else does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_utils.classroom.hand_in import (
    ENDING,
    FORM,
    LARGEST,
    VERSION,
    ClassRecords,
    NotARecord,
    collect,
    export,
    read,
)
from course_utils.classroom.record import changing, note_guess, note_pass

GUESS = {"question": "Which?", "guess": "this", "measured": "that", "right": False}
ANSWER = {"question": "Why?", "chosen": "because", "right": False}


def content(**changes):
    made = {"form": FORM, "version": VERSION, "name": "Ann", "passed": ["03.1"]}
    return {**made, "guesses": {"03.best": GUESS}, "answers": {"03.q1": ANSWER}, **changes}


def put(folder, data, name="ann"):
    path = folder / f"{name}{ENDING}"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def test_what_a_learner_did_is_what_a_teacher_reads(tmp_path):
    (tmp_path / "03_a.ipynb").write_text("{}", encoding="utf-8")
    note_pass("3.1", tmp_path)
    note_guess("03.best", GUESS, tmp_path)
    with changing(tmp_path) as record:
        record["answers"]["03.q1"] = ANSWER
    path = export("Ann Lee", folder=tmp_path)
    assert path == tmp_path / f"ann-lee{ENDING}"
    record = read(path)
    assert (record.name, record.passed) == ("Ann Lee", ("03.1",))
    assert record.guesses == {"03.best": GUESS} and record.answers == {"03.q1": ANSWER}


@pytest.mark.parametrize("name", ["", "  ", "x" * 61])
def test_a_record_needs_a_name(tmp_path, name):
    with pytest.raises(ValueError, match="name: got"):
        export(name, folder=tmp_path)


@pytest.mark.parametrize("name", ["../../etc/x", "a/b", "..", "😀"])
def test_a_name_never_leaves_the_folder(tmp_path, name):
    (tmp_path / "03_a.ipynb").write_text("{}", encoding="utf-8")
    assert export(name, folder=tmp_path).parent == tmp_path


@pytest.mark.parametrize(
    "data",
    [
        "not JSON",
        "[" * 100_000,
        "[]",
        '{"form": "tuning-course-record", "version": NaN}',
        content(form="other"),
        content(version=99),
        content(name=7),
        content(name="x" * 61),
        content(passed="03.1"),
        content(passed=[["03.1"]]),
        content(passed=["../03.1"]),
        content(guesses=[]),
        content(guesses={"03.best": 7}),
        content(guesses={"x" * 99: GUESS}),
        content(guesses={"03.best": GUESS | {"guess": {"a": 1}}}),
        content(guesses={"03.best": GUESS | {"guess": True}}),
        content(guesses={"03.best": GUESS | {"guess": 1e300}}),
        content(guesses={"03.best": GUESS | {"question": "x" * 401}}),
        content(answers={"03.q1": {"question": "Why?"}}),
        content(answers={"03.q1": ANSWER | {"right": "yes"}}),
        "x" * (LARGEST + 1),
    ],
    ids=str,
)
def test_what_is_no_record_is_left_out_and_named(tmp_path, data):
    put(tmp_path, content(), "good")
    bad = put(tmp_path, data, "bad")
    with pytest.raises(NotARecord):
        read(bad)
    found = collect(tmp_path)
    assert [record.name for record in found.records] == ["Ann"]
    assert list(found.left_out) == [bad.name] and found.left_out[bad.name]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside),
    max_leaves=8,
)


@given(changes=st.dictionaries(st.sampled_from(sorted(content())), json_values))
def test_whatever_is_handed_in_is_read_or_refused(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("hostile")
    put(folder, content(**changes))
    found = collect(folder)
    assert len(found.records) + len(found.left_out) == 1
    for table in (found.guesses(), found.passed(), found.wrong_answers()):
        assert list(table.columns)


def test_unknown_fields_are_dropped(tmp_path):
    record = read(put(tmp_path, content(guesses={"03.best": GUESS | {"script": "<b>"}}, extra=1)))
    assert record.guesses["03.best"] == GUESS


def test_a_class_is_counted(tmp_path):
    put(tmp_path, content(), "a")
    put(tmp_path, content(passed=["03.1", "03.2"]), "b")
    other = {"03.best": GUESS | {"guess": "that", "right": True}}
    put(tmp_path, content(passed=[], guesses=other, answers={}), "c")
    found = collect(tmp_path)
    guesses = found.guesses().set_index("guess")
    assert guesses["learners"].to_dict() == {"this": 2, "that": 1}
    assert found.passed().set_index("exercise")["learners"].to_dict() == {"03.1": 2, "03.2": 1}
    [wrong] = found.wrong_answers().to_dict("records")
    assert wrong == {"id": "03.q1", "question": "Why?", "answer": "because", "learners": 2}


def test_an_empty_folder_gives_empty_tables_and_a_missing_one_is_named(tmp_path):
    found = collect(tmp_path)
    assert found == ClassRecords((), {}) and found.guesses().empty and found.passed().empty
    with pytest.raises(FileNotFoundError, match="not there"):
        collect(tmp_path / "nowhere")
