"""Notebook 03, batch size: the race to a target, timings, a data set worth several workers, the lab, the checks. Floor 7."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from ..classroom.check import Result, check
from ..classroom.lab import Lab, Values, slider
from ..engine.config import Config
from ..engine.data import Dataset, Split
from ..engine.history import History
from ..engine.networks import make_mlp
from ..engine.run import Run
from ..engine.training import train
from ..plots import GREY, style

# --- measuring ------------------------------------------------------------------------------------------------------


def validation_losses(run: Run) -> np.ndarray:
    """[K]: the validation loss of each network of a stack as it is now, between two updates."""
    if run.epoch_ended:  # the engine has just looked
        return run.history.val_loss[run.indices, run.epoch - 1]
    return run.evaluate(run.dataset.val)[0].mean(1)


def race(
    batch_size: int,
    rates: Sequence[float],
    dataset: Dataset,
    target: float,
    *,
    most_epochs: int,
    seeds: int = 8,
    **fields,
) -> np.ndarray:
    """[rate, seed]: updates until the validation loss first is at or below ``target``; inf for those that did not get there.

    The loss is looked at after update 1, 2, 3, ... and then every six per cent. The race ends as soon as all seeds of one
    rate have arrived: that rate is the winner, and what is still on its way stays at inf.
    """
    configs = [
        Config(learning_rate=rate, batch_size=batch_size, epochs=most_epochs, seed=seed, **fields)
        for rate in rates
        for seed in range(seeds)
    ]
    arrived, look = np.full(len(configs), np.inf), 1
    for run in train(configs, dataset, keep_models=False):
        if run.step < look:
            continue
        look = max(run.step + 1, int(1.06 * run.step))
        there = np.array(run.indices)[validation_losses(run) <= target]
        arrived[there] = np.minimum(arrived[there], run.step)
        if np.isfinite(arrived).reshape(-1, seeds).all(1).any():
            break
    return arrived.reshape(-1, seeds)


def seconds_per_update(
    model: nn.Module,
    data: Split,
    batch_size: int,
    *,
    learning_rate: float = 0.01,
    repeats: int = 8,
    least: float = 0.01,
) -> np.ndarray:
    """[repeats]: seconds that one update by plain SGD takes here, each the mean over ``least`` seconds of updates."""
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    images, labels = data.images[:batch_size], data.labels[:batch_size]
    taken = []
    for _ in range(repeats + 1):
        updates, start = 0, time.perf_counter()
        while time.perf_counter() - start < least or not updates:
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            if images.is_cuda:
                torch.cuda.synchronize()
            updates += 1
        taken.append((time.perf_counter() - start) / updates)
    return np.array(taken[1:])  # the first round warms caches up


class PngImages(TorchDataset):
    """Digits enlarged to ``side`` pixels and kept as PNG files in memory; asking for one decodes and shrinks it.

    It stands in a module, not in the notebook, because worker processes must be able to import it.
    """

    def __init__(self, data: Split, side: int = 224):
        self.labels, self.size, self.files = data.labels.tolist(), data.images.shape[-1], []
        for image in data.images.mul(255).byte().cpu().numpy():
            file = io.BytesIO()
            Image.fromarray(image[0]).resize((side, side)).save(file, "png", compress_level=1)
            self.files.append(file.getvalue())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.open(io.BytesIO(self.files[index])).resize(
            (self.size, self.size), Image.Resampling.BOX
        )
        return torch.from_numpy(np.array(image, np.float32) / 255).unsqueeze(0), self.labels[index]


# --- the lab --------------------------------------------------------------------------------------------------------

LAB_RATES = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
MAP_SEEDS = 3


@dataclass
class Landscape:
    """The chosen run, and the map [batch size, learning rate] of final validation accuracies, NaN where still to come."""

    history: History
    table: np.ndarray
    batches: list[int]
    cell: tuple[int, int]


def batch_size_lab(dataset: Dataset) -> Lab:
    """Batch size and learning rate together: eight networks for the chosen pair, then the map of all pairs fills in.

    The map has three seeds a cell; it is kept for each momentum and number of epochs, so that it is computed once.
    """
    batches = [size for size in (4, 16, 64, 256) if size < len(dataset.train)] + [
        len(dataset.train)
    ]
    maps: dict[tuple, np.ndarray] = {}
    controls = {
        "batch_size": slider("batch_size", batches, 16),
        "learning_rate": slider("learning_rate", LAB_RATES, 0.1),
        "momentum": slider("momentum", [0.0, 0.5, 0.9], 0.0),
        "epochs": slider("epochs", [1, 3, 10], 3),
    }

    def run(values: Values) -> Iterator[Landscape]:
        cell = (batches.index(values["batch_size"]), LAB_RATES.index(values["learning_rate"]))
        table = maps.setdefault(
            (values["momentum"], values["epochs"]), np.full((len(batches), len(LAB_RATES)), np.nan)
        )
        fixed = {
            "optimizer": "sgd",
            "width": 32,
            "momentum": values["momentum"],
            "epochs": values["epochs"],
        }
        chosen = [
            Config(
                learning_rate=LAB_RATES[cell[1]], batch_size=batches[cell[0]], seed=seed, **fixed
            )
            for seed in range(8)
        ]
        for state in train(chosen, dataset, keep_models=False):
            if state.epoch_ended or not state.active.any():
                yield Landscape(state.history, table, batches, cell)
        history = state.history
        for row in reversed(range(len(batches))):  # the large batches first: they are done at once
            if np.isfinite(table[row]).all():
                continue
            configs = [
                Config(learning_rate=rate, batch_size=batches[row], seed=seed, **fixed)
                for rate in LAB_RATES
                for seed in range(MAP_SEEDS)
            ]
            for state in train(configs, dataset, keep_models=False):
                if state.step % 25 == 0:
                    yield Landscape(history, table, batches, cell)
            table[row] = state.history.val_correct.mean(1).reshape(-1, MAP_SEEDS).mean(1)
            yield Landscape(history, table, batches, cell)

    return Lab(controls, run, draw_landscape, describe_landscape, size=(8.4, 3.3))


def draw_landscape(
    figure, axes: np.ndarray, result: Landscape, earlier: Sequence[Landscape] = ()
) -> None:
    """Left the chosen networks' validation curves, right the map; a square marks the choice, a dot each row's best rate."""
    curves, grid = axes.flat
    for old in earlier:
        values = old.history.val_accuracy
        curves.plot(
            np.arange(1, values.shape[1] + 1),
            values.mean(0),
            color=GREY,
            alpha=0.4,
            marker=".",
            linewidth=1.2,
        )
    values = result.history.val_accuracy
    epochs = np.arange(1, values.shape[1] + 1)
    curves.plot(epochs, values.T, linewidth=0.7, alpha=0.5, marker=".", markersize=3, **style(0))
    curves.plot(epochs, values.mean(0), marker="o", markersize=4, linewidth=2.4, **style(0))
    curves.set(
        xlabel="epoch",
        ylabel="validation accuracy",
        ylim=(0, 1.02),
        xlim=(0.7, values.shape[1] + 0.3),
        title="eight networks (grey: earlier runs)",
    )
    curves.xaxis.get_major_locator().set_params(integer=True)
    grid.imshow(result.table, vmin=0.1, vmax=0.9, aspect="auto", origin="lower", cmap="cividis")
    for (row, column), value in np.ndenumerate(result.table):
        if np.isfinite(value):
            best = value == result.table[row].max()
            grid.text(
                column,
                row,
                f"{100 * value:.0f}{' •' if best else ''}",
                ha="center",
                va="center",
                fontsize=9,
                fontweight="bold" if best else "normal",
                color="black" if value > 0.5 else "white",
            )
    row, column = result.cell
    grid.plot(
        [column],
        [row],
        marker="s",
        markersize=23,
        markerfacecolor="none",
        color="#D55E00",
        markeredgewidth=2.5,
    )
    grid.set(
        xticks=range(len(LAB_RATES)),
        xticklabels=[f"{rate:g}" for rate in LAB_RATES],
        xlabel="learning rate",
        yticks=range(len(result.batches)),
        yticklabels=result.batches,
        ylabel="batch size",
        title="validation accuracy in %",
    )
    grid.grid(visible=False)


def describe_landscape(result: Landscape) -> str:
    """What the map says so far, in words."""
    accuracies = result.history.val_correct.mean(1)
    text = (
        f"batch size {result.batches[result.cell[0]]}, learning rate {LAB_RATES[result.cell[1]]:g}: "
        f"{accuracies.mean():.0%} after {np.isfinite(result.history.val_loss).any(0).sum()} epochs"
    )
    if result.history.diverged.any():
        text += f", {result.history.diverged.sum()} of {len(accuracies)} diverged"
    done = [row for row in range(len(result.batches)) if np.isfinite(result.table[row]).all()]
    best = [
        f"{result.batches[row]}: {LAB_RATES[int(result.table[row].argmax())]:g}" for row in done
    ]
    text += (
        "; best rate by batch size, as far as the map is filled: " + ", ".join(best) if best else ""
    )
    return text.replace("%", " %")


# --- checks ---------------------------------------------------------------------------------------------------------


def check_updates(updates: Callable[[int, int, int, bool], int]) -> Result:
    """``updates(images, batch_size, epochs, drop_last)`` against the length of real DataLoaders."""

    def agrees(images: int, batch_size: int, epochs: int, drop_last: bool) -> Callable[[], bool]:
        loader = DataLoader(TensorDataset(torch.zeros(images)), batch_size, drop_last=drop_last)
        return lambda: updates(images, batch_size, epochs, drop_last) == epochs * len(loader)

    return check(
        "3.1 updates",
        [
            (callable(updates), "a function is wanted."),
            (
                agrees(1000, 100, 3, False),
                "1,000 images in batches of 100 for 3 epochs make 30 updates.",
            ),
            (
                agrees(1000, 64, 1, False),
                "the last batch of an epoch may be short, and it counts too: 1,000 images make 16 batches of up to 64.",
            ),
            (
                agrees(1000, 64, 10, False),
                "the short batch comes once in every epoch; a batch never reaches into the next epoch.",
            ),
            (agrees(1000, 64, 10, True), "with drop_last=True the short batch is left out."),
            (agrees(10, 64, 2, False), "fewer images than the batch size still make one batch."),
            (
                agrees(10, 64, 2, True),
                "with drop_last=True and fewer images than the batch size there is no update at all.",
            ),
        ],
        [
            "count the batches of one epoch first, then multiply.",
            "divide with rounding up (-(-a // b)) or down (a // b), depending on drop_last.",
        ],
        "the same as the DataLoader says, short batches and all.",
    )


def check_accumulation(accumulate: Callable[[nn.Module, Tensor, Tensor, int], object]) -> Result:
    """``accumulate(model, images, labels, part)`` leaves in ``.grad`` the gradient of the whole batch's mean loss."""
    generator = torch.Generator().manual_seed(3)
    images, labels = (
        torch.rand(100, 1, 7, 7, generator=generator),
        torch.randint(0, 10, (100,), generator=generator),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = make_mlp(49, width=8)

    class Watched(nn.Module):
        largest = 0

        def __init__(self):
            super().__init__()
            self.network = model

        def forward(self, batch: Tensor) -> Tensor:
            self.largest = max(self.largest, len(batch))
            return self.network(batch)

    def gradient(action: Callable[[], object]) -> Tensor:
        action()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).clone()

    def agrees(part: int) -> bool:
        watched = Watched()
        model.zero_grad()
        right = gradient(lambda: functional.cross_entropy(model(images), labels).backward())
        model.zero_grad()
        found = gradient(lambda: accumulate(watched, images, labels, part))
        return torch.allclose(found, right, rtol=1e-3, atol=1e-6) and watched.largest <= part

    return check(
        "3.2 gradient accumulation",
        [
            (callable(accumulate), "a function is wanted."),
            (
                lambda: agrees(25),
                "four parts of 25: the gradient is not that of the 100 images' mean loss (or a part was larger than allowed).",
            ),
            (
                lambda: agrees(30),
                "parts of 30, 30, 30 and 10: ten images must not weigh as much as thirty.",
            ),
            (lambda: agrees(100), "one part must give the ordinary gradient."),
        ],
        [
            "backward() adds to .grad: four mean losses add up to four times the mean.",
            "weigh the mean loss of each part by its share of the images, len(part) / len(images).",
        ],
        "any split gives the gradient of the whole.",
    )


