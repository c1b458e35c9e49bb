"""What the labs of notebook 01 draw: frames that stay, and what moves upon them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D

from ...plots import COLOURS, GREY, style

# One neuron ---------------------------------------------------------------------------------------

# Half the plane's width and height: in the proportion of its panel, so that right angles are right.
REACH = (4.43, 3.2)
SUMS = 12.0  # the largest sum on the right-hand axis; what lies beyond stands at its end
NO, YES = COLOURS[0], COLOURS[1]
SURE = LinearSegmentedColormap.from_list("neuron", [NO, "white", YES])


@dataclass(frozen=True)
class Neuron:
    """Two weights, a bias, and the share of the images for which it is right."""

    weights: np.ndarray
    bias: float
    right: float

    @property
    def boundary(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Two far points of the line where the sum is zero; None without weights."""
        size = float(self.weights @ self.weights)
        if size == 0:
            return None
        foot = -self.bias * self.weights / size
        along = 20 * np.array([-self.weights[1], self.weights[0]]) / math.sqrt(size)
        return foot - along, foot + along


def neuron_frame(axes: list[Axes], points: np.ndarray, truth: np.ndarray) -> None:
    """Left the two measurements of each image; right the weighted sums and the output."""
    plane, sums = axes
    draw_points(plane, points, truth)  # for the legend: the shading will lie upon them
    plane.set(xlabel="ink in all (standardised)", ylabel="ink in the middle")
    plane.set(xlim=(-REACH[0], REACH[0]), ylim=(-REACH[1], REACH[1]))
    place = {"loc": "lower left", "bbox_to_anchor": (0, 0.97), "ncols": 2, "frameon": False}
    plane.legend(**place)
    sums.set(xlabel="weighted sum, before the bias", ylabel="output; share of the digit's images")
    sums.set(xlim=(-SUMS, SUMS), ylim=(-0.02, 1.05))
    lines = [Line2D([], [], color=GREY, linewidth=2.2, label="output"), *_digit_lines()]
    sums.legend(handles=lines, **{**place, "ncols": 3})


def draw_points(plane: Axes, points: np.ndarray, truth: np.ndarray) -> None:
    """Some images [n, 2] of each of the two digits."""
    for digit, chosen, mark, colour in (("a 3", ~truth, "o", NO), ("a 1", truth, "^", YES)):
        look = {"markersize": 3.6, "markeredgecolor": "white", "markeredgewidth": 0.3}
        plane.plot(*points[chosen][:120].T, mark, color=colour, label=digit, zorder=2.5, **look)


def _digit_lines() -> list[Line2D]:
    return [
        Line2D([], [], color=NO, linestyle=style(0)["linestyle"], label="a 3"),
        Line2D([], [], color=YES, linestyle=style(1)["linestyle"], label="a 1"),
    ]


def draw_plane(plane: Axes, neuron: Neuron, earlier: Sequence[Neuron]) -> None:
    """The output as a shade, the boundary as a line, the weights as an arrow."""
    across = np.linspace(-REACH[0], REACH[0], 60)
    up = np.linspace(-REACH[1], REACH[1], 44)[:, None]
    output = _sigmoid(neuron.weights[0] * across + neuron.weights[1] * up + neuron.bias)
    box = (-REACH[0], REACH[0], -REACH[1], REACH[1])
    plane.imshow(
        output, SURE, aspect="auto", extent=box, origin="lower", vmin=0, vmax=1, alpha=0.45
    )
    for old in earlier:
        if old.boundary is not None:
            plane.plot(*np.transpose(old.boundary), ":", color=GREY, linewidth=1)
    if neuron.boundary is not None:
        plane.plot(*np.transpose(neuron.boundary), color="black", linewidth=2.4, zorder=3)
    arrow = {"arrowstyle": "-|>", "color": "black", "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
    plane.annotate("", neuron.weights, (0, 0), arrowprops=arrow, zorder=4)
    plane.plot(*neuron.weights, "o", color="black", markersize=5, zorder=4)


def draw_sums(panel: Axes, neuron: Neuron, sums: np.ndarray, truth: np.ndarray) -> None:
    """The sums of each digit\'s images, the output for each sum, and the threshold."""
    inside = np.clip(sums, -SUMS, SUMS - 1e-6)
    for number, chosen in enumerate((~truth, truth)):
        count, edges = np.histogram(inside[chosen], 48, (-SUMS, SUMS))
        share = np.repeat(count / chosen.sum(), 2)
        panel.plot(np.repeat(edges, 2)[1:-1], share, linewidth=1.6, **style(number))
    ticks = np.linspace(-SUMS, SUMS, 200)
    panel.plot(ticks, _sigmoid(ticks + neuron.bias), color=GREY, linewidth=2.2)
    panel.axvline(-neuron.bias, color="black", linewidth=1.6, zorder=3)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(values / 2))


