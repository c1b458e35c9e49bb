"""Checks of the exercises of notebook 10."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from ...classroom.check import exercise
from ...classroom.design import fair_design
from ...engine.config import Config
from ...engine.data import Dataset
from ...engine.history import History
from ...evidence import Estimate, difference
from .experiments import gradient_norms, mistakes

SEARCH_SEED = 100
DIAGNOSES = {"P": "dead", "Q": "finished", "R": "vanished"}


@exercise(
    "10.1",
    hints=[
        "A part is shown to be needed when the whole interval of what is lost lies above zero.",
        "An Estimate has .value, .low and .high. Which of them decides?",
        "return [name for name, loss in losses.items() if loss.low <= 0]",
    ],
    praise="That is right: a part is a passenger as long as its interval does not clear zero.",
)
def check_passengers(passengers: Any, measured: Mapping[str, Estimate]) -> Iterator[Any]:
    """The parts of a recipe that are not shown to be needed."""
    made_up = {
        "clear": _points(0.03, 0.02),
        "large but unsure": _points(0.05, 0.06),
        "small but sure": _points(0.004, 0.003),
        "harmful": _points(-0.02, 0.01),
    }
    named = passengers(made_up)
    yield isinstance(named, (list, tuple, set)), "`passengers` should return a list of names."
    listed = set(named)
    yield listed <= set(made_up), "It should return names that stand in the table it is given."
    unsure = "A mean of +5.0 points with an interval from -1.0 to +11.0 shows nothing yet."
    yield "large but unsure" in listed, unsure
    sure = "A loss of +0.4 points with an interval from +0.1 to +0.7 is small, and shown."
    yield "small but sure" not in listed, sure
    harm = "A part without which the network is better is a passenger, and a heavy one."
    yield "harmful" in listed, harm
    yield "clear" not in listed, "A part whose whole interval lies above zero is needed."
    right = {name for name, loss in measured.items() if loss.low <= 0}
    yield set(passengers(measured)) == right, "On the measured table it names other parts."


def _points(value: float, half: float) -> Estimate:
    return Estimate(value, value - half, value + half, 8, "points")


@exercise(
    "10.2",
    hints=[
        "Train the winner and the rival on the same eight fresh seeds: config.seeds(range(8)).",
        "Only the settings that were searched may differ. Are the epochs equal? Is seed 100 there?",
        "winner = fit(winner_config.replace(epochs=rival_config.epochs)"
        ".seeds(range(8)), few); the same for the rival; gain_of_box = difference(winner, rival)",
    ],
    praise="That is a fair confirmation: fresh seeds, fresh images, equal epochs, and pairs.",
)
def check_confirmation(
    winner: Any, rival: Any, gain: Any, winner_config: Config, rival_config: Config
) -> Iterator[tuple[Any, str]]:
    """Is the winner of a search better than its rival, on fresh seeds and equal terms?"""
    for name, side, wanted in (("winner", winner, winner_config), ("rival", rival, rival_config)):
        yield isinstance(side, History), f"`{name}` should be what fit(...) returns."
        seeds = [config.seed for config in side.configs]
        yield len(set(seeds)) >= 8, f"`{name}` has {len(set(seeds))} seeds; take eight."
        old = f"`{name}` holds seed {SEARCH_SEED}, by which the winner was chosen: take fresh ones."
        yield SEARCH_SEED not in seeds, old
        free = ("seed", "epochs")
        same = all(_without(config, *free) == _without(wanted, *free) for config in side.configs)
        yield same, f"`{name}` has other settings than {name}_config, besides seed and epochs."
    epochs = [side.configs[0].epochs for side in (winner, rival)]
    yield epochs[0] == epochs[1], f"The winner trains {epochs[0]} epochs, the rival {epochs[1]}."
    yield winner.val_correct.shape == rival.val_correct.shape, "Judge both by the same images."
    fair = difference(winner, rival)
    yield isinstance(gain, Estimate), "`gain_of_box` should be what difference(...) returns."
    near = math.isclose(gain.value, fair.value) and math.isclose(gain.low, fair.low)
    yield near, f"The paired difference of these two is {fair}; yours is {gain}."


def _without(config: Config, *names: str) -> dict[str, Any]:
    return {name: value for name, value in config.to_dict().items() if name not in names}


@exercise(
    "10.3",
    hints=[
        "Ask two questions of each: how large is the first layer's gradient on all digits, and how "
        "large on the digits that it gets wrong?",
        "A gradient that is tiny has vanished on its way. One that is exactly zero, everywhere, "
        "never set out: look at the outputs of the hidden layer.",
        "experiments.gradient_norms(model, experiments.mistakes(model, digits.val))[0] is the "
        "number; one of them is alive, one tiny, one zero.",
    ],
    praise="That is right: three small gradients, three causes, three different cures.",
)
def check_three_networks(
    diagnoses: Any, evidence: Any, networks: Mapping[str, nn.Module], dataset: Dataset
) -> Iterator[tuple[Any, str]]:
    """Finished, vanished or dead: a diagnosis for each network, with its evidence."""
    names = sorted(networks)
    for title, given in (("diagnoses", diagnoses), ("evidence", evidence)):
        complete = isinstance(given, Mapping) and sorted(given) == names
        yield complete, f"`{title}` should be a dict with one entry for each of {', '.join(names)}."
    for name in names:
        norm = gradient_norms(networks[name], mistakes(networks[name], dataset.val))[0]
        told = evidence[name]
        number = isinstance(told, (int, float)) and not isinstance(told, bool)
        yield number, f"evidence[{name!r}] should be a number: the norm of a gradient."
        close = math.isclose(told, norm, rel_tol=0.02, abs_tol=1e-30)
        told_so = "is not the first layer's gradient on the validation digits that it gets wrong."
        yield close, f"evidence[{name!r}] {told_so}"
    words = sorted(set(DIAGNOSES.values()))
    for name in names:
        yield diagnoses[name] in words, f"diagnoses[{name!r}] should be one of {', '.join(words)}."
    for name, right in DIAGNOSES.items():
        shown = f"{evidence[name]:.2g} on its mistakes"
        yield diagnoses[name] == right, f"{name}: a first-layer gradient of {shown} says otherwise."


@exercise(
    "10.4",
    hints=[
        "Give compare two arms of one patient that differ in one treatment, and a grid of rates.",
        "Look at the table's last column: a choice at the edge asks for a wider grid.",
        "The verdict follows from gain: above zero, below zero, or zero inside.",
    ],
    praise="That is a fair experiment, and your verdict follows from it.",
)
def check_my_treatment(trial: Any, verdict: Any, *patients: Config) -> Iterator[tuple[Any, str]]:
    """A treatment of the learner's own, for one of the patients, tuned and judged."""
    yield from fair_design(trial, verdict)
    free = (
        "seed",
        "epochs",
        "learning_rate",
        *{name for arm in trial.chosen.values() for name in arm},
    )
    first = trial.histories[trial.first].configs[0]
    untreated = [_without(patient, *free) for patient in patients]
    own = "The first arm should be one of the two patients, untreated."
    yield _without(first, *free) in untreated, own
    last = trial.histories[list(trial.histories)[-1]].configs[0]
    changed = [
        name for name, value in _without(last, *free).items() if value != getattr(first, name)
    ]
    known = {"init": "xavier", "dropout": 0.3, "augment": "affine"}
    repeats = len(changed) == 1 and known.get(changed[0]) == getattr(last, changed[0])
    yield not repeats, "The notebook has measured this treatment already: try another, or a mix."
