"""What the experiments of notebook 12 need besides the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...diagnostics import layer_outputs
from ...engine.config import Config, sweep
from ...engine.data import Dataset
from ...engine.history import History
from ...engine.plan import Model, build
from ...engine.run import Run
from ...engine.training import fit
from ...evidence import Estimate, ratio_interval
from ...protocol import widened
from ...threads import Threads

AfterStep = Callable[[Run, dict[str, Tensor]], object]


def losses_by_rate(history: History, metric: str = "train_loss") -> tuple[np.ndarray, np.ndarray]:
    """(rates [rate], final value [rate, seed]), rates ascending; NaN for a run that diverged."""
    groups = history.by("learning_rate")
    rates = sorted(groups)
    return np.array(rates), np.stack([groups[rate].final(metric) for rate in rates])


def best_exponents(history: History) -> np.ndarray:
    """[seed]: log2 of the rate with the lowest final training loss.

    Between the rates that were tried, log loss over log rate is taken to be a parabola through the
    lowest point and its two neighbours; at an end of the grid, the end itself stands.
    """
    rates, losses = losses_by_rate(history)
    places, heights = np.log2(rates), np.log(np.where(np.isfinite(losses), losses, np.inf))
    found = []
    for column in heights.T:
        middle = int(np.argmin(column))
        if not 0 < middle < len(rates) - 1 or not np.isfinite(column[middle + 1]):
            found.append(places[middle])
            continue
        left, low, right = column[middle - 1 : middle + 2]
        step = places[middle + 1] - places[middle]
        found.append(places[middle] + step * 0.5 * (left - right) / (left - 2 * low + right))
    return np.array(found)


def price_of_transfer(small: History, large: History) -> Estimate:
    """How many times larger the large network's training loss is with the small one's best rate
    than with its own best, seed by seed; both rates are the best in the mean, of those tried."""
    rates, losses = losses_by_rate(large)
    taken = losses_by_rate(small)
    chosen = taken[0][np.nanargmin(taken[1].mean(1))]
    place = int(np.abs(np.log(rates / chosen)).argmin())
    return ratio_interval(losses[place], losses[np.nanargmin(losses.mean(1))])


def parameters(width: int, depth: int = 2, inputs: int = 196, outputs: int = 10) -> int:
    """How many numbers a dense network has."""
    hidden = (depth - 1) * (width + 1) * width
    return (inputs + 1) * width + hidden + (width + 1) * outputs


def coordinate_check(
    models: Mapping[str, Model], widths: Sequence[int], dataset: Dataset, rate: float
) -> dict[str, np.ndarray]:
    """{name: [width, step]}: by how much the logits of 200 validation images have moved after one
    to four steps of Adam (root mean square; the mean of three seeds)."""
    images, labels = dataset.train.images[:64], dataset.train.labels[:64]
    moved = {name: np.zeros((len(widths), 4)) for name in models}
    with Threads(several=False):
        for name, model in models.items():
            for row, width in enumerate(widths):
                for seed in range(3):
                    config = Config(width=width, depth=2, seed=seed)
                    network = build(model, config, dataset)[0].to(images.device)
                    moved[name][row] += _moves(network, images, labels, dataset, rate) / 3
    return moved


def _moves(
    network: nn.Module, images: Tensor, labels: Tensor, dataset: Dataset, rate: float
) -> np.ndarray:
    optimizer, watched = torch.optim.Adam(network.parameters(), lr=rate), dataset.val.images[:200]
    with torch.no_grad():
        before = layer_outputs(network, watched)["logits"]
    sizes = []
    for _ in range(4):
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        with torch.no_grad():
            sizes.append((network(watched) - before).square().mean().sqrt().item())
    return np.array(sizes)


# Schedule-free ------------------------------------------------------------------------------------


def tuned_after_steps(
    config: Config, dataset: Dataset, rates: Sequence[float], after_step: AfterStep
) -> tuple[float, History]:
    """(chosen rate, the runs that judge) of an algorithm that rewrites the weights after each step.

    As ``compare`` does it: seeds 8 to 11 and the tuning images choose, seeds 0 to 7 judge.
    ``after_step`` is (run, memory) -> None; what it leaves after the last step is what is judged.
    """
    assert dataset.tuning is not None
    choosing = replace(dataset, val=dataset.tuning, tuning=None)
    tried = widened("learning_rate", list(rates))
    trials = sweep(config, learning_rate=tried, seeds=range(8, 12))
    runs = _fit_rewritten(trials, choosing, after_step)
    groups = runs.by("learning_rate")
    chosen = max(groups, key=lambda rate: groups[rate].val_correct.mean())
    judged = _fit_rewritten(config.replace(learning_rate=chosen).seeds(8), dataset, after_step)
    return chosen, judged


def _fit_rewritten(configs: list[Config], dataset: Dataset, after_step: AfterStep) -> History:
    memories: dict[tuple[int, ...], dict[str, Tensor]] = {}

    def follow(run: Run) -> None:
        memory = memories.setdefault(tuple(run.indices), {})
        with torch.no_grad(), Threads(several=False):
            after_step(run, memory)
            if run.epoch_ended:  # the engine looked before the weights were rewritten
                correct = run.evaluate(run.dataset.val)[1]
                alive = run.active
                rows = np.array(run.indices)[alive]
                run.history.val_correct[rows] = correct[alive]
                run.history.val_accuracy[rows, run.epoch - 1] = correct[alive].mean(1)

    return fit(configs, dataset, on_step=follow, keep_models=False)
