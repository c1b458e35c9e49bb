"""Train every run of the bank and write data/hpo_bank.npz.

    make bank            (or: python tools/build_bank.py)

It may be killed at any moment: call it again to go on. The runs are trained in chunks; each
finished chunk is a file in build/bank, and only the one in flight can be lost.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import chunks
from course_utils import Config, Dataset, History, fit, load_mnist
from course_utils.bank import BANK, METRICS, load_bank, write_sealed
from course_utils.files import DATA_FOLDER

AXES: dict[str, list[float]] = {
    "learning_rate": [float(f"{rate:.2g}") for rate in np.logspace(-4, 0, 12)],
    "batch_size": [32, 64, 128, 256],
    "dropout": [0.0, 0.2, 0.4, 0.6],
    "weight_decay": [0.01, 0.1, 1.0, 10.0],
}
CHUNKED = ("batch_size", "dropout")  # a chunk holds one value of these, and one seed
SEEDS = [0, 1, 2, 3]
EPOCHS = 30
# No schedule: then a run of thirty epochs says what a run of ten would have said, too.
FIXED: dict[str, Any] = {
    "optimizer": "adamw",
    "width": 64,
    "depth": 1,
    "activation": "relu",
    "init": "he",
    "schedule": "constant",
}


def grid(axes: Mapping[str, Iterable[float]]) -> list[dict[str, float]]:
    """Every point of the grid, the last axis changing fastest."""
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def train_chunk(
    points: list[dict[str, Any]], seed: int, epochs: int, dataset: Dataset
) -> dict[str, np.ndarray]:
    """{metric: [point, epoch], or [point]} of real runs."""
    configs = [Config(**FIXED, **point, epochs=epochs, seed=seed) for point in points]
    history = fit(configs, dataset, progress=False)
    values = {name: getattr(history, name).copy() for name in METRICS if name != "test_accuracy"}
    watched = {"train_accuracy": dataset.train.first(len(dataset.val)), "val_accuracy": dataset.val}
    for name, split in watched.items():
        # What a network of NaNs answers is the first class, always.
        values[name][np.isnan(values[name])] = (split.labels == 0).float().mean().item()
    right = [test_accuracy(history, row, dataset) for row in range(len(points))]
    return values | {"test_accuracy": np.array(right)}


@torch.no_grad()
def test_accuracy(history: History, row: int, dataset: Dataset) -> float:
    test = dataset.test
    if history.diverged[row]:
        return (test.labels == 0).float().mean().item()
    answers = history.model(row)(test.images).argmax(1)
    return (answers == test.labels).float().mean().item()


def build(
    target: Path, work: Path, axes: dict, seeds: list[int], epochs: int, dataset: Dataset
) -> None:
    """Train what is missing in ``work``, then write ``target`` in one step."""
    settings = {
        "axes": axes,
        "seeds": seeds,
        "epochs": epochs,
        "fixed": FIXED,
        "images": list(dataset.train.images.shape),
        "torch": torch.__version__.split("+")[0],
    }
    inner = {name: values for name, values in axes.items() if name not in CHUNKED}
    jobs = {}
    for number, (*chunked, seed) in enumerate(product(*(axes[name] for name in CHUNKED), seeds)):
        points = [point | dict(zip(CHUNKED, chunked, strict=True)) for point in grid(inner)]
        jobs[f"{number:03}"] = partial(train_chunk, points, seed, epochs, dataset)
    made = chunks.make_all(chunks.folder_for(settings, work), jobs, METRICS)
    # The order of the dimensions in the chunks, and as it should be.
    now, wanted = [*CHUNKED, "seed", *inner], [*axes, "seed"]
    lengths = [len(seeds) if name == "seed" else len(axes[name]) for name in now]
    values = {}
    for name in METRICS:
        array = np.stack([made[job][name] for job in jobs])
        array = array.reshape(*lengths, *array.shape[2:])
        order = [now.index(dimension) for dimension in wanted]
        values[name] = array.transpose(*order, *range(len(now), array.ndim))
    write_sealed(target, pack(values, about(settings, dataset)))


def about(settings: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """How the runs were made, as it stands in the file."""
    digits = f"the {len(dataset.train):,} training digits of the bundled sample"
    return {name: settings[name] for name in ("axes", "seeds", "epochs", "fixed")} | {
        "images": {
            "train_accuracy": len(dataset.val),
            "val_accuracy": len(dataset.val),
            "test_accuracy": len(dataset.test),
        },
        "task": f"a network of two layers on {digits}",
        "date": datetime.date.today().isoformat(),
        "versions": {"torch": settings["torch"], "numpy": np.__version__},
    }


def pack(values: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays for the file. Accuracies become numbers of right answers (exact), losses and seconds
    float16 (relative error at most 1/2048; a loss that is no number any more becomes infinite)."""
    arrays: dict[str, np.ndarray] = {"about": np.array(json.dumps(about))}
    for name in METRICS:
        if name in about["images"]:
            arrays[name] = np.rint(values[name] * about["images"][name]).astype(np.uint16)
        else:
            loss = np.nan_to_num(np.asarray(values[name], np.float64), nan=np.inf)
            too_large = loss > np.finfo(np.float16).max
            arrays[name] = np.where(too_large, np.inf, loss).astype(np.float16)
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    work = DATA_FOLDER.parent / "build" / "bank"
    parser.add_argument("--target", type=Path, default=DATA_FOLDER / BANK, help="file to write")
    parser.add_argument("--work", type=Path, default=work, help="folder of the chunks")
    tiny = "16 points, two seeds, three epochs, small images: for tests"
    parser.add_argument("--tiny", action="store_true", help=tiny)
    chosen = parser.parse_args()
    if chosen.tiny:
        axes = {name: values[1:3] for name, values in AXES.items()}
        axes["learning_rate"] = AXES["learning_rate"][1:9:4]
        digits = load_mnist(subset=500, image_size=7, device="cpu")
        build(chosen.target, chosen.work, axes, SEEDS[:2], 3, digits)
    else:
        build(chosen.target, chosen.work, AXES, SEEDS, EPOCHS, load_mnist(device="cpu"))
    print(load_bank(chosen.target).describe())


if __name__ == "__main__":
    main()
