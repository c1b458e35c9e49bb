"""Searches replayed on the bank: a look into a table takes the place of a training.

In each trial a search sees one of the bank's ``search_seeds``, drawn at random, and it is judged by
the mean over the others, ``judge_seeds``: no score holds a part of its own mark. Which seeds these
are is luck, too, and it can turn a comparison round. So whoever compares does so on every ``split``
of the seeds; what then remains is one landscape: one network, one set of digits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState, create_trial

from .bank import Bank, position
from .evidence import Estimate, mean_interval
from .search import make_study, quiet, stoppable

COVERS = "the luck of the search, on this one landscape"


def splits(bank: Bank) -> list[Bank]:
    """The bank once for every way to share its seeds out among those that a search sees and those
    that judge it: six ways for four seeds. The first is the bank as it is."""
    everyone, seen = range(len(bank.seeds)), len(bank.search_seeds)
    banks = []
    for chosen in combinations(everyone, seen):
        order = [*chosen, *(seed for seed in everyone if seed not in chosen)]
        values = {name: each.take(order, len(bank.shape)) for name, each in bank._values.items()}
        banks.append(replace(bank, seeds=tuple(bank.seeds[at] for at in order), _values=values))
    return banks


def less_regret(treated: np.ndarray, control: np.ndarray, count: int = 6) -> Estimate:
    """Points of regret that ``treated`` [race] saves over ``control`` [race], on average.

    Race number i of both took place on split i modulo ``count``. The interval covers the luck of
    the search. Where the splits disagree on who is ahead, a flag says so.
    """
    saved = np.asarray(control, float) - np.asarray(treated, float)
    ahead = sum(saved[number::count].mean() > 0 for number in range(count))
    gain = mean_interval(saved, "points", COVERS)
    return gain if ahead in (0, count) else gain.flagged(f"ahead on {ahead} of {count} splits")


@dataclass(frozen=True)
class Replay:
    """What a search did on a table of finished runs, look by look. Arrays of equal length:

    entry    which entry of the table was looked at (its place among all entries, flattened)
    epochs   how long that run had been trained by then
    score    what the search saw
    cost     how many epochs it had to pay for this look
    seconds  processor time of the search itself, one number
    """

    entry: np.ndarray
    epochs: np.ndarray
    score: np.ndarray
    cost: np.ndarray
    seconds: float = 0.0

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
        """The entry that the search would recommend after each look: the best score among those
        trained longest."""
        order, leader, best = [], None, (-np.inf, -np.inf)
        for entry, epochs, score in zip(self.entry, self.epochs, self.score, strict=True):
            if (epochs, score) > best:
                leader, best = entry, (epochs, score)
            order.append(leader)
        return np.array(order)

    def leader_after(self, budgets: Sequence[int] | np.ndarray) -> np.ndarray:
        """The leader when so many epochs are spent, for each budget; -1 before the first look."""
        last = np.searchsorted(self.spent, budgets, side="right") - 1
        return np.where(last >= 0, self.leader[last], -1)

    def regret(self, truth: np.ndarray) -> np.ndarray:
        """How far the leader lies below the best entry, after each look; ``truth`` holds the true
        score of every entry."""
        return np.nanmax(truth) - np.ravel(truth)[self.leader]


def replay(
    bank: Bank,
    sampler: BaseSampler,
    pruner: optuna.pruners.BasePruner | None = None,
    *,
    budget: int | None = None,
    fixed: Mapping[str, float] | None = None,
    idle: int = 0,
    seed: int = 0,
) -> Replay:
    """One of Optuna's searches on the bank, until ``budget`` epochs are spent or the sampler stops.

    The budget is that of 50 full trainings unless given; the trial that reaches its end is cut
    there, so that every search spends just as much. Each trial sees the validation accuracy of one
    of the bank's ``search_seeds`` (``seed`` decides which). Knobs are suggested as places on their
    axes, as ``bank.objective`` does. ``fixed`` knobs keep one value; ``idle`` more knobs are
    suggested that do nothing. Raises ValueError for a budget below one epoch, and for knobs or
    values that the bank does not have.
    """
    budget = 50 * bank.epochs if budget is None else budget
    if budget < 1:
        raise ValueError(f"budget: got {budget}, takes a whole number of at least 1 epoch")
    kept = _places(fixed or {}, bank)
    # Hyperband deals trials to its brackets by the study's name: the same name, the same search.
    study = make_study(sampler, pruner or optuna.pruners.NopPruner(), name=f"replay {seed}")
    rng, curves, looks, spent = np.random.default_rng([seed, 0]), bank.table(), [], 0
    with quiet(), stoppable(study) as stopped:
        began = time.process_time()
        while spent < budget and not stopped.is_set():
            trial = study.ask()
            entry = _suggest(trial, bank, kept, idle)
            curve = curves[entry, rng.integers(len(bank.search_seeds)), : budget - spent]
            epochs = _follow(trial, curve) if pruner else len(curve)
            if epochs < bank.epochs:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, float(curve[-1]))
            looks.append((entry, epochs, curve[epochs - 1], epochs))
            spent += epochs
        seconds = time.process_time() - began
    entries, lengths, scores, costs = map(np.array, zip(*looks, strict=True))
    return Replay(entries, lengths, scores, costs, seconds=seconds)


def refuse_unknown(argument: str, given: Mapping[str, Any], bank: Bank) -> None:
    """Raise ValueError for knobs that the bank does not have."""
    if strange := ", ".join(name for name in given if name not in bank.axes):
        raise ValueError(f"{argument}: got {strange}, the bank's knobs are {', '.join(bank.axes)}")


def _places(fixed: Mapping[str, float], bank: Bank) -> dict[str, int]:
    refuse_unknown("fixed", fixed, bank)
    return {name: position(name, value, bank.axes[name]) for name, value in fixed.items()}


def _suggest(trial: Trial, bank: Bank, kept: Mapping[str, int], idle: int) -> int:
    """The entry of the table that a trial asks for; ``kept`` places are not its to choose."""
    places = []
    for name, values in bank.axes.items():
        free = name not in kept
        places.append(trial.suggest_int(name, 0, len(values) - 1) if free else kept[name])
    for number in range(idle):
        trial.suggest_float(f"idle {number}", 0, 1)
    return int(np.ravel_multi_index(places, bank.shape))


def _follow(trial: Trial, curve: np.ndarray) -> int:
    """Report a finished curve epoch by epoch; returns the epoch at which the pruner ends it."""
    for epoch, score in enumerate(curve, start=1):
        trial.report(float(score), step=epoch)
        if epoch < len(curve) and trial.should_prune():
            return epoch
    return len(curve)


class WithoutRepeats(BaseSampler):
    """Random search on a bank's grid in which no entry comes twice, until all have come.

    A rate drawn from a continuous range never repeats; one of twelve drawn with replacement would.
    """

    def __init__(self, axes: Mapping[str, Sequence[float]], seed: int = 0):
        self.names, self.shape = list(axes), tuple(map(len, axes.values()))
        self.order = np.random.default_rng([seed, 1]).permutation(int(np.prod(self.shape)))

    def infer_relative_search_space(self, *_: Any) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, *_: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> int:
        entry = self.order[trial.number % len(self.order)]
        return int(np.unravel_index(entry, self.shape)[self.names.index(name)])


def with_real_values(study: optuna.Study, bank: Bank) -> optuna.Study:
    """A copy whose trials show values where those of ``bank.objective`` and ``replay`` show places
    on an axis: for Optuna's pictures. Axes that begin above zero are logarithmic."""
    ranges: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, values in bank.axes.items():
        whole = all(isinstance(value, int) for value in values)
        low, high, log = values[0], values[-1], values[0] > 0
        if whole:
            ranges[name] = IntDistribution(int(low), int(high), log=log)
        else:
            ranges[name] = FloatDistribution(low, high, log=log)
    copy = make_study(name=study.study_name)
    for trial in study.get_trials(deepcopy=False):
        places = {name: place for name, place in trial.params.items() if name in bank.axes}
        copy.add_trial(
            create_trial(
                state=trial.state,
                value=trial.value,
                params={name: bank.axes[name][place] for name, place in places.items()},
                distributions={name: ranges[name] for name in places},
                user_attrs=trial.user_attrs,
                intermediate_values=trial.intermediate_values,
            )
        )
    return copy
