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


def finals_by(history: History, field: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """(values [value], final metric [value, seed]), values of the field ascending; NaN for a run
    that diverged."""
    groups = history.by(field)
    values = sorted(groups)
    return np.array(values), np.stack([groups[value].final(metric) for value in values])


def best_exponents(
    history: History, field: str = "learning_rate", metric: str = "train_loss"
) -> np.ndarray:
    """[seed]: log2 of the field's value with the lowest final loss, or the highest accuracy.

    Between the values that were tried, the logarithm of loss (or of error) over that of the value
    is taken to be a parabola through the lowest point and its two neighbours; at an end of the
    grid, the end itself stands.
    """
    values, finals = finals_by(history, field, metric)
    costs = finals if metric.endswith("loss") else 1 - finals
    places, heights = np.log2(values), np.log(np.where(np.isfinite(costs), costs, np.inf))
    found = []
    for column in heights.T:
        middle = int(np.argmin(column))
        if not 0 < middle < len(values) - 1 or not np.isfinite(column[middle + 1]):
            found.append(places[middle])
            continue
        left, low, right = column[middle - 1 : middle + 2]
        step, bend = places[middle + 1] - places[middle], left - 2 * low + right
        found.append(places[middle] + (step * 0.5 * (left - right) / bend if bend > 0 else 0))
    return np.array(found)


def decay_slopes(history: History, metric: str = "val_accuracy") -> np.ndarray:
    """[seed]: by how many doublings the best weight decay rises as the learning rate doubles: the
    slope of a straight line through the logarithms. At -1, their product stays."""
    by_rate = history.by("learning_rate")
    best = [best_exponents(runs, "weight_decay", metric) for runs in by_rate.values()]
    return np.polyfit(np.log2(list(by_rate)), np.array(best), 1)[0]


def price_of_transfer(small: History, large: History) -> Estimate:
    """How many times larger the large network's training loss is with the small one's best rate
    than with its own best, seed by seed; both rates are the best in the mean, of those tried."""
    rates, losses = finals_by(large, "learning_rate", "train_loss")
    taken = finals_by(small, "learning_rate", "train_loss")
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


def schedule_free(run: Run, memory: dict[str, Tensor], beta: float = 0.9) -> None:
    """After each step of SGD: the update of schedule-free SGD (Defazio et al., arXiv 2405.15682).

    z makes the steps, x is the mean of all places where z has been, gradients are taken between
    the two, and the trained network is x.
    """
    weights = run.stack.rows  # [network, weight]; SGD has just moved them
    rate = weights.new_tensor([[config.learning_rate] for config in run.configs])
    step = rate * run.stack.gradients
    if not memory:
        memory["z"] = memory["x"] = weights + step  # where it began
    memory["z"] = memory["z"] - step
    memory["x"] = memory["x"] + (memory["z"] - memory["x"]) / (run.step + 1)
    is_last = run.step == run.configs[0].epochs * run.batches.count
    between = (1 - beta) * memory["z"] + beta * memory["x"]
    weights.copy_(memory["x"] if is_last else between)


def tuned_after_steps(
    config: Config,
    dataset: Dataset,
    rates: Sequence[float],
    after_step: AfterStep = schedule_free,
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
