"""The trainings behind the stored results: which recipe, on what, with which seeds.

``tests/benchmarks/bench_cifar.py`` carries them out. Notebook 15.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch

from ...engine.data import Dataset, Split
from .augmentation import crop, crop_flip, nearly_everything_hidden
from .networks import Network
from .recipes import BASELINE, FAST, Recipe, ladder, short_cycle, the_hint, the_hint_for_adam

JUDGING, TUNING = range(10, 18), range(2)  # seeds; those that choose are never those that judge
RATES = {"constant": (0.1, 0.2, 0.4, 0.8), "cyclic": (0.2, 0.4, 0.8, 1.6)}
BANK_RATES = (0.05, 0.1, 0.2, 0.4)
WARD = 10_000  # training images of the patients: enough to be ill, few enough to be quick


@dataclass(frozen=True)
class Study:
    """Runs of one recipe that differ in their seed alone; ``data`` is a name in ``DATA``."""

    recipe: Recipe
    seeds: Iterable[int]
    data: str = "all"


# Data --------------------------------------------------------------------------------------------


def part(split: Split, start: int, stop: int) -> Split:
    return Split(split.images[start:stop], split.labels[start:stop])


def for_tuning(photographs: Dataset) -> Dataset:
    """The last tenth of the training images to choose settings by; the validation images rest."""
    count = len(photographs.train)
    chosen = part(photographs.train, count - count // 9, count)
    return replace(photographs, train=part(photographs.train, 0, count - count // 9), val=chosen)


def first(count: int) -> Callable[[Dataset], Dataset]:
    return lambda photographs: replace(photographs, train=photographs.train.first(count))


def wrong_labels(photographs: Dataset) -> Dataset:
    """Two of five training images bear a label that was drawn at random."""
    images, labels = photographs.train.images[:WARD], photographs.train.labels[:WARD]
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(10, labels.shape, generator=generator)
    wrong = torch.rand(labels.shape, generator=generator) < 0.4
    return replace(photographs, train=Split(images, torch.where(wrong, drawn, labels)))


def leaked(photographs: Dataset) -> Dataset:
    """Half of the training images are the validation images."""
    few, val = photographs.train.first(WARD // 2), photographs.val
    images, labels = torch.cat([few.images, val.images]), torch.cat([few.labels, val.labels])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return replace(photographs, train=Split(images[order], labels[order]))


def prepared_otherwise(photographs: Dataset) -> Dataset:
    """The validation images are from 0 to 255, the training images from 0 to 1."""
    val = Split(255 * photographs.val.images, photographs.val.labels)
    return replace(photographs, train=photographs.train.first(WARD), val=val)


DATA: dict[str, Callable[[Dataset], Dataset]] = {
    "all": lambda photographs: photographs,
    "tuning": for_tuning,
    "ward": first(WARD),
    "a thousand": first(1000),
    "wrong labels": wrong_labels,
    "leaked": leaked,
    "prepared otherwise": prepared_otherwise,
}

# The ward: ten thousand images, one recipe, and what can go wrong with it -------------------------

HEALTHY = Recipe(
    FAST.config.replace(batch_size=128, learning_rate=0.2, label_smoothing=0.0, weight_decay=1e-3),
    Network(width=16),
)
SHORT = HEALTHY.replace(augment=None)  # learns by rote: no augmentation
SIMPLE = BASELINE.replace(width=4, standardise=True, batch_size=128, momentum=0.9)


def patients() -> dict[str, Study]:
    """{illness: its runs}: of the first seed for the examination, of the second for another try."""
    ill = {
        "healthy": HEALTHY,
        "rate too high": HEALTHY.replace(learning_rate=3.0, schedule="constant", warmup=0.0),
        "rate too low": HEALTHY.replace(learning_rate=0.0005),
        "rate gone too early": HEALTHY.replace(schedule=short_cycle, warmup=0.0),
        "augmentation too strong": HEALTHY.replace(augment=nearly_everything_hidden),
        "frozen layers": HEALTHY.replace(frozen=True),
        "network too small": HEALTHY.replace(kind="plain", width=2),
    }
    studies = {name: Study(recipe, range(2), "ward") for name, recipe in ill.items()}
    rote = SHORT.replace(weight_decay=0.0, schedule="constant", warmup=0.0, learning_rate=0.05)
    studies["overfitted"] = Study(rote.replace(epochs=20, batch_size=32), range(2), "a thousand")
    for name in ("wrong labels", "leaked", "prepared otherwise"):
        studies[name] = Study(HEALTHY, range(2), name)
    return {f"patient, {name}": study for name, study in studies.items()}


def bank() -> dict[str, Study]:
    """Every augmentation with every peak rate, for experiments of the learner's own."""
    return {
        f"bank, {name} {rate:g}": Study(
            HEALTHY.replace(augment=augment, learning_rate=rate), range(10), "ward"
        )
        for name, augment in {"none": None, "crop": crop, "crop_flip": crop_flip}.items()
        for rate in BANK_RATES
    }


def situations() -> dict[str, Study]:
    """Two runs that are to be better, each with levers of which somebody might think; some of those
    for the first one stand in the bank."""
    levers = {
        "rote, wider": SHORT.replace(width=32),
        "rote, averaged weights": SHORT.replace(averaging=0.95),
        "daydreaming": SIMPLE,
        "daydreaming, crop and flip": SIMPLE.replace(augment=crop_flip),
        "daydreaming, label smoothing": SIMPLE.replace(label_smoothing=0.2),
        "daydreaming, weight decay": SIMPLE.replace(weight_decay=1e-3),
        "daydreaming, residual network": SIMPLE.replace(kind="residual", width=16),
    }
    return {name: Study(recipe, range(4), "ward") for name, recipe in levers.items()}


# All photographs ---------------------------------------------------------------------------------


def hint() -> dict[str, Study]:
    """The article's hint on three networks, with SGD and with Adam; its batches are of 64."""
    networks = {
        "small": Network("plain", width=8),
        "medium": Network("plain", width=32),
        "residual": Network(width=32),
    }
    config = BASELINE.config.replace(batch_size=64, learning_rate=0.01)
    optimizers = {
        "SGD": config.replace(momentum=0.9, schedule=the_hint),
        "Adam": config.replace(optimizer="adam", schedule=the_hint_for_adam),
    }
    return {
        f"hint, {size}, {optimizer}": Study(Recipe(settings, network), JUDGING[:3])
        for size, network in networks.items()
        for optimizer, settings in optimizers.items()
    }


def schedules() -> dict[str, Study]:
    """FAST with a constant and with a cyclic rate, each with every rate, on the images for tuning.

    (Of a cyclic rate, the number is the peak of the triangles.)
    """
    studies = {}
    for schedule, rates in RATES.items():
        for rate in rates:
            recipe = FAST.replace(schedule=schedule, learning_rate=rate, warmup=0.0, views=1)
            studies[f"tuning, {schedule} {rate:g}"] = Study(recipe, TUNING, "tuning")
    return studies


def climb() -> dict[str, Study]:
    """The ladder from BASELINE to FAST. (The last rung is the same training, asked otherwise.)"""
    rungs = list(ladder().items())
    return {
        f"ladder, {name}": Study(
            recipe.replace(views=6) if name == "averaged weights" else recipe, JUDGING[:3]
        )
        for name, recipe in rungs[:-1]
    }


def everything() -> dict[str, Study]:
    """All that is stored."""
    quick = {**patients(), **bank(), **situations()}
    return {**quick, **hint(), **climb(), **schedules()}
