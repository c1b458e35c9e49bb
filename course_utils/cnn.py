"""A small convolutional network, for whoever passes it to ``fit`` as a model."""

from __future__ import annotations

from torch import nn

from .engine.networks import ACTIVATIONS, initialise
from .errors import known


def make_cnn(
    channels: int = 1,
    width: int = 16,
    outputs: int = 10,
    activation: str = "relu",
    init: str = "he",
    dropout: float = 0.0,
) -> nn.Sequential:
    """A small convolutional network: images [n, channels, height, width] -> logits [n, outputs].

    Two blocks of 3x3 convolution, BatchNorm, activation and pooling (``width`` channels after the
    first, twice that after the second), then a dense layer. Images of any size.
    """
    known("activation", activation, ACTIVATIONS)
    layers: list[nn.Module] = []
    for before, after in ((channels, width), (width, 2 * width)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
        layers += [ACTIVATIONS[activation](), nn.MaxPool2d(2)]
    layers += [nn.AdaptiveAvgPool2d(7), nn.Flatten()]  # 28 x 28 pixels are 7 x 7 by now anyway
    layers += [nn.Dropout(dropout), nn.Linear(2 * width * 49, outputs)]
    return initialise(nn.Sequential(*layers), init)
