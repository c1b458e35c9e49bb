"""What the experiments of notebook 07 need beside ``fit`` and ``compare``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ...diagnostics import inspect_layers
from ...engine.config import Config, sweep
from ...engine.data import Dataset
from ...engine.history import History
from ...engine.networks import ACTIVATIONS, NORMALISATIONS, initialise
from ...engine.plan import build, build_mlp
from ...engine.run import Run
from ...engine.training import fit
from ...evidence import Estimate, mean_interval
from ...protocol import edges
from ...threads import Threads

SEEN = 200  # images that the instruments look at
TUNING_SEEDS = range(8, 10)
NOTHING = 1e-30  # stands for a gradient of zero where a logarithm is taken
GUIDE = -3.0  # log10 of update to weight, from Karpathy's course notes
Build = Callable[[Config, Dataset], nn.Module]

# Networks -----------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A layer around which its input can walk (He et al., 2016): x + branch(x)."""

    def __init__(self, *branch: nn.Module):
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def residual_mlp(config: Config, dataset: Dataset) -> nn.Module:
    """The dense network of a Config, a residual road around each hidden layer but the first."""

    def layer(inputs: int) -> list[nn.Module]:
        norm = [NORMALISATIONS[config.normalisation](config.width)] if config.normalisation else []
        return [nn.Linear(inputs, config.width), *norm, ACTIVATIONS[config.activation]()]

    first = layer(dataset.train.images[0].numel())
    others = [Residual(*layer(config.width)) for _ in range(config.depth - 1)]
    last = nn.Linear(config.width, dataset.classes)
    return initialise(nn.Sequential(nn.Flatten(), *first, *others, last), config.init)


def biased(bias: float) -> Build:
    """A builder for ``fit``: the dense network, the biases of its hidden layers at ``bias``."""

    def model(config: Config, dataset: Dataset) -> nn.Module:
        network = build_mlp(config, dataset)
        for layer in [layer for layer in network.modules() if isinstance(layer, nn.Linear)][:-1]:
            nn.init.constant_(layer.bias, bias)
        return network

    return model


def first_look(config: Config, dataset: Dataset, model: Build = build_mlp) -> pd.DataFrame:
    """``inspect_layers`` of the network with which ``fit`` begins, before any training."""
    seen = dataset.train.first(SEEN)
    with Threads(several=False):
        network = build(model, config, dataset)[0].to(dataset.device)
        return inspect_layers(network, seen.images, seen.labels)


def profile(config: Config, dataset: Dataset, column: str, seeds: int = 8) -> np.ndarray:
    """[layer]: a column of ``first_look``, geometric mean over seeds 0 to ``seeds`` - 1."""
    tables = [first_look(each, dataset)[column] for each in config.seeds(seeds)]
    return np.exp(np.mean(np.log(np.maximum(tables, NOTHING)), axis=0))


# Many kinds of networks ---------------------------------------------------------------------------


def survey(
    config: Config,
    dataset: Dataset,
    rates: Sequence[float] | np.ndarray,
    kinds: Mapping[str, Sequence[Any]],
    bias: float = 0.0,
) -> pd.DataFrame:
    """Train every combination of ``kinds`` at its own best rate; one row for each kind of network.

    The rate is chosen on seeds and images of its own; then eight seeds are judged. ``bias`` is
    where the hidden layers' biases start. Columns: the fields of ``kinds``, bias, learning_rate,
    the mean accuracy over seeds on the validation images; and before training, means over seeds of

    gradient_kept    log10 of the gradient at the first hidden layer over that at the last
    spread_kept      log10 of the spread between images in the last hidden layer over the first's
    dead, saturated  share of units, mean over the hidden layers
    """
    model = biased(bias) if bias else build_mlp
    configs = _at_best_rates(config, dataset, rates, kinds, model)
    judged = fit(configs, dataset, model=model, keep_models=False)
    rows = []
    for each, correct in zip(judged.configs, judged.val_correct, strict=True):
        row = {name: getattr(each, name) for name in kinds} | {"bias": bias}
        row |= {"learning_rate": each.learning_rate, "accuracy": correct.mean()}
        rows.append(row | _summary(first_look(each, dataset, model)))
    return pd.DataFrame(rows).groupby([*kinds, "bias"], sort=False, as_index=False).mean()


