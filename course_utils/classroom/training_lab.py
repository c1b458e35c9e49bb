"""The lab that most lessons have: controls are fields of Config, and several networks train."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..engine.config import Config
from ..engine.data import Dataset
from ..engine.history import CURVES, History
from ..engine.run import Run
from ..engine.training import train
from ..evidence import accuracy
from ..plots import EARLIER, style
from .controls import Control, slider
from .lab import Earlier, Lab
from .picture import Picture
from .worker import Values

SPLITS = {"train": "training", "val": "validation"}
# So that a picture comes soon: the first epoch is looked at after so many updates, on fewer images.
FIRST_LOOKS, FIRST_IMAGES = (1, 4), 300


class Curves:
    """What a lab's run has shown so far.

    places    [point], in epochs; the first points lie within the first epoch
    values    {curve: [network, point]}, NaN where a network has ended
    """

    def __init__(self, epochs: int):
        self.epochs = epochs
        self.places: list[float] = []
        self._points: dict[str, list[np.ndarray]] = {name: [] for name in CURVES}
        self.history: History | None = None

    @property
    def values(self) -> dict[str, np.ndarray]:
        return {name: np.stack(points, 1) for name, points in self._points.items()}

    def note(self, run: Run) -> None:
        """Look at all networks as they are now."""
        self.history = run.history
        if run.epoch_ended:
            for name, points in self._points.items():
                points.append(getattr(run.history, name)[:, run.epoch - 1].copy())
        else:
            for split, part in zip(SPLITS, run.watched, strict=True):
                loss, correct = run.evaluate(part.first(FIRST_IMAGES))
                for quantity, table in (("loss", loss), ("accuracy", correct)):
                    point = np.full(len(run.history), np.nan)
                    point[run.indices] = table.mean(1)
                    self._points[f"{split}_{quantity}"].append(point)
        self.places.append(run.step / run.batches.count)

    @property
    def at_rest(self) -> bool:
        return bool(self.places) and self.places[-1] >= self.epochs


def follow(
    configs: Sequence[Config], dataset: Dataset, **options: Any
) -> Generator[Curves, Values | None, None]:
    """Train, and yield the growing curves; what is sent in is set on the networks in training."""
    curves = Curves(configs[0].epochs)
    for run in train(configs, dataset, keep_models=False, **options):
        over = not run.active.any()
        if run.epoch_ended or over or run.step in FIRST_LOOKS:
            curves.note(run)
            changes = yield curves
            if changes:
                run.set(**changes)


def training_frame(axes: list[Axes], epochs: int, highest_loss: float = 3.0) -> None:
    """Loss on the left, accuracy on the right."""
    for panel, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        panel.set(xlabel="epoch", ylabel=quantity, xlim=(-0.02 * epochs, epochs * 1.02))
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes[0].set_ylim(0, highest_loss)
    axes[1].set_ylim(0, 1.02)
    proxies = [
        Line2D([], [], linewidth=2.4, label=SPLITS[s], **style(n)) for n, s in enumerate(SPLITS)
    ]
    axes[0].legend(
        handles=proxies, loc="lower left", bbox_to_anchor=(0, 0.98), ncols=2, frameon=False
    )


def draw_training(axes: list[Axes], curves: Curves, earlier: Sequence[Earlier] = ()) -> None:
    """Every network a thin line, their mean a thick one; earlier runs' means in grey."""
    for panel, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for old in earlier:
            mean = _mean(old.result.values[f"val_{quantity}"])
            panel.plot(old.result.places, mean, color=EARLIER, alpha=0.7, linewidth=1.3)
        for number, split in enumerate(SPLITS):
            values = curves.values[f"{split}_{quantity}"]
            # All thin lines as one, with gaps: to make a line takes longer than to draw it.
            gaps = np.full((len(values), 1), np.nan)
            x = np.hstack([np.tile(curves.places, (len(values), 1)), gaps]).ravel()
            panel.plot(
                x, np.hstack([values, gaps]).ravel(), linewidth=0.6, alpha=0.4, **style(number)
            )
            mean = _mean(values)
            panel.plot(curves.places, mean, linewidth=2.4, **style(number))
            if not curves.at_rest:
                colour = style(number)["color"]
                panel.plot(curves.places[-1:], mean[-1:], "o", color=colour, markersize=6)
    _note_divergence(axes[0], curves)


