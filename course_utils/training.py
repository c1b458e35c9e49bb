"""THE engine: one run is a stack of runs. Floor 2.

Tuning means training the same network many times with different knobs. So K networks of equal
shape are trained as one: their parameters form a matrix with a row for each network, the layers
of ``models`` run all rows in one call, and one backward pass of the summed loss gives every
network its own gradient. The rows are parameter groups of real ``torch.optim`` optimisers with real
``lr_scheduler`` schedules. Nothing of torch's is rewritten.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parameters_to_vector
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm.auto import tqdm

from .augment import AUGMENTATIONS
from .config import Config
from .data import Dataset
from .history import CURVES, History, TrainedWeights
from .models import Dropout, is_stackable, make_mlp
from .schedules import make_schedule

# A stack larger than the processor's cache is slower than two that fit (see `make bench`).
STACK_PARAMETERS = 1_000_000
# Augmenting so many batches of each stream in one call takes half the time of one by one.
AUGMENTED_BATCHES = 8
# Our gradients are rows of one matrix, which torch remarks on, once, and adds to all the same.
warnings.filterwarnings("ignore", message="grad and param do not obey the gradient layout contract")
Loss = Callable[[Tensor, Tensor], Tensor]


def build_mlp(config: Config, dataset: Dataset) -> nn.Module:
    """The dense network that a Config describes, for this dataset's images and classes."""
    return make_mlp(dataset.train.images[0].numel(), config.width, config.depth, dataset.classes, config.activation,
                    config.init, config.dropout, config.normalisation)


def make_optimizer(config: Config, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """The real ``torch.optim`` optimiser that a Config describes, in its fused form where torch has one."""
    common = {"lr": float(config.learning_rate), "weight_decay": config.weight_decay}
    momentum = config.momentum or 0.0
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=momentum, nesterov=config.nesterov, fused=True, **common)
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, momentum=momentum, **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(parameters, fused=True, **common)


def fit(configs: Config | Sequence[Config], dataset: Dataset, *, on_epoch: Callable[[Run], object] | None = None,
        on_step: Callable[[Run], object] | None = None, every: int = 1, progress: bool = True, **options) -> History:
    """Train every configuration and return the record of it all.

    ``on_epoch`` is called with the Run after every epoch, ``on_step`` after every ``every`` updates: read what
    you like from it, or ``run.stop(index)`` a configuration. ``progress`` shows a bar on runs longer than two seconds.
    For the other options see ``train``.
    """
    configs = _as_list(configs)
    total = sum(config.epochs for config in configs)
    with tqdm(total=total, unit="epoch", delay=2, leave=False, disable=not progress) as bar:
        run = None
        for run in train(configs, dataset, **options):
            if on_step and run.step % every == 0:
                on_step(run)
            if run.epoch_ended:
                if on_epoch:
                    on_epoch(run)
                bar.update(len(run.indices))
    return run.history


