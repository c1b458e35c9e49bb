"""The labs of notebook 08: the ward with all instruments, and the hard mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ...classroom.controls import Control, choice, slider, switch
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...classroom.worker import Values
from ...engine.data import Dataset
from ...plots import style
from .charts import Chart
from .faults import FAULTS, HEALTHY
from .figures import draw_curves, fact_groups, frame_panel
from .patients import attend
from .ward import answer, deal, treated

LOOK_FIRST, NOTHING_MORE = "look first", "nothing more"
SIZE = (8.4, 2.0)  # so that the facts below it are on the same screen
MOST_ROWS = 12  # of facts, before two stand in one row
POINTS, WRONG = 10, 3  # a wrong diagnosis costs three points
COSTLY = {"gradient norms": 2, "update ratios": 3}  # instruments that are panels
FACTS = ("losses", "data", "activations", "training", "weights", "evaluation")


@dataclass
class Visit:
    """One patient, what was said of it, and whether the cure for that was applied."""

    number: int
    fault: str
    diagnosis: str | None
    cured: bool
    wants_cure: bool
    chart: Chart
    opened: frozenset[str] | None = None  # hard mode: the instruments looked at
    points: int = POINTS


@dataclass
class Score:
    """Hard mode: what was opened, and what was said wrongly, by patient."""

    opened: dict[int, set[str]] = field(default_factory=dict)
    wrong: dict[int, set[str]] = field(default_factory=dict)

    def points(self, number: int) -> int:
        spent = len(self.opened.get(number, ())) + WRONG * len(self.wrong.get(number, ()))
        return max(POINTS - spent, 0)


def clinic_lab(dataset: Dataset, seed: int = 0, count: int = 12, healthy: bool = True) -> Lab:
    """Look at all instruments, choose a diagnosis, apply the cure. Patient 0 is healthy."""
    patients = [HEALTHY, *deal(seed, count, healthy)]
    controls = {
        "patient": slider("patient", list(range(count + 1)), 0),
        "diagnosis": choice("diagnosis", [LOOK_FIRST, *sorted(FAULTS)], LOOK_FIRST),
        "cure": switch("apply its cure"),
    }
    charts = _remembering(dataset, seed)

    def run(values: Values) -> Iterator[Visit]:
        fault = patients[values["patient"]]
        diagnosis = None if values["diagnosis"] == LOOK_FIRST else values["diagnosis"]
        cured = values["cure"] and diagnosis is not None
        for chart in charts(fault, diagnosis if cured else None):
            yield Visit(values["patient"], fault, diagnosis, cured, values["cure"], chart)

    def table(visit: Visit) -> Sequence[Sequence[str]]:
        return _rows(visit.chart, FACTS)

    return _lab(controls, run, table, "the instruments of a patient")


def hard_lab(dataset: Dataset, seed: int = 1, count: int = 12) -> Lab:
    """Two curves for nothing; each further instrument costs a point, a wrong diagnosis three."""
    patients = deal(seed, count)
    instruments = [*COSTLY, *FACTS]
    controls = {
        "patient": slider("patient", list(range(1, count + 1)), 1),
        "instrument": choice("open for a point", [NOTHING_MORE, *instruments], NOTHING_MORE),
        "diagnosis": choice("diagnosis", [LOOK_FIRST, *sorted(FAULTS)], LOOK_FIRST),
    }
    charts, score = _remembering(dataset, seed), Score()

    def run(values: Values) -> Iterator[Visit]:
        number, fault = values["patient"], patients[values["patient"] - 1]
        if values["instrument"] != NOTHING_MORE:
            score.opened.setdefault(number, set()).add(values["instrument"])
        diagnosis = None if values["diagnosis"] == LOOK_FIRST else values["diagnosis"]
        if diagnosis not in (None, fault):
            score.wrong.setdefault(number, set()).add(diagnosis)
        opened = frozenset(score.opened.get(number, ()))
        for chart in charts(fault, None):
            yield Visit(number, fault, diagnosis, False, False, chart, opened, score.points(number))

    def table(visit: Visit) -> Sequence[Sequence[str]]:
        return _rows(visit.chart, [name for name in FACTS if name in (visit.opened or ())])

    return _lab(controls, run, table, "the instruments that you have paid for")


def _lab(
    controls: Mapping[str, Control],
    run: Callable[[Values], Iterator[Visit]],
    table: Callable[[Visit], Sequence[Sequence[str]]],
    name: str,
) -> Lab:
    picture = Picture(_frame, SIZE, columns=4, rows=1)
    return Lab(controls, run, picture, _draw, describe_visit, name=name, table=table)


def _remembering(dataset: Dataset, seed: int) -> Callable[[str, str | None], Iterator[Chart]]:
    """A function (fault, treatment) -> the growing chart; from the second time on the whole one."""
    known: dict[tuple[str, str | None], Chart] = {}

    def charts(fault: str, treatment: str | None) -> Iterator[Chart]:
        if (fault, treatment) in known:
            yield known[fault, treatment]
            return
        for chart in attend(treated(fault, treatment), dataset, seed):
            yield chart
        known[fault, treatment] = chart

    return charts


def _rows(chart: Chart, groups: Sequence[str]) -> list[tuple[str, ...]]:
    """The facts, two in a row where one in a row would be more than a screen shows."""
    facts = fact_groups(chart)
    rows = [item for name in groups for item in facts[name].items()]
    if len(rows) > MOST_ROWS:
        half = -(-len(rows) // 2)
        left, right = rows[:half], [*rows[half:], ("", "")]
        return [("fact", "value") * 2, *(a + b for a, b in zip(left, right, strict=False))]
    return [("fact", "value"), *rows] if rows else []


def _frame(axes: list[Axes]) -> None:
    for number, ax in enumerate(axes):
        frame_panel(ax, number)
        ax.set_xlim(*((0, 245) if number != 1 else (0.5, 14.5)))
        ax.locator_params(axis="y", nbins=3)
    for ax, names in (
        (axes[1], ("training", "test", "fresh")),
        (axes[2], ("first", "last")),  # layers
    ):
        proxies = [Line2D([], [], label=name, **style(n)) for n, name in enumerate(names)]
        ax.legend(
            handles=proxies,
            loc="lower right",
            frameon=False,
            fontsize=9.5,
            handlelength=1.0,
            handletextpad=0.4,
            labelspacing=0.2,
            borderaxespad=0.1,
        )


def _draw(axes: list[Axes], visit: Visit, earlier: Sequence[Earlier]) -> None:
    same = [old.result for old in earlier if old.result.number == visit.number]
    before = [old.chart for old in same if not old.cured] if visit.cured else []
    draw_curves(axes, visit.chart, before[-1] if before else None, legend=False)
    for name, panel in COSTLY.items():
        if visit.opened is not None and name not in visit.opened:
            for artist in list(axes[panel].lines):
                artist.remove()
            middle = {"transform": axes[panel].transAxes, "ha": "center", "fontsize": 9.5}
            axes[panel].text(0.3, 0.8, "closed", **middle)


def describe_visit(visit: Visit) -> str:
    """One line: how the patient is, and the answer to the diagnosis."""
    ends = {name: 100 * values[-1] for name, values in visit.chart.accuracy.items()}
    scores = ", ".join(f"{name} {value:.0f} %" for name, value in ends.items())
    text = f"Patient {visit.number}: accuracy {scores}. "
    if visit.opened is not None:
        text += f"{visit.points} of {POINTS} points left. "
    if visit.diagnosis is not None:
        text += answer(visit.fault, visit.diagnosis)
        return text + (" The chart shows the patient after that cure." if visit.cured else "")
    if visit.wants_cure:
        return text + "Choose a diagnosis first: its cure is applied."
    healthy = "This one is healthy: compare the others with it."
    return text + (healthy if visit.opened is None and visit.number == 0 else "What is wrong?")