def _mean(values: np.ndarray) -> np.ndarray:
    """[point]: the mean over the networks that are still in training."""
    reached = np.isfinite(values)
    count = reached.sum(0)
    total = np.where(reached, values, 0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _note_divergence(panel: Axes, curves: Curves) -> None:
    history, text = curves.history, ""
    if history is not None and history.diverged.any():
        text = f"{history.diverged.sum()} of {len(history)} networks diverged"
    elif _mean(curves.values["val_loss"])[-1] > panel.get_ylim()[1]:
        text = "the loss lies above this axis"
    if text:
        panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", fontsize=10)


def describe_training(curves: Curves) -> str:
    """The result in one line, for those who cannot see the picture and for those who can."""
    history, epoch = curves.history, curves.places[-1] if curves.places else 0
    assert history is not None
    if history.diverged.all():
        return f"diverged after {epoch:.2g} epochs: the loss is no longer a number"
    values = {name: float(_mean(each)[-1]) for name, each in curves.values.items()}
    if len(history) > 1 and curves.at_rest:
        validation = str(accuracy(history))
    else:
        validation = f"{100 * values['val_accuracy']:.1f} %"
    text = f"Epoch {epoch:.2g} of {curves.epochs}: validation accuracy {validation}, "
    text += f"training {100 * values['train_accuracy']:.1f} %"
    lost = int(history.diverged.sum())
    return f"{text}; {lost} of {len(history)} networks diverged" if lost else text


def config_code(fields: Mapping[str, Any], seeds: int, data: str) -> str:
    """The Python that repeats a lab's run."""
    given = ", ".join(f"{name}={value!r}" for name, value in fields.items())
    return f"history = fit(Config({given}).seeds({seeds}), {data})\naccuracy(history)"


def training_lab(
    dataset: Dataset,
    controls: Mapping[str, Control],
    *,
    name: str,
    data: str = "small_mnist",
    seeds: int = 8,
    live: Sequence[str] = (),
    highest_loss: float = 3.0,
    finished: Callable[[Values, Curves], None] | None = None,
    table: Callable[[Any], Sequence[Sequence[str]]] | None = None,
    **fixed: Any,
) -> Lab:
    """A lab whose controls are fields of Config: ``seeds`` networks train for each setting.

    ``fixed`` are the fields that no control moves; ``live`` the controls that a run in flight can
    take; ``data`` is what the notebook calls the dataset, for the code that repeats a run.
    """

    def run(values: Values) -> Generator[Curves, Values | None, None]:
        return follow(Config(**fixed, **values).seeds(seeds), dataset)

    epochs = fixed.get("epochs", Config().epochs)
    return Lab(
        controls,
        run,
        Picture(lambda axes: training_frame(axes, epochs, highest_loss)),
        draw_training,
        describe_training,
        name=name,
        live=live,
        code=lambda values: config_code({**fixed, **values}, seeds, data),
        finished=finished,
        table=table,
    )


def rates(low: float = 1e-4, high: float = 10.0, per_decade: int = 4) -> list[float]:
    """Learning rates for a slider, evenly spaced on the log axis, to two digits."""
    count = round(per_decade * np.log10(high / low)) + 1
    return [float(f"{rate:.2g}") for rate in np.logspace(np.log10(low), np.log10(high), count)]


def learning_rate_lab(dataset: Dataset) -> Lab:
    """The first lab: learning rate and width, eight networks, plain SGD for ten epochs."""
    controls = {
        "learning_rate": slider("learning rate", rates(1e-3, 100.0), 0.1),
        "width": slider("width", [1, 2, 4, 8, 16, 32, 64, 128], 32),
    }
    return training_lab(
        dataset,
        controls,
        name="loss and accuracy of eight networks in training",
        live=["learning_rate"],
        optimizer="sgd",
        epochs=10,
    )