# A deep network -----------------------------------------------------------------------------------

DECADES = (1e-6, 1e4)
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Where the outputs lie; what lies beyond is counted at the end.
LIMITS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
ELSEWHERE = (-0.5, 3.0)


@dataclass(frozen=True)
class Profile:
    """A fresh network: what each layer puts out, how far images differ, how large gradients are."""

    outputs: list[np.ndarray]
    spread: np.ndarray
    gradient: np.ndarray
    loss: float
    limits: tuple[float, float]


def depth_frame(axes: list[Axes], limits: tuple[float, float]) -> None:
    """Left the outputs of each layer, right the sizes of both signals. Layers lie between 0 and 1,
    however many they are, so that another depth needs no other frame."""
    ridges, lines = axes
    low, high = limits
    ridges.set(xlabel="output of the activation", xlim=(low - 0.02, high + 0.02))
    ridges.set(ylabel="hidden layer", ylim=(1.03, 0), yticks=[])
    lines.set(xlabel="hidden layer", xlim=(0, 1), xticks=[])
    powers = range(-6, 5, 2)
    lines.set(ylabel="size", yscale="log", ylim=DECADES)
    # Raised figures as letters: to have matplotlib set a power takes longer than to draw the panel.
    words = [f"10{str(power).translate(RAISED)}" for power in powers]
    lines.set_yticks([10.0**power for power in powers], words)
    lines.minorticks_off()
    ridges.yaxis.labelpad = lines.xaxis.labelpad = 18  # room for the numbers of the layers
    looks = {"image differences": style(0), "gradient": style(1)}
    proxies = [Line2D([], [], label=name, **look) for name, look in looks.items()]
    place = {"loc": "lower left", "bbox_to_anchor": (0, 0.97), "ncols": 2, "frameon": False}
    lines.legend(handles=proxies, columnspacing=1.2, **place)


def draw_depth(axes: list[Axes], profile: Profile) -> None:
    """A histogram for each layer (its height as a square root), and two lines."""
    ridges, lines = axes
    depth = len(profile.spread)
    for layer in range(1, depth + 1) if depth <= 10 else range(2, depth + 1, 3):
        size = {"fontsize": 9.5}
        beside, below = ridges.get_yaxis_transform(), lines.get_xaxis_transform()
        ridges.text(-0.02, layer / depth, layer, transform=beside, ha="right", va="center", **size)
        place = (layer - 0.5) / depth
        lines.text(place, -0.03, layer, transform=below, ha="center", va="top", **size)
    low, high = profile.limits
    x, y = [], []
    for layer, array in enumerate(profile.outputs, start=1):
        inside = np.clip(np.nan_to_num(array, posinf=high, neginf=low), low, high)
        count, edges = np.histogram(inside, 60, (low, high))
        x += [*np.repeat(edges, 2), np.nan]
        tops = layer - 0.85 * np.sqrt(count / count.max())
        y += [layer, *np.repeat(tops, 2), layer, np.nan]
    ridges.plot(x, np.array(y) / depth, color=style(0)["color"], linewidth=1.1)
    layers = (np.arange(depth) + 0.5) / depth
    for number, values in enumerate((profile.spread, profile.gradient)):
        seen = np.where(values > 0, values, np.nan)
        lines.plot(layers, seen, marker="os"[number], markersize=4, **style(number))
    both = np.concatenate([profile.spread, profile.gradient])
    words = ["below"] * bool((both < DECADES[0]).any()) + ["above"] * bool(
        (both > DECADES[1]).any()
    )
    if words:
        text = f"some layers lie {' and '.join(words)} this axis"
        lines.text(0.5, 0.5, text, ha="center", transform=lines.transAxes, fontsize=10)
