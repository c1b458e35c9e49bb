"""Every lab of every notebook in a real JupyterLab, driven by a real browser: judged by what a
person would see and what the kernel has.

Only the cells that a lab needs are run (tags ``setup``, ``lab``, and what they read), for nbval
runs the rest. Latencies are printed, not asserted: they belong to the machine.
"""

from __future__ import annotations

import re
import time
import warnings
from itertools import cycle, islice
from pathlib import Path

import nbformat
import numpy as np
import pytest

from browser import (
    KNOWN,
    Lab,
    Notebook,
    axe_script,
    axe_violations,
    jupyterlab,  # noqa: F401  (a fixture)
)
from needed_cells import needed_cells
from pages import tags

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9][0-9]_*.ipynb"))
GAMES = ("08_clinic",)  # a diagnosis changes no picture until it is given
LONG = ("04_schedules",)  # twenty seconds each: one is seen to its end, the others are stopped
MOVES = 10  # at least, behind each lab's latencies
HEIGHT, NARROW = 560, {"width": 1024, "height": 700}
WIDE = {"width": 1280, "height": 720}


def lab_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if "lab" in tags(cell)]


WITH_LABS = [path for path in NOTEBOOKS if lab_cells(path)]


class EveryControl:
    def test_every_control_of_every_lab(self, jupyterlab, path, record_property):  # noqa: F811
        jupyterlab.write_notebook(f"labs_of_{path.name}", needed_cells(path, {"setup", "lab"}))
        notebook = jupyterlab.open_notebook(f"labs_of_{path.name}")
        notebook.run_all()
        labs = notebook.labs()
        assert len(labs) == len(lab_cells(path))
        notebook.kernel_eval(KNOWN)
        for number, lab in enumerate(labs):
            driven = Driven(notebook, lab, number)
            driven.fits_the_screen()
            driven.every_slider()
            driven.every_choice_and_switch()
            driven.a_burst_of_keys()
            driven.stop_and_reset()
            driven.by_keyboard_alone()
            driven.a_drag()
            record_property("latency", f"{path.stem}, lab {number + 1}: {driven.report()}")
        assert notebook.errors() == []
        assert notebook.kernel_eval("course_errors") == "[]"
        for theme in ("JupyterLab Dark", "JupyterLab Light"):
            assert barriers(notebook, theme) == []


def barriers(notebook: Notebook, theme: str) -> list[str]:
    """What axe-core finds on the labs in a theme of JupyterLab."""
    if (script := axe_script()) is None:
        warnings.warn("no axe-core, so nobody looked for barriers: install npm", stacklevel=2)
        return []
    use = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
    notebook.page.evaluate(use, theme)
    is_dark = "dark => document.body.dataset.jpThemeLight === String(!dark)"
    notebook.page.wait_for_function(is_dark, arg=theme.endswith("Dark"))
    return axe_violations(notebook.page, script, ".course-lab")


# xdist hands out whole classes: in two of them, the notebooks keep both workers busy.
@pytest.mark.parametrize("path", WITH_LABS[::2], ids=lambda path: path.stem)
class TestEvenNotebooks(EveryControl):
    pass


@pytest.mark.parametrize("path", WITH_LABS[1::2], ids=lambda path: path.stem)
class TestOddNotebooks(EveryControl):
    pass


def place(slider, which: str = "value") -> int:
    """The position of a slider over listed values, counted from 0; "max" asks for the last one."""
    return int(slider.evaluate(f"each => Number(each.{which})"))


