"""The wall of claims, and the tables behind it."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from .ledger import DEPENDS, IN_PART, MISSING, Entry, Ledger

REFUTED_IN_PART = "refuted in part"  # settled in no circumstance but against the claim
# Each verdict has a colour (Okabe and Ito's, darker), its tint, and a word to do without them.
INK = {
    "supported": "#005A8C",
    IN_PART: "#005A8C",
    REFUTED_IN_PART: "#A03C00",
    "refuted": "#A03C00",
    DEPENDS: "#705400",
    "not settled": "#555555",
    MISSING: "#555555",
}
TINT = {
    "supported": "#DCEBF7",
    IN_PART: "#EEF5FB",
    REFUTED_IN_PART: "#FDF3EC",
    "refuted": "#FBE3D6",
    DEPENDS: "#FBF1CE",
    "not settled": "#EEEEEE",
    MISSING: "white",
}
COLUMNS, TILE = 4, 0.62  # tiles in a row, and a tile's height in inches


def plot_wall(ledger: Ledger, blank: bool = False) -> Figure:
    """One tile for each claim: what it says, one sign for each effect, its verdict in words.

    The most surprising stand first; ``blank`` leaves the verdicts to a class.
    """
    entries = list(ledger.entries) if blank else ledger.by_surprise()
    rows = -(-len(entries) // COLUMNS)
    figure, ax = plt.subplots(figsize=(10, TILE * rows), layout="none")
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.005, top=0.995)
    ax.set(xlim=(0, COLUMNS), ylim=(rows, 0))
    ax.axis("off")
    for number, entry in enumerate(entries):
        kind = MISSING if blank else _shown(ledger, entry)
        _tile(ax, number % COLUMNS, number // COLUMNS, entry, kind)
        if not blank:
            _verdict(ax, number % COLUMNS, number // COLUMNS, ledger, entry, kind)
    return figure


def _shown(ledger: Ledger, entry: Entry) -> str:
    """The kind of verdict, as the tile's colour and words tell it."""
    kind = ledger.kind(entry.id)
    held = any("✔" in card.strip for card in ledger.by_id[entry.id])
    return REFUTED_IN_PART if kind == IN_PART and not held else kind


def _tile(ax: Axes, x: int, y: int, entry: Entry, kind: str) -> None:
    ax.fill_between([x + 0.02, x + 0.98], y + 0.05, y + 0.95, color=TINT[kind], linewidth=0)
    ax.plot(
        [x + 0.02, x + 0.98, x + 0.98, x + 0.02, x + 0.02],
        [y + 0.05, y + 0.05, y + 0.95, y + 0.95, y + 0.05],
        color="#BBBBBB",
        linewidth=0.6,
    )
    ax.text(x + 0.05, y + 0.25, entry.id, fontsize=9, fontweight="bold", va="center")
    ax.text(x + 0.21, y + 0.25, entry.short, fontsize=9, va="center")


def _verdict(ax: Axes, x: int, y: int, ledger: Ledger, entry: Entry, kind: str) -> None:
    strip = "".join(card.strip for card in ledger.by_id[entry.id])
    strip = strip if len(strip) <= 8 else strip[:6] + "…"
    told = {DEPENDS: f"depends on {ledger.depends_on(entry.id)}", IN_PART: "supported in part"}
    words = textwrap.fill(told.get(kind, kind), 34, max_lines=2, placeholder=" …")
    color = INK[kind]
    ax.text(x + 0.96, y + 0.25, strip, fontsize=9, va="center", ha="right", color=color)
    ax.text(x + 0.05, y + 0.66, words, fontsize=8, va="center", color=color, linespacing=1.1)


def describe_wall(ledger: Ledger) -> str:
    """The wall in words: which claims got which verdict."""
    ids = {
        kind: [entry.id for entry in ledger.entries if ledger.kind(entry.id) == kind]
        for kind in ledger.counts()
    }
    told = [f"{kind} ({len(names)}): {', '.join(names)}" for kind, names in ids.items()]
    return "Verdicts. " + "; ".join(told) + "."


class Table(Styler):
    """A styled table that is plain text where there is no page."""

    def __repr__(self) -> str:
        return f"{self.caption}\n{self.data.to_string(index=False)}"


def family_table(ledger: Ledger, family: str) -> Table:
    """All effects of the claims of one family, one row each; each card in the words it tested."""
    rows = [
        {
            "claim": f"{entry.id} {card.claim.statement}",
            "verdict": card.claim.verdict,
            "where": name,
            "measured, with its 95 % interval": f"{sign} {effect}",
            "notebook": card.notebook[:2],
        }
        for entry in ledger.entries
        if entry.family == family
        for card in ledger.by_id[entry.id]
        for sign, (name, effect) in zip(card.strip, card.claim.effects.items(), strict=True)
    ]
    table = pd.DataFrame(rows)
    repeated = table.duplicated(["claim", "verdict", "notebook"])
    table.loc[repeated, ["claim", "verdict", "notebook"]] = ""
    styled = Table(table, uuid=family, caption=ledger.families[family])
    styled.hide(axis="index")
    look = {"text-align": "left", "vertical-align": "top", "white-space": "normal"}
    styled.set_properties(**look)
    styled.set_table_styles([{"selector": "th", "props": "text-align: left"}])
    return styled


class Tables:
    """Tables that a reader opens one by one; all of them where there is no page."""

    def __init__(self, tables: dict[str, Table]):
        self.tables = tables

    def _repr_html_(self) -> str:
        return "".join(
            f"<details><summary>{title}</summary>{table.to_html()}</details>"
            for title, table in self.tables.items()
        )

    def __repr__(self) -> str:
        return "\n\n".join(map(repr, self.tables.values()))


def family_tables(ledger: Ledger) -> Tables:
    """One table for each family, to be opened by its name and the ids of its claims."""
    tables = {}
    for family, name in ledger.families.items():
        ids = [entry.id for entry in ledger.entries if entry.family == family]
        tables[f"{name}: {', '.join(ids)}"] = family_table(ledger, family)
    return Tables(tables)
