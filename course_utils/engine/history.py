"""What training runs leave behind: curves for every configuration, and the trained networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from ..errors import require
from ..stacking.stack import Weights
from .config import Config

CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


@dataclass
class History:
    """The record of ``fit``. Arrays are NaN where a run had already ended.

    configs         list of Config, in the order given
    train_loss, train_accuracy, val_loss, val_accuracy
                    [config, epoch], after each epoch, in evaluation mode; the training figures on
                    as many training images as there are validation images, never augmented
    step_loss       [config, step], the loss of each batch as the optimiser saw it
    learning_rate   [config, step]
    diverged        [config] bool: the loss stopped being a finite number
    kept_epoch      [config], the epoch (from 0) whose weights were kept: the last, or the best with
                    patience; -1 for a run that diverged
    val_correct     [config, validation image] bool, at the kept epoch; a run that diverged answers
                    "0" to everything
    seconds         [config], this run's share of the time its stack took
    changes         {config: [(step, {field: value})]}: what ``run.set`` changed on the way
    """

    configs: list[Config]
    train_loss: np.ndarray
    train_accuracy: np.ndarray
    val_loss: np.ndarray
    val_accuracy: np.ndarray
    step_loss: np.ndarray
    learning_rate: np.ndarray
    diverged: np.ndarray
    kept_epoch: np.ndarray
    val_correct: np.ndarray
    seconds: np.ndarray
    weights: list[Weights | None] = field(repr=False, default_factory=list)
    changes: dict[int, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)

    @classmethod
    def empty(cls, configs: list[Config], steps: int, val_images: int) -> History:
        """All NaN: ``steps`` is the largest number of updates that any configuration makes."""
        count, epochs = len(configs), max(config.epochs for config in configs)
        shapes = dict.fromkeys(CURVES, epochs) | {"step_loss": steps, "learning_rate": steps}
        floats: dict[str, Any] = {
            name: np.full((count, length), np.nan, np.float32) for name, length in shapes.items()
        }
        return cls(
            configs,
            **floats,
            diverged=np.zeros(count, bool),
            kept_epoch=np.full(count, -1),
            val_correct=np.zeros((count, val_images), bool),
            seconds=np.zeros(count),
            weights=[None] * count,
        )

    def __len__(self) -> int:
        return len(self.configs)

    def __getitem__(self, chosen: Sequence[int] | np.ndarray | slice) -> History:
        """Some of the runs: indices, a slice or a boolean mask."""
        rows = np.atleast_1d(np.arange(len(self))[chosen])
        arrays = {name: each[rows] for name, each in vars(self).items() if hasattr(each, "dtype")}
        return History(
            [self.configs[row] for row in rows],
            **arrays,
            weights=[self.weights[row] for row in rows],
            changes={n: self.changes[row] for n, row in enumerate(rows) if row in self.changes},
        )

    def select(self, **values: Any) -> History:
        """The runs whose Config has these values: ``history.select(learning_rate=0.1)``."""
        chosen = [
            all(_equal(getattr(config, name), value) for name, value in values.items())
            for config in self.configs
        ]
        differ = {} if any(chosen) else {name: list(self.by(name)) for name in self.varied()}
        require(any(chosen), f"no run has {values}; the configurations differ in {differ}")
        return self[np.array(chosen)]

    def by(self, name: str) -> dict[Any, History]:
        """The runs grouped by one field of Config, in order of appearance."""
        values = dict.fromkeys(getattr(config, name) for config in self.configs)
        return {value: self.select(**{name: value}) for value in values}

    def varied(self) -> list[str]:
        """The fields of Config in which the runs differ."""
        rows = [vars(config) for config in self.configs]
        return [name for name in rows[0] if any(row[name] != rows[0][name] for row in rows)]

    def best(self, name: str) -> History:
        """The runs of the value of one field whose mean validation accuracy is the highest.

        A run that diverged counts as chance. Raises ValueError where other fields but the seed
        vary too: a value of ``name`` would then stand for a mixture.
        """
        mixed = ", ".join(each for each in self.varied() if each not in (name, "seed"))
        require(not mixed, f"{mixed}: varies as well as {name}; select one value first")
        return max(self.by(name).values(), key=lambda runs: runs.val_correct.mean())

    def final(self, metric: str = "val_accuracy") -> np.ndarray:
        """[config]: a curve at the epoch whose weights were kept; NaN for a run that diverged."""
        rows = np.arange(len(self))
        at_kept = getattr(self, metric)[rows, np.maximum(self.kept_epoch, 0)]
        return np.where(self.kept_epoch >= 0, at_kept, np.nan)

    def mean(self, metric: str = "val_accuracy") -> np.ndarray:
        """[epoch]: the mean of a curve over the runs."""
        return np.mean(getattr(self, metric), axis=0)

    def model(self, index: int = 0) -> nn.Module:
        """The trained network of one run: a plain module in evaluation mode, yours to keep."""
        weights = self.weights[index]
        why = "fit was called with keep_models=False, or was interrupted"
        require(weights is not None, f"run {index} has no weights: {why}")
        return weights.to_module()

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each run and epoch: the fields that vary, the seed, the epoch (from 1) and
        the four curves. None stands as "none", which pandas keeps when it groups."""
        count, epochs = self.val_loss.shape
        frame = pd.DataFrame()
        for name in dict.fromkeys([*self.varied(), "seed"]):
            cells = _cells([getattr(config, name) for config in self.configs])
            kind = object if "none" in cells else None
            frame[name] = np.repeat(np.array(cells, dtype=kind), epochs)
        frame["epoch"] = np.tile(np.arange(1, epochs + 1), count)
        for name in CURVES:
            frame[name] = getattr(self, name).ravel()
        return frame.dropna(subset=["val_loss"], ignore_index=True)


def _equal(value: Any, other: Any) -> bool:
    """Equal, or equal but for the rounding that a number suffers on its way."""
    numbers = [isinstance(each, (int, float, np.number)) for each in (value, other)]
    return math.isclose(value, other, rel_tol=1e-9) if all(numbers) else value == other


def _cells(values: list[Any]) -> list[Any]:
    """Config values as they should stand in a table: callables by their name, two of one name
    numbered."""
    own = list(dict.fromkeys(filter(callable, values)))
    names = [getattr(each, "__name__", type(each).__name__) for each in own]
    many = [f"{name} {names[:n].count(name) + 1}" for n, name in enumerate(names)]
    told = [one if names.count(one) == 1 else other for one, other in zip(names, many, strict=True)]
    by_name = dict(zip(own, told, strict=True))
    return ["none" if v is None else by_name[v] if callable(v) else v for v in values]
