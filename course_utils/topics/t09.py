"""Notebook 09: recipes for photographs, the loop that trains one of them, the examiner, the leaderboard.

What the recipes are made of comes from the public speed records: the ResNet-9 of DAWNBench (Page, 2018), hlb-CIFAR10
(tysam-code, 2023) and airbench (Jordan, 2024).
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parameters_to_vector
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..augment import random_flip
from ..checks import Result, check
from ..config import Config
from ..data import DATA_FOLDER, Dataset, Split
from ..evidence import Estimate, mean_interval
from ..history import History, TrainedWeights
from ..models import make_cnn
from ..schedules import make_schedule
from ..training import make_optimizer

MOST_EPOCHS = 10
LEADERBOARD = DATA_FOLDER / "cifar10_leaderboard.json"
STORED = DATA_FOLDER / "cifar10_results.json"

# ---- augmentation -------------------------------------------------------------------------------------------------------


def crop(images: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """Pad each image by mirroring and cut its old size out at its own random place."""
    n, size = len(images), images.shape[-1]
    # Mirrored by index: functional.pad's "reflect" is several times slower on a CPU.
    mirrored = torch.arange(-padding, size + padding, device=images.device).abs()
    mirrored = torch.where(mirrored < size, mirrored, 2 * (size - 1) - mirrored)
    padded = images.index_select(2, mirrored).index_select(3, mirrored)
    windows = padded.unfold(2, size, 1).unfold(3, size, 1)
    y, x = torch.randint(2 * padding + 1, (2, n), generator=generator, device=images.device)
    return windows[torch.arange(n, device=images.device), :, y, x]


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
    "none": None, "flip": random_flip, "crop": crop, "cutout": cutout, "crop and flip": crop_flip,
    "crop, flip and cutout": crop_flip_cutout,
}

# ---- networks -----------------------------------------------------------------------------------------------------------


class ConvNorm(nn.Sequential):
    """3x3 convolution, batch normalisation, activation; ``stride=2`` halves the image."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


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


def make_resnet(width: int = 32, depth: int = 1, outputs: int = 10, whitening: bool = True) -> nn.Sequential:
    """A small residual network for 3x32x32: 4x4 patches at stride 2, then three stages of ``width``, 2x and 4x channels.

    Each stage is a convolution and a residual block of ``depth`` convolutions; the later two halve the image first.
    With ``whitening`` the first layer is fixed; ``whiten`` sets it.
    """
    patches = 2 * 12
    first = nn.Conv2d(3, patches, 4, stride=2, padding=1, bias=False)
    first.weight.requires_grad_(not whitening)
    layers: list[nn.Module] = [first] if whitening else [first, nn.BatchNorm2d(patches), nn.ReLU()]
    channels = patches
    for stage, outgoing in enumerate((width, 2 * width, 4 * width)):
        layers += [ConvNorm(channels, outgoing, stride=1 if stage == 0 else 2),
                   Residual(*(ConvNorm(outgoing, outgoing) for _ in range(depth)))]
        channels = outgoing
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(channels, outputs, bias=False),
                         Scaled(0.125))


def whiten(model: nn.Sequential, images: Tensor) -> None:
    """Set the first layer to the principal directions of the images' patches, each and its negative, at unit variance.

    After hlb-CIFAR10: no training is spent on finding out that neighbouring pixels are alike.
    """
    first = model[0]
    size = first.kernel_size[0]
    patches = functional.unfold(images[:2000].float(), size, stride=size).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    count = first.out_channels // 2
    directions = (vectors / (values + 1e-2).sqrt()).T.flip(0)[:count].view(count, *first.weight.shape[1:])
    first.weight.data.copy_(torch.cat([directions, -directions]))


# ---- recipes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe(Config):
    """A ``Config`` with what photographs need besides. ``width`` and ``depth`` are those of the network."""

    network: str = "residual"              # or "plain": the course's small CNN
    standardise: bool = True               # inputs to mean 0 and deviation 1, channel by channel
    whitening: bool = False                # the first layer set from the images, and fixed
    averaging: float | None = None         # decay of the moving average of the weights that is evaluated
    test_flip: bool = False                # evaluate each image and its mirror image
    precision: str = "fastest"             # "bfloat16" where the processor computes in it, or "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._choice("network", ("plain", "residual"))
        self._choice("precision", ("fastest", "float32", "bfloat16"))
        self._number("averaging", least=0, below=1, optional=True)
        if self.whitening and self.network != "residual":
            self._refuse("whitening", "False with network 'plain', whose first layer is too small for it")


