"""A hub's limits: one core and two gigabytes for a learner, from the set-up of a lesson to its end.

The limit is the operating system's own (``RLIMIT_DATA``: what a process may ask for), on the kernel
and on all that it starts.
"""

from __future__ import annotations

import subprocess
import sys

import nbformat
import pytest

from pages import NOTEBOOKS

resource = pytest.importorskip("resource", reason="Windows has no such limits")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="affinity and limits are Linux's here"),
]

GIGABYTES = 2
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (GIGABYTES * 10**9,) * 2)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
""".replace("GIGABYTES", str(GIGABYTES))
RUN = "from nbclient.cli import main; main()"


def run_limited(path, folder):
    """Run a notebook under the limits, as ``jupyter execute`` does; (result, what it said)."""
    copy = folder / path.name
    nbformat.write(nbformat.read(path, as_version=4), copy)
    command = [sys.executable, "-c", LIMITED, "-c", RUN, "--inplace", str(copy)]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    return ran, nbformat.read(copy, as_version=4)


@pytest.mark.parametrize("name", ["06_regularisation"])
def test_a_lesson_runs_with_one_core_and_two_gigabytes(name, tmp_path):
    ran, notebook = run_limited(NOTEBOOKS / f"{name}.ipynb", tmp_path)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


def test_the_limit_is_one(tmp_path):
    """A notebook that asks for more than it may have ends in an error."""
    greedy = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(f"import numpy; numpy.ones({GIGABYTES} * 10**9, 'uint8')")]
    )
    path = tmp_path / "greedy.ipynb"
    nbformat.write(greedy, path)
    (tmp_path / "run").mkdir()
    ran, _ = run_limited(path, tmp_path / "run")
    assert ran.returncode != 0 and "MemoryError" in ran.stderr
