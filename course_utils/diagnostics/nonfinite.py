"""Where a number stopped being one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle


def first_nonfinite(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[str, str] | None:
    """Where the first number that is not finite was born, or None if all are finite.

    ("forward" or "backward", the layer's name): the first layer with a bad result although all that
    it was given was finite. One forward and one backward pass of the mean cross-entropy; no
    gradient is kept. ("backward", "loss") says that the loss itself hands back bad gradients.
    """
    born: list[tuple[str, str]] = []

    def note(way: str, name: str, given: object, result: object) -> None:
        if not born and _all_finite(given) and not _all_finite(result):
            born.append((way, name))

    def forward(name: str) -> Callable[..., None]:
        return lambda _, given, out: note("forward", name, given, out)

    def backward(name: str) -> Callable[..., None]:
        return lambda _, to_input, from_output: note("backward", name, from_output, to_input)

    hooks: list[RemovableHandle] = []
    for name, layer in model.named_modules():
        if not any(True for _ in layer.children()):
            hooks.append(layer.register_forward_hook(forward(name)))
            hooks.append(layer.register_full_backward_hook(backward(name)))
    try:
        with torch.enable_grad():
            # The input asks for a gradient too, so that the first layer's backward pass has a
            # result to look at.
            images = images.detach().clone().requires_grad_()
            loss = functional.cross_entropy(model(images), labels)
            note("forward", "loss", None, loss)
            if not born:
                wanted = [images, *(p for p in model.parameters() if p.requires_grad)]
                note("backward", "loss", None, torch.autograd.grad(loss, wanted, allow_unused=True))
    finally:
        for hook in hooks:
            hook.remove()
    return born[0] if born else None


def _all_finite(value: object) -> bool:
    if isinstance(value, Tensor):
        return bool(torch.isfinite(value).all()) if value.is_floating_point() else True
    return all(map(_all_finite, value)) if isinstance(value, (tuple, list)) else True
