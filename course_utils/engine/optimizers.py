"""The optimisers of a stack: torch's own, with a parameter group for each setting."""

from __future__ import annotations

from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ..randomness import Chance, may_draw
from .schedules import make_schedule

if TYPE_CHECKING:
    from ..stacking.stack import Stack
    from .config import Config

OPTIMIZERS: tuple[str, ...] = ("sgd", "adam", "adamw", "rmsprop")
if hasattr(torch.optim, "Muon"):  # from torch 2.9 on
    OPTIMIZERS += ("muon",)
WITH_MOMENTUM = ("sgd", "rmsprop", "muon")
FUSED = ("cpu", "cuda", "mps")  # devices on which one call updates a whole parameter


def make_optimizer(config: Config, parameters: list[nn.Parameter]) -> Optimizer:
    """The ``torch.optim`` optimiser that a Config describes; "muon" takes matrices alone."""
    common: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    kind, momentum = config.optimizer, config.momentum or 0.0
    if kind == "muon":
        momentum = 0.95 if config.momentum is None else config.momentum
        # Steps scaled to the size of AdamW's, so that one rate serves both (Liu et al., 2025).
        return torch.optim.Muon(
            parameters, momentum=momentum, adjust_lr_fn="match_rms_adamw", **common
        )
    if kind == "rmsprop":
        return torch.optim.RMSprop(parameters, momentum=momentum, **common)
    common["fused"] = parameters[0].device.type in FUSED
    if kind == "sgd":
        return torch.optim.SGD(parameters, momentum=momentum, nesterov=config.nesterov, **common)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind](parameters, **common)


def sharing(config: Config, index: int) -> tuple[tuple, tuple]:
    """(optimiser, group): rows with equal keys share an optimiser, and a group in it.

    Every optimiser here treats each network by itself, so sharing changes nothing but the time that
    calling it takes. Runs whose rates depend on their own validation loss keep to themselves.
    """
    own = callable(config.schedule)
    alone = own or config.patience is not None or config.schedule == "plateau"
    schedule = "one's own" if own else config.schedule
    optimizer = (config.optimizer, schedule, config.warmup, index if alone else -1)
    momentum = -1.0 if config.momentum is None else config.momentum
    return optimizer, (config.learning_rate, momentum, config.nesterov, config.weight_decay)


@dataclass
class Shared:
    """One optimiser, its schedule, and for each of its groups the rows of the stack it trains.

    ``part`` says which of their parameters: "all", or for Muon "matrices" and "others". ``chance``
    is what a schedule of one's own may draw from.
    """

    optimizer: Optimizer
    schedule: LRScheduler | None
    part: str
    rows: list[slice]
    chance: Chance | None = None

    def groups(self) -> list[tuple[slice, dict[str, Any]]]:
        """(rows, parameter group); without those that the stack has left behind."""
        both = zip(self.rows, self.optimizer.param_groups, strict=True)
        return [(rows, group) for rows, group in both if rows.stop > rows.start]


class Optimizers:
    """All optimisers of a stack whose rows stand in the order of ``sharing``."""

    def __init__(self, configs: list[Config], indices: list[int], stack: Stack, steps: int):
        self.stack = stack
        self.shared: list[Shared] = []
        together: dict[tuple, dict[tuple, list[int]]] = defaultdict(lambda: defaultdict(list))
        for position, (index, config) in enumerate(zip(indices, configs, strict=True)):
            optimizer, group = sharing(config, index)
            together[optimizer][group].append(position)
        for groups in together.values():
            rows = [slice(positions[0], positions[-1] + 1) for positions in groups.values()]
            settings = [configs[each.start] for each in rows]
            if settings[0].optimizer == "muon":  # takes the matrices, and leaves the rest to AdamW
                rest = [config.replace(optimizer="adamw", momentum=None) for config in settings]
                self._share(settings, rows, "matrices", steps)
                self._share(rest, rows, "others", steps)
            else:
                self._share(settings, rows, "all", steps)

    def _share(self, configs: list[Config], rows: list[slice], part: str, steps: int) -> None:
        made = [
            make_optimizer(config, self.stack.parameters(each, part))
            for config, each in zip(configs, rows, strict=True)
        ]
        optimizer = made[0]
        for other in made[1:]:
            optimizer.add_param_group(other.param_groups[0])
        own, seed = configs[0].schedule, configs[0].seed
        chance = Chance(seed, suspected=may_draw(own)) if callable(own) else None
        with chance or nullcontext():
            schedule = make_schedule(own, optimizer, steps, configs[0].warmup)
        self.shared.append(Shared(optimizer, schedule, part, rows, chance))

    def rates(self) -> np.ndarray:
        """[K]: the learning rate of each row's next update."""
        rates = np.empty(len(self.stack), np.float32)
        for shared in self.shared:
            for rows, group in shared.groups():
                rates[rows] = float(group["lr"])
        return rates

    def step(self) -> None:
        """Update every row, and step the schedules that count updates."""
        for shared in self.shared:
            shared.optimizer.step()
            if shared.schedule is not None and not isinstance(shared.schedule, ReduceLROnPlateau):
                with shared.chance or nullcontext():
                    shared.schedule.step()

    def end_epoch(self, losses: np.ndarray) -> None:
        """Tell the validation losses [K] to the schedules that listen to them."""
        for shared in self.shared:
            if isinstance(shared.schedule, ReduceLROnPlateau):
                shared.schedule.step(float(losses[shared.groups()[0][0].start]))

    def set(self, name: str, value: float) -> None:
        """Write "lr", "momentum" or "weight_decay" into every parameter group that has it."""
        for shared in self.shared:
            for group in shared.optimizer.param_groups:
                if name in group:
                    group[name] = value

    def living(self, active: np.ndarray) -> np.ndarray:
        """[n]: the rows whose group holds an active one still; all others get no more updates."""
        stay = np.zeros(len(active), bool)
        for shared in self.shared:
            for rows, group in shared.groups():
                if active[rows].any():
                    stay[rows] = True
                else:
                    for parameter in group["params"]:
                        parameter.grad = None  # torch's optimisers pass it over
        return np.flatnonzero(stay)

    def keep(self, positions: np.ndarray) -> None:
        """Follow the stack, which now holds these of its rows alone: whole groups of them."""
        for shared in self.shared:
            for number, rows in enumerate(shared.rows):
                size = rows.stop - rows.start if rows.start in positions else 0
                start = int(np.searchsorted(positions, rows.start))
                shared.rows[number] = slice(start, start + size)
            for rows, group in zip(shared.rows, shared.optimizer.param_groups, strict=True):
                self._point(shared, group, rows)
        self.shared = [shared for shared in self.shared if shared.groups()]

    def _point(self, shared: Shared, group: dict[str, Any], rows: slice) -> None:
        """Let a group's parameters be views of the stack as it lies in memory now."""
        if rows.stop == rows.start:  # its place stays, because schedules count the groups
            for parameter in group["params"]:
                shared.optimizer.state.pop(parameter, None)
                parameter.data = parameter.data[:0]
            return
        views = self.stack.parameters(rows, shared.part)
        for parameter, view in zip(group["params"], views, strict=True):
            parameter.data, parameter.grad = view.data, view.grad
