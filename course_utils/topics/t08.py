"""Notebook 08: workers and their accounts, Ray, pages on this machine, a supernet, the cost model, the lab, exercise checks.

What a worker process needs stands in ``t08_worker``, which imports less.
"""

from __future__ import annotations

import heapq
import importlib
import logging
import math
import os
import random
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import torch
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState
from scipy import stats
from torch import Tensor, nn
from torch.nn import Linear

from ..classroom.check import Result, check
from ..classroom.lab import Lab, slider
from ..engine.config import Config
from ..engine.data import Dataset
from ..engine.networks import initialise
from ..engine.training import fit
from ..evidence import Estimate
from ..plots import COLOURS, GREY, Axes, legend_outside, style
from ..search import make_study
from .t06 import free_port, stop_tensorboard
from .t08_worker import FINISHED, open_study, ray_trial, suggest

# ---- workers over one storage ---------------------------------------------------------------------------------------


def start_workers(
    storage: str,
    name: str,
    total: int,
    *,
    workers: int = 2,
    epochs: int = 6,
    batch: int = 1,
    **options: Any,
) -> list[subprocess.Popen]:
    """Start processes that ``work`` on one study; ``options`` go to ``subprocess.Popen``.

    The study is created first: two processes that create the tables of a new database at once get in each other's way.
    """
    open_study(storage, name)
    command = [
        sys.executable,
        "-m",
        "course_utils.topics.t08_worker",
        "--storage",
        storage,
        "--study",
        name,
        "--trials",
        str(total),
        "--epochs",
        str(epochs),
        "--batch",
        str(batch),
    ]
    return [
        subprocess.Popen(
            [*command, "--seed", str(seed)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        for seed in range(1, workers + 1)
    ]


def wait_for(workers: Sequence[subprocess.Popen], seconds: float = 120) -> None:
    """Wait until all have ended by themselves; RuntimeError, with what it said last, for one that failed."""
    try:
        for worker in workers:
            _, said = worker.communicate(timeout=seconds)
            if worker.returncode:
                raise RuntimeError(
                    f"a worker ended with code {worker.returncode}: {said.strip()[-500:]}"
                )
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.communicate()


def kill_in_mid_trial(study: optuna.Study, worker: subprocess.Popen, seconds: float = 60) -> int:
    """Kill ``worker`` (SIGKILL: no farewell) once it has trained a part of a trial; returns that trial's number."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and worker.poll() is None:
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("worker") == worker.pid and trial.intermediate_values:
                worker.kill()
                worker.communicate()
                if study.trials[trial.number].state == TrialState.RUNNING:
                    return trial.number
                raise RuntimeError("the trial ended before its worker did: give it more epochs")
        time.sleep(0.01)
    raise RuntimeError(f"worker {worker.pid} was never seen in the middle of a trial")


def account(study: optuna.Study) -> pd.DataFrame:
    """One row for each trial: its state, worker (numbered as they appear), and the trial it repeats, if it does."""
    workers: dict[int, int] = {}
    return pd.DataFrame(
        [
            {
                "state": trial.state.name.lower(),
                "worker": workers.setdefault(trial.user_attrs.get("worker", -1), len(workers) + 1),
                "epochs": max(trial.intermediate_values, default=0),
                "repeats trial": RetryHeartbeatStaleTrialCallback.retried_trial_number(trial),
                "value": trial.value if trial.state in FINISHED else None,
            }
            for trial in study.trials
        ]
    ).rename_axis("trial")


def lost(study: optuna.Study) -> list[int]:
    """The trials that never came to an end and that no later trial repeats to its end: empty when nothing is lost."""
    trials = study.trials
    repeated = {
        number
        for trial in trials
        if trial.state in FINISHED
        for number in RetryHeartbeatStaleTrialCallback.retry_history(trial)
    }
    return [
        trial.number
        for trial in trials
        if trial.state not in FINISHED and trial.number not in repeated
    ]


def occupied(
    started: Sequence[float], seconds: Sequence[float], places: int = 1, begun: float | None = None
) -> np.ndarray:
    """[trial]: seconds for which each trial kept its place, of ``places``: from the end of the one before to its own.

    ``started`` and ``seconds`` say when each trial began and how long it ran; what happens between two trials counts
    for the second. The first trial in each place counts from ``begun``, when the search was started; without it, NaN.
    """
    started, seconds = np.asarray(started, float), np.asarray(seconds, float)
    ends = [-math.inf if begun is None else begun] * places
    kept = np.full(len(started), math.nan)
    for number in np.argsort(started):
        end = started[number] + seconds[number]
        kept[number] = end - heapq.heapreplace(ends, end)
    return np.where(np.isfinite(kept), kept, math.nan)


def study_occupied(study: optuna.Study, places: int = 1) -> np.ndarray:
    """[trial]: the same for the trials of a study that were trained to their end, the first in each place left out."""
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    kept = occupied(
        [trial.user_attrs["started"] for trial in trials],
        [trial.user_attrs["seconds"] for trial in trials],
        places,
    )
    return kept[np.isfinite(kept) & [trial.state == TrialState.COMPLETE for trial in trials]]


def seconds_a_batch(study: optuna.Study, batch: int = 1) -> np.ndarray:
    """[batch]: seconds from the start of one batch of trials to the start of the next in the same worker."""
    started: dict[int, list[float]] = {}
    for trial in study.get_trials(deepcopy=False, states=FINISHED):
        started.setdefault(trial.user_attrs["worker"], []).append(trial.user_attrs["started"])
    return np.concatenate([np.diff(sorted(times)[::batch]) for times in started.values()])


def plot_timeline(study: optuna.Study, ax: Axes) -> Axes:
    """Who trained what, and when: a bar for each trial, from its start until it ended or was given up."""
    trials, table = study.trials, account(study)
    zero = min(trial.datetime_start for trial in trials)
    looks = {"complete": (COLOURS[5], None), "pruned": ("#DDDDDD", None), "fail": ("white", "////")}
    for trial, (_, row) in zip(trials, table.iterrows(), strict=True):
        start, end = (
            (moment - zero).total_seconds()
            for moment in (trial.datetime_start, trial.datetime_complete)
        )
        colour, hatch = looks[row["state"]]
        ax.barh(
            row["worker"],
            end - start,
            left=start,
            color=colour,
            hatch=hatch,
            edgecolor="black",
            linewidth=0.8,
            height=0.6,
        )
        if row["state"] == "fail" or pd.notna(row["repeats trial"]):
            words = (
                "killed" if row["state"] == "fail" else f"trial {row['repeats trial']:.0f} again"
            )
            ax.annotate(
                words,
                ((start + end) / 2, row["worker"] + 0.32),
                ha="center",
                va="bottom",
                fontsize=9,
            )
    numbers = sorted(set(table["worker"]))
    ax.set(
        xlabel="seconds since the first trial",
        yticks=numbers,
        yticklabels=[f"worker {number}" for number in numbers],
        ylim=(0.5, numbers[-1] + 0.7),
    )
    ax.grid(axis="y", visible=False)
    return ax


def ratio(over: Sequence[float], under: Sequence[float]) -> Estimate:
    """Mean of ``over`` by mean of ``under``, independent samples; 95 % interval by the delta method on the logarithm."""
    samples = [np.asarray(values, float) for values in (over, under)]
    means = [values.mean() for values in samples]
    squared = [
        values.var(ddof=1) / len(values) / mean**2
        for values, mean in zip(samples, means, strict=True)
    ]
    fewest = min(map(len, samples))
    half = stats.t.ppf(0.975, fewest - 1) * math.sqrt(sum(squared))
    value = means[0] / means[1]
    return Estimate(value, value * math.exp(-half), value * math.exp(half), fewest, "times")


# ---- Ray ------------------------------------------------------------------------------------------------------------


def prepare_ray() -> None:
    """Settings that Ray reads once, when it is imported: this machine only, a token, no usage statistics, few words."""
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0",
        RAY_AIR_NEW_OUTPUT="0",
        RAY_AUTH_MODE="token",
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
    )  # so it listens on loopback, on Linux, too
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    importlib.import_module("ray")
    logging.getLogger("ray").setLevel(logging.CRITICAL)


def start_ray(workers: int = 2, dashboard: bool = False) -> str | None:
    """A local Ray cluster with ``workers`` places for trials; with a ``dashboard``, returns its address.

    Listens on this machine only, behind a token of its own, sends no usage statistics, and says little. The dashboard
    needs what "ray[default]" adds (ImportError without), some seconds at the start, and a part of a core from then on.
    """
    prepare_ray()
    import ray

    if dashboard:
        importlib.import_module("ray.dashboard.optional_deps")
    context = ray.init(
        "local",
        num_cpus=workers,
        include_dashboard=dashboard,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        logging_level="critical",
    )
    return f"http://{context.dashboard_url}" if dashboard else None


def ray_space() -> dict[str, Any]:
    """The search space, in Ray Tune's words."""
    from ray import tune

    return {
        "learning_rate": tune.loguniform(1e-4, 1.0),
        "dropout": tune.uniform(0.0, 0.6),
        "weight_decay": tune.loguniform(1e-5, 1e-1),
    }


def trainable(dataset: Dataset, epochs: int = 6) -> Callable[[dict], None]:
    """``ray_trial`` with its data, which Ray puts into shared memory once for all trials."""
    from ray import tune

    return tune.with_parameters(ray_trial, dataset=dataset, epochs=epochs)


def tuner(
    dataset: Dataset,
    folder: str | Path,
    name: str,
    trials: int,
    *,
    epochs: int = 6,
    scheduler: Any = None,
    search: Any = None,
    keep: bool = True,
    callbacks: Sequence[Any] = (),
    retries: int = 0,
) -> Any:
    """A Ray Tune search over the objective of this notebook, two trials at a time, with its records in ``folder``.

    ``keep`` lets one process run trial after trial; ``retries`` is how often a trial is tried again when its process
    or machine is lost.
    """
    from ray import tune
    from ray.tune.search import BasicVariantGenerator

    search = search or BasicVariantGenerator(random_state=0)
    return tune.Tuner(
        trainable(dataset, epochs),
        param_space=ray_space() if isinstance(search, BasicVariantGenerator) else None,
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            num_samples=trials,
            max_concurrent_trials=2,
            scheduler=scheduler,
            search_alg=search,
            reuse_actors=keep,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(folder),
            verbose=0,
            callbacks=list(callbacks),
            # The reporter for notebooks would clear what the cell has printed.
            progress_reporter=tune.CLIReporter(),
            failure_config=tune.FailureConfig(max_failures=retries),
        ),
    )


def interrupt_after(count: int) -> Any:
    """A Ray Tune callback that presses Stop (SIGINT, as Jupyter's button does) when that many trials have ended."""
    from ray import tune

    class Interrupt(tune.Callback):
        ended = 0

        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            self.ended += 1
            if self.ended == count:
                signal.raise_signal(signal.SIGINT)

        def __getstate__(
            self,
        ) -> dict[str, Any]:  # saved with the search: not to press again when restored
            return {"ended": math.inf}

    return Interrupt()


def ray_table(results: Any) -> pd.DataFrame:
    """Ray's results, one row for each trial that ran: its knobs, epochs, accuracy, start and seconds."""
    rows = [
        {
            **{f: r.config[f] for f in ("learning_rate", "dropout", "weight_decay")},
            "epochs": r.metrics["training_iteration"],
            "val_accuracy": r.metrics["val_accuracy"],
            "started": r.metrics["started"],
            "seconds": r.metrics["seconds"],
        }
        for r in results
        if r.metrics and "val_accuracy" in r.metrics
    ]
    return pd.DataFrame(rows).sort_values("started", ignore_index=True)


def plot_stopped(results: Any, epochs: int, ax: Axes) -> Axes:
    """Validation accuracy of each of Ray's trials as far as it was trained; those trained to the end are drawn thick."""
    for result in results:
        curve = result.metrics_dataframe["val_accuracy"]
        to_the_end = len(curve) == epochs
        ax.plot(
            np.arange(1, len(curve) + 1),
            curve,
            color=COLOURS[0] if to_the_end else GREY,
            linewidth=2 if to_the_end else 0.8,
            marker="" if to_the_end else "x",
            markevery=[-1],
            markersize=5,
        )
    ax.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1), xlim=(0.7, epochs + 0.3))
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


