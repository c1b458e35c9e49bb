"""Twelve networks that share one set of weights, each of them alone, and who ranks them best."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from ...engine.config import Config
from ...engine.data import Dataset
from ...engine.networks import initialise, make_mlp
from ...engine.training import fit
from ...evidence import Estimate, mean_interval
from ...protocol import budget, log_grid
from ...randomness import Chance

WIDTHS, ACTIVATIONS, DEPTHS = (4, 12, 32), ("relu", "tanh"), (1, 2)
Architecture = tuple[int, str, int]  # width, activation, hidden layers
ARCHITECTURES: tuple[Architecture, ...] = tuple(product(WIDTHS, ACTIVATIONS, DEPTHS))
RATES = log_grid(0.003, 0.3, 5).tolist()
TUNING_SEEDS, SEEDS = range(8, 10), range(8)


class Supernet(nn.Module):
    """All twelve in one: each uses a corner of every weight matrix.

    In training every batch goes through one of them, drawn at random; in evaluation through
    ``architecture``.
    """

    def __init__(self, inputs: int, seed: int = 0, widest: int = max(WIDTHS)):
        super().__init__()
        self.first, self.second = nn.Linear(inputs, widest), nn.Linear(widest, widest)
        self.head = nn.Linear(widest, 10)
        self.architecture: Architecture = ARCHITECTURES[-1]
        self._draw = random.Random(seed)
        initialise(self, "he")

    def forward(self, images: Tensor) -> Tensor:
        chosen = self._draw.choice(ARCHITECTURES) if self.training else self.architecture
        return self.through(images.flatten(1), *chosen)

    def through(self, x: Tensor, width: int, activation: str, depth: int) -> Tensor:
        """Logits of one architecture: its corner of each layer."""
        activate = getattr(torch, activation)
        x = activate(corner(self.first, x, width))
        if depth == 2:
            x = activate(corner(self.second, x, width))
        return corner(self.head, x, 10)


def corner(layer: nn.Linear, x: Tensor, units: int) -> Tensor:
    """x [n, inputs] through the first units of a layer, by as many weights as x has columns."""
    weight, bias = layer.weight[:units, : x.shape[1]], layer.bias[:units]
    return nn.functional.linear(x, weight, bias)


@torch.no_grad()
def rank_by_supernet(model: Supernet, dataset: Dataset) -> list[float]:
    """[architecture]: validation accuracy of each of the twelve with the shared weights."""
    model.eval()
    images, labels = dataset.val.images.flatten(1), dataset.val.labels
    answers = [model.through(images, *each).argmax(1) for each in ARCHITECTURES]
    return [float((answer == labels).float().mean()) for answer in answers]


def train_shared(
    dataset: Dataset, epochs: int, rates: Sequence[float], seeds: Sequence[int]
) -> np.ndarray:
    """[rate, architecture, seed]: what a supernet's shared weights say of each of the twelve."""

    found = np.empty((len(rates), len(ARCHITECTURES), len(seeds)))
    for row, rate in enumerate(rates):
        for column, seed in enumerate(seeds):
            model = _train_supernet(dataset, epochs, rate, seed)
            found[row, :, column] = rank_by_supernet(model, dataset)
    return found


def _train_supernet(dataset: Dataset, epochs: int, rate: float, seed: int) -> Supernet:
    """The ten-line loop: each batch through one architecture, drawn at random."""
    images, labels = dataset.train.images, dataset.train.labels
    with Chance(seed, foreign=False):  # leave the global generator as it was
        model = Supernet(images[0].numel(), seed).to(images.device)
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    for _ in range(epochs):
        for chosen in torch.randperm(len(labels), generator=order).split(50):
            loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def train_alone(
    dataset: Dataset, epochs: int, rates: Sequence[float], seeds: Sequence[int]
) -> np.ndarray:
    """[rate, architecture, seed]: validation accuracy of each of the twelve, trained by itself."""
    configs = [
        Config(
            width=width,
            activation=activation,
            depth=depth,
            learning_rate=rate,
            batch_size=50,
            epochs=epochs,
            seed=seed,
        )
        for rate in rates
        for width, activation, depth in ARCHITECTURES
        for seed in seeds
    ]
    history = fit(configs, dataset, keep_models=False, progress=False)
    shape = len(rates), len(ARCHITECTURES), len(seeds)
    return history.val_correct.mean(1).reshape(shape)


Train = Callable[[Dataset, int, Sequence[float], Sequence[int]], np.ndarray]


def tuned(train: Train, dataset: Dataset, epochs: int) -> tuple[np.ndarray, float]:
    """([architecture, seed] at the best of the learning rates, that rate).

    The rate is chosen by the mean accuracy of all twelve, on seeds of its own: the same rule for
    networks that share their weights and for those that do not.
    """
    epochs = budget(epochs)
    means = train(dataset, epochs, RATES, TUNING_SEEDS).mean((1, 2))
    rate = RATES[int(np.argmax(means))]
    return train(dataset, epochs, [rate], SEEDS)[0], rate


def count_weights() -> np.ndarray:
    """[architecture, 1]: the number of weights of each of the twelve. It costs nothing."""
    sizes = [
        sum(weight.numel() for weight in make_mlp(196, width, depth, activation=name).parameters())
        for width, name, depth in ARCHITECTURES
    ]
    return np.array(sizes, float)[:, None]


def agreement(
    ranking: np.ndarray, alone: np.ndarray, chosen: slice | Sequence[int] = slice(None)
) -> np.ndarray:
    """[seed]: rank correlation of a ranking [architecture, seed] with training alone.

    The yardstick of each seed is the mean of ``alone`` over the *other* seeds, so that a ranking
    is never compared with itself. ``chosen`` are the architectures that are ranked.
    """
    seeds, found = alone.shape[1], []
    for seed in range(seeds):
        truth = np.delete(alone, seed, axis=1)[chosen].mean(1)
        column = ranking[chosen][:, seed if ranking.shape[1] > 1 else 0]
        says_something = min(np.ptp(column), np.ptp(truth)) > 0
        found.append(float(spearmanr(column, truth).statistic) if says_something else 0.0)
    return np.array(found)


def leads(shared: np.ndarray, one_epoch: np.ndarray, alone: np.ndarray) -> dict[str, Estimate]:
    """What shared weights gain in agreement with training alone, over each of their rivals: for
    all twelve, and for the four that differ in no width."""
    groups = {"all twelve": slice(None), "width 32": slice(8, 12)}
    rivals = {"one epoch each": one_epoch, "counting weights": count_weights()}
    return {
        f"{group}, over {rival}": lead(
            agreement(shared, alone, chosen), agreement(ranking, alone, chosen)
        )
        for group, chosen in groups.items()
        for rival, ranking in rivals.items()
    }


def lead(one: np.ndarray, other: np.ndarray) -> Estimate:
    """By how much one agreement [seed] is above another, seed by seed."""
    return mean_interval(one - other)
