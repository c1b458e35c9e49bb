"""Figures: they draw what they are given, show nothing, and leave the global style alone."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_utils import Config, Estimate, fit, load_mnist, plots


@pytest.fixture(scope="module")
def history():
    data = load_mnist(subset=200, image_size=7)
    return fit(
        [
            Config(learning_rate=rate, width=8, epochs=3, seed=seed)
            for rate in (1e-3, 1e-2)
            for seed in range(3)
        ],
        data,
    )


@pytest.fixture
def ax():
    return Figure().subplots()


def test_every_plot_returns_its_axes_and_keeps_the_global_style(history, ax):
    before = dict(mpl.rcParams)
    estimate = Estimate(0.8, 0.7, 0.9, 8)
    drawn = [
        plots.plot_curves(
            {str(rate): runs for rate, runs in history.by("learning_rate").items()}, ax=ax
        ),
        plots.plot_gap(history.best("learning_rate"), "loss", ax=Figure().subplots()),
        plots.plot_basin({"AdamW": history}, ax=Figure().subplots()),
        plots.plot_estimates({"one": estimate}, ax=Figure().subplots(), zero=True),
        plots.plot_waterfall(
            estimate, {"up": Estimate(0.05, 0.04, 0.06, 8)}, ax=Figure().subplots()
        ),
        plots.plot_histograms({"weights": torch.randn(100)}, ax=Figure().subplots(), log=True),
        plots.plot_confusion(np.eye(3, dtype=int) * 5 + 1, ax=Figure().subplots()),
    ]
    assert all(isinstance(each, Axes) and each.has_data() for each in drawn)
    assert dict(mpl.rcParams) == before


def test_curves_are_the_means_of_the_runs(history, ax):
    runs = history.best("learning_rate")
    plots.plot_curves({"all": runs}, ax=ax)
    assert ax.lines[0].get_ydata() == pytest.approx(runs.mean("val_accuracy"))


def test_a_waterfall_ends_where_the_gains_add_up_to(ax):
    gains = {"up": Estimate(0.10, 0.09, 0.11, 8), "down": Estimate(-0.04, -0.05, -0.03, 8)}
    plots.plot_waterfall(Estimate(0.80, 0.79, 0.81, 8), gains, ax=ax)
    assert "86.0 %" in ax.texts[-1].get_text()


def test_curves_differ_in_line_style_as_well_as_in_colour():
    styles = [plots.style(number) for number in range(7)]
    assert len({each["color"] for each in styles}) == 7
    assert len({str(each["linestyle"]) for each in styles}) == 7
