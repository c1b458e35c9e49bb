"""Notebook 16: the ledger, the cards that the notebooks stored, the wall, how sure it all is."""

from __future__ import annotations

import json
import re
import runpy

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output

from course_utils import Estimate, claim
from course_utils.lessons.claims import exercises, figures
from course_utils.lessons.claims.ledger import (
    KINDS,
    Card,
    Entry,
    Ledger,
    closest_calls,
    fallen,
    load_ledger,
    right_at_once,
    robustness,
)
from stored import CLAIMS, NOTEBOOKS, gather_claims

YES, NO, OPEN = Estimate(2, 1, 3, 8), Estimate(-2, -3, -1, 8), Estimate(0.1, -1, 1, 8)
WEAK = Estimate(0.6, 0.1, 1.1, 8)  # supported, and not shown to differ from OPEN


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return load_ledger()


def test_each_claim_stands_once_in_a_family_and_in_notebooks_of_the_course(ledger):
    ids = [entry.id for entry in ledger.entries]
    assert len(set(ids)) == len(ids) >= 50
    numbers = {path.name[:2] for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")}
    for entry in ledger.entries:
        assert entry.family in ledger.families
        assert entry.notebooks and set(entry.notebooks) <= numbers, entry.id


def test_what_is_gathered_is_what_the_notebooks_store():
    assert json.loads(CLAIMS.read_text(encoding="utf-8")) == gather_claims()


def test_every_claim_has_its_card_in_every_notebook_that_promises_it(ledger):
    assert ledger.missing() == []


def test_every_verdict_follows_from_its_effects(ledger):
    for card in ledger.cards:
        bounds = {"above": card.claim.above, "below": card.claim.below}
        again = claim(card.claim.id, "", card.claim.effects, depends_on="it", **bounds)
        first = card.claim.verdict.split(" ")[0]
        assert again.verdict.split(" ")[0] == first, card.claim.id
        assert card.kind in KINDS


def small(*cards: Card) -> Ledger:
    entries = (Entry("AA1", "a thing", "A thing", ("01",)), Entry("AA2", "b", "B", ("01", "02")))
    return Ledger({"AA": "Things"}, entries, cards)


def card(id: str, effects, notebook: str = "01_a", **fields) -> Card:
    bounds = {} if "below" in fields else {"above": 0}
    return Card(notebook, claim(id, "A thing helps", effects, **bounds | fields))


@pytest.mark.parametrize(
    ("effects", "kind"),
    [
        ([], "not measured"),
        ([YES], "supported"),
        ([NO], "refuted"),
        ([OPEN], "not settled"),
        ([YES, NO], "depends"),
        ([YES, YES], "supported"),
        ([YES, OPEN], "in part"),
        ([{"a": WEAK, "b": OPEN}], "in part"),
        ([{"a": YES, "b": NO}], "depends"),
    ],
)
def test_the_verdict_over_several_notebooks(effects, kind):
    assert small(*(card("AA2", effect) for effect in effects)).kind("AA2") == kind


def test_what_is_missing_is_named_by_claim_and_notebook():
    ledger = small(card("AA1", YES), card("AA2", YES, "02_b"))
    assert ledger.missing() == ["AA2 in 01"]
    assert ledger.counts() == {"supported": 2}


def test_a_card_that_the_ledger_does_not_know_is_refused():
    with pytest.raises(ValueError, match="'ZZ9' in 01_a"):
        small(card("ZZ9", YES)).counts()


def test_the_most_surprising_claims_stand_first():
    ledger = small(card("AA1", YES), card("AA2", NO))
    assert [entry.id for entry in ledger.by_surprise()] == ["AA2", "AA1"]


def test_the_wall_shows_every_claim_and_the_blank_one_no_verdict():
    ledger = small(card("AA1", {"a": YES, "b": NO}, depends_on="the weather"), card("AA2", OPEN))

    def words(figure):
        return [text.get_text() for text in figure.axes[0].texts]

    shown, blank = words(figures.plot_wall(ledger)), words(figures.plot_wall(ledger, blank=True))
    assert {"AA1", "AA2", "✔✘", "○", "depends on the weather", "not settled"} <= set(shown)
    assert blank == ["AA1", "a thing", "AA2", "b"]
    assert figures.describe_wall(ledger) == "Verdicts. depends (1): AA1; not settled (1): AA2."


def test_no_words_of_the_wall_leave_their_tile(ledger):
    figure = figures.plot_wall(ledger)
    figure.canvas.draw()
    axes = figure.axes[0]
    for text in axes.texts:
        box = text.get_window_extent().transformed(axes.transData.inverted())
        column = int((box.x0 + box.x1) / 2)
        assert column <= box.x0 and box.x1 <= column + 1, text.get_text()
    boxes = [text.get_window_extent() for text in axes.texts]
    for number, box in enumerate(boxes):
        over = [axes.texts[number].get_text() for each in boxes[:number] if box.overlaps(each)]
        assert not over, over


def test_what_was_refuted_in_part_does_not_look_supported():
    against = Estimate(-0.6, -1.1, -0.1, 8)
    ledger = small(card("AA1", {"a": against, "b": OPEN}), card("AA2", {"a": WEAK, "b": OPEN}))
    found = {text.get_text(): text.get_color() for text in figures.plot_wall(ledger).axes[0].texts}
    assert found["refuted in part"] == figures.INK["refuted"]
    assert found["supported in part"] == figures.INK["supported"]


def test_a_table_holds_every_effect_and_says_a_claim_once():
    html = figures.family_table(small(card("AA1", {"a": YES, "b": NO}), card("AA2", OPEN)), "AA")
    text = html.to_html()
    assert text.count("AA1") == 1 and "✘" in text and "2 [1, 3]" in text and "Things" in text
    assert (
        text
        == figures.family_table(
            small(card("AA1", {"a": YES, "b": NO}), card("AA2", OPEN)), "AA"
        ).to_html()
    ), "two runs store the same"


def test_tables_open_by_the_names_of_their_claims():
    tables = figures.family_tables(small(card("AA1", YES), card("AA2", OPEN)))
    html = tables._repr_html_()
    assert "<summary>Things: AA1, AA2</summary>" in html and "2 [1, 3]" in html
    assert "AA1" in repr(tables)


def test_the_closest_calls_are_decided_and_in_order():
    near, far, counted = Estimate(1.1, 0.1, 2.1, 8), Estimate(10, 9, 11, 8), Estimate(1, 1, 1, 1)
    effects = {"far": far, "near": near, "open": OPEN, "counted": counted}
    table = closest_calls(small(card("AA1", effects)))
    assert table["where"].tolist() == ["near", "far"]
    assert table["clears it by"].tolist() == [0.1, 9.0]


def test_intervals_that_are_to_be_right_at_once_decide_less():
    near, far = Estimate(1.1, 0.1, 2.1, 8), Estimate(100, 99, 101, 8)
    assert right_at_once(small(card("AA1", {"near": near, "far": far}))) == (2, 1)
    assert right_at_once(small(card("AA1", {"near": near}))) == (1, 1), "one alone is not widened"
    assert right_at_once(small()) == (0, 0)


def test_a_number_that_is_shown_twice_is_one_interval():
    far = Estimate(100, 99, 101, 8)
    again = small(card("AA1", {"one way": far, "the same": far}), card("AA2", far))
    assert right_at_once(again) == (1, 1)
    elsewhere = small(card("AA1", far), card("AA2", far, "02_b"))
    assert right_at_once(elsewhere) == (2, 2), "another notebook measured it anew"


def test_a_table_says_each_claim_in_the_words_that_were_tested():
    tested = Card("01_a", claim("AA1", "A thing helps (here: on digits)", YES, above=0))
    assert (
        "AA1 A thing helps (here: on digits)" in figures.family_table(small(tested), "AA").to_html()
    )


def test_what_fell_when_it_was_repeated_is_named():
    one, two = card("AA1", YES), card("AA2", NO)
    one.claim.robustness.update(widened="holds", doubled="falls to *refuted*")
    ledger = small(one, two)
    assert fallen(ledger) == ['AA1 in 01, doubled: falls to "refuted"']
    assert robustness(ledger).to_dict("index") == {
        "widened": {"cards": 1, "held": 1},
        "doubled": {"cards": 1, "held": 0},
    }


def test_claims_are_gathered_in_order_and_not_from_solutions(tmp_path):
    def write(name, *ids):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        made = [claim(id, "It helps", YES, above=0) for id in ids]
        outputs = [
            new_output(
                "display_data", {"text/plain": str(each)}, metadata={"claim": each.to_dict()}
            )
            for each in made
        ]
        nbformat.write(new_notebook(cells=[new_code_cell("a", outputs=outputs)]), path)

    write("02_b.ipynb", "BS1", "BS2")
    write("01_a.ipynb", "WB1")
    write("solutions/01_a_solutions.ipynb", "WB2")
    found = gather_claims(tmp_path)
    assert [(each["notebook"], each["id"]) for each in found] == [
        ("01_a", "WB1"),
        ("02_b", "BS1"),
        ("02_b", "BS2"),
    ]


def right(effect, threshold):
    if effect.low > threshold:
        return "supported"
    return "refuted" if effect.high < threshold else "not settled"


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        (right, True),
        (lambda effect, threshold: "supported" if effect.value > threshold else "refuted", False),
        (lambda effect, threshold: right(effect, 0), False),
        (lambda effect, threshold: 1 / 0, False),
        ("supported", False),
    ],
)
def test_the_rule_behind_a_card(answer, passes):
    assert ("✔ passed" in str(exercises.check_verdict(answer))) == passes


# The lesson's text --------------------------------------------------------------------------------


def test_the_text_s_comparison_on_data_of_ones_own_runs(tmp_path):
    texts = [cell.source for cell in nbformat.read(NOTEBOOKS / "16_claims.ipynb", 4).cells]
    (snippet,) = re.findall(r"```python\n(.*?)```", "\n".join(texts), re.DOTALL)

    def pair(count):  # in colour, not square, three classes
        return torch.rand(count, 3, 4, 6), torch.arange(count) % 3

    given = {name: pair(30) for name in ("train", "val", "test", "extra")}
    (tmp_path / "mine.py").write_text(snippet, encoding="utf-8")
    made = runpy.run_path(str(tmp_path / "mine.py"), given)
    assert set(made["trial"].chosen) == {"plain", "dropout"}
    assert made["mine"].classes == 3
