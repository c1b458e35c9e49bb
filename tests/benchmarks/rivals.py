"""The same training in several ways: the engine's, and what people write who have no engine.

Each way is a function (configs, dataset) -> [K] the accuracy on the validation images after the
last epoch. Each trains K networks with AdamW and dropout, and looks at the validation images after
every epoch. ``tests/test_bench.py`` holds that they do equal work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from course_utils.engine.config import Config
from course_utils.engine.data import Dataset
from course_utils.engine.plan import Model, build_mlp
from course_utils.engine.training import fit
from course_utils.threads import one_thread

Way = Callable[[Sequence[Config], Dataset], list[float]]
DROPOUT = 0.2


def configurations(count: int, width: int, epochs: int = 5, batch_size: int = 64) -> list[Config]:
    """So many settings to try: each has a learning rate and a seed of its own."""
    rates = np.logspace(-3.5, -2, count)
    return [
        Config(
            learning_rate=float(rate),
            optimizer="adamw",
            width=width,
            epochs=epochs,
            batch_size=batch_size,
            dropout=DROPOUT,
            seed=seed,
        )
        for seed, rate in enumerate(rates)
    ]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch computes in so many threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def stacked(configs: Sequence[Config], dataset: Dataset, model: Model = build_mlp) -> list[float]:
    """The engine. It looks at the training images as well, notes losses, and keeps the networks."""
    history = fit(configs, dataset, model=model, progress=False)
    return history.val_accuracy[:, -1].tolist()


def stacked_in_one_thread(
    configs: Sequence[Config], dataset: Dataset, model: Model = build_mlp
) -> list[float]:
    with one_thread():
        return stacked(configs, dataset, model)


def careful(
    configs: Sequence[Config],
    dataset: Dataset,
    model: Model = build_mlp,
    *,
    fused: bool = False,
    count: int = 1,
) -> list[float]:
    """One network after the other, by a loop with tensors in memory and no loader."""
    with threads(count):
        return [careful_alone(config, dataset, model, fused) for config in configs]


def careful_alone(
    config: Config, dataset: Dataset, model: Model = build_mlp, fused: bool = False
) -> float:
    torch.manual_seed(config.seed)
    network, optimizer = prepared(config, dataset, model, fused)
    images, labels, accuracy = dataset.train.images, dataset.train.labels, 0.0
    for _ in range(config.epochs):
        network.train()
        for chosen in torch.randperm(len(labels)).split(config.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(network(images[chosen]), labels[chosen]).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            right = network(dataset.val.images).argmax(1) == dataset.val.labels
            accuracy = right.float().mean().item()
    return accuracy


def prepared(
    config: Config, dataset: Dataset, model: Model = build_mlp, fused: bool = False
) -> tuple[nn.Module, torch.optim.Optimizer]:
    network = model(config, dataset)
    return network, torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=0, fused=fused
    )


def with_loader(configs: Sequence[Config], dataset: Dataset) -> list[float]:
    """The loop of most tutorials: a DataLoader puts the batches together, image by image.

    The images are tensors already: decoding and transforming them, as tutorials do besides, would
    take several times as long.
    """
    with threads(1):
        return [with_loader_alone(config, dataset) for config in configs]


def with_loader_alone(config: Config, dataset: Dataset) -> float:
    train, val = (TensorDataset(part.images, part.labels) for part in (dataset.train, dataset.val))
    torch.manual_seed(config.seed)
    network, optimizer = prepared(config, dataset)
    loader, right = DataLoader(train, batch_size=config.batch_size, shuffle=True), 0
    for _ in range(config.epochs):
        network.train()
        for images, labels in loader:
            optimizer.zero_grad()
            functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            right = sum(
                int((network(images).argmax(1) == labels).sum())
                for images, labels in DataLoader(val, batch_size=1000)
            )
    return right / len(val)


def with_optuna(configs: Sequence[Config], dataset: Dataset) -> list[float]:
    """Optuna, trial by trial, over the careful loop; it is told which learning rates to try."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for config in configs:
        study.enqueue_trial({"learning_rate": config.learning_rate})

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", 1e-5, 1.0, log=True)
        return careful_alone(configs[trial.number].replace(learning_rate=rate), dataset)

    with threads(1):
        study.optimize(objective, n_trials=len(configs))
    return [trial.value for trial in study.trials]


