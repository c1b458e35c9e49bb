"""The ward: patients dealt by a seed, examined, treated; and a quiz for a class."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from ...engine.data import Dataset
from .charts import Chart
from .faults import FAULTS, HEALTHY
from .patients import Case, attend


def treated(fault: str, treatment: str | None = None) -> Case:
    """A patient's case, after the treatment for another fault (or its own), if given.

    Raises ValueError for a name that is not in FAULTS.
    """
    for name in (fault, treatment):
        if name is not None and name not in FAULTS:
            raise ValueError(f"fault: got {name!r}, takes one of {', '.join(FAULTS)}")
    case = FAULTS[fault].case()
    return replace(case, **FAULTS[treatment].treatment()) if treatment else case


def examine(fault: str, dataset: Dataset, seed: int = 0, treatment: str | None = None) -> Chart:
    """The complete chart of a patient with ``fault``; after a treatment, if one is given."""
    *_, chart = attend(treated(fault, treatment), dataset, seed)
    return chart


def deal(seed: int, count: int = 12, healthy: bool = True) -> list[str]:
    """``count`` different faults in an order that the seed decides; among them, if ``healthy``, a
    sound network may be. Raises ValueError for more patients than there are faults."""
    names = [name for name in FAULTS if healthy or name != HEALTHY]
    if not 1 <= count <= len(names):
        raise ValueError(f"count: got {count}, takes 1 to {len(names)}")
    return random.Random(seed).sample(names, count)


def answer(fault: str, diagnosis: str) -> str:
    """Right or wrong, with the sign; a wrong one is told what its own sign would have been."""
    if fault == diagnosis:
        return f"Right: {fault}. The sign: {FAULTS[fault].sign}. The cure: {FAULTS[fault].remedy}."
    return f"Not {diagnosis}: its sign would be that {FAULTS[diagnosis].sign}. Look again."


class Quiz:
    """Patients for a class. ``Quiz(dataset, seed=7)`` deals the same ones to everybody.

    ``chart(number)`` examines a patient (numbers from 1), ``mark({1: "dead ReLUs", ...})`` returns
    a table, ``key()`` is the teacher's.
    """

    def __init__(self, dataset: Dataset, seed: int, count: int = 6):
        self.dataset, self.seed, self._faults = dataset, seed, deal(seed, count)

    def __len__(self) -> int:
        return len(self._faults)

    def chart(self, number: int, treatment: str | None = None) -> Chart:
        """The chart of a patient, after the treatment for a diagnosis, if given.

        Raises ValueError for a number that no patient has.
        """
        if not 1 <= number <= len(self._faults):
            raise ValueError(f"patient: got {number}, takes 1 to {len(self._faults)}")
        return examine(self._faults[number - 1], self.dataset, self.seed, treatment)

    def mark(self, answers: Mapping[int, str]) -> pd.DataFrame:
        """One row for each patient: the diagnosis, whether it is right, and what to look at."""
        rows = []
        for number, fault in self.key().items():
            given = answers.get(number)
            told = answer(fault, given) if given in FAULTS else "no diagnosis"
            row = {"patient": number, "diagnosis": given, "right": given == fault, "answer": told}
            rows.append(row)
        return pd.DataFrame(rows)

    def key(self) -> dict[int, str]:
        """For the teacher: {number: fault}."""
        return dict(enumerate(self._faults, start=1))
