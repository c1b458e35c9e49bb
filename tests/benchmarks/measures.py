"""What is measured of a piece of work: seconds side by side, memory, and where the time goes."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil
import torch
from rivals import careful, configurations, stacked
from torch.profiler import ProfilerActivity, profile

from course_utils.engine.config import Config
from course_utils.engine.training import train
from course_utils.mnist import load_mnist
from course_utils.threads import one_thread

Work = Callable[[], object]
Clock = Callable[[], float]
Times = dict[str, list[float]]
# How torch's profiler calls what an update consists of, by the beginnings of names.
KINDS = {
    "matrix products": ("aten::bmm", "aten::baddbmm", "aten::mm", "aten::addmm"),
    "optimiser": ("Optimizer.", "aten::_fused_adamw"),
    "joining tensors, copying": ("aten::cat", "aten::copy_"),
    "gathering batches": ("aten::index", "aten::randperm"),
    "activation, dropout, loss": (
        *("aten::relu", "aten::clamp", "aten::threshold", "aten::mul", "aten::ge", "aten::div"),
        *("aten::_log_softmax", "aten::nll_loss", "aten::exp", "aten::sum", "aten::scatter"),
    ),
}


def seconds(work: Work, clock: Clock = time.perf_counter) -> float:
    start = clock()
    work()
    return clock() - start


def alternate(
    ways: dict[str, Work],
    budget: float,
    least: int = 3,
    most: int = 9,
    clock: Clock = time.perf_counter,
) -> Times:
    """Seconds of each way in each round: rounds go on for ``budget`` seconds.

    The ways take turns, every other round backwards, so that a slow moment of the machine hits all
    alike, and none always comes after the same one.
    """
    times: Times = {name: [] for name in ways}
    start, rounds = time.perf_counter(), 0
    while rounds < least or (rounds < most and time.perf_counter() - start < budget):
        for name in list(ways)[:: -1 if rounds % 2 else 1]:
            times[name].append(seconds(ways[name], clock))
        rounds += 1
    return times


def ratio(times: Times, name: str, base: str) -> float:
    """How many times as long as ``base`` a way takes: the median over rounds."""
    pairs = zip(times[name], times[base], strict=True)
    return statistics.median(own / other for own, other in pairs)


def first_update_and_epoch(repeats: int, clock: Clock) -> tuple[float, float]:
    """Median milliseconds until the first update, and the first epoch, of a lab's training are
    done: eight networks 196-32-10 on 1,000 digits, in one thread, once the lab is warm."""
    small = load_mnist(subset=1000, image_size=14, device="cpu")
    configs = Config(learning_rate=0.1, optimizer="sgd", width=32).seeds(8)
    measured = []
    with one_thread():
        for _ in range(repeats + 3):  # the first three warm up
            start, first = clock(), 0.0
            for run in train(configs, small, keep_models=False):
                first = first or clock() - start
                if run.epoch_ended:
                    break
            measured.append((first, clock() - start))
    update, epoch = zip(*measured[3:], strict=True)
    return statistics.median(update) * 1e3, statistics.median(epoch) * 1e3


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many other processes compute without a pause meanwhile."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        time.sleep(1)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def peak_memory(way: str, count: int, width: int) -> float:
    """Most memory that a training of ``count`` networks adds to a fresh process, in megabytes."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(_watch_memory, way, count, width).result()


def _watch_memory(way: str, count: int, width: int) -> float:
    dataset, process, done = load_mnist(device="cpu"), psutil.Process(), threading.Event()
    work = {"engine": stacked, "careful": careful}[way]
    work(configurations(1, width, epochs=1), dataset)  # what torch takes once is not counted
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    work(configurations(count, width, epochs=2), dataset)
    done.set()
    watcher.join()
    return (peak - before) / 1e6


def shares(work: Work) -> dict[str, float]:
    """Where one thread's time goes, by torch's profiler; what no operation of torch's takes is
    Python. The profiler itself slows small operations down, so these are shares, not seconds."""
    work()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        whole = seconds(work)
    events = profiled.key_averages()
    spent = {
        kind: sum(each.self_cpu_time_total for each in events if each.key.startswith(names)) / 1e6
        for kind, names in KINDS.items()
    }
    torch_took = sum(each.self_cpu_time_total for each in events) / 1e6
    spent["other operations and autograd"] = torch_took - sum(spent.values())
    spent["Python between them"] = max(0.0, whole - torch_took)
    return {kind: share / sum(spent.values()) for kind, share in spent.items()}


def matmul_rate() -> float:
    """The best rate of a float32 product of 2048 x 2048 matrices, in GFLOP/s."""
    a, out = torch.rand(2048, 2048), torch.empty(2048, 2048)
    best = min(seconds(lambda: torch.mm(a, a, out=out)) for _ in range(10))
    return 2 * 2048**3 / best / 1e9


def used_by_others() -> float:
    """Processors that are at work while this process waits for two seconds."""
    return psutil.cpu_percent(2) / 100 * (os.cpu_count() or 1)


def hardware() -> str:
    name, described = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if described.is_file():  # Linux knows it better than Python
        lines = described.read_text(encoding="utf-8").splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        name = names[0] if names else name
    releases = [
        f"{package} {version(package)}"
        for package in ("torch", "numpy", "optuna", "jax")
        if importlib.util.find_spec(package)
    ]
    return (
        f"{name}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB of "
        f"memory, {torch.get_num_threads()} threads; {platform.system()}, "
        f"Python {platform.python_version()}, {', '.join(releases)}; a float32 product of "
        f"2048 x 2048 matrices runs at {matmul_rate():.0f} GFLOP/s"
    )