def check_noise_scale(noise_scale: Callable[[float, float, int, int], float]) -> Result:
    """``noise_scale(small_square, big_square, small, big)`` must invert E|G_B|^2 = |G|^2 + tr/B exactly."""

    def agrees(square: float, trace: float, small: int, big: int) -> Callable[[], bool]:
        squares = square + trace / small, square + trace / big
        return lambda: bool(np.isclose(noise_scale(*squares, small, big), trace / square))

    return check(
        "3.3 noise scale",
        [
            (callable(noise_scale), "a function is wanted."),
            (
                agrees(2.0, 6.0, 1, 3),
                "|G|² = 2 and tr Σ = 6 give squares of 8 (one image) and 4 (three images); the noise scale is 3.",
            ),
            (
                agrees(0.5, 40.0, 8, 64),
                "right for one example, but not for another |G|², tr Σ and pair of batch sizes.",
            ),
            (
                agrees(0.01, 300.0, 32, 512),
                "the |G|² estimate still holds some of the noise: even the big batch is noisy.",
            ),
        ],
        [
            "two equations: small_square = G2 + trace / small, big_square = G2 + trace / big. Solve them for trace and G2.",
            "trace = (small_square - big_square) / (1 / small - 1 / big); "
            "G2 = (big * big_square - small * small_square) / (big - small).",
        ],
        "two batch sizes are enough, and no image needs a gradient of its own.",
    )