BASELINE = Recipe(network="plain", width=8, optimizer="sgd", learning_rate=0.02, batch_size=256, standardise=False)
FAST = Recipe(optimizer="sgd", momentum=0.9, nesterov=True, learning_rate=0.2, batch_size=256, weight_decay=5e-4,
              schedule="one_cycle", warmup=0.2, augment=crop_flip, label_smoothing=0.1, width=32, depth=1, whitening=True,
              averaging=0.98, test_flip=True)
STRONG = FAST.replace(width=80, depth=2, augment=crop_flip_cutout)
RECIPES = {"baseline": BASELINE, "fast": FAST, "strong": STRONG}


def best_precision(device: torch.device | str = "cpu") -> torch.dtype:
    """bfloat16 where the device has instructions for it, float32 where it would only be imitated, slowly."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    capable = kind == "cpu" and any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return torch.bfloat16 if capable else torch.float32


def build(recipe: Recipe, dataset: Dataset) -> nn.Sequential:
    """The untrained network of a recipe, its seed set."""
    torch.manual_seed(recipe.seed)
    if recipe.network == "plain":
        return make_cnn(channels=3, width=recipe.width, init=recipe.init)
    return make_resnet(recipe.width, recipe.depth, whitening=recipe.whitening)


class Standardise(nn.Module):
    """(x - mean) / deviation, for each channel."""

    def __init__(self, images: Tensor):
        super().__init__()
        self.register_buffer("mean", images.mean((0, 2, 3)).view(1, -1, 1, 1))
        self.register_buffer("deviation", images.std((0, 2, 3)).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


def train_recipe(recipe: Recipe, dataset: Dataset, *, on_epoch: Callable[[History, int], object] | None = None,
                 checkpoint: Path | None = None) -> History:
    """Train one network; the same code on a processor and on CUDA.

    Each epoch ends with an evaluation on the validation images and on the first 1,000 training images. ``on_epoch`` is
    called with the history so far and the number of epochs done; ``checkpoint`` is a file that a run is continued from
    if it was interrupted. ``History.seconds`` counts everything: set-up, training, evaluation.
    """
    begun = time.perf_counter()
    device = dataset.train.images.device
    precision = best_precision(device) if recipe.precision == "fastest" else getattr(torch, recipe.precision)
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
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.averaging), use_buffers=True) \
        if recipe.averaging else None
    history = History.empty([recipe], steps_each * recipe.epochs, len(dataset.val))
    state = {"model": model, "optimizer": optimizer} | ({"scheduler": scheduler} if scheduler else {}) \
        | ({"averaged": averaged} if averaged else {})
    done, before = _resume(checkpoint, state, history)
    for epoch in range(done, recipe.epochs):
        _train_epoch(recipe, dataset, model, averaged, optimizer, scheduler, precision, history, epoch)
        judged = averaged or model
        for part, split in (("train", dataset.train.first(1000)), ("val", dataset.val)):
            loss, right = evaluate(judged, split, precision, recipe.test_flip)
            getattr(history, f"{part}_loss")[0, epoch], getattr(history, f"{part}_accuracy")[0, epoch] = loss, right.mean()
        history.diverged[0] = not np.isfinite(history.step_loss[0, : (epoch + 1) * steps_each]).all()
        history.kept_epoch[0], history.val_correct[0] = -1 if history.diverged[0] else epoch, right
        history.seconds[0] = before + time.perf_counter() - begun
        _save(checkpoint, state, history, epoch + 1)
        if on_epoch is not None:
            on_epoch(history, epoch + 1)
        if history.diverged[0]:
            break
    final = (averaged.module if averaged else model).eval()
    row = parameters_to_vector([p.contiguous() for p in final.parameters() if p.requires_grad]).detach()
    rest = [p for p in final.parameters() if not p.requires_grad] + list(final.buffers())
    history.weights[0] = TrainedWeights(final, row, [value.detach() for value in rest])
    return history


def _train_epoch(recipe: Recipe, dataset: Dataset, model: nn.Module, averaged: AveragedModel | None,
                 optimizer: torch.optim.Optimizer, scheduler: object, precision: torch.dtype, history: History,
                 epoch: int) -> None:
    images, labels = dataset.train.images, dataset.train.labels
    # One generator for each epoch: a run that is continued sees the batches that it would have seen.
    generator = torch.Generator(images.device).manual_seed(1000 * recipe.seed + epoch)
    order = torch.randperm(len(labels), generator=generator, device=images.device)
    size = min(recipe.batch_size, len(labels))
    model.train()
    for number, chosen in enumerate(order[: len(labels) // size * size].split(size), start=epoch * (len(labels) // size)):
        batch = images[chosen]
        if recipe.augment is not None:
            batch = recipe.augment(batch, generator)
        with torch.autocast(images.device.type, precision, enabled=precision != torch.float32):
            logits = model(batch.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(logits.float(), labels[chosen], label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        history.learning_rate[0, number] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        if averaged is not None:
            averaged.update_parameters(model)
        history.step_loss[0, number] = loss.item()


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, precision: torch.dtype = torch.float32,
             flip: bool = False) -> tuple[float, np.ndarray]:
    """(mean loss, right [image] bool); with ``flip`` the logits are averaged over each image and its mirror image."""
    model.eval()
    logits = []
    for images in split.images.split(500):
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, precision, enabled=precision != torch.float32):
            logits.append((model(images) + model(images.flip(-1))).float() / 2 if flip else model(images).float())
    answers = torch.cat(logits)
    return (functional.cross_entropy(answers, split.labels).item(), (answers.argmax(1) == split.labels).cpu().numpy())


_KEPT = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "step_loss", "learning_rate", "kept_epoch", "diverged",
         "val_correct", "seconds")


def _save(path: Path | None, state: dict, history: History, done: int) -> None:
    if path is None:
        return
    arrays = {name: torch.from_numpy(getattr(history, name)) for name in _KEPT}
    unfinished = path.with_suffix(".unfinished")
    torch.save({"done": done, "recipe": repr(history.configs[0]), "history": arrays,
                "state": {name: part.state_dict() for name, part in state.items()}}, unfinished)
    os.replace(unfinished, path)


def _resume(path: Path | None, state: dict, history: History) -> tuple[int, float]:
    """(epochs done, seconds spent) of a checkpoint, with everything set to where it was; (0, 0) where there is none."""
    if path is None or not path.is_file():
        return 0, 0.0
    saved = torch.load(path, weights_only=True)
    # A function's repr holds its address.
    if saved["recipe"].split(" at 0x")[0] != repr(history.configs[0]).split(" at 0x")[0]:
        raise ValueError(f"checkpoint: {path.name} is of another recipe; delete it, or name another file")
    for name, part in state.items():
        part.load_state_dict(saved["state"][name])
    for name, values in saved["history"].items():
        getattr(history, name)[:] = values.numpy()
    return saved["done"], float(history.seconds[0])


# ---- stored results -----------------------------------------------------------------------------------------------------


def store_result(name: str, runs: list[History], dataset: Dataset, path: Path = STORED, note: str = "") -> None:
    """Merge the runs of one recipe into the file of measured results, with what they were measured on."""
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    recipe = {key: getattr(value, "__name__", value) for key, value in vars(runs[0].configs[0]).items() if key != "seed"}
    results[name] = {
        "recipe": recipe, "data": dataset.name, "training_images": len(dataset.train), "validation_images": len(dataset.val),
        "seeds": [run.configs[0].seed for run in runs], "epochs": [int(run.kept_epoch[0]) + 1 for run in runs],
        "val_accuracy": [round(float(run.final()[0]), 4) for run in runs],
        "curves": [[round(float(value), 4) for value in run.val_accuracy[0]] for run in runs],
        "train_accuracy": [round(float(run.final("train_accuracy")[0]), 4) for run in runs],
        "seconds": [round(float(run.seconds[0]), 1) for run in runs],
        "parameters": sum(p.numel() for p in runs[0].weights[0].template.parameters()),
        "processor": processor(), "threads": torch.get_num_threads(), "torch": torch.__version__,
        "precision": str(best_precision(dataset.train.images.device)).removeprefix("torch."),
        "measured": f"{datetime.now(UTC):%Y-%m-%d}", "note": note,
    }
    _write_json(path, results)


def processor() -> str:
    """The processor's own name where the system tells it."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] \
        if info.is_file() else []
    return names[0] if names else platform.processor() or platform.machine()


def _write_json(path: Path, content: object) -> None:
    """Written under another name and then renamed: a reader sees the old file or the new one."""
    handle, unfinished = tempfile.mkstemp(suffix=".json", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(content, indent=1) + "\n")
        os.replace(unfinished, path)
    finally:
        Path(unfinished).unlink(missing_ok=True)
