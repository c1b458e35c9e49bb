"""How fast is the engine? Prints medians and ratios from one run, side by side, with hardware and versions.

    make bench            (or: python tests/benchmarks/bench_engine.py [--quick])

Every way does the same work: K configurations (AdamW, each its own learning rate, dropout 0.2), five epochs over the
3,000 digits of the sample, batch 64, validation accuracy after each epoch. Rounds are interleaved, so that a slow
moment of the machine hits all alike.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import optuna
import psutil
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from course_utils import Config, fit, load_mnist
from course_utils.engine.training import build_mlp

EPOCHS, BATCH, DROPOUT = 5, 64, 0.2


def configurations(count: int, width: int) -> list[Config]:
    return [
        Config(
            learning_rate=float(rate),
            width=width,
            epochs=EPOCHS,
            batch_size=BATCH,
            dropout=DROPOUT,
            seed=index,
        )
        for index, rate in enumerate(np.logspace(-3.5, -2, count))
    ]


def plain_network(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(width, 10)
    )


class PilDigits(TorchDataset):
    """What torchvision.datasets.MNIST does with each image: uint8 array -> PIL -> transform."""

    def __init__(self, split):
        self.images = (split.images * 255).round().byte().cpu()
        self.labels = split.labels.cpu()
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        return self.transform(to_pil_image(self.images[index])), int(self.labels[index])


def with_loader(configs, train_set, val_set) -> None:
    """Ways (a) and (c): the tutorial's loop over a DataLoader."""
    for config in configs:
        torch.manual_seed(config.seed)
        model = plain_network(config.width)
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0)
        loader = DataLoader(train_set, batch_size=BATCH, shuffle=True)
        for _ in range(EPOCHS):
            model.train()
            for images, labels in loader:
                optimizer.zero_grad()
                functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                correct = sum(
                    (model(images).argmax(1) == labels).sum().item()
                    for images, labels in DataLoader(val_set, batch_size=1000)
                )
    assert correct > 500


def careful_serial(configs, data, fused: bool = False) -> None:
    """Way (b): tensors in memory, no loader, one configuration after the other."""
    for config in configs:
        torch.manual_seed(config.seed)
        model = plain_network(config.width)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=0, fused=fused
        )
        for _ in range(EPOCHS):
            model.train()
            for chosen in torch.randperm(len(data.train)).split(BATCH):
                optimizer.zero_grad()
                functional.cross_entropy(
                    model(data.train.images[chosen]), data.train.labels[chosen]
                ).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                correct = (model(data.val.images).argmax(1) == data.val.labels).sum().item()
    assert correct > 500


def with_optuna(configs, data) -> None:
    """Optuna with two threads over way (b)."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    study.optimize(
        lambda trial: careful_serial([configs[trial.number]], data) or 0.0,
        n_trials=len(configs),
        n_jobs=2,
    )


def stacked(configs, data) -> None:
    history = fit(configs, data, progress=False)
    assert history.val_correct.any()


def compare(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each way over interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def peak_memory(count: int) -> float:
    """Peak of the resident memory of a fresh process during ``fit``, above what the process held before, in MB."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(_watch_memory, count).result()


def _watch_memory(count: int) -> float:
    data, process, done = load_mnist(device="cpu"), psutil.Process(), threading.Event()
    stacked(configurations(1, 64), data)  # what torch takes once is not counted
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    stacked(configurations(count, 64), data)
    done.set()
    watcher.join()
    return (peak - before) / 1e6


def matmul_peak() -> float:
    """The best rate of a float32 2048x2048 matrix product here, in GFLOP/s."""
    a, out = torch.rand(2048, 2048), torch.empty(2048, 2048)
    best = min(_seconds(lambda: torch.mm(a, a, out=out)) for _ in range(20))
    return 2 * 2048**3 / best / 1e9


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def training_flop(config: Config, data) -> float:
    """Floating-point operations in the products of training alone: forward, and the gradients that are needed."""
    first, last = 784 * config.width, config.width * 10
    return 2 * (2 * first + 3 * last) * len(data.train) * config.epochs


def hardware() -> str:
    name, described = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if described.is_file():  # Linux knows it better than Python
        lines = described.read_text(encoding="utf-8").splitlines()
        name = next(
            (line.split(":")[1].strip() for line in lines if line.startswith("model name")), name
        )
    return (
        f"{name}, {torch.get_num_threads()} threads; Python {platform.python_version()}, torch {torch.__version__}, "
        f"optuna {optuna.__version__}, matplotlib {matplotlib.__version__}, {platform.system()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="width 64 only, three rounds, no DataLoader with PIL"
    )
    quick = parser.parse_args().quick
    data = load_mnist(device="cpu")
    print(hardware())
    peak = matmul_peak()
    print(f"matrix product, float32 2048x2048: {peak:.0f} GFLOP/s\n")

    print(
        "32 configurations, 5 epochs, batch 64, dropout 0.2 (median seconds; how many times the stacked engine's)"
    )
    for width in (64,) if quick else (32, 64, 128, 256):
        configs = configurations(32, width)
        build_mlp(configs[0], data)
        ways = {
            "stacked engine": lambda c=configs: stacked(c, data),
            "(b) serial loop in memory": lambda c=configs: careful_serial(c, data),
            "(b') the same, fused AdamW": lambda c=configs: careful_serial(c, data, fused=True),
        }
        if not quick:
            tensors = [TensorDataset(each.images, each.labels) for each in (data.train, data.val)]
            ways["(c) TensorDataset + DataLoader"] = lambda c=configs, t=tensors: with_loader(c, *t)
            if width == 64:
                ways["Optuna, n_jobs=2, over (b)"] = lambda c=configs: with_optuna(c, data)
        for way in ways.values():
            way()  # warm up
        times = compare(ways, 3 if quick or width > 64 else 5)
        if not quick and width in (64, 128):
            pil = [PilDigits(data.train), PilDigits(data.val)]
            times["(a) DataLoader, PIL, transforms"] = _seconds(
                lambda c=configs, p=pil: with_loader(c, *p)
            )
        base = times["stacked engine"]
        share = sum(training_flop(config, data) for config in configs) / base / (peak * 1e9)
        for name, seconds in times.items():
            print(f"  width {width:3}  {name:32} {seconds:7.2f} s  {seconds / base:5.1f} x")
        print(f"  width {width:3}  share of the matrix-product peak in the engine: {share:.0%}")

    print("\nK configurations at width 64: how the cost grows")
    for count in (1, 8, 32) if quick else (1, 2, 4, 8, 16, 32, 64, 128):
        configs = configurations(count, 64)
        times = compare(
            {
                "stacked": lambda c=configs: stacked(c, data),
                "serial": lambda c=configs: careful_serial(c, data),
            },
            7 if count <= 8 else 3,
        )
        extra = peak_memory(count)
        print(
            f"  K = {count:3}  stacked {times['stacked']:6.2f} s ({times['stacked'] / count * 1e3:5.0f} ms each)   "
            f"serial (b) {times['serial']:6.2f} s   {times['serial'] / times['stacked']:4.1f} x   "
            f"peak memory + {extra:4.0f} MB"
        )


if __name__ == "__main__":
    main()
