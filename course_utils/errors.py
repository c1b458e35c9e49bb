"""One line for each thing that is refused: what was wrong, what was got, what is accepted."""

from __future__ import annotations


def require(holds: object, message: str, error: type[Exception] = ValueError) -> None:
    """Raise ``error`` with the message, unless the condition holds."""
    if not holds:
        raise error(message)
