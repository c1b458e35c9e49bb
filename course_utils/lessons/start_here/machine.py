"""Is this machine ready for the course, and if not, what is to be done?"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import matplotlib
import pandas as pd
import torch
from packaging.requirements import Requirement

from ...classroom.record import notebooks_folder, record_path
from ...threads import granted_threads

INSTALL = "python -m pip install -r requirements.txt"
ROOM = 0.5  # GB that a learner's own files may take


def check_machine() -> pd.DataFrame:
    """One row for each thing the course needs: what was found, whether it is good, what to do."""
    rows = [
        *_packages(),
        _figures(),
        _kernel(),
        _threads(),
        _accelerator(),
        _disk(),
        _proxy(),
        _notes(),
    ]
    table = pd.DataFrame(rows, columns=["what", "found", "good", "to do"])
    table["to do"] = table["to do"].where(~table["good"], "")
    return table


def describe_machine() -> str:
    """In one line: system, threads, accelerator."""
    cores, granted = os.cpu_count(), granted_threads()
    threads = f"{_counted(cores, 'processor core')}, {_counted(granted, 'thread')} for the course"
    return (
        f"{platform.system()}, Python {platform.python_version()}, {threads}; {_accelerator()[1]}"
    )


def _counted(number: int | None, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


Row = tuple[str, str, bool, str]


def _packages() -> list[Row]:
    """Python, and the core group of the course's requirements."""
    good = sys.version_info >= (3, 11)
    rows: list[Row] = [("Python", platform.python_version(), good, "install Python 3.11 or newer")]
    for line in _requirements():
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            rows.append((wanted.name, "missing", False, INSTALL))
            continue
        rows.append(
            (wanted.name, found, wanted.specifier.contains(found, prereleases=True), INSTALL)
        )
    return rows


def _requirements() -> list[str]:
    """As pyproject.toml has them; where the course is an installed package, as that has them."""
    checkout = Path(__file__).resolve().parents[3] / "pyproject.toml"
    if checkout.is_file():
        return tomllib.loads(checkout.read_text(encoding="utf-8"))["project"]["dependencies"]
    return metadata.requires("course-utils") or []


def _figures() -> Row:
    """Figures appear in a notebook when matplotlib draws with its inline backend."""
    backend = matplotlib.get_backend()
    good = any(name in backend.lower() for name in ("inline", "ipympl", "nbagg", "widget"))
    set_by = " (set by MPLBACKEND)" if "MPLBACKEND" in os.environ else ""
    advice = "run the line  %matplotlib inline  and this cell again; unset MPLBACKEND for good"
    return "figures", backend + set_by, good, advice


def _kernel() -> Row:
    try:
        version = metadata.version("ipykernel")
    except metadata.PackageNotFoundError:
        return "notebook kernel", "missing", False, INSTALL
    return "notebook kernel", f"ipykernel {version}", int(version.split(".")[0]) >= 6, INSTALL


def _threads() -> Row:
    count, cores = granted_threads(), os.cpu_count() or 1
    found = f"{count} of {cores} cores"
    return "threads", found, count >= 1, ""


def _accelerator() -> Row:
    if torch.cuda.is_available():
        found = f"{torch.cuda.get_device_name()} (the course uses it)"
    elif torch.backends.mps.is_available():
        found = "Apple's MPS (used where you ask for device='mps')"
    else:
        found = "no accelerator, and none needed"
    return "accelerator", found, True, ""


def _disk() -> Row:
    free = shutil.disk_usage(notebooks_folder()).free / 1e9
    advice = f"make room: the course keeps up to {ROOM} GB of its own files"
    return "free disk", f"{free:.1f} GB", free > ROOM, advice


def _proxy() -> Row:
    """Pages on this machine (TensorBoard, dashboards) must not be asked for through a proxy."""
    proxies = sorted(
        {name.lower() for name in os.environ if name.lower() in ("http_proxy", "all_proxy")}
    )
    found = ", ".join(proxies) if proxies else "none"
    return "proxy", f"{found} (this machine's own pages are asked directly)", True, ""


def _notes() -> Row:
    """Where exercises passed are noted."""
    path = record_path()
    place = "beside the notebooks" if path.parent == notebooks_folder() else "in your home folder"
    folder = next((each for each in (path.parent, *path.parents) if each.exists()), Path.cwd())
    good = os.access(folder, os.W_OK)
    return "progress", f"kept {place}", good, "start JupyterLab from a folder that you may write to"
