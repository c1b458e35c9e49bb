"""Claim cards: what was claimed, what was measured, and the verdict that follows.

A verdict follows from intervals and a threshold that was fixed before. Where circumstances differ,
"depends" needs more than one that is decided and one that is not: the difference between
significant and not significant is itself seldom significant (Gelman and Stern, 2006).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .evidence import Estimate
from .files import DATA_FOLDER, read_json

ROBUSTNESS = DATA_FOLDER / "robustness.json"
SIGNS = {"supported": "✔", "refuted": "✘", "not settled": "○"}
ALTERED = {"widened": "every grid one step wider", "doubled": "training twice as long"}

# Units that a threshold of one stands in.
ONE_OF = {"decades": "decade", "epochs": "epoch", "factors of two": "factor of two"}


@dataclass(frozen=True)
class Claim:
    """A claim of the course's ledger, with its effects, each under its own circumstance.

    Shown in a notebook, it is a card; the output's metadata carry the same as data under "claim",
    from which the closing table of the course is gathered.
    """

    id: str
    statement: str
    verdict: str
    effects: dict[str, Estimate]
    note: str = ""
    above: float | None = None
    below: float | None = None
    robustness: dict[str, str] = field(default_factory=dict)

    @property
    def verdicts(self) -> dict[str, str]:
        """{circumstance: verdict} of each effect by itself."""
        return {name: judge(each, self.above, self.below) for name, each in self.effects.items()}

    @property
    def flags(self) -> list[str]:
        """What a reader should know before trusting the card, each said once."""
        return list(dict.fromkeys(flag for each in self.effects.values() for flag in each.flags))

    def to_dict(self) -> dict[str, Any]:
        """The card as plain data, for JSON; numbers to six digits.

        The effects are a list of dicts, because notebooks sort the keys of what they store.
        """
        effects = [{"name": name, **asdict(effect)} for name, effect in self.effects.items()]
        return _plain({**asdict(self), "effects": effects})

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Claim:
        """The card that ``to_dict`` wrote. Raises ValueError for what is missing or unknown."""
        try:
            effects = {}
            for each in data["effects"]:
                fields = {key: value for key, value in each.items() if key != "name"}
                effects[each["name"]] = Estimate(**fields | {"flags": tuple(each.get("flags", ()))})
            return cls(**{**data, "effects": effects})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"claim: got {data!r}, takes what Claim.to_dict writes") from error

    def __str__(self) -> str:
        lines = [f"{self.id} {self.statement}: {self.verdict}"]
        for name, effect in self.effects.items():
            sign = SIGNS[self.verdicts[name]]
            lines.append(f"  {sign} {name + ': ' if name else ''}{effect}")
        return "\n".join([*lines, *("  " + line for line in self.remarks())])

    def remarks(self) -> list[str]:
        """What stands below the numbers: repeats, threshold, note, flags, robustness."""
        seeds = sorted({effect.seeds for effect in self.effects.values() if not effect.is_counted})
        unit = next(iter(self.effects.values())).unit
        side, limit = ("above", self.above) if self.above is not None else ("below", self.below)
        covers = dict.fromkeys(each.covers for each in self.effects.values() if each.covers)
        repeats = "repeats" if covers else "seeds"  # of a search, or of what else it covers
        lines = [
            f"Supported means {side} {_with_unit(limit or 0.0, unit)}"
            + (f"; {_count(seeds)} {repeats}." if seeds else ".")
        ]
        lines += [f"The intervals cover {each}." for each in covers]
        lines += [self.note] if self.note else []
        lines += [f"Mind: {flag}." for flag in self.flags]
        lines += [
            f"With {ALTERED.get(name, name)}: {text}." for name, text in self.robustness.items()
        ]
        return lines

    def _repr_markdown_(self) -> str:
        lines = [f"> **{self.id}** {self.statement}: ***{self.verdict}***", ">"]
        lines += ["> | | measured |", "> |:--|:--|"]
        for name, effect in self.effects.items():
            lines.append(f"> | {SIGNS[self.verdicts[name]]} {name} | {effect} |")
        return "\n".join([*lines, ">", "> " + " ".join(self.remarks())])

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """The card for a notebook, with the claim as data in the output's metadata."""
        texts = {"text/plain": str(self), "text/markdown": self._repr_markdown_()}
        return texts, {"claim": self.to_dict()}


def _with_unit(limit: float, unit: str) -> str:
    """A threshold as the effects beside it are written: shares and points in hundredths."""
    if unit == "points":
        return f"{100 * limit:g} point" + ("" if abs(limit) == 0.01 else "s")
    unit = ONE_OF.get(unit, unit) if abs(limit) == 1 else unit
    return f"{100 * limit:g} %" if unit == "%" else f"{limit:g} {unit}".rstrip()


