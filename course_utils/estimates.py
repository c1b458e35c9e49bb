"""A measured value with its interval: means, ratios, shares and correlations of repeats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit  # the quantile of t; scipy.stats takes half a second to import

NORMAL = 1.959963984540054  # the quantile of the normal distribution that 95 % intervals take


@dataclass(frozen=True)
class Estimate:
    """A measured value with its 95 % interval and the number of seeds (or repeats) behind it.

    ``covers`` says what the interval is about where it is not seeds and images; ``flags`` what a
    reader should know before trusting it. A counted thing has no interval: see ``counted``.
    """

    value: float
    low: float
    high: float
    seeds: int
    unit: str = ""
    covers: str = ""
    flags: tuple[str, ...] = ()

    @property
    def is_counted(self) -> bool:
        return self.seeds == 0

    def flagged(self, *flags: str) -> Estimate:
        """The same with more flags; none stands twice."""
        return replace(self, flags=tuple(dict.fromkeys((*self.flags, *flags))))

    def __str__(self) -> str:
        texts = [_text(number, self.unit) for number in (self.value, self.low, self.high)]
        unit = {"%": " %", "points": " points", "": ""}.get(self.unit, f" {self.unit}")
        if self.is_counted:
            return texts[0] + unit
        inside = unit if self.unit == "%" else ""
        return f"{texts[0]}{unit} [{texts[1]}{inside}, {texts[2]}{inside}]"


def _text(number: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * number:.1f}"
    return f"{100 * number:+.1f}" if unit == "points" else f"{number:.3g}"


def counted(value: float, unit: str = "") -> Estimate:
    """Something that was counted, not sampled: bytes, parameters, updates. It has no interval."""
    return Estimate(float(value), float(value), float(value), 0, unit)


def mean_interval(
    values: np.ndarray | Sequence[float], unit: str = "", covers: str = ""
) -> Estimate:
    """Mean of repeats and its 95 % interval by Student's t.

    ``covers`` names the luck that differs between the repeats, where that is not the seed's: a
    thousand resamplings of one table say nothing of another table. Raises ValueError for fewer than
    two finite values.
    """
    values = np.asarray(values, float).ravel()
    finite = np.isfinite(values).sum()
    if len(values) < 2 or finite < len(values):
        got = f"got {len(values)}, {finite} of them finite"
        raise ValueError(f"values: {got}; takes at least two, all finite")
    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / math.sqrt(len(values))
    mean = float(values.mean())
    return Estimate(mean, mean - half, mean + half, len(values), unit, covers)


def ratio_interval(above: Sequence[float], below: Sequence[float], unit: str = "times") -> Estimate:
    """How many times larger ``above`` is than ``below``, pair by pair: the geometric mean.

    Both hold positive numbers. Raises ValueError for others.
    """
    pairs = np.array([above, below], float)
    if not (pairs > 0).all():
        raise ValueError(f"above, below: got {pairs.min():g}, take positive numbers")
    logarithm = mean_interval(np.log(pairs[0] / pairs[1]))
    low, value, high = (math.exp(each) for each in (logarithm.low, logarithm.value, logarithm.high))
    return Estimate(value, low, high, logarithm.seeds, unit)


def share_interval(successes: int, trials: int, covers: str = "") -> Estimate:
    """A share of so many trials, with Wilson's interval (1927), which stays between 0 and 1.

    ``covers`` names what differs between the trials, where that is not the seed. Raises ValueError
    unless 0 <= successes <= trials, and trials is at least 1.
    """
    if not (trials >= 1 and 0 <= successes <= trials):
        raise ValueError(
            f"successes, trials: got {successes} of {trials}, takes 0 to all of 1 or more"
        )
    share, weight = successes / trials, NORMAL**2 / trials
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Estimate(share, min(low, share), max(high, share), trials, "%", covers)


def correlation_interval(x: Sequence[float], y: Sequence[float], covers: str = "") -> Estimate:
    """Spearman's rank correlation with an interval by Fisher's z, which stays between -1 and 1.

    The variance of z is (1 + r^2 / 2) / (n - 3) for ranks (Bonett and Wright, 2000). ``covers``
    names what differs between the pairs, where that is not the seed. Raises
    ValueError for fewer than five pairs, and where one side is constant.
    """
    from scipy.stats import spearmanr  # slow to import

    if len(x) != len(y) or len(x) < 5 or min(np.ptp(x), np.ptp(y)) == 0:
        raise ValueError(f"x, y: got {len(x)} and {len(y)}, take five pairs or more that vary")
    value = float(spearmanr(x, y).statistic)
    z = math.atanh(min(max(value, -1 + 1e-12), 1 - 1e-12))
    half = NORMAL * math.sqrt((1 + value**2 / 2) / (len(x) - 3))
    return Estimate(value, math.tanh(z - half), math.tanh(z + half), len(x), "", covers)
