"""What fills an environment: uv where it is to be had, pip elsewhere; and its files.

Needs nothing but Python's own library: it runs before anything is installed.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
# Settings of pip's that say where packages come from. uv does not read them.
PLACES = re.compile(
    r"\.((extra.)?index.url|find.links|no.index|constraint|proxy|cert|client.cert)="
)
# All settings that say where to look for packages: a newer ordinary build on another of a machine's
# indexes would be taken instead of the one that was asked for.
PLACES_TO_FIND = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
)
# What only PyTorch's builds for graphics cards need.
ACCELERATOR_PACKAGES = re.compile(
    r"^(nvidia|cuda)[-_]|^(triton|pytorch[-_]triton)\b", re.IGNORECASE
)


def python_in(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@dataclass
class Installer:
    """A command that installs into one environment."""

    name: str
    python: str  # the environment's
    command: list[str]
    reinstall: str

    def __call__(self, requirements: list[str], options: list[str], **environment: str) -> bool:
        command = [*self.command, *options, *requirements]
        return subprocess.run(command, cwd=HERE, env=os.environ | environment).returncode == 0


class Both:
    """uv, and pip where uv fails: it may know of a proxy or an index that uv does not."""

    def __init__(self, first: Installer, second: Installer) -> None:
        self.first, self.second, self.name = first, second, first.name

    def __call__(self, requirements: list[str], options: list[str]) -> bool:
        if self.first(requirements, options):
            return True
        print("uv could not do it: trying pip.", flush=True)
        self.name = self.second.name
        return self.second(requirements, options)


def pip_of(venv: Path) -> Installer:
    python = str(python_in(venv))
    command = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    return Installer("pip", python, command, "--force-reinstall")


def uv_of(venv: Path) -> Installer | None:
    """This machine's uv, or one that pip puts into the environment; None where there is neither."""
    own = python_in(venv).with_name("uv.exe" if os.name == "nt" else "uv")
    uv = shutil.which("uv") or (str(own) if own.exists() else None)
    if uv is None:
        pip = [*pip_of(venv).command, "--only-binary", ":all:", "uv"]
        if subprocess.run(pip, capture_output=True).returncode:
            return None
        uv = str(own)
    python = str(python_in(venv))
    command = [uv, "pip", "install", "--python", python]
    return Installer("uv", python, command, "--reinstall")


def pip_has_places_of_its_own(venv: Path) -> bool:
    answer = subprocess.run(
        [str(python_in(venv)), "-m", "pip", "config", "list"], capture_output=True, text=True
    )
    return bool(PLACES.search(answer.stdout))


def choose(venv: Path, asked: str) -> Installer | Both:
    """The installer for an environment; ``asked`` is "auto", "uv" or "pip"."""
    pip = pip_of(venv)
    if asked == "pip":
        return pip
    if asked == "auto" and shutil.which("uv") is None and pip_has_places_of_its_own(venv):
        return pip
    uv = uv_of(venv)
    if uv is None:
        if asked == "uv":
            print("uv is not to be had here: pip installs.", flush=True)
        return pip
    return uv if asked == "uv" else Both(uv, pip)


# ---- builds of PyTorch ---------------------------------------------------------------------------


def has_nvidia_driver() -> bool:
    places = ("/proc/driver/nvidia/version", "/usr/lib/wsl/lib/nvidia-smi")
    return shutil.which("nvidia-smi") is not None or any(map(os.path.exists, places))


def advise_on_torch() -> None:
    if sys.platform.startswith("linux") and not has_nvidia_driver():
        print(
            "No NVIDIA driver was found here. PyTorch's build for processors is all that the "
            "course needs, and much smaller. To take it, now instead of this or any time later:\n"
            "    make lab TORCH=cpu    (without make: python tools/set_up.py lab --torch cpu)",
            flush=True,
        )


