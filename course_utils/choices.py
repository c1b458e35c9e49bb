"""What a search without a model chooses, and what its choice is worth, hundreds of times at once.

By plain NumPy on the bank. Race number i takes place on split i of the bank's seeds, modulo their
number: some are searched on, the others judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .bank import Bank
from .replay import refuse_unknown, splits


class _Marks(NamedTuple):
    """What searches see and what they are judged by, on every split of the seeds."""

    scores: np.ndarray  # [split, entry, seed of the search]: final validation accuracy
    truth: np.ndarray  # [split, entry]: the mean over the seeds that judge
    test: np.ndarray  # [split, entry]: test accuracy, the mean over the seeds that judge


def _marks(bank: Bank) -> _Marks:
    parts, seen = splits(bank), len(bank.search_seeds)
    return _Marks(
        np.array([part.table()[:, :seen, -1] for part in parts]),
        np.array([part.truth() for part in parts]),
        np.array(
            [part.landscape("test_accuracy", seeds=part.judge_seeds).ravel() for part in parts]
        ),
    )


def grid_against_random(
    bank: Bank, levels: Mapping[str, int], races: int = 400, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Regret [race] of a grid, and of random search with as many full trainings, on some knobs.

    ``levels`` says which knobs are searched and how many values of each the grid has: evenly
    spaced, placed at random. The other knobs stay at a random place, the same for both. Random
    search draws without replacement. Regret counts from the best setting of the knobs searched.
    Raises ValueError for unknown knobs and impossible levels.
    """
    refuse_unknown("levels", levels, bank)
    for name, count in levels.items():
        if not 1 <= count <= len(bank.axes[name]):
            takes = f"takes 1 to {len(bank.axes[name])}"
            raise ValueError(f"levels: got {count} of {name}, {takes}")
    rng, regrets, marks = np.random.default_rng(seed), np.empty((races, 2)), _marks(bank)
    for race in range(races):
        split = race % len(marks.truth)
        scores, truth = marks.scores[split], marks.truth[split]
        entries, grid = _entries(bank, levels, rng)
        for column, tried in enumerate((grid, rng.choice(entries, len(grid), replace=False))):
            shown = scores[tried, rng.integers(scores.shape[1], size=len(tried))]
            regrets[race, column] = truth[entries].max() - truth[tried[shown.argmax()]]
    return regrets[:, 0], regrets[:, 1]


def _entries(
    bank: Bank, levels: Mapping[str, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(all entries that the searched knobs can reach, those on a grid placed at random)."""
    everywhere, on_grid = [], []
    for name, values in bank.axes.items():
        if name in levels:
            count = levels[name]
            spaced = (np.arange(count) + rng.random()) * len(values) / count
            everywhere.append(np.arange(len(values)))
            on_grid.append(spaced.astype(int))
        else:
            place = rng.integers(len(values), size=1)
            everywhere.append(place)
            on_grid.append(place)
    reached, grid = (
        np.ravel_multi_index(np.meshgrid(*places, indexing="ij"), bank.shape).ravel()
        for places in (everywhere, on_grid)
    )
    return reached, grid


class Winners(NamedTuple):
    """The choices of many random searches, arrays [race].

    entry       what was chosen
    shown       the validation accuracy for which it was chosen
    again       that of the same setting with other seeds
    test        its accuracy on the test digits, with these other seeds
    overlooked  whether a truly better one was among those tried
    """

    entry: np.ndarray
    shown: np.ndarray
    again: np.ndarray
    test: np.ndarray
    overlooked: np.ndarray


def winners(
    bank: Bank, trials: int, finalists: int = 1, races: int = 1000, seed: int = 0
) -> Winners:
    """What random searches of so many full trainings choose, and what their choice is worth.

    Each trial is another entry and sees one of the seeds of the search. With more than one of the
    ``finalists``, the best few are trained again with the other, and the new number alone decides.
    The seeds that judge chose nothing.
    """
    entries = int(np.prod(bank.shape))
    if not 1 <= finalists <= trials <= entries:
        got = f"got {trials} and {finalists}"
        takes = f"take 1 or more, at most {entries}, and no more finalists than trials"
        raise ValueError(f"trials, finalists: {got}, {takes}")
    rng, marks, count = np.random.default_rng(seed), _marks(bank), len(bank.search_seeds)
    rows = np.arange(races)
    split = rows % len(marks.truth)
    entry = rng.permuted(np.tile(np.arange(entries), (races, 1)), axis=1)[:, :trials]
    drawn = rng.integers(count, size=entry.shape)
    scores = marks.scores[split[:, None], entry, drawn]
    best = np.argsort(-scores, axis=1, kind="stable")[:, :finalists]
    few, drawn = np.take_along_axis(entry, best, 1), np.take_along_axis(drawn, best, 1)
    if finalists > 1:
        drawn = (drawn + 1) % count
    shown = marks.scores[split[:, None], few, drawn]
    column = shown.argmax(1)
    chosen = few[rows, column]
    again = marks.truth[split, chosen]
    overlooked = again < marks.truth[split[:, None], entry].max(1)
    return Winners(chosen, shown[rows, column], again, marks.test[split, chosen], overlooked)
