"""Pictures of a class's records, for the teacher's notebook (``notebooks/teacher``).

What is drawn may come from anybody: no text is read as a formula, long texts are wrapped and cut,
and many different answers to one question become few bars.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..plots.theme import COLOURS, GREY, THEME, axes_or_current
from .hand_in import ClassRecords

MOST_BARS, RANGES, LABEL_WIDTH, LONGEST_LABEL, TITLE_WIDTH = 8, 6, 34, 100, 64


def question_table(records: ClassRecords) -> pd.DataFrame:
    """One row for each question: how many learners guessed, and what share of those who have seen
    the result had guessed it ("right", NaN if nobody has)."""
    rows = []
    for id, table in records.guesses().groupby("id", sort=True):
        entries = [record.guesses.get(id, {}) for record in records.records]
        right = [entry["right"] for entry in entries if "right" in entry and "guess" in entry]
        rows.append(
            {
                "id": id,
                "question": _wording(table),
                "learners": table["learners"].sum(),
                "right": sum(right) / len(right) if right else float("nan"),
            }
        )
    return pd.DataFrame(rows, columns=["id", "question", "learners", "right"])


def plot_guesses(
    records: ClassRecords, id: str, ax: Axes | None = None, reveal: bool = False
) -> Axes:
    """How many learners guessed what, one bar for each answer, the most frequent on top;
    many different numbers are drawn as ranges, in order.

    ``reveal`` marks the answer that was measured, where a learner's file says so. The axis is as
    long as the class is large. Raises ValueError for a question that nobody answered.
    """
    counts = _counts(records, id)
    ax = axes_or_current(ax)
    measured = _measured(records, id) if reveal else set()
    counts = pd.concat([counts, pd.Series(0, sorted(measured - set(counts.index)), dtype=int)])
    labels = [f"{label} ✔" if label in measured else label for label in counts.index]
    colours = [COLOURS[2] if label in measured else COLOURS[0] for label in counts.index]
    _bars(ax, labels, counts.tolist(), [str(count) for count in counts], colours)
    table = records.guesses().query("id == @id")
    title = textwrap.shorten(_printable(_wording(table)), 3 * TITLE_WIDTH, placeholder=" ...")
    heading = f"{id}\n{textwrap.fill(title, TITLE_WIDTH)}"
    ax.set_title(heading, loc="left", parse_math=False, fontsize=10)
    ax.set_xlabel(f"learners ({counts.sum()} of {len(records.records)} guessed)")
    ax.set_xlim(0, 1.08 * len(records.records))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def plot_lesson(records: ClassRecords, lesson: str, reveal: bool = False) -> Figure:
    """All questions of a lesson ("03"), one below the other. Raises ValueError without guesses."""
    ids = [id for id in question_table(records)["id"] if id.startswith(f"{lesson}.")]
    if not ids:
        raise ValueError(f"lesson: got {lesson!r}, and nobody has guessed in it")
    heights = [0.42 * len(_counts(records, id)) + 1.3 + 0.42 * reveal for id in ids]
    figure = Figure(figsize=(THEME["figure.figsize"][0] * 1.15, sum(heights)), layout="constrained")
    for ax, id in zip(
        figure.subplots(len(ids), squeeze=False, height_ratios=heights)[:, 0], ids, strict=True
    ):
        plot_guesses(records, id, ax, reveal)
    return figure


def plot_passed(
    records: ClassRecords, exercises: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """What share of the learners passed each exercise, in per cent.

    ``exercises`` are the ones to show, those that nobody passed among them; without, all that
    anybody passed. Raises ValueError without records, and where there is no exercise to show.
    """
    table = records.passed().set_index("exercise")
    shown = list(table.index) if exercises is None else list(exercises)
    if not records.records or not shown:
        raise ValueError(
            f"records, exercises: got {len(records.records)} records and {len(shown)} exercises, "
            "takes one or more of each"
        )
    ax = axes_or_current(ax)
    learners = [int(table["learners"].get(name, 0)) for name in shown]
    total = len(records.records)
    shares = [100 * count / total for count in learners]
    _bars(ax, shown, shares, [f"{count} of {total}" for count in learners], [COLOURS[0]])
    ax.set(xlim=(0, 115), xticks=range(0, 101, 25), xlabel="per cent of the learners who passed")
    return ax


def _bars(
    ax: Axes,
    labels: Sequence[str],
    lengths: Sequence[float],
    numbers: Sequence[str],
    colours: Sequence[str],
) -> None:
    """Horizontal bars, top to bottom, each with its number in words."""
    rows = range(len(labels))
    ax.barh(rows, lengths, color=colours, height=0.62)
    wrapped = [textwrap.fill(label, LABEL_WIDTH) for label in labels]
    ax.set_yticks(rows, wrapped, parse_math=False, fontsize=9.5)
    for row, length, number in zip(rows, lengths, numbers, strict=True):
        ax.annotate(
            number,
            (length, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=GREY,
        )
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)


def _counts(records: ClassRecords, id: str) -> pd.Series:
    """{answer as a label: learners}, the most frequent first, the rarest together; many different
    numbers as ranges, in order."""
    table = records.guesses().query("id == @id")
    if table.empty:
        known = sorted(set(records.guesses()["id"]))
        raise ValueError(f"id: got {id!r}, takes one of {known}")
    edges = _edges(table)
    if edges is not None:
        numbers = np.repeat(table["guess"].astype(float), table["learners"])
        return pd.Series(np.histogram(numbers, edges)[0], _range_labels(edges))
    labels = table["guess"].map(_label)
    counts = table.groupby(labels, sort=True)["learners"].sum()
    counts = counts.sort_values(ascending=False, kind="stable")
    if len(counts) > MOST_BARS:
        rest = counts.iloc[MOST_BARS - 1 :]
        together = pd.Series({f"{len(rest)} other answers": rest.sum()})
        counts = pd.concat([counts.iloc[: MOST_BARS - 1], together])
    return counts


def _edges(table: pd.DataFrame) -> np.ndarray | None:
    """Where ranges of numbers begin and end; None if there are few numbers, or words among them."""
    answers = set(table["guess"])
    if len(answers) <= MOST_BARS or not all(isinstance(each, (int, float)) for each in answers):
        return None
    return np.asarray(MaxNLocator(RANGES).tick_values(float(min(answers)), float(max(answers))))


def _range_labels(edges: np.ndarray) -> list[str]:
    return [f"{low:.6g} to {high:.6g}" for low, high in itertools.pairwise(edges)]


def _measured(records: ClassRecords, id: str) -> set[str]:
    """The labels of what the learners' files say that the experiment showed: one, unless they
    disagree."""
    edges = _edges(records.guesses().query("id == @id"))
    entries = (record.guesses.get(id, {}) for record in records.records)
    return {_place(entry["measured"], edges) for entry in entries if "measured" in entry}


def _place(value: object, edges: np.ndarray | None) -> str:
    """The label of the range that holds a number; an answer's own where there is none."""
    if edges is None or not isinstance(value, (int, float)) or not edges[0] <= value <= edges[-1]:
        return _label(value)
    place = np.clip(np.searchsorted(edges, value, "right"), 1, len(edges) - 1)
    return _range_labels(edges)[place - 1]


def _wording(table: pd.DataFrame) -> str:
    """The question as most learners saw it."""
    return str(table.groupby("question")["learners"].sum().idxmax())


def _label(answer: object) -> str:
    text = f"{answer:.4g}" if isinstance(answer, (int, float)) else _printable(str(answer))
    return textwrap.shorten(text, LONGEST_LABEL, placeholder=" ...") or "(empty)"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
