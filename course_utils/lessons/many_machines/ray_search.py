"""Ray Tune on this machine alone: start it, read its results, interrupt it, look at its rungs."""

from __future__ import annotations

import importlib
import logging
import math
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from ...engine.data import Dataset
from .worker import ray_trial

OWNER = "owner"  # the file that holds the number of the process whose folder it is
LONGEST_FOLDER = 40  # characters: Ray adds about sixty, and a socket's path has room for 107
KNOBS = ("learning_rate", "dropout")


def prepare_ray() -> None:
    """Settings that Ray reads once, when it is imported: this machine only, a token, no usage
    statistics, few words."""
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0",
        RAY_AIR_NEW_OUTPUT="0",
        RAY_AUTH_MODE="token",
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # so it listens on loopback, on Linux, too
        RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    )
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    importlib.import_module("ray")
    logging.getLogger("ray").setLevel(logging.CRITICAL)


def session_folder() -> Path:
    """A folder for Ray's sockets and logs, below one that only this user can enter.

    What killed kernels have left behind is cleared away: each folder says whose it is.

    Raises RuntimeError where the system's temporary folder has a name that Ray cannot use.
    """
    for owner in Path(tempfile.gettempdir()).glob(f"ray*/{OWNER}"):
        try:
            if not psutil.pid_exists(int(owner.read_text(encoding="utf-8"))):
                shutil.rmtree(owner.parent, ignore_errors=True)
        except (OSError, ValueError):  # another user's, or not of our making
            continue
    place = Path(tempfile.mkdtemp(prefix="ray"))
    folder = place / "s"
    if not str(folder).isascii() or (os.name != "nt" and len(str(folder)) > LONGEST_FOLDER):
        place.rmdir()
        raise RuntimeError(
            f"Ray needs a temporary folder whose name is short (at most {LONGEST_FOLDER} "
            "characters) and plain ASCII: set the environment variable TMPDIR to one, and restart "
            "the kernel"
        )
    (place / OWNER).write_text(str(os.getpid()), encoding="utf-8")
    return folder


def start_ray(workers: int = 2, dashboard: bool = False) -> str | None:
    """A local Ray cluster with ``workers`` places for trials; with a ``dashboard``, its address.

    It listens on this machine only, behind a token of its own, and sends no usage statistics. The
    dashboard needs what "ray[default]" adds (ImportError without). One that runs already is kept.
    """
    prepare_ray()
    import ray

    if ray.is_initialized():
        return None
    if dashboard:
        importlib.import_module("ray.dashboard.optional_deps")
    context = ray.init(
        "local",
        num_cpus=workers,
        include_dashboard=dashboard,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        logging_level="critical",
        _temp_dir=str(session_folder()),
    )
    return f"http://{context.dashboard_url}" if dashboard else None


def stop_ray() -> None:
    """End Ray and all its processes, and take away its folder."""
    import ray

    if ray.is_initialized():
        node = ray._private.worker._global_node  # Ray tells nobody else where its folder is
        folder = Path(node.get_temp_dir_path()) if node is not None else None
        ray.shutdown()
        if folder is not None and folder.name == "s":
            shutil.rmtree(folder.parent, ignore_errors=True)


def with_data(
    dataset: Dataset, epochs: int = 6, every: int = 1
) -> Callable[[dict[str, Any]], None]:
    """``ray_trial`` with its data, which Ray puts into shared memory once for all trials.

    Starts Ray if it does not run: left alone, it would start with settings of its own.
    """
    start_ray()
    from ray import tune

    trial: Callable[[dict[str, Any]], None] = tune.with_parameters(
        partial(ray_trial, epochs=epochs, every=every), dataset=dataset
    )
    return trial


def settings(
    folder: str | Path, name: str, callbacks: tuple[Any, ...] = (), retries: int = 0
) -> Any:
    """A RunConfig that keeps its records in ``folder``, and is quiet."""
    from ray import tune

    return tune.RunConfig(
        name=name,
        storage_path=str(folder),
        verbose=0,
        callbacks=list(callbacks),
        # The reporter for notebooks would clear what the cell has printed.
        progress_reporter=tune.CLIReporter(),
        failure_config=tune.FailureConfig(max_failures=retries),
    )


def interrupt_after(count: int) -> Any:
    """A callback for Ray Tune that presses Stop (SIGINT, as Jupyter's button does) when that many
    trials have ended."""
    from ray import tune

    class Interrupt(tune.Callback):
        ended: float = 0

        def on_trial_complete(
            self, iteration: int, trials: list[Any], trial: Any, **_: Any
        ) -> None:
            self.ended += 1
            if self.ended == count:
                signal.raise_signal(signal.SIGINT)

        def __getstate__(self) -> dict[str, Any]:
            return {"ended": math.inf}  # saved with the search: not to press again when restored

    return Interrupt()


def results_table(results: Any) -> pd.DataFrame:
    """Ray's results, one row for each trial that has reported, in the order of their start."""
    rows = [
        {name: each.config[name] for name in KNOBS}
        | {"epochs": each.metrics["training_iteration"]}
        | {name: each.metrics[name] for name in ("val_accuracy", "started", "seconds")}
        for each in results
        if each.metrics and "val_accuracy" in each.metrics
    ]
    return pd.DataFrame(rows).sort_values("started", ignore_index=True)


def rungs(scheduler: Any) -> dict[int, int]:
    """{epoch of a rung: how many trials ASHA remembers there}."""
    bracket = scheduler._brackets[0]  # Ray shows it in no other way but a text for debugging
    return {int(epoch): len(recorded) for epoch, recorded in sorted(bracket._rungs)}


def scheduler_of(tuner: Any) -> Any:
    """The scheduler with which a tuner, new or restored, will begin."""
    return tuner._local_tuner._tune_config.scheduler
