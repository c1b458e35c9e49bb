"""Record the labs, for pages that no kernel stands behind: what `make recordings` does.

    python tools/record_labs.py [00 05 ...]

Every lab of every notebook (or of those whose names begin so) is set to one setting after another,
and trains each to the end. What came out goes to build/labs, where `make site` takes it from. An
interrupted recording goes on where it was; one whose code and data are as they were stays.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from needed_cells import needed_cells
from pages import HERE, NOTEBOOKS, tags
from recording import MOST_SETTINGS, Places, about, packed, settings, write_files
from site_notebook import RECORDINGS

# The clinic's labs are games: a diagnosis means something for one patient only, and patients,
# diagnoses and cures together are too many; or it counts what its player has done before.
GAMES = {"08_clinic-1", "08_clinic-2"}
# Their tables list what the learner has tried, not what the setting gives.
OWN_LOG = {"04_schedules-1", "10_mnist_case_study-1"}
ROOM = re.compile(r"course_utils\.lessons\.(\w+)")
SHARED = ("engine", "stacking", "classroom", "plots")
DATA = ("mnist_sample.npz", "hpo_bank.npz", "races.npz", "runs_on_photographs.npz")


def made_from(path: Path) -> str:
    """A hash over what the labs of a notebook depend on: the cells that they need, the lesson's
    modules, the engine, the classroom, and the data."""
    sources = [cell.source for cell in needed_cells(path, {"setup", "lab"})]
    rooms = sorted(set(ROOM.findall("\n".join(sources))))
    package = HERE / "course_utils"
    folders = [package / name for name in SHARED] + [package / "lessons" / name for name in rooms]
    files = [*package.glob("*.py"), *(each for folder in folders for each in folder.rglob("*.py"))]
    files += [HERE / "data" / name for name in DATA]
    files += [Path(__file__).resolve(), HERE / "tools" / "recording.py"]
    digest = hashlib.sha256("\n".join(sources).encode())
    for file in sorted(files):
        digest.update(file.relative_to(HERE).as_posix().encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:20]


def names_of(path: Path) -> list[str]:
    """The names of a notebook's recordings, one for each cell with a lab that can be recorded."""
    count = sum("lab" in tags(cell) for cell in needed_cells(path, {"lab"}))
    names = [f"{path.stem}-{number}" for number in range(1, count + 1)]
    return [name for name in names if name not in GAMES]


def is_current(folder: Path, key: str) -> bool:
    page = folder / "lab.html"
    return page.is_file() and f'data-made-from="{key}"' in page.read_text(encoding="utf-8")


def open_labs(path: Path) -> Iterator[tuple[str, Any]]:
    """Run the cells that a notebook's labs need; yields (name, lab) as they come to be."""
    os.environ["MPLBACKEND"] = "Agg"
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    from course_utils.classroom.lab import Lab

    os.chdir(path.parent)
    shell = InteractiveShell.instance(history_length=0)
    shell.history_manager.enabled = False
    number = 0
    for cell in needed_cells(path, {"setup", "lab"}):
        before = {id(value) for value in shell.user_ns.values()}
        with capture_output():
            result = shell.run_cell(cell.source)
        result.raise_error()
        if "lab" in tags(cell):
            number += 1
            new = [each for each in shell.user_ns.values() if id(each) not in before]
            yield (
                f"{path.stem}-{number}",
                next(each for each in new if isinstance(each, Lab)),
            )


def record(lab: Any, folder: Path, key: str, most: int = MOST_SETTINGS) -> int:
    """Record a lab into ``folder``, in whose place the new one is put when it is complete; returns
    its bytes. What is recorded stays beside it until then, so that it can go on."""
    begun = folder.parent.with_name(f"{folder.parent.name}-begun") / f"{folder.name}-{key}"
    for older in begun.parent.glob(f"{folder.name}-*"):
        if older != begun:
            shutil.rmtree(older)
    begun.mkdir(parents=True, exist_ok=True)
    controls = list(lab.controls.values())
    counts = [len(control.options) for control in controls]
    chosen = settings(counts, tuple(c.options.index(c.start) for c in controls), most)
    states: dict[Places, dict[str, Any]] = {}
    pictures: dict[Places, bytes] = {}
    for places in chosen:
        file = begun / "-".join(map(str, places))
        words = file.with_suffix(".json")
        if not words.is_file():
            state, picture = at(lab, places, with_table=folder.name not in OWN_LOG)
            file.with_suffix(".webp").write_bytes(picture)
            words.write_text(json.dumps(state), encoding="utf-8")
        states[places] = json.loads(words.read_text(encoding="utf-8"))
        pictures[places] = file.with_suffix(".webp").read_bytes()
    new = begun / folder.name
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    size = write_files(new, lab.look, states, pictures, about(counts, len(chosen)), key)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(new, folder)
    shutil.rmtree(begun)
    return size


def at(lab: Any, places: Places, with_table: bool) -> tuple[dict[str, Any], bytes]:
    """What a lab shows at a setting, with no earlier run behind it."""
    lab.earlier.clear()
    lab.result, lab.finished = None, None
    pairs = zip(lab.controls.items(), places, strict=True)
    lab.values = {name: control.options[place] for (name, control), place in pairs}
    lab.complete()
    table = lab.table(lab.result) if lab.table and with_table else []
    state = {
        "text": lab.text,
        "code": lab.code(lab.values) if lab.code else "",
        "table": [list(map(str, row)) for row in table],
    }
    return state, packed(lab.png)


def record_notebook(path: Path, target: Path = RECORDINGS) -> None:
    """Record the labs of one notebook, in this process."""
    key = made_from(path)
    for name, lab in open_labs(path):
        folder = target / name
        if name in GAMES or is_current(folder, key):
            continue
        begun = time.perf_counter()
        size = record(lab, folder, key)
        seconds = time.perf_counter() - begun
        print(f"{name}: {size / 1e6:.2f} MB in {seconds:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="notebooks whose names begin so; all without")
    given = parser.parse_args()
    wanted = tuple(given.names) or ("",)
    paths = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.name.startswith(wanted)]
    if not paths:
        raise SystemExit(f"no notebook begins with {', '.join(given.names)}")
    stale = [
        path
        for path in paths
        if not all(is_current(RECORDINGS / name, made_from(path)) for name in names_of(path))
    ]
    if len(stale) == 1:
        record_notebook(stale[0])
        return 0

    def alone(path: Path) -> int:  # a notebook's cells belong into a process of their own
        return subprocess.run([sys.executable, __file__, path.stem], check=False).returncode

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failed = sum(code != 0 for code in pool.map(alone, stale))
    return min(1, failed)


if __name__ == "__main__":
    sys.exit(main())
