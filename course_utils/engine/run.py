"""The training loop: a stack in training, from its first batch to its last.

``Run.steps`` is the loop of every tutorial, for K networks at once: forward, backward, clip,
record, step; and after each epoch a look at training and validation images.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import require
from ..randomness import Chance
from ..stacking.architecture import several_threads
from ..stacking.stack import Stack, Weights
from ..threads import Threads
from .batches import Batches
from .config import Config
from .data import Dataset, Split
from .history import CURVES, History
from .losses import Loss, Losses
from .optimizers import Optimizers

# What ``Run.set`` can change, and what torch's parameter groups call it.
KNOBS = {"learning_rate": "lr", "momentum": "momentum", "weight_decay": "weight_decay"}
AT_A_TIME = 8192  # images that are evaluated in one call, over all networks


class Run:
    """A stack in training, as ``train`` yields it after every update and as callbacks see it.

    history       the growing History of all configurations
    indices       which configurations this stack trains, by their place in ``history.configs``;
                  it shrinks as they end
    epoch, step   how many epochs are complete, how many updates are done
    epoch_ended   whether this update was the last of its epoch (the curves have just grown)
    active        [len(indices)] bool: neither stopped nor diverged
    stack         the networks: ``stack.rows`` and ``stack.gradients`` [len(indices), parameters]
    """

    def __init__(
        self,
        history: History,
        indices: list[int],
        stack: Stack,
        dataset: Dataset,
        loss: Loss | None = None,
        autocast: bool = False,
    ):
        self.history, self.indices, self.stack = history, indices, stack
        self.dataset, self.autocast = dataset, autocast
        self.watched = dataset.train.first(len(dataset.val)), dataset.val
        self.epoch = self.step = 0
        self.epoch_ended = False
        self.active = np.ones(len(indices), bool)
        self.best = np.full(len(indices), np.inf)  # validation loss
        self.kept: dict[int, Weights] = {}  # by index: of ended runs, and the best with patience
        configs = self.configs
        self.batches = Batches(configs, dataset)
        updates = configs[0].epochs * self.batches.count
        self.optimizers = Optimizers(configs, indices, stack, updates)
        self.losses = Losses(loss, [config.label_smoothing for config in configs], stack.chances)
        self.threads = Threads(several_threads(stack, self.batches.size))

    @property
    def configs(self) -> list[Config]:
        return [self.history.configs[index] for index in self.indices]

    def steps(self) -> Iterator[Run]:
        """Train to the end, yielding after every update."""
        for _ in range(self.configs[0].epochs):
            self._leave_ended_behind()
            batches = self.batches.epoch()
            for left in reversed(range(self.batches.count)):
                clock = time.perf_counter()
                with self.threads:
                    losses = self._forward(*next(batches))
                    self.stack.backward(losses)
                    self._clip()
                    self._record(losses)
                    self.optimizers.step()
                    self._end_diverged(losses)
                    self.step, self.epoch_ended = self.step + 1, left == 0
                    if self.epoch_ended:
                        self._end_epoch()
                spent = time.perf_counter() - clock  # what the caller does meanwhile is not ours
                self.history.seconds[self.indices] += spent / len(self.indices)
                yield self
                if not self.active.any():
                    return

    def _forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """[K]: each network's loss on its batch."""
        with self._precision():
            logits = self.stack.logits(images, training=True)
        return self.losses.of_networks(logits.float(), labels)

    def _precision(self) -> AbstractContextManager:
        if self.autocast:
            return torch.autocast(self.dataset.device.type, torch.bfloat16)
        return nullcontext()

    def _clip(self) -> None:
        """Limit each network's gradient to its own ``clip_norm``."""
        limits = [config.clip_norm or np.inf for config in self.configs]
        if min(limits) < np.inf:
            self.stack.clip(torch.tensor(limits, device=self.dataset.device))

    def _record(self, losses: Tensor) -> None:
        """Note the losses [K] of this update, and the rates that it is made with."""
        rows = np.array(self.indices)[self.active]
        self.history.step_loss[rows, self.step] = _numbers(losses)[self.active]
        self.history.learning_rate[rows, self.step] = self.optimizers.rates()[self.active]

    def _end_diverged(self, losses: Tensor) -> None:
        """Runs whose loss is no number any more end here."""
        for position in _places(self.active & ~np.isfinite(_numbers(losses))):
            self._diverge(position)

    @torch.no_grad()
    def evaluate(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """(loss, whether the answer is right) [K, image] of every network, in evaluation mode."""
        size = self.stack.slice_size(AT_A_TIME // len(self.stack))
        losses, correct = [], []
        for images, labels in zip(split.images.split(size), split.labels.split(size), strict=True):
            with self._precision():
                logits = self.stack.logits(images.unsqueeze(0), training=False).float()
            chances = [Chance(chance.seed, chance.device) for chance in self.stack.chances]
            losses.append(self.losses.of_images(logits, labels.unsqueeze(0), chances))
            correct.append(logits.argmax(-1) == labels)
        return _numbers(torch.cat(losses, 1)), torch.cat(correct, 1).cpu().numpy()

    def _end_epoch(self) -> None:
        """Evaluate, record, and let early stopping and the plateau schedules decide."""
        (train_loss, train_correct), (val_loss, val_correct) = map(self.evaluate, self.watched)
        with np.errstate(over="ignore", invalid="ignore"):
            tables = (train_loss, train_correct, val_loss, val_correct)
            values = dict(zip(CURVES, (table.mean(1) for table in tables), strict=True))
            finite = np.isfinite(values["train_loss"] + values["val_loss"])
        for position in _places(self.active & ~finite):
            self._diverge(position)
        rows = np.array(self.indices)[self.active]
        for name, value in values.items():
            getattr(self.history, name)[rows, self.epoch] = value[self.active]
        for position in _places(self.active):
            self._judge(position, values["val_loss"][position], val_correct[position])
        self.optimizers.end_epoch(values["val_loss"])
        self.epoch += 1

    def _judge(self, position: int, loss: float, correct: np.ndarray) -> None:
        """Keep this epoch of one run, if it is the best or patience is not asked for; or end it."""
        index = self.indices[position]
        patience = self.configs[position].patience
        if patience is None or loss < self.best[position]:
            self.best[position] = loss
            self.history.kept_epoch[index] = self.epoch
            self.history.val_correct[index] = correct
            if patience is not None:
                self.kept[index] = self.stack.weights(position)
        elif self.epoch - self.history.kept_epoch[index] >= patience:
            self._end(position)

    def is_active(self, index: int) -> bool:
        """Whether this configuration is still learning: neither stopped nor diverged."""
        return index in self.indices and bool(self.active[self.indices.index(index)])

    def stop(self, index: int) -> None:
        """End one configuration here: its weights are kept (with patience, the best so far), its
        neighbours go on."""
        if self.is_active(index):
            self._end(self.indices.index(index))

    def set(self, **changes: Any) -> None:
        """Turn a knob of all networks of this stack, from the next update on: ``learning_rate`` (of
        a constant schedule), ``momentum``, ``weight_decay``, ``dropout`` and, between epochs,
        ``batch_size``. It is noted in ``history.changes``. Raises ValueError for anything else."""
        strange = ", ".join(set(changes) - {*KNOBS, "dropout", "batch_size"})
        require(not strange, f"{strange}: cannot be changed while a network trains")
        for config in self.configs:
            config.replace(**changes)  # refuses nonsense
            constant = config.schedule == "constant" and not config.warmup
            free = constant or "learning_rate" not in changes
            require(free, "learning_rate: the schedule decides it; take a constant one")
        between = self.epoch_ended or not self.step or "batch_size" not in changes
        require(between, "batch_size: changes between two epochs, and this one has not ended")
        for name, value in changes.items():
            if name in KNOBS:
                self.optimizers.set(KNOBS[name], value)
        if "dropout" in changes:
            self.stack.set_dropout(changes["dropout"])
        if "batch_size" in changes:
            self.batches.size = min(changes["batch_size"], len(self.dataset.train))
            left = (self.configs[0].epochs - self.epoch) * self.batches.count
            more = max(0, self.step + left - self.history.step_loss.shape[1])
            for name in ("step_loss", "learning_rate"):
                noted = getattr(self.history, name)
                wider = np.pad(noted, ((0, 0), (0, more)), constant_values=np.nan)
                setattr(self.history, name, wider)
        for index in self.indices:
            self.history.changes.setdefault(index, []).append((self.step, changes))

    def model(self, index: int) -> nn.Module:
        """A copy of one network, a plain module in evaluation mode: as it is now, or, once it has
        ended, as it was kept."""
        if self.is_active(index):
            return self.stack.weights(self.indices.index(index)).to_module()
        return self.kept[index].to_module()

    def weights(self, index: int) -> Weights:
        """What the record keeps of a run at its end: its last weights, or its best."""
        return self.kept.get(index) or self.stack.weights(self.indices.index(index))

    def _diverge(self, position: int) -> None:
        index = self.indices[position]
        self.history.diverged[index], self.history.kept_epoch[index] = True, -1
        # A network of NaNs answers with the first class, whatever it sees: chance.
        self.history.val_correct[index] = (self.dataset.val.labels == 0).cpu().numpy()
        self.kept.pop(index, None)
        self._end(position)

    def _end(self, position: int) -> None:
        self.active[position] = False
        self.kept.setdefault(self.indices[position], self.stack.weights(position))
        self.optimizers.living(self.active)

    def _leave_ended_behind(self) -> None:
        """Shrink the stack to what still learns: a pruned search pays for the living alone."""
        positions = self.optimizers.living(self.active)
        if self.active.sum() > len(self.indices) / 2 or len(positions) == len(self.indices):
            return
        self.indices = [self.indices[position] for position in positions]
        self.active, self.best = self.active[positions], self.best[positions]
        for part in (self.stack, self.batches, self.losses, self.optimizers):
            part.keep(positions)
        self.threads = Threads(several_threads(self.stack, self.batches.size))


def _places(chosen: np.ndarray) -> list[int]:
    return np.flatnonzero(chosen).tolist()


def _numbers(values: Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()
