"""Hyperparameter search on the stacked engine, through Optuna's ask-and-tell interface. Floor 4.

Optuna proposes a batch of trials, the engine trains them side by side, and each trial reports after every
epoch, so that any of Optuna's pruners can end it early.
"""

from __future__ import annotations

from collections.abc import Callable

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState

from .config import Config
from .data import Dataset
from .training import Run, fit


def make_study(sampler: BaseSampler | None = None, pruner: optuna.pruners.BasePruner | None = None,
               storage: str | None = None, name: str | None = None) -> optuna.Study:
    """An Optuna study that maximises validation accuracy: TPE and median pruning unless you say otherwise.

    With ``storage`` ("sqlite:///study.db") and ``name`` an existing study is taken up where it stopped.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(direction="maximize", sampler=sampler or optuna.samplers.TPESampler(seed=0),
                               pruner=pruner or optuna.pruners.MedianPruner(n_startup_trials=8, n_warmup_steps=3),
                               storage=storage, study_name=name, load_if_exists=name is not None)


def run_study(study: optuna.Study, suggest: Callable[[Trial], Config], dataset: Dataset, trials: int = 50,
              batch: int = 10, **options) -> optuna.Study:
    """Run ``trials`` more trials of ``study``, ``batch`` at a time, each one training run; returns the study.

    ``suggest`` turns a trial into a Config. A trial's value is its validation accuracy after its last epoch, of one
    seed: good enough to search with, too noisy to report (retrain the winner with new seeds for that). The
    Config stands in the trial's user attribute "config". ``options`` go to ``fit``.

    A larger ``batch`` trains faster and lets the sampler learn less often.
    """
    if trials < 1 or batch < 1:
        raise ValueError(f"trials, batch: got {trials} and {batch}, take whole numbers of at least 1")
    remaining = trials
    while remaining > 0:
        asked = [study.ask() for _ in range(min(batch, remaining))]
        remaining -= len(asked)
        _train_batch(study, asked, [suggest(trial) for trial in asked], dataset, options)
    return study


def _train_batch(study: optuna.Study, trials: list[Trial], configs: list[Config], dataset: Dataset, options: dict) -> None:
    for trial, config in zip(trials, configs, strict=True):
        trial.set_user_attr("config", {name: str(value) for name, value in config.to_dict().items()})

    def report(run: Run) -> None:
        for index in run.indices:
            if not run.is_active(index):
                continue
            trials[index].report(float(run.history.val_accuracy[index, run.epoch - 1]), step=run.epoch)
            if trials[index].should_prune():
                pruned.add(index)
                run.stop(index)

    pruned: set[int] = set()
    history = fit(configs, dataset, on_epoch=report, **{"progress": False, "keep_models": False, **options})
    accuracy = history.val_correct.mean(1)                 # of a diverged run: that of chance
    for index, trial in enumerate(trials):
        if index in pruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, float(accuracy[index]))


def epochs_spent(study: optuna.Study) -> int:
    """How many epochs all trials of a study trained, the pruned ones included."""
    return sum(max(trial.intermediate_values, default=0) for trial in study.trials)
