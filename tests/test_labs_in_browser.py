"""Every lab of every notebook, in a real JupyterLab: driven by keys, judged by what a person would see.

Only the cells that a lab needs are kept (tags ``setup``, ``static-figure``, ``lab``); nbval runs the rest. Latencies
are printed, not asserted: they belong to the machine.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import nbformat
import pytest

from browser import Lab, Notebook, jupyterlab, wait_until  # noqa: F401  (jupyterlab is a fixture)

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9][0-9]_*.ipynb"))
NEEDED = {"setup", "static-figure", "lab"}
QUIET_SECONDS = 0.4


def tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def with_lab(path: Path) -> bool:
    """Whether its lab stands on the set-up alone. Notebook 07's cockpit shows measured results: it has its own test."""
    cells = nbformat.read(path, as_version=4).cells
    return path.stem != "07_mnist_case_study" and any("lab" in tags(cell) for cell in cells)


def settled(lab: Lab, seconds: float = 90) -> str:
    """The status once training has ended and has stayed so for a moment: the page may have a value left to send."""
    quiet_since, end = time.monotonic(), time.monotonic() + seconds
    while time.monotonic() - quiet_since < QUIET_SECONDS:
        if "course-lab-busy" in lab.root.get_attribute("class"):
            quiet_since = time.monotonic()
        assert time.monotonic() < end, f"the lab did not come to rest: {lab.status()}"
        time.sleep(0.02)
    return lab.status()


def error_free(lab: Lab, notebook: Notebook) -> None:
    assert "Error" not in lab.status(), lab.status()
    assert notebook.errors() == []


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if with_lab(path)], ids=lambda path: path.stem)
def test_every_control_of_every_lab(jupyterlab, path, capsys):  # noqa: F811
    notebook = jupyterlab.open_notebook(path.name, lambda cell: bool(tags(cell) & NEEDED))
    notebook.run_all()
    latencies = drive(notebook)
    with capsys.disabled():
        print(f"\n{path.stem}: {latencies}")


def drive(notebook: Notebook) -> str:
    """Move every slider to both ends and a step, choose every option, press every button; returns the latencies."""
    labs = notebook.labs()
    assert labs, "the notebook shows no lab"
    first, finished = [], []
    for lab in labs:
        settled(lab)
        for handle in lab.sliders():
            for key in ("Home", "End", "ArrowLeft"):
                value, before = handle.get_attribute("aria-valuenow"), lab.picture()
                start = time.perf_counter()
                handle.press(key)
                if handle.get_attribute("aria-valuenow") == value:
                    continue                               # it stood there already
                lab.wait_for_change(before, 30)
                first.append(time.perf_counter() - start)
                settled(lab)
                finished.append(time.perf_counter() - start - QUIET_SECONDS)
                error_free(lab, notebook)
        for select in lab.choices():
            for option in select.locator("option").all_inner_texts():
                if select.evaluate("each => each.selectedOptions[0].text") == option:
                    continue
                before = lab.picture()
                select.select_option(label=option)
                lab.wait_for_change(before, 30)
                settled(lab)
                error_free(lab, notebook)
        for button in lab.buttons():
            button.click()
            settled(lab)
            error_free(lab, notebook)
    return (f"first change median {1000 * statistics.median(first):.0f} ms, slowest {1000 * max(first):.0f} ms; "
            f"at rest after {1000 * statistics.median(finished):.0f} ms, slowest {1000 * max(finished):.0f} ms, "
            f"over {len(first)} moves")


@pytest.fixture(scope="module")
def first_lab(jupyterlab):  # noqa: F811
    notebook = jupyterlab.open_notebook("00_start_here.ipynb", lambda cell: bool(tags(cell) & NEEDED))
    notebook.run_all()
    [lab] = notebook.labs()
    return notebook, lab


def test_a_burst_of_keys_ends_on_the_last_value(first_lab):
    notebook, lab = first_lab
    settled(lab)
    rate = lab.sliders()[0]
    rate.press("Home")
    for _ in range(20):
        rate.press("ArrowRight")
    wait_until(lambda: notebook.kernel_eval("lab.controls['learning_rate'].index") == "20", 60,
               "the last value did not arrive")
    settled(lab)
    assert notebook.kernel_eval("lab.task is None or lab.task.done()") == "True"
    assert notebook.kernel_eval("lab.result.configs[0].learning_rate == lab.values['learning_rate']") == "True"
    assert lab.status() in notebook.kernel_eval("lab.status.value")


def test_stop_and_reset_do_what_they_say(first_lab):
    notebook, lab = first_lab
    settled(lab)
    lab.root.get_by_role("button", name="Reset").click()
    settled(lab)
    assert notebook.kernel_eval("lab.values") == "{'learning_rate': 0.1, 'width': 32}"
    assert notebook.kernel_eval("len(lab.earlier)") == "0"
    lab.sliders()[1].press("End")
    lab.root.get_by_role("button", name="Stop").click()
    settled(lab)
    assert notebook.kernel_eval("lab.task is None or lab.task.done()") == "True"


# The cockpit as notebook 07 has it, but with the results to beat written down: the notebook measures them first.
COCKPIT = """
from course_utils import load_mnist
from course_utils.topics.t07 import cockpit_lab
lab = cockpit_lab(load_mnist(), {"Optuna, 50 trials": 0.968})
lab
"""


def test_the_cockpit_logs_attempts_and_survives_every_control(jupyterlab, capsys):  # noqa: F811
    jupyterlab.write_notebook("cockpit.ipynb", [nbformat.v4.new_code_cell(COCKPIT)])
    notebook = jupyterlab.open_notebook("cockpit.ipynb")
    notebook.run_all()
    [lab] = notebook.labs()
    start = settled(lab)
    before = lab.picture()
    lab.choices()[0].select_option(label="xavier")
    lab.wait_for_change(before, 30)
    cured = settled(lab)
    log = lab.root.locator(".course-lab-log").inner_text()
    assert "attempt 2" in log and "init xavier" in log and "Optuna, 50 trials" in log
    accuracies = [float(text.split("accuracy ")[1].split(" %")[0]) for text in (start, cured)]
    assert accuracies[1] > accuracies[0] + 5, "a sound initialisation is worth more than five points"
    lab.sliders()[0].press("End")
    settled(lab)
    assert "attempt 3" in lab.root.locator(".course-lab-log").inner_text()
    latencies = drive(notebook)
    with capsys.disabled():
        print(f"\nthe cockpit: {latencies}")
