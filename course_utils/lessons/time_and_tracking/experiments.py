"""Experiments of notebook 13 that are not themselves the lesson."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from ...engine.config import Config
from ...engine.data import Dataset, Split
from ...engine.history import History
from ...engine.networks import make_mlp
from ...engine.training import fit
from ...evidence import Estimate, ratio_interval
from ...mnist import load_mnist
from .profiles import side_by_side
from .tracking import event_table

SETTINGS = ("learning_rate", "width", "dropout")
WIDTHS = (8, 16, 32, 64, 128)


def random_configs(count: int = 32, seed: int = 0) -> list[Config]:
    """Configs at random: learning rate from 1e-4 to 1 by decade, width 8 to 128, dropout 0 to 0.6.

    They are what a random search tries: every one has a seed of its own.
    """
    generator = np.random.default_rng(seed)
    rates = 10 ** generator.uniform(-4, 0, count)
    widths = generator.choice(WIDTHS, count)
    dropouts = generator.uniform(0, 0.6, count)
    return [
        Config(learning_rate=float(r), width=int(w), dropout=float(d), epochs=8, seed=place)
        for place, (r, w, d) in enumerate(zip(rates, widths, dropouts, strict=True))
    ]


def random_runs(count: int = 32) -> History:
    """The runs of which the notebook keeps a log: a thousand digits, Adam, eight epochs."""
    small = load_mnist(subset=1000, image_size=14)
    return fit(random_configs(count), small, keep_models=False, progress=False)


def settings_of(history: History) -> pd.DataFrame:
    """One row for each run: what was drawn at random for it, and its validation accuracy."""
    table = pd.DataFrame({n: [getattr(c, n) for c in history.configs] for n in SETTINGS})
    return table.assign(val_accuracy=history.final()).rename_axis("run")


def log_runs(history: History, folder: Path) -> None:
    """As the cell of the notebook does: curves and settings of each run, for TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    for index, config in enumerate(history.configs):
        with SummaryWriter(str(folder / f"run-{index:02}")) as writer:
            for epoch, share in enumerate(history.val_accuracy[index], start=1):
                writer.add_scalar("val_accuracy", float(share), epoch)
            settings = {name: getattr(config, name) for name in SETTINGS}
            final = {"hparam/val_accuracy": float(history.final()[index])}
            writer.add_hparams(settings, final, run_name=".")


def stack_gain(dataset: Dataset, width: int, count: int, rounds: int = 4) -> Estimate:
    """How many times as fast a stack of networks is trained as a loop over them.

    An epoch of one network, times their number, stands for the loop; both are timed in turn.
    """
    config = Config(width=width, epochs=1)
    once = functools.partial(fit, dataset=dataset, keep_models=False, progress=False)
    alone, stack = functools.partial(once, config), functools.partial(once, config.seeds(count))
    taken = side_by_side({"alone": alone, "stack": stack}, rounds)
    return ratio_interval(list(count * taken["alone"]), list(taken["stack"]))


def train_by_lightning(module: Any, digits: Split, folder: Path, **options: Any) -> pd.Series:
    """Two epochs with Lightning's TensorBoardLogger, which gets ``options``: what it has logged."""
    from lightning import Trainer
    from lightning.pytorch.loggers import TensorBoardLogger
    from torch.utils.data import DataLoader, TensorDataset

    logger = TensorBoardLogger(str(folder.parent), name=folder.name, **options)
    batches = TensorDataset(digits.images.cpu(), digits.labels.cpu())
    with quiet_lightning() as quiet:
        trainer = Trainer(max_epochs=2, logger=logger, log_every_n_steps=1, **quiet)
        trainer.fit(module, DataLoader(batches, batch_size=50, shuffle=True))
    logger.experiment.close()
    return event_table(folder).iloc[-1]


@contextmanager
def quiet_lightning() -> Iterator[dict[str, Any]]:
    """Arguments for Lightning's Trainer that leave all but training out; it says errors only.

    Afterwards it is as talkative as before.
    """
    import logging
    import warnings

    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Its own use of torch's older tracing, and of pytrees: nothing that a learner can mend.
            for kind in (FutureWarning, DeprecationWarning, UserWarning):
                warnings.simplefilter("ignore", kind)
            yield {
                "accelerator": "cpu",
                "enable_checkpointing": False,
                "enable_progress_bar": False,
                "enable_model_summary": False,
            }
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def seeded_model(dataset: Dataset) -> tuple[nn.Sequential, torch.optim.Optimizer]:
    """A network of width 32 and its SGD, drawn with seed 0; what is drawn next follows from it."""
    images = dataset.train.images
    torch.manual_seed(0)
    model = make_mlp(images[0].numel(), width=32).to(images.device)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


@torch.no_grad()
def accuracy_one_by_one(model: nn.Module, digits: Split) -> float:
    """Accuracy on some digits, asked for one after another, as nobody should."""
    answers = [int(model(image[None]).argmax()) for image in digits.images]
    right = [answer == int(label) for answer, label in zip(answers, digits.labels, strict=True)]
    return sum(right) / len(right)


def same_losses(losses: Sequence[Sequence[float]], tolerance: float = 1e-3) -> bool:
    """Whether several trainings had the same losses, step by step, to rounding."""
    first = np.asarray(losses[0], float)
    others = [np.asarray(each, float) for each in losses[1:]]
    alike = [each.shape == first.shape and np.allclose(each, first, tolerance) for each in others]
    return all(alike)
