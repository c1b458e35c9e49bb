"""Every notebook in a real JupyterLab, every lab driven: judged by what a person would see and what the kernel has.

Only the cells that a lab needs are run (tags ``setup``, ``static-figure``, ``lab``, and what they read), for nbval runs
the rest; of notebook 00 all are. Latencies are printed, not asserted: they belong to the machine.
"""

from __future__ import annotations

import symtable
import time
from itertools import cycle, islice
from pathlib import Path

import nbformat
import numpy as np
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell

from browser import KNOWN, Lab, Notebook, jupyterlab  # noqa: F401  (jupyterlab is a fixture)

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9][0-9]_*.ipynb"))
NEEDED = {"setup", "static-figure", "lab"}
MOVES = 10                                                 # at least, behind each lab's latencies

# What a lab's cells read from cells that take long, in small.
PREPARED = {
    "07_mnist_case_study": "searched = treated = fit([PATIENT.replace(epochs=1, seed=seed) for seed in range(2)], mnist)",
}


def tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def names(source: str) -> tuple[set[str], set[str]]:
    """(names that a cell's code binds for later cells, names that it reads from earlier ones)."""
    top = symtable.symtable(TransformerManager().transform_cell(source), "cell", "exec")
    bound = {each.get_name() for each in top.get_symbols()
             if each.is_assigned() or each.is_imported() or each.is_namespace()}
    read, tables = {each.get_name() for each in top.get_symbols() if each.is_referenced()}, top.get_children()
    while tables:
        table = tables.pop()
        read |= {each.get_name() for each in table.get_symbols() if each.is_global()}
        tables += table.get_children()
    return bound, read - bound


