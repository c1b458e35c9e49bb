"""From several seeds to a verdict: intervals, paired differences, claim cards. Floor 3.

Two things make a measured accuracy uncertain: the seeds (another start, another order of batches) and the
validation images (another thousand digits). Every interval here covers both.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import (
    stdtrit,
)  # the quantile of t; scipy.stats would take half a second to import

from .engine.history import History


@dataclass(frozen=True)
class Estimate:
    """A measured value with its 95 % interval and the number of seeds (or repeats) behind it."""

    value: float
    low: float
    high: float
    seeds: int
    unit: str = ""

    def __str__(self) -> str:
        if self.unit == "%":
            return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]".replace("%", " %")
        if self.unit == "points":
            return f"{100 * self.value:+.1f} points [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"
        return f"{self.value:.3g}{self.unit and ' ' + self.unit} [{self.low:.3g}, {self.high:.3g}]"


def mean_interval(values: np.ndarray | list[float], unit: str = "") -> Estimate:
    """Mean of repeats and its 95 % interval by Student's t. Raises ValueError for fewer than two finite values."""
    values = np.asarray(values, float).ravel()
    if len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(
            f"values: got {len(values)}, {np.isfinite(values).sum()} of them finite; "
            "takes at least two, all finite"
        )
    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / math.sqrt(len(values))
    return Estimate(values.mean(), values.mean() - half, values.mean() + half, len(values), unit)


def accuracy(history: History) -> Estimate:
    """Validation accuracy over all runs of ``history``, as an estimate for new seeds and new images."""
    return _two_way(history.val_correct.astype(float), unit="%")


def difference(treated: History, control: History) -> Estimate:
    """How many points of validation accuracy ``treated`` gains over ``control``, paired seed by seed and image by image.

    Raises ValueError unless both hold the same seeds, once each.
    """
    order = [np.argsort([config.seed for config in each.configs]) for each in (treated, control)]
    seeds = [
        [each.configs[row].seed for row in rows]
        for each, rows in zip((treated, control), order, strict=True)
    ]
    if seeds[0] != seeds[1] or len(set(seeds[0])) != len(seeds[0]):
        raise ValueError(
            f"seeds: got {seeds[0]} and {seeds[1]}, takes the same seeds on both sides, once each"
        )
    gain = treated.val_correct[order[0]].astype(float) - control.val_correct[order[1]]
    return _two_way(gain, unit="points")


def _two_way(table: np.ndarray, unit: str) -> Estimate:
    """Mean of a table [seed, image] whose rows and columns are both samples.

    The variance of the mean is that of the row means over the rows plus that of the column means over the columns:
    slightly too large rather than too small (Owen, 2007, "The pigeonhole bootstrap").
    """
    seeds, images = table.shape
    if seeds < 2:
        raise ValueError(f"history: got {seeds} run, takes at least two seeds")
    by_seed = table.mean(1).var(ddof=1) / seeds
    by_image = table.mean(0).var(ddof=1) / images
    total = by_seed + by_image
    if total == 0:
        return Estimate(table.mean(), table.mean(), table.mean(), seeds, unit)
    freedom = total**2 / (
        by_seed**2 / (seeds - 1) + by_image**2 / (images - 1)
    )  # Welch and Satterthwaite
    half = stdtrit(freedom, 0.975) * math.sqrt(total)
    return Estimate(table.mean(), table.mean() - half, table.mean() + half, seeds, unit)


def curve_interval(
    history: History, metric: str = "val_accuracy"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean, low, high) of a curve [epoch] over the runs; for accuracies the validation images count as a sample too.

    An epoch that some runs did not reach is averaged over those that did.
    """
    curve = getattr(history, metric)
    reached = np.maximum(np.isfinite(curve).sum(0), 1)
    with np.errstate(invalid="ignore"):
        mean = np.where(np.isfinite(curve).any(0), np.nansum(curve, 0) / reached, np.nan)
        variance = np.nansum((curve - mean) ** 2, 0) / np.maximum(reached - 1, 1) / reached
        if metric.endswith("accuracy"):
            variance = variance + mean * (1 - mean) / history.val_correct.shape[1]
    half = stdtrit(np.maximum(reached - 1, 1), 0.975) * np.sqrt(variance)
    return mean, mean - half, mean + half


def epochs_to(history: History, target: float) -> np.ndarray:
    """[run]: the first epoch whose validation accuracy reaches the target; one more than the last, if none does."""
    reached = history.val_accuracy >= target
    return np.where(reached.any(1), reached.argmax(1) + 1, reached.shape[1] + 1)


def basin(history: History) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(rates, mean, low, high): final validation accuracy by learning rate; a run that diverged counts as chance."""
    groups = history.by("learning_rate")
    rates = sorted(groups)
    estimates = [accuracy(groups[rate]) for rate in rates]
    return (
        np.array(rates),
        *(
            np.array([getattr(each, name) for each in estimates])
            for name in ("value", "low", "high")
        ),
    )


