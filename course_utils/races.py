"""Races between search methods on the bank: hundreds of complete searches, run once and stored.

``make races`` replays them and writes data/races.npz; ``load_races`` reads it. All methods have
equal repeats and an equal budget in epochs. Race number i is run with seed i on split i, modulo the
number of splits: so every way to share the seeds out is raced equally often.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from optuna import pruners, samplers
from optuna.exceptions import ExperimentalWarning

from .bank import Bank, read_sealed
from .evidence import Estimate, mean_interval
from .files import DATA_FOLDER, restore
from .replay import COVERS, Replay, WithoutRepeats, less_regret, replay

RACES = "races.npz"
COUNTS = ("trials", "distinct", "epochs", "startup")
ARRAYS = {"about", "budgets", "truth", "leader", "seconds", *COUNTS}


@dataclass(frozen=True)
class Method:
    """A way to search.

    sampler  (bank, seed) -> Optuna sampler
    pruner   bank -> Optuna pruner; None trains every trial to the end
    startup  so many first trials are drawn at random, before the method's model has a say
    idle     so many knobs more, which do nothing
    words    its settings, to read
    """

    sampler: Callable[[Bank, int], samplers.BaseSampler]
    words: str
    pruner: Callable[[Bank], pruners.BasePruner] | None = None
    startup: int = 0
    idle: int = 0


def _grid(bank: Bank, seed: int) -> samplers.BaseSampler:
    """As many levels of each knob as 50 trials allow: which knob gets how many is drawn at random,
    for a grid that knew which knob matters would know the answer. So is where they lie."""
    rng = np.random.default_rng([seed, 2])
    levels = rng.permutation(np.resize([3, 3, 3, 2], len(bank.shape)))
    space = {}
    for (name, values), count in zip(bank.axes.items(), levels, strict=True):
        places = (np.arange(count) + rng.random()) * len(values) / count
        space[name] = sorted({int(place) for place in places})
    return samplers.GridSampler(space, seed=seed + 1)  # which takes 0 for: no seed


def _cma_es(bank: Bank, seed: int) -> samplers.BaseSampler:
    """Started at random. Optuna's own start is the middle of the box, and how good that is was
    decided by whoever drew the box."""
    rng = np.random.default_rng([seed, 3])
    start = {name: int(rng.integers(len(values))) for name, values in bank.axes.items()}
    return samplers.CmaEsSampler(seed=seed, x0=start, with_margin=True)


def _random(bank: Bank, seed: int) -> samplers.BaseSampler:
    return WithoutRepeats(bank.axes, seed)


def _tpe(bank: Bank, seed: int) -> samplers.BaseSampler:
    return samplers.TPESampler(seed=seed)


def _gp(bank: Bank, seed: int) -> samplers.BaseSampler:
    return samplers.GPSampler(seed=seed)


def _median(bank: Bank) -> pruners.BasePruner:
    return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)


METHODS = {
    "grid": Method(_grid, "3 x 3 x 3 x 2 points in random order; which knob gets 2 is random"),
    "random": Method(_random, "without replacement"),
    "quasi-random": Method(
        lambda bank, seed: samplers.QMCSampler(seed=seed, scramble=True), "Sobol points, scrambled"
    ),
    "CMA-ES": Method(_cma_es, "started at a random point, with margin", startup=1),
    "TPE": Method(_tpe, "Optuna 5's default: multivariate", startup=10),
    "TPE, univariate": Method(
        lambda bank, seed: samplers.TPESampler(seed=seed, multivariate=False, constant_liar=False),
        "the default before Optuna 5: each knob by itself",
        startup=10,
    ),
    "GP": Method(_gp, "Optuna's default: Gaussian process", startup=10),
    "random + median": Method(
        _random, "ended below the median of earlier trials: after 5 trials, from epoch 3", _median
    ),
    "successive halving": Method(
        _random,
        "random; asynchronous, rungs at 1, 3, 9 and 27 epochs",
        lambda bank: pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    ),
    "Hyperband": Method(
        _random,
        "random; four brackets of halving, which begin at 1, 3, 9 and 27 epochs",
        lambda bank: pruners.HyperbandPruner(max_resource=bank.epochs),
    ),
    "TPE + median": Method(_tpe, "TPE, pruned as random + median", _median, startup=10),
    "TPE, 12 idle knobs": Method(_tpe, "16 knobs, 12 of which do nothing", startup=10, idle=12),
}


def race(bank: Bank, method: str, seed: int, budget: int | None = None) -> Replay:
    """One complete search by one of ``METHODS``: the same seed, the same search.

    As the stored ones, with ``splits(bank)[seed % 6]`` for ``bank``.
    """
    if method not in METHODS:
        raise ValueError(f"method: got {method!r}, takes one of {', '.join(METHODS)}")
    way = METHODS[method]
    with (
        warnings.catch_warnings()
    ):  # with_margin and x0 are called experimental, and on their way out
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "`x0` has been deprecated", FutureWarning)
        sampler = way.sampler(bank, seed)
    pruner = way.pruner and way.pruner(bank)
    return replay(bank, sampler, pruner, budget=budget, idle=way.idle, seed=seed)


@dataclass(frozen=True)
class Races:
    """Stored races. ``load_races`` returns them.

    methods  names, each of them raced equally often
    budgets  [budget] in epochs, at which a search is asked for its leader
    split    [race]: which of the ``splits`` it took place on
    leader   [method, race, budget]: the entry of the bank that leads; -1 before the first look
    regret   [method, race, budget]: how far it lies below the best entry (a share); NaN likewise
    trials   [method, race]: trials begun;  distinct  entries looked at
    epochs   [method, race]: epochs spent in all
    startup  [method, race]: epochs spent on the first trials, which are random
    seconds  [method, race]: processor time of the search itself, on a busy machine
    about    how the races were run: budget, seeds, settings of each method, versions, date
    """

    methods: tuple[str, ...]
    budgets: np.ndarray
    split: np.ndarray
    leader: np.ndarray
    regret: np.ndarray
    trials: np.ndarray
    distinct: np.ndarray
    epochs: np.ndarray
    startup: np.ndarray
    seconds: np.ndarray
    about: dict[str, Any]

    def __repr__(self) -> str:
        size = f"{len(self.methods)} methods, {self.regret.shape[1]} searches each"
        return f"<races: {size}, {self.budgets[-1]:,} epochs>"

    def of(self, method: str, budget: int | None = None) -> np.ndarray:
        """[race, budget]: the regret of one method; [race] at one of the ``budgets``."""
        if method not in self.methods:
            raise ValueError(f"method: got {method!r}, takes one of {', '.join(self.methods)}")
        regret = self.regret[self.methods.index(method)]
        if budget is None:
            return regret
        column = np.flatnonzero(self.budgets == budget)
        if not len(column):
            known = f"{self.budgets[0]}, {self.budgets[1]}, ... {self.budgets[-1]}"
            raise ValueError(f"budget: got {budget}, takes one of {known}")
        return regret[:, column[0]]

    def lead(
        self,
        method: str,
        over: str = "random",
        budget: int | None = None,
        over_budget: int | None = None,
    ) -> Estimate:
        """Points of regret that ``method`` saves at a budget, against another method at its own.

        Both have the whole budget unless given; ``over_budget`` is ``budget`` unless given. The
        interval covers the luck of the search alone; a flag says where the splits disagree.
        """
        budget = int(self.budgets[-1]) if budget is None else budget
        other = self.of(over, budget if over_budget is None else over_budget)
        gain = less_regret(self.of(method, budget), other, int(self.split.max()) + 1)
        return replace(gain, flags=tuple(f"{method} over {over}: {flag}" for flag in gain.flags))

    def leads_by_split(self, method: str, over: str = "random") -> list[Estimate]:
        """``lead`` at the whole budget, on each of the splits."""
        saved = self.of(over)[:, -1] - self.of(method)[:, -1]
        numbers = range(int(self.split.max()) + 1)
        return [mean_interval(saved[self.split == each], "points", COVERS) for each in numbers]

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each method: regret in points at the end, and what a search costs."""
        last = 100 * self.regret[..., -1]
        columns = {
            "mean regret": last.mean(1),
            "median": np.median(last, 1),
            "worst tenth": np.quantile(last, 0.9, axis=1),
            "trials": np.median(self.trials, 1),
            "distinct": np.median(self.distinct, 1),
            "seconds": np.median(self.seconds, 1),
        }
        return pd.DataFrame(columns, index=pd.Index(self.methods, name="method"))


def load_races(path: Path | str | None = None) -> Races:
    """The bundled races, or those at ``path``, once their checksum is right.

    Raises FileNotFoundError or ValueError, each saying how to get the file back.
    """
    path = DATA_FOLDER / RACES if path is None else Path(path)
    stored = read_sealed(path, ARRAYS, f"{restore(path)}; or build it anew with: make races")
    about = json.loads(str(stored["about"]))
    leader, truth = stored["leader"].astype(int), stored["truth"].astype(float)
    split = np.arange(leader.shape[1]) % len(truth)
    below_best = (truth.max(1, keepdims=True) - truth) / about["answers"]
    regret = np.where(leader < 0, np.nan, below_best[split[:, None], leader])
    counts = {name: stored[name].astype(int) for name in COUNTS}
    return Races(
        methods=tuple(about["methods"]),
        budgets=stored["budgets"].astype(int),
        split=split,
        leader=leader,
        regret=regret,
        seconds=stored["seconds"].astype(float),
        about=about,
        **counts,
    )
