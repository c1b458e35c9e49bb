"""Notebook 09: augmentations, networks and recipes for photographs, and the loop that trains one of them.

What the recipes are made of comes from the public speed records: the ResNet-9 of DAWNBench (Page, 2018), hlb-CIFAR10
(tysam-code, 2023) and airbench (Jordan, 2024).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parameters_to_vector
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..classroom.lab import Lab, Values, choice, slider
from ..engine.augment import random_flip
from ..engine.config import Config
from ..engine.data import Dataset, Split
from ..engine.history import History
from ..engine.networks import make_cnn
from ..engine.optimizers import make_optimizer
from ..engine.schedules import make_schedule
from ..plots import GREY, Figure
from ..stacking.stack import Weights

MOST_EPOCHS = 10

# ---- augmentation -------------------------------------------------------------------------------------------------------


def crop(images: Tensor, generator: torch.Generator, padding: int = 2) -> Tensor:
    """Move each image by its own random number of pixels, up to ``padding`` each way; what comes in is mirrored."""
    n, channels, size, _ = images.shape
    shift = (
        torch.randint(2 * padding + 1, (2, n, 1), generator=generator, device=images.device)
        - padding
    )
    taken = (torch.arange(size, device=images.device) + shift).abs()
    rows, columns = torch.where(taken < size, taken, 2 * (size - 1) - taken)
    # One gather over all pixels: padding first and cutting windows out is ten times slower on a CPU.
    pixels = (rows[:, :, None] * size + columns[:, None, :]).view(n, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, pixels).view(images.shape)


def cutout(images: Tensor, generator: torch.Generator, size: int = 8) -> Tensor:
    """Put a grey square of ``size`` pixels over each image, at its own random place (DeVries and Taylor, 2017).

    Grey is the mean of the batch.
    """
    n, _, height, width = images.shape
    place = torch.rand(2, n, generator=generator, device=images.device)
    top, left = (place[0] * (height - size + 1)).long(), (place[1] * (width - size + 1)).long()
    y, x = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    rows = (y >= top[:, None]) & (y < top[:, None] + size)
    columns = (x >= left[:, None]) & (x < left[:, None] + size)
    covered = (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)
    return torch.where(covered, images.mean((0, 2, 3), keepdim=True), images)


def crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """A random crop, mirrored with probability one half."""
    return random_flip(crop(images, generator), generator)


def crop_flip_cutout(images: Tensor, generator: torch.Generator) -> Tensor:
    """``crop_flip``, then ``cutout``."""
    return cutout(crop_flip(images, generator), generator)


AUGMENTATIONS: dict[str, Callable | None] = {
    "none": None,
    "flip": random_flip,
    "crop": crop,
    "cutout": cutout,
    "crop and flip": crop_flip,
    "crop, flip and cutout": crop_flip_cutout,
}

# ---- networks -----------------------------------------------------------------------------------------------------------


class ConvNorm(nn.Sequential):
    """3x3 convolution, batch normalisation, ReLU; ``pool`` halves the image in between, so that less is normalised."""

    def __init__(self, inputs: int, outputs: int, pool: bool = False, dirac: bool = True):
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            *([nn.MaxPool2d(2)] if pool else []),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )
        if dirac:
            # The first filters hand their channel on as it is (Jordan, 2024): the signal passes before anything was learnt.
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
    dirac: bool = True,
) -> nn.Sequential:
    """A small residual network for 3x32x32: a first layer of patches, then three stages of ``width``, 3x and 6x channels.

    The first layer looks at 4x4 patches two pixels apart, or with ``stride`` 1 at every 2x2 patch: finer, and four times the
    work. Each stage is a convolution, pooled to half the size, and a residual block of ``depth`` convolutions. With
    ``whitening`` the first layer is fixed; ``whiten`` sets it. With ``dirac`` a convolution starts by handing its input on.
    """
    patches = 2 * 12
    first = nn.Conv2d(3, patches, 2 * stride, stride, padding=stride - 1, bias=False)
    first.weight.requires_grad_(not whitening)
    layers: list[nn.Module] = (
        [first, nn.ReLU()] if whitening else [first, nn.BatchNorm2d(patches), nn.ReLU()]
    )
    channels = patches
    for outgoing in (width, 3 * width, 6 * width):
        layers += [
            ConvNorm(channels, outgoing, True, dirac),
            Residual(*(ConvNorm(outgoing, outgoing, False, dirac) for _ in range(depth))),
        ]
        channels = outgoing
    return nn.Sequential(
        *layers,
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, outputs, bias=False),
        Scaled(0.125),
    )


def whiten(model: nn.Sequential, images: Tensor) -> None:
    """Set the first layer to the principal directions of the images' patches, each and its negative, at unit variance.

    After hlb-CIFAR10: no training is spent on finding out that neighbouring pixels are alike.
    """
    first = model[0]
    size = first.kernel_size[0]
    patches = (
        functional.unfold(images[:2000].float(), size, stride=size).transpose(1, 2).flatten(0, 1)
    )
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    count = first.out_channels // 2
    directions = (
        (vectors / (values + 1e-2).sqrt()).T.flip(0)[:count].view(count, *first.weight.shape[1:])
    )
    first.weight.data.copy_(torch.cat([directions, -directions]))


# ---- recipes ------------------------------------------------------------------------------------------------------------


# How a network may be asked at the end: {number of views: (shift, mirrored, weight) of each}. Six as in airbench.
VIEWS = {
    1: [(0, False, 1.0)],
    2: [(0, mirrored, 0.5) for mirrored in (False, True)],
    6: [
        (shift, mirrored, 0.125 if shift else 0.25)
        for shift in (0, -1, 1)
        for mirrored in (False, True)
    ],
}


@dataclass(frozen=True)
class Recipe(Config):
    """A ``Config`` with what photographs need besides. ``width`` and ``depth`` are those of the network."""

    network: str = "residual"  # or "plain": the course's small CNN
    standardise: bool = True  # inputs to mean 0 and deviation 1, channel by channel
    whitening: bool = False  # the first layer set from the images, and fixed
    dirac: bool = False  # the residual network's convolutions start by handing on what they get
    stride: int = 2  # of the residual network's first layer; 1 sees more, at four times the work
    averaging: float | None = None  # decay of the moving average of the weights that is evaluated
    test_views: int = 1  # after the last epoch: 2 adds the mirror image, 6 shifts both as well
    precision: str = "fastest"  # "bfloat16" where the processor computes in it, or "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._choice("network", ("plain", "residual"))
        self._choice("precision", ("fastest", "float32", "bfloat16"))
        if self.stride not in (1, 2):
            self._refuse("stride", "1 or 2")
        if self.test_views not in VIEWS:
            self._refuse("test_views", "1, 2 or 6")
        self._number("averaging", least=0, below=1, optional=True)
        if self.whitening and self.network != "residual":
            self._refuse(
                "whitening", "False with network 'plain', whose first layer is too small for it"
            )


BASELINE = Recipe(
    network="plain", width=8, optimizer="sgd", learning_rate=0.02, batch_size=256, standardise=False
)
FAST = Recipe(
    optimizer="sgd",
    momentum=0.9,
    nesterov=True,
    learning_rate=0.8,
    batch_size=512,
    weight_decay=5e-4,
    schedule="one_cycle",
    warmup=0.2,
    augment=crop_flip,
    label_smoothing=0.2,
    width=32,
    epochs=MOST_EPOCHS,
    whitening=True,
    dirac=True,
    averaging=0.95,
    test_views=6,
)
STRONG = FAST.replace(width=64, depth=2, stride=1)
RECIPES = {"baseline": BASELINE, "fast": FAST, "strong": STRONG}


def sized(recipe: Recipe, dataset: Dataset, epochs: int = MOST_EPOCHS) -> Recipe:
    """The recipe itself for CIFAR-10; for the rehearsal on digits a narrower network, a smaller batch, four epochs."""
    if not is_rehearsal(dataset):
        return recipe.replace(epochs=min(epochs, recipe.epochs))
    return recipe.replace(
        epochs=4,
        batch_size=50,
        width=8 if recipe.network == "plain" else 12,
        depth=1,
        averaging=recipe.averaging and 0.9,
    )


LEVERS: dict[str, dict] = {
    "standardised inputs": {"standardise": True},
    "momentum": {"momentum": 0.9, "nesterov": True},
    "residual network": {"network": "residual", "width": 32},
    "one-cycle, higher peak": {"schedule": "one_cycle", "learning_rate": 0.4, "warmup": 0.2},
    "larger batch, peak in proportion": {"batch_size": 512, "learning_rate": 0.8},
    "weight decay": {"weight_decay": 5e-4},
    "whitening first layer": {"whitening": True},
    "identity at the start": {"dirac": True},
    "crop and flip": {"augment": crop_flip},
    "label smoothing": {"label_smoothing": 0.2},
    "averaged weights": {"averaging": 0.95},
    "six views at test": {"test_views": 6},
}


def best_precision(device: torch.device | str = "cpu") -> torch.dtype:
    """bfloat16 where the device has instructions for it, float32 where it would only be imitated, slowly."""
    kind = torch.device(device).type
    if kind == "cuda":
        return (
            torch.bfloat16
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float32
        )
    capable = kind == "cpu" and any(
        torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16")
    )
    return torch.bfloat16 if capable else torch.float32


def build(recipe: Recipe, dataset: Dataset) -> nn.Sequential:
    """The untrained network of a recipe, its seed set."""
    torch.manual_seed(recipe.seed)
    if recipe.network == "plain":
        return make_cnn(channels=3, width=recipe.width, init=recipe.init)
    return make_resnet(
        recipe.width,
        recipe.depth,
        whitening=recipe.whitening,
        stride=recipe.stride,
        dirac=recipe.dirac,
    )


class Standardise(nn.Module):
    """(x - mean) / deviation, for each channel."""

    def __init__(self, images: Tensor):
        super().__init__()
        self.register_buffer("mean", images.mean((0, 2, 3)).view(1, -1, 1, 1))
        self.register_buffer("deviation", images.std((0, 2, 3)).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


def train_recipe(
    recipe: Recipe,
    dataset: Dataset,
    *,
    on_epoch: Callable[[History, int], object] | None = None,
    checkpoint: Path | None = None,
) -> History:
    """Train one network; the same code on a processor and on CUDA.

    Each epoch ends with an evaluation on the validation images and on the first 1,000 training images. ``on_epoch`` is
    called with the history so far and the number of epochs done; ``checkpoint`` is a file that a run is continued from
    if it was interrupted. ``History.seconds`` counts everything: set-up, training, evaluation.
    """
    begun = time.perf_counter()
    device = dataset.train.images.device
    precision = precision_of(recipe, dataset)
    network = build(recipe, dataset)
    inputs = Standardise(dataset.train.images[:5000]) if recipe.standardise else nn.Identity()
    inputs, network = inputs.to(device), network.to(device)
    if recipe.whitening:
        whiten(network, inputs(dataset.train.images[:2000]))
    model = nn.Sequential(inputs, network).to(memory_format=torch.channels_last)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    steps_each = max(1, len(dataset.train) // recipe.batch_size)
    optimizer = make_optimizer(recipe, parameters)
    scheduler = make_schedule(recipe.schedule, optimizer, steps_each * recipe.epochs, recipe.warmup)
    averaged = (
        AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.averaging), use_buffers=True)
        if recipe.averaging
        else None
    )
    history = History.empty([recipe], steps_each * recipe.epochs, len(dataset.val))
    state = (
        {"model": model, "optimizer": optimizer}
        | ({"scheduler": scheduler} if scheduler else {})
        | ({"averaged": averaged} if averaged else {})
    )
    done, before = _resume(checkpoint, state, history)
    for epoch in range(done, recipe.epochs):
        _train_epoch(
            recipe, dataset, model, averaged, optimizer, scheduler, precision, history, epoch
        )
        judged = averaged or model
        views = recipe.test_views if epoch == recipe.epochs - 1 else 1
        for part, split in (("train", dataset.train.first(1000)), ("val", dataset.val)):
            loss, right = evaluate(judged, split, precision, views)
            (
                getattr(history, f"{part}_loss")[0, epoch],
                getattr(history, f"{part}_accuracy")[0, epoch],
            ) = loss, right.mean()
        history.diverged[0] = not np.isfinite(
            history.step_loss[0, : (epoch + 1) * steps_each]
        ).all()
        history.kept_epoch[0], history.val_correct[0] = -1 if history.diverged[0] else epoch, right
        history.seconds[0] = before + time.perf_counter() - begun
        _save(checkpoint, state, history, epoch + 1)
        if on_epoch is not None:
            on_epoch(history, epoch + 1)
        if history.diverged[0]:
            break
    final = (averaged.module if averaged else model).eval()
    row = parameters_to_vector(
        [p.contiguous() for p in final.parameters() if p.requires_grad]
    ).detach()
    rest = [p for p in final.parameters() if not p.requires_grad] + list(final.buffers())
    history.weights[0] = Weights(final, {})
    return history


def precision_of(recipe: Recipe, dataset: Dataset) -> torch.dtype:
    """What the recipe computes in, where the dataset lies."""
    return (
        best_precision(dataset.train.images.device)
        if recipe.precision == "fastest"
        else getattr(torch, recipe.precision)
    )


def _train_epoch(
    recipe: Recipe,
    dataset: Dataset,
    model: nn.Module,
    averaged: AveragedModel | None,
    optimizer: torch.optim.Optimizer,
    scheduler: object,
    precision: torch.dtype,
    history: History,
    epoch: int,
) -> None:
    images, labels = dataset.train.images, dataset.train.labels
    # One generator for each epoch: a run that is continued sees the batches that it would have seen.
    generator = torch.Generator(images.device).manual_seed(1000 * recipe.seed + epoch)
    order = torch.randperm(len(labels), generator=generator, device=images.device)
    size = min(recipe.batch_size, len(labels))
    model.train()
    for number, chosen in enumerate(
        order[: len(labels) // size * size].split(size), start=epoch * (len(labels) // size)
    ):
        batch = images[chosen]
        if recipe.augment is not None:
            batch = recipe.augment(batch, generator)
        with torch.autocast(images.device.type, precision, enabled=precision != torch.float32):
            logits = model(batch.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(
            logits.float(), labels[chosen], label_smoothing=recipe.label_smoothing
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        history.learning_rate[0, number] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        if averaged is not None:
            averaged.update_parameters(model)
        history.step_loss[0, number] = loss.item()


def view(images: Tensor, shift: int, mirrored: bool) -> Tensor:
    """The images moved by ``shift`` pixels along the diagonal (-1, 0 or 1; the border is repeated), or mirrored, or both."""
    if shift:
        size, padded = images.shape[-1], functional.pad(images, (1, 1, 1, 1), mode="replicate")
        images = padded[..., 1 + shift : 1 + shift + size, 1 + shift : 1 + shift + size]
    return images.flip(-1) if mirrored else images


@torch.no_grad()
def evaluate(
    model: nn.Module, split: Split, precision: torch.dtype = torch.float32, views: int = 1
) -> tuple[float, np.ndarray]:
    """(mean loss, right [image] bool); the logits are averaged over so many views of each image, see ``VIEWS``."""
    model.eval()
    logits = []
    for images in split.images.split(250):
        with torch.autocast(images.device.type, precision, enabled=precision != torch.float32):
            answers = [
                weight
                * model(
                    view(images, shift, mirrored).contiguous(memory_format=torch.channels_last)
                ).float()
                for shift, mirrored, weight in VIEWS[views]
            ]
        logits.append(torch.stack(answers).sum(0))
    answers = torch.cat(logits)
    return (
        functional.cross_entropy(answers, split.labels).item(),
        (answers.argmax(1) == split.labels).cpu().numpy(),
    )


_KEPT = (
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "step_loss",
    "learning_rate",
    "kept_epoch",
    "diverged",
    "val_correct",
    "seconds",
)


def _save(path: Path | None, state: dict, history: History, done: int) -> None:
    if path is None:
        return
    arrays = {name: torch.from_numpy(getattr(history, name)) for name in _KEPT}
    unfinished = path.with_suffix(".unfinished")
    torch.save(
        {
            "done": done,
            "recipe": repr(history.configs[0]),
            "history": arrays,
            "state": {name: part.state_dict() for name, part in state.items()},
        },
        unfinished,
    )
    os.replace(unfinished, path)


def _resume(path: Path | None, state: dict, history: History) -> tuple[int, float]:
    """(epochs done, seconds spent) of a checkpoint, with everything set to where it was; (0, 0) where there is none."""
    if path is None or not path.is_file():
        return 0, 0.0
    saved = torch.load(path, weights_only=True)
    # A function's repr holds its address.
    if saved["recipe"].split(" at 0x")[0] != repr(history.configs[0]).split(" at 0x")[0]:
        raise ValueError(
            f"checkpoint: {path.name} is of another recipe; delete it, or name another file"
        )
    for name, part in state.items():
        part.load_state_dict(saved["state"][name])
    for name, values in saved["history"].items():
        getattr(history, name)[:] = values.numpy()
    return saved["done"], float(history.seconds[0])


# ---- pictures and the lab -----------------------------------------------------------------------------------------------

BANNER = (
    "REHEARSAL on digits in CIFAR's shape: no CIFAR-10 here. load_cifar10(download=True) gets it."
)


def is_rehearsal(dataset: Dataset) -> bool:
    """Whether this is the digits standing in for photographs."""
    return not dataset.name.startswith("CIFAR-10")


def mark(figure: Figure, dataset: Dataset) -> None:
    """Say at the head of a figure what it shows: the source of the images, or that this is a rehearsal."""
    shown = BANNER if is_rehearsal(dataset) else dataset.name
    figure.suptitle(shown, fontsize=8, color="black" if is_rehearsal(dataset) else GREY)


def augmentation_lab(dataset: Dataset, count: int = 12) -> Lab:
    """Look at what an augmentation does: crop, flip and cutout, each with its strength, on the same images.

    Above the images as they are, below one throw of the dice.
    """
    images = dataset.train.images[:count].cpu()

    def run(values: Values) -> Iterator[Tensor]:
        generator, changed = torch.Generator().manual_seed(values["throw"]), images
        if values["crop"]:
            changed = crop(changed, generator, values["crop"])
        if values["flip"] == "yes":
            changed = random_flip(changed, generator)
        if values["cutout"]:
            changed = cutout(changed, generator, values["cutout"])
        yield changed

    def draw(figure: Figure, axes: np.ndarray, changed: Tensor, _: object) -> None:
        titles = "as they are", "as the network sees them"
        for ax, pictures, title in zip(axes[:, 0], (images, changed), titles, strict=True):
            ax.imshow(
                torch.cat(list(pictures.permute(0, 2, 3, 1)), 1).numpy(), interpolation="nearest"
            )
            ax.set_title(title)
            ax.set_axis_off()
        if is_rehearsal(dataset):
            figure.text(0.01, 0.01, "rehearsal: digits, not CIFAR-10", fontsize=8, color="black")

    def describe(changed: Tensor) -> str:
        return f"{(changed != images).float().mean():.0%} of all pixels differ from the original."

    controls = {
        "crop": slider("crop", [0, 1, 2, 4, 6, 8, 12], 2),
        "flip": choice("flip", ["yes", "no"], "yes"),
        "cutout": slider("cutout", [0, 4, 8, 12, 16, 24, 32], 8),
        "throw": slider("throw", list(range(10)), 0),
    }
    return Lab(controls, run, draw, describe, columns=1, rows=2, size=(8.0, 3.0))
