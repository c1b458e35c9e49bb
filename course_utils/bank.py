"""The bank: some thousands of finished training runs in one table, so that a search costs milliseconds. Floor 3.

Every entry was trained by the engine (``make bank``); nothing is interpolated. The idea of a tabular benchmark is
that of HPO-Bench (Klein and Hutter, 2019).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import optuna

from .files import DATA_FOLDER

BANK = "hpo_bank.npz"
CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
METRICS = (*CURVES, "test_accuracy", "seconds")
RESTORE = f"Get it back with: git checkout -- data/{BANK}, or build it anew with: make bank"


@dataclass(frozen=True)
class Bank:
    """A full grid of runs. ``load_bank`` returns one.

    axes     {field of Config: its values, in increasing order}
    seeds    every point of the grid was trained with each of these
    epochs   how long every run was trained; curves count from epoch 1
    about    how the runs were made: the fixed fields, sizes, versions, date
    """

    axes: dict[str, tuple[float, ...]]
    seeds: tuple[int, ...]
    epochs: int
    about: dict[str, Any]
    _values: dict[str, np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each axis has."""
        return tuple(map(len, self.axes.values()))

    def __len__(self) -> int:
        return int(np.prod(self.shape)) * len(self.seeds)

    def __repr__(self) -> str:
        grid = " x ".join(map(str, self.shape))
        return (
            f"<bank: {len(self):,} runs of {self.epochs} epochs, {grid} x {len(self.seeds)} seeds>"
        )

    def describe(self) -> str:
        """Axes, units, versions and date, to read."""
        lines = [f"{len(self):,} runs of {self.epochs} epochs: {self.about['task']}"]
        lines += [
            f"  {name:14} {', '.join(f'{value:g}' for value in values)}"
            for name, values in self.axes.items()
        ]
        lines += [
            f"  {'seed':14} {', '.join(map(str, self.seeds))}",
            "After each epoch: training and validation loss (nats; infinite once a run has diverged) and accuracy",
            "(a share). After the last: test accuracy (a share), and the run's part of the training time (seconds).",
            f"Fixed: {', '.join(f'{name} {value}' for name, value in self.about['fixed'].items())}.",
            f"Made on {self.about['date']} with {', '.join(f'{k} {v}' for k, v in self.about['versions'].items())}.",
        ]
        return "\n".join(lines)

    def index(self, config: Mapping[str, float] | object) -> tuple[int, ...]:
        """Where a configuration stands in the grid: a mapping, or a Config, with every axis.

        Raises KeyError for an axis that is missing or unknown, ValueError for a value that lies not on the grid.
        """
        given = (
            dict(config)
            if isinstance(config, Mapping)
            else {name: getattr(config, name) for name in self.axes}
        )
        if set(given) != set(self.axes):
            raise KeyError(
                f"config: got {', '.join(map(str, given)) or 'nothing'}, takes exactly {', '.join(self.axes)}"
            )
        return tuple(_position(name, given[name], values) for name, values in self.axes.items())

    def lookup(
        self,
        config: Mapping[str, float] | object,
        epoch: int | None = None,
        seed: int = 0,
        metric: str = "val_accuracy",
    ) -> float:
        """One number of one run: after ``epoch`` (from 1; None for the last), for the metrics in ``METRICS``."""
        values = self._metric(metric)[self.index(config)][_position("seed", seed, self.seeds)]
        epoch = self._epoch(epoch, metric)
        return float(values[epoch] if metric in CURVES else values)

    def curve(
        self, config: Mapping[str, float] | object, seed: int = 0, metric: str = "val_accuracy"
    ) -> np.ndarray:
        """[epoch]: one curve of one run."""
        if metric not in CURVES:
            raise ValueError(f"metric: got {metric!r}, a curve is one of {', '.join(CURVES)}")
        return self._values[metric][self.index(config)][_position("seed", seed, self.seeds)].astype(
            np.float64
        )

    def landscape(
        self, metric: str = "val_accuracy", epoch: int | None = None, seed: int | None = None
    ) -> np.ndarray:
        """One number for every point of the grid, shaped like ``shape``: of one seed, or the mean over the seeds."""
        values, epoch = self._metric(metric), self._epoch(epoch, metric)
        if metric in CURVES:
            values = values[..., epoch]
        if seed is not None:
            return values[..., _position("seed", seed, self.seeds)].astype(np.float64)
        return values.mean(-1, dtype=np.float64)

    def objective(
        self, seed: int | str = 0, epochs: int | None = None, metric: str = "val_accuracy"
    ) -> Callable[[optuna.Trial], float]:
        """An Optuna objective that answers from the table, epoch by epoch, so that pruners work.

        Each knob is suggested as the place of its value on its axis, a whole number: that is a log scale, and any sampler
        can walk on it. ``seed`` is one of ``seeds``, or "random": drawn anew for each trial (from the trial's number), as
        an honest search would see it. The configuration stands in the user attribute "config".
        """
        last = self._epoch(epochs, metric) + 1
        if metric not in CURVES:
            raise ValueError(
                f"metric: got {metric!r}, an objective needs one of {', '.join(CURVES)}"
            )
        if seed != "random":
            _position("seed", seed, self.seeds)

        def ask(trial: optuna.Trial) -> float:
            config = {
                name: values[trial.suggest_int(name, 0, len(values) - 1)]
                for name, values in self.axes.items()
            }
            trial.set_user_attr("config", config)
            used = (
                self.seeds[np.random.default_rng(trial.number).integers(len(self.seeds))]
                if seed == "random"
                else seed
            )
            curve = self.curve(config, used, metric)
            for epoch in range(1, last + 1):
                trial.report(float(curve[epoch - 1]), step=epoch)
                if epoch < last and trial.should_prune():
                    raise optuna.TrialPruned
            return float(curve[last - 1])

        return ask

    def cost(self, config: Mapping[str, float] | object, epochs: int | None = None) -> float:
        """Seconds that so many epochs of this configuration took when the bank was built (mean over the seeds).

        A stack's time in equal shares, on whatever machine it was: count epochs to compare searches.
        """
        whole = float(self._values["seconds"][self.index(config)].mean())
        return whole * (self._epoch(epochs, "val_loss") + 1) / self.epochs

    def _metric(self, metric: str) -> np.ndarray:
        if metric not in METRICS:
            raise ValueError(f"metric: got {metric!r}, takes one of {', '.join(METRICS)}")
        return self._values[metric]

    def _epoch(self, epoch: int | None, metric: str) -> int:
        if epoch is None:
            return self.epochs - 1
        if metric not in CURVES and epoch != self.epochs:
            raise ValueError(
                f"epoch: got {epoch!r}, {metric} is known after the last epoch ({self.epochs}) only"
            )
        if isinstance(epoch, bool) or epoch not in range(1, self.epochs + 1):
            raise ValueError(
                f"epoch: got {epoch!r}, takes 1 to {self.epochs}, or None for the last"
            )
        return int(epoch) - 1


