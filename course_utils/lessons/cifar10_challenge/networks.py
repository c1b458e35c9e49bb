"""Networks for photographs of 3 x 32 x 32 pixels: plain torch modules, which ``fit`` trains.

What they are made of comes from the public speed records: the ResNet-9 of DAWNBench (Page, 2018),
hlb-CIFAR10 (tysam-code, 2023) and airbench (Jordan, 2024). Notebook 15, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ...cnn import make_cnn
from ...engine.config import Config
from ...engine.data import Dataset

KINDS = ("plain", "residual")
RESIDUAL_ALONE = ("depth", "whitening", "identity", "stride")  # fields that a plain network lacks
OF_THE_NETWORK = ("activation", "init", "width", "depth", "normalisation", "dropout")  # of Config
LOOKED_AT = 2000  # images that whitening and standardising are computed from


@dataclass(frozen=True)
class Network:
    """A network's settings; ``fit(configs, photographs, model=Network(...))`` trains it.

    kind         "plain": the course's small convolutional network; "residual": see ``make_resnet``
    width        channels after the first stage
    depth        convolutions in each residual block
    standardise  inputs to mean 0 and standard deviation 1, channel by channel
    whitening    the first layer set from the images, and fixed
    identity     convolutions begin by handing on what they get
    stride       of the first layer: 2, or 1, which sees more at four times the work
    averaging    decay of the moving average of the weights that answers in their place, or None
    frozen       all layers but the last stay as they begin

    Raises ValueError for nonsense, and for a setting that the kind of network would ignore.
    """

    kind: str = "residual"
    width: int = 32
    depth: int = 1
    standardise: bool = True
    whitening: bool = False
    identity: bool = False
    stride: int = 2
    averaging: float | None = None
    frozen: bool = False

    def __post_init__(self) -> None:
        allowed: dict[str, tuple[bool, str]] = {
            "kind": (self.kind in KINDS, f"one of {', '.join(KINDS)}"),
            "width": (_is_count(self.width), "a whole number of at least 1"),
            "depth": (_is_count(self.depth), "a whole number of at least 1"),
            "stride": (self.stride in (1, 2), "1 or 2"),
            "averaging": (
                self.averaging is None or 0 <= self.averaging < 1,
                "a number of at least 0 and below 1, or None",
            ),
        }
        for name in ("standardise", "whitening", "identity", "frozen"):
            allowed[name] = isinstance(getattr(self, name), bool), "True or False"
        defaults = {field.name: field.default for field in fields(self)}
        for name in RESIDUAL_ALONE if self.kind == "plain" else ():
            fits = getattr(self, name) == defaults[name]
            allowed[name] = fits, f"{defaults[name]!r} with kind 'plain', which does not use it"
        for name, (fits, takes) in allowed.items():
            if not fits:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, takes {takes}")

    def __call__(self, config: Config, dataset: Dataset) -> nn.Module:
        """The untrained network, drawn from torch's global generator, which ``fit`` has seeded.

        Raises ValueError for a Config with settings of a network, which would not act here.
        """
        refuse_ignored(config)
        classes = dataset.classes
        if self.kind == "plain":
            network = make_cnn(channels=dataset.image_shape[0], width=self.width, outputs=classes)
        else:
            network = make_resnet(
                self.width, self.depth, classes, self.whitening, self.stride, self.identity
            )
        inputs = Standardise(dataset) if self.standardise else nn.Identity()
        inputs, network = inputs.to(dataset.device), network.to(dataset.device)
        if self.whitening:
            whiten(network[0], inputs(dataset.train.images[:LOOKED_AT]))
        if self.frozen:
            network.requires_grad_(False)
            [layer for layer in network if isinstance(layer, nn.Linear)][-1].requires_grad_(True)
        model = ChannelsLast(inputs, network)
        return model if self.averaging is None else Averaged(model, self.averaging)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def refuse_ignored(config: Config) -> None:
    """Raise ValueError where a Config sets what ``Network`` decides."""
    for name in OF_THE_NETWORK:
        default = Config.__dataclass_fields__[name].default
        if getattr(config, name) != default:
            raise ValueError(
                f"{name}: got {getattr(config, name)!r} in the Config, takes {default!r} there: "
                "what the network is like, Network(...) says"
            )


class Standardise(nn.Module):
    """(x - mean) / standard deviation, for each channel, both from the training images."""

    def __init__(self, dataset: Dataset):
        super().__init__()
        images = dataset.train.images[:LOOKED_AT]
        self.register_buffer("mean", images.mean((0, 2, 3)).view(1, -1, 1, 1))
        self.register_buffer("deviation", images.std((0, 2, 3)).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


class ChannelsLast(nn.Sequential):
    """A network whose tensors lie in memory as a processor's convolutions prefer: channels last."""

    def __init__(self, *layers: nn.Module):
        super().__init__(*layers)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous(memory_format=torch.channels_last))


