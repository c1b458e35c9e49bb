"""Notebook 06: pictures for instruments, networks that vanish and explode, the lab, TensorBoard, exercise checks."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import Linear, functional

from ..classroom.check import Result, check
from ..classroom.lab import Lab, choice, slider
from ..diagnostics import inspect_layers, layer_outputs
from ..engine.config import Config
from ..engine.data import Dataset, Split
from ..engine.history import History
from ..engine.networks import ACTIVATIONS, INITIALISATIONS, NORMALISATIONS, initialise
from ..engine.training import build_mlp, train
from ..evidence import accuracy
from ..plots import COLOURS, GREY, plot_curves, style

# ---- pictures -------------------------------------------------------------------------------------------------------


def plot_layers(
    table: pd.DataFrame, ax, label: str = "", guide: float | None = None, log: bool = False
):
    """One line over the steps for each layer of an instrument's table: first and last drawn large, the others thin."""
    values = table.where(np.isfinite(table))
    for name in table.columns[1:-1]:
        ax.plot(table.index, values[name], color=GREY, linewidth=0.7, alpha=0.6)
    for number, name in enumerate(dict.fromkeys((table.columns[0], table.columns[-1]))):
        ax.plot(
            table.index, values[name], label=("first layer", "last layer")[number], **style(number)
        )
    if guide is not None:
        ax.axhline(guide, color="black", linewidth=1, linestyle=(0, (2, 2)))
    if log:
        ax.set_yscale("log")
    ax.set(xlabel="step", ylabel=label)
    return ax


def plot_ridge(
    snapshots: dict[int, Tensor], ax, limits: tuple[float, float] = (-12, 0), bins: int = 60
):
    """Histograms of log10 |values| over time, one hill for each snapshot, the newest in front; zeros are not drawn."""
    edges = np.linspace(*limits, bins + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    for row, (_, values) in enumerate(sorted(snapshots.items())):
        values = values.detach().flatten().abs().numpy()
        share = np.histogram(np.log10(values[values > 0]), edges)[0] / len(values)
        height = 12 * share - row
        ax.fill_between(
            centres, -row, height, color=COLOURS[0], alpha=0.35, linewidth=0, zorder=row
        )
        ax.plot(centres, height, color=COLOURS[0], linewidth=1, zorder=row)
    rows = sorted(snapshots)
    ax.set(
        xlabel="log10 of |gradient|",
        ylabel="step",
        yticks=[-row for row in range(len(rows))],
        yticklabels=rows,
        xlim=limits,
    )
    ax.grid(axis="y", visible=False)
    return ax


def plot_success(table: dict[tuple[str, str, int], float], ax):
    """A heat map of accuracies {(activation, initialisation, depth): share}; every cell says its number."""
    rows = list(dict.fromkeys((a, d) for a, _, d in table))
    columns = list(dict.fromkeys(i for _, i, _ in table))
    grid = np.array([[table[a, i, d] for i in columns] for a, d in rows])
    ax.imshow(grid, vmin=0, vmax=1, aspect="auto", cmap="cividis")
    for (row, column), value in np.ndenumerate(grid):
        ax.text(
            column,
            row,
            f"{100 * value:.0f}",
            ha="center",
            va="center",
            fontsize=8.5,
            color="white" if value < 0.55 else "black",
        )
    ax.set(
        xticks=range(len(columns)),
        xticklabels=columns,
        yticks=range(len(rows)),
        yticklabels=[f"{activation}, {depth} layers" for activation, depth in rows],
        xlabel="initialisation",
    )
    ax.grid(visible=False)
    return ax


# ---- networks -------------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A layer around which its input can walk (He et al., 2016): x + branch(x)."""

    stackable = True

    def __init__(self, *branch: nn.Module):
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def residual_mlp(config: Config, dataset: Dataset) -> nn.Sequential:
    """The dense network of a Config with a residual connection around every hidden layer but the first."""

    def layer(inputs: int) -> list[nn.Module]:
        norm = [NORMALISATIONS[config.normalisation](config.width)] if config.normalisation else []
        return [Linear(inputs, config.width), *norm, ACTIVATIONS[config.activation]()]

    hidden = [Residual(*layer(config.width)) for _ in range(config.depth - 1)]
    model = nn.Sequential(
        nn.Flatten(-3),
        *layer(dataset.train.images[0].numel()),
        *hidden,
        Linear(config.width, dataset.classes),
    )
    return initialise(model, config.init)


class RowNetwork(nn.Module):
    """A recurrent network (Elman, 1990) that reads an image row by row: state <- relu(read(row) + recur(state))."""

    stackable = True

    def __init__(self, rows: int = 28, columns: int = 28, width: int = 24):
        super().__init__()
        self.rows, self.columns = rows, columns
        self.read, self.recur, self.answer = (
            Linear(columns, width),
            Linear(width, width),
            Linear(width, 10),
        )
        initialise(self, "he")

    def forward(self, images: Tensor) -> Tensor:
        images = images.squeeze(-3)
        seen = self.read(images.flatten(-3, -2)).unflatten(-2, (images.shape[-3], self.rows))
        state = seen[..., 0, :].relu()
        for row in range(1, self.rows):
            state = (seen[..., row, :] + self.recur(state)).relu()
        return self.answer(state)


def clip_by_value(
    limit: float,
) -> Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]:
    """For ``Config(schedule=...)``: a constant rate; before each step every entry of the gradient is cut at ``limit``."""

    def attach(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        optimizer.register_step_pre_hook(lambda *_: nn.utils.clip_grad_value_(parameters, limit))
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1, total_iters=0)

    return attach


