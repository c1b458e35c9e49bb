"""Carries out the trainings on CIFAR-10 whose results the course stores (notebook 15).

    python tests/benchmarks/bench_cifar.py --data FOLDER                    # all that is missing
    python tests/benchmarks/bench_cifar.py --data FOLDER --only patient     # of these names alone
    python tests/benchmarks/bench_cifar.py --gather                         # into data/

Needs the images: see ``load_cifar10``. Every finished run is a file under ``--runs``, so it can be
stopped at any moment, and goes on with what is missing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from course_utils.lessons.cifar10_challenge import records, studies
from course_utils.lessons.cifar10_challenge.cifar import load_cifar10

RUNS = Path(__file__).parents[2] / "build" / "cifar10"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="where CIFAR-10 lies")
    parser.add_argument("--only", default="", help="how the names of the runs begin")
    parser.add_argument("--first", type=int, default=100, help="so many seeds of each")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where finished runs are kept")
    parser.add_argument("--gather", action="store_true", help="put what is there into data/")
    options = parser.parse_args()
    everything = [
        (name, study, seed)
        for name, study in studies.everything().items()
        for seed in list(study.seeds)[: options.first]
        if name.startswith(options.only)
    ]
    files = [
        options.runs / f"{name.replace(', ', '--')}-{seed}.npz" for name, _, seed in everything
    ]
    if options.data is not None:
        photographs = load_cifar10(options.data)
        for file, (name, study, seed) in zip(files, everything, strict=True):
            if not file.exists():
                records.save(file, [carry_out(name, study, seed, photographs)])
    there = [file for file in files if file.exists()]
    print(f"{len(there)} of {len(files)} runs are there")
    if options.gather:
        records.save(records.STORED, [records.load(file)[0] for file in there])


def carry_out(name, study, seed, photographs):
    recipe = study.recipe.replace(seed=seed)
    dataset = studies.DATA[study.data](photographs)
    record = records.carry_out(recipe, dataset, name, study.data)
    train, val = record.lines[1, -1], record.correct.mean(1)
    print(
        f"{name}, seed {seed}: training {train:.1%}, validation {val}, {record.facts['seconds']} s",
        flush=True,
    )
    return record


if __name__ == "__main__":
    main()
