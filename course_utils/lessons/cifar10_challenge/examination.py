"""The examination: what it asks, of stored runs, and what is right. Notebook 15, section 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...engine.history import History
from ...evidence import Estimate, accuracy, difference
from .records import Record, Stored, to_history

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


# Which difference is shown? ------------------------------------------------------------------------


def pairs(stored: Stored) -> dict[int, tuple[str, History, History]]:
    """{number: (what is asked, the runs with it, the runs without it)}: same seeds, same images."""
    return {
        number: (question, stored[treated], stored[control])
        for number, (question, treated, control) in enumerate(QUESTIONS, start=1)
    }


QUESTIONS = (
    ("crop, on few photographs", "bank, crop 0.1", "bank, none 0.1"),
    ("flip besides crop, on few photographs", "bank, crop_flip 0.2", "bank, crop 0.2"),
    ("label smoothing, small network", "daydreaming, label smoothing", "daydreaming"),
    ("weight decay, small network", "daydreaming, weight decay", "daydreaming"),
    ("crop and flip, small network", "daydreaming, crop and flip", "daydreaming"),
    ("averaged weights, all photographs", "ladder, averaged weights", "ladder, label smoothing"),
)


def right_verdicts(stored: Stored) -> dict[int, str]:
    """What the paired intervals say."""
    return {number: _verdict(difference(*both)) for number, (_, *both) in pairs(stored).items()}


def _verdict(gained: Estimate) -> str:
    return "gain" if gained.low > 0 else "loss" if gained.high < 0 else "not settled"


# Which comparison is unfair? -----------------------------------------------------------------------


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
    bank = {name: stored.starting(f"bank, {name} ") for name in ("none", "crop", "crop_flip")}
    mean = {
        name: {rate: runs.val_correct.mean() for rate, runs in b.items()}
        for name, b in bank.items()
    }
    best = {name: max(values, key=values.get) for name, values in mean.items()}
    worst = min(mean["none"], key=mean["none"].get)
    crop, flip = bank["crop"][best["crop"]], bank["crop_flip"][best["crop_flip"]]
    lucky = crop.val_correct.mean(1).max() - bank["none"][best["none"]].val_correct.mean()
    leaked, healthy = stored["patient, leaked"], stored["patient, healthy"]
    hint, base = stored["hint, small, SGD"], stored["ladder, standardised inputs"]
    four, usual = "each at the best of rates 0.05, 0.1, 0.2, 0.4; seeds 8 and 9", "790 and 790"
    every = "ten seeds, validation images"
    listed = [
        Report(
            "flip gains over crop alone",
            four,
            "seeds 0 to 7, validation images",
            usual,
            str(difference(flip[:8], crop[:8])),
            "fair",
        ),
        Report(
            "crop gains over nothing",
            f"crop: the best of four rates; nothing: {worst}, as it was",
            every,
            usual,
            str(difference(crop, bank["none"][worst])),
            "only one side was tuned",
        ),
        Report(
            "crop gains over nothing",
            "each at the better of rates 0.05 and 0.1, which is 0.1",
            every,
            usual,
            str(difference(bank["crop"]["0.1"], bank["none"]["0.1"])),
            "the choice lies at an edge",
        ),
        Report(
            "the article's cycle gains over a constant rate",
            "none: each as it was published",
            "seeds 10 to 12, validation images",
            "7,040 and 1,760",
            str(difference(hint, base)),
            "unequal numbers of updates",
        ),
        Report(
            "crop gains over nothing",
            "each at the best of four rates, by the ten seeds that follow",
            every,
            usual,
            str(difference(crop, bank["none"][best["none"]])),
            "chosen and judged by the same runs",
        ),
        Report(
            "crop reaches more than nothing does",
            four,
            "crop: its best run; nothing: ten seeds",
            usual,
            f"{100 * lucky:+.1f} points",
            "the best seed against a mean",
        ),
        Report(
            "a new mixture of images gains over the old",
            "none: one recipe for both",
            "2 seeds, validation images, half of the new mixture",
            usual,
            str(difference(leaked, healthy)),
            "judged on training images",
        ),
    ]
    order = np.random.default_rng(15).permutation(len(listed))
    return {LETTERS[place]: listed[number] for place, number in enumerate(order)}


def reports_table(stored: Stored) -> pd.DataFrame:
    """The reports as a table, without what is wrong with them."""
    frame = pd.DataFrame({letter: vars(each) for letter, each in reports(stored).items()}).T
    return frame.drop(columns="flaw").rename(columns={"updates": "updates on either side"})


# Which run is ill, and of what? ---------------------------------------------------------------------


def ward(stored: Stored, seed: int = 0) -> dict[str, Record]:
    """{letter: a run}: eight patients in no order; another ``seed`` (0 or 1) is another ward."""
    names = [name for name in ILLNESSES if name not in SOLVED]
    order = np.random.default_rng([15, seed]).permutation(len(names))
    return {
        LETTERS[place]: stored.records[f"patient, {names[number]}"][seed]
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


# Which lever would help? ------------------------------------------------------------------------------


def situations(stored: Stored) -> dict[str, tuple[History, dict[str, History]]]:
    """{situation: (its runs, {lever: the same with this lever})}."""
    rote = stored["bank, none 0.2"][:4]
    levers = {
        "crop and flip": stored["bank, crop_flip 0.2"][:4],
        "twice the rate": stored["bank, none 0.4"][:4],
        "twice the width": stored["rote, wider"],
        "averaged weights": stored["rote, averaged weights"],
    }
    return {
        "rote": (rote, levers),
        "daydreaming": (stored["daydreaming"], stored.starting("daydreaming, ")),
    }


def lever_gains(stored: Stored, situation: str) -> dict[str, Estimate]:
    """What each lever gained, paired."""
    runs, levers = situations(stored)[situation]
    return {lever: difference(changed, runs) for lever, changed in levers.items()}


def summary(history: History) -> str:
    """A situation in a line: training and validation accuracy."""
    return f"training {history.final('train_accuracy').mean():.0%}, validation {accuracy(history)}"


def one_run(record: Record) -> History:
    return to_history([record])
