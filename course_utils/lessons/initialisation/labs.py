"""The labs of notebook 01: one neuron's boundary, and the size of the weights in a deep network."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from ...classroom.controls import choice, slider
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...classroom.worker import Values
from ...engine.data import Dataset
from ...engine.networks import ACTIVATIONS, make_mlp
from ...randomness import Chance
from .experiments import signal_profile
from .lab_figures import (
    ELSEWHERE,
    LIMITS,
    Neuron,
    Profile,
    depth_frame,
    draw_depth,
    draw_plane,
    draw_points,
    draw_sums,
    neuron_frame,
)

# One neuron ---------------------------------------------------------------------------------------

TURNS = [step / 4 for step in range(-12, 13)]
SHIFTS = [step / 4 for step in range(-20, 21)]


def neuron_lab(features: Tensor, labels: Tensor) -> Lab:
    """One neuron with two inputs [n, 2]; labels [n] are 1 where it should say yes.

    The pointer takes the tip of the arrow (both weights) on the left, the threshold (the bias) on
    the right.
    """
    points, truth = features.cpu().numpy(), labels.cpu().numpy() > 0.5
    controls = {
        "weight_of_all_ink": slider("weight: all ink", TURNS, 1.0),
        "weight_of_middle_ink": slider("weight: middle ink", TURNS, 1.0),
        "bias": slider("bias", SHIFTS, 0.0),
    }

    def run(values: Values) -> Generator[Neuron, Values | None, None]:
        weights = np.array([values["weight_of_all_ink"], values["weight_of_middle_ink"]])
        right = ((points @ weights + values["bias"] > 0) == truth).mean()
        yield Neuron(weights, values["bias"], float(right))

    def draw(axes: list[Axes], neuron: Neuron, earlier: Sequence[Earlier]) -> None:
        draw_plane(axes[0], neuron, [each.result for each in earlier])
        draw_points(axes[0], points, truth)
        draw_sums(axes[1], neuron, points @ neuron.weights, truth)

    return Lab(
        controls,
        run,
        Picture(lambda axes: neuron_frame(axes, points, truth), size=(8.4, 3.3)),
        draw,
        _describe_neuron,
        name="one neuron: its boundary between ones and threes, and its sums",
        point=point_at_neuron,
        code=_neuron_code,
    )


def point_at_neuron(panel: int, x: float, y: float, values: Values) -> Values:
    """What a pointer sets: on the plane both weights, on the sums the threshold, so the bias."""
    if panel == 0:
        return {
            "weight_of_all_ink": _nearest(TURNS, x),
            "weight_of_middle_ink": _nearest(TURNS, y),
        }
    return {"bias": _nearest(SHIFTS, -x)}


def _nearest(options: Sequence[float], value: float) -> float:
    return min(options, key=lambda option: abs(option - value))


def _describe_neuron(neuron: Neuron) -> str:
    first, second = neuron.weights
    return (
        f"sum = {first:g} × all ink {second:+g} × middle ink {neuron.bias:+g}; right for "
        f"{100 * neuron.right:.0f} % of the images"
    )


def _neuron_code(values: Values) -> str:
    weights = [values["weight_of_all_ink"], values["weight_of_middle_ink"]]
    return f"weights, bias = {weights}, {values['bias']}"


# A deep network -----------------------------------------------------------------------------------

WIDTH = 100
SIZES = [0.1, 0.3, 0.58, 0.8, 1.0, 1.2, 1.41, 1.7, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0]


def depth_lab(dataset: Dataset, images: int = 200) -> Lab:
    """Depth, activation and size of the weights of a network that has not learnt anything yet."""
    controls = {
        "depth": slider("hidden layers", [2, 3, 5, 10, 15, 20], 10),
        "activation": choice("activation", [n for n in ACTIVATIONS if n != "identity"], "relu"),
        "size": slider("size, σ times √n", SIZES, 1.0),
    }
    batch, shown = dataset.val.first(images), {"limits": ELSEWHERE}
    picture = Picture(lambda axes: depth_frame(axes, shown["limits"]), size=(8.4, 3.3))

    def run(values: Values) -> Generator[Profile, Values | None, None]:
        limits = LIMITS.get(values["activation"], ELSEWHERE)
        if limits != shown["limits"]:
            shown["limits"] = limits
            picture.renew()
        with Chance(0, foreign=False):
            model = sized_network(batch.images[0].numel(), dataset.classes, **values)
        model = model.to(batch.images.device)
        spread, gradient, loss = signal_profile(model, batch)
        yield Profile(_outputs(model, batch.images), spread, gradient, loss, limits)

    return Lab(
        controls,
        run,
        picture,
        lambda axes, profile, earlier: draw_depth(axes, profile),
        lambda profile: _describe_depth(profile, dataset.classes),
        name="a fresh network's outputs, and its signals from layer to layer",
        code=_depth_code,
    )


def sized_network(
    inputs: int, outputs: int, depth: int, activation: str, size: float
) -> nn.Sequential:
    """A dense network; the weights of a layer have the standard deviation ``size`` / √inputs."""
    model = make_mlp(inputs, WIDTH, depth, outputs, activation)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=size / math.sqrt(layer.in_features))
    return model


@torch.no_grad()
def _outputs(model: nn.Sequential, images: Tensor) -> list[np.ndarray]:
    """The outputs of every activation, as flat arrays."""
    kinds, arrays = tuple(type(make()) for make in ACTIVATIONS.values()), []
    for layer in model:
        images = layer(images)
        if isinstance(layer, kinds):
            arrays.append(images.flatten().cpu().numpy())
    return arrays


def _describe_depth(profile: Profile, classes: int) -> str:
    forward = profile.spread[-1] / profile.spread[0] if profile.spread[0] else 0.0
    backward = profile.gradient[0] / profile.gradient[-1] if profile.gradient[-1] else 0.0
    return (
        f"From the first to the last layer, differences between images are multiplied by "
        f"{forward:.2g}; from the last to the first, gradients by {backward:.2g}. First loss "
        f"{profile.loss:.3g} (log {classes} = {math.log(classes):.2f})"
    )


def _depth_code(values: dict[str, Any]) -> str:
    network = f"make_mlp(196, {WIDTH}, {values['depth']}, activation={values['activation']!r})"
    return (
        f"model = {network}\nfor layer in model:\n    if isinstance(layer, torch.nn.Linear):\n"
        f"        scale = {values['size']} / layer.in_features**0.5\n"
        "        torch.nn.init.normal_(layer.weight, std=scale)"
    )
