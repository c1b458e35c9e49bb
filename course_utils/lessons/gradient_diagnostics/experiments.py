"""What the experiments of notebook 07 need beside ``fit`` and ``compare``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ...diagnostics import inspect_layers
from ...engine.config import Config, sweep
from ...engine.data import Dataset, Split
from ...engine.history import History
from ...engine.networks import ACTIVATIONS, NORMALISATIONS, initialise
from ...engine.plan import build, build_mlp
from ...engine.training import Run, fit
from ...evidence import Estimate, mean_interval
from ...protocol import edges

SEEN = 200  # images that the instruments look at
TUNING_SEEDS = range(8, 10)
NOTHING = 1e-30  # stands for a gradient of zero where a logarithm is taken
GUIDE = -3.0  # log10 of update to weight
Build = Callable[[Config, Dataset], nn.Module]

# Networks -----------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A layer around which its input can walk (He et al., 2016): x + branch(x)."""

    def __init__(self, *branch: nn.Module):
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def residual_mlp(config: Config, dataset: Dataset) -> nn.Sequential:
    """The dense network of a Config, with a residual road around every hidden layer but the first."""

    def layer(inputs: int) -> list[nn.Module]:
        norm = [NORMALISATIONS[config.normalisation](config.width)] if config.normalisation else []
        return [nn.Linear(inputs, config.width), *norm, ACTIVATIONS[config.activation]()]

    first = layer(dataset.train.images[0].numel())
    others = [Residual(*layer(config.width)) for _ in range(config.depth - 1)]
    last = nn.Linear(config.width, dataset.classes)
    model = nn.Sequential(nn.Flatten(-3), *first, *others, last)
    initialise(model, config.init)
    return model


def untrained(config: Config, dataset: Dataset, model: Build = build_mlp) -> nn.Module:
    """The network with which ``fit`` begins: the same weights for the same seed."""
    return build(model, config, dataset)[0].to(dataset.device)


def first_look(config: Config, dataset: Dataset, model: Build = build_mlp) -> pd.DataFrame:
    """What the instruments say of a network before any training: ``inspect_layers``, by layer."""
    seen = dataset.train.first(SEEN)
    return inspect_layers(untrained(config, dataset, model), seen.images, seen.labels)


# Many kinds of networks ---------------------------------------------------------------------------


def survey(
    config: Config, dataset: Dataset, rates: Sequence[float], **kinds: Sequence[Any]
) -> pd.DataFrame:
    """Train every combination of ``kinds``, each at its own best rate; one row for each network.

    The rate is chosen on seeds and images of its own. Columns: the fields of ``kinds``, ``seed``
    (0 to 7), ``learning_rate`` and ``accuracy`` (on the validation images), and, before training,
    gradient_kept    log10 of the gradient at the first hidden layer over that at the last
    spread_kept      log10 of the spread between images in the last hidden layer over the first's
    dead, saturated  share of units, mean over the hidden layers
    """
    judged = fit(_at_best_rates(config, dataset, rates, kinds), dataset, keep_models=False)
    rows = []
    for each, correct in zip(judged.configs, judged.val_correct, strict=True):
        row = {name: getattr(each, name) for name in (*kinds, "seed", "learning_rate")}
        rows.append(row | _summary(first_look(each, dataset)) | {"accuracy": correct.mean()})
    return pd.DataFrame(rows)


def _at_best_rates(
    config: Config, dataset: Dataset, rates: Sequence[float], kinds: dict[str, Sequence[Any]]
) -> list[Config]:
    """Eight seeds of every kind, at the rate that was best for it on other seeds and images."""
    configs = sweep(config, **kinds, learning_rate=rates, seeds=TUNING_SEEDS)
    tuned = fit(configs, _tuning_part(dataset), keep_models=False)
    score = tuned.val_correct.mean(1).reshape(-1, len(rates), len(TUNING_SEEDS)).mean(2)
    every = len(rates) * len(TUNING_SEEDS)
    chosen = [np.asarray(rates)[place] for place in score.argmax(1)]
    return [
        each
        for first, rate in zip(configs[::every], chosen, strict=True)
        for each in first.replace(learning_rate=rate, seed=0).seeds(8)
    ]


