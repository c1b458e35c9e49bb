"""Learning-rate schedules by name: each is a real ``torch.optim.lr_scheduler``."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ..refusals import checked_schedule

WITH_OWN_START = ("plateau", "warmup_stable_decay")  # these take no warm-up besides


def _peaks(optimizer: Optimizer, share: float = 1.0) -> list[float]:
    """A share of each group's configured rate, also while a warm-up has it lowered already."""
    return [share * group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]


def _constant(optimizer: Optimizer, steps: int) -> LRScheduler:
    return lr_scheduler.ConstantLR(optimizer, factor=1, total_iters=0)


def _warm_restarts(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Three cycles: 1/7, 2/7 and 4/7 of the run (Loshchilov and Hutter, 2017)."""
    first = max(1, math.ceil(steps / 7))
    return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=first, T_mult=2)


def _cyclic(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Four triangles between a tenth of the rate and the rate (Smith, 2017)."""
    low, high = _peaks(optimizer, 0.1), _peaks(optimizer)
    climb = max(1, steps // 8)
    return lr_scheduler.CyclicLR(optimizer, low, high, step_size_up=climb, cycle_momentum=False)


def _one_cycle(optimizer: Optimizer, steps: int, climb: float = 0.3) -> LRScheduler:
    """Up for the share ``climb`` of the run, then down to almost nothing (Smith, 2018)."""
    share = max(climb, 2 / (steps + 1))  # a climb of no step would divide by zero
    return lr_scheduler.OneCycleLR(
        optimizer, _peaks(optimizer), total_steps=steps + 1, pct_start=share, cycle_momentum=False
    )


def _warmup_stable_decay(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Up for a tenth of the run, then constant, then down for the last fifth."""
    up, down = max(1, steps // 10), max(1, steps // 5)
    parts = [
        lr_scheduler.LinearLR(optimizer, 0.01, 1.0, total_iters=up),
        _constant(optimizer, steps),
        lr_scheduler.LinearLR(optimizer, 1.0, 1e-3, total_iters=down),
    ]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[up, steps - down])


# Each takes (optimizer, steps): the optimiser already holds the peak rate, and ``steps`` is the
# number of updates that the schedule has to itself. None touches the momentum: a comparison of
# schedules should change one thing.
SCHEDULES: dict[str, Callable[[Optimizer, int], LRScheduler]] = {
    "constant": _constant,
    "step": lambda optimizer, steps: lr_scheduler.StepLR(optimizer, math.ceil(steps / 3)),
    "multistep": lambda optimizer, steps: lr_scheduler.MultiStepLR(
        optimizer, [max(1, steps // 2), max(1, steps * 3 // 4)]
    ),
    "exponential": lambda optimizer, steps: lr_scheduler.ExponentialLR(
        optimizer, 0.01 ** (1 / steps)
    ),
    "linear": lambda optimizer, steps: lr_scheduler.LinearLR(optimizer, 1.0, 1e-3, steps),
    "cosine": lambda optimizer, steps: lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps),
    "warm_restarts": _warm_restarts,
    "cyclic": _cyclic,
    "one_cycle": _one_cycle,
    "warmup_stable_decay": _warmup_stable_decay,
    "plateau": lambda optimizer, steps: ReduceLROnPlateau(optimizer, factor=0.3, patience=2),
}


def make_schedule(
    schedule: str | Callable[[Optimizer], LRScheduler],
    optimizer: Optimizer,
    steps: int,
    warmup: float = 0.0,
) -> LRScheduler | None:
    """The scheduler for a run of ``steps`` updates; None where the rate never changes.

    ``schedule`` is a name in ``SCHEDULES`` or your own callable optimizer -> scheduler. ``warmup``
    is the share of the run that first climbs linearly from a hundredth of the rate (Goyal et al.,
    2017); for ``one_cycle`` it is the share before the peak instead. The scheduler is stepped after
    every batch; a ReduceLROnPlateau after every epoch, with the validation loss.
    """
    if callable(schedule):
        return checked_schedule(schedule, optimizer)
    if schedule == "one_cycle" and warmup:
        return _one_cycle(optimizer, steps, float(warmup))
    climb = round(warmup * steps)
    if not climb:
        return None if schedule == "constant" else SCHEDULES[schedule](optimizer, steps)
    start = lr_scheduler.LinearLR(optimizer, 0.01, 1.0, total_iters=climb)
    rest = SCHEDULES[schedule](optimizer, max(1, steps - climb))
    return lr_scheduler.SequentialLR(optimizer, [start, rest], milestones=[climb])
