"""Run all races between search methods on the bank and write data/races.npz.

    make races           (or: python tools/build_races.py)

It may be killed at any moment: call it again to go on. The races are run in chunks; each finished
chunk is a file in build/races, and only the one in flight can be lost.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

import chunks
from course_utils.bank import Bank, load_bank, write_sealed
from course_utils.files import DATA_FOLDER, array_checksum
from course_utils.races import COUNTS, METHODS, RACES, load_races, race
from course_utils.replay import splits

REPEATS = 120  # of each method: twenty on each of the six splits of the seeds
TRAININGS = 50  # the budget, in full trainings
CHUNK = 12  # races
OUTCOMES = ("leader", "seconds", *COUNTS)
LIBRARIES = ("optuna", "cmaes", "numpy", "scipy", "torch")


def run_chunk(bank: Bank, method: str, seeds: range, budgets: np.ndarray) -> dict[str, np.ndarray]:
    """{outcome: [race], the leader [race, budget]} of some races of one method."""
    race(bank, method, seed=0, budget=12 * bank.epochs)  # imports, so that nobody's time holds them
    parts, budget = splits(bank), int(budgets[-1])
    runs = [race(parts[seed % len(parts)], method, seed, budget) for seed in seeds]
    startup = METHODS[method].startup
    return {
        "leader": np.array([run.leader_after(budgets) for run in runs], np.int16),
        "seconds": np.array([run.seconds for run in runs], np.float32),
        "trials": np.array([len(run.entry) for run in runs], np.uint16),
        "distinct": np.array([len(set(run.entry)) for run in runs], np.uint16),
        "epochs": np.array([run.spent[-1] for run in runs], np.uint16),
        "startup": np.array([sum(run.cost[:startup]) for run in runs], np.uint16),
    }


def build(
    target: Path,
    work: Path,
    bank: Bank,
    methods: Sequence[str] = tuple(METHODS),
    repeats: int = REPEATS,
    trainings: int = TRAININGS,
    chunk: int = CHUNK,
) -> None:
    """Run what is missing in ``work``, then write ``target`` in one step."""
    settings = {
        "bank": array_checksum({"scores": bank.table()}),
        "splits": len(splits(bank)),
        "trainings": trainings,
        "methods": {method: METHODS[method].words for method in METHODS},
        "versions": {name: version(name).split("+")[0] for name in LIBRARIES},
    }
    budgets = bank.epochs * np.arange(1, trainings + 1)
    jobs = {}
    rows: dict[str, list[str]] = {method: [] for method in methods}
    for method in methods:
        for first in range(0, repeats, chunk):
            job = f"{list(METHODS).index(method):02}_{first:03}_{min(first + chunk, repeats):03}"
            seeds = range(first, min(first + chunk, repeats))
            jobs[job] = partial(run_chunk, bank, method, seeds, budgets)
            rows[method].append(job)
    with threadpool_limits(1):  # matrices this small lose by a second thread
        made = chunks.make_all(chunks.folder_for(settings, work), jobs, OUTCOMES)
    arrays = {
        name: np.stack(
            [np.concatenate([made[job][name] for job in rows[each]]) for each in methods]
        )
        for name in OUTCOMES
    }
    write_sealed(target, arrays | {"budgets": budgets, **judge(bank, settings, methods)})


def judge(bank: Bank, settings: Mapping[str, Any], methods: Sequence[str]) -> dict[str, np.ndarray]:
    """The truth that the races are judged by, in right answers, and how they were run."""
    parts, answers = splits(bank), bank.about["images"]["val_accuracy"] * len(bank.judge_seeds)
    about = {
        "methods": {method: METHODS[method].words for method in methods},
        "startup_trials": {method: METHODS[method].startup for method in methods},
        "splits": [{"search": part.search_seeds, "judge": part.judge_seeds} for part in parts],
        "answers": answers,
        "trainings": settings["trainings"],
        "bank": settings["bank"],
        "versions": settings["versions"],
        "date": datetime.date.today().isoformat(),
    }
    truth = np.array([part.truth() for part in parts]) * answers
    return {"truth": np.rint(truth).astype(np.uint16), "about": np.array(json.dumps(about))}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    work = DATA_FOLDER.parent / "build" / "races"
    parser.add_argument("--target", type=Path, default=DATA_FOLDER / RACES, help="file to write")
    parser.add_argument("--work", type=Path, default=work, help="folder of the chunks")
    tiny = "four races of three methods, twelve trainings each: for tests"
    parser.add_argument("--tiny", action="store_true", help=tiny)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.tiny:
        methods = ("random", "TPE", "Hyperband")
        build(chosen.target, chosen.work, load_bank(), methods, 4, 12, 1)
    else:
        build(chosen.target, chosen.work, load_bank())
    print(load_races(chosen.target).to_dataframe().round(2).to_string())


if __name__ == "__main__":
    main()
