"""Some cells of a notebook, with the cells that they need."""

from __future__ import annotations

import symtable
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from pages import tags


def names(source: str) -> tuple[set[str], set[str]]:
    """(names that a cell's code binds for later cells, names that it reads from earlier ones)."""
    code = TransformerManager().transform_cell(source)
    top = symtable.symtable(code, "cell", "exec")
    symbols = top.get_symbols()
    bound = {
        each.get_name()
        for each in symbols
        if each.is_assigned() or each.is_imported() or each.is_namespace()
    }
    read = {each.get_name() for each in symbols if each.is_referenced()}
    tables = top.get_children()
    while tables:
        table = tables.pop()
        read |= {each.get_name() for each in table.get_symbols() if each.is_global()}
        tables += table.get_children()
    return bound, read - bound


def needed_cells(path: Path, wanted: set[str]) -> list[nbformat.NotebookNode]:
    """The code cells with a tag of ``wanted``, and those that bind what they read."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    kept = {index for index, cell in enumerate(cells) if tags(cell) & wanted}
    waiting = sorted(kept)
    while waiting:
        index = waiting.pop()
        for name in names(cells[index].source)[1]:
            binding = [before for before in range(index) if name in names(cells[before].source)[0]]
            if binding and binding[-1] not in kept:
                kept.add(binding[-1])
                waiting.append(binding[-1])
    return [cells[index] for index in sorted(kept)]
