"""Instruments for a network's inside: what each layer puts out, what each layer is taught. Floor 3.

All take a plain module (``history.model(k)``, ``run.model(k)``, or your own) and leave it as it was.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from .engine.networks import ACTIVATIONS

# A sigmoid or tanh is saturated where its slope is below a fifth of its steepest.
SATURATED = {
    nn.Sigmoid: lambda out: (out < 0.05) | (out > 0.95),
    nn.Tanh: lambda out: out.abs() > 0.9,
}


def layer_outputs(
    model: nn.Module, images: Tensor, kinds: tuple[type, ...] | None = None
) -> dict[str, Tensor]:
    """{layer name: output} of every activation layer (or every layer of ``kinds``) for a batch of images.

    The model's own output stands last, as "logits".
    """
    kinds = kinds or tuple(kind for kind in ACTIVATIONS.values() if kind is not nn.Identity)
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
    names, parameters = zip(
        *((n, p) for n, p in model.named_parameters() if p.requires_grad), strict=True
    )
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
        raise ValueError(
            f"model: got one without {' or '.join(kind.__name__ for kind in SATURATED)}, which alone saturate"
        )
    shares = [
        SATURATED[type(model.get_submodule(name))](out).float().mean().item()
        for name, out in outputs.items()
    ]
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
        rows.append(
            {
                "layer": name,
                "activation": kind.__name__,
                "mean": flat.mean().item(),
                "std": flat.std().item(),
                "saturated": SATURATED[kind](flat).float().mean().item()
                if kind in SATURATED
                else np.nan,
                "dead": (flat == 0).all(0).float().mean().item(),
                "gradient_std": gradient.std().item(),
            }
        )
    return pd.DataFrame(rows)


def first_nonfinite(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[str, str] | None:
    """Where the first number that is not finite was born: ("forward" or "backward", the layer's name), or None.

    The birthplace is the first layer with a bad result although everything that it was given was finite. One
    forward and one backward pass of the mean cross-entropy; no gradient is kept. ("backward", "loss") says that
    the loss itself hands back bad gradients.
    """
    born: list[tuple[str, str]] = []

    def note(way: str, name: str, given: object, result: object) -> None:
        if not born and _all_finite(given) and not _all_finite(result):
            born.append((way, name))

    hooks = []
    for name, layer in model.named_modules():
        if not any(True for _ in layer.children()):
            hooks.append(
                layer.register_forward_hook(
                    lambda _, given, out, name=name: note("forward", name, given, out)
                )
            )
            hooks.append(
                layer.register_full_backward_hook(
                    lambda _, to_input, from_output, name=name: note(
                        "backward", name, from_output, to_input
                    )
                )
            )
    try:
        with torch.enable_grad():
            # The input asks for a gradient too, so that the first layer's backward pass has a result to look at.
            images = images.detach().clone().requires_grad_()
            logits = model(images)
            loss = functional.cross_entropy(logits, labels)
            if not born and not torch.isfinite(loss):
                return ("forward", "loss")
            if not born:
                wanted = [images, *(p for p in model.parameters() if p.requires_grad)]
                gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
                if not born and not _all_finite([g for g in gradients if g is not None]):
                    return ("backward", "loss")
    finally:
        for hook in hooks:
            hook.remove()
    return born[0] if born else None


def _all_finite(value: object) -> bool:
    if isinstance(value, Tensor):
        return bool(torch.isfinite(value).all()) if value.is_floating_point() else True
    return all(map(_all_finite, value)) if isinstance(value, (tuple, list)) else True


class Instruments:
    """Attach them to a model and its optimiser, and an ordinary loop records itself: no line of it changes.

        instruments = Instruments(model, optimizer, images)
        ...                                                # train as always
        instruments["update_ratio"]                        # a table: one row for each step, one column for each layer

    Tables, by the weights of each dense or convolutional layer:
    gradient_norm     the gradient's norm as the optimiser saw it (NaN where there was no gradient)
    update_ratio      log10 of the update's norm over the weights' norm; -inf where nothing moved
    weight_norm       after the update
    and by activation layer, for ``images``, in evaluation mode:
    mean, std         of the outputs
    saturated, dead   the shares that ``inspect_layers`` reports

    ``every`` is the number of updates between two readings, ``keep`` that between two snapshots: ``snapshots`` holds
    {step: {layer: gradient}}, for histograms over time. The update-to-weight ratio and its guide of about 1e-3 are
    Karpathy's ("makemore", part 3, 2022).
    """

    BY_WEIGHT = ("gradient_norm", "update_ratio", "weight_norm")
    BY_ACTIVATION = ("mean", "std", "saturated", "dead")

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        images: Tensor,
        *,
        every: int = 1,
        keep: int | None = None,
    ):
        self.model, self.images, self.every, self.keep = model, images, every, keep
        self.weights = {
            name: layer.weight
            for name, layer in model.named_modules()
            if isinstance(layer, (nn.Linear, nn.Conv2d))
        }
        self.step, self.steps, self._written = 0, [], -1
        self.snapshots: dict[int, dict[str, Tensor]] = {}
        self._rows: dict[str, list[dict[str, float]]] = defaultdict(list)
        self._hooks = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def __getitem__(self, quantity: str) -> pd.DataFrame:
        """[reading x layer], indexed by step. Raises KeyError for a quantity that there is not."""
        if quantity not in self.BY_WEIGHT + self.BY_ACTIVATION:
            raise KeyError(
                f"{quantity!r}: takes one of {', '.join(self.BY_WEIGHT + self.BY_ACTIVATION)}"
            )
        return pd.DataFrame(
            self._rows[quantity], index=pd.Index(self.steps, name="step"), dtype=float
        )

    def detach(self) -> None:
        """Take the instruments off the optimiser again; the tables stay."""
        for hook in self._hooks:
            hook.remove()

    def write(self, writer) -> None:
        """Log the newest reading to a ``SummaryWriter`` as scalars, and a snapshot taken at that step as histograms.

        Call it as often as you like: a reading is written once.
        """
        if not self.steps or self.steps[-1] == self._written:
            return
        step = self._written = self.steps[-1]
        for quantity, rows in self._rows.items():
            for layer, value in rows[-1].items():
                if np.isfinite(value):
                    writer.add_scalar(f"{quantity}/{layer}", value, step)
        for layer, gradient in self.snapshots.get(step, {}).items():
            if torch.isfinite(gradient).all():
                writer.add_histogram(f"gradients/{layer}", gradient, step)

    def _before(self, *_) -> None:
        if self.step % self.every:
            return
        self._old = {name: weight.detach().clone() for name, weight in self.weights.items()}
        gradients = {name: weight.grad for name, weight in self.weights.items()}
        self._rows["gradient_norm"].append(
            {
                name: np.nan if gradient is None else gradient.norm().item()
                for name, gradient in gradients.items()
            }
        )
        if self.keep and self.step % self.keep == 0:
            self.snapshots[self.step] = {
                name: gradient.detach().clone()
                for name, gradient in gradients.items()
                if gradient is not None
            }

    @torch.no_grad()
    def _after(self, *_) -> None:
        if self.step % self.every == 0:
            self.steps.append(self.step)
            norms = {name: weight.norm().item() for name, weight in self.weights.items()}
            moved = {
                name: (weight - self._old[name]).norm().item()
                for name, weight in self.weights.items()
            }
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = {
                    name: float(
                        np.log10(
                            np.float64(moved[name]) / np.float64(self._old[name].norm().item())
                        )
                    )
                    for name in norms
                }
            self._rows["update_ratio"].append(ratios)
            self._rows["weight_norm"].append(norms)
            self._read_activations()
        self.step += 1

    def _read_activations(self) -> None:
        modes = {layer: layer.training for layer in self.model.modules()}
        self.model.eval()
        outputs = layer_outputs(self.model, self.images)
        for layer, mode in modes.items():  # parents come before their children
            layer.train(mode)
        del outputs["logits"]
        rows = {quantity: {} for quantity in self.BY_ACTIVATION}
        for name, out in outputs.items():
            kind, flat = type(self.model.get_submodule(name)), out.flatten(1)
            rows["mean"][name], rows["std"][name] = flat.mean().item(), flat.std().item()
            rows["saturated"][name] = (
                SATURATED[kind](flat).float().mean().item() if kind in SATURATED else np.nan
            )
            rows["dead"][name] = (flat == 0).all(0).float().mean().item()
        for quantity, row in rows.items():
            self._rows[quantity].append(row)
