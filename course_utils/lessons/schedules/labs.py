"""The lab of notebook 04: you are the schedule."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ...classroom.controls import slider
from ...classroom.lab import Earlier, Lab
from ...classroom.picture import Picture
from ...classroom.training_lab import rates
from ...classroom.worker import Values
from ...engine.config import Config
from ...engine.data import Dataset
from ...engine.history import History
from ...engine.training import fit, train
from ...evidence import Estimate, difference
from ...plots import EARLIER, GREY, style
from ...protocol import Trial
from .experiments import CHOOSERS, JUDGES, tuning_part

DRIVE_SECONDS = 20
LOOK_EVERY = 4  # updates
FIRST_LOOKS = (1, 2)
RATES = rates(1e-3, 1.0, per_decade=8)
START = RATES[RATES.index(min(RATES, key=lambda rate: abs(rate - 0.05)))]
WORST, BEST = -12.0, 6.0  # points, of the race's axis


@dataclass
class Drive:
    """One training as it was steered, and, once at its end, its race against the rivals.

    rates, losses   [update]: the rate, and the mean loss of the batch
    places, accuracy  [look]: updates done, and the mean accuracy on the tuning images
    gains           {rival: points that the driven schedule gains over it, on fresh seeds}
    """

    updates: int
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    gains: dict[str, Estimate] = field(default_factory=dict)
    reached: float = float("nan")


class DriveLab(Lab):
    """A lab whose slider always turns the training in flight; at rest, it begins a new one."""

    def set(self, live: bool = False, **changes: float) -> None:
        self.values = self.values | changes
        if not self.worker.turn(changes):
            self.worker.ask(self.values)


def drive_lab(
    dataset: Dataset, rivals: Trial, names: Sequence[str], seconds: float = DRIVE_SECONDS
) -> DriveLab:
    """Steer the learning rate of four networks, for twenty seconds; then the rates that you set
    are repeated with eight fresh seeds, against what ``names`` of ``rivals`` reached.

    The rivals' peaks were tuned on the same seeds and images as you drive on.
    """
    histories = {name: rivals.histories[name] for name in names}
    config = histories[names[0]].configs[0].replace(schedule="constant", warmup=0.0)
    planned = {name: history.learning_rate[0] for name, history in histories.items()}
    updates = len(planned[names[0]])
    board: list[list[str]] = []

    def run(values: Values) -> Generator[Drive, Values | None, None]:
        drive = Drive(updates)
        yield from steer(drive, config.replace(**values), dataset, seconds / updates)
        race(drive, config, dataset, histories)
        gained = [f"{100 * drive.gains[name].value:+.1f}" for name in names]
        board.append([str(len(board) + 1), f"{100 * drive.reached:.1f} %", *gained])
        yield drive

    lab = DriveLab(
        {"learning_rate": slider("learning rate", RATES, START)},
        run,
        Picture(partial(_frame, planned=planned), columns=3),
        _draw,
        describe_drive,
        name="a learning rate steered by hand, the accuracy on the way, and a race at the end",
        actions={"Drive again": _again},
        table=lambda drive: [
            ["drive", "accuracy", *(f"over {name}" for name in names)],
            *board[-4:],
        ],
        code=lambda values: code_of(lab.result, config),
    )
    return lab


def _again(lab: Lab) -> str:
    lab.worker.ask(lab.values)
    return "a new drive begins"


def steer(
    drive: Drive, config: Config, dataset: Dataset, pace: float = 0.0
) -> Generator[Drive, Values | None, None]:
    """Train four networks at ``config``'s rate, or whatever rate is sent in from then on.

    An update takes ``pace`` seconds in a lab's own thread; nobody waits in a cell.
    """
    if threading.current_thread() is threading.main_thread():
        pace = 0.0
    clock = time.perf_counter()
    for run in train(config.seeds(CHOOSERS), tuning_part(dataset), keep_models=False):
        losses = run.history.step_loss[:, run.step - 1]
        drive.rates.append(float(run.history.learning_rate[0, run.step - 1]))
        drive.losses.append(float(np.mean(losses)))
        if run.step in FIRST_LOOKS or run.step % LOOK_EVERY == 0 or run.step == drive.updates:
            correct = run.evaluate(run.dataset.val)[1]
            drive.places.append(run.step)
            drive.accuracy.append(float(correct.mean()))
        changes = yield drive
        if changes:
            run.set(**changes)
        clock += pace
        time.sleep(max(0.0, clock - time.perf_counter()))
        clock = max(clock, time.perf_counter() - pace)  # a pause is not caught up on


def race(drive: Drive, config: Config, dataset: Dataset, rivals: Mapping[str, History]) -> None:
    """Repeat the rates of a drive with eight fresh seeds, and compare with each rival."""
    steered = config.replace(learning_rate=1.0, schedule=partial(as_driven, rates=drive.rates))
    history = fit(steered.seeds(JUDGES), dataset, keep_models=False, progress=False)
    drive.reached = float(history.val_correct.mean())
    drive.gains = {name: difference(history, rival) for name, rival in rivals.items()}


def as_driven(optimizer: Optimizer, rates: Sequence[float]) -> LambdaLR:
    """The schedule that sets these rates, one for each update; the last one stays."""
    return LambdaLR(optimizer, lambda step: rates[min(step, len(rates) - 1)])


def _frame(axes: list[Axes], planned: Mapping[str, np.ndarray]) -> None:
    steering, accuracy, gains = axes
    updates = len(next(iter(planned.values())))
    for number, (name, rates_of) in enumerate(planned.items()):
        look = style(number + 1) | {"linewidth": 1.2, "alpha": 0.7, "label": name}
        steering.plot(np.maximum(rates_of, RATES[0] / 2), **look)
    steering.set(yscale="log", ylim=(RATES[0], RATES[-1]), xlim=(0, updates), xlabel="update")
    steering.set_title("your learning rate")
    steering.legend(loc="lower center", frameon=False)
    accuracy.set(ylim=(0, 1), xlim=(0, updates), xlabel="update")
    accuracy.set_title("accuracy on the way")
    gains.set(xlim=(WORST, BEST), ylim=(len(planned) - 0.5, -0.5), xlabel="points you gain over")
    gains.set_yticks(range(len(planned)), list(planned))
    gains.tick_params(axis="y", labelsize=9, pad=2)  # names stay off the panel beside them
    gains.axvline(0, color=GREY, linewidth=1)
    gains.set_title("race, eight fresh seeds")


def _draw(axes: list[Axes], drive: Drive, earlier: Sequence[Earlier] = ()) -> None:
    steering, accuracy, gains = axes
    for old in earlier:
        steering.plot(old.result.rates, color=EARLIER, alpha=0.7, linewidth=1.2)
        accuracy.plot(old.result.places, old.result.accuracy, color=EARLIER, alpha=0.7)
    colour = style(0)["color"]
    steering.plot(drive.rates, color=colour, linewidth=2.4)
    steering.plot(len(drive.rates) - 1, drive.rates[-1], "o", color=colour, clip_on=False)
    accuracy.plot(drive.places, drive.accuracy, color=colour, linewidth=2.4)
    for number, gain in enumerate(drive.gains.values()):
        low, value, high = np.clip(
            [100 * x for x in (gain.low, gain.value, gain.high)], WORST, BEST
        )
        gains.plot([low, high], [number, number], color=colour, linewidth=2)
        gains.plot(value, number, "o", color=colour, markersize=7)


def describe_drive(drive: Drive) -> str:
    """Where the drive is, or how its race ended, in one line."""
    if not drive.gains:
        so_far = f"{100 * drive.accuracy[-1]:.0f} %" if drive.accuracy else "not looked at yet"
        return (
            f"Update {len(drive.rates)} of {drive.updates}: learning rate {drive.rates[-1]:g}, "
            f"loss {drive.losses[-1]:.2f}, accuracy {so_far}"
        )
    against = "; ".join(f"over {name} {gain}" for name, gain in drive.gains.items())
    return f"Your schedule reaches {100 * drive.reached:.1f} % with eight fresh seeds: {against}"


def code_of(drive: Drive, config: Config) -> str:
    """The Python that repeats a drive."""
    changes, rates_of = [], drive.rates
    for step, rate in enumerate(rates_of):
        if step == 0 or rate != rates_of[step - 1]:
            changes.append(f"{step}: {rate:.4g}")
    fields = ("optimizer", "momentum", "width", "epochs", "batch_size")
    given = ", ".join(f"{name}={getattr(config, name)!r}" for name in fields)
    return "\n".join(
        [
            f"rates = {{{', '.join(changes)}}}  # from which update on",
            "def steer(run):",
            "    if run.step in rates:",
            "        run.set(learning_rate=rates[run.step])",
            f"config = Config(learning_rate={rates_of[0]:.4g}, {given})",
            "history = fit(config.seeds(8), small_mnist, on_step=steer)",
            "accuracy(history)",
        ]
    )
