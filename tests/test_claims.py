"""The closing table: every claim of the ledger, as the notebooks stored it, readable without colours, pictures or kernel."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_utils import Estimate, claim
from course_utils.topics import t10
from course_utils.topics.t10 import Card, Entry, Ledger
from run_notebooks import CLAIMS, NOTEBOOKS, gather_claims, store_claims

CLOSING = NOTEBOOKS / "10_claims.ipynb"


@pytest.fixture(scope="module")
def ledger():
    return t10.load_ledger()


# ---- what is stored -------------------------------------------------------------------------------------------------


def test_the_ledger_lists_each_claim_once_in_a_family_and_a_notebook(ledger):
    ids = [entry.id for entry in ledger.entries]
    assert len(ids) == len(set(ids)) == 41
    for entry in ledger.entries:
        assert entry.family in ledger.families and entry.notebooks and entry.sentence and len(entry.short) <= 20
        for number in entry.notebooks:
            assert list(NOTEBOOKS.glob(f"{number}_*.ipynb")), f"{entry.id}: there is no notebook {number}"
    assert {entry.family for entry in ledger.entries} == set(ledger.families)


def test_what_is_gathered_is_what_the_notebooks_store():
    assert json.loads(CLAIMS.read_text(encoding="utf-8")) == gather_claims(), "run make notebooks"


def test_every_claim_has_its_card_in_every_notebook_that_promises_it(ledger):
    assert not ledger.missing()


def test_every_card_has_a_verdict_that_follows_from_effects_with_intervals_and_seeds(ledger):
    for card in ledger.cards:
        where = f"{card.claim.id} in {card.notebook}"
        assert card.claim.effects, where
        for name, effect in card.claim.effects.items():
            assert effect.low <= effect.value <= effect.high, f"{where}, {name}"
            counted = effect.low == effect.high            # no sample, no width: a number of bytes, say
            assert effect.seeds >= 8 or counted, f"{where}, {name}: {effect.seeds} seeds"
        kinds = set(card.claim.verdicts.values())
        assert t10.kind(card.claim.verdict) == (kinds.pop() if len(kinds) == 1 else t10.DEPENDS), where


def test_the_closing_notebook_shows_every_card_as_it_is_stored(ledger):
    cells = nbformat.read(CLOSING, as_version=4).cells
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    text = as_text("".join(each.get("text/html", "") for each in data))
    for entry in ledger.entries:
        assert entry.id in text and squeezed(entry.sentence) in text
    for card in ledger.cards:
        for effect in card.claim.effects.values():
            assert squeezed(str(effect)) in text, f"{card.claim.id}: run make notebooks ONLY=10"
    [wall] = [output for cell in cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert wall.metadata["image/png"]["alt"] == t10.describe_wall(ledger)


# ---- gathering ------------------------------------------------------------------------------------------------------


def card_output(**fields):
    made = claim("X1", "It helps", Estimate(1, 0.5, 1.5, 8), above=0)
    return new_output("display_data", {"text/plain": str(made)}, metadata={"claim": made.to_dict() | fields})


def write(path: Path, *outputs):
    path.parent.mkdir(exist_ok=True)
    other = new_output("stream", name="stdout", text="x")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# X"), new_code_cell("a", outputs=[other, *outputs])]), path)


def test_claims_are_gathered_in_order_and_not_from_solutions(tmp_path):
    write(tmp_path / "02_b.ipynb", card_output(id="B1"), card_output(id="B2"))
    write(tmp_path / "01_a.ipynb", card_output(id="A1"))
    write(tmp_path / "03_none.ipynb")
    write(tmp_path / "solutions" / "01_a_solutions.ipynb", card_output(id="S1"))
    found = gather_claims(tmp_path)
    assert [(each["notebook"], each["id"]) for each in found] == [("01_a", "A1"), ("02_b", "B1"), ("02_b", "B2")]
    store_claims(found, tmp_path / "claims.json")
    assert json.loads((tmp_path / "claims.json").read_text(encoding="utf-8")) == found
    store_claims([], tmp_path / "claims.json")
    assert json.loads((tmp_path / "claims.json").read_text(encoding="utf-8")) == []


# ---- showing --------------------------------------------------------------------------------------------------------


def squeezed(text: str) -> str:
    return " ".join(text.split())


def as_text(source: str) -> str:
    """HTML as a reader without styles and pictures has it."""
    parts = []

    class Reader(HTMLParser):
        hidden = False

        def handle_starttag(self, tag, attributes):
            self.hidden = tag == "style"
            parts.append(dict(attributes).get("alt", " "))

        def handle_endtag(self, tag):
            self.hidden = False
            parts.append(" ")

        def handle_data(self, data):
            if not self.hidden:
                parts.append(data)

    Reader().feed(source)
    return squeezed("".join(parts))


YES, NO, MAYBE = Estimate(2, 1, 3, 8), Estimate(-2, -3, -1, 8), Estimate(0.1, -1, 1, 8)


def small(*cards: Card) -> Ledger:
    entries = (Entry("AA1", "a thing", "A thing <helps> & more", ("01",)), Entry("AA2", "another", "Another", ("01", "02")))
    return Ledger({"AA": "Things"}, entries, cards)


def card(id: str, effects, notebook: str = "01_a", **fields) -> Card:
    return Card(notebook, claim(id, "A thing helps", effects, **({} if "below" in fields else {"above": 0}) | fields))


@pytest.mark.parametrize(("effects", "verdict"), [
    ([], t10.MISSING), ([YES], t10.SUPPORTED), ([NO], t10.REFUTED), ([MAYBE], t10.OPEN), ([YES, NO], t10.DEPENDS),
    ([YES, YES], t10.SUPPORTED), ([YES, MAYBE], t10.DEPENDS),
])
def test_the_verdict_over_several_notebooks(effects, verdict):
    assert small(*(card("AA2", effect) for effect in effects)).verdict("AA2") == verdict


def test_what_is_missing_is_named_by_claim_and_notebook():
    ledger = small(card("AA1", YES), card("AA2", YES, "02_b"))
    assert ledger.missing() == ["AA2 in 01"]
    assert ledger.counts() == {"supported": 2}


def test_a_card_that_the_ledger_does_not_know_is_refused():
    with pytest.raises(ValueError, match="'ZZ9' in 01_a"):
        small(card("ZZ9", YES)).counts()


def test_a_verdict_that_is_none_is_refused():
    with pytest.raises(ValueError, match="verdict"):
        t10.kind("perhaps")


def test_a_table_says_everything_in_words():
    points = Estimate(0.012, 0.003, 0.021, 8, "points")
    effects = {"on <digits>": points, "on photographs": NO}
    ledger = small(card("AA1", effects, note="Two & three.", depends_on="the images", above=0.001))
    table = t10.families(ledger)["AA"]
    text = as_text(table._repr_html_())
    for part in ("Things", "AA1", "A thing <helps> & more", "◐ depends on the images", "Two & three.", "on <digits>",
                 "+1.2 points [+0.3, +2.1]", "supported: claimed above +0.1 points", "refuted: claimed above 0.001",
                 "AA2 Another not measured"):
        assert part in text, part
    assert "on <digits>: +1.2 points [+0.3, +2.1]" in repr(table)


def test_a_table_is_a_proper_grid():
    """With row spans counted, every row has as many cells as there are heads."""
    cards = [card("AA1", {"a": YES, "b": NO, "c": MAYBE}), card("AA1", YES, "02_b"), card("AA2", NO)]
    source = t10.families(small(*cards))["AA"]._repr_html_()
    body = ElementTree.fromstring(re.sub(r"&(nbsp|ndash);", "-", source.split("</style>")[1]))
    assert body.find("caption") is not None and all(head.get("scope") == "col" for head in body.iterfind("thead/tr/th"))
    for part in body.iterfind("tbody"):
        rows = part.findall("tr")
        widths = [0] * len(rows)
        for number, row in enumerate(rows):
            for cell in row:
                for below in range(int(cell.get("rowspan", 1))):
                    widths[number + below] += int(cell.get("colspan", 1))
        assert set(widths) == {len(t10.HEADS)}


@pytest.mark.parametrize(("effect", "fields", "verdict"), [
    (YES, {"above": 0}, "supported"), (NO, {"above": 0}, "refuted"), (MAYBE, {"above": 0}, "not settled"),
    (NO, {"below": 0}, "supported"), (Estimate(5, 5, 5, 1), {"below": 5}, "not settled"),
])
def test_the_small_picture_shows_interval_and_threshold_within_its_frame(effect, fields, verdict):
    source = t10._whisker(card("AA1", effect, **fields).claim, "")
    assert f"alt='{verdict}: claimed " in source
    drawing = base64.b64decode(re.search(r"base64,([^']+)'", source)[1]).decode()
    ElementTree.fromstring(drawing)
    left, right = map(float, re.search(r"M([\d.]+) 9H([\d.]+)", drawing).groups())
    [edge] = map(float, re.findall(r"M([\d.]+) 0v18", drawing))
    assert 0 <= left <= right <= t10.WIDTH and 0 <= edge <= t10.WIDTH
    assert (left > edge, right < edge) == (effect.low > 0 and effect.value != 5, effect.high < 0)


def test_signs_and_words_tell_verdicts_apart_without_colour():
    assert len(set(t10.SIGN.values())) == len(t10.KINDS)


@pytest.mark.parametrize("kind", t10.KINDS)
def test_verdicts_are_legible_on_their_tints(kind):
    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert (luminance(t10.TINT[kind]) + 0.05) / (luminance(t10.COLOUR[kind]) + 0.05) >= 4.5


# ---- how sure -------------------------------------------------------------------------------------------------------


def test_the_closest_calls_are_decided_and_in_order():
    near, far = Estimate(1.1, 0.1, 2.1, 8), Estimate(10, 9, 11, 8)
    table = t10.closest_calls(small(card("AA1", {"far": far, "near": near, "open": MAYBE, "counted": Estimate(1, 1, 1, 1)})))
    assert table["where"].tolist() == ["near", "far"]
    assert table["clears it by"].tolist() == [0.1, 9.0]


def test_wider_intervals_decide_less():
    near, far = Estimate(1.1, 0.1, 2.1, 8), Estimate(100, 99, 101, 8)
    assert t10.widened(small(card("AA1", {"near": near, "far": far}))) == (2, 1)
    assert t10.widened(small(card("AA1", {"near": near}))) == (1, 1), "one interval is not widened"
    assert t10.widened(small()) == (0, 0)
