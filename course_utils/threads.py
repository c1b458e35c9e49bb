"""How many threads torch may use: as many as help, never more than the machine grants.

Work as small as ours is shared among threads for fractions of a millisecond, and each share ends
when the last thread is done. Where other processes want the same processors, a thread waits for its
turn while the others spin: training gets many times slower than with one thread. So torch's threads
are lent out only while the processors for them stand idle.
"""

from __future__ import annotations

import functools
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

WINDOW = 0.15  # seconds over which the processors' use is measured
_LOCAL = threading.local()
TOLERANCE = 0.4  # of a processor: so much of the last one may be in use by others


@contextmanager
def one_thread() -> Iterator[None]:
    """What this Python thread trains meanwhile, torch computes in one thread: a second one that has
    nothing to do spins for a while, and takes the processor that a page needs to show a picture."""
    before = getattr(_LOCAL, "most", math.inf)
    _LOCAL.most = 1
    try:
        yield
    finally:
        _LOCAL.most = before


def granted_threads() -> int:
    """Threads that this process can keep busy: torch's setting, but no more than it is granted.

    Looks at the processors it may run on (affinity) and at its share of their time (the quota of a
    Linux control group, which containers and hubs set).
    """
    limits = [torch.get_num_threads(), _processors(), getattr(_LOCAL, "most", math.inf)]
    if (quota := _quota()) is not None:
        limits.append(max(1, math.floor(quota + 0.5)))
    return int(max(1, min(limits)))


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The processors' worth of time that a control group allows; None without a limit."""
    try:
        quota, period = (root / "cpu.max").read_text(encoding="utf-8").split()  # version 2
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text(encoding="utf-8")  # version 1
            period = (root / "cpu/cpu.cfs_period_us").read_text(encoding="utf-8")
        except OSError:
            return None
    try:
        share = int(quota) / int(period)
    except ValueError:  # "max"
        return None
    return share if share > 0 else None


class _Machine:
    """What other processes leave of the processors that this one may use."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.training = 0  # runs of this process that compute at this moment
        self.free = math.inf
        self._at, self._busy, self._own = self._look()

    def _look(self) -> tuple[float, float, float]:
        """(now, seconds of work that all processes did so far, seconds that this one did)."""
        times = psutil.cpu_times(percpu=True)
        if hasattr(os, "sched_getaffinity"):
            times = [times[number] for number in os.sched_getaffinity(0) if number < len(times)]
        idle = sum(each.idle + getattr(each, "iowait", 0) for each in times)
        guests = sum(getattr(each, "guest", 0) + getattr(each, "guest_nice", 0) for each in times)
        whole = sum(map(sum, times)) - guests  # which are counted among the others, too
        return time.monotonic(), whole - idle, time.process_time()

    def measure(self) -> None:
        """Bring ``free`` up to date, where the last measurement is old enough to compare with."""
        if time.monotonic() - self._at < WINDOW:
            return
        now, busy, own = self._look()
        others = ((busy - self._busy) - (own - self._own)) / (now - self._at)
        self.free = _processors() - max(0.0, others)
        self._at, self._busy, self._own = now, busy, own


_MACHINE = _Machine()


class Threads:
    """Torch's number of threads while a run computes: set inside ``with``, and given back."""

    def __init__(self, several: bool):
        self.most = granted_threads() if several else 1

    def __enter__(self) -> Threads:
        with _MACHINE.lock:
            _MACHINE.training += 1
            if self.most > 1:
                _MACHINE.measure()
            idle = _MACHINE.free >= self.most - TOLERANCE
            count = self.most // _MACHINE.training if idle else 1
        self._before = torch.get_num_threads()
        torch.set_num_threads(max(1, count))
        return self

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)
        with _MACHINE.lock:
            _MACHINE.training -= 1