def basin_width(history: History, within: float = 0.02) -> Estimate:
    """Decades of learning rate whose accuracy comes within ``within`` of the best, measured for each seed by itself."""
    widths = []
    for runs in history.by("seed").values():
        accuracies, rates = (
            runs.val_correct.mean(1),
            np.array([config.learning_rate for config in runs.configs]),
        )
        good = np.log10(rates[accuracies >= accuracies.max() - within])
        widths.append(good.max() - good.min())
    return mean_interval(widths, "decades")


@dataclass(frozen=True)
class Claim:
    """A claim of the course's ledger, with what was measured and the verdict that follows.

    Shown in a notebook, it is a card; the output's metadata carry the same as data under "claim", from which the
    closing table of the course is gathered.
    """

    id: str
    statement: str
    verdict: str
    effects: dict[str, Estimate]
    note: str = ""
    above: float | None = None
    below: float | None = None

    @property
    def verdicts(self) -> dict[str, str]:
        """{circumstance: verdict} of each effect by itself. Empty for a card made without a threshold."""
        if self.above is None and self.below is None:
            return {}
        return {
            name: _verdict(effect, self.above, self.below) for name, effect in self.effects.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """The card as plain data, for JSON; numbers to six digits. Effects are a list: notebooks sort what has names."""
        return {
            "id": self.id,
            "statement": self.statement,
            "verdict": self.verdict,
            "note": self.note,
            "above": _plain(self.above),
            "below": _plain(self.below),
            "effects": [
                {"name": name, **{key: _plain(value) for key, value in asdict(effect).items()}}
                for name, effect in self.effects.items()
            ],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Claim:
        """The card that ``to_dict`` wrote. Raises ValueError for a field that is missing or unknown."""
        try:
            effects = {
                effect["name"]: Estimate(
                    **{key: value for key, value in effect.items() if key != "name"}
                )
                for effect in data["effects"]
            }
            return cls(**data | {"effects": effects})
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"claim: got {data!r}, takes what Claim.to_dict writes ({error})"
            ) from error

    def __str__(self) -> str:
        measured = "; ".join(
            f"{name}: {effect}" if name else str(effect) for name, effect in self.effects.items()
        )
        seeds = sorted({effect.seeds for effect in self.effects.values()})
        count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        return f"{self.id} {self.statement}: {self.verdict}. {measured}; {count} seeds. {self.note}".rstrip()

    def _repr_markdown_(self) -> str:
        rest = str(self).removeprefix(f"{self.id} {self.statement}: {self.verdict}. ")
        return f"> **{self.id}** {self.statement}: ***{self.verdict}***\n>\n> {rest}"

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """The card for a notebook, with the claim as data in the output's metadata."""
        return {"text/plain": str(self), "text/markdown": self._repr_markdown_()}, {
            "claim": self.to_dict()
        }


def _plain(value: Any) -> Any:
    """A number of NumPy's as one of Python's, to six digits."""
    return (
        float(f"{value:.6g}")
        if isinstance(value, (float, np.floating))
        else int(value)
        if isinstance(value, np.integer)
        else value
    )


def _verdict(effect: Estimate, above: float | None, below: float | None) -> str:
    low, high = (
        (effect.low - above, effect.high - above)
        if above is not None
        else (below - effect.high, below - effect.low)
    )
    return "supported" if low > 0 else "refuted" if high < 0 else "not settled"


def claim(
    id: str,
    statement: str,
    effect: Estimate | dict[str, Estimate],
    *,
    above: float | None = None,
    below: float | None = None,
    depends_on: str = "",
    note: str = "",
) -> Claim:
    """The verdict on a claim that an effect lies above (or below) a threshold.

    *supported* when the whole 95 % interval lies on the claimed side, *refuted* when it lies on the other,
    *not settled* when it holds the threshold. Several effects, as {circumstance: Estimate}, are judged one by one;
    where they disagree, the verdict is *depends on ...* what ``depends_on`` names. Raises ValueError for no threshold or
    two, for no effect, and for an effect that is not a finite number: no verdict follows from that.
    """
    if (above is None) == (below is None):
        raise ValueError(f"above, below: got {above} and {below}, takes exactly one threshold")
    effects = effect if isinstance(effect, dict) else {"": effect}
    if not effects:
        raise ValueError("effect: got none, takes one Estimate or more")
    for name, each in effects.items():
        if not np.isfinite([each.value, each.low, each.high]).all():
            raise ValueError(
                f"effect{f' of {name!r}' if name else ''}: got {each}, takes finite numbers"
            )
    verdicts = {_verdict(each, above, below) for each in effects.values()}
    verdict = (
        verdicts.pop() if len(verdicts) == 1 else f"depends on {depends_on or 'the circumstances'}"
    )
    return Claim(id, statement, verdict, effects, note, above, below)