# ---- pages on this machine ------------------------------------------------------------------------------------------


def start_dashboard(storage: str, seconds: float = 60) -> tuple[subprocess.Popen, str]:
    """Optuna's dashboard as a process of its own, reachable from this machine only; (process, address).

    Returns once the page answers. Raises RuntimeError if it ends or has not answered in time. Stop it with
    ``stop_page(process)``.
    """
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "optuna_dashboard._cli",
        storage,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--quiet",
        "--server",
        "wsgiref",
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address, end = f"http://127.0.0.1:{port}/", time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return process, address
        time.sleep(0.1)
    stop_page(process)
    raise RuntimeError(
        "the dashboard did not start: run `optuna-dashboard sqlite:///study.db` to see why"
    )


stop_page = stop_tensorboard


# ---- trackers and profiles ------------------------------------------------------------------------------------------


def hparams_summary(folder: str | Path) -> pd.DataFrame:
    """What TensorBoard's HParams tab will show of the event files below ``folder``, read back: one row for each run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    rows = []
    for run in sorted({path.parent for path in Path(folder).rglob("events.out.tfevents*")}):
        events = EventAccumulator(str(run))
        events.Reload()
        content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
        knobs = HParamsPluginData.FromString(content).session_start_info.hparams
        rows.append(
            {
                "run": run.relative_to(folder).as_posix(),
                **{name: knobs[name].number_value for name in sorted(knobs)},
                "val_accuracy": events.Scalars("hparam/val_accuracy")[-1].value,
            }
        )
    return pd.DataFrame(rows).set_index("run").round(4)


def profile_parts(profile: Any, names: Sequence[str]) -> pd.Series:
    """Milliseconds spent in each part of a loop that was marked with ``torch.profiler.record_function(name)``."""
    spent = {event.key: event.cpu_time_total / 1000 for event in profile.key_averages()}
    return pd.Series({name: spent[name] for name in names}, name="ms")


def profile_calls(profile: Any, names: Sequence[str], rows: int = 5) -> pd.DataFrame:
    """The operations that took most time themselves: calls and milliseconds; the marked parts are left out."""
    events = [
        event
        for event in profile.key_averages()
        if event.key not in names and event.key.startswith("aten::")
    ]
    events.sort(key=lambda event: -event.self_cpu_time_total)
    return (
        pd.DataFrame(
            [
                {
                    "operation": event.key,
                    "calls": event.count,
                    "ms": event.self_cpu_time_total / 1000,
                }
                for event in events[:rows]
            ]
        )
        .set_index("operation")
        .round(1)
    )


def plot_parts(spent: Mapping[str, pd.Series], ax: Axes) -> Axes:
    """One bar for each version of a loop, cut into its parts (milliseconds, from ``profile_parts``)."""
    table = pd.DataFrame(spent).T.iloc[::-1]
    left = np.zeros(len(table))
    for number, (part, values) in enumerate(table.items()):
        ax.barh(
            table.index,
            values,
            left=left,
            label=part,
            color=COLOURS[number],
            hatch=("", "//", "..")[number % 3],
            edgecolor="white",
            height=0.6,
        )
        left += values.to_numpy()
    ax.set(xlabel="milliseconds", xlim=(0, 1.02 * left.max()))
    ax.grid(axis="y", visible=False)
    legend_outside(ax)
    return ax


# ---- a supernet -----------------------------------------------------------------------------------------------------

WIDTHS, ACTIVATIONS, DEPTHS = (4, 12, 32), {"relu": torch.relu, "tanh": torch.tanh}, (1, 2)
Architecture = tuple[int, str, int]  # width, activation, hidden layers
ARCHITECTURES: tuple[Architecture, ...] = tuple(
    (w, a, d) for w in WIDTHS for a in ACTIVATIONS for d in DEPTHS
)


def narrow(layer: nn.Linear, x: Tensor, inputs: int, outputs: int) -> Tensor:
    """A corner of a layer: x [..., inputs] through the first ``outputs`` of its units. Works on stacks, too."""
    weight, bias = layer.weight[..., :outputs, :inputs], layer.bias[..., :outputs]
    return x @ weight.transpose(-1, -2) + bias.unsqueeze(-2)


class Supernet(nn.Module):
    """Twelve networks in one set of weights: each uses a corner of every layer (ENAS: Pham et al., 2018).

    In training every batch goes through one network drawn at random; in evaluation through ``architecture``.
    With ``fixed`` it is that one network, always.
    """

    stackable = True

    def __init__(
        self, inputs: int = 196, classes: int = 10, fixed: Architecture | None = None, seed: int = 0
    ):
        super().__init__()
        widest = fixed[0] if fixed else max(WIDTHS)
        self.flatten = nn.Flatten(-3)
        self.first, self.second, self.head = (
            Linear(inputs, widest),
            Linear(widest, widest),
            Linear(widest, classes),
        )
        self.fixed, self.architecture = fixed, fixed or ARCHITECTURES[-1]
        self._draw = random.Random(seed)
        initialise(self, "he")

    def forward(self, images: Tensor) -> Tensor:
        drawn = self.training and self.fixed is None
        width, activation, depth = self._draw.choice(ARCHITECTURES) if drawn else self.architecture
        activate = ACTIVATIONS[activation]
        x = self.flatten(images)
        x = activate(narrow(self.first, x, x.shape[-1], width))
        if depth == 2:
            x = activate(narrow(self.second, x, width, width))
        return narrow(self.head, x, width, self.head.bias.shape[-1])


@torch.no_grad()
def rank_by_supernet(model: Supernet, dataset: Dataset) -> np.ndarray:
    """[architecture]: validation accuracy of each of the twelve with the shared weights."""
    found = []
    model.eval()
    for model.architecture in ARCHITECTURES:
        found.append(
            (model(dataset.val.images).argmax(-1) == dataset.val.labels).float().mean().item()
        )
    return np.array(found)


def train_supernets(dataset: Dataset, epochs: int, seeds: int = 8) -> np.ndarray:
    """[architecture, seed]: what the shared weights say of each of the twelve, for supernets with draws of their own."""
    found = []
    for seed in range(seeds):  # in a stack, all would draw the same architectures
        config = Config(learning_rate=3e-3, batch_size=50, epochs=epochs, seed=seed)
        history = fit(
            config, dataset, model=lambda config, data: Supernet(seed=config.seed), progress=False
        )
        found.append(rank_by_supernet(history.model(), dataset))
    return np.stack(found, axis=1)


def train_alone(dataset: Dataset, epochs: int, seeds: int = 8) -> np.ndarray:
    """[architecture, seed]: validation accuracies of each of the twelve, trained by itself."""
    configs = [
        Config(learning_rate=3e-3, batch_size=50, epochs=epochs, seed=seed) for seed in range(seeds)
    ]
    return np.stack(
        [
            fit(
                configs,
                dataset,
                model=lambda config, data, fixed=architecture: Supernet(fixed=fixed),
                keep_models=False,
                progress=False,
            ).val_correct.mean(1)
            for architecture in ARCHITECTURES
        ]
    )


def plot_agreement(alone: np.ndarray, shared: np.ndarray, ax: Axes) -> Axes:
    """[architecture] accuracies trained alone against those with shared weights; one marker for each width."""
    for number, width in enumerate(WIDTHS):
        chosen = [architecture[0] == width for architecture in ARCHITECTURES]
        ax.plot(
            alone[chosen],
            shared[chosen],
            "os^"[number],
            label=f"width {width}",
            color=COLOURS[number],
            markersize=6,
        )
    ax.set(xlabel="accuracy alone", ylabel="with shared weights")
    ax.legend(loc="upper left")
    return ax


# ---- the cost model -------------------------------------------------------------------------------------------------


def search_seconds(
    trials: int,
    seconds: float,
    *,
    workers: int = 1,
    overhead: float = 0.0,
    batch: int = 1,
    gain: float = 4.5,
    start: float = 0.0,
) -> float:
    """How long a search takes: start-up, then rounds in which every worker trains one batch.

    ``seconds`` of one trial alone; ``overhead`` seconds for each batch (process, storage, scheduler). A stack of K takes
    seconds * (gain - 1 + K) / gain: a fixed part and a part for each network. ``gain`` is how many times faster a very
    large stack trains than its networks one after another; about 4.5 for the small networks of this course, 1 for
    networks that fill a core by themselves.
    """
    rounds = math.ceil(math.ceil(trials / batch) / workers)
    return start + rounds * (overhead + seconds * (gain - 1 + batch) / gain)


ENGINES: dict[str, dict[str, float]] = {  # orders of magnitude; the notebook measures its own
    "one process, one by one": {"workers": 1},
    "Optuna workers": {"overhead": 0.05, "start": 5},
    "Ray, new process a trial": {"overhead": 4, "start": 10},
    "Ray, processes kept": {"overhead": 0.02, "start": 10},
    "stacks in workers": {"overhead": 0.05, "start": 10},
}


def cost_lab(engines: Mapping[str, Mapping[str, float]] = ENGINES) -> Lab:
    """Trials, seconds a trial, workers, stack size: the time each engine takes, against the number of workers."""
    controls = {
        "trials": slider("trials", [10, 30, 100, 300, 1000, 3000, 10_000], 1000),
        "seconds": slider("seconds_a_trial", [0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0], 1.0),
        "workers": slider("workers", [1, 2, 4, 8, 16, 32, 64, 100], 2),
        "batch": slider("trials_in_a_stack", [1, 2, 4, 8, 16, 32], 8),
        "overhead": slider("overhead_of_a_new_process", [0.5, 1.0, 2.0, 4.0, 8.0, 30.0], 4.0),
    }

    def run(values: dict[str, Any]) -> Iterator[dict]:
        places = np.unique(np.geomspace(1, 100, 25).round().astype(int))
        curves, chosen = {}, {}
        for name, engine in engines.items():
            batch = values["batch"] if "stack" in name else 1
            extra = {"overhead": values["overhead"]} if "new process" in name else {}

            def seconds(workers: int, engine=engine, batch=batch, extra=extra) -> float:
                return search_seconds(
                    values["trials"],
                    values["seconds"],
                    batch=batch,
                    **{"workers": int(workers), **engine, **extra},
                )

            curves[name] = [seconds(place) for place in places]
            chosen[name] = seconds(values["workers"])
        yield {"places": places, "curves": curves, "chosen": chosen, "workers": values["workers"]}

    return Lab(controls, run, _draw_costs, _describe_costs, columns=1, size=(8.2, 3.6))


def _draw_costs(figure, axes: np.ndarray, result: dict, earlier: Sequence[dict]) -> None:
    ax = axes[0, 0]
    for number, (name, curve) in enumerate(result["curves"].items()):
        ax.plot(result["places"], curve, label=name, **style(number))
        ax.plot(
            result["workers"],
            result["chosen"][name],
            "os^Dv"[number % 5],
            color=COLOURS[number % 7],
            markersize=5,
        )
    ax.axvline(result["workers"], color=GREY, linewidth=0.8)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="workers",
        ylabel="time of the whole search (s)",
        xticks=(1, 2, 5, 10, 20, 50, 100),
        xticklabels=(1, 2, 5, 10, 20, 50, 100),
    )
    ax.minorticks_off()
    legend_outside(ax)
    figure.subplots_adjust(right=0.68)


def _describe_costs(result: dict) -> str:
    order = sorted(result["chosen"].items(), key=lambda item: item[1])
    return f"with {result['workers']} workers: " + "; ".join(
        f"{name} {duration(seconds)}" for name, seconds in order
    )


def duration(seconds: float) -> str:
    """Seconds as people say them: "12 s", "3 min", "5.2 h", "8.1 days"."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86_400:.3g} days"


