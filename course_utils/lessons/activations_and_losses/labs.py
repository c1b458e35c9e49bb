"""The lab of notebook 02: one hidden layer learns a curve, and shows what its units add to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor, nn
from torch.nn import functional

from ...classroom.controls import choice, slider, switch
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...classroom.training_lab import rates
from ...classroom.worker import Values
from ...engine.networks import ACTIVATIONS
from ...plots import EARLIER, GREY, style
from ...randomness import Chance

REACH, TOP = 2.5, 4.0
STEPS, LOOK_EVERY, FIRST_LOOKS = 800, 20, (0, 2, 8)
HUBER_WIDTH = 0.3  # residuals up to this count squared
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": functional.mse_loss,
    "Huber": lambda outputs, targets: functional.huber_loss(outputs, targets, delta=HUBER_WIDTH),
    "absolute": functional.l1_loss,
}


@dataclass(frozen=True)
class CurveFit:
    """A network of one input and one output at some step of its training.

    points         (places, values) [n] that it learns from
    outputs        [grid]: what it says
    contributions  [grid, unit]: each unit's output times its outgoing weight
    error          mean distance from the clean curve
    dead           how many units put out zero for every point
    """

    step: int
    points: tuple[np.ndarray, np.ndarray]
    outputs: np.ndarray
    contributions: np.ndarray
    loss: float
    error: float
    dead: int


def clean_curve(places: Tensor) -> Tensor:
    """What the points were drawn from."""
    return torch.sin(2.5 * places) + 0.4 * places


def curve_points(outliers: bool, count: int = 60) -> tuple[Tensor, Tensor]:
    """Places [n, 1] and noisy values [n, 1]; with ``outliers`` one value in ten is 3 too large."""
    generator = torch.Generator().manual_seed(0)
    places = torch.linspace(-REACH, REACH, count)[:, None]
    values = clean_curve(places) + 0.1 * torch.randn(count, 1, generator=generator)
    if outliers:
        values[torch.randperm(count, generator=generator)[: count // 10]] += 3.0
    return places, values


def curve_network(width: int, activation: str) -> nn.Sequential:
    """One input, one hidden layer, one output; every unit bends somewhere among the points."""
    model = nn.Sequential(nn.Linear(1, width), ACTIVATIONS[activation](), nn.Linear(width, 1))
    with torch.no_grad():
        bends = REACH * (2 * torch.rand(width) - 1)
        model[0].weight.normal_(0, 2)
        model[0].bias.copy_(-model[0].weight[:, 0] * bends)
        model[2].weight.normal_(0, 1 / math.sqrt(width))
        model[2].bias.zero_()
    return model


GRID = torch.linspace(-REACH, REACH, 161)[:, None]


@torch.no_grad()
def look(model: nn.Sequential, step: int, loss: float, points: tuple[Tensor, Tensor]) -> CurveFit:
    """The network as it is now."""
    places, values = (each[:, 0].numpy() for each in points)
    hidden = model[1](model[0](GRID))
    contributions = (hidden * model[2].weight[0]).numpy()
    outputs = model(GRID)
    error = (outputs - clean_curve(GRID)).abs().mean().item()
    dead = int((model[1](model[0](points[0])) == 0).all(0).sum())
    line = outputs[:, 0].numpy()
    return CurveFit(step, (places, values), line, contributions, loss, error, dead)


def learn_curve(values: Values) -> Generator[CurveFit, Values | None, None]:
    """Train with Adam on all points at once; a new learning rate may be sent in."""
    places, targets = curve_points(values["outliers"])
    with Chance(0, foreign=False):
        model = curve_network(values["width"], values["activation"])
    optimizer = torch.optim.Adam(model.parameters(), lr=values["learning_rate"])
    for step in range(STEPS + 1):
        loss = LOSSES[values["loss"]](model(places), targets)
        if step in FIRST_LOOKS or step % LOOK_EVERY == 0:
            changes = yield look(model, step, loss.item(), (places, targets))
            if changes:
                optimizer.param_groups[0]["lr"] = changes["learning_rate"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _frame(axes: list[Axes]) -> None:
    curve, units = axes
    curve.set(xlabel="input", ylabel="output")
    units.set(xlabel="input", ylabel="what each unit adds")
    for panel in axes:
        panel.set(xlim=(-REACH, REACH), ylim=(-TOP, TOP + 1))
    handles = [
        Line2D([], [], color=GREY, marker="o", linestyle="", markersize=3.5, label="points"),
        Line2D([], [], linewidth=2.2, label="network", **style(1)),
    ]
    place = {"loc": "lower left", "bbox_to_anchor": (0, 0.97), "ncols": 2, "frameon": False}
    curve.legend(handles=handles, **place)


def _draw(axes: list[Axes], fit: CurveFit, earlier: Sequence[Earlier]) -> None:
    curve, units = axes
    grid = GRID[:, 0].numpy()
    curve.plot(*fit.points, "o", color=GREY, markersize=3.5)
    for old in earlier:
        curve.plot(grid, old.result.outputs, color=EARLIER, linewidth=1.2, alpha=0.8)
    curve.plot(grid, fit.outputs, linewidth=2.2, **style(1))
    # All units as one line, with gaps: to make a line takes longer than to draw it.
    gap = np.full((1, fit.contributions.shape[1]), np.nan)
    heights = np.vstack([fit.contributions, gap]).T.ravel()
    across = np.tile(np.append(grid, np.nan), fit.contributions.shape[1])
    units.plot(across, heights, color=style(0)["color"], linewidth=0.9, alpha=0.8)


def _describe(fit: CurveFit) -> str:
    width = fit.contributions.shape[1]
    return (
        f"Step {fit.step} of {STEPS}: loss {fit.loss:.3g}; mean distance from the clean curve "
        f"{fit.error:.2g}; {fit.dead} of {width} units are dead"
    )


def _code(values: Values) -> str:
    width, activation = values["width"], ACTIVATIONS[values["activation"]]().__class__.__name__
    call = {
        "squared": "mse_loss(model(places), targets)",
        "absolute": "l1_loss(model(places), targets)",
        "Huber": f"huber_loss(model(places), targets, delta={HUBER_WIDTH})",
    }[values["loss"]]
    return (
        f"model = nn.Sequential(nn.Linear(1, {width}), nn.{activation}(), nn.Linear({width}, 1))\n"
        f"optimizer = torch.optim.Adam(model.parameters(), lr={values['learning_rate']})\n"
        f"loss = nn.functional.{call}"
    )


def curve_lab() -> Lab:
    """Activation, loss, width and learning rate of a network that learns a curve from points."""
    shapes = [name for name in ACTIVATIONS if name != "identity"]
    controls = {
        "activation": choice("activation", shapes, "relu"),
        "loss": choice("loss", list(LOSSES), "squared"),
        "width": slider("hidden units", [1, 2, 3, 5, 8, 12, 20, 50], 12),
        "learning_rate": slider("learning rate (Adam)", rates(1e-3, 1.0), 0.01),
        "outliers": switch("one point in ten is wrong"),
    }
    return Lab(
        controls,
        learn_curve,
        Picture(_frame, size=(8.4, 3.2)),
        _draw,
        _describe,
        name="a network's curve through points, and what each of its units adds",
        live=["learning_rate"],
        code=_code,
    )
