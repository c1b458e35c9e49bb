"""What `make bench` compares does equal work: each way learns what the engine learns, in as many updates."""

import importlib.util
import math

import pytest
import torch

from benchmarks import rivals
from course_utils import load_mnist

WAYS = {
    "engine, one thread": rivals.stacked_in_one_thread,
    "careful": rivals.careful,
    "careful, fused": lambda configs, dataset: rivals.careful(configs, dataset, fused=True),
    "DataLoader": rivals.with_loader,
    "Optuna": rivals.with_optuna,
    "JAX": lambda configs, dataset: rivals.WithJax(configs, dataset)(),
}
LOOPS = ("careful", "careful, fused", "DataLoader", "Optuna")
# Each way draws other batches from its seeds: the mean of eight accuracies moves by less than 0.01. An epoch more or
# less moves it by more than 0.02, here where networks are learning fast.
CLOSE = 0.02


@pytest.fixture(scope="module")
def dataset():
    return load_mnist(subset=300, image_size=14, device="cpu")


def tiny(count, epochs):
    return rivals.configurations(count, width=32, epochs=epochs)


def mean(accuracies):
    return sum(accuracies) / len(accuracies)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == "JAX" else ()) for name in WAYS],
)
def test_every_way_learns_what_the_engine_learns(name, dataset):
    if name == "JAX" and importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed: the course does not need it")
    accuracies = WAYS[name](tiny(8, epochs=6), dataset)
    assert len(accuracies) == 8
    assert abs(mean(accuracies) - mean(rivals.stacked(tiny(8, epochs=6), dataset))) < CLOSE


def test_fewer_epochs_would_be_noticed(dataset):
    whole, fewer = (mean(rivals.stacked(tiny(8, epochs), dataset)) for epochs in (6, 5))
    assert whole - fewer > CLOSE


@pytest.mark.parametrize("name", LOOPS)
def test_every_loop_makes_every_update(name, dataset, monkeypatch):
    updates, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self, *a, **k: updates.append(1) or step(self, *a, **k)
    )
    configs = tiny(3, epochs=2)
    WAYS[name](configs, dataset)
    assert len(updates) == 3 * 2 * math.ceil(300 / configs[0].batch_size)


def test_threads_are_given_back(dataset):
    before = torch.get_num_threads()
    for name in LOOPS:
        WAYS[name](tiny(1, epochs=1), dataset)
    assert torch.get_num_threads() == before
