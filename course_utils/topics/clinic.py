"""The clinic: networks that are each broken in one way, and the instruments that find out which.

A patient is an ordinary training loop (``attend``) with one mistake in it. A ``Fault`` says what the mistake is, by
which sign an instrument gives it away, and what cures it; ``shows`` is that sign as a rule on a ``Chart``, and the
tests hold every rule to be true of its patients and of no healthy network.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import Image
from torch import Tensor, nn
from torch.nn import functional

from ..classroom.check import Result, check
from ..classroom.lab import Lab, choice, slider
from ..diagnostics import Instruments
from ..engine.data import Dataset, Split
from ..engine.networks import initialise, make_mlp
from ..plots import GREY, new_figure, style, to_png
from .t06 import plot_layers

GAIN = 1.5
CHANCE_LOSS = math.log(10)
HEALTHY, LOOK_FIRST = "healthy", "look first"


@dataclass(frozen=True)
class Case:
    """How a patient is trained. The defaults are a healthy dense network; a fault changes some of them."""

    learning_rate: float = 0.1
    epochs: int = 8
    batch_size: int = 50
    depth: int = 3
    activation: str = "relu"
    init: str = "he"
    bias: float = 0.0  # where every hidden layer's bias starts
    dropout: float = 0.0
    weight_decay: float = 0.0
    decay: float = 1.0  # the schedule: the learning rate is multiplied by this, after every ...
    decay_every: str = "epoch"  # ... "epoch" or "batch"
    recurrent: bool = False  # reads a digit row by row
    clip_norm: float | None = None
    pixel_scale: float = 1.0  # 255: as the file has them
    test_pixel_scale: float = 1.0  # applied to the test images only
    shuffled_labels: bool = False
    shuffled_batches: bool = True
    leak: bool = False  # test images among the training images
    evaluates: bool = True  # model.eval() before measuring
    zeroes_gradients: bool = True
    frozen: bool = False  # the second hidden layer asks for no gradient
    softmax: bool = False  # before a loss that does its own


@dataclass
class Chart:
    """Everything the instruments say about one patient, up to now."""

    instruments: Instruments
    steps_per_epoch: int
    facts: dict[str, float] = field(default_factory=dict)
    loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    alignment: list[float] = field(
        default_factory=list
    )  # cosine of each gradient with the one before
    accuracy: dict[str, list[float]] = field(
        default_factory=lambda: {"training": [], "test": [], "fresh": []}
    )

    @property
    def norms(self) -> np.ndarray:
        """[step, layer]: gradient norms."""
        return self.instruments["gradient_norm"].to_numpy()

    @property
    def ratios(self) -> np.ndarray:
        """[step, layer]: log10 of update to weight."""
        return self.instruments["update_ratio"].to_numpy()

    def early_ratio(self) -> float:
        """The median ratio over layers in the first epoch, where the learning rate has had no time to change."""
        ratios = self.ratios[: self.steps_per_epoch]
        return (
            float(np.median(ratios[np.isfinite(ratios)]))
            if np.isfinite(ratios).any()
            else -math.inf
        )

    def first_norm(self) -> float:
        """The norm of the whole gradient at the very first step."""
        return float(np.sqrt(np.nansum(self.norms[0] ** 2)))

    def spike(self) -> float:
        """The largest gradient norm over the median one; infinite where a norm stopped being a number."""
        norms = np.sqrt(np.nansum(self.norms**2, axis=1))
        return (
            float(norms.max() / max(np.median(norms), 1e-30))
            if np.isfinite(self.loss).all()
            else math.inf
        )

    def dead(self) -> float:
        """The share of dead units at the start, in the layer that has most."""
        return float(self.instruments["dead"].iloc[0].max())

    def melted(self) -> bool:
        """Whether the weights have lost most of their norm."""
        return self.facts["weights kept"] < 0.3

    def first_to_last(self) -> float:
        """The first layer's gradient norm over the last one's, in the first epoch."""
        norms = self.norms[: self.steps_per_epoch]
        return float(np.median(norms[:, 0]) / max(np.median(norms[:, -1]), 1e-30))


@dataclass(frozen=True)
class Fault:
    """One way to be broken: ``Case(**setting, **broken)``; its healthy twin is ``Case(**setting)``."""

    name: str
    broken: dict[str, Any]
    sign: str
    remedy: str
    shows: Callable[[Chart], bool]
    setting: dict[str, Any] = field(default_factory=dict)
    cure: dict[str, Any] = field(default_factory=dict)  # where it is not simply the healthy value

    def case(self) -> Case:
        return Case(**self.setting | self.broken)

    def twin(self) -> Case:
        """The same network without the mistake."""
        return Case(**self.setting | self.treatment())

    def treatment(self) -> dict[str, Any]:
        healthy = Case()
        return self.cure or {name: getattr(healthy, name) for name in self.broken}


_ROWS = {"recurrent": True, "depth": 1, "init": "he", "learning_rate": 0.1}
_ALL = [
    Fault(
        HEALTHY,
        {},
        "every instrument reads as it should",
        "nothing to cure",
        lambda chart: not symptoms(chart),
    ),
    Fault(
        "learning rate too high",
        {"learning_rate": 4.0},
        "in the first epoch an update is more than a tenth of the weights (log10 above -1); a thousandth is the guide",
        "divide the learning rate by ten and more",
        lambda chart: (
            chart.early_ratio() > -1
            and chart.facts["input std"] < 3
            and chart.first_norm() < 30
            and not chart.melted()
        ),
    ),
    Fault(
        "learning rate too low",
        {"learning_rate": 1e-4},
        "gradients are of ordinary size, yet an update is less than 0.003 % of the weights (log10 below -4.5)",
        "raise the learning rate until the ratio comes near -3",
        lambda chart: chart.early_ratio() < -4.5 and np.median(chart.norms[:20, -1]) > 0.05,
    ),
    Fault(
        "all weights start equal",
        {"init": "constant"},
        "the units of a layer are copies of each other, and stay so",
        "draw the weights at random",
        lambda chart: chart.facts["identical units"] > 0.5,
    ),
    Fault(
        "initial weights too small",
        {"init": "small"},
        "at the start the spread of the activations collapses from layer to layer",
        "He initialisation",
        lambda chart: (
            chart.facts["spread, last to first layer"] < 0.05
            and chart.facts["identical units"] < 0.5
            and chart.dead() < 0.6
        ),
    ),
    Fault(
        "dead ReLUs",
        {"bias": -3.0},
        "most units of a hidden layer put out zero for every image",
        "start the biases at zero",
        lambda chart: chart.dead() > 0.6 and chart.first_norm() < 30,
    ),
    Fault(
        "saturated sigmoids",
        {"init": "normal"},
        "more than a quarter of all outputs lie in the flat ends of the sigmoid from the start",
        "Xavier initialisation",
        lambda chart: chart.instruments["saturated"].iloc[0].mean() > 0.25,
        setting={"activation": "sigmoid", "depth": 1, "learning_rate": 0.5},
        cure={"init": "xavier"},
    ),
    Fault(
        "vanishing gradients",
        {"activation": "sigmoid", "init": "xavier"},
        "the first layer's gradient is a hundred times smaller than the last one's, with activations of good spread",
        "ReLU with He initialisation",
        lambda chart: (
            chart.first_to_last() < 0.01
            and chart.facts["spread, last to first layer"] > 0.05
            and chart.facts["identical units"] < 0.5
            and chart.spike() < 100
        ),
        setting={"depth": 6, "learning_rate": 0.05},
    ),
    Fault(
        "exploding gradients",
        {"clip_norm": None},
        "the gradient's norm is above thirty at the start, or leaps to a hundred times its median, with sound inputs",
        "clip the norm at 1",
        lambda chart: (
            (chart.first_norm() > 30 or chart.spike() > 100 and chart.early_ratio() < -1)
            and chart.facts["input std"] < 3
            and chart.facts["identical units"] < 0.5
            and not chart.melted()
        ),
        setting=_ROWS,
        cure={"clip_norm": 1.0},
    ),
    Fault(
        "labels shuffled",
        {"shuffled_labels": True},
        "an image and its nearest neighbour agree on the label no more often than chance",
        "pair the images with their own labels again",
        lambda chart: chart.facts["neighbours agree"] < 0.3,
    ),
    Fault(
        "test images in the training set",
        {"leak": True},
        "images occur in both parts, and fresh images score far worse than the test images",
        "remove the doubles before splitting",
        lambda chart: chart.facts["shared images"] > 0,
    ),
    Fault(
        "inputs not scaled",
        {"pixel_scale": 255.0},
        "pixels reach 255, and the first loss is many times log 10",
        "divide the pixels by 255",
        lambda chart: chart.facts["input std"] > 3 and chart.facts["first loss"] > 2 * CHANCE_LOSS,
    ),
    Fault(
        "test images scaled differently",
        {"test_pixel_scale": 1 / 255},
        "mean and spread of the pixels differ between training and test images",
        "one preparation for all images",
        lambda chart: not 0.5 < chart.facts["test std"] / chart.facts["input std"] < 2,
    ),
    Fault(
        "dropout left on in evaluation",
        {"evaluates": False},
        "two evaluations of the same images disagree",
        "call model.eval() before measuring",
        lambda chart: chart.facts["evaluations disagree"] > 0.02,
        setting={"dropout": 0.3, "depth": 2, "learning_rate": 0.2},
    ),
    Fault(
        "gradients not zeroed",
        {"zeroes_gradients": False},
        "each gradient points almost exactly where the one before pointed: it contains it",
        "call optimizer.zero_grad() in every step",
        lambda chart: np.median(chart.alignment[:10]) > 0.8,
    ),
    Fault(
        "frozen layer",
        {"frozen": True},
        "one layer has no gradient and no update at all, the others have",
        "set requires_grad to True before the optimiser is made",
        lambda chart: bool(np.isnan(chart.norms).all(0).any()),
    ),
    Fault(
        "softmax before the loss",
        {"softmax": True},
        "the loss cannot fall below 1.46, however good the accuracy",
        "hand the raw logits to the loss",
        lambda chart: chart.accuracy["training"][-1] > 0.55 and min(chart.loss) > 1.46,
        setting={"learning_rate": 0.3, "depth": 2, "epochs": 12},
    ),
    Fault(
        "schedule stepped per batch",
        {"decay_every": "batch"},
        "after one epoch the learning rate is a thousandth of what it was",
        "step the schedule once an epoch",
        lambda chart: (
            chart.learning_rate[min(chart.steps_per_epoch, len(chart.learning_rate) - 1)]
            < 0.05 * chart.learning_rate[0]
        ),
        setting={"decay": 0.7},
    ),
    Fault(
        "weight decay too strong",
        {"weight_decay": 0.5},
        "the weights melt away: their norm falls to a fraction of where it began",
        "reduce the weight decay",
        lambda chart: chart.melted(),
    ),
    Fault(
        "batches not shuffled",
        {"shuffled_batches": False},
        "a batch holds one or two classes instead of all, and the loss is a saw",
        "shuffle in every epoch",
        lambda chart: chart.facts["classes in a batch"] < 3,
    ),
]
FAULTS: dict[str, Fault] = {fault.name: fault for fault in _ALL}


def symptoms(chart: Chart) -> list[str]:
    """The names of all faults whose sign this chart shows. A cause can bring further signs with it."""
    return [fault.name for fault in _ALL[1:] if fault.shows(chart)]


# ---- treatment ------------------------------------------------------------------------------------------------------


class RowReader(nn.Module):
    """A recurrent network: one row of the image a step, then the class. ReLU, He's weights: it can explode."""

    def __init__(self, columns: int, width: int = 32):
        super().__init__()
        self.read, self.recur, self.answer = (
            nn.Linear(columns, width),
            nn.Linear(width, width),
            nn.Linear(width, 10),
        )
        self.activation = nn.ReLU()
        initialise(self, "he")
        with torch.no_grad():
            self.recur.weight.mul_(GAIN)

    def forward(self, images: Tensor) -> Tensor:
        rows = self.read(images.squeeze(1))
        state = self.activation(rows[:, 0])
        for number in range(1, rows.shape[1]):
            state = self.activation(rows[:, number] + self.recur(state))
        return self.answer(state)


