"""Worker processes over one study: start them, kill one, account for every trial."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import optuna
import pandas as pd
from optuna.trial import TrialState

from .worker import FINISHED, RetryHeartbeatStaleTrialCallback, experimental, open_study

Process = subprocess.Popen[bytes]
TOLD = 500  # characters of a worker's last words that an error repeats


def new_storage(folder: str | Path, name: str) -> str:
    """The URL of an SQLite file in ``folder`` that does not exist yet."""
    number = 1
    while (path := Path(folder, f"{name}-{number}.db")).exists():
        number += 1
    return f"sqlite:///{path.as_posix()}"


def start_workers(
    storage: str,
    name: str,
    trials: int,
    *,
    workers: int = 2,
    epochs: int = 6,
    every: int = 1,
    heartbeat: bool = True,
) -> list[Process]:
    """Start processes that work on one study until it has so many finished ``trials``.

    The study is created first: two processes that create the tables of a new database at once get
    in each other's way. Each has a seed of its own, and ends when this process does.
    """
    open_study(storage, name, heartbeat=heartbeat)
    module = "course_utils.lessons.many_machines.worker"
    command = [sys.executable, "-m", module, "--child", "--storage", storage, "--study", name]
    command += ["--trials", str(trials), "--epochs", str(epochs), "--every", str(every)]
    command += [] if heartbeat else ["--no-heartbeat"]
    return [
        subprocess.Popen(
            [*command, "--seed", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for seed in range(1, workers + 1)
    ]


def wait_for(workers: Sequence[Process], seconds: float = 240) -> None:
    """Wait until all have ended by themselves.

    Raises RuntimeError, with its last words, for one that failed, and TimeoutExpired for one that
    took too long; none is left running.
    """
    end = time.monotonic() + seconds
    try:
        for worker in workers:
            # Not communicate(): it would close standard input, and the worker would end with it.
            worker.wait(max(0.0, end - time.monotonic()))
            said = worker.stderr.read().decode("utf-8", "replace") if worker.stderr else ""
            if worker.returncode:
                told = f"a worker ended with code {worker.returncode}: {said.strip()[-TOLD:]}"
                raise RuntimeError(told)
    finally:
        for worker in workers:
            _end(worker)


def _end(worker: Process) -> None:
    if worker.poll() is None:
        worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stderr):
        if pipe is not None:
            pipe.close()


def kill_in_mid_trial(study: optuna.Study, worker: Process, seconds: float = 120) -> int:
    """Kill ``worker`` (SIGKILL: no farewell) in the middle of a trial; returns its number.

    The study notes the moment, for ``plot_timeline``. Raises RuntimeError if the worker is never
    seen in the middle of a trial.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and worker.poll() is None:
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("worker") == worker.pid and trial.intermediate_values:
                _end(worker)
                if study.trials[trial.number].state == TrialState.RUNNING:
                    study.set_user_attr(f"killed {trial.number}", time.time())
                    return trial.number
                raise RuntimeError("the trial ended before its worker did: give it more epochs")
        time.sleep(0.01)
    _end(worker)
    raise RuntimeError(f"worker {worker.pid} was never seen in the middle of a trial")


def account(study: optuna.Study) -> pd.DataFrame:
    """One row for each trial: its state, its worker (numbered as they appear), its epochs, the
    trial that it repeats, if it does, and its value."""
    numbers: dict[int, int] = {}
    rows = []
    for trial in study.trials:
        worker = numbers.setdefault(trial.user_attrs.get("worker", -1), len(numbers) + 1)
        with experimental():
            repeats = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
        rows.append(
            {
                "state": trial.state.name.lower(),
                "worker": worker,
                "epochs": max(trial.intermediate_values, default=0),
                "repeats": repeats,
                "value": trial.value if trial.state in FINISHED else None,
            }
        )
    return pd.DataFrame(rows).rename_axis("trial").astype({"repeats": "Int64"})


def lost(study: optuna.Study) -> list[int]:
    """The trials that never came to an end and that no later trial repeats to its end."""
    trials = study.trials
    ended = [trial for trial in trials if trial.state in FINISHED]
    with experimental():
        histories = [RetryHeartbeatStaleTrialCallback.retry_history(trial) for trial in ended]
    repeated = {number for history in histories for number in history}
    unfinished = [trial.number for trial in trials if trial.state not in FINISHED]
    return [number for number in unfinished if number not in repeated]
