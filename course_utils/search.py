"""Hyperparameter search on the stacked engine, through Optuna's ask-and-tell interface. Floor 4.

Optuna proposes a batch of trials, the engine trains them side by side, and each trial reports after every
epoch, so that any of Optuna's pruners can end it early.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState

from .bank import Bank
from .engine.config import Config
from .engine.data import Dataset
from .engine.training import Run, fit


def make_study(
    sampler: BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
    storage: str | None = None,
    name: str | None = None,
) -> optuna.Study:
    """An Optuna study that maximises validation accuracy: TPE and median pruning unless you say otherwise.

    With ``storage`` ("sqlite:///study.db") and ``name`` an existing study is taken up where it stopped.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        direction="maximize",
        sampler=sampler or optuna.samplers.TPESampler(seed=0),
        pruner=pruner or optuna.pruners.MedianPruner(n_startup_trials=8, n_warmup_steps=3),
        storage=storage,
        study_name=name,
        load_if_exists=name is not None,
    )


def run_study(
    study: optuna.Study,
    suggest: Callable[[Trial], Config],
    dataset: Dataset,
    trials: int = 50,
    batch: int = 10,
    **options,
) -> optuna.Study:
    """Run ``trials`` more trials of ``study``, ``batch`` at a time, each one training run; returns the study.

    ``suggest`` turns a trial into a Config. A trial's value is its validation accuracy after its last epoch, of one
    seed: good enough to search with, too noisy to report (retrain the winner with new seeds for that). The
    Config stands in the trial's user attribute "config". ``options`` go to ``fit``.

    A larger ``batch`` trains faster and lets the sampler learn less often.
    """
    if trials < 1 or batch < 1:
        raise ValueError(
            f"trials, batch: got {trials} and {batch}, take whole numbers of at least 1"
        )
    remaining = trials
    while remaining > 0:
        asked = [study.ask() for _ in range(min(batch, remaining))]
        remaining -= len(asked)
        _train_batch(study, asked, [suggest(trial) for trial in asked], dataset, options)
    return study


def _train_batch(
    study: optuna.Study, trials: list[Trial], configs: list[Config], dataset: Dataset, options: dict
) -> None:
    for trial, config in zip(trials, configs, strict=True):
        trial.set_user_attr(
            "config", {name: str(value) for name, value in config.to_dict().items()}
        )

    def report(run: Run) -> None:
        for index in run.indices:
            if not run.is_active(index):
                continue
            trials[index].report(
                float(run.history.val_accuracy[index, run.epoch - 1]), step=run.epoch
            )
            if trials[index].should_prune():
                pruned.add(index)
                run.stop(index)

    pruned: set[int] = set()
    history = fit(
        configs, dataset, on_epoch=report, **{"progress": False, "keep_models": False, **options}
    )
    accuracy = history.val_correct.mean(1)  # of a diverged run: that of chance
    for index, trial in enumerate(trials):
        if index in pruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, float(accuracy[index]))


def epochs_spent(study: optuna.Study) -> int:
    """How many epochs all trials of a study trained, the pruned ones included."""
    return sum(max(trial.intermediate_values, default=0) for trial in study.trials)


def close_unfinished(study: optuna.Study) -> int:
    """Mark trials that an interruption left running as failed, and return how many there were.

    Only for a study that nobody else is working on: another worker's trials, too, count as left running.
    """
    unfinished = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
    for trial in unfinished:
        study.tell(trial.number, state=TrialState.FAIL)
    return len(unfinished)