def _tuning_part(dataset: Dataset) -> Dataset:
    """The same training images, with the tuning images to look at."""
    assert dataset.tuning is not None
    return replace(dataset, val=dataset.tuning, tuning=None)


def _summary(table: pd.DataFrame) -> dict[str, float]:
    def decades(column: str, over: int, under: int) -> float:
        ends = [max(table[column].iloc[place], NOTHING) for place in (over, under)]
        return math.log10(ends[0] / ends[1])

    return {
        "gradient_kept": decades("gradient_std", 0, -1),
        "spread_kept": decades("between_images", -1, 0),
        "dead": table["dead"].mean(),
        "saturated": table["saturated"].mean(),
    }


# Update to weight ---------------------------------------------------------------------------------


def update_ratios(
    configs: Sequence[Config], dataset: Dataset, every: int = 10
) -> tuple[History, np.ndarray]:
    """Train, and measure log10 of each update's norm over the weights' norm, every few updates.

    Returns (history, ratio [config]): the median over the layers, and over the updates.
    """
    readings: list[list[float]] = [[] for _ in configs]
    before: dict[str, Any] = {}

    def read(run: Run) -> None:
        weights = {name: view for name, view in run.stack.views.items() if view.dim() == 3}
        if (run.step + 1) % every == 0:
            before["rows"] = list(run.indices)
            before["weights"] = {name: each.detach().clone() for name, each in weights.items()}
        elif run.step % every == 0 and before.pop("rows", None) == list(run.indices):
            old = before.pop("weights")
            ratios = [_norm(new.detach() - old[n]) / _norm(old[n]) for n, new in weights.items()]
            for index, active, ratio in zip(
                run.indices, run.active, torch.stack(ratios).log10().median(0).values, strict=True
            ):
                if active:
                    readings[index].append(float(ratio))

    history = fit(configs, dataset, on_step=read, keep_models=False)
    return history, np.array([np.median(each) if each else np.nan for each in readings])


def _norm(weights: Tensor) -> Tensor:
    """[K] of [K, outputs, inputs]"""
    return torch.linalg.vector_norm(weights, dim=(1, 2))


@dataclass(frozen=True)
class RatioStudy:
    """Accuracy against the update-to-weight ratio, over a range of learning rates.

    curve      one row for each rate: learning_rate, ratio, accuracy (tuning seeds and images)
    rate       the best of them
    distance   of the ratio at that rate from the guide, in decades, over fresh seeds
    """

    curve: pd.DataFrame
    rate: float
    distance: Estimate


def study_ratio(config: Config, rates: Sequence[float], dataset: Dataset) -> RatioStudy:
    """Sweep the learning rate, choose the best, and see with which ratio its networks train."""
    tuned, ratios = update_ratios(
        sweep(config, learning_rate=rates, seeds=TUNING_SEEDS), _tuning_part(dataset)
    )
    rows = {"ratio": ratios, "accuracy": tuned.val_correct.mean(1)}
    rows["learning_rate"] = np.array([each.learning_rate for each in tuned.configs])
    curve = pd.DataFrame(rows).groupby("learning_rate", as_index=False).mean()
    rate = float(curve.learning_rate[curve.accuracy.argmax()])
    _, fresh = update_ratios(config.replace(learning_rate=rate).seeds(8), dataset)
    flags = edges({"learning_rate": rate}, {"learning_rate": rates})
    distance = mean_interval(np.abs(fresh - GUIDE), "decades").flagged(*flags)
    return RatioStudy(curve, rate, distance)


def spread_between_images(
    config: Config, dataset: Dataset, seeds: int = 8
) -> np.ndarray:
    """[layer]: how far a unit's outputs differ between images before training, mean over seeds."""
    tables = [first_look(each, dataset) for each in config.seeds(seeds)]
    return np.mean([table["between_images"] for table in tables], axis=0)


def seen(dataset: Dataset) -> Split:
    """The images that the instruments look at."""
    return dataset.train.first(SEEN)
