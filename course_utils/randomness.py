"""Who draws what: every random number of a run comes from its seed, and from nobody else's luck.

The engine draws from generators of its own. A learner's network, loss or augmentation may draw from
the global generators of torch, NumPy or Python; ``Chance`` lends them out, to one run at a time.
"""

from __future__ import annotations

import functools
import random
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

_LOCK = threading.RLock()  # there is one of each global generator, for all threads
TRIED = 2  # visits after which it is known which generators are drawn from


class _Generator(NamedTuple):
    get: Callable[[], Any]
    set: Callable[[Any], Any]
    seed: Callable[[int], Any]


_TORCH = _Generator(torch.get_rng_state, torch.set_rng_state, torch.default_generator.manual_seed)
_NUMPY = _Generator(np.random.get_state, np.random.set_state, np.random.seed)
_PYTHON = _Generator(random.getstate, random.setstate, random.seed)


class Chance:
    """The global generators as one run has them: seeded by it, and out of everybody's way.

        chance = Chance(seed)
        with chance:
            ...                     # draws begin at the seed, and go on where the last visit ended

    Outside, the global generators stand as if nobody had drawn; ``drew`` says whether a visit did.
    What the first two visits (to build a network, and to run it) take nothing from is NumPy's and
    Python's generator: looking after these costs more than a small network's whole step, so later
    visits leave them alone, unless the code is ``suspected`` to draw from them later (see
    ``may_draw``); ``foreign=False`` always does.
    """

    def __init__(
        self,
        seed: int,
        device: torch.device | str = "cpu",
        foreign: bool = True,
        suspected: bool = False,
    ):
        self.seed, self.device, self.drew = seed, torch.device(device), False
        self.suspected = suspected
        self._generators = [_TORCH, *([_NUMPY, _PYTHON] if foreign else [])]
        if self.device.type not in ("cpu", "meta"):
            own = torch.get_device_module(self.device)
            self._generators.append(
                _Generator(own.get_rng_state, own.set_rng_state, own.manual_seed)
            )
        self._seeded: list[Any] = []
        self._inside: list[Any] = []
        self._visits = 0

    def __enter__(self) -> Chance:
        _LOCK.acquire()
        self._outside = [generator.get() for generator in self._generators]
        if not self._visits:
            for generator in self._generators:
                generator.seed(self.seed)
            self._seeded = [generator.get() for generator in self._generators]
        else:
            for generator, state in zip(self._generators, self._inside, strict=True):
                generator.set(state)
        return self

    def __exit__(self, *_: object) -> None:
        self._inside = [generator.get() for generator in self._generators]
        for generator, state in zip(self._generators, self._outside, strict=True):
            generator.set(state)
        self._visits += 1
        if self._visits <= TRIED:
            self._note_what_was_drawn()
        _LOCK.release()

    def _note_what_was_drawn(self) -> None:
        drawn = [not _same(*states) for states in zip(self._seeded, self._inside, strict=True)]
        self.drew = any(drawn)
        if self._visits == TRIED and not self.suspected:
            foreign = [generator in (_NUMPY, _PYTHON) for generator in self._generators]
            kept = [n for n, used in enumerate(drawn) if used or not foreign[n]]
            self._generators = [self._generators[n] for n in kept]
            self._inside = [self._inside[n] for n in kept]


def _same(state: Any, other: Any) -> bool:
    """Whether two states of one generator are equal."""
    if isinstance(state, torch.Tensor):
        return torch.equal(state, other)
    return all(np.array_equal(one, two) for one, two in zip(state, other, strict=True))


def generator_on(device: torch.device) -> torch.Generator:
    """One on the device, or, for devices that have none, on the processor."""
    try:
        return torch.Generator(device)
    except RuntimeError:
        return torch.Generator()


def may_draw(code: Any) -> bool:
    """Whether a function, or a module's own classes, names NumPy's or Python's generator anywhere:
    it may begin to draw from it at any time. Of what it calls, only functions are looked into."""
    seen: set[int] = set()

    def found(thing: Any) -> bool:
        if id(thing) in seen:
            return False
        seen.add(id(thing))
        if isinstance(thing, torch.nn.Module):
            return any(map(found, {type(part) for part in thing.modules()}))
        if isinstance(thing, type):
            own = [each for each in thing.__mro__ if not _is_library(each)]
            return any(found(member) for each in own for member in vars(each).values())
        if isinstance(thing, functools.partial):
            return found(thing.func)
        if isinstance(thing, types.MethodType):
            return found(thing.__func__)
        if isinstance(thing, types.FunctionType):
            return not _is_library(thing) and _names_a_generator(thing, found)
        return getattr(thing, "__module__", None) in ("random", "numpy.random.mtrand")

    return found(code) or (callable(code) and found(type(code)))


def _is_library(thing: Any) -> bool:
    return str(thing.__module__).split(".")[0] in ("torch", "torchvision", "numpy", "builtins")


def _names_a_generator(function: types.FunctionType, found: Callable[[Any], bool]) -> bool:
    names = [name for code in _codes(function.__code__) for name in code.co_names]
    used = [function.__globals__[name] for name in names if name in function.__globals__]
    for cell in function.__closure__ or ():
        try:
            used.append(cell.cell_contents)
        except ValueError:  # not bound yet
            continue
    return "random" in names or random in used or np.random in used or any(map(found, used))


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of a function, and of the functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)
