"""The lab of notebook 03: a bowl that follows the pointer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes

from ...classroom.controls import slider
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...classroom.worker import Values
from ...plots import EARLIER, style
from .bowl import STEPS, Descent, descend, distances_after

RATES = [float(f"{rate:.2g}") for rate in np.geomspace(0.003, 3, 61)] + [0.035]
RATES = sorted(set(RATES))
FLAT = [float(place) for place in np.arange(-4.5, 4.6, 0.5)]
STEEP = [float(place) for place in np.arange(-2.5, 2.6, 0.25)]
HEIGHTS = np.linspace(0.6, 7.5, 9)  # of the level lines, as distances along the flat direction
NEAREST, FARTHEST = 1e-6, 1e6
BY_RATE = 2  # the panel at the right


def bowl_lab() -> Lab:
    """Learning rate, momentum, steepness and start: fifty steps of plain SGD in a bowl.

    A pointer on the map sets the start; on the right-hand panel, the learning rate.
    """
    controls = {
        "learning_rate": slider("learning rate", RATES, 0.035),
        "momentum": slider("momentum", [0.0, 0.5, 0.8, 0.9, 0.95, 0.99], 0.0),
        "steepness": slider("steepness", [1.0, 2.0, 5.0, 10.0, 20.0, 50.0], 50.0),
        "flat": slider("start, flat direction", FLAT, -4.0),
        "steep": slider("start, steep direction", STEEP, 1.0),
    }
    return Lab(
        controls,
        _run,
        Picture(_frame, columns=3),
        _draw,
        describe_descent,
        name="fifty steps of SGD in a bowl, and where they end for each learning rate",
        point=_point,
        code=_code,
    )


def _run(values: Values) -> Iterator[Descent]:  # type: ignore[misc]
    start = (values["flat"], values["steep"])
    yield descend(values["learning_rate"], values["momentum"], values["steepness"], start)


def _point(panel: int, x: float, y: float, values: Values) -> Values:
    """What a pointer sets: the start on the map, the learning rate on the right."""
    if panel == 0:
        return {"flat": _nearest(FLAT, x), "steep": _nearest(STEEP, y)}
    if panel == BY_RATE:
        return {"learning_rate": RATES[int(np.abs(np.log(np.array(RATES) / x)).argmin())]}
    return {}


def _nearest(options: Sequence[float], place: float) -> float:
    return min(options, key=lambda option: abs(option - place))


def _frame(axes: list[Axes]) -> None:
    chart, distance, by_rate = axes
    chart.set(xlim=(-5, 5), ylim=(-3, 3), xlabel="flat direction", ylabel="steep direction")
    chart.set_title("the path")
    distance.set(xlim=(0, STEPS), xlabel="step", yscale="log", ylim=(NEAREST, FARTHEST))
    distance.set_title("distance from bottom")
    by_rate.set(xscale="log", xlim=(RATES[0], RATES[-1]), xlabel="learning rate")
    by_rate.set(yscale="log", ylim=(NEAREST, FARTHEST))
    by_rate.set_title(f"distance after {STEPS} steps")


def _draw(axes: list[Axes], result: Descent, earlier: Sequence[Earlier] = ()) -> None:
    chart, distance, by_rate = axes
    turn = np.append(np.linspace(0, 2 * np.pi, 60), np.nan)
    level = HEIGHTS[:, None] * np.ones_like(turn)
    flat, steep = level * np.cos(turn), level * np.sin(turn) / np.sqrt(result.steepness)
    chart.plot(flat.ravel(), steep.ravel(), color=EARLIER, alpha=0.6, linewidth=0.8)
    path = result.path
    chart.plot(*path.T, "o-", markersize=3.2, linewidth=1.2, color=style(1)["color"])
    for old in earlier:
        lengths = np.linalg.norm(old.result.path, axis=1)
        distance.plot(lengths, color=EARLIER, alpha=0.7, linewidth=1.2)
    for number, name in enumerate(("flat", "steep")):
        away = np.maximum(np.abs(path[:, number]), NEAREST / 10)
        distance.plot(away, linewidth=1.9, **style(number))
        place = {"xy": (0.05, 0.06 + 0.1 * number), "xycoords": "axes fraction"}
        distance.annotate(name, color=style(number)["color"], fontsize=10, **place)
    rates, momentum = np.geomspace(RATES[0], RATES[-1], 160), result.momentum
    ends = distances_after(rates, momentum, result.steepness, path[0])
    by_rate.plot(rates, np.clip(ends, NEAREST / 10, 10 * FARTHEST), color=style(2)["color"])
    by_rate.axvline(result.edge, color=EARLIER, linestyle="--", linewidth=1.2)
    here = np.clip(np.linalg.norm(path[-1]), 1.3 * NEAREST, FARTHEST / 1.3)
    by_rate.plot(result.learning_rate, here, "o", markersize=8, color=style(1)["color"])


def describe_descent(result: Descent) -> str:
    """On which side of the edge it is, and what each step does, in numbers."""
    ratio = result.learning_rate / result.edge
    if abs(ratio - 1) < 1e-9:
        side = f"exactly at the edge, {result.edge:.3g}"
    else:
        side = f"{'below' if ratio < 1 else 'beyond'} the edge at {result.edge:.3g}"
    away = np.linalg.norm(result.path[-1])
    text = f"Learning rate {result.learning_rate:g}, {side}: "
    text += f"after {len(result.path) - 1} steps {away:.2g} from the bottom"
    if result.momentum == 0:
        flat = 1 - result.learning_rate
        steep = 1 - result.learning_rate * result.steepness
        text += (
            f"; each step multiplies the flat distance by {flat:.2g}, the steep one by {steep:.2g}"
        )
    return text


def _code(values: Values) -> str:
    """The plain PyTorch that repeats what is seen."""
    start = f"[{values['flat']}, {values['steep']}]"
    settings = f"lr={values['learning_rate']}, momentum={values['momentum']}"
    return "\n".join(
        [
            f"point = torch.tensor({start}, requires_grad=True)",
            f"optimizer = torch.optim.SGD([point], {settings})",
            f"for step in range({STEPS}):",
            "    optimizer.zero_grad()",
            f"    ((point[0] ** 2 + {values['steepness']} * point[1] ** 2) / 2).backward()",
            "    optimizer.step()",
        ]
    )
