"""Set the course up in a virtual environment; then, if asked to, open it or test it.

    python tools/set_up.py          install what the lessons need
    python tools/set_up.py lab      the same, then open JupyterLab
    python tools/set_up.py test     install what the tests need as well, then run all of them

uv installs where it is to be had, pip elsewhere; the environment is the same. A second call takes a
moment: a stamp in the environment says for which folder, Python and requirements it was filled, so
that a course that was moved, renamed or copied is set up again, and an interrupted set-up goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
if sys.version_info < OLDEST:
    sys.exit(
        "The course needs Python {}.{} or newer; this is {}.{}. "
        "Name another: make lab PYTHON=python3.12".format(*OLDEST, *sys.version_info[:2])
    )

import tomllib  # noqa: E402  (an older Python is told so, and does not get here)

import installers  # noqa: E402

GROUPS = ("core", "extra", "site", "tests")  # each builds on those before it
STAMP = "set_up.json"


# ---- what is wanted, and what is there -----------------------------------------------------------


def requirements() -> dict[str, list[str]]:
    """{group: its requirements}, as pyproject.toml has them."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"core": project["dependencies"], **project["optional-dependencies"]}


def read_stamp(venv: Path) -> dict:
    """What the environment was last filled with; empty for a new one, or a damaged stamp."""
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(venv: Path, stamp: dict) -> None:
    (venv / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")


def was_moved(stamp: dict) -> bool:
    """Whether the environment was filled for another folder: activation and scripts lead there."""
    folder = Path(stamp.get("folder", HERE))
    return not (folder.exists() and os.path.samefile(folder, HERE))


def python_version(venv: Path) -> str | None:
    """ "3.11", or None: an upgrade of the system may have taken the environment's Python."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [str(installers.python_in(venv)), "-I", "-S", "-c", code],
            capture_output=True,
            text=True,
        )
    except OSError:
        return None
    return answer.stdout.strip() or None


def is_usable(venv: Path, stamp: dict) -> bool:
    """False also for an environment whose making was interrupted before pip was in it."""
    version = python_version(venv)
    if version is None or stamp.get("python", version) != version:
        return False
    pip = [str(installers.python_in(venv)), "-m", "pip", "--version"]
    return subprocess.run(pip, capture_output=True).returncode == 0


def digest(constraints: Path | None) -> str | None:
    """A fingerprint of a constraints file: another one, or a changed one, is noticed by it."""
    if constraints is None:
        return None
    if not constraints.is_file():
        sys.exit(f"There is no constraints file {constraints.name}.")
    return hashlib.sha256(constraints.read_bytes()).hexdigest()


# ---- set up --------------------------------------------------------------------------------------


@dataclass
class SetUp:
    """One call: an environment, and what is to be in it. None keeps what the environment has."""

    venv: Path
    group: str | None = None
    torch: str | None = None
    constraints: Path | None = None
    installer: str = "auto"

    def __post_init__(self) -> None:
        self.started = time.perf_counter()
        self.stamp = read_stamp(self.venv)
        self.pins = digest(self.constraints)
        self.aside = self.venv.with_name(f"{self.venv.name}-old")
        had = self.stamp.get("groups", {})
        group = self.group or max(had, key=GROUPS.index, default="extra")
        # What was there before stays in step with what is new.
        names = {*GROUPS[: GROUPS.index(group) + 1], *had}
        self.wanted = {name: needed for name, needed in requirements().items() if name in names}

    def run(self) -> None:
        """Fill the environment; at once if that is done already.

        Raises SystemExit with a word on what to do when a step fails.
        """
        moved, filled = was_moved(self.stamp), self.is_filled()
        if filled and not moved and python_version(self.venv) == self.stamp["python"]:
            return
        fresh = self.make(moved)
        if self.fill(fresh):
            installers.remove(self.aside)
        else:
            self.give_back(usable=moved and filled)

    def is_filled(self) -> bool:
        """Whether nothing is left to do, but for the folder."""
        stamp = self.stamp
        return (
            bool(stamp.get("complete"))
            and stamp["groups"] == self.wanted
            and self.torch in (None, stamp["torch"] or "default")
            and self.pins in (None, stamp["constraints"])
        )

    def make(self, moved: bool) -> bool:
        """Make the environment, if there is none that can be filled; True if it is a new one."""
        name = self.venv.name
        if not moved and is_usable(self.venv, self.stamp):
            changed = f"What is wanted has changed: bringing {name} up to date."
            print(changed if self.stamp.get("complete") else f"Going on with {name}.", flush=True)
            installers.clear_unfinished(self.venv)
            return False
        if moved:
            print(f"The course was moved or copied: making {name} anew for here.", flush=True)
            installers.remove(self.aside)
            self.venv.rename(self.aside)
        else:
            print(f"Making {name}: minutes the first time, a moment ever after.", flush=True)
            installers.remove(self.venv)
        installers.make(self.venv)
        return True

    def fill(self, fresh: bool) -> bool:
        """Install everything, and stamp the environment; False if a step failed."""
        had, build = self.stamp.get("torch", ""), self.torch or self.stamp.get("torch", "")
        now = {
            "complete": False,
            "folder": str(HERE),
            "python": python_version(self.venv),
            "groups": self.wanted,
            "torch": "" if fresh else had,
            "constraints": self.pins,
        }
        write_stamp(self.venv, now)
        if build:
            torch = [name for name in self.wanted["core"] if name.startswith("torch")]
            find = installers.for_torch(self.venv, self.installer)
            now["torch"] = installers.install_torch(
                find, build, str(now["torch"]), torch, self.pinned()
            )
            write_stamp(self.venv, now)
        elif fresh:
            installers.advise_on_torch()
        install = installers.choose(self.venv, self.installer)
        needed = [name for names in self.wanted.values() for name in names]
        if not install(needed, self.pinned() + ["--quiet"] * (not fresh)):
            return False
        installers.link_package(self.venv, HERE)
        write_stamp(self.venv, {**now, "complete": True})
        seconds, size = time.perf_counter() - self.started, installers.size(self.venv) / 1e9
        print(f"Set up in {seconds:.0f} s by {install.name}: {size:.1f} GB.", flush=True)
        return True

    def pinned(self) -> list[str]:
        return ["-c", str(self.constraints)] if self.constraints else []

    def give_back(self, usable: bool) -> None:
        """After a failure: what came with a moved course serves meanwhile, else this is the end."""
        advice = "Not everything could be installed: the lines above say why. Call again to go on."
        names = ("http_proxy", "https_proxy", "all_proxy")
        if proxies := sorted(name for name in os.environ if name.lower() in names):
            advice += f" A proxy is set, by {' and '.join(proxies)}: is it the right one?"
        if not (usable and python_version(self.aside) == self.stamp["python"]):
            sys.exit(advice)
        installers.remove(self.venv)
        self.aside.rename(self.venv)
        print(f"{advice} Until then {self.venv.name} serves as it came along.", flush=True)


def follow(command: list[str]) -> int:
    """Run a command to its end; Ctrl-C is its business, not ours."""
    process = subprocess.Popen(command, cwd=HERE)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("then", nargs="?", choices=("lab", "test"), help="what to do after the set-up")
    add("--venv", type=Path, default=HERE / ".venv", help="folder of the environment")
    add("--group", choices=GROUPS, help="how much: each builds on those before it; default extra")
    add("--torch", help="cpu, for PyTorch's processor build; or the address of an index")
    add("--constraints", help="a constraints file, for an exact set of versions")
    add("--installer", choices=("auto", "uv", "pip"), default="auto")
    chosen = parser.parse_args()
    venv = Path(os.path.abspath(chosen.venv))
    constraints = chosen.constraints and Path(os.path.abspath(chosen.constraints))
    group = "tests" if chosen.then == "test" else chosen.group
    SetUp(venv, group, chosen.torch, constraints, chosen.installer).run()
    python = str(installers.python_in(venv))
    then = {"lab": [python, "tools/lab.py"], "test": [python, "-m", "pytest"], None: None}[
        chosen.then
    ]
    return follow(then) if then else 0


if __name__ == "__main__":
    sys.exit(main())
