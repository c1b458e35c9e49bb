"""The glossary: whole, bilingual, and about this course's words."""

import ast
import dataclasses
import json
import re

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from course_utils import Config
from course_utils.classroom.glossary import Glossary, Term, load_glossary
from stored import LEDGER, NOTEBOOKS

CHINESE = re.compile(r"[\u4e00-\u9fff]")
LESSONS = sorted(NOTEBOOKS.glob("*.ipynb"))


LISTED = {each["id"] for each in json.loads(LEDGER.read_text(encoding="utf-8"))["claims"]}


@pytest.fixture(scope="module")
def glossary():
    return load_glossary()


def claims():
    """(id, statement) of every claim card that a notebook deals, where both are written out."""
    for path in LESSONS:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type != "code":
                continue
            for node in ast.walk(ast.parse(TransformerManager().transform_cell(cell.source))):
                if (
                    isinstance(node, ast.Call)
                    and getattr(node.func, "id", "") == "claim"
                    and len(node.args) >= 2
                ):
                    id, statement = node.args[:2]
                    constant = isinstance(id, ast.Constant) and isinstance(statement, ast.Constant)
                    if constant and id.value in LISTED:
                        yield id.value, statement.value


def test_every_field_of_config_is_in_it_once(glossary):
    fields = [term.field for term in glossary if term.field]
    assert sorted(fields) == sorted(field.name for field in dataclasses.fields(Config))


def test_the_terms_of_every_claim_are_in_it(glossary):
    dealt = list(claims())
    assert len(dealt) >= 25
    for id, statement in dealt:
        terms = [term for term in glossary if id in term.claims]
        assert terms, f"no term of the glossary says that claim {id} is about it"
        assert [term for term in terms if term.stands_in(statement)], (
            id,
            statement,
            [term.english for term in terms],
        )


def test_every_term_is_explained_in_both_languages_in_one_line(glossary):
    for term in glossary:
        assert 15 <= len(term.definition) <= 140 and term.definition.endswith("."), term.english
        assert term.definition_zh.endswith("。") and len(term.definition_zh) <= 80, term.english
        assert "\n" not in term.definition + term.definition_zh
        assert CHINESE.search(term.definition_zh), term.english
        assert CHINESE.search(term.chinese) or term.chinese.startswith(term.english), term.english


def test_terms_name_notebooks_of_the_course(glossary):
    assert all(re.fullmatch(r"\d\d", number) for term in glossary for number in term.notebooks)
    assert all(term.notebooks for term in glossary)


def test_it_is_in_alphabetical_order_and_found_by_any_name(glossary):
    assert [term.english for term in glossary] == sorted(
        (term.english for term in glossary), key=str.casefold
    )
    assert glossary["learning rate"] is glossary["Step size"] is glossary["学习率"]
    assert glossary["bias"].chinese == "偏置"
    assert glossary["activation function"] in glossary.find("activation")
    assert glossary["learning rate"] in glossary.find("学习率")
    assert not glossary.find("no such word")


def test_an_unknown_word_is_told_what_lies_near(glossary):
    with pytest.raises(
        KeyError, match=r"'rate' is not in the glossary; near it: .*learning rate|near it"
    ):
        glossary["rate"]


def test_a_name_for_two_terms_is_refused(tmp_path):
    entry = {"english": "loss", "chinese": "损失", "definition": "A.", "definition_zh": "甲。"}
    path = tmp_path / "glossary.json"
    path.write_text(
        json.dumps([entry, {**entry, "english": "cost", "also": ["Loss"]}]), encoding="utf-8"
    )
    with pytest.raises(ValueError, match="names two terms"):
        load_glossary(path)


def test_the_table_links_what_it_can_and_escapes_what_it_must():
    term = Term("a < b", "甲", "Less & less.", "更少。", field="width", notebooks=("01", "05"))
    table = Glossary([term]).to_html({"01": "one.html"})
    assert "a &lt; b" in table and "Less &amp; less." in table and "<code>width</code>" in table
    assert "<a href='one.html'>01</a>, 05" in table and "lang='zh'" in table
    assert "tabindex='0'" in Glossary([term])._repr_html_()
    assert repr(Glossary([term])) == "a < b (甲): Less & less."


def test_a_term_stands_in_a_text_as_whole_words_only():
    term = Term("seed", "种子", "A.", "甲。", also=("seeds",))
    assert term.stands_in("Eight SEEDS each") and not term.stands_in("Proceedings of a seedling")