Builder = Callable[[Config, Dataset], nn.Module]


def untrained(config: Config, dataset: Dataset, build: Builder = build_mlp) -> nn.Module:
    """The network with which ``fit`` begins: the same weights for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build(config, dataset)


def scaled(factor: float) -> Builder:
    """A builder for ``fit``: the ordinary network, with the weights of its hidden layers ``factor`` times as large."""

    def build(config: Config, dataset: Dataset) -> nn.Module:
        model = build_mlp(config, dataset)
        with torch.no_grad():
            for layer in [layer for layer in model if isinstance(layer, nn.Linear)][:-1]:
                layer.weight.mul_(factor)
        return model

    return build


def gradient_kept(model: nn.Module, seen: Split) -> float:
    """log10 of (gradient at the first hidden layer / at the last): -2 says a hundredth arrives. At least -12."""
    spread = inspect_layers(model, seen.images, seen.labels)["gradient_std"]
    return max(-12.0, math.log10(max(spread.iloc[0], 1e-30) / max(spread.iloc[-1], 1e-30)))


def dead_share(model: nn.Module, images: Tensor) -> float:
    """The share of dead units in the hidden layer that has most of them."""
    with torch.no_grad():
        return max(
            (out == 0).all(0).float().mean().item()
            for out in layer_outputs(model, images, (nn.ReLU,)).values()
        )


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's: 1 for the same order, -1 for the reverse; 0 where one side is constant."""
    ranks = [stats.rankdata(values) for values in (first, second)]
    return 0.0 if min(rank.std() for rank in ranks) == 0 else float(np.corrcoef(*ranks)[0, 1])


def with_images(dataset: Dataset, images: Callable[[Tensor], Tensor]) -> Dataset:
    """The same dataset with its images changed by ``images``, in all parts."""
    return Dataset(
        *(
            Split(images(dataset[name].images), dataset[name].labels)
            for name in ("train", "val", "test")
        ),
        name=dataset.name,
    )


