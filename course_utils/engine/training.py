"""The training loop: one run is a stack of runs.

Tuning means training the same network many times with different settings. So networks of equal
architecture are trained as one stack (see ``stack``), with torch's own optimisers and schedules
(see ``optimizers``), each on the images that its seed deals to it (see ``batches``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..randomness import Chance
from ..stacking.stack import Stack, Weights
from ..threads import Threads
from .batches import Batches
from .config import Config
from .data import Dataset, Split
from .history import CURVES, History
from .losses import Loss, Losses
from .optimizers import Optimizers
from .plan import Model, build_mlp, plan, refuse_nonsense, several_threads

# What ``Run.set`` can change, and what torch's parameter groups call it.
KNOBS = {"learning_rate": "lr", "momentum": "momentum", "weight_decay": "weight_decay"}
AT_A_TIME = 8192  # images that are evaluated in one call, over all networks


def fit(
    configs: Config | Sequence[Config],
    dataset: Dataset,
    *,
    model: Model = build_mlp,
    loss: Loss | None = None,
    autocast: bool = False,
    keep_models: bool = True,
    on_epoch: Callable[[Run], object] | None = None,
    on_step: Callable[[Run], object] | None = None,
    every: int = 1,
    progress: bool = True,
) -> History:
    """Train every configuration and return the record of it all.

    ``model``        (config, dataset) -> torch module; called under the configuration's seed
    ``loss``         (logits [n, classes], labels [n]) -> [n]; cross-entropy unless given
    ``autocast``     forward pass in bfloat16
    ``keep_models``  whether ``history.model(index)`` will work afterwards
    ``on_epoch``     called with the Run after every epoch: read what you like from it, or
                     ``run.stop(index)`` a configuration, or ``run.set(...)`` another rate
    ``on_step``      the same after every ``every`` updates
    ``progress``     shows a bar on runs longer than two seconds

    Raises ValueError or TypeError, before the training, for configurations, data, a model, a loss or
    a schedule that make no sense, by name.
    """
    configs = _as_list(configs)
    options = {"model": model, "loss": loss, "autocast": autocast, "keep_models": keep_models}
    total = sum(config.epochs for config in configs)
    with tqdm(total=total, unit="epoch", delay=2, leave=False, disable=not progress) as bar:
        for run in train(configs, dataset, **options):
            if on_step and run.step % every == 0:
                on_step(run)
            if run.epoch_ended:
                if on_epoch:
                    on_epoch(run)
                bar.update(len(run.indices))
    return run.history


def train(
    configs: Config | Sequence[Config],
    dataset: Dataset,
    *,
    model: Model = build_mlp,
    loss: Loss | None = None,
    autocast: bool = False,
    keep_models: bool = True,
) -> Iterator[Run]:
    """The loop inside ``fit``, for those who want to look in, or to leave: yields after every update.

    Stop iterating, and training stops. Configurations whose networks have one architecture, and
    that share ``batch_size`` and ``epochs``, are trained as one stack; stacks follow one another.
    """
    configs = _as_list(configs)
    built = refuse_nonsense(configs, dataset, model, loss)
    updates = [config.epochs * -(-len(dataset.train) // config.batch_size) for config in configs]
    history = History.empty(configs, max(updates), len(dataset.val))
    for indices, stack in plan(configs, dataset, model, built):
        run = Run(history, indices, stack, dataset, loss, autocast)
        yield from run.steps()
        for index in indices if keep_models else ():
            history.weights[index] = run.weights(index)


def epochs(runs: Iterator[Run]) -> Iterator[Run]:
    """Of what ``train`` yields, the moments at which an epoch ends, or the last run of a stack does:
    ``for run in epochs(train(configs, dataset)): ...``"""
    for run in runs:
        if run.epoch_ended or not run.active.any():
            yield run


def _as_list(configs: Config | Sequence[Config]) -> list[Config]:
    configs = [configs] if isinstance(configs, Config) else list(configs)
    if not configs:
        raise ValueError("configs: got an empty list, takes at least one Config")
    for config in configs:
        if not isinstance(config, Config):
            raise TypeError(
                f"configs: got a {type(config).__name__}, takes Config or a list of them"
            )
    return configs


class Run:
    """A stack in training, as ``train`` yields it after every update and as callbacks see it.

    history       the growing History of all configurations
    indices       the configurations in this stack, by their place in ``history.configs``; it shrinks
                  as they end
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
        for position in np.flatnonzero(self.active & ~np.isfinite(_numbers(losses))):
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
        for position in np.flatnonzero(self.active & ~finite):
            self._diverge(position)
        rows = np.array(self.indices)[self.active]
        for name, value in values.items():
            getattr(self.history, name)[rows, self.epoch] = value[self.active]
        for position in np.flatnonzero(self.active):
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
        """End one configuration here: its record ends, its weights are kept (with patience, the best
        so far), its neighbours go on."""
        if self.is_active(index):
            self._end(self.indices.index(index))

    def set(self, **changes: Any) -> None:
        """Turn a knob of all networks of this stack while they train, from the next update on.

        Takes ``learning_rate`` (of a constant schedule), ``momentum``, ``weight_decay``, ``dropout``
        and, at the end of an epoch, ``batch_size``. What was changed when stands in
        ``history.changes``. Raises ValueError for anything else.
        """
        strange = ", ".join(set(changes) - {*KNOBS, "dropout", "batch_size"})
        if strange:
            raise ValueError(f"{strange}: cannot be changed while a network trains")
        for config in self.configs:
            config.replace(**changes)  # refuses nonsense
            if "learning_rate" in changes and (config.schedule != "constant" or config.warmup):
                raise ValueError("learning_rate: the schedule decides it; take a constant one")
        if "batch_size" in changes and not self.epoch_ended and self.step:
            raise ValueError("batch_size: changes between two epochs, and this one has not ended")
        for name, value in changes.items():
            if name in KNOBS:
                self.optimizers.set(KNOBS[name], value)
        if "dropout" in changes:
            self.stack.set_dropout(changes["dropout"])
        if "batch_size" in changes:
            self.batches.size = min(changes["batch_size"], len(self.dataset.train))
            left = self.configs[0].epochs - self.epoch
            self.history.make_room(self.step + left * self.batches.count)
        for index in self.indices:
            self.history.changes.setdefault(index, []).append((self.step, changes))

    def model(self, index: int) -> nn.Module:
        """A copy of one network, a plain module in evaluation mode: as it is now, or, once it has
        ended, as it was kept."""
        if self.is_active(index):
            return self.stack.weights(self.indices.index(index)).to_module()
        return self.kept[index].to_module()

    def weights(self, index: int) -> Weights:
        """What the record keeps of a run that has come to its end: its last weights, or its best."""
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


def _numbers(values: Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()
