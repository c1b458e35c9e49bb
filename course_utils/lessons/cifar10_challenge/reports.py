"""Which comparison is unfair? Seven reports on stored runs. Notebook 15, the examination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML

from ...evidence import difference
from .records import Stored
from .replay import replay
from .studies import BANK_CHOOSERS, BANK_JUDGES, BANK_RATES

LETTERS = "ABCDEFG"
FLAWS = (
    "fair",
    "only one side was tuned",
    "the choice lies at an edge",
    "unequal numbers of updates",
    "chosen and judged by the same runs",
    "the best seed against a mean",
    "judged on training images",
)


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
    arms = {"nothing": "none", "crop": "crop", "flip": "crop_flip"}
    seeds: dict[str, Any] = {"tuning_seeds": BANK_CHOOSERS, "seeds": BANK_JUDGES}
    trial = replay(stored, arms, tune={"learning_rate": BANK_RATES}, **seeds)
    nothing, crop, flip = (trial.histories[arm] for arm in arms)
    lucky = nothing.val_correct.mean(1).max() - crop.val_correct.mean()
    best = {arm: trial.tuning[arm].val_correct.mean(1).max() for arm in arms}
    low = stored[f"bank, none {BANK_RATES[0]:g}"].val_correct.mean()
    five, usual = "each at the best of rates 0.2, 0.4, 0.8, 1.6, 3.2; seed 4", "400 and 400"
    judges, gains = "seeds 0, 1, 5; images that chose nothing", "crop gains over nothing"
    return [
        Report(
            *("flip besides crop against crop alone", five, judges, usual),
            *(str(difference(flip, crop)), "fair"),
        ),
        Report(
            *(gains, "crop: the best of five rates, by seed 4; nothing: 0.2, as it was"),
            *("crop: seeds 0, 1, 5; nothing: seed 4", usual),
            *(_points(crop.val_correct.mean() - low), "only one side was tuned"),
        ),
        Report(
            *(
                "crop against nothing",
                "each at the best of rates 0.2 to 1.6, which is 1.6; seed 4",
                judges,
            ),
            *(usual, str(difference(crop, nothing)), "the choice lies at an edge"),
        ),
        Report(
            *(gains, "each at the best of five rates; seed 4", "seed 4, the images that chose"),
            *(usual, _points(best["crop"] - best["nothing"])),
            "chosen and judged by the same runs",
        ),
        Report(
            *("no augmentation reaches more than crop", five),
            *("nothing: its best run; crop: the mean of three seeds", usual, _points(lucky)),
            "the best seed against a mean",
        ),
    ]


def _points(gain: float) -> str:
    return f"{100 * gain:+.1f} points"


def _of_other_runs(stored: Stored) -> list[Report]:
    """Two reports on ten thousand photographs."""
    healthy, nothing = stored["patient, healthy"], stored["rote"]
    count = min(len(healthy), len(nothing))
    later, sooner = healthy.val_accuracy[:count, 9].mean(), nothing.val_accuracy[:count, 4].mean()
    leaked = stored["patient, leaked"].val_correct[0].mean()
    return [
        Report(
            *("crop and flip gain over nothing", "none: a rate of 0.2 for both"),
            *(f"{count} seeds, validation images", "790 and 395", _points(later - sooner)),
            "unequal numbers of updates",
        ),
        Report(
            *("a new mixture of images gains over the old", "none: one recipe for both"),
            *("one seed each; validation images, half of the new mixture", "790 and 790"),
            *(_points(leaked - healthy.val_correct[0].mean()), "judged on training images"),
        ),
    ]


def reports_table(stored: Stored) -> pd.DataFrame:
    """The reports as a table, without what is wrong with them."""
    frame = pd.DataFrame({letter: vars(each) for letter, each in reports(stored).items()}).T
    return frame.drop(columns="flaw").rename(columns={"updates": "updates on either side"})


def show_reports(stored: Stored) -> HTML:
    """The table for a notebook, with nothing cut off, and aligned as sentences are read."""
    with pd.option_context("display.max_colwidth", None):
        table = reports_table(stored).to_html()
    for cell in ("td", "th"):
        table = table.replace(f"<{cell}>", f"<{cell} style='text-align: left'>")
    return HTML(table)