def build(case: Case, images: Tensor) -> nn.Module:
    """The patient's network, drawn from torch's global generator."""
    if case.recurrent:
        return RowReader(images.shape[-1])
    model = make_mlp(
        images[0].numel(), 32, case.depth, 10, case.activation, case.init, case.dropout
    )
    hidden = [layer for layer in model if isinstance(layer, nn.Linear)][:-1]
    for layer in hidden:
        nn.init.constant_(layer.bias, case.bias)
    if case.frozen:
        hidden[1].requires_grad_(False)
    return model


def prepare(case: Case, dataset: Dataset, seed: int) -> tuple[Split, Split, Split]:
    """(training, test, fresh) as the patient sees them. The clinic's test images are half of the validation split,
    the fresh ones its other half: the real test split stays shut."""
    random_ = torch.Generator().manual_seed(seed)
    half = len(dataset.val) // 2
    images, labels = dataset.train.images, dataset.train.labels
    test = Split(dataset.val.images[:half], dataset.val.labels[:half])
    fresh = Split(dataset.val.images[half:], dataset.val.labels[half:])
    if case.leak:
        images, labels = torch.cat([images, test.images]), torch.cat([labels, test.labels])
    if case.shuffled_labels:
        labels = labels[torch.randperm(len(labels), generator=random_)]
    if not case.shuffled_batches:
        order = labels.argsort(stable=True)
        images, labels = images[order], labels[order]
    scale = case.pixel_scale
    return (
        Split(images * scale, labels),
        Split(test.images * scale * case.test_pixel_scale, test.labels),
        Split(fresh.images * scale, fresh.labels),
    )


