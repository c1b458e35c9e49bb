"""Run notebook 07 without a screen and print its final table: what `make case-study` does.

The notebook ends with ``results``, a DataFrame, and ``best_model``, an nn.Module.
"""

from __future__ import annotations

import sys

import nbformat
from nbclient.exceptions import CellExecutionError

from run_notebooks import execute, find_notebooks

LAST_CELL = """
import pandas as _pandas
from torch import nn as _nn
assert isinstance(results, _pandas.DataFrame), f"results should be a DataFrame, it is {type(results).__name__}"
assert isinstance(best_model, _nn.Module), f"best_model should be an nn.Module, it is {type(best_model).__name__}"
print(results.to_string())
print(f"\\nbest_model: {sum(_p.numel() for _p in best_model.parameters()):,} parameters\\n{best_model}")
"""


def main() -> int:
    path = find_notebooks(["07"])[0]
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(LAST_CELL))
    print(f"Running {path.name}: about two minutes.", flush=True)
    try:
        seconds, *_ = execute(notebook, path.parent)
    except CellExecutionError as error:
        print(error)
        return 1
    print(
        "".join(
            output.text for output in notebook.cells[-1].outputs if output.output_type == "stream"
        )
    )
    print(f"{seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
