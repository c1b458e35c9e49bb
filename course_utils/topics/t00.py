"""Notebook 00: is this machine ready, and the checks of the first exercises."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from packaging.requirements import Requirement

from ..classroom.check import Result, check
from ..engine.history import History
from ..evidence import Estimate

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"


def check_machine(requirements: Path = REQUIREMENTS) -> pd.DataFrame:
    """One row for each thing the course needs: what was found, what is wanted, and what to do where they differ."""
    rows = [("Python", platform.python_version(), ">=3.11", sys.version_info >= (3, 11))]
    for line in requirements.read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if line:
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate():
                found = _installed(wanted.name)
                good = bool(found) and wanted.specifier.contains(found, prereleases=True)
                rows.append((wanted.name, found or "missing", str(wanted.specifier), good))
    table = pd.DataFrame(rows, columns=["what", "found", "wanted", "good"])
    table["to do"] = np.where(table["good"], "", "python -m pip install -r requirements.txt")
    return table


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def describe_machine() -> str:
    """Processor cores, threads that torch uses, and the accelerator if there is one."""
    accelerator = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else "none needed, none found"
    )
    return (
        f"{platform.system()}, {os.cpu_count()} processor cores, torch uses {torch.get_num_threads()} threads; "
        f"accelerator: {accelerator}"
    )


def check_eight_seeds(history: object) -> Result:
    """Exercise 0.1: eight runs that differ in nothing but their seed."""
    return check(
        "0.1",
        [
            (isinstance(history, History), "`history` should be what fit(...) returns."),
            (lambda: len(history) >= 8, "there should be eight runs: one Config for each seed."),
            (
                lambda: len({config.seed for config in history.configs}) == len(history),
                "every run needs a seed of its own.",
            ),
            (
                lambda: set(history.varied()) <= {"seed"},
                "the runs should differ in their seed alone.",
            ),
            (
                lambda: all(config.width == 8 for config in history.configs),
                "the networks should have width 8.",
            ),
        ],
        hints=[
            "fit takes a list: [Config(...), Config(...), ...].",
            "a list comprehension writes it: for seed in range(8).",
            "fit([Config(..., width=8, seed=seed) for seed in range(8)], mnist)",
        ],
    )


def check_real_difference(answer: object, measured: Estimate) -> Result:
    """Exercise 0.2: does an interval of a difference show that the difference is real?"""
    right = measured.low > 0 or measured.high < 0
    return check(
        "0.2",
        [
            (isinstance(answer, bool), "`answer` should be True or False."),
            (answer is right, f"the interval is {measured}: look at where zero lies."),
        ],
        hints=[
            "print the difference: what do its two ends say?",
            "zero inside the interval: these seeds do not settle it.",
        ],
        praise="that is right: a difference is shown when its whole interval lies on one side of zero.",
    )
