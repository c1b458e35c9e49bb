"""Train a list of configurations: one run is a stack of runs.

Tuning means training the same network many times with different settings. So networks of equal
architecture are trained as one stack (see ``stack``), with torch's own optimisers and schedules
(see ``optimizers``), each on the images that its seed deals to it (see ``batches``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tqdm.auto import tqdm

from ..errors import require
from .config import Config
from .data import Dataset
from .history import History
from .losses import Loss
from .plan import Model, build_mlp, plan, refuse_nonsense
from .run import Run


def fit(
    configs: Config | Sequence[Config],
    dataset: Dataset,
    *,
    model: Model = build_mlp,
    loss: Loss | None = None,
    autocast: bool = False,
    keep_models: bool = True,
    on_epoch: Callable[[Run], object] | None = None,
    on_step: Callable[[Run], object] | None = None,
    every: int = 1,
    progress: bool = True,
) -> History:
    """Train every configuration and return the record of it all.

    ``model``        (config, dataset) -> torch module; called under the configuration's seed
    ``loss``         (logits [n, classes], labels [n]) -> [n]; cross-entropy unless given
    ``autocast``     forward pass in bfloat16
    ``keep_models``  whether ``history.model(index)`` will work afterwards
    ``on_epoch``     called with the Run after every epoch: look at it, ``run.stop(index)`` a
                     configuration, or ``run.set(...)`` another rate
    ``on_step``      the same after every ``every`` updates
    ``progress``     shows a bar on runs longer than two seconds

    Raises ValueError or TypeError that names what makes no sense, before anything is trained.
    """
    configs = _as_list(configs)
    total = sum(config.epochs for config in configs)
    runs = train(
        configs, dataset, model=model, loss=loss, autocast=autocast, keep_models=keep_models
    )
    with tqdm(total=total, unit="epoch", delay=2, leave=False, disable=not progress) as bar:
        for run in runs:
            if on_step and run.step % every == 0:
                on_step(run)
            if run.epoch_ended:
                if on_epoch:
                    on_epoch(run)
                bar.update(len(run.indices))
        bar.total = bar.n  # diverged networks end early: no bar is to look as if it had failed
    return run.history


def train(
    configs: Config | Sequence[Config],
    dataset: Dataset,
    *,
    model: Model = build_mlp,
    loss: Loss | None = None,
    autocast: bool = False,
    keep_models: bool = True,
) -> Iterator[Run]:
    """The loop inside ``fit``, for those who want to look in or to leave: yields after each update.

    Stop iterating, and training stops. Configurations whose networks have one architecture, and
    that share ``batch_size`` and ``epochs``, are trained as one stack; stacks follow one another.
    """
    configs = _as_list(configs)
    built = refuse_nonsense(configs, dataset, model, loss)
    updates = [config.epochs * -(-len(dataset.train) // config.batch_size) for config in configs]
    history = History.empty(configs, max(updates), len(dataset.val))
    for indices, stack in plan(configs, dataset, model, built):
        run = Run(history, indices, stack, dataset, loss, autocast)
        yield from run.steps()
        for index in indices if keep_models else ():
            history.weights[index] = run.weights(index)


def epochs(runs: Iterator[Run]) -> Iterator[Run]:
    """Of what ``train`` yields, the moments at which an epoch, or the last run of a stack, ends."""
    for run in runs:
        if run.epoch_ended or not run.active.any():
            yield run


def _as_list(configs: Config | Sequence[Config]) -> list[Config]:
    configs = [configs] if isinstance(configs, Config) else list(configs)
    require(configs, "configs: got an empty list, takes at least one Config")
    for config in configs:
        got = f"configs: got a {type(config).__name__}, takes Config or a list of them"
        require(isinstance(config, Config), got, TypeError)
    return configs
