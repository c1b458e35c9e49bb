"""One configuration of a training run, in the field's own words. Floor 1."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from .augment import AUGMENTATIONS
from .models import ACTIVATIONS, INITIALISATIONS, NORMALISATIONS
from .schedules import SCHEDULES

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, the seed included: same Config, same machine, same result.

    Raises ValueError for nonsense, naming the field, what it got and what it takes.
    """

    learning_rate: float = 1e-3
    batch_size: int = 64
    epochs: int = 10
    optimizer: str = "adamw"
    momentum: float | None = None          # "sgd" and "rmsprop" only; None is no momentum
    nesterov: bool = False                 # "sgd" with momentum only
    weight_decay: float = 0.0              # as torch.optim has it: decoupled for "adamw", L2 for the others
    schedule: str | Callable = "constant"  # a name, or a callable optimizer -> lr_scheduler
    warmup: float = 0.0                    # share of the run that climbs to the learning rate
    clip_norm: float | None = None         # upper limit of the gradient's norm
    activation: str = "relu"
    init: str = "he"
    width: int = 64
    depth: int = 1                         # hidden layers
    normalisation: str | None = None       # "batch" or "layer", before each activation
    dropout: float = 0.0
    label_smoothing: float = 0.0
    augment: str | Callable | None = None  # a name, or a callable (images of several batches, generator) -> images
    patience: int | None = None            # early stopping: epochs without a better validation loss
    seed: int = 0

    def __post_init__(self) -> None:
        self._number("learning_rate", above=0)
        self._whole("batch_size", least=1)
        self._whole("epochs", least=1)
        self._choice("optimizer", OPTIMIZERS)
        self._number("momentum", least=0, below=1, optional=True)
        self._number("weight_decay", least=0)
        self._choice("schedule", SCHEDULES, or_callable=True)
        self._number("warmup", least=0, below=1)
        self._number("clip_norm", above=0, optional=True)
        self._choice("activation", ACTIVATIONS)
        self._choice("init", INITIALISATIONS)
        self._whole("width", least=1)
        self._whole("depth", least=0)
        self._choice("normalisation", NORMALISATIONS, optional=True)
        self._number("dropout", least=0, below=1)
        self._number("label_smoothing", least=0, below=1)
        self._choice("augment", AUGMENTATIONS, optional=True, or_callable=True)
        self._whole("patience", least=1, optional=True)
        self._whole("seed", least=0)
        if not isinstance(self.nesterov, bool):
            self._refuse("nesterov", "True or False")
        if self.momentum and self.optimizer not in ("sgd", "rmsprop"):
            self._refuse("momentum", f"None with optimizer {self.optimizer!r}, which has its own averages")
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum):
            self._refuse("nesterov", "True only with optimizer 'sgd' and a momentum above 0")
        if self.warmup and (callable(self.schedule) or self.schedule in ("plateau", "warmup_stable_decay")):
            self._refuse("warmup", f"0 with schedule {self.schedule!r}, which sees to its own start")

    def replace(self, **changes: Any) -> Config:
        """A copy with some fields changed: ``config.replace(seed=1)``."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def _refuse(self, field: str, takes: str) -> None:
        raise ValueError(f"{field}: got {getattr(self, field)!r}, takes {takes}")

    def _number(self, field: str, *, least: float = -math.inf, above: float = -math.inf, below: float = math.inf,
                optional: bool = False) -> None:
        value = getattr(self, field)
        if optional and value is None:
            return
        limits = [f"of at least {least}"] * (least > -math.inf) + [f"above {above}"] * (above > -math.inf)
        limits += [f"below {below}"] * (below < math.inf)
        takes = "a finite number " + " and ".join(limits) + ", or None" * optional
        number = _as_float(value)
        if not (math.isfinite(number) and least <= number < below and number > above):
            self._refuse(field, takes)
        object.__setattr__(self, field, number)            # NumPy's numbers, too, end up as plain ones

    def _whole(self, field: str, *, least: int, optional: bool = False) -> None:
        value = getattr(self, field)
        if optional and value is None:
            return
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not least <= value < 2**63:
            self._refuse(field, f"a whole number of at least {least}" + ", or None" * optional)
        object.__setattr__(self, field, int(value))

    def _choice(self, field: str, choices: Any, *, optional: bool = False, or_callable: bool = False) -> None:
        value = getattr(self, field)
        if (optional and value is None) or (or_callable and callable(value)):
            return
        if not isinstance(value, str) or value not in choices:
            self._refuse(field, "one of " + ", ".join(map(repr, choices)) + ", a callable" * or_callable
                         + ", or None" * optional)


def _as_float(value: Any) -> float:
    """A number as a float; NaN for what is none, or is too big for one."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan
