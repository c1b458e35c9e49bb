"""Slider labs: move a control, and real networks train while you watch.

A lab has no training of its own: it asks a generator for results, draws each upon a kept frame
(``picture``), and shows it in the page (``lab.js``). It works in a thread of its own, so that it
answers also while a cell runs, and the last value wins.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from IPython.display import display
from matplotlib.axes import Axes

from ..threads import one_thread
from .controls import Control
from .open_labs import replace_older
from .picture import Picture
from .worker import Values, Worker

HERE = Path(__file__).parent
KEPT_RUNS = 3  # earlier runs that stay in the picture


@dataclass(frozen=True)
class Earlier:
    """A run that stays in the picture: its last result, and in words what was different."""

    values: Values
    result: Any
    label: str


class Lab(anywidget.AnyWidget):
    """Controls, a line in words, one picture.

    controls   {name: Control}; their values, by name, go to ``run``
    run        values -> generator of results: each is drawn if there is time, the last one always
    picture    the frame on which results are drawn
    draw       (axes, result, earlier runs) -> None
    describe   result -> str, what the picture shows in one line
    name       what the picture is of, in a few words, for those who cannot see it
    live       names of controls that a run in flight can take: it receives {name: value} from its
               ``yield``, where the learner has switched to that
    actions    {label of a button: function (lab) -> words or None}
    table      result -> rows of text, the first being the head: shown beside the picture
    code       values -> the Python that repeats the run
    point      (panel, x, y, values) -> {name: value}: what a pointer on the picture sets
    finished   (values, result) -> None, when a run was completed (not when it was cut short)
    """

    _esm = HERE / "lab.js"
    _css = HERE / "lab.css"
    look = traitlets.Dict().tag(sync=True)  # what the page needs to build itself

    def __init__(
        self,
        controls: Mapping[str, Control],
        run: Callable[[Values], Generator[Any, Values | None, None]],
        picture: Picture,
        draw: Callable[[list[Axes], Any, Sequence[Earlier]], None],
        describe: Callable[[Any], str],
        *,
        name: str,
        live: Sequence[str] = (),
        actions: Mapping[str, Callable[[Lab], str | None]] | None = None,
        table: Callable[[Any], Sequence[Sequence[str]]] | None = None,
        code: Callable[[Values], str] | None = None,
        point: Callable[[int, float, float, Values], Values] | None = None,
        finished: Callable[[Values, Any], None] | None = None,
    ):
        self.controls, self.run, self.picture, self.draw = dict(controls), run, picture, draw
        self.describe, self.name, self.live, self.actions = (
            describe,
            name,
            tuple(live),
            actions or {},
        )
        self.table, self.code, self.point, self.finished = table, code, point, finished
        self.values: Values = {each: control.start for each, control in self.controls.items()}
        self.earlier: list[Earlier] = []
        self.result: Any = None
        self.png, self.text, self.made_by = b"", "", ("", "")
        self._shown_values: Values = {}
        super().__init__(look=self._look())
        replace_older(self)
        self.worker = Worker(self)
        self.on_msg(self._hear)
        self.complete()

    # What the page says ---------------------------------------------------------------------------

    def _hear(self, _: object, message: dict[str, Any], __: object) -> None:
        """One message of the page; called in whichever thread the kernel has for it."""
        kind = message.get("kind")
        self.worker.number = message.get("number", self.worker.number)
        if kind == "hello":  # a view has opened, or its theme has changed
            if bool(message.get("dark")) != self.picture.dark:
                self.worker.do(lambda: self._theme(bool(message["dark"])))
            else:
                self.show()
        elif kind == "set":
            options = {name: self.controls[name].options for name in message["places"]}
            changes = {name: options[name][place] for name, place in message["places"].items()}
            self.set(bool(message.get("live")), **changes)
        elif kind == "point" and self.point is not None:
            place = self.picture.data_at(message["x"], message["y"])
            if place is not None:
                self.set(**self.point(*place, self.values))
            else:
                self.show()
        elif kind == "press":
            self.press(message["button"])

    def set(self, live: bool = False, **changes: Any) -> None:
        """Other values: a new run with them; or, ``live``, the run in flight takes them."""
        self.values = self.values | changes
        if live and set(changes) <= set(self.live) and self.worker.turn(changes):
            return
        self.worker.ask(self.values)

    def press(self, button: str) -> None:
        """What a button does: stop, reset, pause, step, code, or one of ``actions``."""
        if button == "reset":
            self.earlier.clear()
            self.result = None
            self.values = {name: control.start for name, control in self.controls.items()}
            self.worker.ask(self.values, finished=False)
        elif button in ("stop", "pause", "step"):
            getattr(self.worker, button)()
        elif button == "code":
            code = self.code(self.values) if self.code else ""
            self.send({"kind": "code", "code": code, "number": self.worker.number})
        elif button in self.actions:
            self.say(self.actions[button](self) or self.text)

    # What the page is shown -----------------------------------------------------------------------

    def _look(self) -> dict[str, Any]:
        controls = [
            {"name": name, "label": each.label, "kind": each.kind, "texts": each.texts}
            for name, each in self.controls.items()
        ]
        buttons = {
            "live": bool(self.live),
            "code": self.code is not None,
            "point": bool(self.point),
        }
        width, height = (round(96 * inches) for inches in self.picture.size)
        return {
            "controls": controls,
            "actions": list(self.actions),
            "name": self.name,
            "width": width,
            "height": height,
            **buttons,
        }

    def _theme(self, dark: bool) -> None:
        self.picture.renew(dark)
        self.paint(self.result)
        self.show()

    def paint(self, result: Any) -> None:
        """Draw a result, without showing it yet."""
        self.png = self.picture.png(lambda axes: self.draw(axes, result, self.earlier))
        self.text = self.describe(result)

    def show(self, busy: bool = False) -> None:
        """Send picture, words and the controls' places to the page, in one message."""
        places = {
            name: each.options.index(self.values[name]) for name, each in self.controls.items()
        }
        table = self.table(self.result) if self.table and self.result is not None else []
        message = {
            "kind": "frame",
            "number": self.worker.number,
            "text": self.text,
            "busy": busy,
            "paused": self.worker.paused,
            "places": places,
            "earlier": [each.label for each in self.earlier],
            "table": [list(map(str, row)) for row in table],
        }
        self.send(message, [self.png])

    def say(self, text: str, busy: bool = False) -> None:
        """Other words to the same picture."""
        self.text = text
        self.show(busy)

    def keep(self) -> None:
        """Let the last result stay in the picture, as an earlier run, named by what differs now."""
        if self.result is None or self._shown_values == self.values:
            return
        changed = [name for name in self.values if self._shown_values[name] != self.values[name]]
        texts = [f"{self.controls[n].label} {self._text(n, self._shown_values)}" for n in changed]
        self.earlier.append(Earlier(self._shown_values, self.result, ", ".join(texts)))
        del self.earlier[:-KEPT_RUNS]

    def begin(self, values: Values) -> None:
        """A run with these values begins."""
        self.keep()
        self.result, self._shown_values = None, dict(values)

    def _text(self, name: str, values: Values) -> str:
        control = self.controls[name]
        return control.texts[control.options.index(values[name])]

    def complete(self) -> None:
        """Train for the present values to the end, here and now, and draw the result."""
        self.begin(self.values)
        with one_thread():
            for result in self.run(self.values):
                self.result = result
        self.end()

    def end(self, finished: bool = True) -> None:
        self.paint(self.result)
        if finished and self.finished is not None:
            self.finished(self.values, self.result)

    def __repr__(self) -> str:
        return f"Lab: {self.name}. {self.text}"

    def _ipython_display_(self) -> None:
        """The widget; and its picture for paper and for pages without a kernel, among them this
        notebook when it is opened again. ``lab.css`` hides it beside a lab that lives."""
        shown = self._repr_mimebundle_()
        data = shown[0] if isinstance(shown, tuple) else shown
        words = {"text/plain": repr(self)}
        display({**(data or {}), **words}, raw=True)
        picture = {"image/png": base64.b64encode(self.png).decode("ascii"), **words}
        about = {"image/png": {"alt": f"{self.name}. {self.text}"}}
        display(picture, metadata=about, raw=True)

    def close(self) -> None:
        """End the lab: its thread, and its line to the page."""
        self.worker.close()
        self.layout.close()
        super().close()
