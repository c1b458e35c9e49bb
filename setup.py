"""What pyproject.toml cannot say: a built package carries the course's data with it.

In a checkout, and installed with ``pip install --editable``, it reads the folder data/ itself.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
# What belongs to the course; a learner's downloads and results lie beside it.
DATA = (
    "claims.json",
    "claims_ledger.json",
    "glossary.json",
    "hpo_bank.npz",
    "mnist_sample.npz",
    "races.npz",
    "runs_on_photographs.npz",
    "widths.npz",
    *(
        name
        for name in ("engine_times.json", "robustness.json")  # what is measured last
        if (HERE / "data" / name).exists()
    ),
    *sorted(
        f"{folder}/{path.name}"
        for folder in ("self_tests", "example_class")
        for path in (HERE / "data" / folder).iterdir()
    ),
)


class BuildWithData(build_py):
    """Puts data/ into the package, as ``course_utils/data``."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "course_utils", "data")
        target.mkdir(parents=True, exist_ok=True)
        for name in DATA:
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(HERE / "data" / name, target / name)

    def get_source_files(self):
        """So that an archive of the sources has them too."""
        return [*super().get_source_files(), *(f"data/{name}" for name in DATA)]


setup(cmdclass={"build_py": BuildWithData})
