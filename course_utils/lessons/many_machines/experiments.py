"""Experiments of notebook 14 that are not themselves the lesson."""

from __future__ import annotations

import numpy as np
import optuna

from ...bank import load_bank
from ...search import make_study, quiet


def search_on_bank(
    sampler: str = "tpe", at_once: int = 1, trials: int = 48, seeds: int = 8
) -> np.ndarray:
    """[seed]: what a search finds that asks ``at_once`` questions before it hears an answer.

    As many workers would ask, with a table of finished trainings in place of the training. The
    value is the validation accuracy of its choice, on seeds that the search has not seen. Raises
    ValueError for another sampler than "tpe" and "random".
    """
    if sampler not in ("tpe", "random"):
        raise ValueError(f"sampler: got {sampler!r}, takes 'tpe' or 'random'")
    bank = load_bank()
    truth, values = bank.truth(), []
    for seed in range(seeds):
        make = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        study = make_study(make[sampler](seed=seed), optuna.pruners.NopPruner())
        objective = bank.objective(seed="random")
        with quiet():
            for start in range(0, trials, at_once):
                asked = [study.ask() for _ in range(min(at_once, trials - start))]
                answers = [objective(trial) for trial in asked]
                for trial, answer in zip(asked, answers, strict=True):
                    study.tell(trial, answer)
        places = tuple(study.best_params[name] for name in bank.axes)
        values.append(truth[np.ravel_multi_index(places, bank.shape)])
    return np.array(values)


def asked_twice(n_jobs: int, trials: int = 20) -> tuple[list[float], list[float]]:
    """What a random sampler with seed 0 asks in two studies, in the order of their trials."""
    asked = []
    for _ in range(2):
        study = make_study(optuna.samplers.RandomSampler(seed=0))
        with quiet():
            study.optimize(
                lambda trial: trial.suggest_float("x", 0, 1), n_trials=trials, n_jobs=n_jobs
            )
        asked.append([trial.params["x"] for trial in study.trials])
    return asked[0], asked[1]
