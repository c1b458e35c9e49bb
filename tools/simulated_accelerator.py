"""Run a notebook as on a machine with a graphics card, without one: does any cell mix devices?

    python tools/simulated_accelerator.py 03 [05 ...]

PyTorch's device ``meta`` takes the card's place: the course puts its data there, as it would on a
card, and a cell that joins them with a tensor of the processor's raises. Tensors on ``meta`` have
shapes and no values, so what a cell reads from one (``item``, ``numpy``, ``cpu`` ...) is made up,
and so is everything that is drawn. An epoch makes a single update, for devices are the same in all.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from stored import find_notebooks

# What PyTorch says where a cell mixes devices.
MIXED = re.compile(
    r"same device|two devices|takes one device|images on \w+, train on|"
    r"(?:on|for|from) (?:device )?(?:meta|cpu)\b.*\b(?:meta|cpu)\b",
    re.IGNORECASE | re.DOTALL,
)
LEAST = 0.7  # of a notebook's cells must run to their end: fewer would say nothing of the others
SET_DATA = Tensor.data.__set__  # type: ignore[attr-defined]
READ = {
    getattr(Tensor, name)
    for name in (
        *("item", "numpy", "tolist", "unique", "nonzero", "equal", "multinomial"),
        *("__bool__", "__float__", "__int__", "__index__", "__format__", "__array__"),
        *("__contains__", "__repr__"),
    )
} | {torch.nonzero, torch.unique, torch.equal, torch.allclose, torch.isclose}


# What may join the two: it copies from one to the other, or takes places from the processor.
JOINS = {
    *(getattr(Tensor, name) for name in ("to", "copy_", "__getitem__", "__setitem__")),
    torch._has_compatible_shallow_copy_type,  # asked when a module moves
}


def is_meta(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == "meta"


def read(value: Any) -> Any:
    """In the place of a tensor without values, one of its shape on the processor: 0.1 to 1.1,
    digits in turn, or every second one true. A single whole number is 9, the largest label."""
    if not is_meta(value):
        return value
    places = torch.arange(value.numel())
    if value.dtype is torch.bool:
        made = places % 2 == 0
    elif value.is_floating_point():
        made = 0.1 + places / max(1, len(places) - 1)
    else:
        made = places % 10 if len(places) > 1 else places + 9
    return made.to(value.dtype).view(value.shape)


class Readable(TorchFunctionMode):
    """While it is entered, tensors on ``meta`` can be read as tensors on a card can."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in JOINS and func != SET_DATA:
            self._refuse_mixed(func, args, kwargs)
        if func == SET_DATA and is_meta(args[0]) != is_meta(args[1]):
            # From the processor to a card in place, which PyTorch does for real ones.
            moved = nn.Parameter(args[1], requires_grad=args[0].requires_grad)
            return torch.utils.swap_tensors(args[0], moved)
        if func is Tensor.cpu or (func is Tensor.to and self._leads_home(args, kwargs)):
            return read(args[0])
        if func is Tensor.__getitem__ and is_meta(args[0]):
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            args = (args[0], tuple(self._chosen(each) for each in places))
        elif func in READ:
            args = [read(each) for each in args]
        return func(*args, **kwargs)

    @staticmethod
    def _refuse_mixed(func: Any, args: Any, kwargs: Any) -> None:
        """As a card does; PyTorch's operations on ``meta`` do not all look. A single number without
        a dimension may come from the processor."""
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        if any(map(is_meta, tensors)) and any(each.ndim and not is_meta(each) for each in tensors):
            name = getattr(func, "__name__", func)
            raise RuntimeError(f"{name}: takes tensors on the same device, got meta and cpu")

    @staticmethod
    def _leads_home(args: Any, kwargs: Any) -> bool:
        named = [
            each for each in (*args[1:], *kwargs.values()) if type(each) in (str, torch.device)
        ]
        return is_meta(args[0]) and any(torch.device(each).type == "cpu" for each in named)

    @staticmethod
    def _chosen(place: Any) -> Any:
        """A mask without values cannot say how many it chooses."""
        return read(place) if is_meta(place) and place.dtype is torch.bool else place


def pretend() -> None:
    """From here on this process has an accelerator, which computes nothing."""
    from course_utils.engine import data
    from course_utils.engine.batches import Batches

    data.best_device = lambda: torch.device("meta")
    Batches.count = property(lambda self: 1)  # type: ignore[assignment, method-assign]


def cells(path: Path) -> Iterator[tuple[int, BaseException | None]]:
    """(number of a code cell, what it raised) of a notebook: an error ends its cell alone."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    os.chdir(path.parent)
    shell = InteractiveShell(user_module=ModuleType("lesson"))
    notebook = nbformat.read(path, as_version=4)
    with Readable():
        for number, cell in enumerate(notebook.cells):
            if cell.cell_type == "code":
                with capture_output():
                    result = shell.run_cell(cell.source)
                yield number, result.error_before_exec or result.error_in_exec


def report(path: Path) -> tuple[list[str], float]:
    """(the cells that mix devices, the share of cells that ran to their end) of a notebook.

    The rest stumble over made-up values, or over what PyTorch cannot do on ``meta`` at all.
    """
    found = dict(cells(path))
    errors = {number: error for number, error in found.items() if error is not None}
    print(f"{path.stem}: {len(found) - len(errors)} of {len(found)} cells ran to their end")
    mixed = []
    for number, error in errors.items():
        line = f"cell {number}: {type(error).__name__}: {str(error)[:200]}"
        print(f"  {line}")
        mixed += [line] if is_mixed(error) else []
    return mixed, 1 - len(errors) / len(found)


def is_mixed(error: BaseException) -> bool:
    return bool(MIXED.search(str(error)))


def main(prefixes: list[str]) -> int:
    import matplotlib

    matplotlib.use("Agg")
    torch.manual_seed(0)
    pretend()
    reports = {path.stem: report(path) for path in find_notebooks(prefixes)}
    mixed = [f"{name}, {line}" for name, (lines, _) in reports.items() for line in lines]
    hollow = [name for name, (_, share) in reports.items() if share < LEAST]
    print("\n".join([f"MIXES DEVICES: {line}" for line in mixed]))
    print("\n".join([f"TOO FEW CELLS RAN: {name}" for name in hollow]))
    return int(bool(mixed or hollow))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