# ---- exercises ------------------------------------------------------------------------------------------------------


def check_search_time(search_time: Callable[[int, int, float, float], float]) -> Result:
    """08.1: trials on workers, in full rounds, each trial with its overhead."""

    def near(given: tuple, wanted: float) -> bool:
        return math.isclose(float(search_time(*given)), wanted, rel_tol=1e-9)

    return check(
        "08.1",
        [
            (
                lambda: math.isfinite(float(search_time(10, 2, 1.0, 0.5))),
                "one finite number is wanted.",
            ),
            (
                lambda: near((10, 1, 2.0, 0.0), 20.0),
                "ten trials of 2 s, one worker, no overhead: 20 s.",
            ),
            (
                lambda: near((10, 1, 2.0, 0.5), 25.0),
                "overhead is paid for every trial: half a second more on each of ten.",
            ),
            (lambda: near((10, 2, 2.0, 0.5), 12.5), "two workers share ten trials: five rounds."),
            (
                lambda: near((9, 2, 2.0, 0.5), 12.5),
                "nine trials on two workers: in the fifth round one has nothing to do.",
            ),
            (
                lambda: near((3, 100, 2.0, 0.5), 2.5),
                "a hundred workers cannot share one trial: three trials take one round.",
            ),
        ],
        [
            "how many rounds are there?",
            "rounds = math.ceil(trials / workers)",
            "every round takes seconds + overhead",
        ],
    )


