"""Hyperparameter search on the engine, through Optuna's ask-and-tell interface.

Optuna proposes a batch of trials, the engine trains them side by side, and each trial reports after
every epoch, so that any of Optuna's pruners can end it early.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.samplers import BaseSampler, GridSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from .engine.config import Config
from .engine.data import Dataset
from .engine.run import Run
from .engine.training import fit

Callback = Callable[[optuna.Study, FrozenTrial], object]


def make_study(
    sampler: BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
    storage: str | None = None,
    name: str | None = None,
) -> optuna.Study:
    """An Optuna study that maximises validation accuracy: TPE and median pruning unless you say
    otherwise.

    With ``storage`` ("sqlite:///study.db") and ``name`` an existing study is taken up where it
    stopped. Raises ValueError if that one does not maximise.
    """
    with quiet():
        study = optuna.create_study(
            direction="maximize",
            sampler=sampler or optuna.samplers.TPESampler(seed=0),
            pruner=pruner or optuna.pruners.MedianPruner(n_startup_trials=8, n_warmup_steps=3),
            storage=storage,
            study_name=name,
            load_if_exists=name is not None,
        )
    _refuse_other_directions(study)
    return study


def run_study(
    study: optuna.Study,
    suggest: Callable[[Trial], Config],
    dataset: Dataset,
    trials: int = 50,
    batch: int = 10,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> optuna.Study:
    """Run ``trials`` more trials of ``study``, ``batch`` at a time, each one training run.

    ``suggest`` turns a trial into a Config. A trial's value is its validation accuracy after its
    last epoch, of one seed: good enough to search with, too noisy to report (train the winner again
    with new seeds for that). The Config stands in the trial's user attribute "config".
    ``callbacks`` are called with (study, trial) after each trial, as Optuna's ``optimize`` does;
    ``options`` go to ``fit``. A larger ``batch`` trains faster, and the sampler learns less often.

    Returns the study: earlier than after ``trials`` trials, if ``study.stop()`` is called or a
    GridSampler has been through its grid. Whatever ends it, no trial is left running: those that
    could not be finished are told FAIL, and the error is raised. Raises ValueError for a study that
    does not maximise.
    """
    if trials < 1 or batch < 1:
        got = f"got {trials} and {batch}"
        raise ValueError(f"trials, batch: {got}, take whole numbers of at least 1")
    _refuse_other_directions(study)

    def tell(trial: Trial, **outcome: Any) -> None:
        told = study.tell(trial, **outcome)
        for callback in callbacks:
            callback(study, told)

    with stoppable(study) as stopped:
        while trials > 0 and not stopped.is_set():
            count = min(batch, trials, _points_left(study))
            if count == 0:
                break
            trials -= count
            asked: list[Trial] = []
            try:
                configs = _ask(study, suggest, count, asked, stopped, tell)
                _train(configs, dataset, tell, **options)
            finally:
                _fail_unfinished(study, asked)
    return study


def _ask(
    study: optuna.Study,
    suggest: Callable[[Trial], Config],
    count: int,
    asked: list[Trial],
    stopped: threading.Event,
    tell: Callable[..., None],
) -> dict[Trial, Config]:
    """A batch, less the trials that ``suggest`` finds not worth a training; ``asked`` notes each
    trial as soon as it exists."""
    configs = {}
    while len(asked) < count and not stopped.is_set():
        trial = study.ask()
        asked.append(trial)
        try:
            config = suggest(trial)
        except optuna.TrialPruned:
            tell(trial, state=TrialState.PRUNED)
            continue
        if not isinstance(config, Config):
            raise TypeError(f"suggest: returned a {type(config).__name__}, takes a Config")
        trial.set_user_attr("config", {name: str(each) for name, each in config.to_dict().items()})
        configs[trial] = config
    return configs


def _train(
    configs: dict[Trial, Config],
    dataset: Dataset,
    tell: Callable[..., None],
    on_epoch: Callable[[Run], object] | None = None,
    **options: Any,
) -> None:
    if not configs:
        return
    trials, pruned = list(configs), set()

    def report(run: Run) -> None:
        for index in filter(run.is_active, run.indices):
            accuracy = run.history.val_accuracy[index, run.epoch - 1]
            trials[index].report(float(accuracy), step=run.epoch)
            if trials[index].should_prune():
                pruned.add(index)
                run.stop(index)
        if on_epoch:
            on_epoch(run)

    settings = {"progress": False, "keep_models": False, **options}
    history = fit(list(configs.values()), dataset, on_epoch=report, **settings)
    accuracy = history.val_correct.mean(1)  # of a diverged run: that of chance
    for index, trial in enumerate(trials):
        if index in pruned:
            tell(trial, state=TrialState.PRUNED)
        else:
            tell(trial, values=float(accuracy[index]))


def _fail_unfinished(study: optuna.Study, asked: Sequence[Trial]) -> None:
    states = {trial.number: trial.state for trial in study.get_trials(deepcopy=False)}
    for trial in asked:
        if not states[trial.number].is_finished():
            study.tell(trial, state=TrialState.FAIL)


def _refuse_other_directions(study: optuna.Study) -> None:
    """A search that minimises accuracy would report its worst trial as the best."""
    if study.directions != [StudyDirection.MAXIMIZE]:
        got = " and ".join(direction.name.lower() + "s" for direction in study.directions)
        raise ValueError(
            f"study: {study.study_name!r} {got}, but accuracy is to be maximised; "
            'create it with direction="maximize", or with make_study()'
        )


def _points_left(study: optuna.Study) -> int:
    """How many trials the sampler still has points for: only a grid has an end.

    Optuna says no more than whether a grid is exhausted. A batch needs the number: one trial too
    many would train some point again.
    """
    if not isinstance(study.sampler, GridSampler):
        return sys.maxsize
    return len(study.sampler._get_unvisited_grid_ids(study))


@contextmanager
def stoppable(study: optuna.Study) -> Iterator[threading.Event]:
    """Let ``study.stop()`` set the event that this yields.

    Samplers, callbacks and learners call it to end a search; but Optuna's own raises outside of
    ``study.optimize``, and so would end a loop of ask and tell with an error.
    """
    stopped = threading.Event()
    study.stop = stopped.set  # type: ignore[method-assign]
    try:
        yield stopped
    finally:
        del study.stop  # the class's own stands behind it


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna says what is wrong and no more; afterwards it is as talkative as before."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def epochs_spent(study: optuna.Study) -> int:
    """How many epochs all trials of a study trained, the pruned ones included."""
    trials = study.get_trials(deepcopy=False)
    return sum(max(trial.intermediate_values, default=0) for trial in trials)


def close_unfinished(study: optuna.Study) -> int:
    """Mark trials that a killed process left running as failed, and return how many there were.

    Only for a study that nobody else is working on: another worker's trials, too, count as left
    running.
    """
    unfinished = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
    with stoppable(study):
        for trial in unfinished:
            study.tell(trial.number, state=TrialState.FAIL)
    return len(unfinished)
