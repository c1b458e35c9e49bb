"""The lab of notebook 09: a search with a Gaussian process, step by step, and the learner's own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ...classroom.controls import choice, slider, switch
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...classroom.worker import Values
from ...plots import COLOURS, EARLIER, style
from .experiments import Hill, train_at

Process = Callable[..., tuple[np.ndarray, np.ndarray]]
Gain = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
CHOICES = ("expected improvement", "the highest mean", "the widest band")
MOST, LENGTHS = 12, [0.2, 0.4, 0.6, 0.8, 1.2, 2.0]
OWN_SEEDS = 100  # the learner's trials have seeds of their own, as the search's trials have


@dataclass
class Search:
    """What a search has done so far, and the learner beside it.

    x, y      log10 of the rates tried, and the accuracies seen
    mean, deviation, gain   what the process makes of them, at the points of the hill
    own       the learner's (log10 of the rate, accuracy)
    ahead     log10 of the learner's rate, where the next trial would go
    truth     whether the hill is shown
    """

    x: np.ndarray
    y: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    gain: np.ndarray
    own: list[tuple[float, float]]
    ahead: float
    truth: bool


class Searcher:
    """Trains what the search and the learner ask for, each trial once."""

    def __init__(self, hill: Hill, gp: Process, expected_improvement: Gain):
        self.hill, self.gp, self.expected_improvement = hill, gp, expected_improvement
        self.own: list[float] = []
        self._known: dict[tuple[float, int], float] = {}

    def measure(self, place: float, seed: int) -> float:
        """The accuracy of one trial, at ``place`` = log10 of the rate."""
        key = (round(place, 6), seed)
        if key not in self._known:
            self._known[key] = train_at(place, seed, self.hill.dataset)
        return self._known[key]

    def run(self, values: Values) -> Generator[Search, Values | None, None]:
        """One trial after the other, each where the last state of the process says."""
        at, x, y = self.hill.at, [float(self.hill.at[len(self.hill.at) // 5])], []
        ahead = float(np.log10(values["rate"]))
        own = [(place, self.measure(place, OWN_SEEDS + n)) for n, place in enumerate(self.own)]
        for trial in range(values["trials"]):
            y.append(self.measure(x[trial], trial))
            mean, deviation = self.gp(np.array(x), np.array(y), at, values["length"])
            tried = np.abs(at[:, None] - np.array(x)).argmin(0)
            gain = {
                CHOICES[0]: self.expected_improvement(mean, deviation, mean[tried].max()),
                CHOICES[1]: mean,
                CHOICES[2]: deviation,
            }[values["rule"]]
            found = np.array(x), np.array(y), mean, deviation, gain
            yield Search(*found, own, ahead, values["truth"])
            x.append(float(at[gain.argmax()]))

    def train_mine(self, lab: Lab) -> None:
        """The learner's turn."""
        self.own.append(float(np.log10(lab.values["rate"])))
        lab.worker.ask(lab.values)

    def forget_mine(self, lab: Lab) -> None:
        """All the learner's turns, gone."""
        self.own.clear()
        lab.worker.ask(lab.values)


