"""The cockpit of notebook 10: treat either patient, at equal terms."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ...classroom.controls import choice, slider
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...classroom.training_lab import Curves, config_code, follow
from ...classroom.worker import Values
from ...engine.config import Config
from ...engine.data import Dataset
from ...engine.history import History
from ...engine.training import fit
from ...evidence import Estimate, accuracy, difference
from ...plots import EARLIER, style

AS_IT_IS = "as it is"
SEEDS = 4
DATA_NAMES = {"patient A": "mnist", "patient B": "few"}  # what the notebook calls the digits
LONGEST_LOG = 6
NOW = "▸ "  # in the log, before the attempt that the picture shows
SPLITS = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class Attempt:
    """One treatment: what was asked, how it goes, and the untreated patient of the same seeds."""

    values: Values
    curves: Curves
    untreated: History

    @property
    def gain(self) -> Estimate:
        """Points over the untreated patient, paired seed by seed."""
        assert self.curves.history is not None
        return difference(self.curves.history, self.untreated)

    @property
    def changes(self) -> str:
        """What was changed, in words."""
        changed = []
        for name, value in self.values.items():
            if name == "times" and value != 1:
                changed.append(f"rate × {value:g}")
            elif name not in ("patient", "times") and value != AS_IT_IS:
                changed.append(f"{name.replace('_', ' ')} {value}")
        return ", ".join(changed) or "nothing"


class Cockpit:
    """The patients, their untreated results, and the log of finished attempts.

    ``patients`` are {name: (settings, digits)}. An attempt trains four networks with the patient's
    own digits, epochs and batches; only what the controls say is changed.
    """

    def __init__(self, patients: Mapping[str, tuple[Config, Dataset]]):
        self.patients = dict(patients)
        # At once: later, a learner would wait for it with a hand on a control.
        self.untreated = {
            name: fit(config.seeds(SEEDS), dataset, keep_models=False, progress=False)
            for name, (config, dataset) in self.patients.items()
        }
        self.log: dict[tuple[str, str], Estimate] = {}

    def config(self, values: Values) -> Config:
        """The patient, with what was changed."""
        config = self.patients[values["patient"]][0]
        fields = {name: each for name, each in values.items() if name not in ("patient", "times")}
        changed = {name: each for name, each in fields.items() if each != AS_IT_IS}
        rate = float(f"{config.learning_rate * values['times']:.4g}")
        return config.replace(**changed, learning_rate=rate)

    def run(self, values: Values) -> Generator[Attempt, Values | None, None]:
        """Train, and yield the attempt as it grows."""
        dataset, untreated = self.patients[values["patient"]][1], self.untreated[values["patient"]]
        for curves in follow(self.config(values).seeds(SEEDS), dataset):
            yield Attempt(values, curves, untreated)

    def note(self, values: Values, attempt: Attempt) -> None:
        """Keep a finished attempt in the log."""
        self.log[values["patient"], attempt.changes] = attempt.gain

    def table(self, attempt: Attempt) -> Sequence[Sequence[str]]:
        """The log of this patient, the largest gain first; a sign stands before what is shown."""
        patient = attempt.values["patient"]
        mine = [(gain, words) for (who, words), gain in self.log.items() if who == patient]
        mine.sort(key=lambda entry: -entry[0].value)
        kept = [
            row
            for place, row in enumerate(mine)
            if place < LONGEST_LOG or row[1] == attempt.changes
        ]
        rows = [(NOW * (words == attempt.changes) + words, str(gain)) for gain, words in kept]
        return [(f"changed in {patient}", "gain"), *rows]


def cockpit_lab(patients: Mapping[str, tuple[Config, Dataset]]) -> Lab:
    """Either patient, seven controls; every attempt at the patient's own epochs and digits."""
    cockpit = Cockpit(patients)
    names = list(cockpit.patients)
    controls = {
        "patient": choice("patient", names, names[0]),
        "init": choice("start", [AS_IT_IS, "normal", "small", "xavier", "he"], AS_IT_IS),
        "activation": choice("activation", [AS_IT_IS, "sigmoid", "tanh", "relu"], AS_IT_IS),
        "times": slider("learning rate ×", [0.03, 0.1, 0.3, 1.0, 3.0, 10.0], 1.0),
        "schedule": choice("schedule", [AS_IT_IS, "cosine", "one_cycle"], AS_IT_IS),
        "dropout": slider("dropout", [AS_IT_IS, 0.1, 0.3, 0.5, 0.8], AS_IT_IS),
        "augment": choice("augmentation", [AS_IT_IS, "shift", "affine", "flip"], AS_IT_IS),
    }

    def code(values: Values) -> str:
        fields = {
            name: each
            for name, each in cockpit.config(values).to_dict().items()
            if each != getattr(Config(), name) and name != "seed"
        }
        return config_code(fields, SEEDS, DATA_NAMES.get(values["patient"], "digits"))

    return Lab(
        controls,
        cockpit.run,
        Picture(_frame, size=(6.4, 2.9)),
        _draw,
        describe,
        name="loss and accuracy of four networks, treated and untreated",
        code=code,
        table=cockpit.table,
        finished=cockpit.note,
    )