def first_loss(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The mean cross-entropy of a network as it is; of ten balanced classes and no knowledge, log 10."""
    with torch.no_grad():
        return functional.cross_entropy(model(images), labels).item()


# ---- the lab --------------------------------------------------------------------------------------------------------


def vanishing_lab(dataset: Dataset, seeds: int = 4) -> Lab:
    """Depth, activation, initialisation and cures; left the gradient by layer before training, right what is learned."""
    controls = {
        "depth": slider("depth", [1, 2, 4, 6, 8, 12, 16], 8),
        "activation": choice(
            "activation", ["sigmoid", "tanh", "relu", "leaky_relu", "gelu"], "sigmoid"
        ),
        "init": choice("init", [name for name in INITIALISATIONS if name != "constant"], "xavier"),
        "normalisation": choice("normalisation", ["none", "layer", "batch"], "none"),
        "residual": choice("residual", ["no", "yes"], "no"),
    }

    def run(values: dict[str, Any]) -> Iterator[tuple[np.ndarray, History]]:
        build = residual_mlp if values["residual"] == "yes" else build_mlp
        values = {
            name: None if value == "none" else value
            for name, value in values.items()
            if name != "residual"
        }
        configs = [
            Config(**values, width=24, epochs=6, batch_size=100, learning_rate=5e-3, seed=seed)
            for seed in range(seeds)
        ]
        seen = dataset.train.first(100)
        profile = np.array(
            [
                inspect_layers(untrained(config, dataset, build), seen.images, seen.labels)[
                    "gradient_std"
                ]
                for config in configs
            ]
        )
        for state in train(configs, dataset, model=build, keep_models=False):
            if state.epoch_ended or not state.active.any():
                yield profile, state.history

    return Lab(controls, run, _draw_vanishing, _describe_vanishing, size=(8.4, 3.0))


def _draw_vanishing(figure, axes: np.ndarray, result: tuple, earlier: Sequence[tuple]) -> None:
    left, right = axes.flat
    for profile, history in (*earlier, result):
        new = history is result[1]
        look = (
            {"color": COLOURS[0], "marker": "o", "markersize": 3}
            if new
            else {"color": GREY, "alpha": 0.4}
        )
        heights = np.log10(np.maximum(profile, 1e-12))
        left.plot(np.arange(1, profile.shape[1] + 1), heights.T, linewidth=0.9, **look)
        if not new:
            right.plot(
                np.arange(1, history.val_accuracy.shape[1] + 1),
                history.mean(),
                linewidth=1.2,
                **look,
            )
    left.set(
        ylim=(-12.5, 4.5),
        yticks=range(-12, 5, 4),
        xlabel="hidden layer (1 is next to the input)",
        ylabel="log10 of gradient (std)",
    )
    left.set_title("before training", fontsize=10)
    plot_curves({"": result[1]}, ax=right)
    right.set(ylim=(0, 1), xlim=(0.7, result[1].val_accuracy.shape[1] + 0.3))
    right.set_title("what is learned", fontsize=10)


def _describe_vanishing(result: tuple[np.ndarray, History]) -> str:
    profile, history = result
    share = np.maximum(profile[:, 0], 1e-30) / np.maximum(profile[:, -1], 1e-30)
    diverged = f", {history.diverged.sum()} networks diverged" if history.diverged.any() else ""
    return (
        f"the first layer's gradient is {np.exp(np.log(share).mean()):.2g} times the last one's; "
        f"validation accuracy {accuracy(history)}{diverged}"
    )


# ---- TensorBoard ----------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port on this machine that nobody listens to just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_tensorboard(folder: str | Path, seconds: float = 60) -> tuple[subprocess.Popen, str]:
    """``tensorboard --logdir folder`` as a process of its own, reachable from this machine only; (process, address).

    Returns once the page answers. Raises RuntimeError if it ends or has not answered in time. Stop it with
    ``stop_tensorboard(process)``.
    """
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(folder),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--load_fast",
        "false",
        "--reload_interval",
        "5",
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address, end = f"http://127.0.0.1:{port}/", time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return process, address
        time.sleep(0.2)
    stop_tensorboard(process)
    raise RuntimeError(
        "TensorBoard did not start: run `python -m tensorboard.main --logdir runs` to see why"
    )


def stop_tensorboard(process: subprocess.Popen) -> None:
    """End the server and wait until it is gone."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def event_summary(folder: str | Path) -> pd.DataFrame:
    """What stands in the event files below ``folder``, read back: one row for each run, with its number of tags by kind."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = []
    for run in sorted({path.parent for path in Path(folder).rglob("events.out.tfevents*")}):
        events = EventAccumulator(str(run), size_guidance={"scalars": 0})
        events.Reload()
        tags = events.Tags()
        rows.append(
            {
                "run": run.relative_to(folder).as_posix(),
                "scalars": len(tags["scalars"]),
                "histograms": len(tags["histograms"]),
                "images": len(tags["images"]),
                "graph": tags["graph"],
                "points": sum(len(events.Scalars(tag)) for tag in tags["scalars"]),
            }
        )
    return pd.DataFrame(rows)


# ---- exercises ------------------------------------------------------------------------------------------------------


def check_update_ratio(update_ratio: Callable[[Tensor, Tensor], float]) -> Result:
    """06.1: log10 of the update's norm over the weights' norm."""
    weight = torch.randn(30, 20, generator=torch.Generator().manual_seed(0))
    step = torch.randn(30, 20, generator=torch.Generator().manual_seed(1))
    step *= weight.norm() / step.norm()

    def is_near(value: object, wanted: float) -> bool:
        return abs(float(value) - wanted) < 0.02

    return check(
        "06.1",
        [
            (
                lambda: math.isfinite(float(update_ratio(weight, weight + step))),
                "one finite number is wanted for two tensors.",
            ),
            (
                lambda: is_near(update_ratio(weight, weight + 1e-3 * step), -3),
                "an update of a thousandth of the weights should read -3.",
            ),
            (
                lambda: is_near(update_ratio(weight, weight - 1e-2 * step), -2),
                "an update of a hundredth should read -2.",
            ),
            (
                lambda: is_near(update_ratio(1000 * weight, 1000 * weight + step), -3),
                "the update is to be measured against the weights: both a thousand times larger is no change.",
            ),
        ],
        [
            "subtract first: what is the update?",
            "compare the size of the update with the size of the weights",
            "torch.log10((after - before).norm() / before.norm())",
        ],
    )


def check_dead_share(dead_share: Callable[[Tensor], float]) -> Result:
    """06.2: the share of units that are zero for every image."""
    outputs = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 3.0, 0.0, 0.0]])
    dense = torch.ones(5, 8)
    wide = torch.zeros(7, 10)
    wide[3, 4] = 1e-6
    return check(
        "06.2",
        [
            (lambda: 0 <= float(dead_share(outputs)) <= 1, "a share between 0 and 1 is wanted."),
            (
                lambda: float(dead_share(dense)) == 0,
                "a layer whose units all answer has no dead unit.",
            ),
            (
                lambda: abs(float(dead_share(outputs)) - 0.5) < 1e-6,
                "of four units two are zero for all images, the others only for some: that is one half. "
                "A zero is not a death: ReLU is meant to be silent at times.",
            ),
            (
                lambda: abs(float(dead_share(wide)) - 0.9) < 1e-6,
                "one small answer to one image is a sign of life.",
            ),
        ],
        [
            "a unit is a column, an image is a row",
            "ask of each column: is it zero in all rows?",
            "(outputs == 0).all(dim=0) says so for each unit",
        ],
    )


def check_threshold(choose_threshold: Callable[[Tensor], float]) -> Result:
    """06.3: a clipping threshold from recorded norms, that cuts the leaps and leaves ordinary steps alone."""
    usual = torch.rand(400, generator=torch.Generator().manual_seed(0)) * 2 + 0.5
    wild = torch.cat([usual, torch.tensor([1e3, 1e6, 1e12])])
    broken = torch.cat([wild, torch.tensor([math.inf, math.nan])])

    def cut(norms: Tensor) -> float:
        return float((usual > float(choose_threshold(norms))).float().mean())

    return check(
        "06.3",
        [
            (
                lambda: 0 < float(choose_threshold(usual)) < math.inf,
                "a finite threshold above zero is wanted.",
            ),
            (
                lambda: cut(usual) <= 0.3,
                "more than 30 % of ordinary steps would be cut: that only lowers the learning rate.",
            ),
            (
                lambda: float(choose_threshold(wild)) < 10,
                "a few leaps must not move it: they are what it is to catch.",
            ),
            (
                lambda: cut(wild) <= 0.3,
                "with leaps among the norms, too many ordinary steps would be cut.",
            ),
            (
                lambda: 0 < float(choose_threshold(broken)) < 10,
                "the norms hold inf and nan here: leave them out first.",
            ),
            (
                lambda: (
                    abs(float(choose_threshold(7 * wild)) / float(choose_threshold(wild)) - 7)
                    < 0.01
                ),
                "norms seven times larger need a threshold seven times larger: take it from the histogram, not from habit.",
            ),
        ],
        [
            "which summary of a list does a single giant not move?",
            "a high quantile keeps ordinary steps whole",
            "norms[torch.isfinite(norms)].quantile(0.9) is a good choice",
        ],
    )


def check_standardise(standardise: Callable[[Tensor], Tensor]) -> Result:
    """06.4: zero mean and unit spread for each image, with finite values and gradients for blank images too."""
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    blank = torch.cat([images, torch.zeros(1, 1, 8, 8)])

    def gradient() -> Tensor:
        leaf = blank.clone().requires_grad_()
        (standardise(leaf) ** 2).sum().backward()
        return leaf.grad

    def ordinary() -> Tensor:
        return standardise(images).flatten(1)

    return check(
        "06.4",
        [
            (
                lambda: standardise(blank).shape == blank.shape,
                "the result should have the shape of the images.",
            ),
            (
                lambda: ordinary().mean(1).abs().max() < 1e-3,
                "an ordinary image should have mean zero afterwards.",
            ),
            (
                lambda: (ordinary().std(1) - 1).abs().max() < 0.02,
                "an ordinary image should have standard deviation 1.",
            ),
            (
                lambda: torch.isfinite(standardise(blank)).all(),
                "the blank image became nan: zero divided by zero.",
            ),
            (
                lambda: torch.isfinite(gradient()).all(),
                "the values are finite, the gradient is not: the slope of a square root at zero is infinite, "
                "and a number added after the root comes too late.",
            ),
        ],
        [
            "where would a blank image divide by zero?",
            "add a small number where the variance is still under the root",
            "(variance + 1e-5).sqrt(), with variance = images.var(dim=(1, 2, 3), keepdim=True)",
        ],
    )
