"""The controls of a lab: each moves over listed values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Control:
    """A control over listed values: a slider, a list to choose from, or a switch."""

    label: str
    kind: str
    options: tuple[Any, ...]
    start: Any

    def __post_init__(self) -> None:
        if self.start not in self.options:
            raise ValueError(f"{self.label}: got {self.start!r}, takes one of {self.options}")

    @property
    def texts(self) -> list[str]:
        return [f"{each:g}" if isinstance(each, float) else _worded(each) for each in self.options]


def _worded(option: Any) -> str:
    return "none" if option is None else str(option).replace("_", " ")


def slider(label: str, options: Sequence[Any], start: Any) -> Control:
    """A slider over listed values, from the first to the last."""
    return Control(label, "slider", tuple(options), start)


def choice(label: str, options: Sequence[Any], start: Any) -> Control:
    """A list of which one is chosen; None stands as "none"."""
    return Control(label, "choice", tuple(options), start)


def switch(label: str, start: bool = False) -> Control:
    """On or off."""
    return Control(label, "switch", (False, True), start)
