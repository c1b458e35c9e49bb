"""What the experiments of notebook 04 need besides the engine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ...engine.config import Config, sweep
from ...engine.data import Dataset, Split
from ...engine.history import History
from ...engine.run import Run
from ...engine.schedules import make_schedule
from ...engine.training import fit
from ...evidence import Estimate, epochs_to, mean_interval
from ...protocol import Trial, budget, edges
from ...threads import Threads

CHOOSERS, JUDGES = range(8, 12), range(8)
FOLLOWED = 4  # networks whose curvature is followed
State = dict[str, Tensor]
Average = Callable[[State, Tensor], tuple[Tensor, Tensor]]


def tuning_part(dataset: Dataset) -> Dataset:
    """The same training images, with the tuning images to look at: what choices are made by."""
    if dataset.tuning is None:
        raise ValueError("dataset: got one without tuning images, takes load_mnist(subset <= 2000)")
    return replace(dataset, val=dataset.tuning, tuning=None)


# Schedules, drawn -----------------------------------------------------------------------------


def planned_rates(
    schedule: str | Callable, steps: int, val_losses: Sequence[float] = ()
) -> np.ndarray:
    """[step]: the rates that a schedule with peak 1 sets, read off torch's own scheduler.

    "plateau" looks at validation losses; here it is told ``val_losses``, spread over the steps.
    """
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_schedule(schedule, optimizer, steps)
    count = max(1, len(val_losses))
    told = {round((n + 1) * steps / count) - 1: loss for n, loss in enumerate(val_losses)}
    rates = []
    for step in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if isinstance(scheduler, ReduceLROnPlateau):
            if step in told:
                scheduler.step(told[step])
        elif scheduler is not None:
            scheduler.step()
    return np.array(rates)


# Restarts and ridges --------------------------------------------------------------------------


def snapshots(config: Config, epochs: Sequence[int], dataset: Dataset) -> list[list[nn.Module]]:
    """[moment][seed]: eight networks as they were after so many epochs."""
    kept: dict[int, list[nn.Module]] = {}

    def keep(run: Run) -> None:
        if run.epoch in epochs:
            kept[run.epoch] = [run.model(index) for index in run.indices]

    fit(config.seeds(JUDGES), dataset, on_epoch=keep, keep_models=False)
    return [kept[epoch] for epoch in epochs]


@torch.no_grad()
def losses_between(start: nn.Module, end: nn.Module, split: Split, points: int = 21) -> np.ndarray:
    """[point]: the loss on the straight line in weight space from one network to another of the
    same shape (Goodfellow, Vinyals and Saxe, arXiv 1412.6544)."""
    between = copy.deepcopy(start)
    first, last = parameters_to_vector(start.parameters()), parameters_to_vector(end.parameters())
    losses = []
    for share in np.linspace(0, 1, points):
        vector_to_parameters(torch.lerp(first, last, float(share)), between.parameters())
        losses.append(functional.cross_entropy(between(split.images), split.labels).item())
    return np.array(losses)


def paths_between(
    starts: Sequence[nn.Module], ends: Sequence[nn.Module], split: Split
) -> np.ndarray:
    """[pair, point]: the same for several pairs."""
    with Threads(several=False):
        pairs = zip(starts, ends, strict=True)
        return np.array([losses_between(start, end, split) for start, end in pairs])


def ridge_heights(paths: np.ndarray) -> np.ndarray:
    """[pair]: how far each path [pair, point] rises above the straight line between its two ends;
    0 where it never does."""
    share = np.linspace(0, 1, paths.shape[1])
    line = (1 - share) * paths[:, :1] + share * paths[:, -1:]
    return (paths - line).max(1)


# Races to a target ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Race:
    """Runs at several peaks: some to choose a peak for a target by, others to judge it."""

    peaks: list[float]
    choosers: History
    judges: History

    def peak(self, target: float) -> float:
        """The peak at which the choosers reach the target soonest."""
        groups = self.choosers.by("learning_rate").items()
        return min(groups, key=lambda group: epochs_to(group[1], target).mean())[0]

    def epochs(self, target: float) -> np.ndarray:
        """[seed]: epochs until the judges' first touch of the target, at that peak."""
        return epochs_to(self.judges.select(learning_rate=self.peak(target)), target)

    def flags(self, target: float) -> list[str]:
        """Whether that peak lies at an edge of what was tried."""
        return edges({"learning_rate": self.peak(target)}, {"learning_rate": self.peaks})


def race(config: Config, peaks: Sequence[float], dataset: Dataset) -> Race:
    """Train at every peak: seeds 8 to 11 with the tuning images, seeds 0 to 7 with the others."""
    values = [float(peak) for peak in peaks]
    runs = [
        fit(sweep(config, learning_rate=values, seeds=seeds), part, keep_models=False)
        for seeds, part in ((CHOOSERS, tuning_part(dataset)), (JUDGES, dataset))
    ]
    return Race(values, *runs)


