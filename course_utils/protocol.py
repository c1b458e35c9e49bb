"""Fair comparisons, held by machine: compared with what, was the other side tuned, how many seeds?

    arms = {"nothing": Config(epochs=10), "dropout": Config(epochs=10, dropout=0.3)}
    trial = compare(arms, mnist, tune={"learning_rate": [0.001, 0.003, 0.01, 0.03]})
    trial                                    # a table: choices, budgets, accuracies, gains
    claim("RG1", "Dropout helps", trial.gain("dropout"), above=0)

Every arm is tuned on seeds and images of its own, and judged on fresh ones, pair by pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from .engine.config import Config, sweep
from .engine.data import Dataset, Split
from .engine.history import History
from .engine.plan import build_mlp
from .engine.training import fit
from .evidence import Estimate, accuracy, difference
from .grids import budget, edges, log_grid, shown, widened

__all__ = ["Arm", "Trial", "budget", "compare", "edges", "log_grid", "widened"]

QUESTIONS = ("epochs", "updates", "data")


@dataclass(frozen=True)
class Arm:
    """One side of a comparison.

    config        what does not vary
    tune          {field: values} that are tried for this arm, besides those tried for all
    dataset       where it differs from the other arms'
    model, loss   as ``fit`` takes them
    """

    config: Config
    tune: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    dataset: Dataset | None = None
    model: Callable[[Config, Dataset], nn.Module] = build_mlp
    loss: Callable[[Tensor, Tensor], Tensor] | None = None

    @property
    def data(self) -> Dataset:
        assert self.dataset is not None  # `compare` fills in what is common to all arms
        return self.dataset


@dataclass(frozen=True)
class Trial:
    """What ``compare`` found. Shown in a notebook, it is a table.

    chosen      {arm: {field: value}}: the highest mean accuracy on the tuning images
    tuning      {arm: History} of the runs that the choice was made by
    histories   {arm: History} of the runs that were judged
    tried       {arm: how many settings}
    updates     {arm: how many updates each judged run made}
    flags       {arm: what a reader should mind}
    """

    chosen: dict[str, dict[str, Any]]
    tuning: dict[str, History]
    histories: dict[str, History]
    tried: dict[str, int]
    updates: dict[str, int]
    flags: dict[str, list[str]]

    @property
    def first(self) -> str:
        """The arm that the others are compared with."""
        return next(iter(self.histories))

    def accuracy(self, arm: str) -> Estimate:
        """Validation accuracy of an arm, on fresh seeds and images."""
        return accuracy(self.histories[arm]).flagged(*self.flags[arm])

    def gain(self, arm: str, over: str | None = None) -> Estimate:
        """Points that an arm gains over another (the first, unless named), paired.

        The interval covers seeds and images, not that other tuning seeds might choose otherwise.
        """
        over = self.first if over is None else over
        gained = difference(self.histories[arm], self.histories[over])
        return gained.flagged(
            *(f"{each}: {flag}" for each in (over, arm) for flag in self.flags[each])
        )

    def gains(self) -> dict[str, Estimate]:
        """{arm: points gained over the first arm}, for all the others."""
        return {arm: self.gain(arm) for arm in self.histories if arm != self.first}

    @property
    def table(self) -> pd.DataFrame:
        """One row for each arm: its choice, its budget, its accuracy, its gain, what to mind."""
        rows = []
        for arm, history in self.histories.items():
            choice = [f"{name} {shown(value)}" for name, value in self.chosen[arm].items()]
            row: dict[str, Any] = {"arm": arm}
            row |= {"chosen": ", ".join(choice) or "(nothing to choose)"}
            row |= {"of": self.tried[arm], "epochs": history.configs[0].epochs}
            row |= {"updates": self.updates[arm], "seeds": len(history)}
            row["accuracy"] = str(self.accuracy(arm))
            row["gain"] = "" if arm == self.first else str(self.gain(arm))
            row["mind"] = "; ".join(self.flags[arm])
            rows.append(row)
        frame = pd.DataFrame(rows).set_index("arm")
        return frame if any(self.flags.values()) else frame.drop(columns="mind")

    def __repr__(self) -> str:
        return self.table.to_string()

    def _repr_html_(self) -> str:
        return self.table.to_html()


def compare(
    arms: Mapping[str, Config | Arm],
    dataset: Dataset,
    *,
    tune: Mapping[str, Sequence[Any]] | None = None,
    tuning_seeds: Iterable[int] = range(8, 12),
    seeds: Iterable[int] = range(8),
    question: str | None = None,
    keep_models: bool = False,
) -> Trial:
    """Tune every arm, judge every arm, and pair the results with those of the first arm.

    ``tune``      {field: values}: each arm tries every combination on ``tuning_seeds``, and keeps
                  the one with the highest mean accuracy on the tuning images (``dataset.tuning``;
                  without them, every other validation image chooses, and the rest judge)
    ``seeds``     judge what was chosen
    ``question``  what may differ between the arms because it is what is asked: "epochs" or
                  "updates" of training, or "data"

    Raises ValueError for fewer than two arms, for seeds that would choose and judge, and for
    budgets or data that differ without being the question.
    """
    sides = {name: _as_arm(arm, dataset) for name, arm in arms.items()}
    judges, choosers = list(seeds), list(tuning_seeds)
    _refuse_unfair(sides, judges, choosers, question)
    chosen: dict[str, dict[str, Any]] = {}
    flags: dict[str, list[str]] = {}
    tuning, tried = {}, {}
    for name, arm in sides.items():
        grids = {each: widened(each, v) for each, v in {**(tune or {}), **arm.tune}.items()}
        chosen[name], flags[name] = {}, []
        tried[name] = math.prod(map(len, grids.values()))
        if grids:
            tuning[name], chosen[name] = _choose(arm, grids, choosers)
            flags[name] = edges(chosen[name], grids)
    settled = {name: arm.config.replace(**chosen[name]) for name, arm in sides.items()}
    updates = {name: _updates(settled[name], arm.data) for name, arm in sides.items()}
    _refuse_other_budgets(settled, updates, question)
    histories = {}
    for name, arm in sides.items():
        judging = _parts(arm.data)[1] if tuning else arm.data
        histories[name] = _train(arm, settled[name].seeds(judges), judging, keep_models)
        if lost := int(histories[name].diverged.sum()):
            flags[name].append(f"{lost} of {len(judges)} runs of {name} diverged")
    return Trial(chosen, tuning, histories, tried, updates, flags)


def _train(arm: Arm, configs: list[Config], dataset: Dataset, keep_models: bool) -> History:
    return fit(configs, dataset, model=arm.model, loss=arm.loss, keep_models=keep_models)


def _refuse_unfair(
    sides: Mapping[str, Arm], judges: list[int], choosers: list[int], question: str | None
) -> None:
    if len(sides) < 2:
        raise ValueError(f"arms: got {len(sides)}, takes two or more")
    if both := sorted(set(judges) & set(choosers)):
        raise ValueError(f"seeds, tuning_seeds: {both} stand in both; who chooses must not judge")
    if question not in (None, *QUESTIONS):
        raise ValueError(
            f"question: got {question!r}, takes one of {', '.join(QUESTIONS)}, or None"
        )
    _refuse_other_data(sides, question)


def _as_arm(arm: Config | Arm, dataset: Dataset) -> Arm:
    arm = arm if isinstance(arm, Arm) else Arm(arm)
    config = arm.config.replace(epochs=budget(arm.config.epochs))
    return replace(arm, config=config, dataset=arm.dataset or dataset)


def _choose(
    arm: Arm, grids: Mapping[str, Sequence[Any]], seeds: Sequence[int]
) -> tuple[History, dict[str, Any]]:
    """All runs of the choice, and the combination with the highest mean accuracy."""
    configs = sweep(arm.config, **grids, seeds=seeds)
    runs = _train(arm, configs, _parts(arm.data)[0], keep_models=False)
    score = runs.val_correct.mean(1).reshape(-1, len(seeds)).mean(1)
    best = runs.configs[int(score.argmax()) * len(seeds)]
    return runs, {name: getattr(best, name) for name in grids}


def _parts(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """(to choose by, to judge by): the same training images, but other ones to look at."""
    if dataset.tuning is not None:
        return replace(dataset, val=dataset.tuning, tuning=None), dataset
    val = dataset.val
    halves = [Split(val.images[start::2], val.labels[start::2]) for start in (0, 1)]
    return replace(dataset, val=halves[0]), replace(dataset, val=halves[1])


def _updates(config: Config, dataset: Dataset) -> int:
    return config.epochs * math.ceil(len(dataset.train) / config.batch_size)


def _refuse_other_data(sides: Mapping[str, Arm], question: str | None) -> None:
    first = next(iter(sides.values())).data
    for name, arm in sides.items():
        data = arm.data
        if data is not first and question != "data":
            raise ValueError(f"arms: {name} has data of its own; if that is asked: question='data'")
        if not torch.equal(data.val.labels, first.val.labels):
            raise ValueError(
                f"arms: {name} has other validation images; takes the same, to pair them"
            )


def _refuse_other_budgets(
    configs: Mapping[str, Config], updates: Mapping[str, int], question: str | None
) -> None:
    budgets = {"epochs": {name: config.epochs for name, config in configs.items()}}
    budgets["updates"] = dict(updates)
    allowed = {"epochs": ["epochs", "updates"], "updates": ["updates"], "data": ["updates"]}
    for kind, spent in budgets.items():
        if len(set(spent.values())) > 1 and kind not in allowed.get(question or "", []):
            each = ", ".join(f"{name} {count:,}" for name, count in spent.items())
            ask = f"makes them equal, or asks for it: question={kind!r}"
            raise ValueError(f"arms: their {kind} differ ({each}); a fair comparison {ask}")
