"""One configuration of a training run, in the field's own words, and many at a time."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple, Self

from ..errors import require
from .augment import AUGMENTATIONS
from .networks import ACTIVATIONS, INITIALISATIONS, NORMALISATIONS
from .optimizers import OPTIMIZERS, WITH_MOMENTUM
from .schedules import SCHEDULES, WITH_OWN_START


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, the seed included: same Config, same machine, same result.

    Raises ValueError for nonsense, naming the field, what it got and what it takes.
    """

    learning_rate: float = 1e-3
    batch_size: int = 64
    epochs: int = 10
    optimizer: str = "adamw"
    momentum: float | None = None  # "sgd", "rmsprop" and "muon" only; None is torch's default
    nesterov: bool = False  # "sgd" with momentum only
    weight_decay: float = 0.0  # as torch has it: decoupled for "adamw" and "muon", L2 for others
    schedule: str | Callable = "constant"  # a name, or a callable optimizer -> lr_scheduler
    warmup: float = 0.0  # share of the run that climbs to the learning rate
    clip_norm: float | None = None  # upper limit of the gradient's norm
    activation: str = "relu"
    init: str = "he"
    width: int = 64
    depth: int = 1  # hidden layers
    normalisation: str | None = None  # "batch" or "layer", before each activation
    dropout: float = 0.0
    label_smoothing: float = 0.0
    augment: str | Callable | None = None  # a name, or a callable (images, generator) -> images
    patience: int | None = None  # early stopping: epochs without a better validation loss
    seed: int = 0

    def __post_init__(self) -> None:
        for name, rule in RULES.items():
            value = getattr(self, name)
            if not rule.allows(value):
                self._refuse(name, str(rule))
            object.__setattr__(self, name, rule.plain(value))
        if self.momentum and self.optimizer not in WITH_MOMENTUM:
            own = f"None with optimizer {self.optimizer!r}, which has its own averages"
            self._refuse("momentum", own)
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum):
            self._refuse("nesterov", "True only with optimizer 'sgd' and a momentum above 0")
        if self.warmup and (callable(self.schedule) or self.schedule in WITH_OWN_START):
            own = f"0 with schedule {self.schedule!r}, which sees to its own start"
            self._refuse("warmup", own)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed: ``config.replace(seed=1)``."""
        return replace(self, **changes)

    def seeds(self, count: int | Iterable[int]) -> list[Self]:
        """Copies that differ in the seed alone.

        ``seeds(8)`` counts up from this one's own seed, ``seeds(range(8, 12))`` names them.
        """
        return sweep(self, seeds=count)

    def to_dict(self) -> dict[str, Any]:
        """{field: value}, in the order of the fields."""
        return asdict(self)

    def _refuse(self, name: str, takes: str) -> None:
        raise ValueError(f"{name}: got {getattr(self, name)!r}, takes {takes}")


def sweep(
    config: Config, *, seeds: int | Iterable[int] | None = None, **values: Iterable[Any]
) -> list[Any]:
    """Every combination of the values listed for some fields, each with all the seeds.

        sweep(Config(epochs=5), learning_rate=[0.01, 0.1], width=[16, 64], seeds=8)

    The last field changes fastest, and the seed faster still. Without ``seeds``, each keeps the
    seed of ``config``. Raises ValueError for a field that Config does not have, for an empty
    list, and for a value that stands twice.
    """
    known = [field.name for field in fields(config)]
    if isinstance(seeds, (int, numbers.Integral)):
        seeds = range(config.seed, config.seed + int(seeds))
    if seeds is not None:
        values["seed"] = seeds
    for name, listed in values.items():
        require(name in known, f"{name}: is no field of Config, which has {', '.join(known)}")
        is_list = isinstance(listed, Iterable) and not isinstance(listed, str)
        require(is_list, f"{name}: got {listed!r}, takes a list of values")
        values[name] = listed = list(listed)
        distinct = 0 < len(listed) == len(set(map(repr, listed)))
        require(distinct, f"{name}: got {listed!r}, takes one value or more, and none twice")
    return [
        config.replace(**dict(zip(values, combination, strict=True)))
        for combination in itertools.product(*values.values())
    ]


# What a field takes ------------------------------------------------------------------------------


class Rule(NamedTuple):
    """What a field takes, in words and as a test; kept are plain numbers, not NumPy's."""

    text: str
    allows: Callable[[Any], bool]
    plain: Callable[[Any], Any]

    def __str__(self) -> str:
        return self.text


def _number(
    least: float = -math.inf, above: float = -math.inf, below: float = math.inf, none: bool = False
) -> Rule:
    def allows(value: Any) -> bool:
        if value is None or isinstance(value, bool) or not isinstance(value, numbers.Real):
            return none and value is None
        try:
            number = float(value)
        except OverflowError:
            return False
        return math.isfinite(number) and above < number < below and number >= least

    limits = {"of at least": least, "above": above, "below": below}
    named = [f"{word} {limit}" for word, limit in limits.items() if math.isfinite(limit)]
    text = f"a finite number {' and '.join(named)}{', or None' if none else ''}"
    return Rule(text, allows, lambda value: None if value is None else float(value))


def _whole(least: int, below: int = 2**63, none: bool = False) -> Rule:
    def allows(value: Any) -> bool:
        if value is None or isinstance(value, bool) or not isinstance(value, numbers.Integral):
            return none and value is None
        return least <= value < below

    limit = f" and below {below}" if below < 2**63 else ""
    text = f"a whole number of at least {least}{limit}{', or None' if none else ''}"
    return Rule(text, allows, lambda value: None if value is None else int(value))


def _choice(names: Collection[Any], a_callable: bool = False, none: bool = False) -> Rule:
    def allows(value: Any) -> bool:
        if value is None or callable(value):
            return none if value is None else a_callable
        return isinstance(value, (str, bool)) and value in names

    more = (", a callable" if a_callable else "") + (", or None" if none else "")
    text = f"one of {', '.join(map(repr, names))}{more}"
    return Rule(text, allows, lambda value: value)


RULES = {
    "learning_rate": _number(above=0),
    "batch_size": _whole(least=1),
    "epochs": _whole(least=1),
    "optimizer": _choice(OPTIMIZERS),
    "momentum": _number(least=0, below=1, none=True),
    "nesterov": _choice((True, False)),
    "weight_decay": _number(least=0),
    "schedule": _choice(SCHEDULES, a_callable=True),
    "warmup": _number(least=0, below=1),
    "clip_norm": _number(above=0, none=True),
    "activation": _choice(ACTIVATIONS),
    "init": _choice(INITIALISATIONS),
    "width": _whole(least=1),
    "depth": _whole(least=0),
    "normalisation": _choice(NORMALISATIONS, none=True),
    "dropout": _number(least=0, below=1),
    "label_smoothing": _number(least=0, below=1),
    "augment": _choice(AUGMENTATIONS, a_callable=True, none=True),
    "patience": _whole(least=1, none=True),
    # torch's generator keeps 32 bits of a seed: a larger one would repeat a smaller one's run.
    "seed": _whole(least=0, below=2**32),
}
