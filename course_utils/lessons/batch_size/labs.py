"""The lab of lesson 05: one training run on two clocks."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ...classroom.controls import choice, slider
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...classroom.training_lab import config_code, rates
from ...classroom.worker import Values
from ...engine.config import Config
from ...engine.data import Dataset
from ...engine.run import Run
from ...engine.training import train
from ...plots import EARLIER, style

SEEDS = 4
EPOCHS, UPDATES = 5, 60  # what "equal epochs" and "equal updates" give to every batch size
SPLITS = ("training", "new digits")


@dataclass
class Clocks:
    """What a run has shown so far.

    updates, epochs   [point]: when it was looked at, on two clocks
    accuracy          [split][point]: mean over the networks
    loss              [point]: mean loss on new digits
    batch_loss        [update]: what one network's log shows
    """

    batch_size: int
    lost: int = 0
    updates: list[int] = field(default_factory=list)
    epochs: list[float] = field(default_factory=list)
    accuracy: list[list[float]] = field(default_factory=lambda: [[], []])
    loss: list[float] = field(default_factory=list)
    batch_loss: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def note(self, run: Run, epochs: float) -> None:
        """Look at all networks as they are now."""
        for place, part in enumerate(run.watched):
            loss, correct = run.evaluate(part)
            self.accuracy[place].append(
                float(correct[run.active].mean()) if run.active.any() else 0
            )
        self.loss.append(float(loss[run.active].mean()) if run.active.any() else np.nan)
        self.updates.append(run.step)
        self.epochs.append(epochs)
        self.batch_loss = run.history.step_loss[0, : run.step].copy()
        self.batch_size = run.batches.size
        self.lost = int(run.history.diverged.sum())


def _run(values: Values, dataset: Dataset) -> Generator[Clocks, Values | None, None]:
    """Train four networks, looking often at first and then ever less; a batch size that is turned
    meanwhile waits for the end of its epoch."""
    fields = dict(values)
    equal_updates = fields.pop("budget") == "equal updates"
    an_epoch = -(-len(dataset.train) // values["batch_size"])
    fields["epochs"] = -(-UPDATES // an_epoch) if equal_updates else EPOCHS
    clocks, waiting, images = Clocks(values["batch_size"]), {}, 0
    for run in train(Config(**fields, width=32).seeds(SEEDS), dataset, keep_models=False):
        over = (equal_updates and run.step == UPDATES) or not run.active.any()
        images = run.epoch * len(dataset.train) if run.epoch_ended else images + run.batches.size
        if over or run.epoch_ended or run.step % max(1, run.step // 6) == 0:
            clocks.note(run, images / len(dataset.train))
            waiting |= (yield clocks) or {}
        now = {n: v for n, v in waiting.items() if n != "batch_size" or run.epoch_ended}
        if now:
            run.set(**now)
            waiting = {name: value for name, value in waiting.items() if name not in now}
        if over:
            return


def _frame(axes: list[Axes]) -> None:
    left, right = axes
    left.set(xscale="log", xlim=(0.006, 150), ylim=(0, 1.02), xlabel="epochs", ylabel="accuracy")
    right.set(xscale="log", xlim=(0.8, 800), ylim=(0, 3), xlabel="updates", ylabel="loss")
    place = {"loc": "lower left", "bbox_to_anchor": (0, 0.98), "ncols": 2, "frameon": False}
    lines = [Line2D([], [], label=name, **style(number)) for number, name in enumerate(SPLITS)]
    left.legend(handles=lines, **place)
    thin = {**style(0), "linewidth": 0.9}
    log = [
        Line2D([], [], label="one log's batch loss", **thin),
        Line2D([], [], label=SPLITS[1], **style(1)),
    ]
    right.legend(handles=log, **place)


def _draw(axes: list[Axes], clocks: Clocks, earlier: Sequence[Earlier]) -> None:
    left, right = axes
    for old in earlier:
        left.plot(old.result.epochs, old.result.accuracy[1], color=EARLIER, linewidth=1.3)
        right.plot(old.result.updates, old.result.loss, color=EARLIER, linewidth=1.3)
    for number, values in enumerate(clocks.accuracy):
        left.plot(clocks.epochs, values, linewidth=2.4, **style(number))
    steps = np.arange(1, len(clocks.batch_loss) + 1)
    right.plot(steps, clocks.batch_loss, **{**style(0), "linewidth": 0.7})
    right.plot(clocks.updates, clocks.loss, linewidth=2.4, **style(1))
    if clocks.lost:
        middle = {"transform": right.transAxes, "ha": "center", "fontsize": 10}
        right.text(0.5, 0.5, f"{clocks.lost} of {SEEDS} networks diverged", **middle)


def _describe(clocks: Clocks) -> str:
    seen, new = (100 * each[-1] for each in clocks.accuracy)
    text = f"Batch size {clocks.batch_size}: {clocks.updates[-1]} updates, "
    text += f"{clocks.epochs[-1]:.3g} epochs; "
    text += f"accuracy {new:.0f} % on new digits, {seen:.0f} % in training"
    return f"{text}; {clocks.lost} of {SEEDS} networks diverged" if clocks.lost else text


def _code(values: Values) -> str:
    fields = {**values, "width": 32, "epochs": EPOCHS}
    if fields.pop("budget") == "equal updates":
        return f"# trained for {UPDATES} updates\n" + config_code(fields, SEEDS, "few_digits")
    return config_code(fields, SEEDS, "few_digits")


def clocks_lab(dataset: Dataset) -> Lab:
    """Batch size and learning rate, with equal epochs or equal updates, on both clocks at once.

    "New digits" are the tuning images of ``dataset``: a lab is for choosing.
    """
    watched = replace(dataset, val=dataset.tuning.first(500), tuning=None)
    sizes = [4, 8, 16, 32, 64, 128, 256, len(dataset.train)]
    controls = {
        "batch_size": slider("batch size", sizes, 32),
        "learning_rate": slider("learning rate", rates(1e-4, 10.0, 4), 0.1),
        "optimizer": choice("optimiser", ["sgd", "adamw"], "sgd"),
        "budget": choice("all get", ["equal epochs", "equal updates"], "equal epochs"),
    }
    return Lab(
        controls,
        lambda values: _run(values, watched),
        Picture(_frame, size=(8.4, 3.0)),
        _draw,
        _describe,
        name="accuracy over the epochs and loss over the updates of four networks",
        live=["learning_rate", "batch_size"],
        code=_code,
    )
