"""Figures of notebook 14: who trained what, where trials were stopped, what engines cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from IPython.display import Image
from matplotlib.axes import Axes

from ...plots import COLOURS, GREY, style
from .engines import Bill
from .supernet import ARCHITECTURES, WIDTHS
from .workers import account

DASHBOARD = (
    "Ray's dashboard in a browser, page Cluster: a list of machines with one entry, alive, its "
    "processor at 100 %, a third of its memory in use."
)


def plot_timeline(study: optuna.Study, ax: Axes) -> Axes:
    """Who trained what, and when: a bar for each trial.

    Where a worker was killed stands a cross; dots lead on to the moment at which somebody noticed.
    """
    trials, table = study.trials, account(study)
    zero = min(trial.datetime_start.timestamp() for trial in trials if trial.datetime_start)
    now = max(_end(trial) for trial in trials) - zero
    for trial, (number, row) in zip(trials, table.iterrows(), strict=True):
        start = trial.datetime_start.timestamp() - zero
        killed = study.user_attrs.get(f"killed {number}")
        end = min(now, _end(trial) - zero) if trial.datetime_complete else now
        place = row["worker"]
        if killed is None:
            ax.barh(place, end - start, 0.55, start, color=COLOURS[5], edgecolor="black")
        else:
            died = killed - zero
            ax.barh(place, died - start, 0.55, start, color="white", edgecolor="black", hatch="//")
            ax.plot([died, end], [place, place], ":", color=GREY, linewidth=2)
            ax.plot(died, place, "X", color=COLOURS[1], markersize=11)
            fate = "noticed" if trial.datetime_complete else "still “running”"
            ax.annotate("killed", (died, place + 0.36), ha="right", fontsize=9)
            ax.annotate(fate, (end, place + 0.36), ha="left", fontsize=9)
        if pd.notna(row["repeats"]):
            words = f"trial {row['repeats']} again"
            ax.annotate(words, ((start + end) / 2, place + 0.36), ha="center", fontsize=9)
    numbers = sorted(set(table["worker"]))
    ax.set(yticks=numbers, yticklabels=[f"worker {number}" for number in numbers])
    ax.set(ylim=(0.5, numbers[-1] + 0.75), xlabel="seconds since the first trial")
    ax.grid(axis="y", visible=False)
    return ax


def _end(trial: optuna.trial.FrozenTrial) -> float:
    moment = trial.datetime_complete or trial.datetime_start
    return moment.timestamp() if moment else 0.0


def plot_stopped(results: Any, epochs: int, ax: Axes) -> Axes:
    """Validation accuracy of each of Ray's trials as far as it was trained; a cross where ASHA
    stopped it, a thick line where it came to the end."""
    for result in results:
        reports = result.metrics_dataframe.drop_duplicates("training_iteration", keep="last")
        curve = reports.sort_values("training_iteration")["val_accuracy"]
        whole = len(curve) == epochs
        look = {"color": COLOURS[0], "linewidth": 2} if whole else {"color": GREY, "linewidth": 0.8}
        marker: dict[str, Any] = {
            "marker": "" if whole else "x",
            "markevery": [-1],
            "markersize": 6,
        }
        ax.plot(np.arange(1, len(curve) + 1), curve, **look, **marker)
    ax.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1), xlim=(0.7, epochs + 0.3))
    ax.set_xticks(range(1, epochs + 1))
    return ax


def plot_bills(bills: Mapping[str, Bill], ax: Axes) -> Axes:
    """Overhead of every trial (strokes) and their mean (points), for each engine."""
    for row, bill in enumerate(bills.values()):
        shown = np.maximum(bill.overhead, 1e-4)
        ax.plot(shown, np.full(len(shown), row), "|", color=GREY, markersize=12)
        ax.plot(bill.overhead.mean(), row, "o", color=COLOURS[0], markersize=7)
    ax.set(xscale="log", yticks=range(len(bills)), yticklabels=list(bills))
    ax.set(ylim=(len(bills) - 0.5, -0.5), xlabel="seconds of overhead for a trial")
    ax.set_title("What a trial costs beside its training")
    ax.grid(axis="y", visible=False)
    return ax


def plot_agreement(alone: np.ndarray, shared: np.ndarray, axes: Sequence[Axes]) -> None:
    """Accuracy alone against accuracy with shared weights [architecture]: all, and the widest."""
    for panel, chosen in zip(axes, (range(12), range(8, 12)), strict=True):
        for number, width in enumerate(WIDTHS):
            mine = [each for each in chosen if ARCHITECTURES[each][0] == width]
            marker = {"marker": "os^"[number], "linestyle": "", "color": style(number)["color"]}
            if mine:
                panel.plot(100 * alone[mine], 100 * shared[mine], label=f"width {width}", **marker)
        panel.set(xlabel="accuracy alone in %")
        panel.set_title("all twelve" if len(chosen) > 4 else "the four of width 32")
    axes[0].set_ylabel("with shared weights in %")
    axes[0].legend()
    for place in range(8, 12):
        _, activation, depth = ARCHITECTURES[place]
        point = (float(100 * alone[place]), float(100 * shared[place]))
        above: dict[str, Any] = {"xytext": (0, 8 if activation == "relu" else -16), "ha": "center"}
        words = f"{activation}, {depth} hidden"
        axes[1].annotate(words, point, textcoords="offset points", fontsize=9, **above)
    axes[1].margins(x=0.25, y=0.15)


class Dashboard(Image):
    """A stored picture of Ray's dashboard, with words for those who cannot see it."""

    def __init__(self) -> None:
        super().__init__(filename=str(Path(__file__).with_name("dashboard.png")), alt=DASHBOARD)

    def __repr__(self) -> str:
        return DASHBOARD


def picture_of_dashboard() -> Dashboard:
    """Ray's dashboard while a search ran. ``photograph.py`` takes the picture."""
    return Dashboard()
