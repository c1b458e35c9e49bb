"""The figures of notebook 09: a study, the bank, the races, one knob by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from ...bank import Bank
from ...evidence import mean_interval
from ...plots import COLOURS, style
from ...races import Races
from ...replay import Replay

SHOWN = (  # of the stored methods: those that the figure of the races compares
    "random",
    "grid",
    "quasi-random",
    "CMA-ES",
    "TPE",
    "GP",
    "random + median",
    "successive halving",
    "Hyperband",
    "TPE + median",
)


def plot_study(study: optuna.Study, knob: str = "learning_rate") -> Figure:
    """A study with real values: each trial's score against a knob, with the ends of the box dashed;
    and all learning curves, which end where a trial was stopped. Where trials reported none, the
    right-hand panel has the scores in the order of the trials."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.2), sharey=True)
    kinds = ("finished", "o", TrialState.COMPLETE), ("stopped early", "x", TrialState.PRUNED)
    curved = any(trial.intermediate_values for trial in study.trials)
    for number, (name, marker, state) in enumerate(kinds):
        trials = [trial for trial in study.trials if trial.state == state]
        look = {"color": COLOURS[number], "marker": marker}
        places, scores = [trial.params[knob] for trial in trials], list(map(_score, trials))
        left.plot(places, scores, label=name, linestyle="none", **look)
        for trial in trials if curved else []:
            epochs = [step + 1 for step in trial.intermediate_values]
            values = list(trial.intermediate_values.values())
            right.plot(epochs, values, linewidth=1.1, markevery=[-1], **look)
        if not curved:
            right.plot([trial.number for trial in trials], scores, linestyle="none", **look)
    best = study.best_trial
    left.plot(best.params[knob], best.value, "*", markersize=15, color=COLOURS[2], label="best")
    box: Any = best.distributions[knob]
    for edge in (box.low, box.high):
        left.axvline(edge, color="black", linestyle="--", linewidth=1)
    left.set(xscale="log" if box.log else "linear", xlabel=knob.replace("_", " "))
    left.set(ylabel="score of a trial", title="Does the best lie at an edge of the box?")
    titles = {True: "Which trials were stopped, and when?", False: "Do later trials do better?"}
    right.set(xlabel="epoch" if curved else "trial", title=titles[curved])
    left.legend(loc="lower center")
    return figure


def _score(trial: FrozenTrial) -> float:
    """The value of a trial, or, of one that was stopped, the last that it reported."""
    steps = trial.intermediate_values
    if trial.value is not None:
        return trial.value
    return steps[max(steps)] if steps else float("nan")


def plot_bank(bank: Bank, batch_size: int = 64, worst: float = 0.8) -> Figure:
    """The landscape for one batch size: a panel for each dropout, with real values on both axes;
    what lies below ``worst`` has the colour of ``worst``."""
    scores = bank.landscape()[:, bank.axes["batch_size"].index(batch_size)]
    rates, decays = bank.axes["learning_rate"], bank.axes["weight_decay"]
    figure, panels = plt.subplots(1, 4, figsize=(9.4, 2.5), sharey=True)
    for number, (panel, dropout) in enumerate(zip(panels, bank.axes["dropout"], strict=True)):
        image = panel.imshow(
            100 * scores[:, number].T,
            origin="lower",
            aspect="auto",
            vmin=100 * worst,
            vmax=100 * float(scores.max()),
        )
        panel.set_title(f"dropout {dropout:g}")
        panel.set_xticks([1, 5, 9], [f"{rates[place]:g}" for place in (1, 5, 9)])
        panel.set_yticks(range(len(decays)), [f"{decay:g}" for decay in decays])
        panel.grid(visible=False)
    panels[0].set_ylabel("weight decay")
    figure.supxlabel("learning rate", fontsize=10.5)
    figure.colorbar(image, ax=panels, label="accuracy in %", extend="min")
    return figure


def plot_grids(lost: Mapping[str, tuple[np.ndarray, np.ndarray]], ax: Axes | None = None) -> Axes:
    """Mean regret of a grid and of random search, a pair for each grid: {grid: (grid's regrets
    [race], random's [race])}, with 95 % intervals."""
    ax = plt.gca() if ax is None else ax
    for number, name in enumerate(("grid", "random search")):
        each = [mean_interval(100 * pair[number]) for pair in lost.values()]
        middle = np.array([estimate.value for estimate in each])
        half = np.array([estimate.high - estimate.value for estimate in each])
        rows = np.arange(len(each)) + (0.12 if number else -0.12)
        look: dict[str, Any] = {"color": COLOURS[number], "marker": "os"[number]}
        ax.errorbar(middle, rows, xerr=half, linestyle="none", capsize=3, label=name, **look)
    ax.set_yticks(range(len(lost)), list(lost))
    ax.invert_yaxis()
    ax.set(xlabel="mean regret in points (smaller is better)", xlim=(0, None))
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return ax


def plot_searches(runs: Mapping[str, Replay], bank: Bank, ax: Axes | None = None) -> Axes:
    """What single searches would hand over, in points below the best, as their epochs are spent."""
    ax = plt.gca() if ax is None else ax
    for number, (name, run) in enumerate(runs.items()):
        regret = 100 * run.regret(bank.truth())
        ax.step(run.spent, regret, where="post", label=name, **style(number))
    ax.set(xlabel="epochs spent", ylabel="regret in points", ylim=(0, 5), xlim=(0, None))
    ax.legend(loc="upper right")
    return ax


def plot_races(races: Races, methods: Sequence[str] = SHOWN, baseline: str = "random") -> Figure:
    """Mean regret of each method as its budget is spent, the band that holds eight of ten searches,
    the baseline dashed, and the random start-up phase in grey. Titles say what a search costs."""
    figure, panels = plt.subplots(2, 5, figsize=(10.4, 4.4), sharex=True, sharey=True)
    compared = 100 * np.nanmean(races.of(baseline), axis=0)
    for panel, name in zip(panels.flat, methods, strict=True):
        regret, row = 100 * races.of(name), races.methods.index(name)
        low, high = np.nanquantile(regret, [0.1, 0.9], axis=0)
        panel.axvspan(0, np.median(races.startup[row]), color="black", alpha=0.08, linewidth=0)
        panel.fill_between(races.budgets, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
        panel.plot(races.budgets, np.nanmean(regret, axis=0), color=COLOURS[0])
        panel.plot(races.budgets, compared, **style(1) | {"linewidth": 1.3})
        panel.set_title(f"{name}\n{np.median(races.seconds[row]):.2g} s", fontsize=9.5)
        panel.set(ylim=(0, 5), xlim=(0, races.budgets[-1]))
        panel.set_xticks([0, 500, 1000, 1500])
    figure.supxlabel("epochs spent", fontsize=10.5)
    figure.supylabel("regret in points", fontsize=10.5)
    return figure


def plot_isolation(
    values: Sequence[float], lines: Mapping[str, np.ndarray], ax: Axes | None = None
) -> Axes:
    """Accuracy for each dropout, a line for each way to treat the other knobs."""
    ax = plt.gca() if ax is None else ax
    for number, (name, accuracies) in enumerate(lines.items()):
        ax.plot(values, 100 * accuracies, marker="os"[number % 2], label=name, **style(number))
    ax.set(xlabel="dropout", ylabel="accuracy in %", xticks=list(values))
    ax.legend(loc="lower left")
    return ax
