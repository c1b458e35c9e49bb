"""All claims of the course, and what its notebooks measured of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ...claims import SIGNS, Claim
from ...evidence import Estimate
from ...files import DATA_FOLDER, read_json

IN_PART, DEPENDS, MISSING = "in part", "depends", "not measured"
# The most surprising first: advice that fell, advice that forgot a circumstance, and so on.
KINDS = ("refuted", DEPENDS, "not settled", IN_PART, "supported", MISSING)


@dataclass(frozen=True)
class Entry:
    """A claim as the course's sources make it, and the notebooks (their numbers) that test it."""

    id: str
    short: str
    sentence: str
    notebooks: tuple[str, ...]

    @property
    def family(self) -> str:
        return self.id.rstrip("0123456789")


@dataclass(frozen=True)
class Card:
    """A claim as one notebook measured it."""

    notebook: str
    claim: Claim

    @property
    def kind(self) -> str:
        """One of ``KINDS``: "in part" where some circumstances settle it and others do not."""
        verdict = self.claim.verdict
        if verdict.startswith("depends"):
            return DEPENDS
        return verdict if verdict in KINDS else IN_PART

    @property
    def strip(self) -> str:
        """One sign for each effect: ✔ held, ✘ fell, ○ open."""
        return "".join(SIGNS[verdict] for verdict in self.claim.verdicts.values())


@dataclass(frozen=True)
class Ledger:
    """All claims, with all cards that were made of them."""

    families: dict[str, str]
    entries: tuple[Entry, ...]
    cards: tuple[Card, ...]

    @cached_property
    def by_id(self) -> dict[str, list[Card]]:
        """{id: its cards}. Raises ValueError for a card that stands in no entry."""
        found: dict[str, list[Card]] = {entry.id: [] for entry in self.entries}
        for card in self.cards:
            if card.claim.id not in found:
                got = f"got {card.claim.id!r} in {card.notebook}"
                raise ValueError(f"claim: {got}, takes an id of the ledger")
            found[card.claim.id].append(card)
        return found

    def kind(self, id: str) -> str:
        """The verdict over all cards of a claim: "depends" where cards support and refute it."""
        kinds = {card.kind for card in self.by_id[id]}
        if len(kinds) <= 1:
            return kinds.pop() if kinds else MISSING
        return DEPENDS if DEPENDS in kinds or {"supported", "refuted"} <= kinds else IN_PART

    def depends_on(self, id: str) -> str:
        """What the verdict depends on, in the words of the first card that says so."""
        for card in self.by_id[id]:
            if card.kind == DEPENDS:
                return card.claim.verdict.removeprefix("depends on ")
        return "the data" if self.kind(id) == DEPENDS else ""

    def counts(self) -> dict[str, int]:
        """{kind of verdict: number of claims}; only what occurs, the most surprising first."""
        counted = Counter(self.kind(entry.id) for entry in self.entries)
        return {kind: counted[kind] for kind in KINDS if counted[kind]}

    def by_surprise(self) -> list[Entry]:
        return sorted(self.entries, key=lambda entry: KINDS.index(self.kind(entry.id)))

    def missing(self) -> list[str]:
        """What the ledger promises and no notebook shows, as "RG4 in 15"."""
        return [
            f"{entry.id} in {number}"
            for entry in self.entries
            for number in entry.notebooks
            if not any(card.notebook.startswith(number) for card in self.by_id[entry.id])
        ]


def load_ledger(folder: Path = DATA_FOLDER) -> Ledger:
    """The list of claims, and the cards that the notebooks stored (gathered by ``make notebooks``).

    Raises FileNotFoundError without either file, ValueError for one that is damaged.
    """
    listed = read_json(folder / "claims_ledger.json")
    entries = tuple(
        Entry(**each | {"notebooks": tuple(each["notebooks"])}) for each in listed["claims"]
    )
    cards = tuple(
        Card(
            each["notebook"],
            Claim.from_dict({key: value for key, value in each.items() if key != "notebook"}),
        )
        for each in read_json(folder / "claims.json")
    )
    return Ledger(listed["families"], entries, cards)


# How sure? ----------------------------------------------------------------------------------------


def clearance(claim: Claim, effect: Estimate) -> float:
    """How far an interval stays clear of the threshold, in half-widths; negative if it holds it."""
    bound = claim.above if claim.above is not None else claim.below
    assert bound is not None
    half = (effect.high - effect.low) / 2
    return abs((effect.low + effect.high) / 2 - bound) / half - 1


def sampled(ledger: Ledger) -> list[tuple[Card, str, Estimate]]:
    """(card, circumstance, effect) of all effects with an interval: what was counted has none."""
    return [
        (card, name, effect)
        for card in ledger.cards
        for name, effect in card.claim.effects.items()
        if not effect.is_counted and effect.high > effect.low
    ]


def closest_calls(ledger: Ledger, count: int = 6) -> pd.DataFrame:
    """The decided effects whose intervals clear the threshold by least: the first to fall."""
    rows = [
        {
            "claim": card.claim.id,
            "notebook": card.notebook[:2],
            "where": name,
            "measured": str(effect),
            "verdict": card.claim.verdicts[name],
            "clears it by": round(clearance(card.claim, effect), 2),
        }
        for card, name, effect in sampled(ledger)
        if card.claim.verdicts[name] != "not settled"
    ]
    return pd.DataFrame(rows).sort_values("clears it by").head(count).reset_index(drop=True)


def right_at_once(ledger: Ledger) -> tuple[int, int]:
    """(decided effects, those still decided) if all intervals were to be right at once, with 95 %.

    Each is widened as Bonferroni asks for that many intervals, by Student's t with one degree of
    freedom less than there are seeds. Those that also cover the choice of images have more: the
    second number is a lower bound. A number that a notebook shows twice, on two cards or in two
    circumstances that come to the same, is one, and counts by the threshold nearer to it.
    """
    nearest: dict[tuple, tuple[float, int]] = {}
    for card, _, effect in sampled(ledger):
        measured = (card.notebook, effect.value, effect.low, effect.high)
        here = clearance(card.claim, effect), max(effect.seeds - 1, 1)
        nearest[measured] = min(nearest.get(measured, here), here)
    clear, freedom = np.array(list(nearest.values()) or [(0.0, 1)]).T
    share = 0.025 / max(len(nearest), 1)
    factor = stats.t.ppf(1 - share, freedom) / stats.t.ppf(0.975, freedom)
    return int((clear > 0).sum()), int((clear + 1 > factor).sum())


def robustness(ledger: Ledger) -> pd.DataFrame:
    """How many cards were repeated with wider grids or doubled training, and how many held."""
    rows = []
    for name in ("widened", "doubled"):
        told = [
            each.claim.robustness[name] for each in ledger.cards if name in each.claim.robustness
        ]
        rows.append({"repeated with": name, "cards": len(told), "held": told.count("holds")})
    return pd.DataFrame(rows).set_index("repeated with")


def fallen(ledger: Ledger) -> list[str]:
    """The cards whose verdict fell when their experiment was widened or doubled, in words."""
    return [
        f"{card.claim.id} in {card.notebook[:2]}, {name}: " + text.replace("*", '"')
        for card in ledger.cards
        for name, text in card.claim.robustness.items()
        if text != "holds"
    ]
