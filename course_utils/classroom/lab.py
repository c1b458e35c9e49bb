"""Slider labs: move a control, and real networks train while you watch. Floor 6.

A lab has no training logic of its own: it asks ``train`` for runs, draws them with ``plots``, and sees to it
that the last value wins.
"""

from __future__ import annotations

import asyncio
import gc
import html
import time
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from IPython.display import Image

from ..engine.config import Config
from ..engine.data import Dataset
from ..engine.history import History
from ..engine.training import train
from ..evidence import accuracy
from ..plots import caption, draw_training, new_figure, to_png

Values = dict[str, Any]
REDRAW_SECONDS = 0.25  # between pictures while training: drawing must not starve the training
BREATH_SECONDS = 0.02  # how long training may hold the kernel before it looks for a new value
NONE = "none"  # how None stands in a list: ipywidgets reads None as "nothing selected"
KEPT_RUNS = 3  # earlier runs that stay as faint curves


class Lab(widgets.VBox):
    """Controls, one picture, one line that says in words what the picture shows.

    controls   {name: widget}; the widgets' values, by name, go to ``run``
    run        values -> iterator of results: each is drawn if there is time, the last one always. It may take
               seconds: the lab goes on listening, and a new value ends it
    draw       (figure, axes, result, earlier results) -> None
    describe   result -> str, the line below the picture
    finished   called with (values, result) when a run was completed (not when it was cut short)
    """

    def __init__(
        self,
        controls: dict[str, widgets.Widget],
        run: Callable[[Values], Iterator[Any]],
        draw: Callable[..., None],
        describe: Callable[[Any], str],
        *,
        columns: int = 2,
        rows: int = 1,
        size: tuple[float, float] | None = None,
        finished: Callable[[Values, Any], None] | None = None,
        extra: tuple[widgets.Widget, ...] = (),
    ):
        self.controls, self.run, self.draw, self.describe = controls, run, draw, describe
        self.finished, self._columns, self._rows, self._size = finished, columns, rows, size
        self.earlier: list[Any] = []
        self.result: Any = None
        self.task: asyncio.Task | None = None
        self.picture = widgets.Image(
            format="png", layout=widgets.Layout(max_width="100%", align_self="flex-start")
        )
        self.picture.add_class("course-lab-picture")
        self.status = widgets.HTML()
        self.status.add_class("course-lab-status")
        stop, reset = widgets.Button(description="Stop"), widgets.Button(description="Reset")
        stop.on_click(lambda _: self.stop())
        reset.on_click(lambda _: self.reset())
        super().__init__(
            [*controls.values(), widgets.HBox([stop, reset]), self.picture, self.status, *extra]
        )
        self.add_class("course-lab")
        # While pictures are drawn, Python's garbage collector sweeps again and again over a million objects of Torch's and
        # others that are here to stay, and the lab stutters for half a second: set them aside, until the next lab is made.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._defaults, self._listening = self.values, True
        for control in controls.values():
            control.observe(lambda _: self.start(), names="value")
        self.complete()

    @property
    def values(self) -> Values:
        return values_of(self.controls)

    def start(self) -> None:
        """Train for the present values, cancelling what was in flight. Outside an event loop: train to the end."""
        if not self._listening:
            return
        self.stop()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no loop: a plain script, or a test
            self.complete()
            return
        self.add_class("course-lab-busy")  # for a style sheet, and for whoever must wait
        self.task = loop.create_task(self._train())

    def stop(self) -> None:
        """Leave the training in flight where it is."""
        if self.task is not None and not self.task.done():
            # JupyterLab hands a widget's messages to a thread of its own: the task may live in another one's loop.
            self.task.get_loop().call_soon_threadsafe(self.task.cancel)
            self.remove_class("course-lab-busy")
            self._say("stopped")
        self.task = None

    def reset(self) -> None:
        """Back to the first values, with no earlier curves."""
        self.stop()
        self.earlier.clear()
        self.result = None
        self._listening = False
        for name, control in self.controls.items():
            control.value = NONE if self._defaults[name] is None else self._defaults[name]
        self._listening = True
        self.start()

    def complete(self) -> None:
        """Train for the present values to the end, here and now."""
        self._keep()
        for result in in_one_thread(self.run(self.values)):
            self.result = result
        self._finish(self.result)

    def static(self) -> Image:
        """The picture as it is now, as an image that needs no kernel: for the page, and for paper."""
        return Image(self.picture.value, alt=self._text)

    async def _train(self) -> None:
        self._keep()
        self._say("training ...")
        draw_at, breathe_at = 0.0, time.perf_counter() + BREATH_SECONDS
        task = asyncio.current_task()
        try:
            for result in in_one_thread(self.run(self.values)):
                if self.task is not task:  # a newer run has taken over, perhaps in another thread
                    return
                self.result = result
                start = time.perf_counter()
                if start > draw_at:
                    self._draw(result)
                    now = time.perf_counter()
                    draw_at = now + max(REDRAW_SECONDS, 3 * (now - start))
                if time.perf_counter() > breathe_at:
                    await asyncio.sleep(0)  # here a new value arrives, and cancels us
                    breathe_at = time.perf_counter() + BREATH_SECONDS
            self._finish(result)
        except Exception as error:  # a task's error is otherwise only seen in the server's log
            self._say(f"{type(error).__name__}: {error}")
            raise
        finally:
            if self.task is task:  # not when a newer run has taken over
                self.remove_class("course-lab-busy")

    def _keep(self) -> None:
        if self.result is not None:
            self.earlier = [*self.earlier, self.result][-KEPT_RUNS:]
        self.result = None

    def _finish(self, result: Any) -> None:
        self._draw(result)
        if self.finished is not None:
            self.finished(self.values, result)

    def _draw(self, result: Any) -> None:
        figure, axes = new_figure(self._columns, self._rows, size=self._size)
        self.draw(figure, axes, result, self.earlier)
        caption(
            figure,
            ", ".join(
                f"{control.description} {_shown(control)}" for control in self.controls.values()
            ),
        )
        self.picture.value = to_png(figure)
        self._say(self.describe(result))

    def _say(self, text: str) -> None:
        self._text = text
        self.status.value = f"<span role='status' aria-live='polite'>{html.escape(text)}</span>"


