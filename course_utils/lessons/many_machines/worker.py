"""The objective of notebook 14, and one worker of a shared study as a process of its own.

    python -m course_utils.lessons.many_machines.worker --storage sqlite:///study.db \
        --study digits --trials 20 --seed 1

A worker needs to know only where the study is stored. Any number may run, on one machine or on
many. What is imported here is imported by every process again, so it is kept to the least.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import torch
from optuna.storages import BaseStorage, RDBStorage, fail_stale_trials
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import TrialState

try:  # Optuna 4.9 gave both a better name
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    STALE = "heartbeat_stale_trial_callback"
except ImportError:
    from optuna.storages import (  # type: ignore[assignment]
        RetryFailedTrialCallback as RetryHeartbeatStaleTrialCallback,
    )

    STALE = "failed_trial_callback"

from ...engine.config import Config
from ...engine.data import Dataset
from ...engine.training import train
from ...mnist import load_mnist
from ...search import make_study

HEARTBEAT_SECONDS, GRACE_SECONDS = 1, 3  # minutes, not seconds, where trials take hours
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def load_small() -> Dataset:
    """The data of the notebook: 1,000 training digits of 14 x 14. A worker loads it for itself."""
    return load_mnist(subset=1000, image_size=14, device="cpu")


def make_config(learning_rate: float, dropout: float, epochs: int = 6) -> Config:
    """What is searched, and what is not."""
    return Config(learning_rate=learning_rate, dropout=dropout, width=32, epochs=epochs)


def suggest(trial: optuna.Trial, epochs: int = 6) -> Config:
    """The search space, in Optuna's words."""
    learning_rate = trial.suggest_float("learning_rate", 1e-4, 1.0, log=True)
    return make_config(learning_rate, trial.suggest_float("dropout", 0.0, 0.6), epochs)


def name_knobs(trial: optuna.Trial) -> None:
    """The search space for Ray's OptunaSearch, which wants it named and nothing returned."""
    suggest(trial)


def objective(trial: optuna.Trial, dataset: Dataset, epochs: int = 6, every: int = 1) -> float:
    """One trial: validation accuracy is reported after every epoch, or after ``every`` so many, and
    a pruner may end it.

    The trial notes who trained it, when that began and how many seconds it took.
    """
    trial.set_user_attr("worker", os.getpid())
    trial.set_user_attr("started", time.time())
    start, value, pruned = time.perf_counter(), 0.0, False
    for run in train(suggest(trial, epochs), dataset, keep_models=False):
        if run.epoch_ended and run.epoch % every == 0:
            value = float(run.history.val_accuracy[0, run.epoch - 1])
            trial.report(value, step=run.epoch)
            if pruned := trial.should_prune():
                break
    trial.set_user_attr("seconds", time.perf_counter() - start)
    if pruned:
        raise optuna.TrialPruned
    return value


def ray_trial(config: dict[str, float], dataset: Dataset, epochs: int = 6, every: int = 1) -> None:
    """The same trial for Ray Tune, which runs it in a worker, and may end it at any report."""
    from ray import tune

    torch.set_num_threads(1)
    started, start = time.time(), time.perf_counter()
    for run in train(make_config(**config, epochs=epochs), dataset, keep_models=False):
        if run.epoch_ended and run.epoch % every == 0:
            value = float(run.history.val_accuracy[0, run.epoch - 1])
            seconds = time.perf_counter() - start
            tune.report({"val_accuracy": value, "started": started, "seconds": seconds})


@contextmanager
def experimental() -> Iterator[None]:
    """Without Optuna's warning that heartbeats and journals might still change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def open_storage(address: str, heartbeat: bool = True) -> BaseStorage:
    """A database by its URL, or "journal:FILE".

    With a ``heartbeat``, a trial of a database whose worker gives no sign of life for three seconds
    counts as failed and is queued again, up to three times. A journal knows no heartbeat.
    """
    with experimental():
        if address.startswith("journal:"):
            file = address.removeprefix("journal:")  # this lock works on Windows, too
            return JournalStorage(JournalFileBackend(file, lock_obj=JournalFileOpenLock(file)))
        if not heartbeat:
            return RDBStorage(address)
        return RDBStorage(
            address,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            **{STALE: RetryHeartbeatStaleTrialCallback(max_retry=3)},
        )


def open_study(address: str, name: str, seed: int = 0, *, heartbeat: bool = True) -> optuna.Study:
    """The study ``name`` in a storage, created if need be: what every worker does first.

    Random search without pruning, so that engines can be compared by the same trials.
    """
    return make_study(
        optuna.samplers.RandomSampler(seed=seed),
        optuna.pruners.NopPruner(),
        storage=open_storage(address, heartbeat),
        name=name,
    )


def work(
    study: optuna.Study, total: int, dataset: Dataset, epochs: int = 6, every: int = 1
) -> None:
    """What a worker does until ``study`` has ``total`` finished trials and none is missing.

    While others still run the last trials it stays: should one of them die, its trial comes back
    here. Workers that look at the same moment may run a trial or two more than asked for.
    """

    def count(*states: TrialState) -> int:
        return len(study.get_trials(deepcopy=False, states=states))

    while True:
        with experimental():
            fail_stale_trials(study)
        finished, running, waiting = (
            count(*FINISHED),
            count(TrialState.RUNNING),
            count(TrialState.WAITING),
        )
        if finished >= total and not waiting and not running:
            return
        if finished + running >= total and not waiting:
            time.sleep(0.1)
        else:
            study.optimize(lambda trial: objective(trial, dataset, epochs, every), n_trials=1)


def end_with_parent() -> None:
    """End this process when the pipe on its standard input is closed: its parent is gone."""

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin: its lock would be held when this process ends
            continue
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A worker of a shared Optuna study")
    storage = "sqlite:///FILE, journal:FILE, postgresql+psycopg://..., mysql+pymysql://..."
    parser.add_argument("--storage", required=True, help=storage)
    parser.add_argument("--study", required=True, help="the study's name")
    parser.add_argument("--trials", type=int, required=True, help="finished trials to reach")
    parser.add_argument("--seed", type=int, required=True, help="of the sampler; no two alike")
    parser.add_argument("--epochs", type=int, default=6, help="of each trial")
    parser.add_argument("--every", type=int, default=1, help="epochs from report to report")
    parser.add_argument("--no-heartbeat", action="store_true", help="as Optuna does by default")
    parser.add_argument("--child", action="store_true", help="end when standard input is closed")
    given = parser.parse_args(arguments)
    if given.child:
        end_with_parent()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)  # two workers on two cores: one thread each
    study = open_study(given.storage, given.study, given.seed, heartbeat=not given.no_heartbeat)
    work(study, given.trials, load_small(), given.epochs, given.every)


if __name__ == "__main__":
    main()
