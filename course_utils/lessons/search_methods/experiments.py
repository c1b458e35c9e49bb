"""What notebook 09 trains besides its cells: the hill that the lab's search climbs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...engine.config import Config
from ...engine.data import Dataset
from ...engine.training import fit

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
    """Accuracy of one small network, plain SGD for five epochs, at ``place`` = log10 of the rate."""
    history = fit(_config(place, seed), dataset, progress=False, keep_models=False)
    return float(history.val_correct.mean())


def measure_hill(dataset: Dataset, low: float = -4.0, high: float = 1.0) -> Hill:
    """The hill from 10**low to 10**high: 26 rates, eight networks each, straight lines between."""
    assert dataset.tuning is not None
    choosing = replace(dataset, val=dataset.tuning, tuning=None)
    coarse, fine = np.linspace(low, high, 26), np.linspace(low, high, 101)
    configs = [_config(place, seed) for place in coarse for seed in SEEDS]
    runs = fit(configs, choosing, progress=False, keep_models=False)
    accuracy = runs.val_correct.mean(1).reshape(len(coarse), len(SEEDS)).mean(1)
    return Hill(choosing, fine, np.interp(fine, coarse, accuracy))
