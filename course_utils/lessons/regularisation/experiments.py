"""What lesson 06 measures beside the training: gaps, wrong labels learnt, units silenced, decay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ...engine.config import Config
from ...engine.data import Dataset, Split
from ...engine.history import History
from ...engine.training import fit
from ...evidence import Estimate, difference
from ...randomness import Chance

# Judging ------------------------------------------------------------------------------------------


def gap_closed(treated: History, control: History) -> Estimate:
    """By how many points the gap between training and validation accuracy is smaller than the
    control's, paired seed by seed and image by image."""
    return difference(_gaps(control), _gaps(treated))


def _gaps(history: History) -> History:
    """With training accuracy minus correctness as ``val_correct``: the mean of it is the gap."""
    seen = history.final("train_accuracy")[:, None]
    return replace(history, val_correct=seen - history.val_correct)


@torch.no_grad()
def judged_on(history: History, split: Split) -> History:
    """The same runs with ``val_correct`` [run, image] taken on images that no decision has seen.

    Early stopping looks at the images that ``fit`` watches: those must not give the marks as well.
    """
    answers = [
        history.model(run)(split.images).argmax(-1) == split.labels for run in range(len(history))
    ]
    return replace(history, val_correct=torch.stack(answers).cpu().numpy())


def watched_by_tuning(dataset: Dataset) -> Dataset:
    """The same data, whose tuning images are those that a run looks at after every epoch."""
    assert dataset.tuning is not None
    return replace(dataset, val=dataset.tuning, tuning=None)


@torch.no_grad()
def labels_learnt(history: History, given: Split, true: Tensor) -> dict[str, np.ndarray]:
    """{kind of label: [run] share of it that the network gives back}, on the training images.

    ``given`` holds the labels that were trained with, ``true`` the right ones.
    """
    wrong = given.labels != true
    right_share, wrong_share = [], []
    for run in range(len(history)):
        same = history.model(run)(given.images).argmax(-1) == given.labels
        right_share.append(same[~wrong].float().mean().item())
        wrong_share.append(same[wrong].float().mean().item())
    return {"right labels": np.array(right_share), "wrong labels": np.array(wrong_share)}


# Dropout ------------------------------------------------------------------------------------------

Opinions = Callable[[nn.Module, Tensor, int], Tensor]


@dataclass(frozen=True)
class Masks:
    """Accuracies of networks, with and without dropout's masks.

    alone      [network, mask] of single masks
    averaged   [network, mask] of the mean opinion of the first 1, 2, ... masks
    whole      [network] with all units at work
    """

    alone: np.ndarray
    averaged: np.ndarray
    whole: np.ndarray


@torch.no_grad()
def with_masks(history: History, split: Split, opinions: Opinions, count: int) -> Masks:
    """What ``opinions`` (model, images, count) -> probabilities [count, image, class] is worth, for
    each network of a history; the draws are the same at every call."""
    alone, averaged, whole = [], [], []
    with Chance(0, foreign=False):
        for run in range(len(history)):
            model = history.model(run)
            whole.append(model(split.images).argmax(-1) == split.labels)
            voices = opinions(model, split.images, count)
            alone.append(voices.argmax(-1) == split.labels)
            averaged.append(voices.cumsum(0).argmax(-1) == split.labels)
    means = [torch.stack(each).float().mean(-1).cpu().numpy() for each in (alone, averaged, whole)]
    return Masks(*means)


@torch.no_grad()
def silenced_accuracy(model: nn.Sequential, split: Split, share: float, masks: int = 10) -> float:
    """Accuracy when a random ``share`` of the hidden units is silent, averaged over choices.

    For networks of ``make_mlp`` with one hidden layer. The units left are scaled up by
    1 / (1 - share), so that the mean of what the last layer receives stays.
    """
    hidden = model[:-1](split.images)
    generator = torch.Generator().manual_seed(0)
    right = []
    for _ in range(masks):
        order = torch.randperm(hidden.shape[1], generator=generator)
        alive = torch.ones(hidden.shape[1])
        alive[order[: round(share * len(alive))]] = 0
        answers = model[-1](hidden * alive.to(hidden.device) / (1 - share)).argmax(-1)
        right.append((answers == split.labels).float().mean().item())
    return float(np.mean(right))


def kept_when_silenced(history: History, split: Split, share: float) -> np.ndarray:
    """[run]: accuracy with a share of the hidden units silent, minus accuracy with all of them."""
    models = [history.model(run) for run in range(len(history))]
    both = [[silenced_accuracy(model, split, each) for each in (share, 0.0)] for model in models]
    silent, whole = np.array(both).T
    return silent - whole


# Underfitting -------------------------------------------------------------------------------------


def with_images(dataset: Dataset, change: Callable[[Tensor], Tensor]) -> Dataset:
    """The dataset with its training and validation images changed by a function."""
    train, val = (Split(change(part.images), part.labels) for part in (dataset.train, dataset.val))
    return replace(dataset, train=train, val=val, tuning=None)


def each_shuffled(images: Tensor, seed: int = 0) -> Tensor:
    """Every image with its pixels in an order of its own: nothing is left to generalise from."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(len(images), images[0].numel(), generator=generator).argsort(1)
    return images.flatten(1).gather(1, order.to(images.device)).view_as(images)


def five_patients(
    healthy: Config, few: Dataset, noisy: Dataset
) -> dict[str, tuple[Config, Dataset]]:
    """Five networks with one thing wrong in each. They stand here and not in the notebook, because
    its readers see the curves first."""
    return {
        "A": (healthy.replace(learning_rate=1e-4), few),
        "B": (healthy.replace(learning_rate=0.02), noisy),
        "C": (healthy.replace(width=2), few),
        "D": (healthy, with_images(few, each_shuffled)),
        "E": (healthy, with_images(few, lambda images: images / 255)),
    }


def training_accuracy(config: Config, dataset: Dataset) -> np.ndarray:
    """[seed]: final training accuracy, of eight seeds; a run that diverged counts as chance.

    On 250 training images, because ``fit`` looks at as many of them as of the validation images.
    """
    history = fit(config.seeds(8), replace(dataset, val=dataset.val.first(250)), keep_models=False)
    return np.nan_to_num(history.final("train_accuracy"), nan=1 / dataset.classes)


def restored(
    patients: Mapping[str, tuple[Config, Dataset]],
    treatments: Mapping[str, int],
    sound: np.ndarray,
) -> dict[str, dict[str, np.ndarray]]:
    """{field: {patient: [seed]}}: the share of the training accuracy that a patient lacks against a
    sound network [seed], which a treatment gives back.

    A treatment multiplies a field of Config by a factor: {field: factor}.
    """
    shares: dict[str, dict[str, np.ndarray]] = {field: {} for field in treatments}
    for patient, (config, dataset) in patients.items():
        ill = training_accuracy(config, dataset)
        for field, factor in treatments.items():
            treated = config.replace(**{field: factor * getattr(config, field)})
            gained = training_accuracy(treated, dataset) - ill
            shares[field][patient] = gained / (sound - ill)
    return shares


# Wrong labels -------------------------------------------------------------------------------------


def wrong_labels(split: Split, share: float, seed: int = 0) -> Split:
    """A copy in which about this share of the labels is another digit, drawn at random."""
    generator, count = torch.Generator().manual_seed(seed), len(split)
    chosen = torch.rand(count, generator=generator) < share
    shift = torch.randint(1, 10, (count,), generator=generator) * chosen
    return Split(split.images, (split.labels + shift.to(split.labels.device)) % 10)
