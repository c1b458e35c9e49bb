"""The lab of notebook 11: what a network learns of the new task, and what it forgets of the old."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import nn

from ...classroom.controls import choice, slider, switch
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...classroom.training_lab import Curves, rates
from ...classroom.worker import Values
from ...engine.config import Config
from ...engine.data import Dataset, Split
from ...engine.networks import make_mlp
from ...engine.plan import Model
from ...engine.training import train
from ...plots import EARLIER, style
from .tasks import new_digits, old_digits, tilted, upright

EPOCHS, IMAGES = 12, 320  # an epoch: ten updates
LOOKS = (1, 4)  # updates of the first epoch after which it is looked at
TASKS = {"tilted digits": (upright, tilted), "new digits": (old_digits, new_digits)}
LEARNS = ("everything", "head only")


class Remembering(Curves):
    """The curves of the new task, and what is left of the old one.

    remembered   [point]: the mean accuracy on the old task of today's bodies with their old heads
    """

    def __init__(self, epochs: int):
        super().__init__(epochs)
        self.remembered: list[float] = []


def forgetting_lab(dataset: Dataset, bodies: Mapping[str, Mapping[int, nn.Sequential]]) -> Lab:
    """Task, labels, what learns, learning rate: eight networks; ``bodies`` are {task: {seed:
    network that was trained on the task's source}}."""
    controls = {
        "task": choice("new task", list(TASKS), "tilted digits"),
        "learns": choice("what learns", LEARNS, "everything"),
        "labels": slider("labels", [10, 20, 50, 100, 200, 500], 50),
        "learning_rate": slider("learning rate", rates(1e-4, 1.0), 0.0032),
        "pretrained": switch("pretrained", True),
    }

    def run(values: Values) -> Generator[Remembering, Values | None, None]:
        source, target = TASKS[values["task"]]
        return _follow(values, target, source(dataset).val, bodies[values["task"]], dataset)

    return Lab(
        controls,
        run,
        Picture(_frame),
        _draw,
        _describe,
        name="accuracy on the new task, and on the old one with the old head",
        live=["learning_rate"],
    )


def _follow(
    values: Values,
    target: Callable[[Dataset, int, int], Dataset],
    old: Split,
    bodies: Mapping[int, nn.Sequential],
    dataset: Dataset,
) -> Generator[Remembering, Values | None, None]:
    config = Config(
        width=bodies[0][-1].in_features,
        depth=2,
        batch_size=32,
        epochs=EPOCHS,
        learning_rate=values["learning_rate"],
    )
    data = target(dataset, values["labels"], IMAGES)
    curves = Remembering(EPOCHS)
    model = _model(bodies, values["pretrained"], values["learns"] == "head only")
    for training in train(config.seeds(8), data, model=model):
        over = not training.active.any()
        if training.epoch_ended or over or training.step in LOOKS:
            curves.note(training)
            networks = [training.model(index) for index in range(8)]
            curves.remembered.append(_old_accuracy(networks, bodies, old))
            changes = yield curves
            if changes:
                training.set(**changes)


def _model(bodies: Mapping[int, nn.Sequential], pretrained: bool, frozen: bool) -> Model:
    def build(config: Config, dataset: Dataset) -> nn.Module:
        inputs = dataset.train.images[0].numel()
        model = make_mlp(inputs, config.width, config.depth, dataset.classes)
        if pretrained:
            model = nn.Sequential(*copy.deepcopy(bodies[config.seed])[:-1], model[-1])
        model[:-1].requires_grad_(not frozen)
        return model

    return build


def _old_accuracy(
    networks: Sequence[nn.Module], bodies: Mapping[int, nn.Sequential], old: Split
) -> float:
    """The mean accuracy on the old task of these networks' bodies with the heads of ``bodies``."""
    right = []
    with torch.no_grad():
        for seed, network in enumerate(networks):
            assert isinstance(network, nn.Sequential)
            answers = bodies[seed][-1](network[:-1](old.images)).argmax(-1)
            right.append((answers == old.labels).float().mean().item())
    return float(np.mean(right))


def _frame(axes: list[Axes]) -> None:
    for panel, title in zip(axes, ("the new task", "the old task, with the old head"), strict=True):
        panel.set(xlim=(-0.4, EPOCHS * 1.02), ylim=(0, 1.02), xlabel="epoch (ten updates each)")
        panel.set_title(title)
    axes[0].set_ylabel("accuracy")
    names = enumerate(("training", "validation"))
    proxies = [Line2D([], [], linewidth=2.4, label=name, **style(n)) for n, name in names]
    axes[0].legend(handles=proxies, loc="lower right", frameon=False)


def _draw(axes: list[Axes], curves: Remembering, earlier: Sequence[Earlier] = ()) -> None:
    new, old = axes
    for each in earlier:
        before = each.result
        new.plot(before.places, _mean(before, "val_accuracy"), color=EARLIER, linewidth=1.3)
        old.plot(before.places, before.remembered, color=EARLIER, linewidth=1.3)
    for number, name in enumerate(("train_accuracy", "val_accuracy")):
        new.plot(curves.places, _mean(curves, name), linewidth=2.4, **style(number))
    old.plot(curves.places, curves.remembered, linewidth=2.4, **style(2))
    if not curves.at_rest:
        old.plot(curves.places[-1:], curves.remembered[-1:], "o", color=style(2)["color"])


def _mean(curves: Curves, name: str) -> np.ndarray:
    values = curves.values[name]
    reached = np.isfinite(values)
    return np.where(reached, values, 0).sum(0) / np.maximum(reached.sum(0), 1)


def _describe(curves: Remembering) -> str:
    train, val = (100 * _mean(curves, each)[-1] for each in ("train_accuracy", "val_accuracy"))
    text = f"Epoch {curves.places[-1]:.2g} of {EPOCHS}: new task {val:.1f} % of validation images "
    text += f"and {train:.1f} % of training images, "
    return text + f"old task with the old head {100 * curves.remembered[-1]:.1f} %"