def _at_best_rates(
    config: Config,
    dataset: Dataset,
    rates: Sequence[float] | np.ndarray,
    kinds: Mapping[str, Sequence[Any]],
    model: Build,
) -> list[Config]:
    """Eight seeds of each kind, at the rate that was best for it on other seeds and images."""
    configs = sweep(config, **kinds, learning_rate=rates, seeds=TUNING_SEEDS)
    tuned = fit(configs, _tuning_part(dataset), model=model, keep_models=False)
    score = tuned.val_correct.mean(1).reshape(-1, len(rates), len(TUNING_SEEDS)).mean(2)
    of_a_kind = len(rates) * len(TUNING_SEEDS)
    chosen = [float(rates[place]) for place in score.argmax(1)]
    return [
        seeded
        for first, rate in zip(configs[::of_a_kind], chosen, strict=True)
        for seeded in first.replace(learning_rate=rate, seed=0).seeds(8)
    ]


def _tuning_part(dataset: Dataset) -> Dataset:
    """The same training images, with the tuning images to look at."""
    if dataset.tuning is None:
        raise ValueError("dataset: got one without tuning images, takes one that has them")
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


def describe_norms(norms: Sequence[float], limit: float) -> str:
    """What a list of gradient norms says of clipping at ``limit``, in one line."""
    values = np.asarray(norms)
    finite = np.isfinite(values)
    cut, lost = 100 * np.mean(values > limit), 100 * np.mean(~finite)
    sizes = f"median {np.median(values[finite]):.2g}, largest {values[finite].max():.2g}"
    return f"limit {limit:>4g}: {cut:3.0f} % of the steps cut, {lost:3.0f} % not finite; {sizes}"


# Update to weight ---------------------------------------------------------------------------------


def update_ratios(
    configs: Sequence[Config], dataset: Dataset, every: int = 10
) -> tuple[History, np.ndarray]:
    """Train, and measure log10 of each update's norm over the weights' norm, every few updates.

    Returns (history, ratio [config]): the median over the layers, and over the updates; NaN for a
    network that diverged before the first reading.
    """
    readings: list[list[float]] = [[] for _ in configs]
    before: dict[str, Tensor] = {}
    rows: list[int] = []

    def read(run: Run) -> None:
        weights = {name: view for name, view in run.stack.views.items() if view.dim() == 3}
        if (run.step + 1) % every == 0:
            rows[:] = run.indices
            before.update({name: each.detach().clone() for name, each in weights.items()})
        elif run.step % every == 0 and rows == list(run.indices):
            ratios = [_norm(new - before[n]) / _norm(before[n]) for n, new in weights.items()]
            medians = torch.stack(ratios).log10().median(0).values.tolist()
            for index, active, ratio in zip(run.indices, run.active, medians, strict=True):
                if active and math.isfinite(ratio):
                    readings[index].append(ratio)

    history = fit(configs, dataset, on_step=read, keep_models=False)
    return history, np.array([np.median(each) if each else np.nan for each in readings])


def _norm(weights: Tensor) -> Tensor:
    """[K] of [K, outputs, inputs]"""
    return torch.linalg.vector_norm(weights.detach(), dim=(1, 2))


@dataclass(frozen=True)
class RatioStudy:
    """Accuracy against the update-to-weight ratio, over a range of learning rates.

    curve      one row for each rate: learning_rate, ratio, accuracy (tuning seeds and images)
    rate       the best of them
    ratio      log10 at that rate, over eight fresh seeds
    distance   of that ratio from the guide, in decades
    """

    curve: pd.DataFrame
    rate: float
    ratio: Estimate
    distance: Estimate


def study_ratio(
    config: Config, rates: Sequence[float] | np.ndarray, dataset: Dataset
) -> RatioStudy:
    """Sweep the learning rate, choose the best, and see with which ratio its networks train."""
    configs = sweep(config, learning_rate=rates, seeds=TUNING_SEEDS)
    tuned, ratios = update_ratios(configs, _tuning_part(dataset))
    columns = {"learning_rate": [each.learning_rate for each in configs], "ratio": ratios}
    frame = pd.DataFrame(columns | {"accuracy": tuned.val_correct.mean(1)})
    curve = frame.groupby("learning_rate", as_index=False).mean()
    rate = float(curve.learning_rate[curve.accuracy.argmax()])
    _, fresh = update_ratios(config.replace(learning_rate=rate).seeds(8), dataset)
    flags = edges({"learning_rate": rate}, {"learning_rate": list(rates)})
    distance = mean_interval(np.abs(fresh - GUIDE), "decades").flagged(*flags)
    return RatioStudy(curve, rate, mean_interval(fresh), distance)