def in_one_thread(results: Iterator[Any]) -> Iterator[Any]:
    """The same results, each computed in one thread of Torch; between them the setting is as it was.

    A thread of Torch that has nothing to do spins for a while, and takes from the browser the core that it needs to show
    the picture: on two cores a lab answers sooner with one thread than with two.
    """
    results, end = iter(results), object()
    while True:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            result = next(results, end)
        finally:
            torch.set_num_threads(threads)
        if result is end:
            return
        yield result


def values_of(controls: dict[str, widgets.Widget]) -> Values:
    """{name: value} of controls, with None where a list says "none"."""
    return {
        name: None if control.value == NONE else control.value for name, control in controls.items()
    }


def _shown(control: widgets.Widget) -> str:
    """A control's value as its label has it."""
    return str(
        getattr(control, "label", None) or control.value
    )  # a first option's label can be empty


def slider(description: str, options: list[Any], value: Any) -> widgets.SelectionSlider:
    """A slider over listed values, labelled in full words, that acts when it is released or moved by a key."""
    labelled = [
        (f"{option:g}" if isinstance(option, float) else str(option), option) for option in options
    ]
    return widgets.SelectionSlider(
        options=labelled,
        value=value,
        description=description.replace("_", " "),
        continuous_update=False,
        style={"description_width": "initial"},
        layout=widgets.Layout(width="28em"),
    )


def choice(description: str, options: list[Any], value: Any) -> widgets.Dropdown:
    """A drop-down list, labelled in full words; None is shown as "none"."""
    options, value = (
        [NONE if option is None else option for option in options],
        NONE if value is None else value,
    )
    return widgets.Dropdown(
        options=[(str(option).replace("_", " "), option) for option in options],
        value=value,
        description=description.replace("_", " "),
        style={"description_width": "initial"},
        layout=widgets.Layout(width="28em"),
    )


def rates(low: float = 1e-4, high: float = 10.0, per_decade: int = 4) -> list[float]:
    """Learning rates for a slider, evenly spaced on the log axis, to two digits."""
    count = round(per_decade * np.log10(high / low)) + 1
    return [float(f"{rate:.2g}") for rate in np.logspace(np.log10(low), np.log10(high), count)]


def training_lab(
    dataset: Dataset,
    controls: dict[str, widgets.Widget],
    *,
    seeds: int = 8,
    finished: Callable[[Values, History], None] | None = None,
    extra: tuple[widgets.Widget, ...] = (),
    **fixed: Any,
) -> Lab:
    """A lab whose controls are fields of Config: ``seeds`` networks train for each setting, loss and accuracy are drawn.

    ``fixed`` are the fields that no control moves. Each result is the growing History.
    """

    def run(values: Values) -> Iterator[History]:
        configs = [Config(**fixed, **values, seed=seed) for seed in range(seeds)]
        for state in train(configs, dataset, keep_models=False):
            if state.epoch_ended or not state.active.any():
                yield state.history

    return Lab(
        controls,
        run,
        draw_training,
        describe_training,
        finished=finished,
        extra=extra,
        size=(8.4, 3.0),
    )


def describe_training(history: History) -> str:
    """The result of several seeds in one line, for those who cannot see the picture and for those who can."""
    epochs = np.isfinite(history.val_loss).sum(1)
    if history.diverged.all():
        return f"diverged at epoch {epochs.max() + 1}: the loss is no longer a number"
    parts = [
        f"epoch {epochs.max()} of {history.val_loss.shape[1]}: validation accuracy {accuracy(history)}"
        if len(history) > 1
        else f"epoch {epochs.max()}"
    ]
    parts.append(f"training {np.nanmean(history.final('train_accuracy')):.1%}".replace("%", " %"))
    if history.diverged.any():
        parts.append(f"{history.diverged.sum()} of {len(history)} networks diverged")
    return ", ".join(parts)


def learning_rate_lab(dataset: Dataset) -> Lab:
    """The first lab: learning rate and width, eight networks, plain SGD for ten epochs."""
    controls = {
        "learning_rate": slider("learning_rate", rates(1e-3, 100.0), 0.1),
        "width": slider("width", [1, 2, 4, 8, 16, 32, 64, 128], 32),
    }
    return training_lab(dataset, controls, optimizer="sgd", epochs=10)
