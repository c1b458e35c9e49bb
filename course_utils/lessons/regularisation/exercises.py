"""Checks of the exercises of notebook 06."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...classroom.check import exercise
from ...classroom.design import fair_design
from ...engine.data import Split
from ...engine.networks import make_mlp
from ...protocol import Trial
from ...randomness import Chance


@exercise(
    "06.1",
    hints=[
        "model.eval() switches dropout off, and model.train() switches it on.",
        "Note model.training before you change it; model.train(mode) takes True or False.",
        "mode = model.training; model.eval(); measure; model.train(mode); return the share.",
    ],
    praise="Your score means something, and training goes on as it was.",
)
def check_evaluate(evaluate: Any) -> Iterator[tuple[Any, str]]:
    """``evaluate(model, split)`` measures with dropout off, and leaves the model as it was."""
    yield callable(evaluate), "`evaluate` should be a function."
    model, split = _with_dropout()
    scores = [float(evaluate(model.eval(), split)) for _ in range(3)]
    yield min(scores) >= 0 and max(scores) <= 1, "It should return a share of right answers."
    scores = [float(evaluate(model.train(), split)) for _ in range(5)]
    yield len(set(scores)) == 1, "Five calls on the same images differ: dropout is still on."
    yield abs(scores[0] - 137 / 200) < 1e-6, "That is not the score of the whole network."
    for mode, effect in ((True, "the next epoch trains without dropout"), (False, "dropout is on")):
        evaluate(model.train(mode), split)
        kept = all(module.training == mode for module in model.modules())
        came = "training" if mode else "evaluation"
        yield kept, f"A model that came in {came} mode goes out in the other one: {effect}."


def _with_dropout() -> tuple[nn.Module, Split]:
    """A network with dropout, and 200 images of which it answers 137 as labelled."""
    images = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    with Chance(4, foreign=False):
        model = make_mlp(64, width=32, dropout=0.5).eval()
    labels = model(images).argmax(-1)
    labels[:63] = (labels[:63] + 1) % 10
    return model, Split(images, labels)


@exercise(
    "06.2",
    hints=[
        "Each mixed image shows two digits. Which labels does it deserve, and in which shares?",
        "Cross-entropy with the first labels counts `share`, with the others 1 - share.",
        "loss = share * cross_entropy(logits, labels) + (1 - share) * cross_entropy(logits, "
        "labels[order]), with logits = model(share * images + (1 - share) * images[order])",
    ],
    praise="The network is asked for straight lines between the digits.",
)
def check_mixup(mixup_loss: Any) -> Iterator[tuple[Any, str]]:
    """``mixup_loss(model, images, labels, share, order)``: images and labels are both mixed."""
    yield callable(mixup_loss), "`mixup_loss` should be a function."
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(30, 1, 4, 4, generator=generator)
    labels = torch.randint(10, (30,), generator=generator)
    order = torch.randint(30, (30,), generator=generator)  # a permutation has the same mean loss
    with Chance(0, foreign=False):
        model = make_mlp(16, 8)

    def near(loss: Tensor, wanted: Tensor) -> bool:
        return bool(torch.isclose(loss, wanted, rtol=1e-4))

    def asked(share: float) -> Tensor:
        loss = mixup_loss(model, images.clone(), labels.clone(), share, order)
        return torch.as_tensor(loss)

    first = asked(1.0)
    yield first.numel() == 1 and first.requires_grad, "It should return one loss to descend."
    plain = functional.cross_entropy(model(images), labels)
    yield near(first, plain), "With share 1 nothing is mixed: it should be the ordinary loss."
    other = functional.cross_entropy(model(images[order]), labels[order])
    yield near(asked(0.0), other), "With share 0 it should be the loss of the other images alone."
    logits = model(0.7 * images + 0.3 * images[order])
    one, two = (functional.cross_entropy(logits, each) for each in (labels, labels[order]))
    mixed_alone = "The images are mixed, but their labels are not."
    yield not near(asked(0.7), one), mixed_alone
    wrong_images = (
        "Mix the images first, and ask the network once, not the two losses of two calls."
    )
    yield not near(asked(0.7), 0.7 * plain + 0.3 * other), wrong_images
    yield near(asked(0.7), 0.7 * one + 0.3 * two), "The labels' shares should be the images'."


@exercise(
    "06.3",
    hints=[
        "Start from the cell of section 2 that calls compare, and change what you ask about.",
        "The table's last column says which choice lies at an edge. Add a value beyond it.",
        'The verdict is "supported" when the whole interval of the gain lies above zero, "refuted" '
        'when it lies below, and "not settled" when zero is inside.',
    ],
    praise="That is a fair experiment about a lever, and your verdict follows from it.",
)
def check_my_experiment(trial: Any, verdict: Any) -> Iterator[tuple[Any, str]]:
    """An experiment of the learner's own, on the same small training set."""
    if isinstance(trial, Trial):
        budgets = {(runs.configs[0].epochs, trial.updates[arm]) for arm, runs in _judged(trial)}
        yield len(budgets) == 1, "Give both sides the same number of epochs and updates."
    yield from fair_design(trial, verdict)


def _judged(trial: Trial) -> Any:
    return trial.histories.items()
