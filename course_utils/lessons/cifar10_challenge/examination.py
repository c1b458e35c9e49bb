"""The examination: what it asks, of stored runs, and what is right. Notebook 15, section 8."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ...engine.history import History
from ...evidence import Estimate, accuracy, difference
from .records import Record, Stored
from .studies import BANK_JUDGES

VERDICTS = ("gain", "loss", "not settled")
# What a patient may have, and what would help.
ILLNESSES = {
    "healthy": "nothing: leave it as it is",
    "rate too high": "a lower rate",
    "rate too low": "a higher rate",
    "rate gone too early": "a schedule that is as long as the training",
    "augmentation too strong": "a milder augmentation",
    "frozen layers": "let all layers learn",
    "network too small": "more channels, more layers",
    "overfitted": "more images, augmentation",
    "wrong labels": "look at the labels",
    "leaked": "other validation images",
    "prepared otherwise": "prepare validation images as those for training",
}
SOLVED = ("healthy", "overfitted", "rate too low")  # the examples before the examination
LETTERS = "ABCDEFGH"


# Which difference is shown? -----------------------------------------------------------------------


def pairs(stored: Stored) -> dict[int, tuple[str, History, History]]:
    """{number: (what is asked, the runs with it, the runs without it)}: same seeds, same images."""
    asked = {}
    for number, (question, treated, control) in enumerate(QUESTIONS, start=1):
        seeds = min(len(stored[treated]), len(stored[control]))
        if control.startswith("bank"):
            seeds = len(BANK_JUDGES)  # the last seed chose the rates
        asked[number] = question, stored[treated][:seeds], stored[control][:seeds]
    return asked


QUESTIONS = (
    ("crop, 5,000 photographs", "bank, crop 1.6", "bank, none 1.6"),
    ("label smoothing, small plain network", "daydreaming, label smoothing", "daydreaming"),
    ("crop and flip, small plain network", "daydreaming, crop and flip", "daydreaming"),
    ("triangles instead of one cycle, peak 0.8, FAST", "judged, cyclic", "flips, with"),
    ("identity at the start, FAST", "flips, with", "without, identity"),
    ("one cycle instead of a constant rate of 0.4, FAST", "flips, with", "judged, constant"),
)


def right_verdicts(stored: Stored) -> dict[int, str]:
    """What the paired intervals say."""
    return {number: _verdict(difference(*both)) for number, (_, *both) in pairs(stored).items()}


def _verdict(gained: Estimate) -> str:
    return "gain" if gained.low > 0 else "loss" if gained.high < 0 else "not settled"


# Which run is ill, and of what? -------------------------------------------------------------------


def ward(stored: Stored) -> dict[str, Record]:
    """{letter: a run}: eight patients in no order."""
    names = [name for name in ILLNESSES if name not in SOLVED]
    order = np.random.default_rng(15).permutation(len(names))
    return {
        LETTERS[place]: stored.records[f"patient, {names[number]}"][0]
        for place, number in enumerate(order)
    }


def examples(stored: Stored) -> dict[str, Record]:
    """{diagnosis: a run} of three patients whose diagnosis is told."""
    return {name: stored.records[f"patient, {name}"][0] for name in SOLVED}


def illness_of(record: Record) -> str:
    return record.facts["name"].removeprefix("patient, ")


def vital_signs(patients: Mapping[str, Record]) -> pd.DataFrame:
    """One row for each patient: its last epoch, its rates, and how far its layers have moved."""
    rows = {}
    for letter, record in patients.items():
        train_loss, train, val_loss, val, batch_loss, rate = record.lines
        moved = list(record.facts["moved"].values())
        rows[letter] = {
            "loss of batches": batch_loss[-1],
            "training loss": train_loss[-1],
            "validation loss": val_loss[-1],
            "training accuracy": train[-1],
            "validation accuracy": val[-1],
            "rate in the middle": rate[len(rate) // 2],
            "first layer moved": moved[0],
            "last layer moved": moved[-1],
        }
    return pd.DataFrame(rows).T.astype(float).round(4)


# Which lever would help? --------------------------------------------------------------------------


def situations(stored: Stored) -> dict[str, tuple[History, dict[str, History]]]:
    """{network: (its runs, {lever: the same with this lever})}, the same seeds everywhere."""
    first = {
        "crop and flip": stored["patient, healthy"],
        "twice the width": stored["rote, wider"],
        "averaged weights": stored["rote, averaged weights"],
    }
    both = {
        "network 1": (stored["rote"], first),
        "network 2": (stored["daydreaming"], stored.starting("daydreaming, ")),
    }
    return {name: _of_common_seeds(*each) for name, each in both.items()}


def _of_common_seeds(
    runs: History, levers: Mapping[str, History]
) -> tuple[History, dict[str, History]]:
    count = min(len(each) for each in (runs, *levers.values()))
    return runs[:count], {name: each[:count] for name, each in levers.items()}


def lever_gains(stored: Stored, situation: str) -> dict[str, Estimate]:
    """What each lever gained, paired."""
    runs, levers = situations(stored)[situation]
    return {lever: difference(changed, runs) for lever, changed in levers.items()}


def summary(history: History) -> str:
    """A situation in a line: training and validation accuracy."""
    return f"training {history.final('train_accuracy').mean():.0%}, validation {accuracy(history)}"
