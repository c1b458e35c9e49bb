"""Recipes for photographs: how to train, what to train, and how to ask it in the end.

Notebook 15, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import pandas as pd
from torch.optim import Optimizer, lr_scheduler

from ...engine.config import Config
from .augmentation import AUGMENTATIONS, crop_flip
from .networks import OF_THE_NETWORK, Network, refuse_ignored
from .views import VIEWS

MOST_EPOCHS = 10
OF_TRAINING = tuple(each.name for each in fields(Config) if each.name not in OF_THE_NETWORK)
OF_NETWORK = tuple(each.name for each in fields(Network))


@dataclass(frozen=True)
class Recipe:
    """``config`` is for the engine, ``network`` its model, ``views`` how many views are asked.

        fit(recipe.config.seeds(3), photographs, model=recipe.network)

    Raises ValueError for a setting that would not act: see ``Network``.
    """

    config: Config
    network: Network = field(default_factory=Network)
    views: int = 1

    def __post_init__(self) -> None:
        refuse_ignored(self.config)
        if self.views not in VIEWS:
            raise ValueError(f"views: got {self.views!r}, takes {', '.join(map(str, VIEWS))}")

    def replace(self, **changes: Any) -> Recipe:
        """A copy with some settings changed, whichever part they belong to.

        Raises ValueError for a setting that no part has.
        """
        strange = ", ".join(set(changes) - {*OF_TRAINING, *OF_NETWORK, "views"})
        if strange:
            known = ", ".join((*OF_TRAINING, *OF_NETWORK, "views"))
            raise ValueError(f"{strange}: is no setting of a recipe, which has {known}")
        settings = self.settings() | changes
        return Recipe(
            Config(**{name: settings[name] for name in OF_TRAINING}),
            Network(**{name: settings[name] for name in OF_NETWORK}),
            settings["views"],
        )

    def settings(self) -> dict[str, Any]:
        """{setting: value} of all parts, the seed included."""
        training = {name: getattr(self.config, name) for name in OF_TRAINING}
        return training | vars(self.network) | {"views": self.views}


def the_hint(optimizer: Optimizer) -> lr_scheduler.LRScheduler:
    """The article's hint, to the letter: Smith's cycles (2017) as torch has them.

    Unless told otherwise CyclicLR turns the momentum as well, from 0.9 down to 0.8 and back.
    """
    return lr_scheduler.CyclicLR(optimizer, base_lr=0.001, max_lr=0.01, step_size_up=200)


def the_hint_for_adam(optimizer: Optimizer) -> lr_scheduler.LRScheduler:
    """The hint as it runs with Adam in every version of torch: the momentum is left alone."""
    return lr_scheduler.CyclicLR(
        optimizer, base_lr=0.001, max_lr=0.01, step_size_up=200, cycle_momentum=False
    )


def short_cycle(optimizer: Optimizer) -> lr_scheduler.LRScheduler:
    """A mistake: one cycle that ends after 160 updates, however long the training goes on."""
    climb = lr_scheduler.LinearLR(optimizer, 0.04, 1.0, total_iters=40)
    fall = lr_scheduler.LinearLR(optimizer, 1.0, 1e-5, total_iters=120)
    return lr_scheduler.SequentialLR(optimizer, [climb, fall], milestones=[40])


SCHEDULES = {each.__name__: each for each in (the_hint, the_hint_for_adam, short_cycle)}

BASELINE = Recipe(
    Config(optimizer="sgd", learning_rate=0.02, batch_size=256, epochs=MOST_EPOCHS),
    Network("plain", width=8, standardise=False),
)
# What each lever changes, in the order in which the ladder adds them.
LEVERS: dict[str, dict[str, Any]] = {
    "standardised inputs": {"standardise": True},
    "momentum": {"momentum": 0.9, "nesterov": True},
    "residual network": {"kind": "residual", "width": 32},
    "one cycle, higher peak": {"schedule": "one_cycle", "warmup": 0.2, "learning_rate": 0.4},
    "larger batch, peak in proportion": {"batch_size": 512, "learning_rate": 0.8},
    "weight decay": {"weight_decay": 5e-4},
    "whitening first layer": {"whitening": True},
    "identity at the start": {"identity": True},
    "crop and flip": {"augment": crop_flip},
    "label smoothing": {"label_smoothing": 0.2},
    "averaged weights": {"averaging": 0.95},
    "six views at the end": {"views": 6},
}


def ladder() -> dict[str, Recipe]:
    """{lever: the baseline with this lever and all before it}; the last one is FAST."""
    rungs = {"baseline": BASELINE}
    for name, change in LEVERS.items():
        rungs[name] = list(rungs.values())[-1].replace(**change)
    return rungs


FAST = list(ladder().values())[-1]
STRONG = FAST.replace(width=64, depth=2, stride=1)
RECIPES = {"baseline": BASELINE, "fast": FAST, "strong": STRONG}


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON can hold them: a function by its name."""
    return {key: getattr(value, "__name__", value) for key, value in settings.items()}


def recipe_of(settings: dict[str, Any]) -> Recipe:
    """The recipe that ``plain(recipe.settings())`` was made of."""
    named = {"augment": AUGMENTATIONS, "schedule": SCHEDULES}
    for key, functions in named.items():
        value = settings[key]
        settings = settings | {key: functions.get(value, value)}
    return BASELINE.replace(**settings)


def settings_table(recipes: dict[str, Recipe]) -> pd.DataFrame:
    """One row for each setting in which the recipes differ, one column for each recipe."""
    columns = {name: plain(recipe.settings()) for name, recipe in recipes.items()}
    frame = pd.DataFrame(columns).astype(object)
    differ = [len(set(map(repr, row))) > 1 for row in frame.to_numpy()]
    return frame[differ]
