"""What the experiments of notebook 11 need besides the engine."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from ...engine.config import Config
from ...engine.data import Dataset, Split
from ...engine.plan import Model
from ...engine.training import fit
from ...evidence import Estimate
from ...threads import Threads

SEEDS = range(12)  # those that judge, and those that choose


def pretrain(source: Dataset, width: int = 32, epochs: int = 20) -> dict[int, nn.Sequential]:
    """{seed: trained network} for twelve seeds: two hidden layers, AdamW."""
    config = Config(width=width, depth=2, learning_rate=3e-3, epochs=epochs)
    history = fit(config.seeds(SEEDS), source)
    return {seed: history.model(place) for place, seed in enumerate(SEEDS)}


def after_training(config: Config, dataset: Dataset, model: Model) -> Model:
    """For ``fit``: twelve seeds' networks after a first training; now all of them learns."""
    history = fit(config.seeds(SEEDS), dataset, model=model)

    def build(config: Config, _: Dataset) -> nn.Module:
        return history.model(SEEDS.index(config.seed)).requires_grad_(True)

    return build


def trained_body(dataset: Dataset, width: int = 32, updates: int = 60) -> nn.Sequential:
    """A body with BatchNorm, fresh from its training: its last gradients still lie about."""
    torch.manual_seed(0)
    inputs = dataset.train.images[0].numel()
    layers = [nn.Flatten(), nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(width, dataset.classes))
    network.to(dataset.train.images.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    images, labels = dataset.train.images, dataset.train.labels
    order = torch.arange(64 * updates, device=labels.device).remainder(len(labels))
    with Threads(several=False):  # products this small gain nothing from a second thread
        for chosen in order.split(64):
            optimizer.zero_grad()
            functional.cross_entropy(network(images[chosen]), labels[chosen]).backward()
            optimizer.step()
    return network[:-1]


def first_step(model: nn.Module, optimizer: torch.optim.Optimizer, split: Split) -> int:
    """Make one training step, print what it raises, and return what came of it: 0 an error, 1
    nothing moved, 2 the part named ``new_layer`` moved, 3 others alone did."""
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    part = split.first(64)
    model.to(part.images.device)
    try:
        functional.cross_entropy(model(part.images), part.labels).backward()
        optimizer.step()
    except RuntimeError as error:
        print(f"RuntimeError: {error}")
        return 0
    moved = [n for n, each in model.named_parameters() if not torch.equal(each, before[n])]
    if any(name.startswith("new_layer") for name in moved):
        return 2
    return 3 if moved else 1


def leave_zero_gradients(model: nn.Module) -> None:
    """What ``zero_grad(set_to_none=False)`` leaves, on every part that was trained before: zeros in
    ``.grad``. New parts have none yet."""
    for parameter in model.body.parameters():  # type: ignore[union-attr,operator]
        parameter.grad = torch.zeros_like(parameter)


def trainable(model: nn.Module) -> int:
    """How many numbers of a model learn."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


def larger(effects: Mapping[str, Estimate], alike: str) -> str:
    """Which of two effects is larger; ``alike``, where their intervals overlap."""
    (first, one), (second, other) = effects.items()
    if one.low > other.high:
        return first
    return second if other.low > one.high else alike
