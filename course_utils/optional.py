"""What single cells need and the course can do without: packages of the group "extra"."""

from __future__ import annotations

from importlib.util import find_spec

INSTALL = "python tools/set_up.py --group extra"


def is_here(*packages: str) -> bool:
    """Whether all these packages are installed; prints one line that says what to do, if not."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        names = " and ".join(missing)
        print(f"This cell needs {names}, and does nothing without. To install: {INSTALL}")
    return not missing