def describe(attempt: Attempt) -> str:
    """The attempt in one line."""
    history, curves = attempt.curves.history, attempt.curves
    assert history is not None
    who = f"{attempt.values['patient']}, changed: {attempt.changes}"
    if history.diverged.any():
        return f"{who}; {history.diverged.sum()} of {len(history)} networks diverged"
    if not curves.at_rest:
        now = np.nanmean(curves.values["val_accuracy"][:, -1])
        return f"{who}; epoch {curves.places[-1]:.2g}: validation {100 * now:.1f} %"
    known = 100 * history.final("train_accuracy").mean()
    words = f"{who}; training {known:.1f} %, validation {accuracy(history)}"
    return words if attempt.changes == "nothing" else f"{words}, gain {attempt.gain}"


def _frame(axes: list[Axes]) -> None:
    for panel, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        panel.set(xlabel="share of the training in %", ylabel=quantity, xlim=(-2, 102))
    axes[0].set_ylim(0, 2.5)
    axes[1].set_ylim(0.4, 1.01)
    lines = [Line2D([], [], label=SPLITS[s], **style(n)) for n, s in enumerate(SPLITS)]
    lines.append(Line2D([], [], label="untreated", color=EARLIER, linewidth=1.2, linestyle=":"))
    place: dict[str, Any] = {
        "loc": "lower left",
        "bbox_to_anchor": (0, 0.97),
        "ncols": 3,
        "frameon": False,
    }
    axes[0].legend(handles=lines, columnspacing=1, handlelength=1.8, **place)


def _draw(axes: list[Axes], attempt: Attempt, earlier: Sequence[Earlier] = ()) -> None:
    for panel, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for old in earlier:
            if old.values["patient"] == attempt.values["patient"]:
                x, mean = _mean(old.result.curves, f"val_{quantity}")
                panel.plot(x, mean, color=EARLIER, alpha=0.7, linewidth=1.3)
        untreated = attempt.untreated.mean(f"val_{quantity}")
        x = 100 * np.arange(1, len(untreated) + 1) / len(untreated)
        panel.plot(x, untreated, color=EARLIER, linewidth=1.2, linestyle=":")
        for number, split in enumerate(SPLITS):
            values = attempt.curves.values[f"{split}_{quantity}"]
            x, mean = _mean(attempt.curves, f"{split}_{quantity}")
            gaps = np.full((len(values), 1), np.nan)
            rows = np.hstack([np.tile(x, (len(values), 1)), gaps]).ravel()
            thin = {"linewidth": 0.6, "alpha": 0.4, "color": style(number)["color"]}
            panel.plot(rows, np.hstack([values, gaps]).ravel(), **thin)
            panel.plot(x, mean, linewidth=2.4, **style(number))
            if not attempt.curves.at_rest:
                panel.plot(x[-1:], mean[-1:], "o", color=style(number)["color"], markersize=5)


def _mean(curves: Curves, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(share of the training in %, mean over the networks that still train)."""
    values = curves.values[name]
    reached = np.isfinite(values)
    count = reached.sum(0)
    total = np.where(reached, values, 0).sum(0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return 100 * np.array(curves.places) / curves.epochs, mean
