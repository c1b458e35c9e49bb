"""What notebook 02 measures: gradients of fresh deep networks, dead units, one-number outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...diagnostics import inspect_layers, layer_outputs
from ...engine.config import Config
from ...engine.data import Dataset, Split
from ...engine.history import History
from ...engine.networks import make_mlp
from ...randomness import Chance
from ...threads import Threads


@torch.no_grad()
def centre_sigmoids(model: nn.Sequential) -> nn.Sequential:
    """Let the biases take away the constant ½ that the sigmoids of the layer below put out."""
    dense = [layer for layer in model if isinstance(layer, nn.Linear)]
    for layer in dense[1:]:
        layer.bias.copy_(-0.5 * layer.weight.sum(dim=1))
    return model


def centred_sigmoid(config: Config, dataset: Dataset) -> nn.Module:
    """For ``fit(model=...)``: a sigmoid network, four times Xavier, with sums around zero."""
    inputs = dataset.train.images[0].numel()
    sizes = (inputs, config.width, config.depth, dataset.classes)
    return centre_sigmoids(make_mlp(*sizes, activation="sigmoid", init="xavier_sigmoid"))


def gradient_profiles(
    starts: Mapping[str, tuple[str, str]],
    split: Split,
    depth: int = 10,
    width: int = 100,
    seeds: int = 8,
) -> dict[str, np.ndarray]:
    """{name: [seed, hidden layer]}: the gradient with respect to each layer's outputs in fresh
    networks, as a share of that of the last hidden layer.

    ``starts`` is {name: (activation, initialisation)}; the initialisation "centred" is four times
    Xavier with biases that centre the sums of sigmoids.
    """
    profiles = {}
    for name, (activation, init) in starts.items():
        rows = []
        for seed in range(seeds):
            with Chance(seed, foreign=False):
                scheme = "xavier_sigmoid" if init == "centred" else init
                inputs = split.images[0].numel()
                model = make_mlp(inputs, width, depth, activation=activation, init=scheme)
            if init == "centred":
                centre_sigmoids(model)
            with Threads(several=False):  # small work: a second thread would only spin
                table = inspect_layers(model.to(split.images.device), split.images, split.labels)
            rows.append(table["gradient_std"].to_numpy())
        profiles[name] = np.array(rows) / np.array(rows)[:, -1:]
    return profiles


def decades_lost(profiles: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """[seed]: powers of ten by which the gradient shrinks from the last layer to the first."""
    return -np.log10(profiles[name][:, 0])


def share_over_seeds(
    history: History, measure: Callable[[nn.Module, Split], float], split: Split
) -> np.ndarray:
    """[run]: what ``measure`` says of each trained network."""
    with Threads(several=False):
        return np.array([measure(history.model(run), split) for run in range(len(history))])


@torch.no_grad()
def hidden_outputs(model: nn.Module, split: Split) -> Tensor:
    """[images, units]: what all hidden units put out, layer beside layer."""
    outputs = layer_outputs(model, split.images)
    outputs.pop("logits")
    return torch.cat([each.flatten(1) for each in outputs.values()], dim=1)


def odd_or_even(dataset: Dataset) -> Dataset:
    """The same digits with two classes: 1 for the odd ones, 0 for the even ones."""

    def halved(split: Split) -> Split:
        return Split(split.images, split.labels % 2)

    tuning = None if dataset.tuning is None else halved(dataset.tuning)
    train, val, test = map(halved, (dataset.train, dataset.val, dataset.test))
    return Dataset(train, val, test, f"{dataset.name}, odd or even", tuning)


def three_ways(logits: Tensor) -> dict[str, Tensor]:
    """{way to compute it: loss [n]} for logits [n] whose label is 0: binary cross-entropy by its
    definition, by ``binary_cross_entropy`` on the sigmoid, and by the version with logits."""
    labels, probabilities = torch.zeros_like(logits), torch.sigmoid(logits)
    with_logits = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    capped = functional.binary_cross_entropy(probabilities, labels, reduction="none")
    return {"by hand": -torch.log(1 - probabilities), "BCELoss": capped, "with logits": with_logits}