def attend(case: Case, dataset: Dataset, seed: int = 0) -> Iterator[Chart]:
    """Train a patient with the instruments attached; yields its growing chart after every epoch.

    The loop is the one of every tutorial; its conditions are the mistakes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        train, test, fresh = prepare(case, dataset, seed)
        model = build(case, train.images)
        noise, order = torch.get_rng_state(), torch.Generator().manual_seed(seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=case.learning_rate, weight_decay=case.weight_decay)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, case.decay)
    chart = Chart(
        Instruments(model, optimizer, train.images[::5]), -(-len(train) // case.batch_size)
    )
    chart.facts |= _data_facts(train, test, case.batch_size)
    before: Tensor | None = None
    for _ in range(case.epochs):
        with torch.random.fork_rng(
            devices=[]
        ):  # patients never disturb each other's random numbers
            torch.set_rng_state(noise)
            model.train()
            shuffled = torch.randperm(len(train), generator=order)
            for chosen in (shuffled if case.shuffled_batches else shuffled.sort().values).split(
                case.batch_size
            ):
                logits = model(train.images[chosen])
                loss = functional.cross_entropy(
                    logits.softmax(-1) if case.softmax else logits, train.labels[chosen]
                )
                if case.zeroes_gradients:
                    optimizer.zero_grad()
                loss.backward()
                if case.clip_norm:
                    nn.utils.clip_grad_norm_(trained, case.clip_norm)
                gradient = torch.cat([parameter.grad.flatten() for parameter in trained])
                if before is not None:
                    chart.alignment.append(
                        functional.cosine_similarity(gradient, before, dim=0).item()
                    )
                before = gradient
                chart.loss.append(loss.item())
                chart.learning_rate.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                if case.decay_every == "batch":
                    schedule.step()
            if case.decay_every == "epoch":
                schedule.step()
            _measure(chart, model, case, train, test, fresh)
            noise = torch.get_rng_state()
        yield chart


@torch.no_grad()
def _measure(
    chart: Chart, model: nn.Module, case: Case, train: Split, test: Split, fresh: Split
) -> None:
    """Accuracies after an epoch, and the facts that depend on the weights."""
    model.train(not case.evaluates)
    seen = (
        train.first(len(test))
        if case.shuffled_batches
        else Split(train.images[::2], train.labels[::2])
    )
    answers = {
        name: model(part.images).argmax(-1)
        for name, part in (("training", seen), ("test", test), ("fresh", fresh), ("again", test))
    }
    for name, part in (("training", seen), ("test", test), ("fresh", fresh)):
        chart.accuracy[name].append((answers[name] == part.labels).float().mean().item())
    weights = chart.instruments["weight_norm"].to_numpy()
    spread = chart.instruments["std"].to_numpy()[0]
    hidden = [layer for layer in chart.instruments.weights.values()][:-1]
    chart.facts |= {
        "first loss": chart.loss[0],
        "spread, last to first layer": spread[-1] / max(spread[0], 1e-30),
        "identical units": float(np.mean([_identical(weight) for weight in hidden])),
        "evaluations disagree": (answers["test"] != answers["again"]).float().mean().item(),
        "weights kept": float(np.sqrt((weights[-1] ** 2).sum() / (weights[0] ** 2).sum())),
    }


def _identical(weight: Tensor) -> float:
    """The share of units whose weights equal another unit's of the same layer, up to rounding."""
    if not torch.isfinite(weight).all():
        return 0.0
    apart = (
        torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist")
        + torch.eye(len(weight)) * 1e9
    )
    return (apart.min(1).values < 1e-4 * weight.norm(dim=1).clamp(min=1e-12)).float().mean().item()


