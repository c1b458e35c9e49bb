"""Make a virtual environment and install the course into it; with --tests, what the tests need too.

    python tools/set_up.py [--venv .venv] [--tests] [--constraints tests/constraints.txt]

Writes a stamp beside what it installed: make compares its age with the requirements.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)


def python_in(venv):
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def works(venv):
    """False also for an environment whose making was interrupted before pip was in it."""
    if not python_in(venv).exists():
        return False
    return subprocess.run([str(python_in(venv)), "-m", "pip", "--version"], capture_output=True).returncode == 0


def set_up(venv, tests=False, constraints=None):
    """Raises SystemExit with a word on what to do when Python is too old or a step fails."""
    if sys.version_info < OLDEST:
        sys.exit("The course needs Python {}.{} or newer; this is {}.{}. Name another: make lab PYTHON=python3.12"
                 .format(*OLDEST, *sys.version_info[:2]))
    fresh = not works(venv)
    if fresh:
        print(f"Making {venv.name} and filling it: some minutes the first time, seconds ever after.", flush=True)
        run([sys.executable, "-m", "venv", str(venv)],
            "Python could not make a virtual environment. On Debian and Ubuntu: apt install python3-venv")
    else:
        print(f"The requirements have changed: bringing {venv.name} up to date.", flush=True)
    names = ["requirements.txt"] + ["requirements-test.txt"] * tests
    command = [str(python_in(venv)), "-m", "pip", "install", "--disable-pip-version-check", "--editable", str(HERE)]
    for name in names:
        command += ["--requirement", str(HERE / name)]
    if constraints:
        command += ["--constraint", constraints]
    run(command + ["--quiet"] * (not fresh), "pip could not install everything: its last lines say what is missing.")
    # What the tests need contains what the course needs.
    for name in ["course.stamp"] + ["tests.stamp"] * tests:
        (venv / name).write_text("See tools/set_up.py\n", encoding="utf-8")


def run(command, advice):
    if subprocess.run(command, cwd=HERE).returncode:
        sys.exit(advice)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=HERE / ".venv", help="folder of the environment")
    parser.add_argument("--tests", action="store_true", help="also install requirements-test.txt")
    parser.add_argument("--constraints", help="a pip constraints file, for an exact set of versions")
    chosen = parser.parse_args()
    set_up(chosen.venv, chosen.tests, chosen.constraints)
