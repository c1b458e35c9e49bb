"""Run the case study without a screen and print its final table: what `make case-study` does.

The notebook binds ``results``, a DataFrame, and ``best_model``, an nn.Module.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat

from run_notebooks import FAILURES, execute
from stored import find_notebooks

NAME = "10_mnist_case_study"
LAST_CELL = """
import pandas as _pandas
from torch import nn as _nn
for _name, _kind in (("results", _pandas.DataFrame), ("best_model", _nn.Module)):
    _got = globals().get(_name)
    assert isinstance(_got, _kind), f"{_name}: got {type(_got).__name__}, takes {_kind.__name__}"
print(results.to_string())
print(f"\\nbest_model: {sum(_p.numel() for _p in best_model.parameters()):,} parameters")
print(best_model)
"""


def run(notebook: nbformat.NotebookNode, folder: Path) -> tuple[str, float]:
    """(what the last cell prints, seconds of all cells). Raises what a failing cell raises."""
    notebook.cells.append(nbformat.v4.new_code_cell(LAST_CELL))
    watch = execute(notebook, folder)
    texts = [out.text for out in notebook.cells[-1].outputs if out.output_type == "stream"]
    return "".join(texts), sum(watch.cells.values())


def main() -> int:
    path = find_notebooks([NAME])[0]
    print(f"Running {path.name}: one to two minutes.", flush=True)
    try:
        text, seconds = run(nbformat.read(path, as_version=4), path.parent)
    except FAILURES as error:
        print(error)
        return 1
    print(f"{text}\n{seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
