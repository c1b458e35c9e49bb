"""How many threads torch may use: as many as help, never more than the machine grants.

Work as small as ours is shared among threads step by step, and each step ends when the last thread
is done. On a machine that others use too, a thread may wait for its turn while the others spin. So
a run tries now and then whether one thread is faster, and takes what is.
"""

from __future__ import annotations

import math
import os
import statistics
from pathlib import Path

import torch

TRIAL = 5  # updates that are timed before a setting is judged, by their median
FIRST_LOOK, LAST_LOOK = 20, 640  # updates until the other setting is tried: twice as many each time
WORTH, SLOWER, HOPELESS = 0.95, 1.3, 1.5  # shares of the present time for an update


def granted_threads() -> int:
    """Threads that this process can keep busy: torch's setting, but no more than it is granted.

    Looks at the processors it may run on (affinity) and at its share of their time (the quota of a
    Linux control group, which containers and hubs set).
    """
    limits = [torch.get_num_threads(), _processors()]
    if (quota := _quota()) is not None:
        limits.append(max(1, math.floor(quota + 0.5)))
    return max(1, min(limits))


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


class Threads:
    """Torch's number of threads while a run computes: set inside ``with``, and given back.

    Where several may serve, ``note`` is told how long each update took, and decides by that.
    """

    def __init__(self, several: bool):
        self.most = granted_threads() if several else 1
        self.count = 1
        self._other, self._trying = self.most, False
        self._times: list[float] = []
        self._usual = math.inf  # seconds of an update, when the setting was last judged
        self._wait, self._pause = 0, FIRST_LOOK  # updates until the next trial, and between trials

    def __enter__(self) -> Threads:
        self._before = torch.get_num_threads()
        torch.set_num_threads(self.count)
        return self

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)

    def note(self, seconds: float) -> None:
        """One update took so long; now and then, this changes over to the other setting, to see."""
        if self.most == 1:
            return
        self._times.append(seconds)
        hopeless = self._trying and seconds > HOPELESS * self._usual
        if len(self._times) < TRIAL and not hopeless:
            return
        median, self._times = statistics.median(self._times), []
        if not self._trying:
            self._wait -= TRIAL
            if self._wait <= 0 or median > SLOWER * self._usual:
                self._usual, self._trying = median, True
                self.count, self._other = self._other, self.count
            return
        self._trying = False
        if hopeless or median > WORTH * self._usual:  # no gain: change back
            self.count, self._other = self._other, self.count
            self._pause = min(2 * self._pause, LAST_LOOK)
        else:
            self._usual, self._pause = median, FIRST_LOOK
        self._wait = self._pause
