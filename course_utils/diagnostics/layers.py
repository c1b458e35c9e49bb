"""One look into a network: what each layer puts out, and the gradient that reaches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..engine.networks import ACTIVATIONS

# A sigmoid or tanh is saturated where its slope is below a fifth of its steepest.
SATURATED: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Sigmoid: lambda out: (out < 0.05) | (out > 0.95),
    nn.Tanh: lambda out: out.abs() > 0.9,
}


def layer_outputs(
    model: nn.Module, images: Tensor, kinds: tuple[type[nn.Module], ...] | None = None
) -> dict[str, Tensor]:
    """{layer name: output} of every activation layer (or every layer of ``kinds``) for a batch.

    The model's own output stands last, as "logits".
    """
    if kinds is None:
        kinds = tuple(type(make()) for name, make in ACTIVATIONS.items() if name != "identity")
    outputs: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_hook(lambda _, __, out, name=name: outputs.__setitem__(name, out))
        for name, layer in model.named_modules()
        if isinstance(layer, kinds)
    ]
    try:
        logits = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs | {"logits": logits}


def layer_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """{parameter name: gradient} of the mean cross-entropy for one batch."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    loss = functional.cross_entropy(model(images), labels)
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def saturation(model: nn.Module, images: Tensor) -> float:
    """The share of sigmoid or tanh outputs, over all hidden layers and images, that are saturated.

    Raises ValueError for a model without either.
    """
    with torch.no_grad():
        outputs = layer_outputs(model, images, tuple(SATURATED))
    del outputs["logits"]
    if not outputs:
        kinds = " or ".join(kind.__name__ for kind in SATURATED)
        raise ValueError(f"model: got one without {kinds}, which alone saturate")
    flat = [SATURATED[type(model.get_submodule(name))](out) for name, out in outputs.items()]
    return float(np.mean([each.float().mean().item() for each in flat]))


def inspect_layers(model: nn.Module, images: Tensor, labels: Tensor) -> pd.DataFrame:
    """One row for each activation layer, from the input on, for a batch in evaluation mode.

    layer, activation  its name in the model, its kind
    mean, std          of all its outputs
    between_images     how far a unit's outputs differ from image to image: the standard deviation
                       over the images, mean over the units. Units that differ from each other, and
                       answer every image alike, have a large ``std`` and none of this.
    saturated          share of outputs near the flat ends (sigmoid and tanh; NaN otherwise)
    dead               share of units that put out zero for every image of the batch (ReLU)
    gradient_std       of the loss's gradient (per image) with respect to its outputs

    Raises ValueError for fewer than two images.
    """
    with evaluating(model):
        outputs = layer_outputs(model, images)
        loss = functional.cross_entropy(outputs.pop("logits"), labels, reduction="sum")
        gradients = torch.autograd.grad(loss, list(outputs.values()))
    rows = []
    for (name, out), gradient in zip(outputs.items(), gradients, strict=True):
        row: dict[str, Any] = {"layer": name}
        row |= {"activation": type(model.get_submodule(name)).__name__}
        row |= read_layer(model, name, out.detach())
        rows.append(row | {"gradient_std": gradient.std().item()})
    return pd.DataFrame(rows)


def read_layer(model: nn.Module, name: str, out: Tensor) -> dict[str, float]:
    """What can be said of one activation layer's outputs [image, ...]."""
    if len(out) < 2:
        raise ValueError(f"images: got {len(out)}, takes two or more, to see how outputs differ")
    kind, flat = type(model.get_submodule(name)), out.flatten(1)
    flat_ends = SATURATED[kind](flat).float().mean().item() if kind in SATURATED else np.nan
    return {
        "mean": flat.mean().item(),
        "std": flat.std().item(),
        "between_images": flat.std(0).mean().item(),
        "saturated": flat_ends,
        "dead": (flat == 0).all(0).float().mean().item(),
    }


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards each part has its own mode back."""
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():  # parents come before their children
            part.train(mode)
