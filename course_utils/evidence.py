"""From several seeds to an interval: estimates, paired differences, curves with their bands.

Two things make a measured accuracy uncertain: the seeds (another start, another order of batches)
and the validation images (another thousand digits). Intervals of accuracies cover both, and a band
in a figure comes from the same function as the interval that is printed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import (
    stdtrit,  # the quantile of t; scipy.stats would take half a second to import
)

from .engine.history import History
from .estimates import (
    Estimate,
    correlation_interval,
    counted,
    mean_interval,
    ratio_interval,
    share_interval,
)

__all__ = [
    "Estimate",
    "accuracy",
    "basin",
    "basin_width",
    "basin_widths",
    "correlation_interval",
    "counted",
    "curve_interval",
    "difference",
    "epochs_to",
    "mean_interval",
    "ratio_interval",
    "share_interval",
]


# Accuracies ---------------------------------------------------------------------------------------


def accuracy(history: History) -> Estimate:
    """Validation accuracy of several seeds, as an estimate for new seeds and new images.

    Raises ValueError unless the runs differ in their seed alone, each seed once: repeats of one run
    are no repeats, and a mean over several settings is the accuracy of none.
    """
    _refuse_mixtures(history)
    _refuse_repeats(history)
    return _two_way(history.val_correct.astype(float), "%")


def difference(treated: History, control: History) -> Estimate:
    """Points of validation accuracy that ``treated`` gains over ``control``.

    Paired seed by seed and image by image. Raises ValueError unless both hold the same seeds, once
    each.
    """
    sides = {"treated": treated, "control": control}
    rows, seeds = {}, {}
    for name, side in sides.items():
        _refuse_mixtures(side, name)
        rows[name] = np.argsort([config.seed for config in side.configs])
        seeds[name] = [side.configs[row].seed for row in rows[name]]
    if seeds["treated"] != seeds["control"]:
        got = f"got {seeds['treated']} and {seeds['control']}"
        raise ValueError(f"seeds: {got}, takes the same seeds on both sides, once each")
    _refuse_repeats(treated)
    both = [side.val_correct[rows[name]].astype(float) for name, side in sides.items()]
    if both[0].shape != both[1].shape:
        counts = " and ".join(str(each.shape[1]) for each in both)
        raise ValueError(f"images: got {counts}, takes runs judged by the same validation images")
    return _two_way(both[0] - both[1], "points")


def _refuse_mixtures(history: History, name: str = "history") -> None:
    mixed = [field for field in history.varied() if field != "seed"]
    if mixed:
        raise ValueError(
            f"{name}: its runs differ in {', '.join(mixed)}, takes runs that differ in their seed "
            "alone: select one setting first"
        )


def _refuse_repeats(history: History) -> None:
    seeds = [config.seed for config in history.configs]
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice:
        named = ", ".join(map(str, twice))
        raise ValueError(
            f"seeds: {named} stands more than once; one run repeated is no new evidence"
        )


def _two_way(table: np.ndarray, unit: str) -> Estimate:
    """Mean of a table [seed, image] whose rows and columns are both samples."""
    seeds, images = table.shape
    if seeds < 2:
        raise ValueError(f"history: got {seeds} run, takes at least two seeds")
    by_seed = table.mean(1).var(ddof=1) / seeds
    by_image = table.mean(0).var(ddof=1) / images
    mean = table.mean()
    half = _half_width(by_seed, by_image, seeds, images)
    low, high = _within_unit(mean, half) if unit == "%" else (mean - half, mean + half)
    return Estimate(float(mean), float(low), float(high), seeds, unit)


def _half_width(by_seed: Any, by_image: Any, seeds: Any, images: int) -> Any:
    """Half a 95 % interval, from the variance of a mean over seeds and that over images.

    Their sum is slightly too large rather than too small (Owen, 2007, "The pigeonhole bootstrap");
    the degrees of freedom are Welch's and Satterthwaite's.
    """
    total = by_seed + by_image
    seeds = np.maximum(seeds, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = total**2 / (by_seed**2 / (seeds - 1) + by_image**2 / max(images - 1, 1))
    return stdtrit(np.where(total > 0, freedom, 1.0), 0.975) * np.sqrt(total)


def _within_unit(share: Any, half: Any) -> tuple[Any, Any]:
    """(low, high) of a share: symmetric in log-odds, and so never below 0 or above 1."""
    slope = share * (1 - share)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        odds = np.log(share / (1 - share))
        low, high = (1 / (1 + np.exp(-(odds + sign * half / slope))) for sign in (-1, 1))
    return np.where(slope > 0, low, share), np.where(slope > 0, high, share)


def curve_interval(
    history: History, metric: str = "val_accuracy"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean, low, high) of a curve [epoch] over the runs; low and high are NaN for a single run.

    Raises ValueError unless the runs differ in their seed alone, each seed once, as ``accuracy``.

    An epoch that some runs did not reach is averaged over those that did. For accuracies the images
    count as a sample, too: at the last epoch the band is the interval that ``accuracy`` gives.
    """
    _refuse_mixtures(history)
    _refuse_repeats(history)
    curve = getattr(history, metric).astype(float)
    reached = np.isfinite(curve).sum(0)
    count = np.maximum(reached, 1)
    with np.errstate(invalid="ignore"):
        mean = np.where(reached > 0, np.nansum(curve, 0) / count, np.nan)
        by_seed = np.nansum((curve - mean) ** 2, 0) / np.maximum(count - 1, 1) / count
    if not metric.endswith("accuracy"):
        half = _half_width(by_seed, 0.0, count, 2)
        low, high = mean - half, mean + half
    else:
        correct = history.val_correct.mean(0)
        spread, share = correct.var(ddof=1) if len(correct) > 1 else 0.0, correct.mean()
        # What the images add is known after the last epoch; before, it is taken in proportion.
        part = spread / (share * (1 - share)) if 0 < share < 1 else 1.0
        by_image = part * mean * (1 - mean) / len(correct)
        low, high = _within_unit(mean, _half_width(by_seed, by_image, count, len(correct)))
    alone = reached < 2
    return mean, np.where(alone, np.nan, low), np.where(alone, np.nan, high)