class Averaged(nn.Module):
    """Trains a network, and answers with the moving average of its weights.

    The average takes in the weights at the beginning of each update, so the last one is left out.
    """

    def __init__(self, network: nn.Module, decay: float):
        super().__init__()
        self.network = network
        moving = get_ema_multi_avg_fn(decay)
        self.average = AveragedModel(network, multi_avg_fn=moving, use_buffers=True)
        self.average.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.average(x)
        self.average.update_parameters(self.network)
        return self.network(x)


class ConvNorm(nn.Sequential):
    """3x3 convolution, batch normalisation, ReLU; ``pool`` halves the image in between, so that
    less is normalised."""

    def __init__(self, inputs: int, outputs: int, pool: bool = False, identity: bool = False):
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
        layers += [nn.MaxPool2d(2)] if pool else []
        super().__init__(*layers, nn.BatchNorm2d(outputs), nn.ReLU())
        if identity:
            # The first filters hand on their channel as it is (Jordan, 2024): the signal passes
            # before anything was learnt.
            nn.init.dirac_(self[0].weight[:inputs])


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, *body: nn.Module):
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Scaled(nn.Module):
    """Multiply by a constant: logits of unit size at the start (Page, 2018)."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def make_resnet(
    width: int = 32,
    depth: int = 1,
    outputs: int = 10,
    whitening: bool = True,
    stride: int = 2,
    identity: bool = True,
) -> nn.Sequential:
    """A small residual network: images [n, 3, 32, 32] -> logits [n, outputs].

    The first layer looks at 4x4 patches two pixels apart, or with ``stride`` 1 at every 2x2 patch.
    Three stages follow, of ``width``, 3 and 6 times as many channels: each a convolution, pooled
    to half the size, and a residual block of ``depth`` convolutions. With ``whitening`` the first
    layer is fixed, and ``whiten`` sets it.
    """
    patches = 2 * 12
    first = nn.Conv2d(3, patches, 2 * stride, stride, padding=stride - 1, bias=False)
    first.weight.requires_grad_(not whitening)
    layers: list[nn.Module] = [first]
    layers += [nn.ReLU()] if whitening else [nn.BatchNorm2d(patches), nn.ReLU()]
    channels = patches
    for outgoing in (width, 3 * width, 6 * width):
        block = [ConvNorm(outgoing, outgoing, identity=identity) for _ in range(depth)]
        layers += [ConvNorm(channels, outgoing, True, identity), Residual(*block)]
        channels = outgoing
    layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(channels, outputs, bias=False)]
    return nn.Sequential(*layers, Scaled(0.125))


@torch.no_grad()
def whiten(first: nn.Conv2d, images: Tensor) -> None:
    """Set a first layer to the principal directions of the images' patches, each with its negative.

    At unit variance, after hlb-CIFAR10: no training is spent on finding out that neighbouring
    pixels are alike.
    """
    size, count = first.kernel_size[0], first.out_channels // 2
    patches = functional.unfold(images.float(), size, stride=size).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    directions = (vectors / (values + 1e-2).sqrt()).T.flip(0)[:count]
    directions = directions.view(count, *first.weight.shape[1:])
    first.weight.copy_(torch.cat([directions, -directions]))