class WithJax:
    """All of it as one program that JAX compiles: ``vmap`` over networks, ``scan`` over updates.

    The first call compiles it; another number of networks, or another width, is compiled anew.
    Adam is written out, since AdamW without decay is Adam. Raises ModuleNotFoundError without JAX.
    """

    def __init__(self, configs: Sequence[Config], dataset: Dataset):
        import jax  # the course does not need it

        self.jax, jnp = jax, jax.numpy
        self.classes, self.first = dataset.classes, configs[0]
        self.train, self.val = (
            (jnp.asarray(part.images.flatten(1).numpy()), jnp.asarray(part.labels.numpy()))
            for part in (dataset.train, dataset.val)
        )
        self.batch = min(self.first.batch_size, len(dataset.train))
        self.seeds = jnp.array([config.seed for config in configs])
        self.rates = jnp.array([config.learning_rate for config in configs], jnp.float32)
        self.work = jax.jit(jax.vmap(self.whole))

    def __call__(self) -> list[float]:
        return np.asarray(self.work(self.seeds, self.rates)[1]).tolist()

    def whole(self, seed: Any, rate: Any) -> tuple[Any, Any]:
        """(losses [epoch, update], last accuracy) of one network."""
        random, jnp = self.jax.random, self.jax.numpy
        key, *own = random.split(random.PRNGKey(seed), 3)
        sizes = [self.train[0].shape[1], self.first.width, self.classes]
        weights = []
        for layer_key, inputs, outputs in zip(own, sizes, sizes[1:], strict=False):
            draws = random.normal(layer_key, (inputs, outputs))
            weights += [draws * jnp.sqrt(2 / inputs), jnp.zeros(outputs)]
        nothing = [jnp.zeros_like(weight) for weight in weights]
        state = weights, nothing, nothing, 0, key
        _, (losses, accuracies) = self.jax.lax.scan(
            lambda state, _: self.epoch(rate, state), state, None, length=self.first.epochs
        )
        return losses, accuracies[-1]

    def epoch(self, rate: Any, state: Any) -> tuple[Any, Any]:
        jnp, batch, count = self.jax.numpy, self.batch, len(self.train[1])
        *rest, key = state
        key, own = self.jax.random.split(key)
        steps = -(-count // batch)
        # The last batch of an epoch is smaller: what fills it up counts nothing.
        order = jnp.pad(self.jax.random.permutation(own, count), (0, steps * batch - count))
        real = (jnp.arange(steps * batch) < count).astype(jnp.float32)
        batches = order.reshape(steps, batch), real.reshape(steps, batch)
        state, losses = self.jax.lax.scan(
            lambda state, batch: self.update(rate, state, batch), (*rest, key), batches
        )
        right = self.logits(state[0], self.val[0]).argmax(1) == self.val[1]
        return state, (losses, right.mean())

    def update(self, rate: Any, state: Any, batch: Any) -> tuple[Any, Any]:
        weights, means, squares, step, key = state
        key, own = self.jax.random.split(key)
        value, slopes = self.jax.value_and_grad(self.loss)(weights, *batch, own)
        step = step + 1
        means = [0.9 * m + 0.1 * g for m, g in zip(means, slopes, strict=True)]
        squares = [0.999 * s + 0.001 * g * g for s, g in zip(squares, slopes, strict=True)]
        weights = [
            w - rate * (m / (1 - 0.9**step)) / ((s / (1 - 0.999**step)) ** 0.5 + 1e-8)
            for w, m, s in zip(weights, means, squares, strict=True)
        ]
        return (weights, means, squares, step, key), value

    def loss(self, weights: Any, chosen: Any, real: Any, key: Any) -> Any:
        shape, (images, labels) = (self.batch, self.first.width), self.train
        keep = self.jax.random.bernoulli(key, 1 - DROPOUT, shape) / (1 - DROPOUT)
        scores = self.jax.nn.log_softmax(self.logits(weights, images[chosen], keep))
        right = self.jax.numpy.take_along_axis(scores, labels[chosen][:, None], axis=1)
        return -(right[:, 0] * real).sum() / real.sum()

    def logits(self, weights: Any, images: Any, keep: Any = 1.0) -> Any:
        hidden = self.jax.nn.relu(images @ weights[0] + weights[1]) * keep
        return hidden @ weights[2] + weights[3]
