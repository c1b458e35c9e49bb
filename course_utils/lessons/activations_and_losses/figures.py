"""The figures of notebook 02."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ...evidence import Estimate, mean_interval
from ...plots import plot_band, style
from .experiments import three_ways

Function = Callable[[Tensor], Tensor]


TITLES = {"relu": "ReLU", "leaky_relu": "Leaky ReLU", "gelu": "GELU", "silu": "SiLU"}


def plot_activations(activations: Sequence[Function]) -> Figure:
    """Each activation with its slope, which autograd takes from it; six panels at most."""
    figure, axes = plt.subplots(2, 3, figsize=(8.6, 4.3), sharex=True, sharey=True)
    sums = torch.linspace(-5, 5, 401, requires_grad=True)
    for panel, activation in zip(axes.flat, activations, strict=False):
        name = TITLES.get(activation.__name__, activation.__name__)
        outputs = activation(sums)
        slopes = torch.autograd.grad(outputs.sum(), sums)[0]
        panel.plot(sums.detach(), outputs.detach(), label="output", **style(0))
        panel.plot(sums.detach(), slopes, label="slope", **style(1))
        panel.set(title=f"{name}: slope up to {slopes.max():.3g}")
        panel.set(xlim=(-5, 5), ylim=(-1.2, 2.2))
    for panel in axes[1]:
        panel.set_xlabel("sum z")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2)
    return figure


def plot_gradients(profiles: Mapping[str, np.ndarray]) -> Figure:
    """What is left of the gradient in each hidden layer (geometric mean over the seeds)."""
    figure, panel = plt.subplots(figsize=(7.4, 3.4))
    for number, (name, values) in enumerate(profiles.items()):
        bands = [mean_interval(column) for column in np.log10(values).T]
        ends = [[getattr(band, end) for band in bands] for end in ("value", "low", "high")]
        middle, low, high = 10.0 ** np.array(ends)
        plot_band(np.arange(1, len(bands) + 1), (middle, low, high), name, number, panel)
    panel.set(yscale="log", xlabel="hidden layer", ylabel="gradient: what is left")
    panel.set_xticks(range(1, values.shape[1] + 1))
    figure.legend(*panel.get_legend_handles_labels(), loc="outside right upper")
    return figure


def plot_dead(
    rates: Sequence[float],
    dead: Mapping[str, Sequence[Estimate]],
    accuracies: Mapping[str, Sequence[Estimate]],
) -> Figure:
    """Share of dead units and accuracy, against the learning rate."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.2))
    for number, name in enumerate(dead):
        plot_band(rates, dead[name], name, number, left)
        plot_band(rates, accuracies[name], name, number, right)
    for panel, quantity in ((left, "share of dead units"), (right, "validation accuracy")):
        panel.set(xscale="log", ylim=(-0.03, 1.03), xlabel="learning rate (AdamW)", ylabel=quantity)
    left.legend(loc="upper left")
    return figure


def plot_range(highest: float = 150.0) -> Figure:
    """Binary cross-entropy of a logit whose label is 0, computed in three ways (float32)."""
    logits = torch.linspace(0, highest, 1501)
    figure, panel = plt.subplots(figsize=(6.4, 3.2))
    for number, (name, losses) in enumerate(three_ways(logits).items()):
        finite = losses.isfinite()
        width = (5.0, 3.0, 1.6)[number]
        panel.plot(logits[finite], losses[finite], label=name, **style(number), linewidth=width)
    panel.set(xlabel="logit (the label is 0)", ylabel="loss", ylim=(0, highest))
    panel.legend(loc="upper left")
    return figure