def needed_cells(path: Path) -> list[nbformat.NotebookNode]:
    """The cells of the labs and those that bind what they read, without outputs; and what is prepared for them."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    prepared = PREPARED.get(path.stem, "")
    kept = {index for index, cell in enumerate(cells) if tags(cell) & NEEDED}
    waiting = sorted(kept)
    while waiting:
        index = waiting.pop()
        for name in names(cells[index].source)[1] - names(prepared)[0]:
            binding = [before for before in range(index) if name in names(cells[before].source)[0]]
            if binding and binding[-1] not in kept:
                kept.add(binding[-1])
                waiting.append(binding[-1])
    found = [cells[index] for index in sorted(kept)]
    if prepared:
        found.insert(sum("setup" in tags(cell) for cell in found), new_code_cell(prepared))
    return found


def opened(jupyterlab, path: Path) -> Notebook:  # noqa: F811
    """The notebook in the browser, its cells run: all of notebook 00's, the needed ones of the others'."""
    if path.name.startswith("00"):
        notebook = jupyterlab.open_notebook(path.name)
    else:
        jupyterlab.write_notebook(f"labs_of_{path.name}", needed_cells(path))
        notebook = jupyterlab.open_notebook(f"labs_of_{path.name}")
    notebook.run_all()
    return notebook


class EveryControl:
    def test_every_control_of_every_lab(self, jupyterlab, path, record_property):  # noqa: F811
        notebook = opened(jupyterlab, path)
        labs = notebook.labs()
        assert len(labs) == sum("lab" in tags(cell) for cell in nbformat.read(path, as_version=4).cells)
        notebook.kernel_eval(KNOWN)
        for number, lab in enumerate(labs):
            driven = Driven(notebook, lab, number)
            driven.every_slider()
            driven.every_choice()
            driven.a_burst_of_keys()
            driven.stop_and_reset()
            driven.by_keyboard_alone()
            record_property("latency", f"{path.stem}, lab {number + 1}: {driven.report()}")
        assert notebook.errors() == []
        assert notebook.kernel_eval("course_errors") == "[]"


# xdist hands out whole classes: in two of them, the notebooks keep both workers busy.
@pytest.mark.parametrize("path", NOTEBOOKS[::2], ids=lambda path: path.stem)
class TestEvenNotebooks(EveryControl):
    pass


@pytest.mark.parametrize("path", NOTEBOOKS[1::2], ids=lambda path: path.stem)
class TestOddNotebooks(EveryControl):
    pass


def place(handle, which: str = "now") -> int:
    """The position of a slider over listed values, counted from 0; ``which`` "max" asks for the last one."""
    return int(float(handle.get_attribute(f"aria-value{which}")))


class Driven:
    """A lab under test. After each move the picture is another, and page and kernel agree."""

    def __init__(self, notebook: Notebook, lab: Lab, number: int):
        self.notebook, self.lab, self.number = notebook, lab, number
        self.first: list[float] = []
        self.finished: list[float] = []
        self.began = time.perf_counter()
        self.start = self.now = self.agreed()

    def agreed(self) -> dict:
        return self.notebook.agreed(self.lab, self.number)

    def move(self, act, whole: bool = True) -> None:
        """Wait for the end; or, once enough moves have ended, for the first new picture, unless it must be ``whole``."""
        if not whole and len(self.finished) >= MOVES:
            self.lab.first_change(act)
            return
        first, finished = self.lab.latency(act)
        self.first.append(first)
        self.finished.append(finished)
        before, self.now = self.now, self.agreed()
        assert self.now["picture"] != before["picture"], "the picture is still the same"

    def press(self, handle, key: str) -> None:
        """Move a slider by a key, unless it stands at that end already. Both ends are awaited: there things go wrong."""
        if place(handle) != {"Home": 0, "End": place(handle, "max")}.get(key):
            self.move(lambda: handle.press(key), whole=key in ("Home", "End"))

    def every_slider(self) -> None:
        for handle in self.lab.sliders():
            for key in ("Home", "End", "ArrowLeft"):
                self.press(handle, key)
        self.now = self.agreed()
        while self.lab.sliders() and len(self.first) < MOVES:
            self.press(self.lab.sliders()[0], "Home" if len(self.first) % 2 else "ArrowRight")

    def every_choice(self) -> None:
        for select in self.lab.choices():
            chosen = select.evaluate("each => each.selectedOptions[0].text")
            for option in select.locator("option").all_inner_texts():
                if option != chosen:
                    self.move(lambda: select.select_option(label=option), whole=False)  # noqa: B023  (called at once)
            self.now = self.agreed()

    def a_burst_of_keys(self) -> None:
        """Twenty presses, faster than anything trains: the last value wins."""
        handles = self.lab.sliders()
        handle = max(handles, key=lambda each: place(each, "max"))
        last = place(handle, "max")
        handle.press("Home")
        for key in islice(cycle(["ArrowRight"] * last + ["ArrowLeft"] * last), 20):
            handle.press(key)
        expected = 20 % (2 * last)
        expected = min(expected, 2 * last - expected)
        assert place(handle) == expected
        self.now = self.agreed()

    def stop_and_reset(self) -> None:
        handle = self.lab.sliders()[0]
        handle.press("Home" if place(handle) else "End")
        self.lab.root.get_by_role("button", name="Stop").click()
        self.agreed()                                      # at rest, wherever that was
        self.lab.root.get_by_role("button", name="Reset").click()
        end = time.monotonic() + 30
        while (state := self.agreed())["status"] != self.start["status"] and time.monotonic() < end:
            time.sleep(0.1)                                # the kernel may not have heard of the click yet
        assert state | {"picture": ""} == self.start | {"picture": ""}, "Reset did not bring back the first state"
        self.now = state

    def by_keyboard_alone(self) -> None:
        """Tab reaches every control in turn, and the keys act on the one that has the focus."""
        page = self.lab.root.page
        controls = self.lab.root.locator(".noUi-handle, select, button").all()       # as they stand in the page
        for number, control in enumerate(controls):
            control.evaluate("(each, number) => { each.dataset.course = number; }", str(number))
        controls[0].focus()
        reached = []
        for _ in range(2 * len(controls)):                 # a slider's read-out is a stop of its own
            reached.append(page.evaluate("document.activeElement.dataset.course"))
            page.keyboard.press("Tab")
        assert set(map(str, range(len(controls)))) <= set(reached), f"Tab reached {reached} of {len(controls)} controls"
        slider = self.lab.sliders()[-1]
        slider.focus()
        self.move(lambda: page.keyboard.press("Home" if place(slider) else "End"))
        if choices := self.lab.choices():
            choices[0].focus()
            first = choices[0].evaluate("each => each.selectedIndex === 0")
            page.keyboard.press("Space")                   # open the list: on a closed one, JupyterLab takes the arrows
            page.keyboard.press("ArrowDown" if first else "ArrowUp")
            self.move(lambda: page.keyboard.press("Enter"))
        self.lab.root.get_by_role("button", name="Reset").focus()
        self.move(lambda: page.keyboard.press("Enter"))

    def report(self) -> str:
        def told(seconds):
            return f"median {1000 * np.median(seconds):.0f} ms, 95 % below {1000 * np.percentile(seconds, 95):.0f} ms"

        return (f"first change {told(self.first)}; finished {told(self.finished)}; {len(self.first)} moves "
                f"({time.perf_counter() - self.began:.0f} s in all)")


# ---- without a kernel -----------------------------------------------------------------------------------------------

WITH_LABS = [path for path in NOTEBOOKS
             if any("lab" in tags(cell) for cell in nbformat.read(path, as_version=4).cells)]


@pytest.mark.parametrize("path", WITH_LABS, ids=lambda path: path.stem)
def test_the_page_without_a_kernel_shows_a_figure_where_each_lab_would_be(path):
    """As stored, so also on a code host; and as HTML."""
    notebook = nbformat.read(path, as_version=4)
    figures, stood_in = [], []
    for cell in notebook.cells:
        if "static-figure" in tags(cell):
            figures.append(cell)
        if "lab" in tags(cell):
            assert cell.outputs == [], "a lab stores nothing that only a kernel could show"
            assert figures, "no static figure stands before the lab"
            stood_in += [output for output in figures.pop().outputs if "image/png" in output.get("data", {})]
    assert len(stood_in) == sum("lab" in tags(cell) for cell in notebook.cells), "run make notebooks"
    page = "".join(HTMLExporter().from_notebook_node(notebook)[0].split())
    for figure in stood_in:
        assert figure.metadata["image/png"]["alt"]
        assert "".join(figure.data["image/png"].split()) in page
    assert "widget-view+json" not in page


def test_a_saved_notebook_opened_again_still_shows_the_figure(jupyterlab):  # noqa: F811
    path = NOTEBOOKS[0]
    jupyterlab.write_notebook("saved.ipynb", needed_cells(path))
    jupyterlab.open_notebook("saved.ipynb").run_all()
    jupyterlab.page.evaluate("async () => { await window.jupyterapp.commands.execute('docmanager:save'); }")
    notebook = jupyterlab.open_notebook("saved.ipynb", keep_outputs=True)     # a new kernel, which knows nothing
    figure = notebook.page.locator(".jp-OutputArea-output img")
    assert figure.count() == 1
    assert figure.evaluate("image => image.complete && image.naturalWidth") > 300
    assert notebook.labs() == []
