"""The faults of the clinic: what each is, by which sign it shows, and what cures it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .charts import CHANCE_LOSS, Chart
from .patients import Case

HEALTHY = "healthy"


@dataclass(frozen=True)
class Fault:
    """One way to be broken: ``Case(**setting, **broken)``; its healthy twin has the treatment."""

    name: str
    broken: dict[str, Any]
    sign: str
    remedy: str
    shows: Callable[[Chart], bool]  # the sign as a rule
    setting: dict[str, Any] = field(default_factory=dict)
    cure: dict[str, Any] = field(default_factory=dict)  # where it is not just the healthy value

    def case(self) -> Case:
        return Case(**self.setting | self.broken)

    def twin(self) -> Case:
        """The same network without the mistake."""
        return Case(**self.setting | self.treatment())

    def treatment(self) -> dict[str, Any]:
        return self.cure or {name: getattr(Case(), name) for name in self.broken}


# Signs that take more than a line -----------------------------------------------------------------


def _healthy(chart: Chart) -> bool:
    return not symptoms(chart)


def _rate_too_high(chart: Chart) -> bool:
    sound_inputs = chart.facts["input std"] < 3
    calm_start = chart.first_norm() < 30
    return chart.early_ratio() > -1 and sound_inputs and calm_start and not _melted(chart)


def _rate_too_low(chart: Chart) -> bool:
    told = np.median(chart.first_epoch("gradient_norm")[:, -1]) > 0.05
    return bool(chart.early_ratio() < -4.5 and told)


def _weights_too_small(chart: Chart) -> bool:
    different = chart.facts["identical units"] < 0.5
    rectified = not np.isfinite(chart.at_start("saturated")).any()
    return chart.facts["spread kept"] < 0.05 and different and rectified and chart.dead() < 0.6


def _vanishing(chart: Chart) -> bool:
    sigmoids = bool(np.isfinite(chart.at_start("saturated")).any())
    return chart.first_to_last() < 0.01 and sigmoids and chart.spike() < 100


def _exploding(chart: Chart) -> bool:
    leaps = chart.spike() > 100 and chart.early_ratio() > -1.5
    different = chart.facts["identical units"] < 0.5
    sound = chart.facts["input std"] < 3 and different and not _melted(chart)
    return (chart.first_norm() > 30 or leaps) and sound


def _softmax_twice(chart: Chart) -> bool:
    return chart.accuracy["training"][-1] > 0.55 and min(chart.loss) > 1.46


def _decays_at_once(chart: Chart) -> bool:
    later = chart.learning_rate[min(chart.steps_per_epoch, len(chart.learning_rate) - 1)]
    return later < 0.05 * chart.learning_rate[0]


def _melted(chart: Chart) -> bool:
    return chart.facts["weights kept"] < 0.3


_ROWS = {"recurrent": True, "depth": 1, "init": "he", "learning_rate": 0.1}
_ALL = [
    Fault(
        HEALTHY,
        {},
        "every instrument reads as it should",
        "nothing to cure",
        _healthy,
    ),
    Fault(
        "learning rate too high",
        {"learning_rate": 4.0},
        "in the first epoch an update is more than a tenth of the weights (log10 above -1)",
        "divide the learning rate by ten and more",
        _rate_too_high,
    ),
    Fault(
        "learning rate too low",
        {"learning_rate": 1e-4},
        "gradients are of ordinary size, yet updates are tiny (log10 below -4.5)",
        "raise the learning rate until the updates are like those of a healthy network",
        _rate_too_low,
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
        "in a ReLU network, the spread between images collapses from layer to layer at the start",
        "He initialisation",
        _weights_too_small,
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
        "more than a quarter of all outputs lie at the flat ends of the sigmoid from the start",
        "Xavier initialisation",
        lambda chart: chart.saturated() > 0.25,
        setting={"activation": "sigmoid", "depth": 1, "learning_rate": 0.5},
        cure={"init": "xavier"},
    ),
    Fault(
        "vanishing gradients",
        {"activation": "sigmoid", "init": "xavier"},
        "the first layer's gradient is below a hundredth of the last one's, and through sigmoids "
        "the spread between images vanishes as well",
        "ReLU with He initialisation",
        _vanishing,
        setting={"depth": 6, "learning_rate": 0.05},
    ),
    Fault(
        "exploding gradients",
        {"clip_norm": None},
        "the gradient's norm is above thirty at the start, or leaps to a hundred times its median, "
        "with sound inputs",
        "clip the norm at 1",
        _exploding,
        setting=_ROWS,
        cure={"clip_norm": 1.0},
    ),
    Fault(
        "labels shuffled",
        {"shuffled_labels": True},
        "an image and its nearest neighbour agree on the label no more often than by chance",
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
        lambda chart: float(np.median(chart.alignment[:10])) > 0.8,
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
        _softmax_twice,
        setting={"learning_rate": 0.3, "depth": 2, "epochs": 12},
    ),
    Fault(
        "schedule stepped per batch",
        {"decay_every": "batch"},
        "after one epoch the learning rate is a thousandth of what it was",
        "step the schedule once an epoch",
        _decays_at_once,
        setting={"decay": 0.7},
    ),
    Fault(
        "weight decay too strong",
        {"weight_decay": 0.5},
        "the weights melt away: their norm falls to a fraction of where it began",
        "reduce the weight decay",
        _melted,
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
    """The names of all faults whose sign this chart shows. A cause can bring further signs."""
    return [fault.name for fault in _ALL[1:] if fault.shows(chart)]
