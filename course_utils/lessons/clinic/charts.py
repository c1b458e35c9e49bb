"""A chart: everything that the instruments say about one patient."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from ...diagnostics import Instruments
from ...engine.data import Split

CHANCE_LOSS = math.log(10)


@dataclass
class Chart:
    """Everything that the instruments say about one patient, up to now.

    loss, learning_rate, alignment   one entry for each step; alignment is the cosine of a gradient
                                     with the one before
    accuracy                         {"training", "test", "fresh": one entry for each epoch}
    facts                            {name: number}, what needs no curve
    """

    instruments: Instruments
    steps_per_epoch: int
    facts: dict[str, float] = field(default_factory=dict)
    loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    alignment: list[float] = field(default_factory=list)
    accuracy: dict[str, list[float]] = field(
        default_factory=lambda: {"training": [], "test": [], "fresh": []}
    )

    @property
    def norms(self) -> np.ndarray:
        """[reading, layer]: gradient norms."""
        return self.instruments["gradient_norm"].to_numpy()

    def first_epoch(self, quantity: str) -> np.ndarray:
        """[reading, layer] of the first epoch, in which the learning rate had no time to change."""
        table = self.instruments[quantity]
        return table[table.index < self.steps_per_epoch].to_numpy()

    def early_ratio(self) -> float:
        """The median of log10 of update to weight over the layers, in the first epoch."""
        ratios = self.first_epoch("update_ratio")
        finite = ratios[np.isfinite(ratios)]
        return float(np.median(finite)) if len(finite) else -math.inf

    def first_norm(self) -> float:
        """The norm of the whole gradient at the very first step."""
        return float(np.sqrt(np.nansum(self.norms[0] ** 2)))

    def spike(self) -> float:
        """The largest gradient norm over the median one; infinite where the loss was no number."""
        if not np.isfinite(self.loss).all():
            return math.inf
        norms = np.sqrt(np.nansum(self.norms**2, axis=1))
        return float(norms.max() / max(np.median(norms), 1e-30))

    def first_to_last(self) -> float:
        """The first layer's gradient norm over the last one's, in the first epoch."""
        norms = self.first_epoch("gradient_norm")
        return float(np.median(norms[:, 0]) / max(np.median(norms[:, -1]), 1e-30))

    def at_start(self, quantity: str) -> np.ndarray:
        """[layer]: a quantity of the activations after the first step."""
        return self.instruments[quantity].to_numpy()[0]

    def dead(self) -> float:
        """The share of dead units at the start, in the layer that has most."""
        return float(np.nanmax(self.at_start("dead")))

    def saturated(self) -> float:
        """The share of saturated outputs at the start; NaN without sigmoids."""
        return float(np.mean(self.at_start("saturated")))

    def has_ended(self) -> bool:
        """Whether the loss was a number until the last step."""
        return not np.isfinite(self.loss).all()


@torch.no_grad()
def measure(chart: Chart, model: nn.Module, train: Split, test: Split, fresh: Split) -> None:
    """Accuracies after an epoch, and the facts that depend on the weights."""
    every = max(len(train) // len(test), 1)  # sorted images, too, show all their classes
    seen = Split(train.images[::every], train.labels[::every])
    answers = {}
    for name, part in (("training", seen), ("test", test), ("fresh", fresh)):
        answers[name] = model(part.images).argmax(-1)
        chart.accuracy[name].append((answers[name] == part.labels).float().mean().item())
    again = model(test.images).argmax(-1)
    weights = chart.instruments["weight_norm"].to_numpy()
    spread = chart.at_start("between_images")
    hidden = list(chart.instruments.weights.values())[:-1]
    chart.facts |= {
        "first loss": chart.loss[0],
        "spread kept": float(spread[-1] / max(spread[0], 1e-30)),
        "identical units": float(np.mean([_identical(weight) for weight in hidden])),
        "evaluations disagree": (answers["test"] != again).float().mean().item(),
        "weights kept": float(np.sqrt((weights[-1] ** 2).sum() / (weights[0] ** 2).sum())),
    }


def _identical(weight: Tensor) -> float:
    """The share of units whose weights equal another unit's of the same layer, up to rounding."""
    if not torch.isfinite(weight).all():
        return 0.0
    apart = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist")
    apart = apart + torch.eye(len(weight), device=weight.device) * 1e9
    near = 1e-4 * weight.norm(dim=1).clamp(min=1e-12)
    return (apart.min(1).values < near).float().mean().item()


def data_facts(train: Split, test: Split, batch_size: int) -> dict[str, float]:
    """What can be said before any training."""
    flat, others, labels = train.images.flatten(1), test.images.flatten(1), train.labels[:500]
    apart = torch.cdist(flat[:500], flat[:500])
    nearest = (apart + torch.eye(len(apart), device=apart.device) * 1e9).argmin(1)
    rows = {row.tobytes() for row in flat.cpu().numpy()}
    return {
        "input mean": flat.mean().item(),
        "input std": flat.std().item(),
        "test mean": others.mean().item(),
        "test std": others.std().item(),
        "shared images": float(sum(row.tobytes() in rows for row in others.cpu().numpy())),
        "neighbours agree": (labels[nearest] == labels).float().mean().item(),
        "classes in a batch": float(len(train.labels[:batch_size].unique())),
    }
