"""The challenge proper, on photographs: its examiner and the learner's leaderboard. Notebook 15."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...classroom.check import exercise
from ...engine.data import Dataset, Split
from ...engine.history import History
from ...evidence import accuracy
from ...files import DATA_FOLDER, locked, read_json, write
from .recipes import MOST_EPOCHS
from .records import processor

LEADERBOARD = DATA_FOLDER / "cifar10_leaderboard.json"
BAR, STRONG_BAR = 0.8, 0.9
FEWEST_SEEDS = 3
TWO_MINUTES = 120
TWINS = 0.01  # share of equal images that CIFAR-10 itself may have
COLUMNS = ("name", "accuracy", "low", "seeds", "epochs", "seconds", "processor", "when")
NEW_ONE = "Rename or delete it, and a new one is begun."


def examine(
    history: Any, photographs: Dataset, name: str = "", leaderboard: Path | None = LEADERBOARD
) -> Any:
    """Judge an attempt: three seeds, ten epochs at most, and a whole interval above 80 %.

    Trains nothing: it reads your History. An attempt by the rules enters the leaderboard under
    ``name``, whether it reaches the bar or not. Raises what ``enter`` raises.
    """
    broken = next((complaint for holds, complaint in rules(history, photographs) if not holds), "")
    if not broken and leaderboard is not None:
        enter(history, name or "attempt", leaderboard)
    return _judge(broken, history)


@exercise(
    "the challenge",
    hints=[
        "What did the largest step of the ladder change?",
        "settings_table shows FAST beside the baseline.",
    ],
)
def _judge(broken: str, history: Any) -> Iterator[tuple[Any, str]]:
    yield not broken, broken
    reached = accuracy(history)
    yield reached.low > BAR, f"{reached} so far: the whole interval is to lie above 80 %."


def rules(history: Any, photographs: Dataset) -> Iterator[tuple[Any, str]]:
    """(whether it is kept, what breaks it) of each rule, in order."""
    yield isinstance(history, History), "Hand over what fit(...) or ask(...) returned."
    longest = max(np.isfinite(history.val_loss).sum(1).max(), *_epochs(history))
    yield longest <= MOST_EPOCHS, "More than ten epochs: the rule is ten at most."
    judged = history.val_correct.shape[1]
    told = "This history was not judged on the validation images of these photographs."
    yield len(photographs.val) == judged, told
    told = "The validation images are test images: what is tuned on them says nothing any more."
    yield not shared(photographs.val, photographs.test), told
    told = "Validation images are among the training images: the network has seen the answers."
    yield not shared(photographs.val, photographs.train), told
    seeds = {config.seed for config in history.configs}
    yield len(seeds) == len(history) >= FEWEST_SEEDS, "Three seeds or more are wanted, each once."
    yield set(history.varied()) <= {"seed"}, "The runs should differ in their seed alone."
    yield _agrees(history), "Its curves do not agree with its answers to the validation images."


def _epochs(history: History) -> list[int]:
    return [config.epochs for config in history.configs]


def shared(one: Split, other: Split) -> bool:
    """Whether more than one in a hundred images of ``one`` are in ``other``, too."""
    known = set(map(bytes, _pixels(other)))
    twins = sum(bytes(image) in known for image in _pixels(one))
    return twins > TWINS * len(one)


def _pixels(split: Split) -> np.ndarray:
    return (split.images * 255).round().byte().cpu().numpy()


def _agrees(history: History) -> bool:
    """Several views answer a few images otherwise than one view, by which the curves are drawn."""
    apart = np.abs(history.final() - history.val_correct.mean(1))
    return bool((history.diverged | (apart < 0.05)).all())


# Leaderboard --------------------------------------------------------------------------------------


def enter(history: History, name: str, path: Path = LEADERBOARD) -> None:
    """Add an attempt to the leaderboard file, one writer at a time.

    Raises ValueError for a file that is damaged, and leaves it as it is; OSError where it cannot be
    written.
    """
    reached = accuracy(history)
    attempt = {
        "name": name,
        "accuracy": round(reached.value, 4),
        "low": round(reached.low, 4),
        "seeds": len(history),
        "epochs": max(_epochs(history)),
        "seconds": round(float(history.seconds.mean()), 1),
        "processor": processor(),
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
    }
    with locked(path):
        attempts = read_leaderboard(path).to_dict("records")
        write(path, json.dumps([*attempts, attempt], indent=1) + "\n")


def read_leaderboard(path: Path = LEADERBOARD) -> pd.DataFrame:
    """The attempts so far, best first. Raises ValueError for a damaged file, saying what to do."""
    if not path.exists():
        return pd.DataFrame(columns=list(COLUMNS))
    attempts = read_json(path, NEW_ONE)
    if not isinstance(attempts, list) or not all(_is_attempt(each) for each in attempts):
        raise ValueError(f"{path.name} is damaged: it is no list of attempts. {NEW_ONE}")
    ordered = sorted(attempts, key=lambda attempt: -attempt["accuracy"])
    return pd.DataFrame(ordered, columns=list(COLUMNS))


def _is_attempt(entry: Any) -> bool:
    if not isinstance(entry, dict) or set(entry) != set(COLUMNS):
        return False
    texts = {"name", "processor", "when"}
    return all(isinstance(entry[key], str if key in texts else (int, float)) for key in COLUMNS)


def within_two_minutes(history: History) -> str:
    """How long a run took, beside what the goal allows on two free cores."""
    seconds = float(history.seconds.mean())
    verdict = "within" if seconds <= TWO_MINUTES else "over"
    return (
        f"{seconds:.0f} s a run: {verdict} the two minutes that the goal allows on two free cores"
    )
