"""Exercise checks: what answers a learner's attempt.

    @exercise("03.1", hints=["Look at the unit of step_size.", "..."])
    def check_rates_by_epoch(rates_by_epoch):
        used = rates_by_epoch(90, 10)
        yield len(used) == 90, "One rate for each epoch is wanted."
        yield ...

A check is a generator of (holds, what to say if not), in order; the first that fails speaks. It
never raises: what the learner's own code raises is shown to the learner as it is, and not judged as
a wrong answer. Each further attempt brings the next hint. What is passed is noted for ``progress``.
"""

from __future__ import annotations

import functools
import html
import linecache
import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .record import in_notebook, normalised, note_pass

ATTEMPTS: Counter[str] = Counter()  # failed ones, by exercise: each brings the next hint
OURS = Path(__file__).resolve().parents[1]
Check = Callable[..., Iterator[tuple[Any, str]]]


@dataclass(frozen=True)
class Result:
    """What a check found; true in an ``if`` when the exercise is passed."""

    exercise: str
    passed: bool
    message: str
    hint: str = ""

    def __bool__(self) -> bool:
        return self.passed

    @property
    def verdict(self) -> str:
        return "✔ passed" if self.passed else "○ not yet"

    def __repr__(self) -> str:
        hint = f"\nHint: {self.hint}" if self.hint else ""
        return f"{self.verdict}  {self.exercise}: {self.message}{hint}"

    def _repr_html_(self) -> str:
        colour = "#00795B" if self.passed else "#B35900"
        lines = _to_html(self.message).replace("\n", "<br>")
        hint = f"<p style='margin:.3em 0'><b>Hint:</b> {_to_html(self.hint)}</p>"
        return (
            f"<div role='status' style='border-left:4px solid {colour}; padding:.2em .8em; "
            "max-width:46em; overflow-wrap:normal; word-break:normal'>"
            f"<p style='margin:.3em 0'><b>{self.verdict}</b>, exercise "
            f"{html.escape(self.exercise)}: {lines}</p>{hint if self.hint else ''}</div>"
        )


def _to_html(text: str) -> str:
    """Escaped, with what stands between `backticks` as code."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", html.escape(text))


def exercise(
    number: str, hints: Sequence[str] = (), praise: str = "That is right."
) -> Callable[[Check], Callable[..., Result]]:
    """Make a check of a generator of (holds, what to say if not). ``number`` is "NN.k"."""
    number = normalised(number)

    def decorate(check: Check) -> Callable[..., Result]:
        @functools.wraps(check)
        def judge(*answers: Any, **named: Any) -> Result:
            try:
                for holds, complaint in check(*answers, **named):
                    if not bool(holds):
                        return _not_yet(number, complaint, hints)
            except (Exception, SystemExit) as error:  # the learner's code can be anything
                return _not_yet(number, _told(error), hints)
            ATTEMPTS.pop(number, None)
            return Result(number, True, praise + _noted(number))

        judge.exercise = number  # type: ignore[attr-defined]
        return judge

    return decorate


def _not_yet(number: str, message: str, hints: Sequence[str]) -> Result:
    hint = hints[min(ATTEMPTS[number], len(hints) - 1)] if hints else ""
    ATTEMPTS[number] += 1
    return Result(number, False, message, hint)


def _told(error: BaseException) -> str:
    """The learner's own exception, with the line of their code that raised it; or, where the answer
    was of a kind that the check cannot look at, that."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not _is_library(frame.filename)]
    try:
        what = f"{type(error).__name__}: {error}"
    except Exception:  # its own text may fail, too
        what = type(error).__name__
    if not theirs:
        return f"This answer is of a kind that cannot be judged. Looking at it raised {what}"
    frame = theirs[-1]
    line = linecache.getline(frame.filename, frame.lineno or 0).strip() or frame.line or ""
    where = f"in {frame.name}, line {frame.lineno}" if frame.name != "<module>" else ""
    return f"Your code raised {what}\n{where}: {line}".rstrip(": ")


def _is_library(filename: str) -> bool:
    path = Path(filename)
    return OURS in path.parents or "site-packages" in path.parts or "lib" in path.parts


def _noted(number: str) -> str:
    """Note the pass, if this is a notebook; what to add to the praise."""
    if not in_notebook():
        return ""
    try:
        note_pass(number)
    except OSError as error:  # a full disk, a folder that may not be written to
        return f" (It could not be noted for progress(): {error.strerror or error})"
    from .progress import progress

    return f" {progress().summary}: see progress()."
