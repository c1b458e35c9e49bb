"""Measure whole searches on each engine of notebook 14, and write data/engine_times.json.

    make engines          (or: python tools/build_engine_times.py)

Needs Ray, two cores or more, and about ten minutes of a quiet machine: whatever runs beside it is
in the numbers. It may be killed at any moment: call it again to go on. Each finished repeat is a
file in build/engines, and only the one in flight can be lost.

One process trains two trials that count, the others four, in two places; processes that are kept
warm up by one trial more in each place. All have the same objective and the same random sampler,
with so many epochs that a trial takes ``--seconds`` alone. That number of epochs is
found once, by a trial timed alone, and is the same for all. However long, a trial reports six
times, as the short ones do: each report is written down, and hundreds of them would be measured
instead of the length. What is counted stands in ``Search`` of
course_utils.lessons.many_machines.engine_times.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

import chunks
from course_utils.engine.data import Dataset
from course_utils.files import DATA_FOLDER, write
from course_utils.lessons.many_machines import engines, worker, workers
from course_utils.lessons.many_machines.engine_times import (
    ALONE,
    ENGINE_TIMES,
    RIVALS,
    Search,
    load_engine_times,
    stored_gains,
)
from course_utils.lessons.many_machines.ray_search import start_ray, stop_ray

RELEASES = ("optuna", "ray", "torch")
REPEATS, REPORTS = 4, 6
# Of which the first in each place does not count, but where each trial has its own process.
TRIALS = dict(zip((ALONE, *RIVALS), (3, 6, 6, 4), strict=True))


def epochs_for(seconds: float, dataset: Dataset) -> int:
    """The number of epochs, a multiple of the reports, of a trial that takes so many ``seconds``
    alone; from one that is timed for a tenth of that or longer, after a first to warm up."""
    epochs, taken = REPORTS, 0.0
    while taken < seconds / 10:
        timed = engines.one_process(dataset, 2, epochs=epochs, every=epochs // REPORTS)
        taken, measured = float(timed.search.seconds[-1]), epochs
        epochs *= 4
    return REPORTS * max(1, round(seconds / taken * measured / REPORTS))


def search(name: str, dataset: Dataset, epochs: int) -> Search:
    """One search on the engine of that ``name``, which is started for it and ended after it.

    Raises RuntimeError if it has fewer trials than were asked for.
    """
    much: dict[str, Any] = {"trials": TRIALS[name], "epochs": epochs, "every": epochs // REPORTS}
    # Not in the folder of the build: Ray's paths are long, and SQLite wants a disk of its own.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if name == ALONE:
            found = engines.one_process(dataset, **much).search
        elif name == RIVALS[0]:
            storage = workers.new_storage(folder, "engines")
            found = engines.optuna_workers(storage, **much).search
        else:
            try:
                start_ray()
                found = engines.ray_trials(dataset, folder, fresh=name == RIVALS[2], **much)
            finally:
                stop_ray()
    if (made := len(found.seconds)) < TRIALS[name]:
        raise RuntimeError(f"{name}: {made} trials, not {TRIALS[name]}: is the machine busy?")
    return found


def to_plain(found: Search) -> dict[str, Any]:
    """A search for JSON: seconds, to a thousandth; moments count from the first trial's start."""
    zero = found.started.min()
    begun = None if found.begun is None else round(float(found.begun - zero), 3)
    return {
        "workers": found.workers,
        "begun": begun,
        "started": [round(float(each), 3) for each in found.started - zero],
        "seconds": [round(float(each), 3) for each in found.seconds],
        "wall": round(found.wall, 3),
    }


def finished(path: Path, make: Callable[[], Any]) -> Any:
    """What the JSON file holds; it is made, and written in one step, where it is missing or cannot
    be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = make()
        write(path, json.dumps(found))
        return found


def repeat(number: int, dataset: Dataset, epochs: int) -> dict[str, Any]:
    """One search on each engine, and with each repeat another engine is the first."""
    names, found = list(TRIALS), {}
    for name in names[number % len(names) :] + names[: number % len(names)]:
        found[name] = to_plain(search(name, dataset, epochs))
        took = f"{found[name]['wall']:.2f} s; its trials took {found[name]['seconds']}"
        print(f"repeat {number + 1}: {name:20} {took}", flush=True)
    return found


def build(target: Path, work: Path, seconds: float = 10.0, repeats: int = REPEATS) -> None:
    """Measure what is missing in ``work``, then write ``target`` in one step."""
    torch.set_num_threads(1)
    dataset, cores = worker.load_small(), psutil.cpu_count(logical=False) or psutil.cpu_count()
    releases = {name: version(name).split("+")[0] for name in RELEASES}
    about: dict[str, Any] = {"seconds": seconds, "cores": cores, "releases": releases}
    folder = chunks.folder_for({**about, "trials": TRIALS, "reports": REPORTS}, work)
    epochs = finished(folder / "epochs.json", partial(epochs_for, seconds, dataset))
    every = [
        finished(folder / f"repeat-{number}.json", partial(repeat, number, dataset, epochs))
        for number in range(repeats)
    ]
    about |= {"epochs": epochs, "reports": REPORTS, "date": datetime.date.today().isoformat()}
    lines = ",\n".join(json.dumps(each) for each in every)
    write(target, f'{{"about": {json.dumps(about)},\n"repeats": [\n{lines}\n]}}\n')


def report(target: Path) -> None:
    """Print what the file says."""
    print(json.dumps(load_engine_times(target)["about"]))
    for name, gain in stored_gains(target).items():
        print(f"{name:20} {gain}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    work = DATA_FOLDER.parent / "build" / "engines"
    parser.add_argument("--target", type=Path, default=DATA_FOLDER / ENGINE_TIMES, help="to write")
    parser.add_argument("--work", type=Path, default=work, help="folder of the finished repeats")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a trial alone")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="two or more")
    chosen = parser.parse_args()
    build(chosen.target, chosen.work, chosen.seconds, chosen.repeats)
    report(chosen.target)


if __name__ == "__main__":
    main()
