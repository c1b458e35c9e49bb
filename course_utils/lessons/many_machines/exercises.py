"""Checks of the exercises of notebook 14."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from ...claims import judge
from ...classroom.check import exercise
from ...classroom.design import VERDICTS
from ...evidence import Estimate, mean_interval
from ...search import make_study
from .worker import suggest

SEEDS = 8
Report = tuple[int, int, float]  # trial, epoch, value


def asha_stops(reports: list[Report], rungs: tuple[int, ...], reduction: int) -> set[int]:
    """ASHA's rule, for the check: {trial that is stopped}. A rung remembers what reached it; who
    is below the best 1/reduction of those that were there before, stops. The first always passes.
    """
    seen: dict[int, list[float]] = {rung: [] for rung in rungs}
    stopped: set[int] = set()
    for trial, epoch, value in reports:
        if trial in stopped or epoch not in seen:
            continue
        earlier = seen[epoch]
        if earlier and value < np.percentile(earlier, 100 * (1 - 1 / reduction)):
            stopped.add(trial)
        earlier.append(value)
    return stopped


def _reports(seed: int, trials: int = 20) -> list[Report]:
    """Reports of trials that run two at a time, as they would arrive."""
    generator = np.random.default_rng(seed)
    quality = generator.permutation(trials) / trials
    reports = []
    for first in range(0, trials, 2):
        for epoch in range(1, 10):
            pair = (first, first + 1)
            reports += [(trial, epoch, float(quality[trial] + 0.01 * epoch)) for trial in pair]
    return reports


@exercise(
    "14.2",
    hints=[
        "Keep a list of values for each rung. A report counts only if its epoch is a rung.",
        "Compare with the values that arrived *earlier* at this rung, then add the new one.",
        "if earlier and value < np.percentile(earlier, 100 * (1 - 1 / reduction)): stop the trial",
    ],
    praise="That is all of ASHA: it never waits, and so the first trials pass for nothing.",
)
def check_stops(stops: Any) -> Iterator[tuple[Any, str]]:
    """The asynchronous rule of successive halving, on reports in the order of their arrival."""
    alone = [(0, 1, 0.1), (0, 3, 0.2), (0, 9, 0.3)]
    yield (
        set(stops(alone, (1, 3, 9), 3)) == set(),
        "The first trial at a rung has nobody to be compared with: it passes.",
    )
    between = [(0, 2, 0.9), (1, 2, 0.1)]
    yield set(stops(between, (1, 3, 9), 3)) == set(), "Between two rungs nobody is stopped."
    falling = [(0, 1, 0.9), (1, 1, 0.5)]
    told = "Trial 1 reports 0.5 where 0.9 was before: it is below the best third, and stops."
    yield set(stops(falling, (1, 3, 9), 3)) == {1}, told
    rising = [(0, 1, 0.5), (1, 1, 0.9)]
    told = "Trial 0 was alone when it came to the rung: it is not stopped afterwards."
    yield set(stops(rising, (1, 3, 9), 3)) == set(), told
    late = [(0, 1, 0.9), (1, 1, 0.5), (1, 3, 0.99)]
    yield set(stops(late, (1, 3, 9), 3)) == {1}, "A trial that was stopped reports no more."
    for seed in range(5):
        for reduction in (2, 3, 4):
            found = set(stops(_reports(seed), (1, 3, 9), reduction))
            wanted = asha_stops(_reports(seed), (1, 3, 9), reduction)
            told = f"Of twenty trials with reduction {reduction}, {len(wanted)} should stop: "
            yield found == wanted, told + f"{sorted(wanted)}. Yours: {sorted(found)}."


def orphaned_study() -> optuna.Study:
    """A study whose worker died in the middle of a batch: two trials finished, three "running"."""
    study = make_study(optuna.samplers.RandomSampler(seed=0))
    asked = [study.ask() for _ in range(5)]
    for trial in asked:
        suggest(trial)
    for trial, value in zip(asked[:2], (0.7, 0.8), strict=True):
        study.tell(trial, value)
    return study


@exercise(
    "14.1",
    hints=[
        "study.get_trials(states=(TrialState.RUNNING,)) lists the orphans.",
        "study.tell(trial.number, state=TrialState.FAIL) ends one.",
        "study.enqueue_trial(trial.params) queues its settings.",
    ],
    praise="Nothing is lost, and nothing was made up.",
)
def check_rescue(rescue: Any) -> Iterator[tuple[Any, str]]:
    """What a dead worker left running is marked as failed, and queued again, once."""
    study = orphaned_study()
    before = sorted(str(trial.params) for trial in study.trials[2:])
    rescue(study)
    states = [trial.state.name for trial in study.trials]
    yield states[:2] == ["COMPLETE"] * 2, "Finished trials are to be left alone."
    told = "Three trials still count as running, though nobody runs them."
    yield TrialState.RUNNING.name not in states, told
    told = "An unfinished trial should be told as failed: it has no value."
    yield states[2:5] == ["FAIL"] * 3, told
    told = "Each of the three should be queued again, exactly once."
    yield states.count("WAITING") == 3, told
    again = [study.ask() for _ in range(3)]
    for trial in again:
        suggest(trial)
    told = "The next three trials should have the settings of the three that were lost."
    yield sorted(str(trial.params) for trial in again) == before, told
    twice = orphaned_study()
    rescue(twice)
    once = len(twice.trials)
    rescue(twice)
    yield len(twice.trials) == once, "Called twice, it should queue nothing twice."


def measured_gain(first: Any, second: Any) -> Estimate:
    """Points of accuracy that the second search finds more than the first, seed by seed."""
    return mean_interval(np.asarray(second, float) - np.asarray(first, float), "points")


@exercise(
    "14.3",
    hints=[
        "Change one thing only: at_once, or the sampler. Leave trials and seeds alike.",
        "search_on_bank(sampler, at_once=..., trials=..., seeds=8): the arrays are [seed].",
        "Print measured_gain: *supported* if it lies above zero, *refuted* if below.",
    ],
    praise="Equal budgets, paired seeds, and a verdict that follows.",
)
def check_my_search(first: Any, second: Any, verdict: Any) -> Iterator[tuple[Any, str]]:
    """Two searches of the learner's design: dicts of their settings, and of what they found."""
    for side in (first, second):
        told = "Each side should be what `run_side(...)` returns."
        yield isinstance(side, dict) and {"settings", "found"} <= set(side), told
        yield len(side["found"]) >= SEEDS, f"Take {SEEDS} seeds or more on both sides."
    usual = {"sampler": "tpe", "at_once": 1, "trials": 48, "seeds": SEEDS}
    one, two = usual | first["settings"], usual | second["settings"]
    yield one["trials"] == two["trials"], "Both sides should train the same number of trials."
    yield one["seeds"] == two["seeds"], "Both sides should have the same seeds."
    differs = [name for name in ("sampler", "at_once") if one[name] != two[name]]
    what = " and ".join(differs) or "nothing"
    told = f"The sides should differ in one thing; these differ in {what}."
    yield len(differs) == 1, told
    yield verdict in VERDICTS, f"`my_verdict` should be one of {', '.join(VERDICTS)}."
    gain = measured_gain(first["found"], second["found"])
    told = f"The second side gains {gain}: look at where the interval lies, and judge again."
    yield verdict == judge(gain, 0.0, None), told
