"""What a fair experiment must have: the check of the experiments that learners design themselves.

It looks at the design and at whether the verdict follows from the interval, never at what came out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..claims import judge
from ..protocol import Trial

SEEDS, VALUES = 8, 3
VERDICTS = ("supported", "refuted", "not settled")


def fair_design(
    trial: Any,
    verdict: Any,
    *,
    above: float = 0.0,
    arm: str | None = None,
    seeds: int = SEEDS,
) -> Iterator[tuple[Any, str]]:
    """Conditions for a check (see ``check.exercise``) on what ``compare`` returned, and on the
    learner's verdict on "the last arm gains more than ``above`` over the first".

    ``seeds``  at least so many must judge: fewer than usual where stored runs have no more
    """
    yield isinstance(trial, Trial), "`trial` should be what compare(...) returns."
    arm = arm or list(trial.histories)[-1]
    judged = trial.histories[arm].configs
    yield len(judged) >= seeds, f"Judge on {seeds} seeds or more; these are {len(judged)}."
    yield bool(trial.tuning), "Tune both sides: give compare a grid, tune={'learning_rate': [...]}."
    for name, runs in trial.tuning.items():
        tried = {field: {getattr(c, field) for c in runs.configs} for field in trial.chosen[name]}
        most = max(map(len, tried.values()))
        yield most >= VALUES, f"Try {VALUES} values or more for {name}; these are {most}."
    for name, flags in trial.flags.items():
        told = f"{name}: {'; '.join(flags)}. Move the grid until the best value lies inside."
        yield not flags, told
    settings = [_settings(trial, name) for name in trial.histories]
    yield _differ(settings), "The arms are equal: let them differ in what you ask about."
    yield verdict in VERDICTS, f"`verdict` should be one of {', '.join(VERDICTS)}."
    follows = judge(trial.gain(arm), above, None)
    gain = str(trial.gain(arm))
    yield verdict == follows, f"The interval is {gain}: look at where it lies, and judge again."


def _settings(trial: Trial, name: str) -> Any:
    """What an arm is, besides what was tuned for it, and what it answered."""
    history = trial.histories[name]
    fields = history.configs[0].to_dict()
    fixed = {key: value for key, value in fields.items() if key not in trial.chosen[name]}
    return str(fixed), np.packbits(history.val_correct).tobytes()


def _differ(settings: list[Any]) -> bool:
    return len(set(settings)) > 1
