"""The figures of notebook 10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...engine.history import History
from ...evidence import Estimate
from ...plots import GREY, plot_estimates, plot_waterfall, style
from ...protocol import Trial

MARKERS = "os"


def plot_ladder(
    rungs: Mapping[str, Mapping[str, Estimate]],
    reported: Mapping[str, float],
    ax: Axes | None = None,
) -> Axes:
    """Accuracies {patient: {rung: Estimate}} with their intervals, and crosses for the reports."""
    ax = plt.gca() if ax is None else ax
    for number, (patient, measured) in enumerate(rungs.items()):
        for row, rung in enumerate(measured):
            _interval(ax, measured[rung], row + 0.24 * number - 0.12, number, patient)
    crosses = [100 * reported[rung] for rung in reported]
    ax.plot(crosses, range(len(crosses)), "x", color="black", markersize=9, label="the article")
    ax.set(yticks=range(len(reported)), yticklabels=list(reported))
    ax.set(ylim=(len(reported) - 0.5, -0.6), xlabel="validation accuracy in %")
    ax.grid(axis="y", visible=False)
    _legend_once(ax)
    return ax


def plot_two_patients(charts: Mapping[str, History], trials: Mapping[str, Trial]) -> Figure:
    """The chart of each patient, and beside it what each treatment gains, on equal terms."""
    figure, (chart, cures) = plt.subplots(
        1, 2, figsize=(9.6, 3.1), gridspec_kw={"width_ratios": [1, 1.75]}
    )
    for row, history in enumerate(charts.values()):
        known, new = (100 * history.final(f"{part}_accuracy").mean() for part in ("train", "val"))
        colour = style(row)["color"]
        chart.plot([new, known], [row, row], color=colour, linewidth=7, alpha=0.3)
        for value, marker, words in ((new, "o", "new digits"), (known, "D", "training")):
            chart.plot(value, row, marker, color=colour, markersize=7)
            place: dict[str, Any] = {
                "xytext": (0, 10),
                "textcoords": "offset points",
                "ha": "center",
            }
            chart.annotate(f"{value:.0f} %\n{words}", (value, row), fontsize=9, **place)
    chart.set(yticks=range(len(charts)), yticklabels=list(charts), ylim=(len(charts) - 0.6, -0.75))
    chart.set(xlim=(77, 105), xlabel="accuracy in %", title="The same chart ...")
    for number, (patient, trial) in enumerate(trials.items()):
        for row, gain in enumerate(trial.gains().values()):
            _interval(cures, gain, row + 0.3 * number - 0.15, number, patient, signed=True)
    arms = list(next(iter(trials.values())).gains())
    cures.axvline(0, color=GREY, linewidth=1)
    cures.set(yticks=range(len(arms)), yticklabels=arms, ylim=(len(arms) - 0.5, -0.6))
    cures.set(xlabel="points of validation accuracy gained", title="... and different cures")
    for ax in (chart, cures):
        ax.grid(axis="y", visible=False)
    _legend_once(cures)
    return figure


def plot_inside(
    answers: Mapping[str, np.ndarray], gradients: Mapping[str, Sequence[float]]
) -> Figure:
    """Left: histograms of hidden answers in [0, 1]. Right: a point for each seed's gradient."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.2))
    for number, (name, values) in enumerate(answers.items()):
        density, edges = np.histogram(np.ravel(values), 40, (0, 1), density=True)
        left.stairs(density, edges, label=name, linewidth=1.6, **style(number))
    left.set(xlabel="answer of a hidden unit", ylabel="density", title="A's hidden units")
    left.legend(loc="upper center", frameon=False)
    for row, norms in enumerate(gradients.values()):
        shown = {"markersize": 7, "alpha": 0.5, "color": style(row)["color"]}
        right.plot(norms, [row] * len(norms), MARKERS[row % 2], **shown)
        text: dict[str, Any] = {
            "xytext": (0, 7),
            "textcoords": "offset points",
            "ha": "center",
            "fontsize": 9,
        }
        middle = float(np.median(norms))
        right.annotate(f"{middle:.2g}", (middle, row), **text)
    right.set(xscale="log", yticks=range(len(gradients)), yticklabels=list(gradients))
    right.set(ylim=(len(gradients) - 0.5, -0.7), xlabel="norm of the first layer's gradient")
    right.margins(x=0.12)
    right.set_title("Each point is a seed")
    return figure


def plot_recipe(
    start: Estimate, steps: Mapping[str, Estimate], losses: Mapping[str, Estimate], name: str
) -> Figure:
    """Left: the waterfall of what each part added. Right: what is lost when one is left out."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9.8, 3.1), gridspec_kw={"width_ratios": [1.35, 1]}
    )
    plot_waterfall(start, steps, ax=left, name=name).set_title("Added one after the other")
    plot_estimates(losses, ax=right, zero=True).set_title("All but one")
    right.set_xlabel("points lost without it")
    return figure


def plot_search(
    study: optuna.Study, confirmed: Mapping[str, Estimate], ax: Axes | None = None
) -> Axes:
    """Every finished trial, the best so far; and right of them, what fresh seeds and images say."""
    ax = plt.gca() if ax is None else ax
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    numbers = [each.number + 1 for each in done]
    values = [100 * each.values[0] for each in done]
    ax.plot(numbers, values, "o", label="trial, one seed", markersize=5, color=style(0)["color"])
    best = np.maximum.accumulate(values)
    ax.step(numbers, best, where="post", color="black", linewidth=1.4, label="best so far")
    last = len(study.trials)
    for number, (name, each) in enumerate(confirmed.items(), start=1):
        place, colour = last * (1 + 0.07 * number), style(number)["color"]
        ax.plot([place, place], [100 * each.low, 100 * each.high], color=colour, linewidth=2.4)
        ax.plot(place, 100 * each.value, MARKERS[number % 2], color=colour, label=name)
    ax.set(xlabel="trial", ylabel="accuracy in %", ylim=(85, 100))
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return ax


def _interval(
    ax: Axes, each: Estimate, y: float, number: int, label: str, signed: bool = False
) -> None:
    """An estimate as a point with its interval and its number, at a height of its own."""
    colour = style(number)["color"]
    ax.plot([100 * each.low, 100 * each.high], [y, y], color=colour, linewidth=2.2)
    ax.plot(100 * each.value, y, MARKERS[number % 2], color=colour, markersize=6, label=label)
    text = f"{100 * each.value:+.1f}" if signed else f"{100 * each.value:.1f}"
    place: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
    ax.annotate(text, (100 * each.high, y), fontsize=9, **place)


def _legend_once(ax: Axes) -> None:
    """Each label once, to the right."""
    handles, labels = ax.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    ax.legend(
        once.values(), once.keys(), loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False
    )