def for_torch(venv: Path, asked: str) -> Installer:
    """uv knows where PyTorch keeps its builds, so it is asked whatever settings pip has."""
    return pip_of(venv) if asked == "pip" else uv_of(venv) or pip_of(venv)


def install_torch(
    install: Installer, build: str, previous: str, packages: list[str], options: list[str]
) -> str:
    """Install PyTorch's own packages from its own index; returns the build that is there then.

    ``build`` is a name that uv knows ("cpu", "cu130"), "default", or the address of an index. Where
    it cannot be had, a word says so, and the ordinary build is installed later, with the rest.
    """
    environment = {}
    if "://" in build:
        environment = dict.fromkeys(PLACES_TO_FIND, build)
    elif install.name == "uv" and build != "default":
        environment = {"UV_TORCH_BACKEND": build}
    elif build != "default":
        print(
            f"pip does not know where PyTorch keeps its build {build!r}; uv would. Or give the "
            'address that PyTorch\'s page "Get started" shows for it: TORCH=https://... '
            "The ordinary build is taken.",
            flush=True,
        )
        return previous
    options = [*options, "--no-deps"] + [install.reinstall] * (build != previous)
    if not install(packages, options, **environment):
        print(
            f"PyTorch's build {build!r} cannot be had here (the lines above say why): "
            "the ordinary one is taken, which is larger and works as well.",
            flush=True,
        )
        return previous
    if build != previous:
        remove_packages(install.python, ACCELERATOR_PACKAGES)
    return "" if build == "default" else build


def remove_packages(python: str, names: re.Pattern) -> None:
    """Uninstall what another build of PyTorch left; what the new one needs comes with the rest."""
    command = [python, "-m", "pip", "list", "--format", "freeze", "--disable-pip-version-check"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    left = [line.split("==")[0] for line in listed if names.search(line)]
    if left:
        subprocess.run([python, "-m", "pip", "uninstall", "--yes", "--quiet", *left], check=False)


# ---- files of an environment ---------------------------------------------------------------------


def make(venv: Path) -> None:
    """Raises SystemExit where this Python cannot make environments and there is no uv that can."""
    if subprocess.run([sys.executable, "-m", "venv", str(venv)]).returncode == 0:
        return
    uv = shutil.which("uv")
    options = ["venv", "--seed", "--clear", "--python", sys.executable, str(venv)]
    if uv is None or subprocess.run([uv, *options]).returncode:
        sys.exit(
            "Python could not make a virtual environment. "
            "On Debian and Ubuntu: apt install python3-venv"
        )


def packages_of(venv: Path) -> Path:
    """Where the environment keeps its packages. Raises SystemExit for a Python that keeps none."""
    code = "import sysconfig; print(ascii(sysconfig.get_path('purelib')))"
    command = [str(python_in(venv)), "-I", "-c", code]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    packages = Path(ast.literal_eval(shown.strip())).resolve()
    if not packages.is_relative_to(venv.resolve()):
        sys.exit(f"The Python in {venv.name} belongs to no environment: remove that folder.")
    return packages


def link_package(venv: Path, course: Path) -> None:
    """Let the environment import the course from its folder.

    By a path from here to there, for an environment inside the course: it holds when both are
    moved. Unlike an editable installation this needs no network and writes nothing into the course.
    """
    packages = packages_of(venv)
    inside = packages.is_relative_to(course)
    path = os.path.relpath(course, packages) if inside else str(course)
    (packages / "course_utils.pth").write_text(path + "\n", encoding=PTH_ENCODING)


# Python 3.13 and newer read UTF-8 first, older ones what the system speaks.
PTH_ENCODING = "utf-8" if sys.version_info >= (3, 13) else None


def clear_unfinished(venv: Path) -> None:
    """Forget packages that an interruption left half installed, so that they are installed again.

    uv and pip write INSTALLER once all other files of a package are there.
    """
    for information in packages_of(venv).glob("*.dist-info"):
        if not (information / "INSTALLER").exists():
            remove(information)


def remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(place, name)).st_size for name in names)
    return total
