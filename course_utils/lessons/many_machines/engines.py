"""What each engine costs per trial, measured: one process, Optuna's workers, Ray.

All run the same objective with the same sampler: Optuna's random search. A trial keeps its place (a
core) from the end of the trial before it to its own end; what exceeds its own seconds is the
engine's overhead: storage, scheduling, reports, a new process.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna

from ...engine.data import Dataset
from ...evidence import Estimate, mean_interval
from ...search import make_study, quiet
from .costs import Engine
from .engine_times import Search, measured_gain, occupied
from .ray_search import prepare_ray, results_table, settings, with_data
from .worker import FINISHED, name_knobs, objective, open_study
from .workers import start_workers, wait_for


@dataclass(frozen=True)
class Bill:
    """Arrays [trial] in seconds: its own training, and what its place was kept for beyond that.

    Trials whose place's clock began with them are missing here; the whole ``search`` has them.
    """

    training: np.ndarray
    overhead: np.ndarray
    workers: int
    search: Search

    @property
    def extra(self) -> Estimate:
        """Overhead of a trial, in seconds."""
        return mean_interval(self.overhead, "s")


def bill_of(search: Search) -> Bill:
    """What a search's trials cost beside their training."""
    kept = occupied(search.started, search.seconds, search.workers, search.begun)
    whole = np.isfinite(kept)
    # Clocks of two processes may disagree by a little; nothing costs less than nothing.
    overhead = np.maximum(kept - search.seconds, 0)
    return Bill(search.seconds[whole], overhead[whole], search.workers, search)


def _bill_of(study: optuna.Study, workers: int) -> Bill:
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    started, seconds = (
        np.array([trial.user_attrs[name] for trial in trials]) for name in ("started", "seconds")
    )
    return bill_of(Search(started, seconds, workers))


def one_process(dataset: Dataset, trials: int = 24, *, epochs: int = 6, every: int = 1) -> Bill:
    """One trial after another, here, with a study in memory."""
    study = make_study(optuna.samplers.RandomSampler(seed=0), optuna.pruners.NopPruner())
    with quiet():
        study.optimize(lambda trial: objective(trial, dataset, epochs, every), n_trials=trials)
    return _bill_of(study, 1)


def optuna_workers(
    storage: str, trials: int = 24, workers: int = 2, *, epochs: int = 6, every: int = 1
) -> Bill:
    """Worker processes over one storage. Their start is not counted: it comes once."""
    wait_for(start_workers(storage, "engines", trials, workers=workers, epochs=epochs, every=every))
    return _bill_of(open_study(storage, "engines"), workers)


def ray_trials(
    dataset: Dataset,
    folder: str | Path,
    trials: int,
    workers: int = 2,
    *,
    fresh: bool = False,
    epochs: int = 6,
    every: int = 1,
) -> Search:
    """A search by Ray Tune, which keeps its processes from trial to trial, or starts a ``fresh``
    one for each.

    Processes that are kept are started once, and that is not counted, as for Optuna's workers.
    """
    prepare_ray()  # its settings are read when it is imported
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    sampler = optuna.samplers.RandomSampler(seed=0)
    begun = time.time()
    with quiet():
        search = OptunaSearch(name_knobs, metric="val_accuracy", mode="max", sampler=sampler)
        tuner = tune.Tuner(
            with_data(dataset, epochs, every),
            tune_config=tune.TuneConfig(
                metric="val_accuracy",
                mode="max",
                num_samples=trials,
                max_concurrent_trials=workers,
                search_alg=search,
                reuse_actors=not fresh,
            ),
            run_config=settings(folder, "fresh" if fresh else "kept"),
        )
        table = results_table(tuner.fit())
    started, seconds = (table[name].to_numpy() for name in ("started", "seconds"))
    return Search(started, seconds, workers, begun if fresh else None)


def ray_workers(
    dataset: Dataset, folder: str | Path, *, trials: int = 24, kept: Bill | None = None
) -> Bill:
    """Ray Tune with two processes that it keeps; with the bill of those, ``kept``, each trial gets
    a process of its own: its start is overhead, and so is what a first training takes longer than
    one of those."""
    bill = bill_of(ray_trials(dataset, folder, trials, fresh=kept is not None))
    if kept is None:
        return bill
    usual = np.minimum(bill.training, np.median(kept.training))
    return Bill(usual, bill.overhead + bill.training - usual, bill.workers, bill.search)


def model_of(bill: Bill, alone: Bill, start: float = 0.0, serial: bool = True) -> Engine:
    """The engine of the cost model that a bill describes.

    ``serial`` says whether its overhead passes through one place, a file or a head, in which trials
    stand in a queue; a process that is started is no such place.
    """
    overhead = float(np.median(bill.overhead))
    slowdown = max(1.0, float(np.median(bill.training) / np.median(alone.training)))
    return Engine(overhead, overhead if serial else 0.0, start, slowdown, bill.workers > 1)


def gains(bills: Mapping[str, Bill]) -> dict[str, Estimate]:
    """{engine: times the trials a second of one process}, from the searches of these bills, the
    first of which is that of one process."""
    alone, *_ = bills.values()
    others = list(bills.items())[1:]
    return {name: measured_gain(bill.search, alone.search) for name, bill in others}