def _data_facts(train: Split, test: Split, batch_size: int) -> dict[str, float]:
    """What can be said before any training."""
    flat, others = train.images.flatten(1), test.images.flatten(1)
    apart = torch.cdist(flat[:500], flat[:500]) + torch.eye(min(500, len(flat))) * 1e9
    rows = {row.numpy().tobytes() for row in flat}
    return {
        "input mean": flat.mean().item(),
        "input std": flat.std().item(),
        "test mean": others.mean().item(),
        "test std": others.std().item(),
        "shared images": float(sum(row.numpy().tobytes() in rows for row in others)),
        "neighbours agree": (train.labels[:500][apart.argmin(1)] == train.labels[:500])
        .float()
        .mean()
        .item(),
        "classes in a batch": float(len(train.labels[:batch_size].unique())),
    }


def examine(fault: str, dataset: Dataset, seed: int = 0, treatment: str | None = None) -> Chart:
    """The complete chart of a patient with ``fault``; after the treatment for another fault (or the same), if given.

    Raises ValueError for a name that is not in FAULTS.
    """
    *_, chart = attend(_treated(fault, treatment), dataset, seed)
    return chart


def _treated(fault: str, treatment: str | None) -> Case:
    for name in (fault, treatment):
        if name is not None and name not in FAULTS:
            raise ValueError(f"fault: got {name!r}, takes one of {', '.join(FAULTS)}")
    case = FAULTS[fault].case()
    return replace(case, **FAULTS[treatment].treatment()) if treatment else case


