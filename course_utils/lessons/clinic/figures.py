"""How a chart is drawn, and written."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...plots import EARLIER, GREY, style
from .charts import CHANCE_LOSS, Chart
from .faults import symptoms

LOWEST, HIGHEST = -6.0, 3.0  # decades that a panel shows


def plot_chart(chart: Chart, healthy: Chart | None = None, title: str = "") -> Figure:
    """A patient's curves, and below them its facts; a healthy patient's curves in grey."""
    figure = plt.figure(figsize=(8.2, 5.0))
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.5, 1))
    axes = list(upper.subplots(1, 4))
    for number, ax in enumerate(axes):
        frame_panel(ax, number)
        ax.locator_params(nbins=4)
    draw_curves(axes, chart, healthy)
    if title:
        upper.suptitle(title, fontweight="bold", fontsize=11)
    facts = list(facts_of(chart).items())
    half = -(-len(facts) // 2)
    for column, part in enumerate((facts[:half], facts[half:])):
        text = "\n".join(f"{name:<27}{value:>13}" for name, value in part)
        lower.text(0.02 + 0.5 * column, 0.97, text, va="top", family="monospace", fontsize=8.5)
    return figure


PANELS = ("loss", "accuracy", "gradient norm", "update ratio")


def frame_panel(ax: Axes, number: int) -> None:
    """What stays of a panel: its limits and labels."""
    ax.set_title(PANELS[number], fontsize=9.5)
    ax.set_xlabel("epoch" if number == 1 else "step")
    limits = ((0, 4), (0, 1.02), (LOWEST, HIGHEST), (LOWEST, 1))[number]
    ax.set_ylim(*limits)
    if number == 1:
        ax.xaxis.get_major_locator().set_params(integer=True)
    if number >= 2:
        ax.set_ylabel("log10")
    if number == 0:
        ax.axhline(CHANCE_LOSS, color=GREY, linewidth=1, linestyle=(0, (2, 2)))


def draw_curves(
    axes: list[Axes], chart: Chart, other: Chart | None = None, legend: bool = True
) -> None:
    """The curves of a chart on four axes; those of another one in grey, behind."""
    loss, accuracy, norms, ratios = axes
    top = loss.get_ylim()[1]
    if other is not None:
        grey = {"color": EARLIER, "linewidth": 1, "alpha": 0.7}
        loss.plot(other.loss, **grey)
        accuracy.plot(_epochs(other), other.accuracy["test"], **grey)
        for ax, quantity in ((norms, "gradient_norm"), (ratios, "update_ratio")):
            table = _logarithms(other, quantity)
            ax.plot(table.index, table.mean(axis=1), **grey)
    loss.plot(np.minimum(chart.loss, 0.99 * top), linewidth=1.2, **style(0))
    for number, (name, values) in enumerate(chart.accuracy.items()):
        accuracy.plot(_epochs(chart), values, label=name, **style(number))
    for ax, quantity in ((norms, "gradient_norm"), (ratios, "update_ratio")):
        table = _logarithms(chart, quantity)
        for name in table.columns[1:-1]:
            ax.plot(table.index, table[name], color=GREY, linewidth=0.6, alpha=0.7)
        for number, (name, place) in enumerate((("first layer", 0), ("last layer", -1))):
            ax.plot(table.index, table.iloc[:, place], label=name, **style(number))
    for ax in (accuracy, norms) if legend else ():
        ax.legend(fontsize=8, loc="best", handlelength=2)


def _epochs(chart: Chart) -> np.ndarray:
    return np.arange(1, len(chart.accuracy["test"]) + 1)


def _logarithms(chart: Chart, quantity: str) -> pd.DataFrame:
    """log10 of a quantity by layer, within what the panels show; NaN where there is no gradient."""
    table = chart.instruments[quantity]
    if quantity == "gradient_norm":
        with np.errstate(divide="ignore"):
            table = np.log10(table)
    return table.clip(LOWEST, HIGHEST)


def plot_symptoms(charts: dict[str, Chart], ax: Axes | None = None) -> Axes:
    """Patients down, signs across: whose chart shows which sign."""
    ax = plt.gca() if ax is None else ax
    names = list(charts)
    grid = np.array([[sign in symptoms(charts[name]) for sign in names] for name in names])
    ax.imshow(grid, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
    ax.set(yticks=range(len(names)), yticklabels=names, xticks=range(len(names)))
    ax.set_xticklabels(range(1, len(names) + 1), fontsize=8.5)
    ax.set_yticklabels([f"{name}  {row}" for row, name in enumerate(names, 1)], fontsize=8.5)
    ax.set(xlabel="the sign of fault number ...")
    ax.grid(visible=False)
    return ax


def facts_of(chart: Chart) -> dict[str, str]:
    """{what: value} for all that needs no curve."""
    return {name: value for group in fact_groups(chart).values() for name, value in group.items()}


def fact_groups(chart: Chart) -> dict[str, dict[str, str]]:
    """{instrument: {what: value}}: the facts by the instrument that one takes for them."""
    facts = chart.facts
    ended = np.flatnonzero(~np.isfinite(chart.loss))
    silent = int(np.isnan(chart.norms).all(0).sum())
    after = chart.learning_rate[min(chart.steps_per_epoch, len(chart.learning_rate) - 1)]
    saturated = chart.saturated()
    return {
        "losses": {
            "first loss (log 10 is 2.30)": f"{facts['first loss']:.2f}",
            "smallest loss": f"{np.nanmin(chart.loss):.2f}",
            "loss not a number": f"from step {ended[0]}" if len(ended) else "never",
        },
        "data": {
            "training pixels: mean, std": f"{facts['input mean']:.2g}, {facts['input std']:.2g}",
            "test pixels: mean, std": f"{facts['test mean']:.2g}, {facts['test std']:.2g}",
            "test images in training": f"{facts['shared images']:.0f}",
            "neighbours share a label": _percent(facts["neighbours agree"]),
            "classes in the first batch": f"{facts['classes in a batch']:.0f}",
        },
        "activations": {
            "dead units at the start": _percent(chart.dead()),
            "saturated at the start": "no sigmoid" if np.isnan(saturated) else _percent(saturated),
            "spread kept between images": f"{facts['spread kept']:.2g}",
        },
        "training": {
            "learning rate, first epoch": f"{chart.learning_rate[0]:.2g}",
            "learning rate after it": f"{after:.2g}",
            "cosine to gradient before": f"{np.median(chart.alignment[:10]):.2f}",
            "layers without a gradient": f"{silent} of {chart.norms.shape[1]}",
        },
        "weights": {
            "norm of weights, end/start": f"{facts['weights kept']:.2g}",
            "units that are copies": _percent(facts["identical units"]),
        },
        "evaluation": {"two evaluations differ": _percent(facts["evaluations disagree"])},
    }


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
