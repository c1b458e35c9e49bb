"""Instruments for a network's inside: what each layer puts out, what each layer is taught. Floor 3.

All take a plain module (``history.model(k)``, ``run.model(k)``, or your own) and leave it as it was.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from .models import ACTIVATIONS

# A sigmoid or tanh is saturated where its slope is below a fifth of its steepest.
SATURATED = {nn.Sigmoid: lambda out: (out < 0.05) | (out > 0.95), nn.Tanh: lambda out: out.abs() > 0.9}


def layer_outputs(model: nn.Module, images: Tensor, kinds: tuple[type, ...] | None = None) -> dict[str, Tensor]:
    """{layer name: output} of every activation layer (or every layer of ``kinds``) for a batch of images.

    The model's own output stands last, as "logits".
    """
    kinds = kinds or tuple(kind for kind in ACTIVATIONS.values() if kind is not nn.Identity)
    outputs: dict[str, Tensor] = {}
    hooks = [layer.register_forward_hook(lambda _, __, out, name=name: outputs.__setitem__(name, out))
             for name, layer in model.named_modules() if isinstance(layer, kinds)]
    try:
        logits = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs | {"logits": logits}


def layer_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """{parameter name: gradient} of the mean cross-entropy for one batch."""
    names, parameters = zip(*((n, p) for n, p in model.named_parameters() if p.requires_grad), strict=True)
    loss = functional.cross_entropy(model(images), labels)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def saturation(model: nn.Module, images: Tensor) -> float:
    """The share of sigmoid or tanh outputs, over all hidden layers and images, that are saturated.

    Raises ValueError for a model without either.
    """
    with torch.no_grad():
        outputs = layer_outputs(model, images, tuple(SATURATED))
    del outputs["logits"]
    if not outputs:
        raise ValueError(f"model: got one without {' or '.join(kind.__name__ for kind in SATURATED)}, which alone saturate")
    shares = [SATURATED[type(model.get_submodule(name))](out).float().mean().item() for name, out in outputs.items()]
    return float(np.mean(shares))


def inspect_layers(model: nn.Module, images: Tensor, labels: Tensor) -> pd.DataFrame:
    """One row for each hidden layer, from the input on, for a batch in evaluation mode.

    mean, std         of its activations
    saturated         share of outputs near the flat ends (sigmoid and tanh; NaN otherwise)
    dead              share of units that put out zero for every image of the batch (ReLU)
    gradient_std      of the loss's gradient (per image) with respect to its activations
    """
    was_training = model.training
    model.eval()
    outputs = layer_outputs(model, images)
    loss = functional.cross_entropy(outputs.pop("logits"), labels, reduction="sum")
    gradients = torch.autograd.grad(loss, list(outputs.values()))
    model.train(was_training)
    rows = []
    for (name, out), gradient in zip(outputs.items(), gradients, strict=True):
        kind = type(model.get_submodule(name))
        flat = out.detach().flatten(1)
        rows.append({"layer": name, "activation": kind.__name__, "mean": flat.mean().item(), "std": flat.std().item(),
                     "saturated": SATURATED[kind](flat).float().mean().item() if kind in SATURATED else np.nan,
                     "dead": (flat == 0).all(0).float().mean().item(), "gradient_std": gradient.std().item()})
    return pd.DataFrame(rows)