# ---- what the learner sees ------------------------------------------------------------------------------------------

SIZE = (10.0, 5.8)


def draw_chart(
    axes: np.ndarray, chart: Chart, before: Chart | None = None, table: bool = True
) -> None:
    """All instruments of one patient on axes [2, 3]; ``before`` (an earlier chart of it) stays as faint lines.

    The ``table`` of facts takes a quarter of the drawing: a chart that still grows does without.
    """
    loss, accuracy, norms, ratios, units, facts = axes.flat
    if before is not None:
        loss.plot(before.loss, color=GREY, alpha=0.4, linewidth=0.8)
        for values in before.accuracy.values():
            accuracy.plot(np.arange(1, len(values) + 1), values, color=GREY, alpha=0.4, linewidth=1)
    loss.plot(chart.loss, linewidth=1.1, **style(0))
    loss.axhline(CHANCE_LOSS, color="black", linewidth=1, linestyle=(0, (2, 2)))
    loss.set(xlabel="step", ylim=(0, max(3.0, min(1.2 * chart.facts["first loss"], 200.0))))
    loss.set_title("loss (dots: log 10)", fontsize=10)
    for number, (name, values) in enumerate(chart.accuracy.items()):
        accuracy.plot(
            np.arange(1, len(values) + 1),
            values,
            label=name,
            marker="o",
            markersize=2.5,
            **style(number),
        )
    accuracy.set(xlabel="epoch", ylim=(0, 1.02))
    accuracy.set_title("accuracy", fontsize=10)
    accuracy.legend(fontsize=8, loc="best")
    with np.errstate(divide="ignore"):
        plot_layers(np.log10(chart.instruments["gradient_norm"]).clip(-12, 12), norms)
    norms.set_title("log10 of gradient norm", fontsize=10)
    plot_layers(chart.instruments["update_ratio"].clip(-8, 4), ratios, guide=-3)
    ratios.set_title("log10 of update / weight (dots: -3)", fontsize=10)
    norms.legend(fontsize=8, loc="best")
    for number, quantity in enumerate(("dead", "saturated")):
        shares = chart.instruments[quantity].mean(axis=1)
        if np.isfinite(shares).any():
            units.plot(shares.index, shares, label=quantity, **style(number))
    units.set(xlabel="step", ylim=(-0.02, 1.02))
    units.set_title("share of hidden units", fontsize=10)
    units.legend(fontsize=8, loc="best")
    facts.axis("off")
    if table:
        facts.text(
            -0.13,
            1.06,
            facts_table(chart),
            fontsize=8,
            family="monospace",
            va="top",
            linespacing=1.25,
            transform=facts.transAxes,
        )


