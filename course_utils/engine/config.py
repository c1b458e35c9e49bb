"""One configuration of a training run, in the field's own words, and many at a time."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

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
        if isinstance(count, numbers.Integral):
            count = range(self.seed, self.seed + int(count))
        return sweep(self, seed=count)

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
    if seeds is not None:
        counted = isinstance(seeds, numbers.Integral)
        values["seed"] = range(config.seed, config.seed + int(seeds)) if counted else seeds
    for name, listed in values.items():
        if name not in known:
            raise ValueError(f"{name}: is no field of Config, which has {', '.join(known)}")
        if isinstance(listed, str) or not isinstance(listed, Iterable):
            raise ValueError(f"{name}: got {listed!r}, takes a list of values")
        values[name] = listed = list(listed)
        if not listed or len(set(map(repr, listed))) < len(listed):
            raise ValueError(f"{name}: got {listed!r}, takes one value or more, and none twice")
    return [
        config.replace(**dict(zip(values, combination, strict=True)))
        for combination in itertools.product(*values.values())
    ]


# What a field takes ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Number:
    """A finite number within limits. NumPy's numbers, too, end up as plain ones."""

    least: float = -math.inf
    above: float = -math.inf
    below: float = math.inf
    or_none: bool = False

    def allows(self, value: Any) -> bool:
        if value is None:
            return self.or_none
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            return False
        try:
            number = float(value)
        except OverflowError:
            return False
        return math.isfinite(number) and self.above < number < self.below and number >= self.least

    def plain(self, value: Any) -> float | None:
        return None if value is None else float(value)

    def __str__(self) -> str:
        limits = {"of at least": self.least, "above": self.above, "below": self.below}
        named = [f"{word} {limit}" for word, limit in limits.items() if math.isfinite(limit)]
        return f"a finite number {' and '.join(named)}{', or None' if self.or_none else ''}"


@dataclass(frozen=True)
class _Whole:
    """A whole number within limits."""

    least: int
    below: int = 2**63
    or_none: bool = False

    def allows(self, value: Any) -> bool:
        if value is None:
            return self.or_none
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return whole and self.least <= value < self.below

    def plain(self, value: Any) -> int | None:
        return None if value is None else int(value)

    def __str__(self) -> str:
        limit = f" and below {self.below}" if self.below < 2**63 else ""
        return (
            f"a whole number of at least {self.least}{limit}{', or None' if self.or_none else ''}"
        )


@dataclass(frozen=True)
class _Choice:
    """One of some names, and where it says so a callable, or None."""

    names: Collection[Any]
    or_callable: bool = False
    or_none: bool = False

    def allows(self, value: Any) -> bool:
        if value is None:
            return self.or_none
        if callable(value):
            return self.or_callable
        return isinstance(value, (str, bool)) and value in self.names

    def plain(self, value: Any) -> Any:
        return value

    def __str__(self) -> str:
        more = [", a callable"] * self.or_callable + [", or None"] * self.or_none
        return f"one of {', '.join(map(repr, self.names))}{''.join(more)}"


RULES = {
    "learning_rate": _Number(above=0),
    "batch_size": _Whole(least=1),
    "epochs": _Whole(least=1),
    "optimizer": _Choice(OPTIMIZERS),
    "momentum": _Number(least=0, below=1, or_none=True),
    "nesterov": _Choice((True, False)),
    "weight_decay": _Number(least=0),
    "schedule": _Choice(SCHEDULES, or_callable=True),
    "warmup": _Number(least=0, below=1),
    "clip_norm": _Number(above=0, or_none=True),
    "activation": _Choice(ACTIVATIONS),
    "init": _Choice(INITIALISATIONS),
    "width": _Whole(least=1),
    "depth": _Whole(least=0),
    "normalisation": _Choice(NORMALISATIONS, or_none=True),
    "dropout": _Number(least=0, below=1),
    "label_smoothing": _Number(least=0, below=1),
    "augment": _Choice(AUGMENTATIONS, or_callable=True, or_none=True),
    "patience": _Whole(least=1, or_none=True),
    # torch's generator keeps 32 bits of a seed: a larger one would repeat a smaller one's run.
    "seed": _Whole(least=0, below=2**32),
}