@dataclass(frozen=True)
class Replay:
    """What a search did on a table of finished runs, look by look. Arrays of equal length:

    entry   which entry of the table was looked at (its place among all entries, flattened)
    epochs  how long that run had been trained by then
    score   what the search saw
    cost    how many epochs it had to pay for this look
    """

    entry: np.ndarray
    epochs: np.ndarray
    score: np.ndarray
    cost: np.ndarray

    def __post_init__(self) -> None:
        for name in ("entry", "epochs", "score", "cost"):
            object.__setattr__(self, name, np.asarray(getattr(self, name)))
        lengths = {name: getattr(self, name).shape for name in ("entry", "epochs", "score", "cost")}
        if len(set(lengths.values())) != 1 or self.entry.ndim != 1 or not len(self.entry):
            raise ValueError(
                f"entry, epochs, score, cost: got shapes {lengths}, take one length, at least 1"
            )

    @property
    def spent(self) -> np.ndarray:
        """Epochs paid for so far, after each look."""
        return np.cumsum(self.cost)

    @property
    def leader(self) -> np.ndarray:
        """The entry that the search would hand over after each look: the best score among those trained longest."""
        order, leader, best = [], None, (-np.inf, -np.inf)
        for entry, epochs, score in zip(self.entry, self.epochs, self.score, strict=True):
            if (epochs, score) > best:
                leader, best = entry, (epochs, score)
            order.append(leader)
        return np.array(order)

    def regret(self, truth: np.ndarray) -> np.ndarray:
        """How far the leader lies below the best entry, after each look; ``truth`` holds the true score of every entry."""
        return np.nanmax(truth) - np.ravel(truth)[self.leader]

    def regret_after(self, truth: np.ndarray, budgets: Sequence[int] | np.ndarray) -> np.ndarray:
        """The regret when so many epochs are spent, for each budget; NaN for those too small for a first look."""
        last = np.searchsorted(self.spent, budgets, side="right") - 1
        return np.where(last >= 0, self.regret(truth)[last], np.nan)


def bank_table(bank: Bank, metric: str = "val_accuracy") -> np.ndarray:
    """All curves of a bank as [entry, seed, epoch], the entries flattened: what a search written by hand walks on."""
    curves = [
        [bank.landscape(metric, epoch, seed).ravel() for epoch in range(1, bank.epochs + 1)]
        for seed in bank.seeds
    ]
    return np.array(curves).transpose(2, 0, 1)


def replay(
    bank: Bank,
    sampler: BaseSampler,
    pruner: optuna.pruners.BasePruner | None = None,
    *,
    trials: int = 50,
    budget: float = np.inf,
    fixed: Mapping[str, float] | None = None,
    idle: int = 0,
    seed: int = 0,
) -> Replay:
    """One of Optuna's searches on the bank: ``trials`` trials, or until ``budget`` epochs are spent.

    Each trial sees the validation accuracy of one of the bank's seeds, drawn at random (``seed`` decides the draws). Knobs
    are suggested as places on their axes, as ``bank.objective`` does. ``fixed`` knobs keep one value; ``idle`` more knobs
    are suggested that do nothing. Raises ValueError for fewer than one trial.
    """
    if trials < 1:
        raise ValueError(f"trials: got {trials}, takes a whole number of at least 1")
    study = make_study(sampler, pruner or optuna.pruners.NopPruner())
    rng, fixed, looks, spent = np.random.default_rng(seed), fixed or {}, [], 0
    while len(looks) < trials and spent < budget:
        trial = study.ask()
        config = {
            name: fixed[name]
            if name in fixed
            else values[trial.suggest_int(name, 0, len(values) - 1)]
            for name, values in bank.axes.items()
        }
        for number in range(idle):
            trial.suggest_float(f"idle {number}", 0, 1)
        curve = bank.curve(config, bank.seeds[rng.integers(len(bank.seeds))])
        epochs = _follow(trial, curve) if pruner else len(curve)
        if epochs < len(curve):
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, float(curve[-1]))
        looks.append(
            (
                np.ravel_multi_index(bank.index(config), bank.shape),
                epochs,
                curve[epochs - 1],
                epochs,
            )
        )
        spent += epochs
    return Replay(*zip(*looks, strict=True))


def _follow(trial: Trial, curve: np.ndarray) -> int:
    """Report a finished curve epoch by epoch; returns the epoch at which the pruner ends it."""
    for epoch, score in enumerate(curve, start=1):
        trial.report(float(score), step=epoch)
        if epoch < len(curve) and trial.should_prune():
            return epoch
    return len(curve)