def train(configs: Config | Sequence[Config], dataset: Dataset, *, model: Callable[[Config, Dataset], nn.Module] = build_mlp,
          loss: Loss | None = None, autocast: bool = False, keep_models: bool = True) -> Iterator[Run]:
    """The loop inside ``fit``, for those who want to look in, or to leave: yields a Run after every update.

    Stop iterating, and training stops. Configurations whose networks have the same shape, and that share
    ``batch_size`` and ``epochs``, are trained as one stack; stacks follow one another.

    ``model``        (config, dataset) -> module; called under the configuration's seed
    ``loss``         (logits [n, classes], labels [n]) -> [n]; cross-entropy unless given
    ``autocast``     forward pass in bfloat16
    ``keep_models``  whether ``history.model(index)`` will work afterwards

    Raises ValueError or TypeError for configurations that make no sense together with the data.
    """
    configs = _as_list(configs)
    batches = [-(-len(dataset.train) // config.batch_size) for config in configs]
    history = History.empty(configs, max(c.epochs * n for c, n in zip(configs, batches, strict=True)), len(dataset.val))
    if loss and any(config.label_smoothing for config in configs):
        raise ValueError("label_smoothing: got a value above 0, takes 0 together with a loss of your own")
    for indices, models in _stacks(configs, dataset, model):
        run = Run(history, list(indices), models, dataset, loss, autocast)
        yield from run.steps()
        for index in indices if keep_models else ():
            history.weights[index] = run.weights(index)


def _as_list(configs: Config | Sequence[Config]) -> list[Config]:
    configs = [configs] if isinstance(configs, Config) else list(configs)
    if not configs:
        raise ValueError("configs: got an empty list, takes at least one Config")
    for config in configs:
        if not isinstance(config, Config):
            raise TypeError(f"configs: got a {type(config).__name__}, takes Config or a list of them")
    return configs


def _stacks(configs: list[Config], dataset: Dataset, model: Callable) -> Iterator[tuple[list[int], list[nn.Module]]]:
    """Group what can share a stack, cut large groups, and build the networks of one group at a time."""
    groups: dict[tuple, list[int]] = defaultdict(list)
    for index, config in enumerate(configs):
        shape = (config.batch_size, config.epochs, config.width, config.depth, config.activation, config.normalisation)
        groups[shape].append(index)
    for indices in groups.values():
        by_shape: dict[tuple, list[tuple[int, nn.Module]]] = defaultdict(list)
        for index in indices:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(configs[index].seed)
                module = model(configs[index], dataset)
            tensors = [*module.parameters(), *module.buffers()]
            key = (*map(type, module.modules()), *((tensor.shape, tensor.requires_grad) for tensor in tensors))
            by_shape[key].append((index, module))
        for members in by_shape.values():
            first = members[0][1]
            size = sum(p.numel() for p in first.parameters())
            most = max(1, STACK_PARAMETERS // max(size, 1)) if is_stackable(first) else 1
            # Equal configurations side by side can share an optimiser; equal parts share the load.
            members.sort(key=lambda member: _optimizer_key(configs[member[0]], member[0])
                         + _group_key(configs[member[0]]))
            parts = -(-len(members) // most)
            for part in np.array_split(np.arange(len(members)), parts):
                yield [members[i][0] for i in part], [members[i][1] for i in part]


def _optimizer_key(config: Config, index: int) -> tuple:
    """Rows with equal keys are held by one optimiser and slowed down by one schedule.

    Every optimiser here works element by element, so sharing changes nothing but the time that calling
    it takes. Runs that end, or slow down, by their own validation loss keep to themselves.
    """
    alone = config.patience is not None or config.schedule == "plateau" or callable(config.schedule)
    return (config.optimizer, "own" if callable(config.schedule) else config.schedule, config.warmup, index if alone else -1)


def _group_key(config: Config) -> tuple:
    """Rows with equal keys, in one optimiser, are one parameter group: they take the same steps."""
    return float(config.learning_rate), config.momentum or 0.0, config.nesterov, config.weight_decay


class Run:
    """A stack in training, as ``train`` yields it after every update and as callbacks see it.

    history       the growing History of all configurations
    indices       the configurations in this stack, by their place in ``history.configs``; it shrinks as they end
    epoch, step   how many epochs are complete, how many updates are done
    epoch_ended   whether this update was the last of its epoch (the curves have just grown)
    module        the stacked module; ``gradients`` [len(indices), parameters] of the last update
    """

    def __init__(self, history: History, indices: list[int], models: list[nn.Module], dataset: Dataset,
                 loss: Loss | None, autocast: bool):
        self.history, self.indices, self.dataset, self.autocast = history, indices, dataset, autocast
        self.configs = [history.configs[index] for index in indices]
        self.device = dataset.train.images.device
        self.epoch = self.step = 0
        self.epoch_ended = False
        self.active = np.ones(len(indices), bool)
        self._loss = loss or (lambda logits, labels: functional.cross_entropy(logits, labels, reduction="none"))
        self._kept: dict[int, TrainedWeights] = {}         # set aside, by index: best so far, or when stopped
        self._best = np.full(len(indices), np.inf)
        self._stack(models)
        self._prepare_batches()
        self._prepare_optimizers()
        self._smoothing = self._column("label_smoothing")
        self._clip = self._column("clip_norm", default=np.inf)

    def _column(self, name: str, default: float = 0.0) -> Tensor | None:
        """One number of each configuration [K] on the device, or None where none of them sets it."""
        values = [getattr(config, name) or default for config in self.configs]
        return torch.tensor(values, device=self.device) if any(value != default for value in values) else None

    def _stack(self, models: list[nn.Module]) -> None:
        """Lay the parameters of all networks into one matrix, and point one module's parameters at its columns."""
        self._template = models[0]
        self.module = copy.deepcopy(models[0]).to(self.device)
        self._shapes = [parameter.shape for parameter in _trained(models[0])]
        self.rows = torch.stack([parameters_to_vector(_trained(model)).detach() for model in models]).to(self.device)
        self._others = [torch.stack([value.data for value in values]).to(self.device)
                        for values in zip(*map(_not_trained, models), strict=True)]
        self._point_module_at_rows()
        noise = torch.Generator(self.device).manual_seed(hash(tuple(config.seed for config in self.configs)) % 2**63)
        for layer in self.module.modules():
            if isinstance(layer, Dropout):
                layer.generator = noise

    def _point_module_at_rows(self) -> None:
        """Views, not copies: what the optimisers do to the rows, and the module to its buffers, both sides see."""
        self.gradients = torch.zeros_like(self.rows)
        stack = (len(self.rows),) if len(self.rows) > 1 else ()
        start = 0
        for parameter, shape in zip(_trained(self.module), self._shapes, strict=True):
            end = start + shape.numel()
            parameter.grad = None                          # torch compares shapes, and this one may change
            parameter.data = self.rows[:, start:end].view(*stack, *shape)
            parameter.grad = self.gradients[:, start:end].view(*stack, *shape)
            start = end
        for tensor, values in zip(_not_trained(self.module), self._others, strict=True):
            tensor.data = values if stack else values[0]

    def _prepare_batches(self) -> None:
        """One stream of batches for each seed and augmentation: configurations with equal seeds see equal batches."""
        keys = [(config.seed, config.augment) for config in self.configs]
        streams = list(dict.fromkeys(keys))
        self._streams = [(torch.Generator().manual_seed(seed), torch.Generator(self.device).manual_seed(seed),
                          AUGMENTATIONS.get(augment, augment)) for seed, augment in streams]
        self._stream_of = torch.tensor([streams.index(key) for key in keys], device=self.device)
        self._own_streams = len(streams) == len(keys)      # then streams and configurations stand in the same order
        train, val = self.dataset.train, self.dataset.val
        self.batch_size = min(self.configs[0].batch_size, len(train))
        self.steps_per_epoch = -(-len(train) // self.batch_size)
        self._batch_images = train.images.new_empty(len(keys) * self.batch_size, *train.images.shape[1:])
        seen = train.first(len(val))
        self._eval_images = torch.cat([seen.images, val.images])
        self._eval_labels = torch.cat([seen.labels, val.labels])

    def _prepare_optimizers(self) -> None:
        """One optimiser for the rows that may share it, with a parameter group for each setting (see _optimizer_key)."""
        members = defaultdict(lambda: defaultdict(list))
        for position, (index, config) in enumerate(zip(self.indices, self.configs, strict=True)):
            members[_optimizer_key(config, index)][_group_key(config)].append(position)
        self._optimizers = []                              # of (groups, optimizer, schedule); groups: of (rows, group)
        for groups in members.values():
            optimizer, slices = None, []
            for positions in groups.values():
                rows = slice(positions[0], positions[-1] + 1)      # neighbours: _stacks has sorted them
                parameter = nn.Parameter(self.rows[rows])
                parameter.grad = self.gradients[rows]
                config = self.configs[positions[0]]
                own = make_optimizer(config, [parameter])
                if optimizer is None:
                    optimizer = own
                else:
                    optimizer.add_param_group(own.param_groups[0])
                slices.append(rows)
            schedule = make_schedule(config.schedule, optimizer, config.epochs * self.steps_per_epoch, config.warmup)
            self._optimizers.append((list(zip(slices, optimizer.param_groups, strict=True)), optimizer, schedule))

    def _groups(self) -> list[tuple[slice, dict]]:
        """All (rows, parameter group) of the stack, in the order of the rows."""
        return [group for groups, _, _ in self._optimizers for group in groups]

    def steps(self) -> Iterator[Run]:
        """Train to the end, yielding after every update."""
        clock = time.perf_counter()
        for _ in range(self.configs[0].epochs):
            if self.active.sum() <= len(self.indices) / 2:
                self._leave_ended_behind()
            self.module.train()
            orders = torch.stack([torch.randperm(len(self.dataset.train), generator=order)
                                  for order, _, _ in self._streams]).to(self.device)
            for images, labels in self._batches(orders):
                self._update(images, labels)
                self.step += 1
                self.epoch_ended = self.step % self.steps_per_epoch == 0
                if self.epoch_ended:
                    self._end_epoch()
                now = time.perf_counter()
                self.history.seconds[self.indices] += (now - clock) / len(self.indices)
                yield self
                clock = time.perf_counter()                # what the caller does between updates is not ours
                if not self.active.any():
                    return

    def _batches(self, orders: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of one epoch in ``orders`` [stream, image]: [K, batch, ...], or no K where all share them."""
        train, augmented = self.dataset.train, any(augment for *_, augment in self._streams)
        if not augmented:
            shared = self._own_streams or len(orders) == 1
            for chosen in (orders if shared else orders[self._stream_of]).split(self.batch_size, dim=1):
                images = self._batch_images[: chosen.numel()]  # memory kept: allocating it costs more than filling it
                torch.index_select(train.images, 0, chosen.flatten(), out=images)
                images, labels = images.view(*chosen.shape, *images.shape[1:]), train.labels[chosen]
                yield (images, labels) if len(chosen) > 1 else (images[0], labels[0])
            return
        for block in orders.split(AUGMENTED_BATCHES * self.batch_size, dim=1):
            images = [train.images[chosen] for chosen in block]
            images = torch.stack([augment(batch, noise) if augment else batch
                                  for batch, (_, noise, augment) in zip(images, self._streams, strict=True)])
            for batch, chosen in zip(images.split(self.batch_size, dim=1), block.split(self.batch_size, dim=1), strict=True):
                labels = train.labels[chosen]
                if len(chosen) == 1:
                    yield batch[0], labels[0]
                else:
                    yield (batch, labels) if self._own_streams else (batch[self._stream_of], labels[self._stream_of])

    def _update(self, images: Tensor, labels: Tensor) -> None:
        losses = self._losses(images, labels)
        self.gradients.zero_()
        losses.sum().backward()
        if self._clip is not None:                         # clip_grad_norm_, for all rows at once
            norms = torch.linalg.vector_norm(self.gradients, dim=1)
            self.gradients *= (self._clip / (norms + 1e-6)).clamp(max=1).unsqueeze(1)
        losses = losses.detach().float().cpu().numpy()
        where, indices = self.step, np.array(self.indices)
        self.history.step_loss[indices[self.active], where] = losses[self.active]
        rates = np.concatenate([[float(group["lr"])] * (rows.stop - rows.start) for rows, group in self._groups()])
        self.history.learning_rate[indices[self.active], where] = rates[self.active]
        for _, optimizer, schedule in self._optimizers:
            optimizer.step()
            if schedule is not None and not isinstance(schedule, ReduceLROnPlateau):
                schedule.step()
        if not np.isfinite(losses[self.active]).all():
            for position in np.flatnonzero(self.active & ~np.isfinite(losses)):
                self._diverge(position)

    def _losses(self, images: Tensor, labels: Tensor) -> Tensor:
        """[K]: the mean loss of each network on its batch."""
        with self._precision():
            logits = self.module(images)
        count = len(self.indices)
        logits = logits.float().view(count, -1, logits.shape[-1]) if count == 1 else logits.float()
        flat, classes = logits.reshape(-1, logits.shape[-1]), labels.expand(count, logits.shape[1]).reshape(-1)
        losses = self._image_losses(flat, classes).view(count, -1).mean(1)
        if self._smoothing is not None:
            uniform = -flat.log_softmax(-1).mean(-1).view(count, -1).mean(1)
            losses = torch.lerp(losses, uniform, self._smoothing)
        return losses

    def _image_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = self._loss(logits, labels)
        if losses.shape != labels.shape:
            raise ValueError(f"loss: got a result shaped {tuple(losses.shape)} for {len(labels)} images, "
                             "takes a function with one number for each image (reduction='none')")
        return losses

    def _precision(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, torch.bfloat16) if self.autocast else nullcontext()

    @torch.no_grad()
    def _evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        """Loss and correctness [K, image] on the training images watched and on validation."""
        self.module.eval()
        count = len(self.indices)
        losses, correct = [], []
        slices = max(64, min(1024, 8192 // count))
        for images, labels in zip(self._eval_images.split(slices), self._eval_labels.split(slices), strict=True):
            with self._precision():
                logits = self.module(images)
            flat = logits.float().reshape(-1, logits.shape[-1])
            labels = labels.expand(count, -1)
            losses.append(self._image_losses(flat, labels.reshape(-1)).view(count, -1))
            correct.append(flat.argmax(-1).view(count, -1) == labels)
        return torch.cat(losses, 1).cpu().numpy(), torch.cat(correct, 1).cpu().numpy()

    def _end_epoch(self) -> None:
        """Evaluate, record, and let the plateau schedules and early stopping decide."""
        loss, correct = self._evaluate()
        seen = loss.shape[1] - len(self.dataset.val)
        with np.errstate(over="ignore", invalid="ignore"):
            values = dict(zip(CURVES, (loss[:, :seen].mean(1), correct[:, :seen].mean(1),
                                       loss[:, seen:].mean(1), correct[:, seen:].mean(1)), strict=True))
            finite = np.isfinite(values["train_loss"] + values["val_loss"])
        for position in np.flatnonzero(self.active & ~finite):
            self._diverge(position)
        history, active = self.history, np.flatnonzero(self.active)
        for name, value in values.items():
            getattr(history, name)[np.array(self.indices)[active], self.epoch] = value[active]
        for position in active:
            index, config = self.indices[position], self.configs[position]
            better = values["val_loss"][position] < self._best[position]
            if better or config.patience is None:
                history.kept_epoch[index] = self.epoch
                history.val_correct[index] = correct[position, seen:]
            if better:
                self._best[position] = values["val_loss"][position]
                if config.patience is not None:
                    self._kept.pop(index, None)
                    self._kept[index] = self.weights(index)
            elif config.patience is not None and self.epoch - history.kept_epoch[index] >= config.patience:
                self._end(position)
        for groups, _, schedule in self._optimizers:
            if isinstance(schedule, ReduceLROnPlateau):
                schedule.step(float(values["val_loss"][groups[0][0].start]))
        self.epoch += 1

    def is_active(self, index: int) -> bool:
        """Whether this configuration is still learning: neither stopped nor diverged."""
        return index in self.indices and bool(self.active[self.indices.index(index)])

    def stop(self, index: int) -> None:
        """End one configuration here: its record ends, its weights are kept as they are, its neighbours go on."""
        if self.is_active(index):
            self._end(self.indices.index(index))

    def _diverge(self, position: int) -> None:
        index = self.indices[position]
        self.history.diverged[index], self.history.kept_epoch[index] = True, -1
        # What a network of NaNs answers: argmax takes the first class, which is chance.
        self.history.val_correct[index] = (self.dataset.val.labels == 0).cpu().numpy()
        self._kept.pop(index, None)
        self._end(position)

    def _end(self, position: int) -> None:
        self.active[position] = False
        self._kept[self.indices[position]] = self.weights(self.indices[position])
        for rows, group in self._groups():
            if not self.active[rows].any():
                group["params"][0].grad = None             # torch's optimisers pass it over

    def _leave_ended_behind(self) -> None:
        """Shrink the stack to the groups that still learn: a pruned search pays only for what lives."""
        stay = np.concatenate([np.arange(rows.start, rows.stop) for rows, _ in self._groups() if self.active[rows].any()])
        self.indices, self.configs = [self.indices[i] for i in stay], [self.configs[i] for i in stay]
        was_active, self.active, self._best = self.active, self.active[stay], self._best[stay]
        chosen = torch.from_numpy(stay).to(self.device)
        self.rows, self._others = self.rows[chosen], [values[chosen] for values in self._others]
        self._smoothing, self._clip = (None if each is None else each[chosen] for each in (self._smoothing, self._clip))
        used, self._stream_of = torch.unique(self._stream_of[chosen], return_inverse=True)
        self._streams = [self._streams[i] for i in used.tolist()]
        self._own_streams = self._stream_of.tolist() == list(range(len(self._streams)))
        self._point_module_at_rows()
        start, remaining = 0, []
        for groups, optimizer, schedule in self._optimizers:
            kept = []
            for rows, group in groups:
                parameter = group["params"][0]
                if was_active[rows].any():
                    rows = slice(start, start + rows.stop - rows.start)
                    parameter.data, parameter.grad = self.rows[rows], self.gradients[rows]
                    kept.append((rows, group))
                    start = rows.stop
                else:                                      # its place stays: the schedule counts the groups
                    optimizer.state.pop(parameter, None)
                    parameter.data = self.rows[:0]
            if kept:
                remaining.append((kept, optimizer, schedule))
        self._optimizers = remaining

    def weights(self, index: int) -> TrainedWeights:
        """A copy of one configuration's weights: as they are now, or, where it has ended, as they were kept."""
        if index in self._kept:
            return self._kept[index]
        position = self.indices.index(index)
        return TrainedWeights(self._template, self.rows[position].clone(), [each[position].clone() for each in self._others])

    def model(self, index: int) -> nn.Module:
        """A copy of one network as it is now (as it was kept, with patience): a plain module in evaluation mode."""
        return self.weights(index).to_module()


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def _not_trained(module: nn.Module) -> list[Tensor]:
    """Frozen parameters and buffers: they have a leading dimension in a stack, but no optimiser."""
    return [p for p in module.parameters() if not p.requires_grad] + list(module.buffers())