class Driven:
    """A lab under test. After each move the picture is another, and page and kernel agree."""

    def __init__(self, notebook: Notebook, lab: Lab, number: int):
        self.notebook, self.lab, self.number = notebook, lab, number
        self.first: list[float] = []
        self.finished: list[float] = []
        self.pictures = self.values = 0.0
        self.began = time.perf_counter()
        lab.root.scroll_into_view_if_needed()
        lab.wait_at_rest()
        self.start = self.now = self.agreed()
        self.is_game = any(name in notebook.path for name in GAMES)
        self.is_long = any(name in notebook.path for name in LONG)
        self.first_state = self.without_times()
        lab.watch()

    def agreed(self) -> dict:
        return self.notebook.agreed(self.lab, self.number)

    def move(self, act) -> None:
        stop = self.is_long and bool(self.finished)
        first, finished = self.lab.latency(act, stop=stop)
        self.first.append(first)
        if not stop:
            self.finished.append(finished)
        before, self.now = self.now, self.agreed()
        if not self.is_game:  # where a choice is only made good by a button
            assert self.now["picture"] != before["picture"], "the picture is still the same"

    def fits_the_screen(self) -> None:
        """Controls, words and picture within sight of each other, and no bar to scroll sideways."""
        page, root = self.lab.root.page, self.lab.root
        boxes = [root.locator(part).first.bounding_box() for part in (".controls", ".shown img")]
        height = boxes[1]["y"] + boxes[1]["height"] - boxes[0]["y"]
        assert height <= HEIGHT, f"controls, words and picture are {height:.0f} pixels high"
        page.set_viewport_size(NARROW)
        wider = "root => root.scrollWidth > root.clientWidth + 1"
        assert not root.evaluate(wider), "wider than its cell at 1024 pixels"
        page.set_viewport_size(WIDE)

    def every_slider(self) -> None:
        for slider in self.lab.sliders():
            for key in ("Home", "End", "ArrowLeft"):
                if place(slider) != {"Home": 0, "End": place(slider, "max")}.get(key):
                    self.move(lambda: slider.press(key))  # noqa: B023  (called at once)
        self.now = self.agreed()
        while self.lab.sliders() and len(self.first) < MOVES:
            slider = self.lab.sliders()[0]
            self.move(lambda: slider.press("Home" if place(slider) else "ArrowRight"))  # noqa: B023

    def every_choice_and_switch(self) -> None:
        for select in self.lab.choices():
            chosen = select.evaluate("each => each.selectedOptions[0].text")
            for option in select.locator("option").all_inner_texts():
                if option != chosen:
                    self.move(lambda: select.select_option(label=option))  # noqa: B023
        for switch in self.lab.switches():
            self.move(switch.click)

    def a_burst_of_keys(self) -> None:
        """Twenty presses, faster than anything trains: the last value wins."""
        if not self.lab.sliders():
            return
        slider = max(self.lab.sliders(), key=lambda each: place(each, "max"))
        last = place(slider, "max")
        slider.press("Home")
        for key in islice(cycle(["ArrowRight"] * last + ["ArrowLeft"] * last), 20):
            slider.press(key)
        expected = 20 % (2 * last)
        assert place(slider) == min(expected, 2 * last - expected)
        self.now = self.agreed()

    def stop_and_reset(self) -> None:
        if self.lab.sliders():
            slider = self.lab.sliders()[0]
            slider.press("Home" if place(slider) else "End")
        self.lab.press("Stop")
        self.agreed()  # at rest, wherever that was
        self.lab.button("Reset").click()
        end = time.monotonic() + 30
        while (state := self.without_times()) != self.first_state and time.monotonic() < end:
            time.sleep(0.1)  # the kernel may not have heard of the click yet
        assert state == self.first_state
        self.now = self.agreed()

    def without_times(self) -> list:
        """What Reset brings back; not the numbers in words, for some labs measure times."""
        seen = self.agreed()
        kept = [seen[each] for each in ("sliders", "choices", "switches")]
        return [*kept, re.sub(r"[\d.,]+", "#", seen["status"])]

    def by_keyboard_alone(self) -> None:
        """Tab reaches every control in turn, and the keys act on the one that has the focus."""
        page = self.lab.root.page
        enabled = ":is(input, select, button):not(:disabled)"
        controls = self.lab.root.locator(enabled).all()  # as they stand in the page
        for number, control in enumerate(controls):
            control.evaluate("(each, number) => { each.dataset.course = number; }", str(number))
        controls[0].focus()
        reached = []
        for _ in range(len(controls)):
            reached.append(page.evaluate("document.activeElement.dataset.course"))
            page.keyboard.press("Tab")
        assert reached == [str(number) for number in range(len(controls))]
        if self.lab.sliders():
            slider = self.lab.sliders()[-1]
            slider.focus()
            self.move(lambda: page.keyboard.press("Home" if place(slider) else "End"))
            self.lab.button("Reset").focus()
            self.move(lambda: page.keyboard.press("Enter"))

    def a_drag(self) -> None:
        if self.lab.sliders():
            slider = max(self.lab.sliders(), key=lambda each: place(each, "max"))
            self.pictures, self.values = self.lab.a_drag(slider)
            self.agreed()

    def report(self) -> str:
        def told(seconds):
            median, most = 1000 * np.median(seconds), 1000 * np.percentile(seconds, 95)
            return f"median {median:.0f} ms, 95 % below {most:.0f} ms"

        return (
            f"first change {told(self.first)}; finished {told(self.finished)}; "
            f"{self.pictures:.0f} pictures a second in a drag over {self.values:.0f} values a "
            f"second; {len(self.first)} moves "
            f"({time.perf_counter() - self.began:.0f} s in all)"
        )
