"""The objective of notebook 08, and one worker of a shared study as a process of its own.

    python -m course_utils.topics.t08_worker --storage sqlite:///study.db --study digits --trials 20 --seed 1

A worker needs to know only where the study is stored. Any number may run, on one machine or on many. What is
imported here is imported by every process again, so it is kept to the least.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings

import optuna
import torch
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import TrialState

from ..engine.config import Config
from ..engine.data import Dataset
from ..engine.training import train
from ..mnist import load_mnist
from ..search import make_study, run_study

HEARTBEAT_SECONDS, GRACE_SECONDS = 1, 3  # minutes, not seconds, where trials take hours
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def load_small() -> Dataset:
    """The data of this notebook: 1,000 training digits of 14 x 14 pixels. A worker loads it for itself."""
    return load_mnist(subset=1000, image_size=14, device="cpu")


def make_config(
    learning_rate: float, dropout: float, weight_decay: float, epochs: int = 6
) -> Config:
    """The three knobs that are searched, and everything that is not."""
    return Config(
        learning_rate=learning_rate,
        dropout=dropout,
        weight_decay=weight_decay,
        width=32,
        batch_size=64,
        epochs=epochs,
    )


def suggest(trial: optuna.Trial, epochs: int = 6) -> Config:
    """The search space, in Optuna's words."""
    return make_config(
        trial.suggest_float("learning_rate", 1e-4, 1.0, log=True),
        trial.suggest_float("dropout", 0.0, 0.6),
        trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
        epochs,
    )


def name_knobs(trial: optuna.Trial) -> None:
    """The search space for Ray's OptunaSearch, which wants the knobs named and nothing returned."""
    suggest(trial)


def note_start(trial: optuna.Trial) -> None:
    """Write into the trial who trains it, and since when."""
    trial.set_user_attr("worker", os.getpid())
    trial.set_user_attr("started", time.time())


def objective(trial: optuna.Trial, dataset: Dataset, epochs: int = 6) -> float:
    """One trial, alone: validation accuracy after every epoch is reported, and a pruner may end it.

    The trial notes who trained it ("worker", a process id), when ("started") and for how many "seconds".
    """
    note_start(trial)
    pruned = False
    for run in train(suggest(trial, epochs), dataset, keep_models=False):
        if run.epoch_ended:
            trial.report(float(run.history.val_accuracy[0, run.epoch - 1]), step=run.epoch)
            if pruned := trial.should_prune():
                break
    trial.set_user_attr("seconds", time.time() - trial.user_attrs["started"])
    if pruned:
        raise optuna.TrialPruned
    return float(run.history.val_correct.mean())


def ray_trial(config: dict[str, float], dataset: Dataset, epochs: int = 6) -> None:
    """The same trial for Ray Tune, which runs it in a worker process and may end it at any report."""
    from ray import tune

    torch.set_num_threads(1)
    started = time.time()
    for run in train(make_config(**config, epochs=epochs), dataset, keep_models=False):
        if run.epoch_ended:
            tune.report(
                {
                    "val_accuracy": float(run.history.val_accuracy[0, run.epoch - 1]),
                    "started": started,
                    "seconds": time.time() - started,
                    "worker": os.getpid(),
                }
            )


def open_study(storage: str, name: str, seed: int = 0) -> optuna.Study:
    """The study ``name`` in ``storage``, created if need be: what every worker does first.

    ``storage`` is "journal:FILE" or a database URL. In a database, a trial whose worker sends no heartbeat for
    three seconds counts as failed and is queued again, up to three times. A journal knows no heartbeat.
    """
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    if storage.startswith("journal:"):
        file = storage.removeprefix("journal:")  # this lock works on Windows, too
        place = JournalStorage(JournalFileBackend(file, lock_obj=JournalFileOpenLock(file)))
    else:
        place = RDBStorage(
            storage,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=3),
        )
    return make_study(
        optuna.samplers.TPESampler(seed=seed, constant_liar=True), storage=place, name=name
    )


def work(
    study: optuna.Study, total: int, dataset: Dataset, epochs: int = 6, batch: int = 1
) -> None:
    """What a worker does until ``study`` has ``total`` finished trials and none is missing.

    While others still run the last trials it stays: should one of them die, its trial comes back here. Workers that
    look at the same moment may run a trial or two more than asked for.
    """

    def count(*states: TrialState) -> int:
        return len(study.get_trials(deepcopy=False, states=states))

    while True:
        fail_stale_trials(study)
        finished, running, waiting = (
            count(*FINISHED),
            count(TrialState.RUNNING),
            count(TrialState.WAITING),
        )
        if finished >= total and not waiting and not running:
            return
        if finished + running >= total and not waiting:
            time.sleep(0.2)
        elif batch == 1:
            study.optimize(lambda trial: objective(trial, dataset, epochs), n_trials=1)
        else:  # ask and tell: no heartbeat is sent here
            asked = min(batch, max(1, total - finished - running))
            run_study(
                study,
                lambda trial: note_start(trial) or suggest(trial, epochs),
                dataset,
                trials=asked,
                batch=batch,
            )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A worker of a shared Optuna study")
    parser.add_argument(
        "--storage",
        required=True,
        help="sqlite:///FILE, journal:FILE, postgresql+psycopg://..., mysql://...",
    )
    parser.add_argument("--study", required=True, help="the study's name")
    parser.add_argument(
        "--trials", type=int, required=True, help="how many finished trials the study shall have"
    )
    parser.add_argument(
        "--seed",
        type=int,
        required=True,
        help="of the sampler; workers with equal seeds ask the same",
    )
    parser.add_argument("--epochs", type=int, default=6, help="of each trial")
    parser.add_argument(
        "--batch", type=int, default=1, help="trials trained side by side in this worker"
    )
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # two workers on two cores: one thread each
    work(
        open_study(given.storage, given.study, given.seed),
        given.trials,
        load_small(),
        given.epochs,
        given.batch,
    )


if __name__ == "__main__":
    main()
