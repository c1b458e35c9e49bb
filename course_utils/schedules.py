"""Learning-rate schedules by name: each is a real ``torch.optim.lr_scheduler``, stepped after every batch.

Floor 0.
"""

from __future__ import annotations

from collections.abc import Callable

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler


def _peak(optimizer: Optimizer, share: float = 1.0) -> list[float]:
    """A share of each parameter group's configured learning rate, also while a warm-up has it lowered already."""
    return [share * group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]


# Each takes (optimizer, steps): the optimiser already holds the peak learning rate, and
# ``steps`` is the number of updates that the schedule has to itself. None touches the momentum:
# a comparison of schedules should change one thing.
SCHEDULES: dict[str, Callable[[Optimizer, int], LRScheduler]] = {
    "constant": lambda optimizer, steps: lr_scheduler.ConstantLR(optimizer, factor=1, total_iters=0),
    "step": lambda optimizer, steps: lr_scheduler.StepLR(optimizer, -(-steps // 3), gamma=0.1),
    "multistep": lambda optimizer, steps: lr_scheduler.MultiStepLR(
        optimizer, [max(1, steps // 2), max(1, steps * 3 // 4)], gamma=0.1),
    "exponential": lambda optimizer, steps: lr_scheduler.ExponentialLR(optimizer, gamma=0.01 ** (1 / steps)),
    "linear": lambda optimizer, steps: lr_scheduler.LinearLR(optimizer, 1.0, 1e-3, total_iters=steps),
    "cosine": lambda optimizer, steps: lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps),
    "warm_restarts": lambda optimizer, steps: lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=max(1, -(-steps // 7)), T_mult=2),              # cycles of 1/7, 2/7 and 4/7
    "cyclic": lambda optimizer, steps: lr_scheduler.CyclicLR(
        optimizer, base_lr=_peak(optimizer, 0.1), max_lr=_peak(optimizer),
        step_size_up=max(1, steps // 8), cycle_momentum=False),        # four triangles
    "one_cycle": lambda optimizer, steps: lr_scheduler.OneCycleLR(
        optimizer, max_lr=_peak(optimizer), total_steps=steps + 1, cycle_momentum=False),
    "warmup_stable_decay": lambda optimizer, steps: lr_scheduler.SequentialLR(optimizer, [
        lr_scheduler.LinearLR(optimizer, 0.01, 1.0, total_iters=max(1, steps // 10)),
        lr_scheduler.ConstantLR(optimizer, factor=1, total_iters=0),
        lr_scheduler.LinearLR(optimizer, 1.0, 1e-3, total_iters=max(1, steps // 5)),
    ], milestones=[max(1, steps // 10), steps - max(1, steps // 5)]),
    "plateau": lambda optimizer, steps: lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=2),
}


def make_schedule(schedule: str | Callable[[Optimizer], LRScheduler], optimizer: Optimizer, steps: int,
                  warmup: float = 0.0) -> LRScheduler | None:
    """The scheduler for a run of ``steps`` updates; None where the rate never changes.

    ``schedule`` is a name in ``SCHEDULES`` or your own callable optimizer -> scheduler. ``warmup`` is
    the share of the run that first climbs linearly from a hundredth of the rate (Goyal et al., 2017);
    for ``one_cycle`` (Smith, 2018) it is the share before the peak instead.

    The scheduler is stepped after every batch; ``plateau`` after every epoch, with the validation loss.
    """
    if callable(schedule):
        return schedule(optimizer)
    if schedule == "one_cycle" and warmup:
        share = max(float(warmup), 2 / (steps + 1))        # a climb of no step would divide by zero
        return lr_scheduler.OneCycleLR(optimizer, max_lr=_peak(optimizer), total_steps=steps + 1,
                                       pct_start=share, cycle_momentum=False)
    climb = round(warmup * steps)
    if schedule == "constant" and not climb:
        return None
    if not climb:
        return SCHEDULES[schedule](optimizer, steps)
    return lr_scheduler.SequentialLR(optimizer, [
        lr_scheduler.LinearLR(optimizer, 0.01, 1.0, total_iters=climb),
        SCHEDULES[schedule](optimizer, max(1, steps - climb)),
    ], milestones=[climb])
