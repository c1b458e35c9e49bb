"""What a profile says, in tables; and how long several versions of one thing take, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from torch.profiler import ProfilerActivity, profile


def part_times(measured: profile, names: Sequence[str]) -> pd.Series:
    """Milliseconds [part] spent in the parts that ``torch.profiler.record_function`` has named.

    Raises ValueError for a name that the profile does not hold.
    """
    spent = {event.key: event.cpu_time_total / 1000 for event in measured.key_averages()}
    if unknown := [name for name in names if name not in spent]:
        raise ValueError(f"names: {unknown[0]!r} is not in the profile; mark it by record_function")
    return pd.Series({name: spent[name] for name in names}, name="ms")


def parts_side_by_side(
    versions: Mapping[str, Callable[[], object]], names: Sequence[str], rounds: int = 5
) -> dict[str, pd.Series]:
    """Milliseconds [part] of each version, the median of several profiles, taken in turn."""
    found: dict[str, list[pd.Series]] = {name: [] for name in versions}
    for _ in range(rounds):
        for name, call in versions.items():
            with profile(activities=[ProfilerActivity.CPU]) as measured:
                call()
            found[name].append(part_times(measured, names))
    return {name: pd.concat(each, axis=1).median(axis=1) for name, each in found.items()}


def operation_table(measured: profile, rows: int = 5) -> pd.DataFrame:
    """Torch's operations that were called most often: number of calls, and their own ms."""
    events = [event for event in measured.key_averages() if event.key.startswith("aten::")]
    events.sort(key=lambda event: (-event.count, event.key))
    table = pd.DataFrame(
        {
            "operation": [event.key for event in events],
            "calls": [event.count for event in events],
            "ms": [event.self_cpu_time_total / 1000 for event in events],
        }
    )
    return table.head(rows).set_index("operation").round(1)


def count_operations(measured: profile) -> int:
    """How many operations of torch's were called. Unlike seconds, it is the same each time."""
    return sum(event.count for event in measured.key_averages() if event.key.startswith("aten::"))


def side_by_side(
    versions: Mapping[str, Callable[[], object]], rounds: int = 8
) -> dict[str, np.ndarray]:
    """Seconds [round] that each version takes: one call of each in every round, in turn.

    What disturbs the machine for a while disturbs all versions alike, so their ratios can be taken
    round by round. A first round, in which caches fill, is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    for _ in range(rounds + 1):
        for name, call in versions.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(each[1:]) for name, each in seconds.items()}
