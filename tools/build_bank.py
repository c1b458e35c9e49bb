"""Train every run of the bank and write data/hpo_bank.npz. It may be killed at any moment: call it again to go on.

    make bank            (or: python tools/build_bank.py)

The runs are trained in chunks; each finished chunk is a file in build/bank, and only the one in flight can be lost.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
from itertools import product
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from course_utils import Config, History, fit, load_mnist
from course_utils.bank import BANK, METRICS, grid, load_bank, pack
from course_utils.engine.data import Dataset
from course_utils.files import DATA_FOLDER

AXES = {
    "learning_rate": [float(f"{rate:.2g}") for rate in np.logspace(-4, 0, 12)],
    "batch_size": [32, 64, 128, 256],
    "dropout": [0.0, 0.2, 0.4, 0.6],
    "weight_decay": [0.01, 0.1, 1.0, 10.0],
}
CHUNKED = ("batch_size", "dropout")        # a chunk holds one value of these, and one seed
SEEDS = [0, 1, 2, 3]
EPOCHS = 30
# No schedule: then a run of thirty epochs says what a run of ten would have said, too.
FIXED = {"optimizer": "adamw", "width": 64, "depth": 1, "activation": "relu", "init": "he", "schedule": "constant"}


def train_chunk(points: list[dict], seed: int, epochs: int, dataset: Dataset) -> dict[str, np.ndarray]:
    """{metric: [point, epoch], or [point]} of real runs."""
    history = fit([Config(**FIXED, **point, epochs=epochs, seed=seed) for point in points], dataset, progress=False)
    values = {name: getattr(history, name).copy() for name in METRICS if name != "test_accuracy"}
    for name, split in (("train_accuracy", dataset.train.first(len(dataset.val))), ("val_accuracy", dataset.val)):
        # What a network of NaNs answers is the first class, always.
        values[name][np.isnan(values[name])] = (split.labels == 0).float().mean().item()
    return values | {"test_accuracy": np.array([test_accuracy(history, row, dataset) for row in range(len(points))])}


@torch.no_grad()
def test_accuracy(history: History, row: int, dataset: Dataset) -> float:
    if history.diverged[row]:
        return (dataset.test.labels == 0).float().mean().item()
    return (history.model(row)(dataset.test.images).argmax(1) == dataset.test.labels).float().mean().item()


def build(target: Path, work: Path, axes: dict, seeds: list[int], epochs: int, dataset: Dataset) -> None:
    """Train what is missing in ``work``, then write ``target``: each file under a temporary name first, then renamed."""
    settings = {"axes": axes, "seeds": seeds, "epochs": epochs, "fixed": FIXED,
                "images": list(dataset.train.images.shape), "torch": torch.__version__.split("+")[0]}
    work = work / hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    work.mkdir(parents=True, exist_ok=True)
    inner = {name: values for name, values in axes.items() if name not in CHUNKED}
    outer = list(product(*(axes[name] for name in CHUNKED), seeds))
    for number, (*chunked, seed) in enumerate(tqdm(outer, unit="chunk", desc="bank")):
        path = work / f"{number:03}.npz"
        if not path.exists():
            points = [point | dict(zip(CHUNKED, chunked, strict=True)) for point in grid(inner)]
            save(path, train_chunk(points, seed, epochs, dataset))
    values = {}
    for name in METRICS:
        chunks = np.stack([read(work / f"{number:03}.npz", name) for number in range(len(outer))])
        lengths = [len(axes[each]) for each in CHUNKED] + [len(seeds)] + [len(values) for values in inner.values()]
        chunks = chunks.reshape(*lengths, *chunks.shape[2:])
        now = [*CHUNKED, "seed", *inner]                   # the order of the dimensions here, and as it should be
        order = [now.index(each) for each in (*axes, "seed")]
        values[name] = chunks.transpose(*order, *range(len(now), chunks.ndim))
    images = {"train_accuracy": len(dataset.val), "val_accuracy": len(dataset.val), "test_accuracy": len(dataset.test)}
    about = {"axes": axes, "seeds": seeds, "epochs": epochs, "fixed": FIXED, "images": images,
             "task": f"a network of two layers on the {len(dataset.train):,} training digits of the bundled sample",
             "date": datetime.date.today().isoformat(),
             "versions": {"torch": settings["torch"], "numpy": np.__version__}}
    save(target, pack(values, about))


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(unfinished, path)


def read(path: Path, name: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as archive:
        return archive[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, default=DATA_FOLDER / BANK, help="the file to write")
    parser.add_argument("--work", type=Path, default=DATA_FOLDER.parent / "build" / "bank", help="folder of the chunks")
    parser.add_argument("--tiny", action="store_true", help="16 points, two seeds, three epochs, small images: for tests")
    chosen = parser.parse_args()
    if chosen.tiny:
        axes = {name: values[1:9:4] if name == "learning_rate" else values[1:3] for name, values in AXES.items()}
        build(chosen.target, chosen.work, axes, SEEDS[:2], 3, load_mnist(subset=500, image_size=7, device="cpu"))
    else:
        build(chosen.target, chosen.work, AXES, SEEDS, EPOCHS, load_mnist(device="cpu"))
    print(load_bank(chosen.target).describe())


if __name__ == "__main__":
    main()
