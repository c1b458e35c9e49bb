"""What lesson 05 measures beside the training: shaking, seconds, bytes, angles, and a law."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...engine.config import Config
from ...engine.data import Dataset, Split
from ...engine.history import History
from ...engine.training import train
from ...evidence import accuracy
from ...protocol import Trial


def fewer_to_look_at(dataset: Dataset, count: int) -> Dataset:
    """The same training images, but only the first ``count`` of those that a run is watched by.

    For races that look often: the looks would cost more than the training.
    """
    tuning = dataset.tuning.first(count) if dataset.tuning is not None else None
    return replace(dataset, val=dataset.val.first(count), tuning=tuning)


# Shaking ------------------------------------------------------------------------------------------


def trace(config: Config, dataset: Dataset, updates: int) -> tuple[np.ndarray, np.ndarray]:
    """(each batch's loss, the loss on all validation images), both [update, seed], for eight seeds.

    The first is what a log shows; the second is taken on the same images after every update.
    """
    fixed = []
    for run in train(config.seeds(8), dataset, keep_models=False):
        fixed.append(run.evaluate(dataset.val)[0].mean(1)[np.argsort(run.indices)])
        if run.step == updates:
            break
    return run.history.step_loss[:, :updates].T, np.array(fixed)


def shake(losses: np.ndarray) -> np.ndarray:
    """[seed]: how much the change from one loss to the next differs from the change before it, over
    the second half of losses [update, seed]. Steady descent is no shaking; independent noise of
    standard deviation s gives s."""
    half = losses[len(losses) // 2 :]
    return np.diff(half, n=2, axis=0).std(0) / np.sqrt(6)


# The machine --------------------------------------------------------------------------------------


def seconds_per_update(
    model: nn.Module, data: Split, batch_size: int, rounds: int = 500, least: float = 0.001
) -> float:
    """Seconds that one update by plain SGD takes on this machine: the quickest of some rounds, each
    the mean over at least ``least`` seconds. What else the machine does can only slow a round."""
    model = model.to(data.images.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images, labels = data.images[:batch_size], data.labels[:batch_size]
    quickest = np.inf
    for _ in range(rounds):
        updates, start = 0, time.perf_counter()
        while time.perf_counter() - start < least or not updates:
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            if images.is_cuda:
                torch.cuda.synchronize()
            updates += 1
        quickest = min(quickest, (time.perf_counter() - start) / updates)
    return quickest


def activation_bytes(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    """Bytes that autograd keeps for the backward pass of one batch, weights not counted.

    PyTorch lets us listen in while it puts tensors aside: ``saved_tensors_hooks``.
    """
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()  # what two layers share counts once
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        # The loss must stay alive until the bytes are counted.
        loss = functional.cross_entropy(model(images), labels)
    total = sum(kept.values())
    del loss
    return total


def training_bytes(model: nn.Module, data: Split, batch_size: int) -> tuple[int, int]:
    """(weights, their gradients and AdamW's two averages; activations of one batch), in bytes."""
    own = sum(each.numel() * each.element_size() for each in model.parameters())
    # A copy: a slice would share the storage of the whole split.
    part = data.images[:batch_size].clone(), data.labels[:batch_size].clone()
    return 4 * own, activation_bytes(model, *part)


# Noise --------------------------------------------------------------------------------------------


def angles(gradients: Tensor, sizes: Sequence[int], seed: int = 0, draws: int = 8) -> np.ndarray:
    """[size]: mean angle in degrees between the gradients of random batches and that of all images,
    from the gradients [image, parameter] of single images."""
    generator = torch.Generator().manual_seed(seed)
    full, measured = gradients.mean(0), []
    for size in sizes:
        order = [torch.randperm(len(gradients), generator=generator)[:size] for _ in range(draws)]
        batches = torch.stack([gradients[chosen.to(gradients.device)].mean(0) for chosen in order])
        cosine = functional.cosine_similarity(batches, full).clamp(-1, 1)
        measured.append(cosine.acos().rad2deg().mean().item())
    return np.array(measured)


def fit_law(sizes: Sequence[int], updates: np.ndarray) -> tuple[float, float]:
    """(fewest updates, critical batch size) of updates = fewest (1 + critical / size), by least
    squares on the log axis (McCandlish et al., 2018). ``updates`` [size]."""
    candidates = np.logspace(-1, 4, 1001)
    rest = np.log(updates)[:, None] - np.log1p(candidates / np.asarray(sizes, float)[:, None])
    best = rest.var(0).argmin()
    return float(np.exp(rest[:, best].mean())), float(candidates[best])


# Learning rates -----------------------------------------------------------------------------------


def first_rate(history: History, level: float) -> np.ndarray:
    """[seed]: the smallest learning rate with which training reached an accuracy.

    Between two rates the accuracy is taken to be straight over the logarithm of the rate; NaN where
    the smallest rate that was tried suffices, or none does. A run that diverged reached nothing.
    """
    needed = []
    for runs in history.by("seed").values():
        rates = np.log([config.learning_rate for config in runs.configs])
        reached = runs.val_correct.mean(1)
        place = int((reached >= level).argmax())
        if place == 0:
            needed.append(np.nan)
            continue
        share = (level - reached[place - 1]) / (reached[place] - reached[place - 1])
        needed.append(np.exp(rates[place - 1] + share * (rates[place] - rates[place - 1])))
    return np.array(needed)


def beside_training(trial: Trial) -> pd.DataFrame:
    """One row for each arm of a comparison: its budget, and training accuracy beside validation."""
    rows = {}
    for arm, history in trial.histories.items():
        rows[arm] = {
            "learning rate": f"{trial.chosen[arm]['learning_rate']:.3g}",
            "epochs": history.configs[0].epochs,
            "updates": trial.updates[arm],
            "training": f"{100 * history.final('train_accuracy').mean():.1f} %",
            "validation": str(accuracy(history)),
        }
    return pd.DataFrame(rows).T
