"""Checks of the exercises of notebook 01."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ...classroom.check import exercise
from ...classroom.design import fair_design
from ...engine.data import Split
from ...engine.networks import make_mlp
from ...randomness import Chance
from .experiments import signal_profile


@exercise(
    "01.1",
    hints=[
        "The loss is log(10) when all classes get the same probability. When are all logits equal?",
        "The last layer is model[-1]; change its weights in place, under torch.no_grad().",
        "Multiply model[-1].weight by a very small number, or set it to zero.",
    ],
    praise='A small last layer says "I do not know yet", which is the truth.',
)
def check_first_loss(calm: Any, split: Split) -> Iterator[tuple[Any, str]]:
    """Bring the first loss to log(classes), without touching the hidden layers."""
    classes = int(split.labels.max()) + 1
    for seed, depth in ((0, 2), (1, 2), (2, 1), (3, 3)):
        before = _fresh(split, seed, depth, classes, init="normal")
        after = copy.deepcopy(before)
        result = calm(after)
        after = result if isinstance(result, nn.Module) else after
        layers = list(zip(before.parameters(), after.parameters(), strict=True))[:-2]
        same = all(torch.equal(old, new) for old, new in layers)
        yield same, "The hidden layers have changed: only the last layer may."
        learns = all(parameter.requires_grad for parameter in after.parameters())
        yield learns, "A parameter can no longer learn."
        loss = functional.cross_entropy(after(split.images), split.labels).item()
        yield math.isfinite(loss), "The first loss is no finite number."
        near = abs(loss - math.log(classes)) < 0.1
        yield near, f"The first loss is {loss:.4g}; log({classes}) is {math.log(classes):.2f}."


@exercise(
    "01.2",
    hints=[
        "What is the mean squared slope? Half of the sums have slope 1, half have the given one.",
        "The mean squared slope is (1 + slope**2) / 2. Put it into the rule.",
        "return np.sqrt(2 / ((1 + slope**2) * fan_in))",
    ],
    praise="Slope 0 gives He, slope 1 gives 1/√fan_in, and yours gives all between.",
)
def check_leaky_std(leaky_std: Any) -> Iterator[tuple[Any, str]]:
    """The standard deviation of weights that keeps signals level under any Leaky ReLU."""
    size = float(leaky_std(100, 0.1))
    yield size > 0, "leaky_std(fan_in, slope) should return a positive number."
    ends = "changes its size with depth"
    yield abs(_drift(leaky_std, 0.0)) < 0.3, f"For slope 0, which is ReLU, the signal {ends}."
    told = f"For slope 1, which is no activation at all, the signal {ends}."
    yield abs(_drift(leaky_std, 1.0)) < 0.3, told
    told = f"The ends are right, but for a slope of 0.5 the signal {ends}."
    yield abs(_drift(leaky_std, 0.5)) < 0.3, told
    for fan_in in (10, 300):
        for slope in (0.0, 0.01, 0.2, 0.7, 1.0):
            right = math.sqrt(2 / ((1 + slope**2) * fan_in))
            near = math.isclose(float(leaky_std(fan_in, slope)), right, rel_tol=0.02)
            yield near, f"For fan_in {fan_in} and slope {slope:g} it is a few per cent off."


def _drift(leaky_std: Callable[[int, float], float], slope: float) -> float:
    """Decades by which the root mean square has changed after twelve layers."""
    generator, fan_in = torch.Generator().manual_seed(0), 256
    signal = torch.randn(256, fan_in, generator=generator)
    for _ in range(12):
        weight = torch.randn(fan_in, fan_in, generator=generator)
        signal = functional.leaky_relu(signal @ weight * float(leaky_std(fan_in, slope)), slope)
    root = signal.square().mean().sqrt().item()
    return math.log10(root) if 0 < root < math.inf else math.inf


@exercise(
    "01.3",
    hints=[
        "At a sum of zero a sigmoid puts out ½. So a layer receives ½ from every unit below it, "
        "whatever the image, and multiplies it by its weights.",
        "That constant part of a unit's sum is half the sum of its weights. What must the bias be, "
        "so that the two cancel?",
        "layer.bias.copy_(-0.5 * layer.weight.sum(dim=1)) for each layer after the first.",
    ],
    praise="With its half taken away, a sigmoid is a tanh: ½ + ½ tanh(z/2).",
)
def check_centred(centre: Any, split: Split) -> Iterator[tuple[Any, str]]:
    """Let a deep sigmoid network pass signals on, by its biases alone."""
    for seed, depth, width in ((0, 10, 100), (1, 10, 100), (2, 5, 50)):
        before = _fresh(split, seed, depth, 10, width, activation="sigmoid", init="xavier_sigmoid")
        after = copy.deepcopy(before)
        result = centre(after)
        after = result if isinstance(result, nn.Module) else after
        pairs = zip(before.named_parameters(), after.parameters(), strict=True)
        same = all(torch.equal(old, new) for (name, old), new in pairs if "weight" in name)
        yield same, "The weights have changed: only the biases may."
        learns = all(parameter.requires_grad for parameter in after.parameters())
        yield learns, "A parameter can no longer learn."
        spread, gradient, _ = signal_profile(after, split)
        kept = {"differences between images": spread[-1] / spread[0]}
        kept["gradient"] = gradient[0] / gradient[-1]
        for what, share in kept.items():
            told = f"Of the {what}, {share:.2g} is left after {depth} layers; wanted: over 0.25."
            yield share > 0.25, told


def _fresh(
    split: Split, seed: int, depth: int, classes: int, width: int = 32, **options: str
) -> nn.Sequential:
    with Chance(seed, foreign=False):
        model = make_mlp(split.images[0].numel(), width, depth, classes, **options)
    return model.to(split.images.device)


@exercise(
    "01.4",
    hints=[
        "Take two arms that differ in their start and in nothing else.",
        "The last column of the table says which choice lies at an edge of the grid. Add a rate "
        "beyond it: a start with larger weights needs smaller ones.",
        '"supported": the whole interval of the gain lies above zero. "refuted": it lies below. '
        '"not settled": zero is inside.',
    ],
    praise="That is a fair experiment, and your verdict follows from it.",
)
def check_my_experiment(trial: Any, verdict: Any) -> Iterator[tuple[Any, str]]:
    """The learner's own comparison of two starts, both tuned, eight seeds, and a verdict."""
    yield from fair_design(trial, verdict)