def _count(seeds: list[int]) -> str:
    return f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"


def _plain(value: Any) -> Any:
    """Numbers of NumPy's as Python's, to six digits, wherever they stand."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, np.integer):
        return int(value)
    return float(f"{value:.6g}") if isinstance(value, (float, np.floating)) else value


def judge(effect: Estimate, above: float | None, below: float | None) -> str:
    """*supported* where the whole interval lies on the claimed side of the threshold, *refuted*
    where it lies on the other, *not settled* where it holds the threshold."""
    if above is not None:
        low, high = effect.low - above, effect.high - above
    else:
        assert below is not None
        low, high = below - effect.high, below - effect.low
    return "supported" if low > 0 else "refuted" if high < 0 else "not settled"


def differ(one: Estimate, two: Estimate) -> bool:
    """Whether the interval of the difference of two effects excludes zero."""
    apart = abs(one.value - two.value)
    upper, lower = (one, two) if one.value > two.value else (two, one)
    return apart > math.hypot(upper.value - upper.low, lower.high - lower.value)


TIED = "the first two cannot be told apart"


def first_of(effects: Mapping[str, Estimate]) -> str:
    """The name of the largest of two effects or more, or TIED if the next may be as large."""
    names = sorted(effects, key=lambda name: effects[name].value, reverse=True)
    return names[0] if differ(effects[names[0]], effects[names[1]]) else TIED


def verdict_of(
    effects: Mapping[str, Estimate], above: float | None, below: float | None, depends_on: str
) -> str:
    """One verdict for a claim under several circumstances.

    *depends on ...* where one circumstance supports and another refutes it, or where two that are
    judged differently also differ from each other; else each verdict with its circumstances.
    """
    by_verdict: dict[str, list[str]] = {}
    for name, effect in effects.items():
        by_verdict.setdefault(judge(effect, above, below), []).append(name)
    if len(by_verdict) == 1:
        return next(iter(by_verdict))
    groups = list(by_verdict.values())
    apart = [
        differ(effects[one], effects[two])
        for place, group in enumerate(groups)
        for other in groups[place + 1 :]
        for one in group
        for two in other
    ]
    if {"supported", "refuted"} <= set(by_verdict) or any(apart):
        return f"depends on {depends_on or 'the circumstances'}"
    order = [name for name in SIGNS if name in by_verdict]
    return "; ".join(f"{name} for {', '.join(by_verdict[name])}" for name in order)


def claim(
    id: str,
    statement: str,
    effect: Estimate | Mapping[str, Estimate],
    *,
    above: float | None = None,
    below: float | None = None,
    depends_on: str = "",
    note: str = "",
) -> Claim:
    """The verdict on a claim that an effect lies above (or below) a threshold, as a card.

    Several effects are one quantity under several circumstances, {circumstance: Estimate}; if they
    are judged differently, the verdict may be that it depends on what ``depends_on`` names. Raises
    ValueError for no threshold or two, for no effect, for effects in different units, and for an
    effect that is not a finite number.
    """
    if (above is None) == (below is None):
        raise ValueError(f"above, below: got {above} and {below}, takes exactly one threshold")
    effects = dict(effect) if isinstance(effect, Mapping) else {"": effect}
    if not effects:
        raise ValueError("effect: got none, takes one Estimate or more")
    units = {each.unit for each in effects.values()}
    if len(units) > 1:
        got = ", ".join(sorted(map(repr, units)))
        raise ValueError(
            f"effect: got the units {got}, takes one quantity under several circumstances"
        )
    for name, each in effects.items():
        if not np.isfinite([each.value, each.low, each.high]).all():
            of = f" of {name!r}" if name else ""
            raise ValueError(f"effect{of}: got {each}, takes finite numbers")
    verdict = verdict_of(effects, above, below, depends_on)
    tried = robustness_of(id, list(effects), verdict, _robustness())
    return Claim(id, statement, verdict, effects, note, above, below, tried)


@functools.cache
def _robustness() -> list[dict[str, Any]]:
    """The cards of experiments that were repeated with wider grids, or longer training."""
    return read_json(ROBUSTNESS)["cards"] if ROBUSTNESS.exists() else []


def robustness_of(
    id: str, circumstances: list[str], verdict: str, repeated: list[dict[str, Any]]
) -> dict[str, str]:
    """{how the experiment was altered: "holds", or what the verdict falls to}, as far as tried:
    where nothing was trained or tuned, there was nothing to alter."""
    found = {}
    for card in repeated:
        names = [each["name"] for each in card["effects"]]
        if card["id"] == id and names == circumstances and card["reached"]:
            same = card["verdict"] == verdict
            found[card["altered"]] = "holds" if same else f"falls to *{card['verdict']}*"
    return found
