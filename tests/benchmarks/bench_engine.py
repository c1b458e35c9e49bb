"""How fast is the engine? Prints tables in Markdown; docs/SPEED.md holds some.

    make bench            (or: python tests/benchmarks/bench_engine.py [--quick] [--processor])

Every way does the same work (see rivals.py): K networks of 784 inputs and one hidden layer, AdamW,
each its own learning rate, dropout 0.2, a few epochs over the 3,000 digits of the sample, batches
of 64, validation accuracy after each epoch. Ways take turns, and ratios are taken within rounds, so
that a slow moment of the machine hits all alike. Where other processes keep the cores busy,
``--processor`` counts the processor's seconds instead, with the engine in one thread. Nothing here is asserted: timings are printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import statistics
import time
from functools import partial

from measures import (
    Clock,
    Times,
    Work,
    alternate,
    busy_processes,
    first_update_and_epoch,
    hardware,
    peak_memory,
    ratio,
    seconds,
    shares,
    used_by_others,
)
from rivals import (
    WithJax,
    careful,
    configurations,
    stacked,
    stacked_in_one_thread,
    with_loader,
    with_optuna,
)

from course_utils.cnn import make_cnn
from course_utils.engine.config import Config
from course_utils.engine.data import Dataset
from course_utils.mnist import load_mnist

GRID = sorted(((k, w) for w in (32, 64, 256) for k in (1, 8, 32)), key=math.prod) + [(128, 64)]
QUICK_GRID = [(1, 64), (8, 32), (32, 64)]
RIVALS = ("one thread", "loader", "careful", "fused", "optuna", "jax")
CORES = os.cpu_count() or 1


def say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def table(*headings: str) -> None:
    say("", row(*headings), row(*["---"] * len(headings)))


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def times_as_long(times: Times, name: str, networks: float = 1) -> str:
    """A rival's time over the engine's; ``networks`` of the engine's for each of the rival's."""
    return f"{ratio(times, name, 'engine') * networks:.2f}" if name in times else "-"


def ways_of(
    configs: list[Config], dataset: Dataset, quick: bool
) -> tuple[dict[str, Work], dict[str, int]]:
    """(ways, how many networks each trains): those that train one after the other train fewer.

    Their time is multiplied: the second network takes as long as the first.
    """
    count = len(configs)
    counts = dict.fromkeys(("engine", "one thread"), count)
    counts |= dict.fromkeys(("careful", "fused"), min(count, 4 if quick else 8))
    counts |= dict.fromkeys(("loader", "optuna"), min(count, 2))
    functions = {
        "engine": stacked,
        "one thread": stacked_in_one_thread,
        "careful": careful,
        "fused": partial(careful, fused=True),
        "loader": with_loader,
        "optuna": with_optuna,
    }
    # Spread over all rates, lest the few were the slowest learners.
    return {
        name: partial(function, configs[:: count // counts[name]], dataset)
        for name, function in functions.items()
    }, counts


def print_grid(dataset: Dataset, quick: bool, clock: Clock) -> None:
    """All ways at several sizes."""
    with_jax = importlib.util.find_spec("jax") is not None
    headings = ("K", "width", "epochs", "engine, s", "engine, one thread", "(a) DataLoader loop")
    headings += ("(b) careful loop", "(b) with fused AdamW", "(c) Optuna", "(d) JAX")
    table(*headings, "JAX compiles, s", "rounds")
    for count, width in QUICK_GRID if quick else GRID:
        epochs = 2 if count * width > 2048 else 5
        configs = configurations(count, width, epochs)
        ways, counts = ways_of(configs, dataset, quick)
        compiling = "-"
        if with_jax:
            ways["jax"], counts["jax"] = WithJax(configs, dataset), count
            compiling = f"{seconds(ways['jax'], clock):.1f}"
        if clock is time.process_time:
            ways["engine"] = ways["one thread"]
        for way in (stacked, careful, with_loader, with_optuna):
            way(configurations(1, width, epochs=1), dataset)  # warm up
        budget, least, most = (4, 2, 5) if quick else (10, 3, 15)
        if clock is time.process_time:  # it varies less, and the busy cores take long over it
            budget, least = 2 * budget, 1
        times = alternate(ways, budget, least, most, clock)
        cells = [times_as_long(times, name, count / counts.get(name, 1)) for name in RIVALS]
        engine = statistics.median(times["engine"])
        say(row(count, width, epochs, f"{engine:.2f}", *cells, compiling, len(times["engine"])))
    if not with_jax:
        say("", "JAX is not installed here: `pip install jax` adds its column.")


def cnn(config: Config, dataset: Dataset):
    return make_cnn(width=8)


def print_cnn(dataset: Dataset, quick: bool) -> None:
    table("K small CNNs, 1 epoch", "engine, s", "careful loop, one thread", "careful, all threads")
    for count in (1,) if quick else (1, 8):
        configs = configurations(count, 64, epochs=1)
        ways: dict[str, Work] = {
            "engine": partial(stacked, configs, dataset, cnn),
            "one": partial(careful, configs, dataset, cnn),
            "all": partial(careful, configs, dataset, cnn, count=CORES),
        }
        ways["engine"]()
        times = alternate(ways, 3 if quick else 10, least=2)
        engine = statistics.median(times["engine"])
        cells = [times_as_long(times, name) for name in ("one", "all")]
        say(row(count, f"{engine:.2f}", *cells))


def print_busy(dataset: Dataset, quick: bool) -> None:
    """The engine chooses its threads: beside others it must not fall behind one thread."""
    small, large = configurations(8, 32), configurations(32, 64, epochs=2)
    works = {
        "8 networks, width 32, 5 epochs": (small, {}),
        "32 networks, width 64, 2 epochs": (large, {}),
    }
    works["one small CNN, 1 epoch"] = configurations(1, 64, epochs=1), {"model": cnn}
    table("work", "machine", "engine, s", "over itself in one thread", "(b) over engine")
    for state, count in (("as it is", 0), (f"and {CORES} busy processes", CORES)):
        with busy_processes(count):
            for name, (configs, model) in list(works.items())[: 1 if quick else 3]:
                ways: dict[str, Work] = {
                    "engine": partial(stacked, configs, dataset, **model),
                    "one": partial(stacked_in_one_thread, configs, dataset, **model),
                    "careful": partial(careful, configs[::4], dataset, **model),
                }
                times = alternate(ways, 3 if quick else 20, least=2)
                engine = statistics.median(times["engine"])
                over_one = 1 / ratio(times, "one", "engine")
                loop = times_as_long(times, "careful", len(configs) / len(configs[::4]))
                say(row(name, state, f"{engine:.2f}", f"{over_one:.2f}", loop))


def print_memory(quick: bool) -> None:
    table("K", "width", "engine adds, MB", "(b) adds, MB")
    for count, width in (
        ((32, 64),) if quick else ((1, 64), (8, 64), (32, 64), (128, 64), (32, 256))
    ):
        added = [f"{peak_memory(way, count, width):.0f}" for way in ("engine", "careful")]
        say(row(count, width, *added))


def print_shares(dataset: Dataset) -> None:
    sizes, found = [(8, 32), (32, 64), (32, 256)], []
    for count, width in sizes:
        configs = configurations(count, width, epochs=1)
        found.append(shares(partial(stacked_in_one_thread, configs, dataset)))
    table("one thread's time goes to", *(f"K = {count}, width {width}" for count, width in sizes))
    for kind in found[0]:
        say(row(kind, *(f"{100 * each[kind]:.0f} %" for each in found)))


def main() -> None:
    lines = __doc__.splitlines()
    parser = argparse.ArgumentParser(description=lines[0])
    parser.add_argument("--quick", action="store_true", help="a few rows, in about a minute")
    parser.add_argument("--processor", action="store_true", help="for a machine that is busy")
    options = parser.parse_args()
    quick = options.quick
    clock = time.process_time if options.processor else time.perf_counter
    dataset = load_mnist(device="cpu")
    others = used_by_others()
    say(f"{hardware()}. Before the run, other processes took {others:.1f} of {CORES} cores.")
    if options.processor:
        say("", "The first and third tables count processor's seconds, the engine in one thread.")
    update, epoch = first_update_and_epoch(10 if quick else 40, clock)
    table("a lab's training, warm, one thread", "ms")
    say(row("until its first update is done", f"{update:.1f}"))
    say(row("until its first epoch is done", f"{epoch:.1f}"))
    print_busy(dataset, quick)
    print_grid(dataset, quick, clock)
    print_cnn(dataset, quick)
    print_memory(quick)
    print_shares(dataset)
    say("", f"After the run, other processes took {used_by_others():.1f} of {CORES} cores.")


if __name__ == "__main__":
    main()
