"""Notebook 07: the cockpit, and the checks of the case study."""

from __future__ import annotations

import html
import time
from typing import Any

import ipywidgets as widgets

from ..classroom.check import Result, check
from ..classroom.lab import Lab, Values, choice, rates, slider, training_lab
from ..engine.config import Config
from ..engine.data import Dataset
from ..engine.history import History
from ..evidence import Estimate, accuracy

PATIENT = Config(
    width=128,
    activation="sigmoid",
    init="normal",
    optimizer="adam",
    learning_rate=1e-3,
    batch_size=128,
    epochs=50,
)


def cockpit_lab(
    dataset: Dataset, to_beat: dict[str, float], minutes: float = 5.0, seeds: int = 4
) -> Lab:
    """Treat the patient by hand, against the clock: every completed attempt enters a log beside the results to beat.

    ``to_beat`` are named validation accuracies. The clock starts with the first attempt after the lab is shown.
    """
    log, attempts = widgets.HTML(), []
    log.add_class("course-lab-log")
    start: list[float] = []

    def finished(values: Values, history: History) -> None:
        if attempts and not start:
            start.append(time.monotonic())
        attempts.append((values, accuracy(history), time.monotonic() - start[0] if start else 0.0))
        log.value = _log_table(attempts, to_beat, minutes)

    controls = {
        "init": choice("init", ["normal", "xavier", "he", "small", "zeros"], "normal"),
        "activation": choice("activation", ["sigmoid", "tanh", "relu", "gelu"], "sigmoid"),
        "learning_rate": slider("learning_rate", rates(1e-4, 1.0), 1e-3),
        "schedule": choice("schedule", ["constant", "cosine", "one_cycle", "step"], "constant"),
        "width": slider("width", [16, 32, 64, 128, 256], 128),
        "dropout": slider("dropout", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], 0.0),
        "weight_decay": slider("weight_decay", [0.0, 0.001, 0.01, 0.1, 1.0], 0.0),
        "augment": choice("augment", [None, "shift", "affine", "flip"], None),
    }
    return training_lab(
        dataset,
        controls,
        seeds=seeds,
        finished=finished,
        extra=(log,),
        optimizer="adamw",
        batch_size=128,
        epochs=10,
    )


def _log_table(
    attempts: list[tuple[Values, Estimate, float]], to_beat: dict[str, float], minutes: float
) -> str:
    """The log as an HTML table, best attempt first, with what was changed against the first attempt."""
    first = attempts[0][0]
    rows = [
        (
            result.value,
            f"attempt {number}",
            str(result),
            _changes(first, values),
            f"{seconds:.0f} s",
        )
        for number, (values, result, seconds) in enumerate(attempts, start=1)
    ]
    rows += [
        (value, name, f"{value:.1%}".replace("%", " %"), "", "") for name, value in to_beat.items()
    ]
    rows.sort(key=lambda row: -row[0])
    used = attempts[-1][2]
    clock = (
        f"{used:.0f} of {60 * minutes:.0f} seconds used"
        if used <= 60 * minutes
        else "time is up; the log goes on"
    )
    heads = ("who", "validation accuracy", "changed", "clock")
    table = _table_row(heads, "th") + "".join(_table_row(row[1:], "td") for row in rows[:12])
    return f"<p>{clock}</p><table>{table}</table>"


def _table_row(cells: tuple[str, ...], kind: str) -> str:
    inside = "".join(
        f"<{kind} style='text-align:left; padding-right:1em'>{html.escape(cell)}</{kind}>"
        for cell in cells
    )
    return f"<tr>{inside}</tr>"


def _changes(first: Values, values: Values) -> str:
    changes = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in values.items()
        if value != first[name]
    ]
    return ", ".join(changes) or "nothing"


def check_most_valuable(answer: object, gains: dict[str, Estimate]) -> Result:
    """Exercise 7.1: which treatment was worth most where the others were already in place?"""
    right = max(gains, key=lambda name: gains[name].value)
    return check(
        "7.1",
        [
            (isinstance(answer, str), "`answer` should be the name of a treatment, as a string."),
            (answer in gains, f"choose one of: {', '.join(gains)}."),
            (answer == right, f"leaving out {answer!r} does not cost the most."),
        ],
        hints=[
            "look at the ablation, not at the waterfall.",
            "in the ablation each point is what is lost without the treatment.",
        ],
        praise=f"that is right: without {right} the network loses {gains[right]}.",
    )


def check_one_change(history: object) -> Result:
    """Exercise 7.2: eight seeds of the patient with exactly one field changed, sigmoid kept, at 89 % or more."""

    def changed() -> set[str]:
        return {
            name
            for config in history.configs
            for name, value in config.to_dict().items()
            if value != PATIENT.to_dict()[name]
        } - {"seed", "epochs"}

    return check(
        "7.2",
        [
            (isinstance(history, History), "hand over what fit(...) returned."),
            (
                lambda: len({config.seed for config in history.configs}) >= 8,
                "eight different seeds are wanted.",
            ),
            (
                lambda: all(config.activation == "sigmoid" for config in history.configs),
                "the sigmoid must stay.",
            ),
            (
                lambda: len(changed()) <= 1,
                f"only one field besides the epochs may differ from the patient; yours differ in "
                f"{', '.join(sorted(changed())) if isinstance(history, History) else ''}.",
            ),
            (
                lambda: accuracy(history).value >= 0.89,
                "the validation accuracy is still below 89 %.",
            ),
        ],
        hints=[
            "what did the histogram of the hidden units look like?",
            "units stuck at 0 and 1 were born there.",
            "PATIENT.replace(init=..., seed=seed)",
        ],
    )


def check_diagnosis(answer: object, evidence: Any) -> Result:
    """Exercise 7.3: "vanished" or "finished", and the gradient on mistakes that shows it (a float)."""
    return check(
        "7.3",
        [
            (answer in ("vanished", "finished"), "`answer` should be 'vanished' or 'finished'."),
            (
                isinstance(evidence, float) and evidence >= 0,
                "`evidence` should be a number: a gradient's norm.",
            ),
            (
                lambda: evidence < 1e-3,
                "that is not the first layer's gradient on images the network gets wrong.",
            ),
            (answer == "vanished", "look at its accuracy: has this network finished anything?"),
        ],
        hints=[
            "use gradient_on(model, images, labels) with images the network gets wrong.",
            "a network that has finished has large gradients on what it gets wrong.",
        ],
    )