def search_lab(hill: Hill, gp: Process, expected_improvement: Gain) -> Lab:
    """Trials, rule, length scale, and a rate of one's own; every trial trains a network.

    ``gp`` takes (x, y, at, length) and returns (mean, deviation); ``expected_improvement`` takes
    (mean, deviation, best).
    """
    searcher = Searcher(hill, gp, expected_improvement)
    rates = [float(f"{10**place:.3g}") for place in hill.at[::2]]
    controls = {
        "trials": slider("trials", list(range(1, MOST + 1)), 5),
        "rule": choice("next trial", list(CHOICES), CHOICES[0]),
        "length": slider("length scale (decades)", LENGTHS, 0.6),
        "truth": switch("show the truth"),
        "rate": slider("your learning rate", rates, rates[len(rates) // 2]),
    }
    return Lab(
        controls,
        searcher.run,
        Picture(lambda axes: _frame(axes, hill)),
        lambda axes, result, earlier: _draw(axes, result, earlier, hill),
        lambda result: describe(result, hill),
        name="a Gaussian process searches for a learning rate",
        actions={"Train mine": searcher.train_mine, "Forget mine": searcher.forget_mine},
        point=lambda panel, x, y, values: {"rate": _nearest(rates, x)} if panel == 0 else {},
        code=_code,
    )


def _nearest(rates: Sequence[float], rate: float) -> float:
    return min(rates, key=lambda each: abs(np.log(each / rate)))


def _frame(axes: list[Axes], hill: Hill) -> None:
    left, right = axes
    left.set(xscale="log", xlim=(10 ** hill.at[0], 10 ** hill.at[-1]), ylim=(-0.25, 1.15))
    left.set(xlabel="learning rate", ylabel="accuracy", yticks=[0, 0.5, 1])
    right.set(xlim=(0.5, MOST + 0.5), ylim=(0.09, 110), yscale="log", xlabel="trials")
    right.set_xticks([1, 3, 6, 9, 12])
    right.set(ylabel="points below the top", yticks=[0.1, 1, 10, 100])
    right.set_yticklabels(["0.1", "1", "10", "100"])
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.02, 0.97), "frameon": False}
    dot: dict[str, Any] = {"color": EARLIER, "marker": "o", "linestyle": "none"}
    left.legend(
        handles=[
            Line2D([], [], label="mean", **style(0)),
            Line2D([], [], label="trials", **dot),
            Line2D([], [], label="truth", **style(1)),
            Line2D([], [], color=COLOURS[2], linewidth=6, alpha=0.5, label="rule"),
        ],
        ncols=4,
        handlelength=1.2,
        columnspacing=1,
        **place,
    )
    marks = [Line2D([], [], color=COLOURS[0], marker="o", label="process")]
    marks.append(Line2D([], [], color=COLOURS[3], marker="X", linestyle="--", label="you"))
    right.legend(handles=marks, ncols=2, **place)


def _draw(axes: list[Axes], result: Search, earlier: Sequence[Earlier], hill: Hill) -> None:
    left, right = axes
    rates, mean, deviation = 10**hill.at, result.mean, 1.96 * result.deviation
    left.fill_between(rates, mean - deviation, mean + deviation, color=COLOURS[0], alpha=0.18)
    left.plot(rates, mean, **style(0))
    if result.truth:
        left.plot(rates, hill.truth, **style(1))
    scaled = result.gain - result.gain.min()
    scaled = 0.2 * scaled / max(float(scaled.max()), 1e-12)
    left.fill_between(rates, -0.25, scaled - 0.25, color=COLOURS[2], alpha=0.5)
    left.plot(10**result.x, result.y, "o", color=EARLIER, markersize=5)
    left.plot(10 ** result.x[-1], result.y[-1], "o", color=COLOURS[0], markersize=8)
    left.axvline(rates[result.gain.argmax()], color=COLOURS[2], linestyle=":")
    left.axvline(10**result.ahead, color=COLOURS[3], linestyle="--", linewidth=1)
    for old in earlier:
        _draw_regret(right, old.result.x, old.result.y, hill, color=EARLIER, linewidth=1.2)
    _draw_regret(right, result.x, result.y, hill, color=COLOURS[0], marker="o")
    if result.own:
        x, y = np.array(result.own).T
        left.plot(10**x, y, "X", color=COLOURS[3], markersize=7)
        _draw_regret(right, x, y, hill, color=COLOURS[3], marker="X", linestyle="--")


def _draw_regret(panel: Axes, x: np.ndarray, y: np.ndarray, hill: Hill, **look: Any) -> None:
    regret = np.maximum(100 * hill.regret(x, y), 0.1)[:MOST]
    panel.plot(np.arange(1, len(regret) + 1), regret, **look)


def describe(result: Search, hill: Hill) -> str:
    """Where each player's best trial stands, and how far below the top it truly is."""
    text = f"The process, {_player(result.x, result.y, hill)}"
    if result.own:
        x, y = np.array(result.own).T
        text += f". You, {_player(x, y, hill)}"
    return text


def _player(x: np.ndarray, y: np.ndarray, hill: Hill) -> str:
    best, trials = 10 ** x[y.argmax()], f"{len(x)} trial{'s' if len(x) > 1 else ''}"
    below = 100 * hill.regret(x, y)[-1]
    return f"{trials}: best at {best:.2g}, {below:.1f} points below the top"


def _code(values: Values) -> str:
    """Optuna's own search of this kind."""
    return "\n".join(
        [
            "sampler = optuna.samplers.GPSampler(seed=0, n_startup_trials=1)",
            'study = optuna.create_study(direction="maximize", sampler=sampler)',
            f"study.optimize(objective, n_trials={values['trials']})",
        ]
    )
