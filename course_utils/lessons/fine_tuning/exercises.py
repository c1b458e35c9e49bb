"""Checks of the exercises of notebook 11."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from ...classroom.check import exercise
from ...classroom.design import fair_design
from ...engine.networks import make_mlp
from ...randomness import Chance


@exercise(
    "11.1",
    hints=[
        "A tensor learns if its requires_grad is true. Who knows all parameters of a model?",
        "model.parameters() yields tensors; a tensor's numel() is how many numbers it holds.",
        "return sum(p.numel() for p in model.parameters() if p.requires_grad)",
    ],
)
def check_trainable(count: Callable[[nn.Module], Any]) -> Iterator[tuple[Any, str]]:
    """How many numbers of a model learn?"""
    whole = make_mlp(16, 8, 1, 5)
    wanted = 16 * 8 + 8 + 8 * 5 + 5
    yield count(whole) != 4, "There are four tensors that learn; how many numbers do they hold?"
    yield count(whole) == wanted, f"All of a small network learns, {wanted} numbers; not yet so."
    frozen = copy.deepcopy(whole)
    frozen[:-1].requires_grad_(False)
    yield count(frozen) != wanted, "A frozen body is counted as if it learned."
    yield count(frozen) == 8 * 5 + 5, "With a frozen body, the head's numbers should remain."
    part = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8))
    part[1].bias.requires_grad_(False)
    yield count(part) == 16 * 8 + 16, "A layer may learn in part: look at each tensor by itself."


@exercise(
    "11.2",
    hints=[
        "Compare each of the three functions with `Repaired` and `audit`: what is different?",
        "A layer learns only if forward calls it. An optimiser moves all that it holds and that "
        "has a .grad, be it zero.",
        "forward: head(adapter(body(images)).relu()); the optimiser gets the adapter's and the "
        "head's parameters alone; body.eval() comes after body.train().",
    ],
    praise="The new layers learn, the body rests, and its statistics rest, too.",
)
def check_repair(
    forward: Callable[..., Any], prepare: Callable[..., Any], before_step: Callable[..., Any]
) -> Iterator[tuple[Any, str]]:
    """A new adapter and a new head learn on a body that must stay exactly as it is."""
    moved = _after_three_steps(forward, prepare, before_step)
    learns = {part: moved[moved.index.str.startswith(part)] for part in ("head.", "adapter.")}
    yield (learns["head."] > 0).all(), "The head does not learn."
    yield (learns["adapter."] > 0).all(), "One new layer has not moved at all in three steps."
    body = moved[moved.index.str.startswith("body.")]
    weights = body.index.str.endswith(("weight", "bias"))
    rested = (body[weights] == 0).all()
    yield rested, "The body's weights are frozen, and moved all the same."
    statistics = (body[~weights] == 0).all()
    yield statistics, "The body's weights stand still, but something else in it moved."


def _after_three_steps(
    forward: Callable[..., Any], prepare: Callable[..., Any], before_step: Callable[..., Any]
) -> pd.Series:
    """{tensor: largest change} over three steps, from a body fresh from its training."""
    with Chance(0, foreign=False):
        body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU())
        images, labels = torch.rand(64, 1, 4, 4), torch.randint(0, 5, (64,))
        body(images).square().mean().backward()
        parts = nn.ModuleDict({"body": body, "adapter": nn.Linear(8, 8), "head": nn.Linear(8, 5)})
        before = {name: each.detach().clone() for name, each in parts.state_dict().items()}
        optimizer = prepare(*parts.values())
        for _ in range(3):
            optimizer.zero_grad(set_to_none=False)  # as in the section's second mistake
            before_step(*parts.values())
            functional.cross_entropy(forward(*parts.values(), images), labels).backward()
            optimizer.step()
    after = parts.state_dict()
    return pd.Series(
        {n: (after[n].double() - before[n].double()).abs().max().item() for n in before}
    )


@exercise(
    "11.3",
    hints=[
        "The layer computes x W' + x A' B'. Which single matrix gives the same?",
        "W x + B (A x) = (W + B A) x. In the cell above, A is `down` and B is `up`.",
        "Under torch.no_grad(): plain = copy.deepcopy(layer.linear); "
        "plain.weight += layer.up @ layer.down; return plain",
    ],
    praise="In use, the correction costs nothing: it has become part of the matrix.",
)
def check_merge(merge: Callable[[Any], Any], make: Callable[..., Any]) -> Iterator[tuple[Any, str]]:
    """A layer with a low-rank correction, as one plain layer."""
    with Chance(0, foreign=False):
        layer = make(nn.Linear(12, 7), 3)
        with torch.no_grad():
            layer.up.normal_()
        inputs = torch.randn(20, 12)
        wanted, weight = layer(inputs).detach(), layer.linear.weight.detach().clone()
        plain = merge(layer)
    yield type(plain) is nn.Linear, "merge(layer) should return a plain nn.Linear."
    same = torch.equal(layer.linear.weight, weight)
    yield same, "The layer that you were given has changed: work on a copy of its linear layer."
    unmerged = torch.allclose(plain(inputs), layer.linear(inputs), atol=1e-5)
    yield not unmerged, "This is the frozen layer without its correction."
    right = plain(inputs).shape == wanted.shape and torch.allclose(plain(inputs), wanted, atol=1e-4)
    yield right, "The plain layer's answers differ from those of the layer with its correction."


@exercise(
    "11.4",
    hints=[
        "Start from the cell of section 2 that calls compare; give each Arm its own grid.",
        "The table's last column says which choice lies at an edge. Add a value beyond it.",
        "A verdict is *supported* when the whole interval lies above zero, *refuted* when it lies "
        "below, and *not settled* when zero is inside.",
    ],
    praise="That is a fair experiment, and your verdict follows from it.",
)
def check_my_experiment(trial: Any, verdict: Any) -> Iterator[tuple[Any, str]]:
    """An experiment of the learner's own: two arms, both tuned, eight seeds, a verdict."""
    yield from fair_design(trial, verdict)
