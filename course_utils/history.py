"""What a training run leaves behind: curves for every configuration, and the trained networks. Floor 1."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from .config import Config

CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


@dataclass
class TrainedWeights:
    """One network's weights as a row of its stack, and what is needed to make it a module again."""

    template: nn.Module
    row: Tensor
    buffers: list[Tensor]

    def to_module(self) -> nn.Module:
        model = copy.deepcopy(self.template)
        vector_to_parameters(self.row.detach().clone(), [p for p in model.parameters() if p.requires_grad])
        rest = [p for p in model.parameters() if not p.requires_grad] + list(model.buffers())
        for tensor, value in zip(rest, self.buffers, strict=True):
            tensor.data = value.detach().clone()
        return model.to(self.row.device).eval()


@dataclass
class History:
    """The record of ``fit``. Arrays are NaN where a run had already ended.

    configs         list of Config, in the order given
    train_loss, train_accuracy, val_loss, val_accuracy
                    [config, epoch], after each epoch, in evaluation mode; the training figures on as
                    many training images as there are validation images, never augmented
    step_loss       [config, step], the loss of each batch as the optimiser saw it
    learning_rate   [config, step]
    diverged        [config] bool: the loss stopped being a finite number
    kept_epoch      [config], the epoch (from 0) whose weights were kept: the last, or the best with patience;
                    -1 for a run that diverged
    val_correct     [config, validation image] bool, at the kept epoch; a run that diverged answers "0" to everything
    seconds         [config], this run's share of the time its stack took
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
    weights: list[TrainedWeights | None] = field(repr=False, default_factory=list)

    @classmethod
    def empty(cls, configs: list[Config], steps: int, val_images: int) -> History:
        """All NaN: ``steps`` is the largest number of updates that any of the configurations makes."""
        count, epochs = len(configs), max(config.epochs for config in configs)
        curves = {name: np.full((count, epochs), np.nan, np.float32) for name in CURVES}
        return cls(configs, **curves, step_loss=np.full((count, steps), np.nan, np.float32),
                   learning_rate=np.full((count, steps), np.nan, np.float32), diverged=np.zeros(count, bool),
                   kept_epoch=np.full(count, -1), val_correct=np.zeros((count, val_images), bool),
                   seconds=np.zeros(count), weights=[None] * count)

    def __len__(self) -> int:
        return len(self.configs)

    def __getitem__(self, chosen: Sequence[int] | np.ndarray | slice) -> History:
        """Some of the runs: indices, a slice or a boolean mask."""
        rows = np.atleast_1d(np.arange(len(self))[chosen])
        arrays = {name: value[rows] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return History([self.configs[row] for row in rows], **arrays, weights=[self.weights[row] for row in rows])

    def select(self, **fields: Any) -> History:
        """The runs whose Config has these values: ``history.select(learning_rate=0.1)``."""
        mask = np.array([all(getattr(config, name) == value for name, value in fields.items())
                         for config in self.configs], dtype=bool)
        if not mask.any():
            raise ValueError(f"no run has {fields}; the configurations differ in {self.varied()}")
        return self[mask]

    def by(self, name: str) -> dict[Any, History]:
        """The runs grouped by one field of Config, in order of appearance."""
        values = dict.fromkeys(getattr(config, name) for config in self.configs)
        return {value: self.select(**{name: value}) for value in values}

    def varied(self) -> list[str]:
        """The fields of Config in which the runs differ."""
        first = self.configs[0]
        return [name for name in vars(first)
                if any(getattr(config, name) != getattr(first, name) for config in self.configs)]

    def final(self, metric: str = "val_accuracy") -> np.ndarray:
        """[config]: a curve's value at the epoch whose weights were kept; NaN for a run that diverged."""
        curve = getattr(self, metric)
        return np.where(self.kept_epoch >= 0, curve[np.arange(len(self)), np.maximum(self.kept_epoch, 0)], np.nan)

    def mean(self, metric: str = "val_accuracy") -> np.ndarray:
        """[epoch]: the mean of a curve over the runs."""
        return np.mean(getattr(self, metric), axis=0)

    def model(self, index: int = 0) -> nn.Module:
        """The trained network of one run: a plain module in evaluation mode, yours to keep."""
        weights = self.weights[index]
        if weights is None:
            raise ValueError(f"run {index} has no weights: fit was called with keep_models=False, or was interrupted")
        return weights.to_module()

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each run and epoch: the varied fields, the seed, the epoch (from 1) and the four curves."""
        names = list(dict.fromkeys([*self.varied(), "seed"]))
        count, epochs = self.val_loss.shape
        frame = pd.DataFrame({name: np.repeat([_cell(getattr(config, name)) for config in self.configs], epochs)
                              for name in names})
        frame["epoch"] = np.tile(np.arange(1, epochs + 1), count)
        for name in CURVES:
            frame[name] = getattr(self, name).ravel()
        return frame.dropna(subset=["val_loss"], ignore_index=True)


def _cell(value: Any) -> Any:
    """A Config value as it should stand in a table: callables by their name."""
    return getattr(value, "__name__", str(value)) if callable(value) else value