def _position(name: str, value: Any, values: Sequence[float]) -> int:
    """The place of ``value`` among ``values``, which holds it up to rounding."""
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        near = np.flatnonzero(np.isclose(values, value, rtol=1e-9, atol=0))
        if len(near):
            return int(near[0])
    raise ValueError(
        f"{name}: got {value!r}, the bank holds {', '.join(f'{each:g}' for each in values)}"
    )


def load_bank(path: Path | str | None = None) -> Bank:
    """The bundled bank, or the one at ``path``, once its checksum is right.

    Raises FileNotFoundError or ValueError, each saying how to get the file back.
    """
    path = DATA_FOLDER / BANK if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.name} is missing from the folder {path.parent.name!r}. {RESTORE}"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            stored = {name: archive[name] for name in archive.files}
        found, about = str(stored.pop("sha256")), json.loads(str(stored["about"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(
            f"{path.name} is damaged: it cannot be read ({type(error).__name__}). {RESTORE}"
        ) from error
    expected = checksum(stored)
    if found != expected:
        raise ValueError(
            f"{path.name} is damaged or was changed: its contents have the SHA-256 {expected[:12]}..., "
            f"it says {found[:12]}... . {RESTORE}"
        )
    values = {name: stored[name].astype(np.float32) for name in METRICS}
    for name, images in about[
        "images"
    ].items():  # accuracies are stored as numbers of right answers
        values[name] /= images
    axes = {name: tuple(axis) for name, axis in about["axes"].items()}
    return Bank(axes, tuple(about["seeds"]), about["epochs"], about, values)


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the names, types, shapes and bytes of all arrays: the same for the same contents, however compressed."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def pack(values: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays for the file. Accuracies become numbers of right answers (exact), losses and seconds float16 (relative
    error at most 1/2048; a loss that is no number any more becomes infinite)."""
    arrays: dict[str, np.ndarray] = {"about": np.array(json.dumps(about))}
    for name in METRICS:
        if name in about["images"]:
            arrays[name] = np.rint(values[name] * about["images"][name]).astype(np.uint16)
        else:
            loss = np.nan_to_num(np.asarray(values[name], np.float64), nan=np.inf)
            arrays[name] = np.where(loss > np.finfo(np.float16).max, np.inf, loss).astype(
                np.float16
            )
    return arrays | {"sha256": np.array(checksum(arrays))}


def grid(axes: Mapping[str, Iterable[float]]) -> list[dict[str, float]]:
    """Every point of the grid, the last axis changing fastest."""
    points: list[dict[str, float]] = [{}]
    for name, values in axes.items():
        points = [point | {name: value} for point in points for value in values]
    return points
