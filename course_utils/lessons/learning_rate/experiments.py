"""What the experiments of notebook 03 need besides the engine."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...engine.config import Config
from ...engine.data import Dataset
from ...engine.plan import build, build_mlp
from ...threads import Threads

UPDATES, IMAGES = 20, 64
FOLLOWED = 4  # networks
State = dict[str, object]
Step = Callable[[Tensor, Tensor, State, float], Tensor]
Curvature = Callable[[nn.Module, Tensor, Tensor], float]


def gap_to_torch(step: Step, name: str, rate: float, **options: object) -> float:
    """How far ``step`` ends from ``torch.optim``'s optimiser of this name, as a share of the way.

    Both train one matrix [10, 196] of weights to tell random images' classes, from the same start,
    for 20 updates. ``step`` is (weight, gradient, state, rate) -> weight, ``state`` being a dict
    that is its own. Raises AttributeError where torch has no such optimiser.
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(10, 196, generator=generator) / 14
    images = torch.rand(IMAGES, 196, generator=generator)
    labels = torch.randint(10, (IMAGES,), generator=generator)
    state: State = {}
    ours, theirs = start.clone(), nn.Parameter(start.clone())
    optimizer = getattr(torch.optim, name)([theirs], lr=rate, **options)
    for _ in range(UPDATES):
        weight = ours.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(
            functional.cross_entropy(images @ weight.T, labels), weight
        )
        ours = step(ours, gradient, state, rate)
        optimizer.zero_grad()
        functional.cross_entropy(images @ theirs.T, labels).backward()
        optimizer.step()
    return float((ours - theirs.detach()).norm() / (theirs.detach() - start).norm())


def beside_torch(step: Step, name: str, rate: float, **options: object) -> str:
    """The same in words."""
    if not hasattr(torch.optim, name):
        return f"torch.optim.{name} came with torch 2.9; this torch is {torch.__version__}"
    gap = gap_to_torch(step, name, rate, **options)
    both = f"ours and torch.optim.{name}"
    return f"after {UPDATES} updates, {both} differ by {gap:.1g} of the distance moved"


def untrained_curvatures(measure: Curvature, config: Config, dataset: Dataset) -> np.ndarray:
    """[seed]: ``measure`` (model, images, labels) of eight networks as training begins."""
    images, labels = dataset.train.images, dataset.train.labels
    with Threads(several=False):  # products this small gain nothing from a second thread
        networks = [build(build_mlp, each, dataset)[0] for each in config.seeds(8)]
        return np.array([measure(model.to(images.device), images, labels) for model in networks])


def curvature_on_the_way(
    measure: Curvature, dataset: Dataset, rate: float, looks: Collection[int]
) -> np.ndarray:
    """[seed, look]: ``measure`` of four networks under full-batch gradient descent, squared error.

    ``looks`` are the numbers of steps after which it is measured. NaN from where a network was
    thrown out.
    """
    images, labels = dataset.train.images, dataset.train.labels
    looks, config = sorted(set(looks)), Config(width=32, init="torch")
    curvature = np.full((FOLLOWED, len(looks)), np.nan)
    with Threads(several=False):
        for row, each in zip(curvature, config.seeds(FOLLOWED), strict=True):
            model = build(build_mlp, each, dataset)[0].to(images.device)
            weights = list(model.parameters())
            for step in range(looks[-1] + 1):
                if step in looks:
                    row[looks.index(step)] = measure(model, images, labels)
                loss = squared_error(model(images), labels).mean()
                if not torch.isfinite(loss):
                    break
                gradients = torch.autograd.grad(loss, weights)
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.data -= rate * gradient
    return curvature


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """[n]: half the squared distance of logits [n, classes] from 1 for the label, 0 for others."""
    targets = functional.one_hot(labels, logits.shape[-1])
    return 0.5 * (logits - targets).square().sum(-1)


def smoothed(losses: np.ndarray) -> np.ndarray:
    """A centred moving mean over a twentieth of the curve, three points at least."""
    losses = np.asarray(losses, float)
    reach = max(1, len(losses) // 40)
    return np.array([losses[max(0, i - reach) : i + reach + 1].mean() for i in range(len(losses))])
