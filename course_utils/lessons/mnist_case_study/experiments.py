"""What notebook 10 measures besides accuracies: gaps, gradients, the distance from a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import nn

from ...cnn import make_cnn
from ...diagnostics import layer_gradients
from ...engine.config import Config
from ...engine.data import Dataset, Split
from ...engine.history import History
from ...engine.training import fit
from ...evidence import Estimate, accuracy, mean_interval, ratio_interval, share_interval
from ...files import DATA_FOLDER
from ...mnist import load_mnist, load_mnist_full
from ...protocol import Trial, budget

SEEDS_ONLY = "the seeds, on these images"


def choosing(dataset: Dataset) -> Dataset:
    """The same training images, judged by the tuning images: to search with.

    Raises ValueError for a dataset that has no tuning images.
    """
    if dataset.tuning is None:
        raise ValueError("dataset: has no tuning images, takes one of load_mnist(subset=...)")
    return replace(dataset, val=dataset.tuning, tuning=None)


def gap(history: History) -> Estimate:
    """Points between the final training and validation accuracy, over the seeds."""
    apart = history.final("train_accuracy") - history.final("val_accuracy")
    return mean_interval(apart, "points", covers=SEEDS_ONLY)


def first_to_last(history: History, split: Split) -> Estimate:
    """How many times as large the first layer's gradient is as the last layer's, on mistakes."""
    models = [history.model(index) for index in range(len(history))]
    norms = [gradient_norms(model, mistakes(model, split)) for model in models]
    return ratio_interval([first for first, _ in norms], [last for _, last in norms])


def gaps_by_digits(config: Config, epochs: Mapping[int, int]) -> dict[str, Estimate]:
    """The gap of a network that learns from more and more digits, {digits: epochs}.

    More than 3,000 are all of MNIST's training digits, and left out where they are not at hand.
    """
    gaps = {}
    for count, passes in epochs.items():
        if count > 3000 and not (DATA_FOLDER / "MNIST").is_dir():
            continue
        digits = load_mnist(subset=count) if count <= 3000 else load_mnist_full()
        runs = config.replace(epochs=budget(passes)).seeds(8)
        gaps[f"{count} digits"] = gap(fit(runs, digits, keep_models=False))
    return gaps


def above_report(measured: Estimate, reported: float) -> Estimate:
    """Points by which a measured accuracy lies above (or, negative, below) a reported one."""
    ends = {name: getattr(measured, name) - reported for name in ("value", "low", "high")}
    return replace(measured, unit="points", **ends)


def mistakes(model: nn.Module, split: Split) -> Split:
    """The images of a split that a model gets wrong.

    Raises ValueError if there are none.
    """
    with torch.no_grad():
        wrong = model(split.images).argmax(1) != split.labels
    if not wrong.any():
        raise ValueError("split: the model gets every image right, takes one with mistakes")
    return Split(split.images[wrong], split.labels[wrong])


def gradient_norms(model: nn.Module, split: Split) -> tuple[float, float]:
    """(first layer's, last layer's): norms of the weights' gradients, of the mean loss."""
    gradients = layer_gradients(model, split.images, split.labels)
    weights = [each for name, each in gradients.items() if name.endswith("weight")]
    return weights[0].norm().item(), weights[-1].norm().item()


def first_layer_gradients(history: History, split: Split, wrong: bool = False) -> list[float]:
    """One norm for each network of a history; ``wrong``: only on images that it gets wrong."""
    models = [history.model(index) for index in range(len(history))]
    parts = [mistakes(model, split) if wrong else split for model in models]
    return [gradient_norms(model, part)[0] for model, part in zip(models, parts, strict=True)]


def unlabelled_networks(dataset: Dataset) -> dict[str, nn.Module]:
    """Three networks that have stopped learning, each for another reason: "P", "Q" and "R".

    The first 180 digits of ``dataset`` are what the first was trained on.
    """
    device = dataset.device
    few = Dataset(dataset.train.first(180), dataset.val, dataset.test)
    deep = Config(depth=8, width=32, activation="sigmoid", init="small", optimizer="adam", epochs=3)
    done = Config(width=64, batch_size=16, epochs=25)
    quiet = fit(deep, dataset, progress=False).model()
    learned = fit(done, few, progress=False).model()
    silent = fit(done.replace(epochs=5), few, progress=False).model()
    with torch.no_grad():  # what one step with far too large a rate can do to the biases
        silent.get_submodule("1").get_parameter("bias").fill_(-1000.0)
    return {
        name: each.to(device) for name, each in zip("PQR", (silent, learned, quiet), strict=True)
    }


def best_pair(for_a: Trial, for_b: Trial) -> str:
    """Which treatment gains most for either patient, in the words of the notebook's question."""
    best = []
    for trial in (for_a, for_b):
        gains = trial.gains()
        best.append(max(gains, key=lambda arm: gains[arm].value))
    return f"{best[0]} for both" if best[0] == best[1] else f"{best[0]} for A, {best[1]} for B"


# Confirmation -------------------------------------------------------------------------------------


def small_cnn(config: Config, dataset: Dataset) -> nn.Module:
    """A small convolutional network, for ``fit(..., model=small_cnn)``."""
    return make_cnn(width=config.width)


def correct(model: nn.Module, split: Split) -> np.ndarray:
    """[image]: whether the model's answer is right."""
    with torch.no_grad():
        answers = [model(images).argmax(1) for images in split.images.split(1000)]
    return (torch.cat(answers) == split.labels).cpu().numpy()


def table_of(histories: Mapping[str, History], test: Split) -> pd.DataFrame:
    """One row for each network: training and validation accuracy over its seeds, and the test
    accuracy of the network with the first seed, whose interval covers the test images."""
    rows = []
    for name, history in histories.items():
        right = correct(history.model(0), test)
        alone = share_interval(int(history.val_correct.sum()), history.val_correct.size)
        row = {"network": name, "training": f"{100 * history.final('train_accuracy').mean():.1f} %"}
        row["validation"] = str(accuracy(history) if len(history) > 1 else alone)
        row["seeds"] = str(len(history))
        row["test, first seed"] = str(share_interval(int(right.sum()), len(right)))
        rows.append(row)
    return pd.DataFrame(rows).set_index("network")


def official_accuracy(model: nn.Module) -> str:
    """In a sentence: the accuracy on the 10,000 official test digits, as far as none of them is a
    digit of the course's sample; or that they are not here."""
    if not (DATA_FOLDER / "MNIST").is_dir():
        return "The official test digits are not here; load_mnist_full() would fetch them."
    official = unseen(load_mnist_full().test, load_mnist())
    right = correct(model, official)
    return f"official test digits, {len(official):,} new ones: {100 * right.mean():.2f} %"


def unseen(split: Split, sample: Dataset) -> Split:
    """The images of a split that stand in no part of a sample."""

    def pixels(part: Split) -> list[bytes]:
        return [image.tobytes() for image in (part.images * 255).round().byte().cpu().numpy()]

    known = {image for name in ("train", "val", "test") for image in pixels(sample[name])}
    new = torch.tensor([image not in known for image in pixels(split)])
    new = new.to(split.labels.device)
    return Split(split.images[new], split.labels[new])
