"""What notebook 09 trains and measures besides its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from optuna.samplers import TPESampler
from scipy.stats import t
from torch import nn

from ...bank import Bank
from ...claims import TIED
from ...engine.config import Config
from ...engine.data import Dataset
from ...engine.networks import make_mlp
from ...engine.training import fit
from ...evidence import Estimate
from ...races import Races
from ...replay import replay, splits

SEEDS = range(1000, 1008)  # no search has these


@dataclass(frozen=True)
class Hill:
    """Accuracy against log10 of the learning rate: what a search cannot see.

    dataset   whose tuning images, now its validation images, a trial is scored by
    at        [point] log10 of the rates;  truth  [point] mean accuracy of eight networks
    """

    dataset: Dataset
    at: np.ndarray
    truth: np.ndarray

    def regret(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """[trial]: how far the best trial so far (by the scores ``y``) truly lies below the top."""
        leader = [int(np.argmax(y[: trial + 1])) for trial in range(len(y))]
        return self.truth.max() - np.interp(np.asarray(x)[leader], self.at, self.truth)


def _config(place: float, seed: int) -> Config:
    return Config(optimizer="sgd", learning_rate=float(10**place), width=32, epochs=5, seed=seed)


def train_at(place: float, seed: int, dataset: Dataset) -> float:
    """Accuracy of one small network, five epochs of plain SGD, at ``place`` = log10 of the rate."""
    history = fit(_config(place, seed), dataset, progress=False, keep_models=False)
    return float(history.val_correct.mean())


def measure_hill(dataset: Dataset, low: float = -4.0, high: float = 1.0) -> Hill:
    """The hill from 10**low to 10**high: 26 rates, eight networks each, straight in between."""
    assert dataset.tuning is not None
    choosing = replace(dataset, val=dataset.tuning, tuning=None)
    coarse, fine = np.linspace(low, high, 26), np.linspace(low, high, 101)
    configs = [_config(place, seed) for place in coarse for seed in SEEDS]
    runs = fit(configs, choosing, progress=False, keep_models=False)
    accuracy = runs.val_correct.mean(1).reshape(len(coarse), len(SEEDS)).mean(1)
    return Hill(choosing, fine, np.interp(fine, coarse, accuracy))


# What a question's answer is ----------------------------------------------------------------------


def when_a_grid_is_ahead(leads: Sequence[Estimate]) -> str:
    """From what random search saves over three grids (four values of the learning rate, of dropout,
    of weight decay): when the grid is shown to be ahead."""
    ahead = [lead.high < 0 for lead in leads]
    if all(ahead) or not any(ahead):
        return "always" if all(ahead) else "never"
    return "in other cases" if any(ahead[1:]) else "with four learning rates only"


FAMILIES = {
    "a model (TPE, GP, CMA-ES)": ("TPE", "GP", "CMA-ES"),
    "stopping early": ("random + median", "successive halving", "Hyperband"),
    "TPE that stops early": ("TPE + median",),
}


def who_is_ahead(leads: Mapping[str, Estimate], apart: Estimate | None = None) -> str:
    """Which family holds the method whose lead over random search is the largest that is shown.

    ``apart`` is what the first method saves over the best of another family: if it may be nothing,
    the two cannot be told apart.
    """
    shown = {
        family: max((leads[name].value for name in names if leads[name].low > 0), default=-1.0)
        for family, names in FAMILIES.items()
    }
    best = max(shown, key=lambda family: shown[family])
    if shown[best] <= 0:
        return "nobody is ahead"
    return TIED if apart is not None and apart.low <= 0 else best


def first_and_rival(races: Races, leads: Mapping[str, Estimate]) -> tuple[str, str, Estimate]:
    """(the method with the largest lead over random search, the best one of another family, what
    the first saves over the second)."""
    order = sorted(leads, key=lambda name: leads[name].value, reverse=True)
    family = FAMILIES.get(who_is_ahead(leads), ())
    rival = next(name for name in order if name not in family)
    return order[0], rival, races.lead(order[0], over=rival)


# On the bank --------------------------------------------------------------------------------------


def lost_at_random(bank: Bank) -> dict[str, float]:
    """{knob: points lost, on average, if it alone is set at random and the others stay at the best
    entry}, by the mean over all seeds."""
    scores = bank.landscape()
    best, lost = np.unravel_index(scores.argmax(), scores.shape), {}
    for number, name in enumerate(bank.axes):
        along = [slice(None) if place == number else at for place, at in enumerate(best)]
        lost[name] = float(100 * (scores.max() - scores[tuple(along)].mean()))
    return lost


def searches_of_two_knobs(bank: Bank, races: int, trials: int = 50) -> np.ndarray:
    """Regrets [race] of TPE on learning rate and batch size, with so many full trainings; dropout
    and weight decay stay at 0.2 and 0.1, and regret counts from the best of what can be reached."""
    fixed, regrets, parts = {"dropout": 0.2, "weight_decay": 0.1}, [], splits(bank)
    decay, dropout = (bank.axes[name].index(fixed[name]) for name in ("weight_decay", "dropout"))
    for seed in range(races):
        part = parts[seed % len(parts)]
        sampler = TPESampler(seed=seed)
        run = replay(part, sampler, budget=trials * bank.epochs, fixed=fixed, seed=seed)
        reached = part.truth().reshape(bank.shape)[:, :, dropout, decay]
        regrets.append(reached.max() - part.truth()[run.leader[-1]])
    return np.array(regrets)


# How often a gain is seen -------------------------------------------------------------------------


def power_table(
    pairs: np.ndarray, sizes: Sequence[tuple[float, int]], seeds: Sequence[int]
) -> pd.DataFrame:
    """How often experiments show a gain that is there: a row for each (gain, number of images), a
    column for each number of seeds.

    ``pairs`` [seed, image] is 1, 0 or -1, what two arms that were really trained differ by: it says
    how far a gain strays with the seed, and with the image.
    """
    seed_luck, image_luck = (pairs.mean(axis=axis).std(ddof=1) for axis in (1, 0))
    rng, draws = np.random.default_rng(0), 20_000
    table = np.empty((len(sizes), len(seeds)))
    for (row, column), _ in np.ndenumerate(table):
        (gain, images), count = sizes[row], seeds[column]
        luck_of_images = image_luck / images**0.5
        seen = rng.normal(gain, seed_luck, (draws, count))
        seen += rng.normal(0, luck_of_images, (draws, 1))
        error = np.hypot(seen.std(axis=1, ddof=1) / count**0.5, luck_of_images)
        table[row, column] = (seen.mean(axis=1) / error > t.ppf(0.975, count - 1)).mean()
    names = [f"a gain of {100 * gain:.1f} %, {images:,} images" for gain, images in sizes]
    return pd.DataFrame(table, names, [f"{count} seeds" for count in seeds]).round(2)


# The classics -------------------------------------------------------------------------------------


def for_scikit_learn(dataset: Dataset) -> tuple[Any, np.ndarray, np.ndarray, dict[str, Any]]:
    """(network, images, labels, options) for searches of scikit-learn: the course's network as an
    estimator, five epochs of plain SGD; training images and tuning images in one array, and a split
    that says which are which."""
    from sklearn.model_selection import PredefinedSplit  # of the group "extra", and slow to import
    from skorch import NeuralNetClassifier

    assert dataset.tuning is not None
    network = NeuralNetClassifier(
        make_mlp,
        module__inputs=dataset.train.images[0].numel(),
        module__width=32,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        max_epochs=5,
        batch_size=50,
        train_split=None,
        verbose=0,
    )
    parts = (dataset.train, dataset.tuning)
    images = torch.cat([part.images for part in parts]).cpu().numpy()
    labels = torch.cat([part.labels for part in parts]).cpu().numpy()
    split = PredefinedSplit(np.repeat([-1, 0], [len(part) for part in parts]))
    return network, images, labels, {"cv": split, "refit": False}


def run_classics(searches: Sequence[Any], images: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """One row for each search: trainings, best score, and where it lies."""
    rows = {}
    torch.manual_seed(0)
    for search in searches:
        search.fit(images, labels)
        best = f"{100 * search.best_score_:.1f} %"
        row = {"trainings": len(search.cv_results_["params"]), "best": best}
        row |= {name: f"{value:.2g}" for name, value in search.best_params_.items()}
        rows[type(search).__name__] = row
    return pd.DataFrame(rows).T
