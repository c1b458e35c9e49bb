"""What a learner's own schedule, loss or augmentation returns, looked at before it is used."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from .errors import require

RATES = ("params", "lr", "initial_lr")  # of a parameter group, a schedule's own business


def checked_schedule(
    schedule: Callable[[Optimizer], LRScheduler], optimizer: Optimizer
) -> LRScheduler:
    """What a callable made of this optimiser, if it will do what its caller expects of it."""
    takes = "takes a callable that returns a torch.optim.lr_scheduler of the optimizer it is given"
    before = _settings(optimizer)
    try:
        made = schedule(optimizer)
    except Exception as error:
        error.add_note(f"This came from schedule, which {takes}.")
        raise
    require(isinstance(made, LRScheduler), f"schedule: it returned {made!r}, {takes}", TypeError)
    require(made.optimizer is optimizer, f"schedule: it returned another optimizer's, {takes}")
    other_way = isinstance(made, ReduceLROnPlateau) and made.mode != "min"
    require(not other_way, 'schedule: got mode="max", takes "min": it is told the loss')
    _refuse_changes(made, before, optimizer)
    return made


def rehearse(
    schedule: Callable[[Optimizer], LRScheduler], optimizer: Optimizer, steps: int
) -> None:
    """Walk a schedule of one's own through a whole run, on an optimiser that trains nothing.

    Raises what the schedule raises, or TypeError or ValueError that names ``schedule``, before the
    training and not in the middle of it.
    """
    before = _settings(optimizer)
    made = checked_schedule(schedule, optimizer)
    for step in range(0 if isinstance(made, ReduceLROnPlateau) else steps):
        rate = float(optimizer.param_groups[0]["lr"])
        sensible = math.isfinite(rate) and rate >= 0
        require(sensible, f"schedule: got a rate of {rate} at step {step}, takes 0 or more")
        optimizer.step()
        made.step()
        _refuse_changes(made, before, optimizer)


def _settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    groups = optimizer.param_groups
    return [{key: group[key] for key in group if key not in RATES} for group in groups]


def _refuse_changes(made: LRScheduler, before: list[dict[str, Any]], optimizer: Optimizer) -> None:
    """A comparison of schedules is to change one thing, the rate."""
    for old, group in zip(before, optimizer.param_groups, strict=True):
        moved = [key for key in old if group[key] != old[key]]
        name = "momentum" if {*moved} & {"momentum", "betas"} else ", ".join(moved)
        cycle = (
            "; takes cycle_momentum=False" if name == "momentum" else "; takes one that does not"
        )
        told = f"schedule: {type(made).__name__} changes the {name.replace('_', ' ')}, too{cycle}"
        require(not moved, told)


def checked_loss(result: Any, labels: Tensor) -> Tensor:
    """What a loss returned, if it is one number for each image. Raises TypeError or ValueError."""
    takes = "takes a function (logits, labels) with one number for each image (reduction='none')"
    returned = f"loss: it returned a {type(result).__name__}, {takes}"
    require(isinstance(result, Tensor), returned, TypeError)
    got = f"a result shaped {tuple(result.shape)} for {len(labels)} images"
    require(result.shape == labels.shape, f"loss: got {got}, {takes}")
    return result


def checked_augment(result: Any, images: Tensor) -> Tensor:
    """What an augmentation of one's own made of ``images``, if they are as many and of one kind.

    Raises TypeError or ValueError that names ``augment``.
    """
    takes = "takes a function (images, generator) -> as many images of the same shape"
    wrap = "a torchvision transform is wrapped: lambda images, generator: transform(images)"
    returned = f"augment: it returned a {type(result).__name__}, {takes}; {wrap}"
    require(isinstance(result, Tensor), returned, TypeError)
    made, given = ((list(t.shape), t.dtype, t.device) for t in (result, images))
    told = [f"{shape} of {dtype} on {device}" for shape, dtype, device in (made, given)]
    require(made == given, f"augment: it made {told[0]} from {told[1]}, {takes}")
    return result
