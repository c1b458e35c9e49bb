"""Patients of the clinic: an ordinary training loop, with one mistake in it.

``attend`` is the loop of every tutorial; its conditions are the mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...diagnostics import Instruments
from ...engine.data import Dataset, Split
from ...engine.networks import initialise, make_mlp
from ...randomness import Chance
from ...threads import Threads
from .charts import Chart, data_facts, measure

GAIN = 1.5  # by which the recurrent matrix is larger than He's, so that its gradient can explode


@dataclass(frozen=True)
class Case:
    """How a patient is trained: by default a healthy network, of which a fault changes a part."""

    learning_rate: float = 0.1
    epochs: int = 8
    batch_size: int = 50
    depth: int = 3
    activation: str = "relu"
    init: str = "he"
    bias: float = 0.0  # where each hidden layer's biases start
    dropout: float = 0.0
    weight_decay: float = 0.0
    decay: float = 1.0  # the learning rate is multiplied by this after every ...
    decay_every: str = "epoch"  # ... "epoch" or "batch"
    recurrent: bool = False  # reads a digit row by row
    clip_norm: float | None = None
    pixel_scale: float = 1.0  # 255: as the file has them
    test_pixel_scale: float = 1.0  # applied to the test images only
    shuffled_labels: bool = False
    shuffled_batches: bool = True
    leak: bool = False  # test images among the training images
    evaluates: bool = True  # model.eval() before measuring
    zeroes_gradients: bool = True
    frozen: bool = False  # the second hidden layer asks for no gradient
    softmax: bool = False  # before a loss that does its own


class RowReader(nn.Module):
    """A recurrent network (Elman, 1990): a row of the image at a time, then the class."""

    def __init__(self, columns: int, width: int = 32):
        super().__init__()
        self.read, self.recur = nn.Linear(columns, width), nn.Linear(width, width)
        self.answer, self.activation = nn.Linear(width, 10), nn.ReLU()
        initialise(self, "he")
        with torch.no_grad():
            self.recur.weight.mul_(GAIN)

    def forward(self, images: Tensor) -> Tensor:
        rows = self.read(images.squeeze(1))
        state = self.activation(rows[:, 0])
        for number in range(1, rows.shape[1]):
            state = self.activation(rows[:, number] + self.recur(state))
        return self.answer(state)


def build(case: Case, images: Tensor) -> nn.Module:
    """The patient's network, drawn from torch's global generator."""
    if case.recurrent:
        return RowReader(images.shape[-1]).to(images.device)
    inputs = images[0].numel()
    model = make_mlp(inputs, 32, case.depth, 10, case.activation, case.init, case.dropout)
    hidden = [layer for layer in model if isinstance(layer, nn.Linear)][:-1]
    for layer in hidden:
        nn.init.constant_(layer.bias, case.bias)
    if case.frozen:
        hidden[1].requires_grad_(False)
    return model.to(images.device)


def prepare(case: Case, dataset: Dataset, seed: int) -> tuple[Split, Split, Split]:
    """(training, test, fresh) as the patient sees them. The clinic's test images are half of the
    validation images, the fresh ones the other half: the real test images stay shut."""
    chance = torch.Generator().manual_seed(seed)
    half = len(dataset.val) // 2
    images, labels = dataset.train.images, dataset.train.labels
    test = Split(dataset.val.images[:half], dataset.val.labels[:half])
    fresh = Split(dataset.val.images[half:], dataset.val.labels[half:])
    if case.leak:
        images, labels = torch.cat([images, test.images]), torch.cat([labels, test.labels])
    if case.shuffled_labels:
        labels = labels[torch.randperm(len(labels), generator=chance).to(labels.device)]
    if not case.shuffled_batches:
        order = labels.argsort(stable=True)
        images, labels = images[order], labels[order]
    scale = case.pixel_scale
    return (
        Split(images * scale, labels),
        Split(test.images * scale * case.test_pixel_scale, test.labels),
        Split(fresh.images * scale, fresh.labels),
    )


def attend(case: Case, dataset: Dataset, seed: int = 0) -> Iterator[Chart]:
    """Train a patient with instruments attached; yields its growing chart after every epoch."""
    chance = Chance(seed, foreign=False)
    with chance, Threads(several=False):
        parts = prepare(case, dataset, seed)
        model = build(case, parts[0].images)
        order = torch.Generator().manual_seed(seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=case.learning_rate, weight_decay=case.weight_decay)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, case.decay)
    watched = Instruments(model, optimizer, parts[0].images[::5], every=2)
    chart = Chart(watched, -(-len(parts[0]) // case.batch_size))
    chart.facts |= data_facts(*parts[:2], case.batch_size)
    for _ in range(case.epochs):
        # Patients share no random numbers; loops this small are quickest in one thread.
        with chance, Threads(several=False):
            _one_epoch(chart, model, optimizer, schedule, case, parts[0], order)
            model.train(not case.evaluates)
            measure(chart, model, *parts)
        yield chart


def _one_epoch(
    chart: Chart,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    case: Case,
    train: Split,
    order: torch.Generator,
) -> None:
    """The loop of every tutorial, and the mistakes."""
    trained = optimizer.param_groups[0]["params"]
    model.train()
    shuffled = torch.randperm(len(train), generator=order)
    shuffled = shuffled if case.shuffled_batches else shuffled.sort().values
    before: Tensor | None = None
    for chosen in shuffled.split(case.batch_size):
        logits = model(train.images[chosen])
        logits = logits.softmax(-1) if case.softmax else logits
        loss = functional.cross_entropy(logits, train.labels[chosen])
        if case.zeroes_gradients:
            optimizer.zero_grad()
        loss.backward()
        if case.clip_norm:
            nn.utils.clip_grad_norm_(trained, case.clip_norm)
        gradient = torch.cat([parameter.grad.flatten() for parameter in trained])
        if before is not None:
            chart.alignment.append(float(functional.cosine_similarity(gradient, before, dim=0)))
        before = gradient
        chart.loss.append(loss.item())
        chart.learning_rate.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if case.decay_every == "batch":
            schedule.step()
    if case.decay_every == "epoch":
        schedule.step()