def chart_image(chart: Chart, name: str = "a patient") -> Image:
    """The chart as an image that needs no kernel."""
    figure, axes = new_figure(3, 2, size=SIZE)
    draw_chart(axes, chart)
    return Image(to_png(figure), alt=f"The instruments of {name}")


def facts_table(chart: Chart) -> str:
    """What needs no curve, one line each."""
    facts = chart.facts
    stopped = np.flatnonzero(~np.isfinite(chart.loss))
    silent = int(np.isnan(chart.norms).all(0).sum())
    after = chart.learning_rate[min(chart.steps_per_epoch, len(chart.learning_rate) - 1)]
    rows = {
        "first loss (log 10 = 2.30)": f"{facts['first loss']:.2f}",
        "loss not finite": f"from step {stopped[0]}" if len(stopped) else "never",
        "learning rate, first epoch": f"{chart.learning_rate[0]:.2g}",
        "learning rate after it": f"{after:.2g}",
        "training pixels: mean, std": f"{facts['input mean']:.2g}, {facts['input std']:.2g}",
        "test pixels: mean, std": f"{facts['test mean']:.2g}, {facts['test std']:.2g}",
        "test images in training": f"{facts['shared images']:.0f}",
        "neighbours share a label": f"{facts['neighbours agree']:.0%}",
        "classes in first batch": f"{facts['classes in a batch']:.0f}",
        "two evaluations differ": f"{facts['evaluations disagree']:.1%}",
        "units that are copies": f"{facts['identical units']:.0%}",
        "spread, last/first layer": f"{facts['spread, last to first layer']:.2g}",
        "cosine to gradient before": f"{np.median(chart.alignment[:10]):.2f}",
        "norm of weights, end/start": f"{facts['weights kept']:.2g}",
        "layers without gradient": f"{silent} of {chart.norms.shape[1]}",
    }
    return "\n".join(f"{name:<27}{value.replace('%', ' %'):>13}" for name, value in rows.items())


def deal(seed: int, count: int = 12, healthy: bool = True) -> list[str]:
    """``count`` different faults in an order that the seed decides; ``healthy`` lets a sound network be among them.

    Raises ValueError for more patients than there are faults.
    """
    names = [name for name in FAULTS if healthy or name != HEALTHY]
    if not 1 <= count <= len(names):
        raise ValueError(f"count: got {count}, takes 1 to {len(names)}")
    return random.Random(seed).sample(names, count)


@dataclass
class Visit:
    """What the lab shows: one patient, what was said of it, and whether the cure for that was applied."""

    number: int
    fault: str
    diagnosis: str | None
    cured: bool
    chart: Chart
    growing: bool


def clinic_lab(dataset: Dataset, seed: int = 0, count: int = 12) -> Lab:
    """Look at the instruments, choose a diagnosis, get an answer, apply the cure and watch. Patient 0 is healthy."""
    patients = [HEALTHY, *deal(seed, count)]
    controls = {
        "patient": slider("patient", list(range(count + 1)), 0),
        "diagnosis": choice("diagnosis", [LOOK_FIRST, *sorted(FAULTS)], LOOK_FIRST),
        "cure": choice("cure", ["not yet", "apply the cure for this diagnosis"], "not yet"),
    }

    def run(values: dict[str, Any]) -> Iterator[Visit]:
        fault = patients[values["patient"]]
        diagnosis = None if values["diagnosis"] == LOOK_FIRST else values["diagnosis"]
        cured = values["cure"] != "not yet" and diagnosis is not None
        case = _treated(fault, diagnosis if cured else None)
        for chart in attend(case, dataset, seed):
            growing = (
                len(chart.accuracy["training"]) < case.epochs and np.isfinite(chart.loss).all()
            )
            yield Visit(values["patient"], fault, diagnosis, cured, chart, growing)

    def draw(figure, axes: np.ndarray, visit: Visit, earlier: Sequence[Visit]) -> None:
        same = [old.chart for old in earlier if old.number == visit.number and not old.cured]
        draw_chart(
            axes, visit.chart, same[-1] if visit.cured and same else None, table=not visit.growing
        )

    return Lab(controls, run, draw, describe_visit, columns=3, rows=2, size=SIZE)