def check_break_even(break_even: Callable[[float, int], float]) -> Result:
    """08.2: the length of a trial from which several workers with an overhead beat one process without."""

    def holds(overhead: float, workers: int) -> bool:
        t = float(break_even(overhead, workers))
        return math.isclose(workers * t, t + overhead, rel_tol=1e-6)

    return check(
        "08.2",
        [
            (lambda: math.isfinite(float(break_even(4.0, 2))), "one finite number is wanted."),
            (lambda: float(break_even(4.0, 2)) > 0, "a length above zero is wanted."),
            (
                lambda: holds(4.0, 2),
                "two workers, 4 s of overhead: while two trials run here one after the other, "
                "each worker has to finish one, overhead included.",
            ),
            (lambda: holds(4.0, 5), "with five workers shorter trials are enough."),
            (lambda: holds(0.5, 2), "it should grow with the overhead."),
        ],
        [
            "write down both times for as many trials as there are workers",
            "workers * t = t + overhead",
            "solve it for t",
        ],
    )


def check_choose_batch(choose_batch: Callable[[int, int, dict[int, float]], int]) -> Result:
    """08.3: the stack size with the shortest search, from measured seconds of a stack of each size."""
    flat, linear = {1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0, 16: 1.0}, {k: 0.1 + k for k in (1, 2, 4, 8, 16)}
    real = {1: 0.20, 2: 0.22, 4: 0.28, 8: 0.45, 16: 0.9, 32: 2.0}

    def cost(batch: int, trials: int, workers: int, seconds: dict[int, float]) -> float:
        return math.ceil(math.ceil(trials / batch) / workers) * seconds[batch]

    def best(trials: int, workers: int, seconds: dict[int, float]) -> bool:
        chosen = choose_batch(trials, workers, dict(seconds))
        return math.isclose(
            cost(chosen, trials, workers, seconds),
            min(cost(k, trials, workers, seconds) for k in seconds),
        )

    return check(
        "08.3",
        [
            (
                lambda: choose_batch(100, 2, dict(real)) in real,
                "one of the measured sizes is wanted.",
            ),
            (
                lambda: best(160, 1, flat),
                "where a stack of 16 takes as long as one network, 16 is best.",
            ),
            (
                lambda: best(1600, 1, linear),
                "where a stack costs almost as much as its networks, it still saves the overhead.",
            ),
            (
                lambda: best(1000, 2, real),
                "for a long search the best size is the one with the most trials a second.",
            ),
            (
                lambda: best(16, 8, real),
                "16 trials on 8 workers: a stack of eight keeps two workers busy and six idle.",
            ),
            (lambda: best(10, 2, real), "ten trials on two workers: count the rounds."),
        ],
        [
            "compute the time of the whole search for each size, and take the least",
            "stacks = ceil(trials / K), rounds = ceil(stacks / workers)",
            "min(seconds, key=lambda K: rounds(K) * seconds[K])",
        ],
    )


