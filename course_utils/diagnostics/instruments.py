"""Instruments that read during training: an ordinary loop records itself, no line of it changes."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from .layers import evaluating, layer_outputs, read_layer


class Instruments:
    """Attach them to a model and its optimiser, and an ordinary loop records itself.

        instruments = Instruments(model, optimizer, images)
        ...                              # train as always
        instruments["update_ratio"]      # a table: a row for each step, a column for each layer

    Tables, by the weights of each dense or convolutional layer:
    gradient_norm     the gradient's norm as the optimiser saw it (NaN where there was no gradient)
    update_ratio      log10 of the update's norm over the weights' norm; -inf where nothing moved
    weight_norm       after the update
    and by activation layer, for ``images``, in evaluation mode, as ``inspect_layers`` has them:
    mean, std, between_images, saturated, dead

    ``every`` is the number of updates between two readings, ``keep`` that between two snapshots:
    ``snapshots`` holds {step: {layer: gradient}}, for histograms over time. The update-to-weight
    ratio and its guide of about 1e-3 are those of Karpathy's course notes (CS231n, 2015).
    """

    BY_WEIGHT = ("gradient_norm", "update_ratio", "weight_norm")
    BY_ACTIVATION = ("mean", "std", "between_images", "saturated", "dead")

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
        self.step, self._written = 0, -1
        self.steps: list[int] = []
        self.snapshots: dict[int, dict[str, Tensor]] = {}
        self._rows: dict[str, list[dict[str, float]]] = defaultdict(list)
        self._hooks = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def __getitem__(self, quantity: str) -> pd.DataFrame:
        """[reading x layer], indexed by step. Raises KeyError for an unknown quantity."""
        known = self.BY_WEIGHT + self.BY_ACTIVATION
        if quantity not in known:
            raise KeyError(f"{quantity!r}: takes one of {', '.join(known)}")
        index = pd.Index(self.steps, name="step")
        return pd.DataFrame(self._rows[quantity], index=index, dtype=float)

    def detach(self) -> None:
        """Take the instruments off the optimiser again; the tables stay."""
        for hook in self._hooks:
            hook.remove()

    def write(self, writer: Any) -> None:
        """Log the newest reading to a ``SummaryWriter``: scalars, and a snapshot as histograms.

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

    def _before(self, *_: object) -> None:
        if self.step % self.every:
            return
        self._old = {name: weight.detach().clone() for name, weight in self.weights.items()}
        norms = {
            name: w.grad.norm().item() for name, w in self.weights.items() if w.grad is not None
        }
        self._rows["gradient_norm"].append({name: norms.get(name, np.nan) for name in self.weights})
        if self.keep and self.step % self.keep == 0:
            grads = {name: weight.grad for name, weight in self.weights.items()}
            self.snapshots[self.step] = {
                n: g.detach().clone() for n, g in grads.items() if g is not None
            }

    @torch.no_grad()
    def _after(self, *_: object) -> None:
        if self.step % self.every == 0:
            self.steps.append(self.step)
            ratios, norms = {}, {}
            for name, weight in self.weights.items():
                moved, old = (weight - self._old[name]).norm().item(), self._old[name].norm().item()
                norms[name] = weight.norm().item()
                with np.errstate(divide="ignore", invalid="ignore"):
                    ratios[name] = float(np.log10(np.float64(moved) / np.float64(old)))
            self._rows["update_ratio"].append(ratios)
            self._rows["weight_norm"].append(norms)
            self._read_activations()
        self.step += 1

    def _read_activations(self) -> None:
        with evaluating(self.model):
            outputs = layer_outputs(self.model, self.images)
        del outputs["logits"]
        read = {name: read_layer(self.model, name, out) for name, out in outputs.items()}
        for quantity in self.BY_ACTIVATION:
            self._rows[quantity].append({name: values[quantity] for name, values in read.items()})
