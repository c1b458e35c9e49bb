"""Greedy layer-wise pretraining with auto-encoders, as around 2007 (Bengio et al., 2007)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ...diagnostics import inspect_layers
from ...engine.config import Config
from ...engine.data import Dataset
from ...engine.networks import initialise
from ...engine.plan import Model, build
from ...engine.training import fit
from ...evidence import Estimate, mean_interval
from ...protocol import Arm
from ...threads import Threads


class AutoEncoder(nn.Module):
    """One new sigmoid layer on a frozen body, and a decoder that must rebuild the layer's input
    from its output.

    The forward pass returns the squared error of each image, [n, 1], so that ``fit`` minimises it.
    """

    def __init__(self, body: nn.Module, inputs: int, width: int):
        super().__init__()
        self.body, self.squash = body.requires_grad_(False), nn.Sigmoid()
        self.encode, self.decode = nn.Linear(inputs, width), nn.Linear(width, inputs)
        initialise(self.encode, "xavier")
        initialise(self.decode, "xavier")

    def forward(self, images: Tensor) -> Tensor:
        given = self.body(images)
        rebuilt = self.squash(self.decode(self.squash(self.encode(given))))
        return (rebuilt - given).square().mean(-1, keepdim=True)


def pretrain_layers(
    dataset: Dataset,
    depth: int,
    width: int,
    seeds: Sequence[int],
    epochs: int,
    learning_rate: float = 0.03,
) -> dict[int, nn.Sequential]:
    """{seed: body} of ``depth`` sigmoid layers, every layer trained by itself, without labels.

    Each layer has ``epochs`` passes over the training images, with AdamW.
    """
    bodies = {seed: nn.Sequential(nn.Flatten()) for seed in seeds}
    config = Config(epochs=epochs, learning_rate=learning_rate, width=width)
    for layer in range(depth):
        inputs = width if layer else dataset.train.images[0].numel()
        encoders = fit(
            config.seeds(seeds),
            dataset,
            model=_auto_encoders(bodies, inputs),
            loss=lambda errors, _: errors[:, 0],
            progress=False,
        )
        for place, seed in enumerate(seeds):
            encoder = encoders.model(place).encode
            bodies[seed] = nn.Sequential(*bodies[seed], encoder, nn.Sigmoid())
    return bodies


def _auto_encoders(bodies: dict[int, nn.Sequential], inputs: int) -> Model:
    def build_one(config: Config, _: Dataset) -> nn.Module:
        return AutoEncoder(copy.deepcopy(bodies[config.seed]), inputs, config.width)

    return build_one


def with_head(bodies: dict[int, nn.Sequential]) -> Model:
    """For ``fit``: the body of the config's seed with a fresh last layer; all of it learns."""

    def build_one(config: Config, dataset: Dataset) -> nn.Module:
        body = copy.deepcopy(bodies[config.seed]).requires_grad_(True)
        return nn.Sequential(*body, initialise(nn.Linear(config.width, dataset.classes), "xavier"))

    return build_one


def gradients_left(arms: Mapping[str, Config | Arm], dataset: Dataset) -> dict[str, Estimate]:
    """{arm: what share of the gradient's size at the last hidden layer reaches the first one}, over
    eight networks as their training begins. Sizes are standard deviations."""
    shares = {}
    with Threads(several=False):
        for name, arm in arms.items():
            arm = arm if isinstance(arm, Arm) else Arm(arm)
            ratios = [
                _ratio(build(arm.model, each, dataset)[0], dataset) for each in arm.config.seeds(8)
            ]
            shares[name] = mean_interval(ratios)
    return shares


def _ratio(network: nn.Module, dataset: Dataset) -> float:
    batch = dataset.val.first(200)
    table = inspect_layers(network.to(batch.images.device), batch.images, batch.labels)
    spread = table["gradient_std"]
    return float(spread.iloc[0] / spread.iloc[-1])
