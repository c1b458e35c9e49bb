"""Trainings too long for the minute of notebook 12, carried out once and stored.

``make widths`` carries them out and writes data/widths.npz; ``load_studies`` reads it. Stored are
losses and accuracies after the last epoch, and no weights.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...bank import read_sealed
from ...engine.config import Config, sweep
from ...engine.data import Dataset, Split
from ...engine.history import History
from ...engine.plan import Model, build_mlp
from ...engine.training import fit
from ...estimates import Estimate
from ...files import DATA_FOLDER, restore
from ...mnist import load_mnist
from .networks import mup, standard

WIDTHS = "widths.npz"
METRICS = ("train_loss", "val_loss", "val_accuracy")
SEEDS = 8
STORED = "are stored, and were not repeated with wider grids or longer training"


def digits() -> Dataset:
    """The lesson's thousand digits, on the processor."""
    return load_mnist(subset=1000, image_size=14, device="cpu")


def digits_with_wrong_labels(share: float = 0.3) -> Dataset:
    """The same digits; this share of the training labels, drawn once, is another digit."""
    data = digits()
    generator, count = torch.Generator().manual_seed(0), len(data.train)
    chosen = torch.rand(count, generator=generator) < share
    shift = torch.randint(1, 10, (count,), generator=generator) * chosen
    return replace(data, train=Split(data.train.images, (data.train.labels + shift) % 10))


@dataclass(frozen=True)
class Study:
    """A grid of trainings: every combination of the ``grid``'s values, with eight seeds each."""

    config: Config
    grid: Mapping[str, tuple[Any, ...]]
    model: Model = build_mlp
    data: Callable[[], Dataset] = digits

    def configs(self, **chosen: Any) -> list[Config]:
        """All configurations, or those with some fields' values fixed to those named."""
        fixed = {name: (value,) for name, value in chosen.items()}
        return sweep(self.config, **{**self.grid, **fixed}, seeds=SEEDS)

    def carry_out(self, **chosen: Any) -> np.ndarray:
        """[metric, config] float32: what ``METRICS`` names, after training; NaN if it diverged."""
        history = fit(
            self.configs(**chosen),
            self.data(),
            model=self.model,
            keep_models=False,
            progress=False,
        )
        return np.stack([history.final(metric) for metric in METRICS]).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """What decides the runs, for JSON."""
        return {"config": self.config.to_dict(), "grid": {n: list(v) for n, v in self.grid.items()}}


def powers(low: int, high: int) -> tuple[float, ...]:
    """The powers of two from 2^low to 2^high."""
    return tuple(2.0**exponent for exponent in range(low, high + 1))


_WIDE = {"width": (16, 32, 64, 128, 256, 512, 1024), "learning_rate": powers(-11, 0)}
_ADAM = Config(optimizer="adam", depth=2, epochs=3)
_DECAY = {"learning_rate": powers(-10, -7), "weight_decay": powers(-5, 5)}
_ADAMW = Config(optimizer="adamw", depth=2, width=64, epochs=40)
STUDIES = {
    "standard": Study(_ADAM, _WIDE, standard),
    "muP": Study(_ADAM, _WIDE, mup),
    "decay, plain": Study(_ADAMW, _DECAY, data=digits_with_wrong_labels),
    "decay, layer normalisation": Study(
        _ADAMW.replace(normalisation="layer"), _DECAY, data=digits_with_wrong_labels
    ),
}


def to_history(study: Study, finals: np.ndarray) -> History:
    """Stored figures [metric, config] as the History that they came from, as far as it was kept:
    the last epoch of three curves."""
    configs = study.configs()
    history = History.empty(configs, 0, 0)
    for name, values in zip(METRICS, finals, strict=True):
        getattr(history, name)[:, -1] = values
    history.diverged[:] = ~np.isfinite(finals[0])
    history.kept_epoch[:] = np.where(history.diverged, -1, study.config.epochs - 1)
    return history


@functools.cache
def load_studies(path: Path | None = None) -> dict[str, History]:
    """{study: its runs} of data/widths.npz, once its checksum is right.

    Raises FileNotFoundError or ValueError, each saying how to get the file back.
    """
    path = DATA_FOLDER / WIDTHS if path is None else path
    advice = f"{restore(path)}; or build it anew with: make widths"
    stored = read_sealed(path, {"about", *STUDIES}, advice)
    about = json.loads(str(stored["about"]))
    for name, study in STUDIES.items():
        shape = (len(METRICS), len(study.configs()))
        if stored[name].shape != shape or about["studies"][name] != study.describe():
            raise ValueError(f"{path.name} holds other trainings of {name!r}. {advice}")
    return {name: to_history(study, stored[name]) for name, study in STUDIES.items()}


def stored_by(name: str, field: str) -> dict[Any, History]:
    """The stored runs of one study, grouped by a field of Config: {value: History}."""
    return load_studies()[name].by(field)


def of_stored_runs(
    effects: Mapping[str, Estimate], which: str = "these runs"
) -> dict[str, Estimate]:
    """Effects of stored runs, each of which says so in a flag that names the runs."""
    return {name: effect.flagged(f"{which} {STORED}") for name, effect in effects.items()}
