"""Checks of the exercises of notebook 13."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from ...claims import judge
from ...classroom.check import exercise
from ...classroom.design import VERDICTS
from ...engine.data import Dataset
from ...evidence import Estimate, ratio_interval
from .experiments import accuracy_one_by_one, same_losses, seeded_model
from .profiles import count_operations
from .tracking import METRIC, event_table, settings_table

ROUNDS = 8
SEEN = 20  # validation images of the loop to mend


@exercise(
    "13.1",
    hints=[
        "Cut the old time, 1, into the part and the rest. Only the part shrinks.",
        "The new time is (1 - share) + share / factor.",
        "return 1 / ((1 - share) + share / factor)",
    ],
    praise="That is Amdahl's law: what you do not touch sets the limit.",
)
def check_speed_up(speed_up: Any) -> Iterator[tuple[Any, str]]:
    """How many times faster the whole gets, when one part of it gets ``factor`` times faster."""
    told = "A part that takes half of the time, made twice as fast, saves a quarter: 4/3 times."
    yield math.isclose(speed_up(0.5, 2), 4 / 3), told
    yield math.isclose(speed_up(0.0, 100), 1), "A part that takes no time cannot save any."
    yield math.isclose(speed_up(1.0, 7), 7), "If the part is everything, the whole gains it all."
    limit = "Half of the time remains however fast the part gets: the limit is 2."
    yield math.isclose(speed_up(0.5, 1e12), 2, rel_tol=1e-6), limit
    yield math.isclose(speed_up(0.65, 10), 1 / 0.415), "Only the part is divided by the factor."


def loop_to_mend(dataset: Dataset) -> tuple[list[float], list[float]]:
    """The loop of exercise 13.2 as it was: (loss of each update, accuracy after each epoch).

    It asks for the accuracy after every update, image by image, and keeps the last of each epoch.
    """
    images, labels = dataset.train.images, dataset.train.labels
    model, optimizer = seeded_model(dataset)
    losses, accuracies = [], []
    for _ in range(2):
        right = 0.0
        for chosen in torch.randperm(len(labels)).split(50):
            loss = functional.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            right = accuracy_one_by_one(model, dataset.val.first(SEEN))
        accuracies.append(right)
    return losses, accuracies


def _operations(call: Callable[[], Any]) -> tuple[Any, int]:
    with profile(activities=[ProfilerActivity.CPU]) as measured:
        result = call()
    return result, count_operations(measured)


@exercise(
    "13.2",
    hints=[
        "Profile it: mark the parts by record_function, as in section 1. Which part is largest?",
        "How often is the accuracy computed, and how often is it kept?",
        "Compute it once after the inner loop, for all 20 images in one call of the model.",
    ],
    praise="The same numbers, for a small part of the work.",
)
def check_mended_loop(train_loop: Any, dataset: Any) -> Iterator[tuple[Any, str]]:
    """The same losses and accuracies as before, with a quarter of torch's operations."""
    yield callable(train_loop), "`train_loop` should be a function that takes the data."
    (losses, accuracies), before = _operations(lambda: loop_to_mend(dataset))
    result, now = _operations(lambda: train_loop(dataset))
    pair = isinstance(result, tuple) and len(result) == 2
    yield pair, "It should return two lists: the losses, and the accuracies."
    yield same_losses([losses, result[0]]), "The losses differ: the training itself has changed."
    kept = np.shape(result[1]) == np.shape(accuracies)
    yield kept, f"One accuracy after each epoch is wanted; these are {np.size(result[1])}."
    alike = np.allclose(result[1], accuracies, atol=1e-6)
    yield alike, f"The accuracies should be {accuracies}; these are {list(result[1])}."
    told = f"It still calls {now:,} of torch's operations, where it was {before:,}; fewer than a "
    yield now < before / 4, told + "quarter will do."


@exercise(
    "13.3",
    hints=[
        'Inside the inner loop: writer.add_scalar("val_accuracy", float(share), epoch).',
        "writer.add_hparams takes a dict of settings, and a dict of final values.",
        'writer.add_hparams({"learning_rate": config.learning_rate, "batch_size": '
        'config.batch_size}, {"hparam/val_accuracy": float(history.final()[index])}, run_name=".")',
    ],
    praise="Whoever opens the page can sort your runs by any setting.",
)
def check_log(folder: Any, history: Any) -> Iterator[tuple[Any, str]]:
    """Each run with its curve, its settings and its final accuracy."""
    table = event_table(folder)
    runs = len(history)
    yield (
        len(table) == runs,
        f"There should be a folder for each of {runs} runs, and no other: "
        f"these are {len(table)}. Does add_hparams have run_name='.'?",
    )
    epochs = history.val_accuracy.shape[1]
    enough = (table["points"] >= epochs).all()
    yield enough, f"Each run should have a curve of {epochs} points, one for each epoch."
    settings = settings_table(folder)
    yield len(settings) == runs, "No settings are logged: writer.add_hparams(...)."
    for name in ("learning_rate", "batch_size"):
        yield name in settings, f"{name} is missing among the settings."
        wanted = sorted(float(getattr(config, name)) for config in history.configs)
        yield np.allclose(sorted(settings[name]), wanted), f"{name} is not that of the runs."
    yield METRIC in settings, f"The final accuracy is missing: {METRIC!r}."
    alike = np.allclose(sorted(settings[METRIC]), sorted(history.final()), atol=1e-5)
    yield alike, f"{METRIC} should be the accuracy after the last epoch."


def measured_gain(seconds: Mapping[str, Any]) -> Estimate:
    """How many times as fast the second version is as the first, round by round."""
    first, second = list(seconds)[:2]
    return ratio_interval(seconds[first], seconds[second])


@exercise(
    "13.4",
    hints=[
        "Two versions of one thing, in a dict of functions without arguments, to side_by_side.",
        "Let `same` compare what the two versions compute, for example their losses.",
        "*supported* if the whole interval lies above 1, *refuted* if it lies below, else *not "
        "settled*.",
    ],
    praise="A fair race: side by side, often enough, with the same result, and an honest verdict.",
)
def check_my_race(seconds: Any, same: Any, verdict: Any) -> Iterator[tuple[Any, str]]:
    """A race of the learner's own: the design, and whether the verdict follows."""
    yield isinstance(seconds, Mapping), "`race` should be what side_by_side(...) returns."
    yield len(seconds) == 2, f"Race two versions; these are {len(seconds)}."
    rounds = {len(each) for each in seconds.values()}
    yield (
        rounds and min(rounds) >= ROUNDS,
        f"Take {ROUNDS} rounds or more; these are {min(rounds)}.",
    )
    told = "`same` should be True or False: do the two versions compute the same?"
    yield isinstance(same, (bool, np.bool_)), told
    told = "They do not compute the same, so their times say nothing. Mend that, or race others."
    yield bool(same), told
    yield verdict in VERDICTS, f"`my_verdict` should be one of {', '.join(VERDICTS)}."
    gain = measured_gain(seconds)
    told = f"The second version is as fast as the first {gain}: look at where 1 lies."
    yield verdict == judge(gain, 1.0, None), told
