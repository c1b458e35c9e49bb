"""Stored runs: what each was, its curves, and which validation images it named rightly.

Each training leaves one small file; ``gather`` puts them into one. Notebook 15.
"""

from __future__ import annotations

import functools
import io
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...engine.config import Config
from ...engine.data import Dataset
from ...engine.history import CURVES, History
from ...engine.training import fit
from ...files import DATA_FOLDER, read_arrays, write
from .recipes import Recipe, plain, recipe_of
from .views import ask, bfloat16_is_fast

STORED = DATA_FOLDER / "runs_on_photographs.npz"
LINES = (*CURVES, "batch_loss", "learning_rate")  # [epoch] of each run; the last two are means


@dataclass(frozen=True)
class Record:
    """One run.

    facts     settings, seed, data, seconds and whatever else was noted of it
    lines     [6, epoch]: see ``LINES``
    correct   [view, image] bool: by one view of each image, and by the recipe's own number of them
    """

    facts: dict[str, Any]
    lines: np.ndarray
    correct: np.ndarray


def carry_out(recipe: Recipe, dataset: Dataset, name: str, data: str) -> Record:
    """Train one run of a recipe, and note all that is to be known of it later."""
    begin: dict[str, torch.Tensor] = {}

    def model(config: Config, dataset: Dataset) -> nn.Module:
        network = recipe.network(config, dataset)
        begin.update(_layers(network))
        return network

    autocast = bfloat16_is_fast(dataset.device)
    history = fit(recipe.config, dataset, model=model, autocast=autocast, progress=False)
    asked = ask(history, dataset, recipe.views, autocast) if recipe.views > 1 else history
    end = _layers(history.model(0))
    facts = {
        "name": name,
        "data": data,
        "settings": plain(recipe.settings()),
        "training_images": len(dataset.train),
        "parameters": sum(each.numel() for each in history.model(0).parameters()),
        "diverged": bool(history.diverged[0]),
        "seconds": round(float(history.seconds[0]), 1),
        "precision": "bfloat16" if autocast else "float32",
        "processor": processor(),
        "torch": torch.__version__,
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
        "moved": {name: _moved(begin[name], end[name]) for name in end if name in begin},
    }
    lines = [getattr(history, name)[0] for name in CURVES]
    for name in ("step_loss", "learning_rate"):
        lines.append(getattr(history, name)[0].reshape(recipe.config.epochs, -1).mean(1))
    correct = np.stack([history.val_correct[0], asked.val_correct[0]])
    return Record(facts, np.array(lines, np.float32), correct[: 1 + (recipe.views > 1)])


def _layers(network: nn.Module) -> dict[str, torch.Tensor]:
    """{layer: a copy of its weights}, of convolutions and dense layers."""
    return {
        name: layer.weight.detach().clone()
        for name, layer in network.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and not name.startswith("average.")
    }


def _moved(begin: torch.Tensor, end: torch.Tensor) -> float:
    """By how much training changed a layer's weights, relative to their size at the beginning."""
    return round(float((end - begin).norm() / begin.norm()), 3)


def processor() -> str:
    """The processor's own name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


# Files -------------------------------------------------------------------------------------------


def save(path: Path, records: list[Record]) -> None:
    """Write records into one file, whole or not at all."""
    epochs = max(record.lines.shape[1] for record in records)
    lines = np.full((len(records), len(LINES), epochs), np.nan, np.float32)
    for number, record in enumerate(records):
        lines[number, :, : record.lines.shape[1]] = record.lines
    facts = json.dumps([record.facts | {"views": len(record.correct)} for record in records])
    packed = np.packbits(np.concatenate([record.correct for record in records]), axis=1)
    images = records[0].correct.shape[1]
    file = io.BytesIO()
    np.savez_compressed(
        file,
        facts=np.frombuffer(facts.encode("utf-8"), np.uint8),
        lines=lines.round(4),
        correct=packed,
        images=np.array(images),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, file.getvalue())


def load(path: Path = STORED) -> list[Record]:
    """The records of a file. Raises FileNotFoundError or ValueError, saying how to get it back."""
    arrays = read_arrays(path)
    facts = json.loads(arrays["facts"].tobytes().decode("utf-8"))
    table = np.unpackbits(arrays["correct"], axis=1, count=int(arrays["images"])).astype(bool)
    ends = np.cumsum([each["views"] for each in facts])
    records = []
    for each, lines, end in zip(facts, arrays["lines"], ends, strict=True):
        reached = each["settings"]["epochs"]
        records.append(Record(each, lines[:, :reached], table[end - each["views"] : end]))
    return records


def to_history(records: list[Record], views: bool = True) -> History:
    """Stored runs as the History that they came from, as far as it was kept.

    Its ``val_correct`` are the answers by the recipe's own number of views, or by one.
    """
    recipes = [recipe_of(record.facts["settings"]) for record in records]
    history = History.empty([each.config for each in recipes], 0, records[0].correct.shape[1])
    for row, record in enumerate(records):
        for number, name in enumerate(CURVES):
            getattr(history, name)[row, : record.lines.shape[1]] = record.lines[number]
        history.val_correct[row] = record.correct[-1 if views else 0]
        history.diverged[row] = record.facts["diverged"]
        history.seconds[row] = record.facts["seconds"]
    epochs = np.array([config.epochs for config in history.configs])
    history.kept_epoch[:] = np.where(history.diverged, -1, epochs - 1)
    return history


class Stored(Mapping[str, History]):
    """All stored runs: ``stored["ladder, momentum"]`` is the History of those of that name.

    ``stored.records[name]`` are their records, with all that was noted of them.
    """

    def __init__(self, records: Sequence[Record]):
        self.records: dict[str, list[Record]] = {}
        for record in records:
            self.records.setdefault(record.facts["name"], []).append(record)

    def __getitem__(self, name: str) -> History:
        return to_history(self.records[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def starting(self, beginning: str) -> dict[str, History]:
        """{rest of the name: History} of all whose name begins so."""
        names = [name for name in self if name.startswith(beginning)]
        return {name.removeprefix(beginning): self[name] for name in names}


@functools.cache
def load_stored(path: Path = STORED) -> Stored:
    """The trainings that come with the course. Raises what ``load`` raises."""
    return Stored(load(path))
