"""A first look at a learner's network: one pass of a copy, and what is refused after it.

Everything here looks at copies, of the network and of the images: both stay as they are.
"""

from __future__ import annotations

import enum
import types
import weakref
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..randomness import Chance
from .copies import settled_copy

PLAIN = (
    *(bool, int, float, complex, str, bytes, type(None), type, range, slice, enum.Enum),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format, np.generic, np.dtype),
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType),
)
HANDLED = ("_parameters", "_buffers", "_modules", "training")  # among a module's attributes


class Trial(NamedTuple):
    """What a network answered, and what it did besides: ``disturbed`` if it drew a random number,
    changed more than a buffer in place, or keeps an object that might change unseen; ``touched`` if
    it changed the images that it was given."""

    answer: Any
    disturbed: bool
    touched: bool


def tried(network: nn.Module, images: Tensor, training: bool) -> Trial:
    """One pass; what the network itself raises is shown as it is, with a note."""
    trial = settled_copy(network).to(images.device).train(training)
    chance, given = Chance(0, images.device), images.clone()
    before, version = _attributes(trial, not training), given._version
    try:
        with torch.set_grad_enabled(training), chance:
            answer = trial(given)
    except Exception as error:
        error.add_note(
            f"This came from the network that model made, for {list(images.shape)} images."
        )
        raise
    disturbed = chance.drew or _keeps_a_secret(trial) or before != _attributes(trial, not training)
    return Trial(answer, disturbed, given._version != version)


def check(network: nn.Module, images: Tensor, sizes: tuple[int, ...], classes: int) -> None:
    """Refuse, before any training, a network that could not be trained.

    ``sizes`` are those of the batches of ``images`` that it will meet, ``classes`` the fewest
    logits that it must have. Raises TypeError or ValueError that names ``model`` or ``batch_size``;
    what the network itself raises is shown as it is, with a note.
    """
    if isinstance(network, torch.jit.ScriptModule):
        raise TypeError("model: got a network compiled by torch.jit, takes the module it is of")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError("model: nothing in the network can be trained: all of it is frozen")
    for name, parameter in network.named_parameters():
        if parameter.dtype != torch.float32:
            has = f"{name} is of {parameter.dtype}"
            raise TypeError(f"model: {has}, takes torch.float32, which the images are of")
    for size in sizes:
        try:
            logits = tried(network, images[:size], training=True).answer
        except ValueError as error:
            if size > 1 or "more than 1" not in str(error):
                raise
            raise ValueError(
                "batch_size: leaves a batch of one image, which BatchNorm cannot normalise; takes "
                f"a size above 1 that leaves no remainder of 1 from {len(images):,} images"
            ) from error
        if not isinstance(logits, Tensor):
            got = type(logits).__name__
            raise TypeError(f"model: its forward returned a {got}, takes logits [n, classes]")
        if logits.dim() != 2 or len(logits) != size or logits.shape[1] < classes:
            got = f"{list(logits.shape)} of {size} images of {classes} classes"
            raise ValueError(f"model: its forward made {got}, takes logits [n, classes]")


def _attributes(network: nn.Module, contents: bool) -> list:
    """All that a module is besides its parameters: the same again, if nothing has changed.

    ``contents`` says whether a buffer that was changed in place counts as changed.
    """
    found: list = []
    for name, module in network.named_modules():
        own = [(key, value) for key, value in vars(module).items() if key not in HANDLED]
        found += [(name, key, plain(value)) for key, value in own]
        for key, buffer in module._buffers.items():
            version = buffer._version if contents and buffer is not None else 0
            found.append((name, key, id(buffer), version))
    return found


def plain(value: Any) -> Hashable:
    """Equal for equal settings; an object whose inside nobody knows equals no other."""
    if isinstance(value, PLAIN):
        return type(value), value
    parts = _parts(value)
    if parts is not None:
        known = map(plain, parts)
        return type(value), frozenset(known) if isinstance(value, (set, frozenset)) else (*known,)
    version = value._version if isinstance(value, Tensor) else 0
    return type(value), id(value), version


def _parts(value: Any) -> list | None:
    """What a container of settings holds; None for any other object."""
    if isinstance(value, dict):
        return [part for pair in value.items() for part in pair]
    if isinstance(value, (tuple, list, set, frozenset)):
        return list(value)
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if is_dataclass(value) and type(value).__dataclass_params__.frozen:
        return [getattr(value, field.name) for field in fields(value)]
    return None


def _keeps_a_secret(network: nn.Module) -> bool:
    """Whether it has an object that may change without its attributes showing it."""

    def secret(value: Any) -> bool:
        if isinstance(value, (*PLAIN, Tensor, weakref.ref)):
            return False
        parts = _parts(value)
        return True if parts is None else any(map(secret, parts))

    own = [vars(module).items() for module in network.modules()]
    return any(secret(value) for each in own for key, value in each if key not in HANDLED)