# Learning curves and learning rates ---------------------------------------------------------------


def epochs_to(history: History, target: float) -> np.ndarray:
    """[run]: the first epoch whose validation accuracy reaches the target; one more than the last,
    if none does."""
    reached = history.val_accuracy >= target
    return np.where(reached.any(1), reached.argmax(1) + 1, reached.shape[1] + 1)


def basin(history: History) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(rates, mean, low, high): final validation accuracy by learning rate; a run that diverged
    counts as chance."""
    groups = history.by("learning_rate")
    rates = sorted(groups)
    found = [accuracy(groups[rate]) for rate in rates]
    mean, low, high = (
        np.array([getattr(each, end) for each in found]) for end in ("value", "low", "high")
    )
    return np.array(rates), mean, low, high


def basin_widths(history: History, within: float = 0.02) -> np.ndarray:
    """[seed]: decades between the smallest and the largest learning rate whose accuracy comes
    within ``within`` of the seed's best; between two rates, the curve is taken to be straight."""
    widths = []
    for runs in history.by("seed").values():
        order = np.argsort([config.learning_rate for config in runs.configs])
        rates = np.log10([runs.configs[row].learning_rate for row in order])
        height = runs.val_correct.mean(1)[order] - (runs.val_correct.mean(1).max() - within)
        good = np.flatnonzero(height >= 0)
        left, right = good[0], good[-1]
        low, high = rates[left], rates[right]
        if left > 0:
            low -= (
                (rates[left] - rates[left - 1]) * height[left] / (height[left] - height[left - 1])
            )
        if right < len(rates) - 1:
            step = rates[right + 1] - rates[right]
            high += step * height[right] / (height[right] - height[right + 1])
        widths.append(high - low)
    return np.array(widths)


def basin_width(history: History, within: float = 0.02) -> Estimate:
    """Decades of learning rate within ``within`` of the best accuracy, measured for each seed."""
    return mean_interval(basin_widths(history, within), "decades")
