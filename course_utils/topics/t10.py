"""Notebook 10: the claims of the whole course, as a wall and as tables, from what the notebooks stored."""

from __future__ import annotations

import base64
import html
import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Image
from scipy import stats

from ..claims import Claim
from ..evidence import Estimate
from ..files import DATA_FOLDER
from ..plots import GREY, new_figure, to_png

SUPPORTED, REFUTED, DEPENDS, OPEN = KINDS = ("supported", "refuted", "depends", "not settled")
# Each verdict has a colour (Okabe and Ito's, darker: it is read on its tint), and a sign and a word to do without it.
COLOUR = {SUPPORTED: "#005A8C", REFUTED: "#A03C00", DEPENDS: "#705400", OPEN: "#555555"}
TINT = {SUPPORTED: "#DCEBF7", REFUTED: "#FBE3D6", DEPENDS: "#FBF1CE", OPEN: "#EEEEEE"}
SIGN = {SUPPORTED: "✔", REFUTED: "✘", DEPENDS: "◐", OPEN: "○"}
MISSING = "not measured"
COLUMNS = 6  # tiles in a row of the wall
WIDTH = 130  # of an interval's picture, in pixels


def kind(verdict: str) -> str:
    """The kind of a verdict: one of ``KINDS``; "depends on the batch size" is of the kind "depends"."""
    found = next((each for each in KINDS if verdict.startswith(each)), None)
    if found is None:
        raise ValueError(f"verdict: got {verdict!r}, takes one that begins with {', '.join(KINDS)}")
    return found


@dataclass(frozen=True)
class Card:
    """A claim as one notebook measured it."""

    notebook: str
    claim: Claim


@dataclass(frozen=True)
class Entry:
    """A claim as the course's sources make it, and the notebooks (their numbers) that promise to measure it."""

    id: str
    short: str
    sentence: str
    notebooks: tuple[str, ...]

    @property
    def family(self) -> str:
        return self.id.rstrip("0123456789")


@dataclass(frozen=True)
class Ledger:
    """All claims of the course with all cards that were made of them."""

    families: dict[str, str]
    entries: tuple[Entry, ...]
    cards: tuple[Card, ...]

    @cached_property
    def by_id(self) -> dict[str, list[Card]]:
        found: dict[str, list[Card]] = {entry.id: [] for entry in self.entries}
        for card in self.cards:
            if card.claim.id not in found:
                raise ValueError(
                    f"claim: got {card.claim.id!r} in {card.notebook}, takes an id of the ledger"
                )
            found[card.claim.id].append(card)
        return found

    def verdict(self, id: str) -> str:
        """The kind of verdict over all cards of a claim: "depends" where they differ, "not measured" without a card."""
        kinds = {kind(card.claim.verdict) for card in self.by_id[id]}
        return kinds.pop() if len(kinds) == 1 else DEPENDS if kinds else MISSING

    def counts(self) -> dict[str, int]:
        """{kind of verdict: number of claims}; only what occurs."""
        counted = Counter(self.verdict(entry.id) for entry in self.entries)
        return {each: counted[each] for each in (*KINDS, MISSING) if counted[each]}

    def missing(self) -> list[str]:
        """What the ledger promises and no notebook shows, as "RG4 in 09"."""
        return [
            f"{entry.id} in {number}"
            for entry in self.entries
            for number in entry.notebooks
            if not any(card.notebook.startswith(number) for card in self.by_id[entry.id])
        ]


def load_ledger(folder: Path = DATA_FOLDER) -> Ledger:
    """The list of claims, and the cards that the notebooks stored (``make notebooks`` gathers them).

    Raises FileNotFoundError without either file, ValueError for one that is not what it should be.
    """
    listed = json.loads((folder / "claims_ledger.json").read_text(encoding="utf-8"))
    stored = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    entries = tuple(
        Entry(**each | {"notebooks": tuple(each["notebooks"])}) for each in listed["claims"]
    )
    cards = tuple(
        Card(
            each["notebook"],
            Claim.from_dict({key: value for key, value in each.items() if key != "notebook"}),
        )
        for each in stored
    )
    return Ledger(listed["families"], entries, cards)


# ---- the wall -------------------------------------------------------------------------------------------------------


def draw_wall(ledger: Ledger) -> Image:
    """One tile for each claim: its id, what it is about, its verdict as sign, word and colour."""
    rows = -(-len(ledger.entries) // COLUMNS)
    figure, axes = new_figure(1, 1, size=(9.6, 0.66 * rows + 0.1))
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=0.99)
    ax = axes[0, 0]
    ax.axis("off")
    ax.set(xlim=(0, COLUMNS), ylim=(rows, 0))
    for number, entry in enumerate(ledger.entries):
        x, y, verdict = number % COLUMNS, number // COLUMNS, ledger.verdict(entry.id)
        colour = COLOUR.get(verdict, GREY)
        ax.fill_between(
            [x + 0.03, x + 0.97], y + 0.06, y + 0.94, color=TINT.get(verdict, "white"), linewidth=0
        )
        ax.fill_between([x + 0.03, x + 0.065], y + 0.06, y + 0.94, color=colour, linewidth=0)
        ax.text(
            x + 0.1,
            y + 0.27,
            entry.id,
            fontsize=10.5,
            fontweight="bold",
            va="center",
            color="#1A1A1A",
        )
        ax.text(
            x + 0.93,
            y + 0.27,
            f"{verdict} {SIGN.get(verdict, '')}",
            fontsize=8,
            fontweight="bold",
            va="center",
            ha="right",
            color=colour,
        )
        ax.text(x + 0.1, y + 0.68, entry.short, fontsize=8.8, va="center", color="#1A1A1A")
    return Image(to_png(figure), alt=describe_wall(ledger))