def check_growing(growing_batches: Callable[[int, Sequence[int], int], object]) -> Result:
    """``growing_batches(images, sizes, seed)``: index tensors; epoch e is a permutation in batches of ``sizes[e]``."""
    images, sizes = 50, [4, 8, 8, 32]

    def epochs(seed: int = 0) -> list[list[list[int]]]:
        batches, found = (
            [torch.as_tensor(batch).tolist() for batch in growing_batches(images, sizes, seed)],
            [],
        )
        for size in sizes:
            count = -(-images // size)
            found.append(batches[:count])
            batches = batches[count:]
        return found if not batches else []

    def lengths() -> bool:
        return [[len(b) for b in epoch] for epoch in epochs()] == [
            [min(size, images - start) for start in range(0, images, size)] for size in sizes
        ]

    return check(
        "3.4 growing batches",
        [
            (callable(growing_batches), "a function is wanted."),
            (
                lambda: isinstance(list(growing_batches(images, sizes, 0)), list),
                "it should be possible to iterate over the result.",
            ),
            (lengths, "epoch e should come in batches of sizes[e], the last one short if need be."),
            (
                lambda: all(sorted(sum(epoch, [])) == list(range(images)) for epoch in epochs()),
                "every epoch should show every image exactly once.",
            ),
            (
                lambda: len({str(sum(epoch, [])) for epoch in epochs()}) == len(sizes),
                "every epoch should have an order of its own.",
            ),
            (
                lambda: epochs(1) == epochs(1) and epochs(1) != epochs(2),
                "the same seed should give the same order, another seed another.",
            ),
        ],
        [
            "one permutation for each epoch, then .split(size).",
            "torch.randperm(images, generator=g), with g made once, before the loop.",
        ],
        "every image once an epoch, in batches that grow.",
    )


def check_fastest(fastest_batch: Callable[[float, float, float], float]) -> Result:
    """``fastest_batch(overhead, per_image, critical)`` minimises (1 + critical / B) (overhead + per_image B)."""

    def near_best(overhead: float, per_image: float, critical: float) -> Callable[[], bool]:
        def seconds(size):
            return (1 + critical / size) * (overhead + per_image * size)

        return lambda: (
            fastest_batch(overhead, per_image, critical) > 0
            and bool(
                seconds(fastest_batch(overhead, per_image, critical))
                <= 1.003 * seconds(np.logspace(-2, 6, 4001)).min()
            )
        )

    return check(
        "3.5 the fastest batch size",
        [
            (callable(fastest_batch), "a function is wanted."),
            (
                near_best(1e-3, 1e-5, 100.0),
                "an overhead worth 100 images and a critical batch size of 100: the best is 100 as well.",
            ),
            (
                near_best(4e-3, 1e-5, 100.0),
                "four times the overhead per update should move the best to a larger batch size.",
            ),
            (
                near_best(1e-3, 1e-5, 1600.0),
                "a larger critical batch size should move the best to a larger one, too, but not as far as that.",
            ),
        ],
        [
            "multiply (1 + critical / B) * (overhead + per_image * B) out: only two of the four terms depend on B.",
            "per_image * B grows and overhead * critical / B shrinks: their sum is smallest where they are equal.",
        ],
        "halfway, on the log axis, between what the gradient can use and what the machine can use.",
    )
