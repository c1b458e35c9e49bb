"""How long a search takes: a model with four measured numbers for each engine."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Engine:
    """What an engine costs.

    overhead   seconds for each trial, beside its training, that a worker is kept waiting
    serial     seconds of that in which no other worker can do the same: a file's lock, a head
    start      seconds until the first trial begins
    slowdown   how many times longer a trial takes because others run beside it on its machine
    parallel   whether there can be more than one worker
    """

    overhead: float = 0.0
    serial: float = 0.0
    start: float = 0.0
    slowdown: float = 1.0
    parallel: bool = True


# Orders of magnitude for a laptop; the notebook measures its own.
TYPICAL = {
    "one process": Engine(parallel=False),
    "Optuna workers": Engine(overhead=0.03, serial=0.03, start=5.0),
    "Ray, processes kept": Engine(overhead=0.08, serial=0.08, start=10.0),
    "Ray, a process each": Engine(overhead=4.0, start=10.0),
}


def search_seconds(trials: int, seconds: float, workers: int, engine: Engine) -> float:
    """How long ``trials`` of so many ``seconds`` each take on so many ``workers``.

    Workers take rounds; in the end, no search is faster than the queue in the one place through
    which all trials pass. Raises ValueError for less than one trial or worker.
    """
    if trials < 1 or workers < 1:
        raise ValueError(f"trials, workers: got {trials} and {workers}, take 1 or more")
    rounds = math.ceil(trials / (workers if engine.parallel else 1))
    working = rounds * (engine.overhead + seconds * engine.slowdown)
    return engine.start + max(working, trials * engine.serial)


def duration(seconds: float) -> str:
    """Seconds as people say them: "12 s", "3 min", "5.2 h", "8.1 days"."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86_400:.3g} days"