def epochs_saved(slower: Race, faster: Race, target: float) -> Estimate:
    """Epochs that ``faster`` saves on the way to the target, paired by seed."""
    saved = mean_interval(slower.epochs(target) - faster.epochs(target), "epochs")
    return saved.flagged(*slower.flags(target), *faster.flags(target))


# Warm-up and curvature ------------------------------------------------------------------------


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """[n]: half the squared distance of logits [n, classes] from 1 for the label, 0 for others."""
    targets = functional.one_hot(labels, logits.shape[-1])
    return 0.5 * (logits - targets).square().sum(-1)


def steepest_curvature(model: nn.Module, split: Split, rounds: int = 12) -> float:
    """The largest eigenvalue of the squared error's Hessian, by power iteration (notebook 03)."""
    weights = list(model.parameters())
    loss = squared_error(model(split.images), split.labels).mean()
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    gradient = torch.cat([part.flatten() for part in gradients])
    vector = torch.randn(len(gradient), generator=torch.Generator().manual_seed(0)).to(gradient)
    for _ in range(rounds):
        vector = vector / vector.norm()
        products = torch.autograd.grad(gradient @ vector, weights, retain_graph=True)
        vector = torch.cat([part.flatten() for part in products])
    return vector.norm().item()


def curvature_on_the_way(
    config: Config, dataset: Dataset, looks: Collection[int]
) -> tuple[np.ndarray, History]:
    """(curvature [seed, look], record) of four networks under gradient descent on all images at
    once, with the squared error. NaN from where a network has diverged."""
    places, config = sorted(looks), config.replace(batch_size=len(dataset.train))
    curvature = np.full((FOLLOWED, len(places)), np.nan)

    def look(run: Run) -> None:
        if run.step in places:
            with Threads(several=False):
                for index in filter(run.is_active, run.indices):
                    value = steepest_curvature(run.model(index), dataset.train)
                    curvature[index, places.index(run.step)] = value

    runs = config.seeds(FOLLOWED)
    history = fit(runs, dataset, loss=squared_error, on_step=look, keep_models=False)
    return curvature, history


# Averages of weights --------------------------------------------------------------------------


def fit_averaged(configs: Sequence[Config], dataset: Dataset, average: Average) -> History:
    """Train; after every update ``average`` (state, weights [K, parameters]) -> (weights to train
    on with, weights to judge) may change them. ``val_correct`` is that of the judged ones."""
    states: dict[int, State] = {}
    known: dict[int, list[int]] = {}

    @torch.no_grad()
    def mix(run: Run) -> None:
        stack = run.indices[0] if not known else max(known)
        if not known or not set(run.indices) <= set(known[stack]):
            stack = run.indices[0]
            states[stack], known[stack] = {}, list(run.indices)
        if known[stack] != run.indices:  # some have ended, and the stack has left them behind
            rows = [known[stack].index(index) for index in run.indices]
            states[stack] = {name: value[rows] for name, value in states[stack].items()}
            known[stack] = list(run.indices)
        over = run.step == run.history.learning_rate.shape[1]
        with Threads(several=False):
            going, judged = average(states[stack], run.stack.rows.detach().clone())
            run.stack.rows.copy_(judged if over else going)
        if over:
            living = np.array(run.indices)[run.active]
            run.history.val_correct[living] = run.evaluate(dataset.val)[1][run.active]

    return fit(configs, dataset, on_step=mix, keep_models=False)


def compare_averages(
    arms: Mapping[str, tuple[Config, Sequence[float], Average | None]], dataset: Dataset
) -> Trial:
    """As ``compare``, for arms (config, rates to tune over, what to judge: an average or None)."""
    choosing = tuning_part(dataset)
    chosen, tuning, histories, flags = {}, {}, {}, {}
    for name, (config, rates, average) in arms.items():
        values = [float(rate) for rate in rates]
        config = config.replace(epochs=budget(config.epochs))
        runs = sweep(config, learning_rate=values, seeds=CHOOSERS)
        tuning[name] = _fit(runs, choosing, average)
        rate = tuning[name].best("learning_rate").configs[0].learning_rate
        chosen[name] = {"learning_rate": rate}
        flags[name] = edges(chosen[name], {"learning_rate": values})
        final = config.replace(learning_rate=rate).seeds(JUDGES)
        histories[name] = _fit(final, dataset, average)
        if lost := int(histories[name].diverged.sum()):
            flags[name].append(f"{lost} of {len(final)} runs of {name} diverged")
    tried = {name: len(rates) for name, (_, rates, _) in arms.items()}
    updates = {name: each.learning_rate.shape[1] for name, each in histories.items()}
    return Trial(chosen, tuning, histories, tried, updates, flags)


def _fit(configs: list[Config], dataset: Dataset, average: Average | None) -> History:
    if average is None:
        return fit(configs, dataset, keep_models=False)
    return fit_averaged(configs, dataset, average)