def describe_wall(ledger: Ledger) -> str:
    """The wall in words: which claims got which verdict."""
    ids = {
        verdict: [entry.id for entry in ledger.entries if ledger.verdict(entry.id) == verdict]
        for verdict in ledger.counts()
    }
    return (
        "Verdicts. "
        + "; ".join(
            f"{verdict} ({len(names)}): {', '.join(names)}" for verdict, names in ids.items()
        )
        + "."
    )


# ---- the tables -----------------------------------------------------------------------------------------------------

HEADS = (
    "claim",
    "verdict",
    "where",
    "measured, 95 % interval",
    "against the threshold",
    "seeds",
    "notebook",
)
STYLE = """<style>
.course-claims { border-collapse: collapse; table-layout: auto !important; width: 100%; font-size: 13px; line-height: 1.4; }
.course-claims caption { text-align: left; font-weight: bold; font-size: 15px; padding: 4px 0; }
.course-claims th, .course-claims td { text-align: left !important; vertical-align: top; padding: 5px 8px; }
.course-claims th, .course-claims td { white-space: normal; }
.course-claims tbody { border-top: 2px solid #888; }
.course-claims tr { background: none !important; }
.course-claims .verdict { border-radius: 4px; padding: 1px 7px; font-weight: bold; display: inline-block; }
.course-claims td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.course-claims td.verdicts { min-width: 13em; }
.course-claims img { max-width: none !important; }
.course-claims small { display: block; margin-top: 3px; }
</style>"""


