"""The folder of a built site: what it was made from, whether it is ours, how it is replaced."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
MANIFEST = "course-site.json"
MADE_OF = ("sphinx", "myst-nb", "nbconvert", "pygments", "latex2mathml", "sphinx-revealjs")


def fingerprint(files: Iterable[Path], *words: str) -> str:
    """A hash over files, by name and contents, over words, and over the releases in use."""
    digest = hashlib.sha256()
    for word in (*words, *(f"{name} {version(name)}" for name in MADE_OF)):
        digest.update(f"{word}\n".encode())
    for path in sorted(files):
        contents = hashlib.sha256(path.read_bytes()).hexdigest()
        name = path.relative_to(HERE).as_posix() if path.is_relative_to(HERE) else path.name
        digest.update(f"{name} {contents}\n".encode())
    return digest.hexdigest()


def contents(folder: Path) -> dict[str, int]:
    """{path below the folder: bytes} of its files, without the manifest."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def manifest(target: Path) -> dict | None:
    """What a site says of itself; None when there is none yet. Raises SystemExit when ``target`` is
    something else, which must not be replaced."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    advice = "Name a new or empty folder, or move that away."
    if not target.is_dir():
        raise SystemExit(f"{target.name} is a file, not a folder for a site. {advice}")
    try:
        made = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
        known = set(made["files"])
    except FileNotFoundError:
        raise SystemExit(
            f"{target.name} holds files, but no site of this course. {advice}"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{target.name}/{MANIFEST} cannot be read: {error}. {advice}") from None
    if foreign := sorted(set(contents(target)) - known):
        named = ", ".join(foreign[:3]) + " ..." * (len(foreign) > 3)
        raise SystemExit(f"{target.name} holds files that are not the site's: {named}. {advice}")
    return made


def is_fresh(target: Path, made_from: str) -> bool:
    """Whether the site was made from these very inputs, and is whole. Raises like ``manifest``."""
    made = manifest(target)
    return made is not None and made["made_from"] == made_from and contents(target) == made["files"]


def exchange(
    parts: dict[str, Path], target: Path, made_from: str, unused: tuple[str, ...] = ()
) -> None:
    """Put copies of ``parts`` ({path within the site: folder}) in the place of ``target``, which
    stays whole until they are complete; files that match ``unused`` are left out.

    Raises SystemExit, as ``manifest`` does, when what stands there is no site of ours.
    """
    manifest(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as aside:
        new, old = Path(aside) / "new", Path(aside) / "old"
        for name, folder in parts.items():
            leave_out = shutil.ignore_patterns(*unused)
            shutil.copytree(folder, new / name, ignore=leave_out, dirs_exist_ok=True)
        given = {"made_by": "tools/build_site.py", "made_from": made_from, "files": contents(new)}
        text = json.dumps(given, indent=0, ensure_ascii=False)
        (new / MANIFEST).write_text(text + "\n", encoding="utf-8", newline="\n")
        if target.exists():
            os.replace(target, old)
        try:
            os.replace(new, target)
        except OSError:
            if old.exists():
                os.replace(old, target)  # else it would go with the folder aside
            raise


def synchronise(files: dict[str, bytes], folder: Path) -> None:
    """Make ``folder`` hold exactly these files; what is as it should be is not touched, so that it
    counts as unchanged."""
    for name in contents(folder) if folder.is_dir() else ():
        if name not in files:
            (folder / name).unlink()
    for name, data in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
