"""The examination: what it asks, of stored runs, and what is right. Notebook 15, section 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...engine.history import History
from ...evidence import Estimate, accuracy, difference
from .records import Record, Stored
from .replay import replay
from .studies import BANK_RATES

VERDICTS = ("gain", "loss", "not settled")
FLAWS = (
    "fair",
    "only one side was tuned",
    "the choice lies at an edge",
    "unequal numbers of updates",
    "chosen and judged by the same runs",
    "the best seed against a mean",
    "judged on training images",
)
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
        asked[number] = question, stored[treated][:seeds], stored[control][:seeds]
    return asked


QUESTIONS = (
    ("crop, 5,000 photographs", "bank, crop 0.4", "bank, none 0.4"),
    ("flip besides crop, 5,000 photographs", "bank, crop_flip 0.4", "bank, crop 0.4"),
    ("label smoothing, small network", "daydreaming, label smoothing", "daydreaming"),
    ("crop and flip, small network", "daydreaming, crop and flip", "daydreaming"),
    ("flip besides crop, all photographs", "flips, with", "flips, without"),
    ("identity at the start, all photographs", "flips, with", "without, identity"),
)


def right_verdicts(stored: Stored) -> dict[int, str]:
    """What the paired intervals say."""
    return {number: _verdict(difference(*both)) for number, (_, *both) in pairs(stored).items()}


def _verdict(gained: Estimate) -> str:
    return "gain" if gained.low > 0 else "loss" if gained.high < 0 else "not settled"


# Which comparison is unfair? ----------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """A comparison as somebody might report it, and what is wrong with it."""

    claim: str
    tuning: str
    judging: str
    updates: str
    result: str
    flaw: str


def reports(stored: Stored) -> dict[str, Report]:
    """{letter: report}: each of stored runs, with what they really came to."""
    listed = [*_of_the_bank(stored), *_of_other_runs(stored)]
    order = np.random.default_rng(15).permutation(len(listed))
    return {LETTERS[place]: listed[number] for place, number in enumerate(order)}


def _of_the_bank(stored: Stored) -> list[Report]:
    """Five reports on augmentations and five thousand photographs, one of them fair."""
    bank = {name: stored.starting(f"bank, {name} ") for name in ("none", "crop", "crop_flip")}
    mean = {
        name: {rate: runs.val_correct.mean() for rate, runs in by_rate.items()}
        for name, by_rate in bank.items()
    }
    best = {name: max(values, key=values.__getitem__) for name, values in mean.items()}
    worst = min(mean["none"], key=mean["none"].__getitem__)
    none, crop = bank["none"][best["none"]], bank["crop"][best["crop"]]
    trial = replay(
        stored,
        {"crop": "crop", "flip": "crop_flip"},
        tune={"learning_rate": BANK_RATES},
        tuning_seeds=(4, 5),
        seeds=range(4),
    )
    lucky = crop.val_correct.mean(1).max() - none.val_correct.mean()
    three, usual = "each at the best of rates 0.2, 0.4, 0.8; seeds 4 and 5", "400 and 400"
    every, gains = "six seeds, validation images", "crop gains over nothing"
    low = f"{difference(bank['crop']['0.4'], bank['none']['0.4'])}"
    return [
        Report(
            *("flip gains over crop alone", f"{three}, half of the validation images"),
            *("seeds 0 to 3, the other half", usual, str(trial.gain("flip")), "fair"),
        ),
        Report(
            *(gains, f"crop: the best of three rates; nothing: {worst}, as it was"),
            *(every, usual, str(difference(crop, bank["none"][worst]))),
            "only one side was tuned",
        ),
        Report(
            *(gains, "each at the better of rates 0.2 and 0.4, which is 0.4"),
            *(every, usual, low, "the choice lies at an edge"),
        ),
        Report(
            *(gains, "each at the best of three rates, by the six seeds that follow"),
            *(every, usual, str(difference(crop, none)), "chosen and judged by the same runs"),
        ),
        Report(
            *("crop reaches more than nothing does", three),
            *("crop: its best run; nothing: six seeds", usual, f"{100 * lucky:+.1f} points"),
            "the best seed against a mean",
        ),
    ]


def _of_other_runs(stored: Stored) -> list[Report]:
    hint, plain = stored["hint, SGD"], stored["all, baseline"]
    count = min(len(hint), len(plain))
    return [
        Report(
            *("the article's hint gains over the baseline", "none: each as it was written down"),
            *(f"{count} seeds, validation images", "7,040 and 1,760"),
            *(str(difference(hint[:count], plain[:count])), "unequal numbers of updates"),
        ),
        Report(
            "a new mixture of images gains over the old",
            "none: one recipe for both",
            "2 seeds, validation images, half of the new mixture",
            "790 and 790",
            str(difference(stored["patient, leaked"], stored["patient, healthy"])),
            "judged on training images",
        ),
    ]


def reports_table(stored: Stored) -> pd.DataFrame:
    """The reports as a table, without what is wrong with them."""
    frame = pd.DataFrame({letter: vars(each) for letter, each in reports(stored).items()}).T
    return frame.drop(columns="flaw").rename(columns={"updates": "updates on either side"})


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
            "training": train[-1],
            "validation": val[-1],
            "rate in the middle": rate[len(rate) // 2],
            "first layer moved": moved[0],
            "last layer moved": moved[-1],
        }
    return pd.DataFrame(rows).T


# Which lever would help? --------------------------------------------------------------------------


def situations(stored: Stored) -> dict[str, tuple[History, dict[str, History]]]:
    """{network: (its runs, {lever: the same with this lever})}, the same seeds everywhere."""
    first = {
        "crop and flip": stored["bank, crop_flip 0.4"],
        "twice the rate": stored["bank, none 0.8"],
        "twice the width": stored["rote, wider"],
        "averaged weights": stored["rote, averaged weights"],
    }
    both = {
        "network 1": (stored["bank, none 0.4"], first),
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
