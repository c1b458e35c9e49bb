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
from .recipes import (
    BASELINE,
    FAST,
    STRONG,
    Recipe,
    ladder,
    short_cycle,
    the_hint,
    the_hint_for_adam,
)

# The bank: one seed tried every rate, and three others judge what it chose.
BANK_RATES, BANK_CHOOSERS, BANK_JUDGES = (0.2, 0.4, 0.8, 1.6, 3.2), (4,), (0, 1, 5)
BANK_CHOICE = {"none": 1.6, "crop": 1.6, "crop_flip": 0.8}
# FAST with two schedules on all photographs: the rates, and the seed that tries them.
SCHEDULE_RATES = (0.1, 0.2, 0.4, 0.8)
SCHEDULE_CHOOSERS, SCHEDULE_JUDGES = (30,), range(10, 18)
WARD = 10_000  # training images of the patients: enough to be ill, few enough to be quick
FEW = 5000  # of the bank: few enough to train it many times


@dataclass(frozen=True)
class Study:
    """Runs of one recipe that differ in their seed alone; ``data`` is a name in ``DATA``."""

    recipe: Recipe
    seeds: Iterable[int]
    data: str = "all"


# Data --------------------------------------------------------------------------------------------


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
    "ward": first(WARD),
    "few": first(FEW),
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
SHORT = HEALTHY.replace(augment=None)  # learns by heart: no augmentation
SIMPLE = BASELINE.replace(width=4, standardise=True, batch_size=128, momentum=0.9)


def patients() -> dict[str, Study]:
    """{illness: its run}, for the examination."""
    ill = {
        "healthy": HEALTHY,
        "rate too high": HEALTHY.replace(learning_rate=3.0, schedule="constant", warmup=0.0),
        "rate too low": HEALTHY.replace(learning_rate=0.0005),
        "rate gone too early": HEALTHY.replace(schedule=short_cycle, warmup=0.0),
        "augmentation too strong": HEALTHY.replace(augment=nearly_everything_hidden),
        "frozen layers": HEALTHY.replace(frozen=True),
        "network too small": HEALTHY.replace(kind="plain", width=2),
    }
    studies = {name: Study(recipe, range(1), "ward") for name, recipe in ill.items()}
    rote = SHORT.replace(weight_decay=0.0, schedule="constant", warmup=0.0, learning_rate=0.05)
    studies["overfitted"] = Study(rote.replace(epochs=20, batch_size=32), range(1), "a thousand")
    for name in ("wrong labels", "leaked", "prepared otherwise"):
        studies[name] = Study(HEALTHY, range(1), name)
    studies["healthy"] = replace(studies["healthy"], seeds=range(2))  # a rung of the ladder, too
    return {f"patient, {name}": study for name, study in studies.items()}


def bank() -> dict[str, Study]:
    """Every augmentation with every peak rate, for experiments of the learner's own."""
    kinds = {"none": None, "crop": crop, "crop_flip": crop_flip}
    return {
        f"bank, {name} {rate:g}": Study(
            HEALTHY.replace(augment=augment, learning_rate=rate),
            (*BANK_JUDGES, *BANK_CHOOSERS) if rate == BANK_CHOICE[name] else BANK_CHOOSERS,
            "few",
        )
        for name, augment in kinds.items()
        for rate in BANK_RATES
    }


def situations() -> dict[str, Study]:
    """Two runs that are to be better, each with levers of which somebody might think. (One for the
    first of them, crop and flip, is the healthy patient.)"""
    levers = {
        "rote": SHORT,
        "rote, wider": SHORT.replace(width=32),
        "rote, averaged weights": SHORT.replace(averaging=0.95),
        "daydreaming": SIMPLE,
        "daydreaming, crop and flip": SIMPLE.replace(augment=crop_flip),
        "daydreaming, label smoothing": SIMPLE.replace(label_smoothing=0.2),
        "daydreaming, weight decay": SIMPLE.replace(weight_decay=1e-3),
        "daydreaming, residual network": SIMPLE.replace(kind="residual", width=16),
    }
    return {name: Study(recipe, range(2), "ward") for name, recipe in levers.items()}


# The hint, and all photographs --------------------------------------------------------------------


def hint() -> dict[str, Study]:
    """The article's hint with SGD and with Adam, on ten thousand photographs, batches of 64."""
    network = Network("plain", width=8)
    config = BASELINE.config.replace(batch_size=64, learning_rate=0.01)
    optimizers = {
        "SGD": config.replace(momentum=0.9, schedule=the_hint),
        "Adam": config.replace(optimizer="adam", schedule=the_hint_for_adam),
    }
    return {
        f"hint, {optimizer}": Study(Recipe(settings, network), range(10, 12), "ward")
        for optimizer, settings in optimizers.items()
    }


def all_photographs() -> dict[str, Study]:
    """FAST and its relatives on all photographs: a schedule, an augmentation, a part left out."""
    eight, three = range(10, 18), range(10, 13)
    triangles = FAST.replace(schedule="cyclic", warmup=0.0)
    flat = FAST.replace(schedule="constant", warmup=0.0)
    return {
        "judged, constant": Study(flat.replace(learning_rate=0.4), eight),
        "judged, constant 0.2": Study(flat.replace(learning_rate=0.2), SCHEDULE_JUDGES),
        "judged, cyclic": Study(triangles, eight),
        "judged, cyclic 0.2": Study(triangles.replace(learning_rate=0.2), SCHEDULE_JUDGES),
        "flips, with": Study(FAST, eight),
        "flips, without": Study(FAST.replace(augment=crop), eight),
        "without, whitening": Study(FAST.replace(whitening=False), three),
        "without, identity": Study(FAST.replace(identity=False), three),
        "without, averaging": Study(FAST.replace(averaging=None), three),
        "all, baseline": Study(BASELINE, three),
        "strong": Study(STRONG, range(20, 23)),
    }


def schedules() -> dict[str, Study]:
    """FAST with a constant rate and with triangles, at every rate, on all photographs: these runs
    choose the rates at which the two are judged."""
    return {
        f"tuning, {schedule} {rate:g}": Study(
            FAST.replace(schedule=schedule, warmup=0.0, learning_rate=rate), SCHEDULE_CHOOSERS
        )
        for schedule in ("constant", "cyclic")
        for rate in SCHEDULE_RATES
    }


def rungs() -> dict[str, Study]:
    """The ladder from the baseline to FAST on ten thousand photographs. FAST gives its two last
    rungs: its runs are asked for one view of each image, and for six."""
    recipes = ladder()
    del recipes["averaged weights"]
    return {
        f"rung, {lever}": Study(recipe, range(10, 13), "ward") for lever, recipe in recipes.items()
    }


def everything() -> dict[str, Study]:
    """All that is stored."""
    return {
        **patients(),
        **bank(),
        **situations(),
        **hint(),
        **all_photographs(),
        **schedules(),
        **rungs(),
    }
