"""One line for each thing that is refused: what was wrong, what was got, what is accepted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def require(holds: object, message: str, error: type[Exception] = ValueError) -> None:
    """Raise ``error`` with the message, unless the condition holds."""
    if not holds:
        raise error(message)


def known(what: str, got: Any, names: Collection[Any]) -> None:
    """Raise ValueError for a name that is none of ``names``."""
    require(got in names, f"{what}: got {got!r}, takes one of {', '.join(map(str, names))}")
