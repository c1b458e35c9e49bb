"""Checks of the exercises of notebook 09."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from ...classroom.check import exercise
from ...engine.history import History
from ...evidence import difference

TRIALS, SEEDS, NEAR = 20, 8, 0.05
ROLES = {
    "weight_decay": "scientific",
    "learning_rate": "nuisance",
    "dropout": "nuisance",
    "batch_size": "fixed",
}
DECISIONS = ("adopt", "keep", "not settled")
Condition = tuple[Any, str]


@exercise(
    "09.1",
    hints=[
        "What is the probability that all n trials miss the good part?",
        "(1 - share) ** n must be at most 1 - confidence. Take logarithms, and round up.",
        "math.ceil(math.log(1 - confidence) / math.log(1 - share))",
    ],
    praise="That is right. Note what is missing in the formula: the number of knobs.",
)
def check_trials_needed(trials_needed: Callable[[float, float], int]) -> Iterator[Condition]:
    """Random trials until one lies in the best ``share`` of the space, with a probability."""
    yield callable(trials_needed), "A function is wanted."
    answers = trials_needed(0.05, 0.95)
    yield float(answers).is_integer(), f"Trials come in whole numbers; this is {answers}."
    half = trials_needed(0.5, 0.75)
    yield (
        half == 2,
        f"If half of the space is good, two trials miss it once in four; not {half}.",
    )
    told = f"For the best 5 % with probability 95 %, {answers} is not the smallest number."
    yield _is_least(answers, 0.05, 0.95), told
    for share in (0.01, 0.1, 0.3, 0.9):
        for confidence in (0.5, 0.8, 0.99):
            count = trials_needed(share, confidence)
            asked = f"For {100 * share:.0f} % and {100 * confidence:.0f} %"
            told = f"{asked}, {count} is not the smallest number."
            yield _is_least(count, share, confidence), told


def _is_least(count: float, share: float, confidence: float) -> bool:
    missed, rest = math.log(1 - share), math.log(1 - confidence)
    return count >= 1 and count * missed <= rest + 1e-9 and (count - 1) * missed > rest - 1e-9


@exercise(
    "09.2",
    hints=[
        "Scientific is what the question asks about. What must be tuned anew for each of its "
        "values, so that none is judged at settings that suit another?",
        "Fix the batch size first: scores[:, 1] has the axes rate, dropout, decay.",
        "Optimise over nuisances: a maximum over their axes, not a mean.",
    ],
    praise="That is right: every weight decay was judged at its own best.",
)
def check_isolation(
    roles: Any, decay_effect: Callable[[np.ndarray], np.ndarray]
) -> Iterator[Condition]:
    """Roles of four knobs, and the score of each weight decay, from scores
    [rate, batch, dropout, decay]."""
    named = isinstance(roles, dict) and set(roles) == set(ROLES)
    yield named, f"`roles` should name each of {', '.join(ROLES)}."
    known = set(roles.values()) <= {"scientific", "nuisance", "fixed"}
    yield known, "Roles are scientific, nuisance or fixed."
    told = "Scientific is what the question is about."
    yield roles["weight_decay"] == "scientific", told
    told = "What the machine dictates is fixed: the answer then holds for it alone."
    yield roles["batch_size"] == "fixed", told
    told = "What must be tuned anew for each weight decay, so that none is wronged, is a nuisance."
    yield roles == ROLES, told
    yield callable(decay_effect), "`decay_effect` should be a function."
    shape = np.shape(decay_effect(np.zeros((5, 3, 6, 2))))
    yield shape == (2,), f"One number for each weight decay is wanted; the shape is {shape}."
    scores = np.random.default_rng(0).random((5, 3, 6, 2))
    given = np.asarray(decay_effect(scores.copy()))
    told = "The batch size is that of index 1; these numbers hold others, too."
    others = scores.copy()
    others[:, [0, 2]] += 1
    yield np.allclose(decay_effect(others), given), told
    told = "Each weight decay deserves its own best learning rate and dropout."
    yield np.allclose(given, scores[:, 1].max(axis=(0, 1))), told


@exercise(
    "09.3",
    hints=[
        "Look at plot_study: does the best trial lie well inside its box? If not, widen the box.",
        "Confirm with seeds that no trial had: trials have the seeds 0, 1, 2, ...",
        "The validation images judge the winner, so let my_objective score by others: "
        "fit(config, dataclasses.replace(small, val=small.tuning, tuning=None), progress=False).",
        "Import difference from course_utils, and print difference(best_found, usual). *adopt* if "
        "its interval lies above zero, *keep* if below, *not settled* if zero is inside.",
    ],
    praise="That is a search one can believe: wide enough, confirmed with new seeds, and decided.",
)
def check_my_search(study: Any, found: Any, usual: Any, decision: Any) -> Iterator[Condition]:
    """A search of the learner's own: run, read, confirmed, decided."""
    yield isinstance(study, optuna.Study), "`my_study` should be what optuna.create_study returns."
    count = sum(trial.state.is_finished() for trial in study.trials)
    yield count >= TRIALS, f"Give the search {TRIALS} trials or more; these are {count}."
    best = study.best_trial
    yield len(best.params) >= 2, "Search two knobs or more."
    edge = at_an_edge(best)
    yield (
        not edge,
        f"The best trial lies at an edge of its box: {edge}. Widen the box, search again.",
    )
    both = isinstance(found, History) and isinstance(usual, History)
    yield both, "`best_found` and `usual` should be what fit(...) returns."
    differs = [
        name
        for name, value in best.params.items()
        if any(getattr(config, name) != value for config in found.configs)
    ]
    yield (
        not differs,
        f"`best_found` should have the best trial's settings: look at {', '.join(differs)}.",
    )
    yield from _confirmed(study, found, usual)
    gain = difference(found, usual)
    yield decision in DECISIONS, f"`decision` should be one of {', '.join(DECISIONS)}."
    follows = "adopt" if gain.low > 0 else "keep" if gain.high < 0 else "not settled"
    yield decision == follows, f"The gain is {gain}: look at where it lies, and decide again."


def _confirmed(study: optuna.Study, found: History, usual: History) -> Iterator[Condition]:
    """Eight seeds that the search never had, the same on both sides, and equal training."""
    seeds = {config.seed for config in found.configs}
    used = sorted(seeds & {trial.number for trial in study.trials})
    yield len(seeds) >= SEEDS, f"Confirm with {SEEDS} seeds or more; these are {len(seeds)}."
    yield not used, f"The search has seen the seeds {used}: its best was chosen for their luck."
    same = seeds == {config.seed for config in usual.configs}
    yield same, "Both sides need the same seeds, so that they can be paired."
    told = "Train both sides equally long: the epochs differ."
    yield _epochs(found) == _epochs(usual), told


def _epochs(history: History) -> set[int]:
    return {config.epochs for config in history.configs}


def at_an_edge(trial: FrozenTrial, near: float = NEAR) -> str:
    """Which knobs of a trial lie within a twentieth of their box of one of its ends, in words.

    Nothing lies below a dropout or a decay of zero: that end hides no better value.
    """
    edges = []
    for name, box in trial.distributions.items():
        if not isinstance(box, (FloatDistribution, IntDistribution)):
            continue
        ends, value = (box.low, box.high), trial.params[name]
        low, high, place = (math.log(each) if box.log else each for each in (*ends, value))
        share = (place - low) / (high - low) if high > low else 0.5
        if (share < near and box.low != 0) or share > 1 - near:
            edges.append(f"{name} {value:.3g} of {box.low:g} to {box.high:g}")
    return ", ".join(edges)
