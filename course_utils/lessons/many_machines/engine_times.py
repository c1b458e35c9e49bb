"""How many trials a second an engine brings, from whole searches: measured in the notebook for
short trials, and stored for long ones.

``make engines`` measures the long ones, in about ten minutes, and writes data/engine_times.json.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...estimates import Estimate, mean_interval, ratio_interval
from ...files import DATA_FOLDER, read_json, restore

ENGINE_TIMES = "engine_times.json"
ALONE = "one process"
RIVALS = ("Optuna, two workers", "Ray, processes kept", "Ray, a process each")
NOW = "the measured trials of one search each, for short ones"
REPEATS = "the measured repeats of whole searches, at 10 s"


def occupied(
    started: Sequence[float] | np.ndarray,
    seconds: Sequence[float] | np.ndarray,
    places: int = 1,
    begun: float | None = None,
) -> np.ndarray:
    """[trial]: for how long each trial kept its place, of ``places``, in seconds.

    ``started`` and ``seconds`` say when each trial began and how long it ran; what happens between
    two trials counts for the second. The first trial in each place counts from ``begun``, when the
    search was started; without it, NaN.
    """
    started, seconds = np.asarray(started, float), np.asarray(seconds, float)
    ends = [-math.inf if begun is None else begun] * places
    kept = np.full(len(started), math.nan)
    for number in np.argsort(started):
        end = started[number] + seconds[number]
        kept[number] = end - heapq.heapreplace(ends, end)
    return np.where(np.isfinite(kept), kept, math.nan)


@dataclass(frozen=True)
class Search:
    """One search as it went: arrays [trial], when each began and how long it ran, in seconds.

    Processes that are kept are the engine's own start, and are not counted: nor is the first trial
    in each place, in which a new process still loads what it needs. There, the clock of a place
    runs from the end of its first trial to the end of its last, and no place waits for the other to
    be there. Where each trial has a process of its own, all trials count, and both clocks run from
    ``begun``, when the search was ordered. A process that lives on after its trial counts as far as
    the next trial waits for it. What a place stands empty at the very end counts for no trial.
    """

    started: np.ndarray
    seconds: np.ndarray
    workers: int
    begun: float | None = None

    @property
    def held(self) -> np.ndarray:
        """[counted trial]: seconds for which it held its place, its own and those before it."""
        kept = occupied(self.started, self.seconds, self.workers, self.begun)
        return kept[np.isfinite(kept)]

    @property
    def wall(self) -> float:
        """Seconds by the clocks of its places, their mean."""
        return float(self.held.sum() / self.workers)

    @property
    def rate(self) -> float:
        """Trials a second: those that count, over the seconds by the clocks of the places."""
        return len(self.held) / self.wall


def measured_gain(search: Search, alone: Search) -> Estimate:
    """How many times the trials a second of one process (``alone``) a search brings.

    Measured, not computed from overheads: what trainings cost each other is inside. The interval is
    that of the trials of both searches, whose relative half-widths add as squares.
    """
    halves = []
    for each in (search, alone):
        mean = mean_interval(each.held)
        halves.append((mean.high - mean.value) / mean.value)
    value, factor = search.rate / alone.rate, math.exp(math.hypot(*halves))
    return Estimate(value, value / factor, value * factor, len(search.held), "times", NOW)


def to_search(stored: Mapping[str, Any]) -> Search:
    """A search of the file, as ``build_engine_times`` writes it."""
    started, seconds = (np.array(stored[name], float) for name in ("started", "seconds"))
    return Search(started, seconds, stored["workers"], stored["begun"])


def load_engine_times(path: Path | None = None) -> dict[str, Any]:
    """The file: "about" it, and "repeats", a list of {engine: its search}.

    Raises FileNotFoundError or ValueError, each saying how to get the file back.
    """
    path = DATA_FOLDER / ENGINE_TIMES if path is None else path
    advice = f"{restore(path)}; or measure anew with: make engines"
    found = read_json(path, advice)
    try:
        for repeat in found["repeats"]:
            for name in (ALONE, *RIVALS):
                if not to_search(repeat[name]).rate > 0:
                    raise ValueError(name)
        if len(found["repeats"]) < 2 or not {"cores", "seconds", "date"} <= set(found["about"]):
            raise ValueError("repeats")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name} holds other searches ({error}). {advice}") from error
    return found


def stored_gains(path: Path | None = None) -> dict[str, Estimate]:
    """{engine: times the trials a second of one process}, for trials of ten seconds, each of which
    says that it is stored: in every repeat one ratio, and their geometric mean."""
    found = load_engine_times(path)
    about, gains = found["about"], {}
    flag = (
        f"those of {about['seconds']:g} s are stored, as measured on {about['date']} on "
        f"{about['cores']} cores, and were not repeated with longer training"
    )
    for name in RIVALS:
        rates = [
            [to_search(repeat[each]).rate for repeat in found["repeats"]] for each in (name, ALONE)
        ]
        gains[name] = replace(ratio_interval(*rates), covers=REPEATS).flagged(flag)
    return gains
