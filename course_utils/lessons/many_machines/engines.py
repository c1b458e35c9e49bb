"""What each engine costs per trial, measured: one process, Optuna's workers, Ray.

All run the same objective with the same sampler: Optuna's random search. A trial keeps its place (a
core) from the end of the trial before it to its own end; what exceeds its own seconds is the
engine's overhead: storage, scheduling, reports, a new process.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna

from ...engine.data import Dataset
from ...evidence import Estimate, mean_interval
from ...search import make_study, quiet
from .costs import Engine
from .ray_search import prepare_ray, results_table, settings, with_data
from .worker import FINISHED, name_knobs, objective, open_study
from .workers import start_workers, wait_for


@dataclass(frozen=True)
class Bill:
    """Arrays [trial] in seconds: its own training, and what its place was kept for beyond that."""

    training: np.ndarray
    overhead: np.ndarray
    workers: int

    @property
    def extra(self) -> Estimate:
        """Overhead of a trial, in seconds."""
        return mean_interval(self.overhead, "s")


def occupied(
    started: Sequence[float] | np.ndarray,
    seconds: Sequence[float] | np.ndarray,
    places: int = 1,
    begun: float | None = None,
) -> np.ndarray:
    """[trial]: for how long each trial kept its place, of ``places``, in seconds.

    ``started`` and ``seconds`` say when each trial began and how long it ran; what happens between
    two trials counts for the second. The first trial in each place counts from ``begun``, when the
    search was started; without it, NaN.
    """
    started, seconds = np.asarray(started, float), np.asarray(seconds, float)
    ends = [-math.inf if begun is None else begun] * places
    kept = np.full(len(started), math.nan)
    for number in np.argsort(started):
        end = started[number] + seconds[number]
        kept[number] = end - heapq.heapreplace(ends, end)
    return np.where(np.isfinite(kept), kept, math.nan)


def _bill(
    started: Sequence[float], seconds: Sequence[float], workers: int, begun: float | None = None
) -> Bill:
    kept = occupied(started, seconds, workers, begun)
    whole, training = np.isfinite(kept), np.asarray(seconds, float)
    # Clocks of two processes may disagree by a little; nothing costs less than nothing.
    overhead = np.maximum(kept - training, 0)
    return Bill(training[whole], overhead[whole], workers)


def _bill_of(study: optuna.Study, workers: int) -> Bill:
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    attributes = [trial.user_attrs for trial in trials]
    return _bill([a["started"] for a in attributes], [a["seconds"] for a in attributes], workers)


def one_process(dataset: Dataset, trials: int = 12) -> Bill:
    """One trial after another, here, with a study in memory."""
    study = make_study(optuna.samplers.RandomSampler(seed=0), optuna.pruners.NopPruner())
    with quiet():
        study.optimize(lambda trial: objective(trial, dataset), n_trials=trials)
    return _bill_of(study, 1)


def optuna_workers(storage: str, trials: int = 20, workers: int = 2) -> Bill:
    """Worker processes over one storage. Their start is not counted: it comes once."""
    wait_for(start_workers(storage, "engines", trials, workers=workers))
    return _bill_of(open_study(storage, "engines"), workers)


def ray_workers(
    dataset: Dataset,
    folder: str | Path,
    *,
    trials: int = 12,
    workers: int = 2,
    kept: Bill | None = None,
) -> Bill:
    """Ray Tune, which keeps its processes from trial to trial, or starts one for each.

    Processes that are kept are started once, and that is not counted, as for Optuna's workers. With
    the bill of those, ``kept``, each trial gets a process of its own: its start is overhead, and so
    is what a first training takes longer than one of those.
    """
    prepare_ray()  # its settings are read when it is imported
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    sampler = optuna.samplers.RandomSampler(seed=0)
    begun = time.time()
    with quiet():
        search = OptunaSearch(name_knobs, metric="val_accuracy", mode="max", sampler=sampler)
        tuner = tune.Tuner(
            with_data(dataset),
            tune_config=tune.TuneConfig(
                metric="val_accuracy",
                mode="max",
                num_samples=trials,
                max_concurrent_trials=workers,
                search_alg=search,
                reuse_actors=kept is None,
            ),
            run_config=settings(folder, "kept" if kept is None else "fresh"),
        )
        table = results_table(tuner.fit())
    if kept is None:
        return _bill(table["started"], table["seconds"], workers)
    bill = _bill(table["started"], table["seconds"], workers, begun)
    usual = np.minimum(bill.training, np.median(kept.training))
    return Bill(usual, bill.overhead + bill.training - usual, workers)


def model_of(bill: Bill, alone: Bill, start: float = 0.0, serial: bool = True) -> Engine:
    """The engine of the cost model that a bill describes.

    ``serial`` says whether its overhead passes through one place, a file or a head, in which trials
    stand in a queue; a process that is started is no such place.
    """
    overhead = float(np.median(bill.overhead))
    slowdown = max(1.0, float(np.median(bill.training) / np.median(alone.training)))
    return Engine(overhead, overhead if serial else 0.0, start, slowdown, bill.workers > 1)


def gain(bill: Bill, seconds: float) -> Estimate:
    """Trials per second of the whole engine, as a multiple of one process without overhead, for
    trials of so many ``seconds``.

    By the cost model, workers x seconds / (seconds + overhead), with the interval of the overhead
    that was measured.
    """
    extra = bill.extra
    ends = [
        bill.workers * seconds / (seconds + max(0.0, each))
        for each in (extra.value, extra.high, extra.low)
    ]
    covers = "the measured overhead of a trial"
    return Estimate(ends[0], ends[1], ends[2], len(bill.overhead), "times", covers)
