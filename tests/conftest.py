"""Settings that hold for all tests."""

import os

# Two workers share the processor: each, and every process that it starts, takes its part. Before torch is imported.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, os.cpu_count() // workers)))

from types import ModuleType

import matplotlib
import pytest
from hypothesis import settings
from IPython.core.interactiveshell import InteractiveShell

from course_utils.classroom.check import ATTEMPTS

matplotlib.use(
    "Agg"
)  # here, and not by MPLBACKEND: the notebooks' kernels would inherit that and draw nothing

# Training takes as long as it takes; and a test should fail for a change, not for a throw of the dice. To search further:
# pytest --hypothesis-profile explore
settings.register_profile("course", deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    "explore", settings.get_profile("course"), derandomize=False, max_examples=1000
)
settings.load_profile("course")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter):
    """What tests measured of this machine: printed at the end, asserted nowhere. It comes through from every worker."""
    for kind, title in (("size", "sizes"), ("latency", "latency of the labs")):
        measured = sorted(
            text
            for report in terminalreporter.stats.get("passed", [])
            for name, text in report.user_properties
            if name == kind
        )
        if measured:
            terminalreporter.section(title)
            for text in measured:
                terminalreporter.line(text)


@pytest.fixture(autouse=True)
def no_attempts_yet():
    """Each test begins with the first hint of every exercise."""
    ATTEMPTS.clear()


@pytest.fixture
def shell():
    """IPython, to run the cells of an exercise in. Without a module of its own it would take over ``__main__``, and
    processes started later could not find their way back."""
    return InteractiveShell(user_module=ModuleType("lesson"))


@pytest.fixture
def see():
    """A function that sets controls of a lab, waits for the training, and returns the picture and
    the line of words."""

    def see(lab, **values):
        lab.set(**values)
        lab.worker.wait()
        return lab.png, lab.text

    return see