def orphaned_study() -> optuna.Study:
    """A study whose worker died in the middle of a batch by ask and tell: two trials finished, three still "running"."""
    study = make_study(optuna.samplers.RandomSampler(seed=0))
    asked = [study.ask() for _ in range(5)]
    for trial in asked:
        suggest(trial)
    for trial, value in zip(asked[:2], (0.7, 0.8), strict=True):
        study.tell(trial, value)
    return study


def check_rescue(rescue: Callable[[optuna.Study], Any]) -> Result:
    """08.4: what a dead worker left running is marked as failed, and its knobs are queued again, once."""
    found: dict[str, Any] = {}

    def states() -> list[str]:
        return [trial.state.name for trial in found["study"].trials]

    def ran() -> bool:
        found["study"] = orphaned_study()
        found["before"] = [trial.params for trial in found["study"].trials[2:]]
        rescue(found["study"])
        return True

    def asked_again() -> bool:
        again = [found["study"].ask() for _ in range(3)]
        for trial in again:
            suggest(trial)
        found["again"] = [trial.params for trial in again]
        key = str
        return sorted(map(key, found["again"])) == sorted(map(key, found["before"]))

    def second_call_changes_nothing() -> bool:
        study = orphaned_study()
        rescue(study)
        once = len(study.trials)
        rescue(study)
        return len(study.trials) == once

    return check(
        "08.4",
        [
            (ran, "rescue(study) raised an error."),
            (
                lambda: states()[:2] == ["COMPLETE", "COMPLETE"],
                "finished trials are to be left alone.",
            ),
            (
                lambda: "RUNNING" not in states(),
                "three trials still count as running, though nobody runs them.",
            ),
            (
                lambda: states()[2:5] == ["FAIL"] * 3,
                "an unfinished trial should be told as failed: a value would be invented.",
            ),
            (
                lambda: states().count("WAITING") == 3,
                "each of the three should be queued again, exactly once.",
            ),
            (
                asked_again,
                "the next three trials should have the knobs of the three that were lost.",
            ),
            (second_call_changes_nothing, "called twice, it should queue nothing twice."),
        ],
        [
            "study.get_trials(states=(TrialState.RUNNING,)) lists the orphans",
            "study.tell(trial.number, state=TrialState.FAIL) ends one",
            "study.enqueue_trial(trial.params) queues its knobs",
        ],
    )
