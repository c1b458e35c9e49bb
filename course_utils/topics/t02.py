"""Notebook 02, learning-rate schedules: the bowl, the range test, schedules drawn, a ridge looked for. Floor 7."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..classroom.check import Result, check
from ..classroom.lab import Lab, Values, choice, describe_training, rates, slider
from ..engine.config import Config
from ..engine.data import Dataset, Split
from ..engine.history import History
from ..engine.schedules import SCHEDULES, make_schedule
from ..engine.training import train
from ..plots import GREY, style

OWN_START = ("plateau", "warmup_stable_decay")  # schedules that take no warm-up


def basin_widths(history: History, within: float = 0.02) -> np.ndarray:
    """[seed]: decades of learning rate whose accuracy comes within ``within`` of that seed's best, seeds in order.

    The numbers behind ``evidence.basin_width``, to be compared seed by seed.
    """
    widths = []
    for _, runs in sorted(history.by("seed").items()):
        scores, tried = (
            runs.val_correct.mean(1),
            np.array([config.learning_rate for config in runs.configs]),
        )
        good = np.log10(tried[scores >= scores.max() - within])
        widths.append(good.max() - good.min())
    return np.array(widths)


def steepest_curvature(model: nn.Module, split: Split, rounds: int = 20) -> float:
    """The largest eigenvalue of the Hessian of the mean loss over ``split``, by power iteration.

    Each round multiplies a vector by the Hessian: the gradient of (gradient · vector). No matrix is built. (Strictly:
    the eigenvalue of largest absolute value, which for a loss is a positive one in all but strange places.)
    """
    parameters = list(model.parameters())
    loss = functional.cross_entropy(model(split.images), split.labels)
    gradient = torch.cat(
        [g.flatten() for g in torch.autograd.grad(loss, parameters, create_graph=True)]
    )
    vector = torch.randn(len(gradient), generator=torch.Generator().manual_seed(0)).to(gradient)
    for _ in range(rounds):
        vector = vector / vector.norm()
        product = torch.cat(
            [
                p.flatten()
                for p in torch.autograd.grad(gradient @ vector, parameters, retain_graph=True)
            ]
        )
        vector, curvature = product, float(product @ vector)
    return curvature


@torch.no_grad()
def losses_between(start: nn.Module, end: nn.Module, split: Split, points: int = 11) -> np.ndarray:
    """[points]: the loss along the straight line, in weight space, from one network to another of the same shape.

    Goodfellow et al. (2015). A hump means that a ridge lies between the two; none means the same valley.
    """
    between, first, last = (
        copy.deepcopy(start),
        *(parameters_to_vector(each.parameters()) for each in (start, end)),
    )
    found = []
    for share in np.linspace(0, 1, points):
        vector_to_parameters(torch.lerp(first, last, float(share)), between.parameters())
        found.append(functional.cross_entropy(between(split.images), split.labels).item())
    return np.array(found)


def smoothed(losses: Sequence[float]) -> np.ndarray:
    """A centred moving mean over a twentieth of the curve (three points at least); shorter windows at both ends."""
    losses = np.asarray(losses, float)
    reach = max(1, len(losses) // 40)
    return np.array([losses[max(0, i - reach) : i + reach + 1].mean() for i in range(len(losses))])


def planned_rates(
    schedule: str,
    steps: int,
    learning_rate: float = 1.0,
    warmup: float = 0.0,
    val_losses: Sequence[float] = (),
) -> np.ndarray:
    """[steps]: the rates that a schedule of this name sets, read off the real scheduler without training anything.

    "plateau" looks at validation losses; here it gets ``val_losses``, spread evenly over the steps.
    """
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=learning_rate)
    scheduler = make_schedule(schedule, optimizer, steps, 0.0 if schedule in OWN_START else warmup)
    looks = {
        round((n + 1) * steps / len(val_losses)) - 1: loss for n, loss in enumerate(val_losses)
    }
    found = []
    for step in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler and scheduler.step()
        elif step in looks:
            scheduler.step(looks[step])
    return np.array(found)


# --- the bowl -------------------------------------------------------------------------------------------------------


@dataclass
class Descent:
    """SGD on the bowl (x² + steepness · y²) / 2: its settings, and the path [step, 2]; a path thrown far out ends early."""

    learning_rate: float
    momentum: float
    steepness: float
    path: np.ndarray

    @property
    def edge(self) -> float:
        """The largest stable learning rate: 2 (1 + β) / λ for the steepest direction (Polyak, 1964)."""
        return 2 * (1 + self.momentum) / self.steepness


def descend(
    learning_rate: float, momentum: float = 0.0, steepness: float = 10.0, steps: int = 50
) -> Descent:
    """Roll from (−4, 1) with the real ``torch.optim.SGD``."""
    point = nn.Parameter(torch.tensor([-4.0, 1.0], dtype=torch.float64))
    optimizer = torch.optim.SGD([point], lr=learning_rate, momentum=momentum)
    path = [point.detach().numpy().copy()]
    while len(path) <= steps and np.abs(path[-1]).max() < 1e6:
        optimizer.zero_grad()
        ((point[0] ** 2 + steepness * point[1] ** 2) / 2).backward()
        optimizer.step()
        path.append(point.detach().numpy().copy())
    return Descent(learning_rate, momentum, steepness, np.array(path))


def draw_descent(
    figure, axes: np.ndarray, result: Descent, earlier: Sequence[Descent] = ()
) -> None:
    """Left the path on the map of the bowl; right how far each direction still is from the bottom, log axis."""
    chart, distance = axes.flat
    x, y = np.meshgrid(np.linspace(-5, 5, 80), np.linspace(-3, 3, 60))
    heights = np.linspace(0.3, 7.5, 12) ** 2
    chart.contour(
        x, y, x**2 + result.steepness * y**2, heights, colors=GREY, alpha=0.35, linewidths=0.8
    )
    chart.plot(*result.path.T, marker="o", markersize=3.5, linewidth=1.2, color=style(1)["color"])
    chart.plot(0, 0, "+", color="black", markersize=11)
    chart.set(
        xlim=(-5, 5),
        ylim=(-3, 3),
        xlabel="flat direction",
        ylabel="steep direction",
        title="the path",
    )
    for old in earlier:
        distance.plot(np.abs(old.path).max(1), color=GREY, alpha=0.4, linewidth=1.2)
    for number, name in enumerate(("flat direction", "steep direction")):
        distance.plot(np.abs(result.path[:, number]), label=name, **style(number))
    distance.set(yscale="log", ylim=(1e-6, 1e6), xlim=(0, 50), xlabel="step")
    distance.set_title("distance from the bottom" + ", grey: earlier runs" * bool(earlier))
    distance.legend(loc="upper left" if result.learning_rate < result.edge else "lower right")


def describe_descent(result: Descent) -> str:
    """Whether it comes down, and why, in numbers."""
    if np.isclose(result.learning_rate, result.edge):
        verdict = "exactly at the edge: it swings for ever"
    elif result.learning_rate < result.edge:
        verdict = f"below the edge at {result.edge:.3g}: it comes down in the end"
    else:
        verdict = f"beyond the edge at {result.edge:.3g}: it is thrown out"
    text = (
        f"learning rate {result.learning_rate:g} is {verdict}. "
        f"After {len(result.path) - 1} steps it is {np.linalg.norm(result.path[-1]):.2g} from the bottom"
    )
    if result.momentum == 0:
        flat, steep = 1 - result.learning_rate, 1 - result.learning_rate * result.steepness
        text += f"; each step multiplies the flat distance by {flat:.2g} and the steep one by {steep:.2g}"
    return text


def bowl_lab() -> Lab:
    """The quadratic bowl: learning rate, momentum and steepness; fifty steps of plain SGD."""
    tried = [0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.19, 0.2, 0.21, 0.3, 0.37, 0.39, 0.5, 1.0, 2.0]
    controls = {
        "learning_rate": slider("learning_rate", tried, 0.19),
        "momentum": slider("momentum", [0.0, 0.5, 0.9, 0.99], 0.0),
        "steepness": slider("steepness", [1.0, 2.0, 10.0, 50.0], 10.0),
    }
    return Lab(
        controls,
        lambda values: iter([descend(**values)]),
        draw_descent,
        describe_descent,
        size=(8.4, 3.1),
    )


# --- the lab of schedules -------------------------------------------------------------------------------------------


@dataclass
class Scheduled:
    """A growing History, and the rates [step] that its schedule plans (None: it decides as it goes)."""

    history: History
    planned: np.ndarray | None


def schedule_lab(dataset: Dataset, epochs: int = 10) -> Lab:
    """Schedule, peak, warm-up and momentum: the schedule on the left, eight networks training under it on the right."""
    controls = {
        "schedule": choice("schedule", list(SCHEDULES), "one_cycle"),
        "learning_rate": slider("peak learning_rate", rates(1e-3, 10.0), 0.18),
        "warmup": slider("warmup (share of the run)", [0.0, 0.05, 0.1, 0.2, 0.4], 0.0),
        "momentum": slider("momentum", [0.0, 0.5, 0.9, 0.95], 0.9),
    }

    def run(values: Values) -> Iterator[Scheduled]:
        if values["schedule"] in OWN_START:
            values = values | {"warmup": 0.0}
        configs = [
            Config(**values, optimizer="sgd", width=32, epochs=epochs, seed=seed)
            for seed in range(8)
        ]
        steps = epochs * -(-len(dataset.train) // configs[0].batch_size)
        planned = None
        if values["schedule"] != "plateau":
            planned = planned_rates(
                values["schedule"], steps, values["learning_rate"], values["warmup"]
            )
        for state in train(configs, dataset, keep_models=False):
            if state.epoch_ended or not state.active.any():
                yield Scheduled(state.history, planned)

    return Lab(controls, run, draw_scheduled, describe_scheduled, size=(8.4, 3.1))


def draw_scheduled(
    figure, axes: np.ndarray, result: Scheduled, earlier: Sequence[Scheduled] = ()
) -> None:
    """Left the learning rate: dotted as planned, solid as far as it was used. Right the accuracies, the mean thick."""
    left, right = axes.flat
    for old in earlier:
        left.plot(np.nanmax(_used(old), 0, initial=-1), color=GREY, alpha=0.4, linewidth=1.2)
        curve = old.history.val_accuracy
        right.plot(
            np.arange(1, curve.shape[1] + 1), _mean(curve), color=GREY, alpha=0.4, linewidth=1.2
        )
    used = _used(result)
    if result.planned is not None:
        left.plot(result.planned, color=GREY, linestyle=":", linewidth=1.4)
    left.plot(used.T, linewidth=1.6, color=style(0)["color"])
    left.set(xlabel="update", ylabel="learning rate", xlim=(0, used.shape[1]), title="the schedule")
    left.set_ylim(0, None)
    for number, (split, name) in enumerate({"train": "training", "val": "validation"}.items()):
        curve = getattr(result.history, f"{split}_accuracy")
        epochs = np.arange(1, curve.shape[1] + 1)
        right.plot(epochs, curve.T, linewidth=0.6, alpha=0.35, **style(number))
        right.plot(epochs, _mean(curve), linewidth=2.4, label=name, **style(number))
    right.set(
        xlabel="epoch",
        ylabel="accuracy",
        ylim=(0, 1.02),
        xlim=(0.7, curve.shape[1] + 0.3),
        title="eight networks",
    )
    if earlier:
        right.set_title("grey: earlier runs, validation")
    right.xaxis.get_major_locator().set_params(integer=True)
    right.legend(loc="lower right")


def _used(result: Scheduled) -> np.ndarray:
    return result.history.learning_rate


def _mean(curves: np.ndarray) -> np.ndarray:
    """[epoch]: the mean over the networks that reached it, NaN where none did."""
    reached = np.isfinite(curves)
    return np.where(reached.any(0), np.nansum(curves, 0) / np.maximum(reached.sum(0), 1), np.nan)


def describe_scheduled(result: Scheduled) -> str:
    """The result in one line, with what the lab made of the warm-up and of the momentum."""
    config = result.history.configs[0]
    text = describe_training(result.history)
    if config.schedule in OWN_START:
        text += f" ({config.schedule.replace('_', ' ')} sees to its own start: the warm-up slider does nothing)"
    return text


# --- checks ---------------------------------------------------------------------------------------------------------


def check_rates_by_epoch(rates_by_epoch: Callable[[int, int], Sequence[float]]) -> Result:
    """``rates_by_epoch(epochs, steps_per_epoch)``: the rate used in each epoch, 0.8 divided by ten every 30 epochs."""

    def is_right(epochs: int, steps: int) -> Callable[[], bool]:
        wanted = [0.8 * 0.1 ** (epoch // 30) for epoch in range(epochs)]
        return lambda: np.allclose(
            np.array(rates_by_epoch(epochs, steps), float), wanted, rtol=1e-6, atol=0
        )

    return check(
        "02.1",
        [
            (callable(rates_by_epoch), "a function is wanted."),
            (lambda: len(rates_by_epoch(7, 3)) == 7, "one rate for each epoch is wanted."),
            (
                is_right(3, 16),
                "no drop is due before epoch 30, so the first three epochs should all use 0.8.",
            ),
            (
                is_right(90, 1),
                "note the rate that the epoch *uses*, before the scheduler moves on: epochs 0 to 29 use 0.8.",
            ),
            (
                is_right(90, 16),
                "90 epochs should be 30 at 0.8, 30 at 0.08 and 30 at 0.008, however many batches an epoch has.",
            ),
        ],
        [
            "step_size counts calls of scheduler.step(). How many calls does one epoch make?",
            "append the rate at the start of the epoch; call scheduler.step() once, after the loop over its batches.",
        ],
        "one call for each epoch, so step_size means epochs.",
    )


def check_largest_stable_rate(
    largest_stable_rate: Callable[[Sequence[float], float], float],
) -> Result:
    """``largest_stable_rate(curvatures, momentum)``: just below it ``torch.optim.SGD`` must converge, just beyond it not."""

    def distance(rate: float, curvatures: list[float], momentum: float) -> float:
        point = nn.Parameter(torch.ones(len(curvatures), dtype=torch.float64))
        optimizer = torch.optim.SGD([point], lr=rate, momentum=momentum)
        for _ in range(500):
            optimizer.zero_grad()
            (torch.tensor(curvatures, dtype=torch.float64) * point**2 / 2).sum().backward()
            optimizer.step()
        return point.detach().abs().max().item()

    def comes_home(curvatures: list[float], momentum: float) -> Callable[[], bool]:
        return lambda: (
            distance(0.97 * float(largest_stable_rate(curvatures, momentum)), curvatures, momentum)
            < 1
        )

    def is_largest(curvatures: list[float], momentum: float) -> Callable[[], bool]:
        return lambda: (
            not distance(
                1.03 * float(largest_stable_rate(curvatures, momentum)), curvatures, momentum
            )
            < 1
        )

    return check(
        "02.2",
        [
            (callable(largest_stable_rate), "a function is wanted."),
            (lambda: float(largest_stable_rate([4.0], 0.0)) > 0, "a positive number is wanted."),
            (
                comes_home([1.0, 4.0, 10.0], 0.0),
                "with curvatures 1, 4 and 10, SGD just below your rate is thrown out.",
            ),
            (
                is_largest([1.0, 4.0, 10.0], 0.0),
                "with curvatures 1, 4 and 10, SGD just beyond your rate still converges.",
            ),
            (
                is_largest([5.0], 0.0),
                "with one curvature of 5, SGD just beyond your rate still converges.",
            ),
            (
                comes_home([1.0, 4.0, 10.0], 0.9),
                "with momentum 0.9, SGD just below your rate is thrown out.",
            ),
            (
                is_largest([1.0, 4.0, 10.0], 0.9),
                "with momentum 0.9, SGD just beyond your rate still converges.",
            ),
        ],
        [
            "one direction is the first to overshoot by more than it gained. Which?",
            "without momentum the distance is multiplied by 1 − ηλ; its absolute value must stay below 1 for every λ.",
            "with momentum β, put x(t) = (−1)^t into x(t+1) = x(t) + β (x(t) − x(t−1)) − ηλ x(t), and solve for η.",
        ],
        "the real optimiser agrees on both sides of the edge.",
    )


def check_pick(pick_rate: Callable[[np.ndarray, np.ndarray], float]) -> Result:
    """``pick_rate(rates, losses)`` from a range test: inside the descent, well before the blow-up, whatever the noise."""
    tried = np.logspace(-5, 1, 240)

    def curve(falls: float, cliff: float, noise: float, seed: int = 0) -> np.ndarray:
        clean = 2.3 - 1.8 / (1 + (falls / tried) ** 1.5) + np.minimum((tried / cliff) ** 3, 50.0)
        return clean + noise * np.random.default_rng(seed).normal(size=len(tried))

    def sensible(losses: np.ndarray, falls: float, cliff: float) -> Callable[[], bool]:
        return lambda: falls / 4 <= float(pick_rate(tried.copy(), losses.copy())) <= cliff / 2.5

    lucky = curve(0.01, 1.0, 0.02)
    lucky[20] = -0.2  # one easy batch, long before anything was learned
    broken = curve(1e-3, 0.05, 0.02)
    broken[tried > 0.4] = np.nan
    return check(
        "02.3",
        [
            (callable(pick_rate), "a function is wanted."),
            (
                sensible(curve(0.01, 1.0, 0.0), 0.01, 1.0),
                "on a clean curve your pick is not in the descent, or stands too near "
                "the blow-up: stay at least a factor of 2.5 below the rate where the curve has turned up.",
            ),
            (
                sensible(curve(3e-4, 0.02, 0.0), 3e-4, 0.02),
                "right for one curve, but not for one that lies further left.",
            ),
            (
                sensible(broken, 1e-3, 0.05),
                "after the blow-up the losses are NaN; your pick should not mind.",
            ),
            (
                sensible(lucky, 0.01, 1.0),
                "one easy batch, at a rate where nothing is learned yet, leads you astray.",
            ),
            (
                lambda: all(
                    sensible(curve(0.01, 1.0, 0.15, seed), 0.01, 1.0)() for seed in range(8)
                ),
                "with noisy batches your pick jumps about.",
            ),
        ],
        [
            "the minimum is the place where falling and blowing up are in balance: too late. Go left from it.",
            "drop what is not finite, smooth (t02.smoothed), find the minimum, and divide its rate by five or ten.",
        ],
        "low enough to be safe, high enough to learn, and no single batch decides.",
    )


def check_compare(
    compare: Callable[[str, str, Sequence[float], Callable[[str, float, int], float]], float],
) -> Result:
    """``compare(first, second, peaks, score)``: tune on seeds 8 to 11, measure the gain of ``second`` on seeds 0 to 7."""
    peaks = [0.05, 0.1, 0.2, 0.4]
    best, ceiling, calls = {"constant": 0.1, "cosine": 0.4}, {"constant": 0.90, "cosine": 0.92}, []

    def score(schedule: str, peak: float, seed: int) -> float:
        calls.append((schedule, float(peak), int(seed)))
        luck = (
            (7919 * (seed + 1)) % 13 - 6
        ) / 1000  # the same for both: a seed's start and batches
        luck -= 0.0005 * seed * (schedule == "cosine")
        return ceiling[schedule] - 0.03 * abs(np.log2(peak / best[schedule])) + luck

    wanted = float(
        np.mean([score("cosine", 0.4, seed) - score("constant", 0.1, seed) for seed in range(8)])
    )

    def gain(
        first: str = "constant", second: str = "cosine", over: Sequence[float] = peaks
    ) -> float:
        calls.clear()
        return float(compare(first, second, over, score))

    def tuned_apart() -> bool:
        gain()
        losing = {seed for schedule, peak, seed in calls if peak != best[schedule]}
        return bool(losing) and losing <= {8, 9, 10, 11}

    return check(
        "02.4",
        [
            (callable(compare), "a function is wanted."),
            (
                lambda: gain() > 0,
                "the cosine is better here at its own best peak; your comparison says the opposite.",
            ),
            (
                lambda: (
                    {call[:2] for call in (gain(), calls)[1]}
                    == {(schedule, peak) for schedule in best for peak in peaks}
                ),
                "both schedules should be tried at every peak.",
            ),
            (
                tuned_apart,
                "choose the peaks on seeds 8 to 11 only: what was used to choose cannot be used to judge.",
            ),
            (
                lambda: {seed for *_, seed in (gain(), calls)[1]} >= set(range(8)),
                "measure on all of the seeds 0 to 7.",
            ),
            (
                lambda: abs(gain() - wanted) < 1e-9,
                "the mean of the paired differences on seeds 0 to 7 is wanted.",
            ),
            (
                lambda: abs(gain("cosine", "constant") + wanted) < 1e-9,
                "with the names exchanged the sign should change.",
            ),
            (
                lambda: gain("cosine", "cosine") == 0,
                "a schedule against itself should gain nothing.",
            ),
        ],
        [
            "write a small function that returns the best peak of one schedule, by its mean over seeds 8 to 11.",
            "then np.mean([score(second, peak_2, seed) - score(first, peak_1, seed) for seed in range(8)]).",
        ],
        "each at its own best, judged on seeds that had no say in the choice.",
    )