def describe_visit(visit: Visit) -> str:
    """One line: how the patient is, and the answer to the diagnosis."""
    scores = ", ".join(
        f"{name} {values[-1]:.0%}".replace("%", " %")
        for name, values in visit.chart.accuracy.items()
    )
    text = f"patient {visit.number}: accuracy {scores}. "
    if visit.diagnosis is None:
        return text + (
            "What is wrong?" if visit.number else "This one is healthy: compare the others with it."
        )
    text += answer(visit.fault, visit.diagnosis) + " "
    return text + (
        "The chart shows it after the cure."
        if visit.cured
        else f"The cure: {FAULTS[visit.diagnosis].remedy}."
    )


def answer(fault: str, diagnosis: str) -> str:
    """Right or wrong, with the sign to look for; a wrong diagnosis is told what its own sign would have been."""
    if fault == diagnosis:
        return f"Right: {fault}. The sign: {FAULTS[fault].sign}."
    return f"Not {diagnosis}: there {FAULTS[diagnosis].sign}. Look again."


class Quiz:
    """Patients for a class. ``Quiz(dataset, seed=7)`` deals the same ones to everybody.

    ``show(number)`` draws a patient's instruments (numbers from 1), ``mark({1: "dead ReLUs", ...})`` returns a table,
    ``key()`` is the teacher's.
    """

    def __init__(self, dataset: Dataset, seed: int, count: int = 6):
        self.dataset, self.seed, self._faults = dataset, seed, deal(seed, count)

    def __len__(self) -> int:
        return len(self._faults)

    def show(self, number: int, treatment: str | None = None) -> Image:
        """The chart of a patient, after the treatment for a diagnosis if given."""
        return chart_image(
            examine(self._fault(number), self.dataset, self.seed, treatment), f"patient {number}"
        )

    def mark(self, answers: dict[int, str]) -> pd.DataFrame:
        """One row for each patient: the diagnosis given, whether it is right, and what to look at."""
        rows = [
            {
                "patient": number,
                "diagnosis": answers.get(number),
                "right": answers.get(number) == fault,
                "answer": answer(fault, answers[number])
                if answers.get(number) in FAULTS
                else "no diagnosis",
            }
            for number, fault in enumerate(self._faults, start=1)
        ]
        return pd.DataFrame(rows)

    def key(self) -> dict[int, str]:
        """For the teacher: {number: fault}."""
        return dict(enumerate(self._faults, start=1))

    def _fault(self, number: int) -> str:
        if not 1 <= number <= len(self._faults):
            raise ValueError(f"patient: got {number}, takes 1 to {len(self._faults)}")
        return self._faults[number - 1]


def check_diagnoses(answers: dict[int, str], quiz: Quiz) -> Result:
    """06.5: all patients of a quiz; a wrong one is told the sign that its diagnosis would have shown."""
    conditions: list[tuple[object, str]] = [
        (lambda: set(answers) >= set(quiz.key()), "a diagnosis for every patient is wanted.")
    ]
    for number, fault in quiz.key().items():
        given = answers.get(number) if isinstance(answers, dict) else None
        known = isinstance(given, str) and given in FAULTS
        conditions.append(
            (known, f"patient {number}: {given!r} is not in the list of diagnoses, FAULTS.")
        )
        conditions.append(
            (given == fault, f"patient {number}: {answer(fault, given) if known else ''}")
        )
    return check(
        "06.5",
        conditions,
        [
            "compare every instrument with those of the healthy patient",
            "go through the table of facts from the top: which line is out of order?",
        ],
    )
