"""The bank: thousands of finished training runs in one table, so that a search costs milliseconds.

Every entry was trained by the engine (``make bank``); nothing is interpolated. The idea of a
tabular benchmark is that of HPO-Bench (Klein and Hutter, 2019).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from .files import DATA_FOLDER, array_checksum, read_arrays, reason, restore, write

BANK = "hpo_bank.npz"
CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
METRICS = (*CURVES, "test_accuracy", "seconds")

Knobs = Mapping[str, float] | object  # a mapping, or a Config, that has every axis


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

    @property
    def search_seeds(self) -> tuple[int, ...]:
        """The first half of the seeds: what a search may see."""
        return self.seeds[: (len(self.seeds) + 1) // 2]

    @property
    def judge_seeds(self) -> tuple[int, ...]:
        """The other half: what a search is judged by."""
        return self.seeds[(len(self.seeds) + 1) // 2 :]

    def __len__(self) -> int:
        return int(np.prod(self.shape)) * len(self.seeds)

    def __repr__(self) -> str:
        grid = " x ".join(map(str, self.shape))
        size = f"{len(self):,} runs of {self.epochs} epochs"
        return f"<bank: {size}, {grid} x {len(self.seeds)} seeds>"

    def describe(self) -> str:
        """Axes, units, versions and date, to read."""
        lines = [f"{len(self):,} runs of {self.epochs} epochs: {self.about['task']}"]
        for name, values in {**self.axes, "seed": self.seeds}.items():
            lines.append(f"  {name:14} {', '.join(f'{value:g}' for value in values)}")
        fixed = ", ".join(f"{name} {value}" for name, value in self.about["fixed"].items())
        versions = ", ".join(f"{name} {text}" for name, text in self.about["versions"].items())
        lines += [
            "After each epoch: training and validation loss (nats; infinite once a run has",
            "diverged) and accuracy (a share). After the last: test accuracy (a share), and the",
            "run's part of the training time (seconds).",
            f"Fixed: {fixed}.",
            f"Made on {self.about['date']} with {versions}.",
        ]
        return "\n".join(lines)

    def config(self, entry: int) -> dict[str, float]:
        """The configuration of an entry, counted over the whole grid, the last axis fastest."""
        places = np.unravel_index(entry, self.shape)
        return {
            name: values[place]
            for (name, values), place in zip(self.axes.items(), places, strict=True)
        }

    def index(self, config: Knobs) -> tuple[int, ...]:
        """Where a configuration stands in the grid.

        Raises KeyError for an axis that is missing or unknown, ValueError for a value off the grid.
        """
        if not isinstance(config, Mapping):
            config = {name: getattr(config, name) for name in self.axes}
        if set(config) != set(self.axes):
            got = ", ".join(map(str, config)) or "nothing"
            raise KeyError(f"config: got {got}, takes exactly {', '.join(self.axes)}")
        return tuple(position(name, config[name], values) for name, values in self.axes.items())

    def lookup(
        self, config: Knobs, epoch: int | None = None, seed: int = 0, metric: str = "val_accuracy"
    ) -> float:
        """One number of one run: after ``epoch`` (from 1; None for the last), for a metric in
        ``METRICS``."""
        values = self._metric(metric)[self.index(config)][position("seed", seed, self.seeds)]
        epoch = self._epoch(epoch, metric)
        return float(values[epoch] if metric in CURVES else values)

    def curve(self, config: Knobs, seed: int = 0, metric: str = "val_accuracy") -> np.ndarray:
        """[epoch]: one curve of one run."""
        curves = self._curves(metric)
        return curves[self.index(config)][position("seed", seed, self.seeds)].copy()

    def landscape(
        self,
        metric: str = "val_accuracy",
        epoch: int | None = None,
        seeds: int | Sequence[int] | None = None,
    ) -> np.ndarray:
        """One number for every point of the grid, shaped like ``shape``: of one seed, or the mean
        over some (all of them, unless given)."""
        values, epoch = self._metric(metric), self._epoch(epoch, metric)
        if metric in CURVES:
            values = values[..., epoch]
        chosen = self.seeds if seeds is None else np.atleast_1d(seeds).tolist()
        return values[..., [position("seed", seed, self.seeds) for seed in chosen]].mean(-1)

    def truth(self) -> np.ndarray:
        """[entry]: final validation accuracy, the mean over ``judge_seeds``, which no search sees.

        Raises ValueError for a bank of one seed, which cannot do both.
        """
        if not self.judge_seeds:
            raise ValueError("seeds: got one, takes two or more: some to search on, some to judge")
        return self.landscape(seeds=self.judge_seeds).ravel()

    def table(self, metric: str = "val_accuracy") -> np.ndarray:
        """All curves as [entry, seed, epoch]: what a search written by hand walks on."""
        return self._curves(metric).reshape(-1, len(self.seeds), self.epochs).copy()

    def objective(
        self, seed: int | str = 0, epochs: int | None = None, metric: str = "val_accuracy"
    ) -> Callable[[optuna.Trial], float]:
        """An Optuna objective that answers from the table, epoch by epoch, so that pruners work.

        Each knob is suggested as the place of its value on its axis, a whole number: that is a
        scale on which any sampler can walk. ``seed`` is one of ``seeds``, or "random": one of
        ``search_seeds``, drawn anew for each trial (from its number), as an honest search would
        see it. The configuration stands in the user attribute "config".
        """
        last, curves = self._epoch(epochs, metric) + 1, self._curves(metric)
        if seed != "random":
            position("seed", seed, self.seeds)

        def ask(trial: optuna.Trial) -> float:
            places = tuple(
                trial.suggest_int(name, 0, len(values) - 1) for name, values in self.axes.items()
            )
            entry = int(np.ravel_multi_index(places, self.shape))
            trial.set_user_attr("config", self.config(entry))
            draw = np.random.default_rng(trial.number).choice(self.search_seeds)
            used = position("seed", draw if seed == "random" else seed, self.seeds)
            curve = curves[places][used]
            for epoch in range(1, last + 1):
                trial.report(float(curve[epoch - 1]), step=epoch)
                if epoch < last and trial.should_prune():
                    raise optuna.TrialPruned
            return float(curve[last - 1])

        return ask

    def _metric(self, metric: str) -> np.ndarray:
        if metric not in METRICS:
            raise ValueError(f"metric: got {metric!r}, takes one of {', '.join(METRICS)}")
        return self._values[metric]

    def _curves(self, metric: str) -> np.ndarray:
        if metric not in CURVES:
            raise ValueError(f"metric: got {metric!r}, a curve is one of {', '.join(CURVES)}")
        return self._values[metric]

    def _epoch(self, epoch: int | None, metric: str) -> int:
        if epoch is None:
            return self.epochs - 1
        if metric not in CURVES and epoch != self.epochs:
            known = f"{metric} is known after the last epoch ({self.epochs}) only"
            raise ValueError(f"epoch: got {epoch!r}, {known}")
        if isinstance(epoch, bool) or epoch not in range(1, self.epochs + 1):
            takes = f"1 to {self.epochs}, or None for the last"
            raise ValueError(f"epoch: got {epoch!r}, takes {takes}")
        return int(epoch) - 1


def position(name: str, value: Any, values: Sequence[float]) -> int:
    """The place of ``value`` among ``values``, which holds it up to rounding."""
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        near = np.flatnonzero(np.isclose(values, value, rtol=1e-9, atol=0))
        if len(near):
            return int(near[0])
    known = ", ".join(f"{number:g}" for number in values)
    raise ValueError(f"{name}: got {value!r}, the bank holds {known}")


def load_bank(path: Path | str | None = None) -> Bank:
    """The bundled bank, or the one at ``path``, once its checksum is right.

    Raises FileNotFoundError or ValueError, each saying how to get the file back.
    """
    path = DATA_FOLDER / BANK if path is None else Path(path)
    advice = f"{restore(path)}; or build it anew with: make bank"
    stored = read_sealed(path, {*METRICS, "about"}, advice)
    about = json.loads(str(stored["about"]))
    values = {name: stored[name].astype(np.float64) for name in METRICS}
    for name, images in about["images"].items():  # stored as numbers of right answers
        values[name] /= images
    axes = {name: tuple(axis) for name, axis in about["axes"].items()}
    return Bank(axes, tuple(about["seeds"]), about["epochs"], about, values)


def write_sealed(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays in one compressed npz file that holds their checksum, too; all or nothing."""
    buffer = io.BytesIO()
    sealed: dict[str, Any] = {**arrays, "sha256": np.array(array_checksum(arrays))}
    np.savez_compressed(buffer, **sealed)
    write(path, buffer.getvalue())


def read_sealed(path: Path, names: set[str], advice: str) -> dict[str, np.ndarray]:
    """What ``write_sealed`` wrote, which must have just these ``names``.

    Raises FileNotFoundError, or ValueError for damage; each ends with ``advice``.
    """
    try:
        stored = read_arrays(path, advice)
    except RuntimeError as error:  # of zipfile, where a flipped bit says: encrypted
        raise ValueError(f"{path.name} is damaged: {reason(error)}. {advice}") from error
    said, actual = str(stored.pop("sha256", "nothing")), array_checksum(stored)
    if actual != said:
        raise ValueError(
            f"{path.name} is damaged or was changed: its contents have the SHA-256 "
            f"{actual[:12]}, it says {said[:12]}. {advice}"
        )
    if set(stored) != names:
        raise ValueError(
            f"{path.name} holds other arrays than {', '.join(sorted(names))}. {advice}"
        )
    return stored