@dataclass(frozen=True)
class Table:
    """The claims of one family, with all their effects; HTML for the page, text for everything else."""

    title: str
    entries: tuple[Entry, ...]
    ledger: Ledger

    def __repr__(self) -> str:
        lines = [self.title]
        for entry in self.entries:
            cards = self.ledger.by_id[entry.id]
            lines += [f"  [{card.notebook[:2]}] {card.claim}" for card in cards] or [
                f"  {entry.id} {MISSING}"
            ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        heads = "".join(f"<th scope='col'>{head}</th>" for head in HEADS)
        bodies = "".join(self._body(entry) for entry in self.entries)
        return (
            f"{STYLE}<table class='course-claims'><caption>{html.escape(self.title)}</caption>"
            f"<thead><tr>{heads}</tr></thead>{bodies}</table>"
        )

    def _body(self, entry: Entry) -> str:
        cards = self.ledger.by_id[entry.id]
        height = sum(len(card.claim.effects) for card in cards) or 1
        first = (
            f"<th scope='rowgroup' rowspan='{height}'>{entry.id}<br/><span style='font-weight:normal'>"
            f"{html.escape(entry.sentence)}</span></th>"
        )
        if not cards:
            return f"<tbody><tr>{first}<td colspan='6'>{MISSING}</td></tr></tbody>"
        rows = [row for card in cards for row in _card_rows(card)]
        rows[0] = first + rows[0]
        return "<tbody>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</tbody>"


def families(ledger: Ledger) -> dict[str, Table]:
    """{"LR": table, ...} in the ledger's order."""
    return {
        short: Table(
            title, tuple(entry for entry in ledger.entries if entry.family == short), ledger
        )
        for short, title in ledger.families.items()
    }


def _card_rows(card: Card) -> list[str]:
    claim, rows = card.claim, []
    for number, (name, effect) in enumerate(claim.effects.items()):
        cells = f"<td>{html.escape(name) or '&ndash;'}</td><td class='number'>{html.escape(str(effect))}</td>"
        seeds = effect.seeds if effect.high > effect.low else "counted"
        cells += f"<td>{_whisker(claim, name)}</td><td>{seeds}</td>"
        if number == 0:
            span = f"rowspan='{len(claim.effects)}'"
            said = [f"Tested: {claim.statement}.", claim.note]
            told = "".join(f"<small>{html.escape(text)}</small>" for text in said if text)
            cells = f"<td {span} class='verdicts'>{_badge(claim)}{told}</td>{cells}<td {span}>{_link(card.notebook)}</td>"
        rows.append(cells)
    return rows


def _badge(claim: Claim) -> str:
    what = kind(claim.verdict)
    rest = claim.verdict.removeprefix(what)
    return (
        f"<span class='verdict' style='background:{TINT[what]};color:{COLOUR[what]}'>{SIGN[what]}&nbsp;{what}</span>"
        f"{html.escape(rest)}"
    )


def _link(notebook: str) -> str:
    return f"<a href='{notebook}.ipynb'>{notebook[:2]}</a>"


def threshold(claim: Claim, unit: str = "") -> str:
    """The threshold in words, in the unit of an effect: "above +1.0 points"."""
    bound = _bound(claim)
    if bound is None:
        return "no threshold"
    text = (
        str(Estimate(bound, bound, bound, 1, unit)).split(" [")[0] if bound else f"0 {unit}".strip()
    )
    return f"{'above' if claim.above is not None else 'below'} {text}"


def _bound(claim: Claim) -> float | None:
    return claim.above if claim.above is not None else claim.below


def _whisker(claim: Claim, name: str) -> str:
    """The interval as a small picture: a dashed line is the threshold, the claimed side is tinted. Effects of one claim
    that have the same unit share the scale. The picture's text stands in its place where pictures are not shown.
    """
    effect, bound = claim.effects[name], _bound(claim)
    if bound is None:
        return "&ndash;"
    verdict = claim.verdicts[name]
    ends = [
        bound,
        *(
            end
            for each in claim.effects.values()
            if each.unit == effect.unit
            for end in (each.low, each.high)
        ),
    ]
    margin = 0.08 * (max(ends) - min(ends)) or 1.0
    low, high = min(ends) - margin, max(ends) + margin
    edge, left, right, centre = (
        round(WIDTH * (value - low) / (high - low), 1)
        for value in (bound, effect.low, effect.high, effect.value)
    )
    colour = COLOUR[verdict]
    start, width = (edge, WIDTH - edge) if claim.above is not None else (0, edge)
    mark = {
        SUPPORTED: f"<circle cx='{centre}' cy='9' r='4' fill='{colour}'/>",
        OPEN: f"<circle cx='{centre}' cy='9' r='3.5' fill='white' stroke='{colour}' stroke-width='2'/>",
        REFUTED: f"<path d='M{centre - 4:.1f} 5l8 8m0-8l-8 8' stroke='{colour}' stroke-width='2.4'/>",
    }[verdict]
    drawing = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='18'>"
        f"<rect width='{WIDTH}' height='18' fill='white'/>"
        f"<rect x='{start}' width='{width:.1f}' height='18' fill='#E3EAF0'/>"
        f"<path d='M{edge} 0v18' stroke='#333' stroke-dasharray='3 2'/>"
        f"<path d='M{left} 9H{right}' stroke='{colour}' stroke-width='2.4'/>{mark}</svg>"
    )
    source = base64.b64encode(drawing.encode()).decode()
    return (
        f"<img width='{WIDTH}' height='18' alt='{verdict}: claimed {html.escape(threshold(claim, effect.unit))}' "
        f"src='data:image/svg+xml;base64,{source}'/>"
    )


# ---- how sure ------------------------------------------------------------------------------------------------------


def closest_calls(ledger: Ledger, count: int = 6) -> pd.DataFrame:
    """The decided effects whose intervals clear the threshold by least, in half-widths of the interval: first to fall.

    An effect that was counted, not sampled, has no width and is left out.
    """
    rows = [
        (
            card.claim.id,
            card.notebook[:2],
            name or "–",
            str(effect),
            threshold(card.claim, effect.unit),
            verdict,
            _clearance(card.claim, effect),
        )
        for card in ledger.cards
        for (name, effect), verdict in zip(
            card.claim.effects.items(), card.claim.verdicts.values(), strict=True
        )
        if verdict != OPEN and effect.high > effect.low
    ]
    columns = ["claim", "notebook", "where", "measured", "claimed", "verdict", "clears it by"]
    table = pd.DataFrame(rows, columns=columns).sort_values("clears it by").head(count)
    return table.round({"clears it by": 2}).reset_index(drop=True)


def _clearance(claim: Claim, effect: Estimate) -> float:
    """By how much of its half-width the interval stays clear of the threshold; negative when it holds it."""
    half = (effect.high - effect.low) / 2
    return abs((effect.low + effect.high) / 2 - _bound(claim)) / half - 1


def widened(ledger: Ledger) -> tuple[int, int]:
    """(decided effects, those still decided) if all sampled intervals of the course were to cover at once, with 95 %.

    Each is widened as Bonferroni asks for that many intervals, by Student's t with one degree of freedom less than there are
    seeds. Intervals that also cover the choice of images have more of them: the second number is a lower bound.
    """
    sampled = [
        (card.claim, effect)
        for card in ledger.cards
        for effect in card.claim.effects.values()
        if effect.high > effect.low and effect.seeds > 1 and card.claim.verdicts
    ]
    clear = np.array([_clearance(*each) for each in sampled])
    freedom = np.array([effect.seeds - 1 for _, effect in sampled])
    factor = stats.t.ppf(1 - 0.025 / max(len(sampled), 1), freedom) / stats.t.ppf(0.975, freedom)
    return int((clear > 0).sum()), int((clear + 1 > factor).sum())
