"""Carry out the stored trainings of notebook 12 and write data/widths.npz.

    make widths          (or: python tools/build_widths.py)

It may be killed at any moment: call it again to go on. The trainings are carried out in chunks;
each finished chunk is a file in build/widths, and only the one in flight can be lost.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import chunks
from course_utils.bank import write_sealed
from course_utils.files import DATA_FOLDER
from course_utils.lessons.tune_small_train_large.studies import METRICS, STUDIES, WIDTHS, Study

LIBRARIES = ("numpy", "torch")


def carry_out(study: Study, field: str, value: float) -> dict[str, np.ndarray]:
    """A chunk: the trainings of one value of a study's first field."""
    return {"finals": study.carry_out(**{field: value})}


def build(target: Path, work: Path, studies: Mapping[str, Study]) -> None:
    """Carry out what is missing in ``work``, then write ``target`` in one step."""
    versions = {name: version(name).split("+")[0] for name in LIBRARIES}
    described = {name: study.describe() for name, study in studies.items()}
    arrays: dict[str, np.ndarray] = {}
    for name, study in studies.items():
        field, values = next(iter(study.grid.items()))
        jobs = {
            f"{place:02}": partial(carry_out, study, field, value)
            for place, value in enumerate(values)
        }
        settings = {"name": name, "study": described[name], "versions": versions}
        made = chunks.make_all(chunks.folder_for(settings, work), jobs, ("finals",))
        arrays[name] = np.concatenate([made[job]["finals"] for job in jobs], axis=1)
    about = {
        "studies": described,
        "metrics": METRICS,
        "versions": versions,
        "date": datetime.date.today().isoformat(),
    }
    write_sealed(target, {**arrays, "about": np.array(json.dumps(about))})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    work = DATA_FOLDER.parent / "build" / "widths"
    parser.add_argument("--target", type=Path, default=DATA_FOLDER / WIDTHS, help="file to write")
    parser.add_argument("--work", type=Path, default=work, help="folder of the chunks")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    build(chosen.target, chosen.work, STUDIES)
    print(f"{chosen.target.name}: {chosen.target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
