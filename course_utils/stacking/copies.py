"""Deep copies of learners' networks, whatever these keep."""

from __future__ import annotations

import copy
import types
from collections import deque
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer

CLOSED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)


def settled_copy(module: nn.Module) -> nn.Module:
    """A deep copy, also of a module that keeps a tensor with its history of operations, in whatever
    list or object, and with the hooks of its parameters, which torch's own copy leaves out."""
    memo: dict[int, Any] = {}
    seen: set[int] = set()
    for part in module.modules():
        _settle(vars(part), memo, seen)
    copied = copy.deepcopy(module, memo)
    for old, new in zip(module.parameters(), copied.parameters(), strict=True):
        for hook in (old._backward_hooks or {}).values():
            new.register_hook(hook)
        for hook in (getattr(old, "_post_accumulate_grad_hooks", None) or {}).values():
            new.register_post_accumulate_grad_hook(hook)
    return copied


def has_hooks(tensor: Tensor) -> bool:
    return bool(tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None))


def _settle(value: Any, memo: dict[int, Any], seen: set[int]) -> None:
    """Note in ``memo`` what stands for the tensors in ``value`` that torch refuses to copy."""
    if id(value) in seen or isinstance(value, CLOSED):
        return
    seen.add(id(value))
    if isinstance(value, UninitializedBuffer):
        memo[id(value)] = UninitializedBuffer(device=value.device, dtype=value.dtype)  # type: ignore[call-arg]
    elif isinstance(value, Tensor):
        if not value.is_leaf:
            memo[id(value)] = value.detach().clone()
    elif isinstance(value, dict):
        for each in value.values():
            _settle(each, memo, seen)
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        for each in value:
            _settle(each, memo, seen)
    elif not isinstance(value, nn.Module) and hasattr(value, "__dict__"):
        _settle(vars(value), memo, seen)
