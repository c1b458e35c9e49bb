"""Notebook 04, regularisation: the gap and what closes it. Floor 7."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..classroom.check import Result, check
from ..classroom.lab import Lab, Values, choice, describe_training, rates, slider, values_of
from ..engine.config import Config
from ..engine.data import Dataset, Split
from ..engine.history import History
from ..engine.networks import make_mlp
from ..engine.training import fit, train
from ..evidence import Estimate, accuracy, difference
from ..plots import COLOURS, GREY, Axes, Figure, plot_gap


@torch.no_grad()
def rescore(history: History, split: Split) -> History:
    """The same runs with ``val_correct`` [config, image] taken on another split: one that no decision has looked at.

    The curves stay those of the split that ``fit`` watched; ``accuracy`` and ``difference`` judge on the new one.
    """
    answers = [
        history.model(run)(split.images).argmax(-1) == split.labels for run in range(len(history))
    ]
    return replace(history, val_correct=torch.stack(answers).cpu().numpy())


def _gaps(history: History) -> History:
    """``val_correct`` replaced by training accuracy minus correctness: the mean of the table is the gap."""
    return replace(
        history, val_correct=history.final("train_accuracy")[:, None] - history.val_correct
    )


def gap(history: History) -> Estimate:
    """Training accuracy minus validation accuracy, with the interval over seeds and validation images."""
    return accuracy(_gaps(history))


def gap_closed(treated: History, control: History) -> Estimate:
    """By how many points the gap of ``treated`` is smaller than that of ``control``, paired seed by seed."""
    return difference(_gaps(control), _gaps(treated))


def wrong_labels(split: Split, share: float, seed: int = 0) -> Split:
    """A copy in which about this share of the labels is replaced by another digit, drawn at random."""
    noise, count = torch.Generator().manual_seed(seed), len(split)
    shift = torch.randint(1, 10, (count,), generator=noise) * (
        torch.rand(count, generator=noise) < share
    )
    return Split(split.images, (split.labels + shift.to(split.labels.device)) % 10)


@torch.no_grad()
def silenced_accuracy(model: nn.Sequential, split: Split, share: float, masks: int = 10) -> float:
    """Accuracy when a random ``share`` of the hidden units is silenced for good, averaged over ``masks`` choices.

    For networks of ``make_mlp`` with one hidden layer. The units left are scaled up by 1 / (1 - share), as in dropout.
    """
    hidden, labels = model[:3](split.images), split.labels
    noise = torch.Generator().manual_seed(0)
    alive = torch.ones(masks, hidden.shape[-1])
    for mask in alive:
        mask[torch.randperm(len(mask), generator=noise)[: round(share * len(mask))]] = 0
    answers = model[-1](hidden * (alive.to(hidden.device) / (1 - share)).unsqueeze(1)).argmax(-1)
    return (answers == labels).float().mean().item()


def plot_board(board: dict[str, History], axes: np.ndarray) -> None:
    """Left: training and validation accuracy of every lever, and the gap. Right: the paired gain over the first."""
    control = next(iter(board.values()))
    for row, history in enumerate(board.values()):
        score, seen = accuracy(history), 100 * history.final("train_accuracy").mean()
        axes[0].plot(
            [100 * score.value, seen],
            [row, row],
            color=GREY,
            linewidth=4,
            alpha=0.25,
            solid_capstyle="butt",
        )
        axes[0].plot(
            seen, row, "^", color=COLOURS[1], markersize=7, label="training" if row == 0 else None
        )
        axes[0].plot([100 * score.low, 100 * score.high], [row, row], color=COLOURS[0], linewidth=2)
        axes[0].plot(
            100 * score.value, row, "o", color=COLOURS[0], label="validation" if row == 0 else None
        )
        if row:
            gain = difference(history, control)
            axes[1].plot(
                [100 * gain.low, 100 * gain.high], [row, row], color=COLOURS[0], linewidth=2
            )
            axes[1].plot(100 * gain.value, row, "o", color=COLOURS[0], markersize=5)
            axes[1].annotate(
                f"{round(100 * gain.value, 1) + 0.0:+.1f}",
                (100 * gain.value, row),
                xytext=(0, 5),
                ha="center",
                textcoords="offset points",
                fontsize=8.5,
            )
    axes[1].axvline(0, color=GREY, linewidth=1)
    axes[0].set(yticks=range(len(board)), yticklabels=list(board), xlabel="accuracy in %")
    axes[1].set(
        xlabel="validation accuracy gained, in points", yticks=range(len(board)), yticklabels=[]
    )
    for ax in axes:
        ax.set_ylim(len(board) - 0.4, -0.7)
        ax.grid(axis="y", visible=False)
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1)


def regularisation_lab(dataset: Dataset, seeds: int = 8) -> Lab:
    """Every lever a control: eight networks train, the two curves and the gap grow, a map shows where you have been.

    The task: go left (a smaller gap) without going down (validation accuracy). ``dataset`` holds 2,000 training
    images or more.
    """
    controls = {
        "images": slider("images", [100, 200, 500, 1000, 2000], 500),
        "width": slider("width", [4, 8, 16, 32, 64, 128], 64),
        "learning_rate": slider("learning rate", rates(1e-4, 1.0, 2), 0.01),
        "dropout": slider("dropout", [0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9], 0.0),
        "weight_decay": slider("weight decay", [0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0], 0.0),
        "label_smoothing": slider("label smoothing", [0.0, 0.05, 0.1, 0.2, 0.4, 0.8], 0.0),
        "augment": choice("augmentation", [None, "shift", "affine", "flip"], None),
        "patience": choice("patience", [None, 1, 3], None),
    }

    def run(values: Values) -> Iterator[History]:
        fields: dict[str, Any] = dict(values)
        data = replace(dataset, train=dataset.train.first(fields.pop("images")))
        for state in train(
            [Config(**fields, epochs=20, seed=seed) for seed in range(seeds)],
            data,
            keep_models=False,
        ):
            if state.epoch_ended or not state.active.any():
                yield state.history

    *_, untreated = run(values_of(controls))

    def draw(figure: Figure, axes: np.ndarray, history: History, earlier: list[History]) -> None:
        draw_gap(axes.flat[0], history)
        draw_map(axes.flat[1], untreated, history, earlier)

    return Lab(
        controls, run, draw, lambda history: describe_gap(history, untreated), size=(8.4, 3.2)
    )


def _point(history: History) -> tuple[float, float]:
    """(gap, validation accuracy) in per cent, over the networks that did not diverge; NaN where none is left."""
    good = (
        history[~history.diverged & (history.kept_epoch >= 0)]
        if (history.kept_epoch >= 0).any()
        else None
    )
    if good is None:
        return np.nan, np.nan
    score = good.val_correct.mean()
    return 100 * (good.final("train_accuracy").mean() - score), 100 * score


def draw_gap(ax: Axes, history: History) -> None:
    """Both accuracy curves, and the gap between them in grey; says so when every network diverged."""
    if np.isfinite(history.val_accuracy).any():
        plot_gap(history, ax=ax)
        ax.legend(loc="lower right")
    if history.diverged.all():
        ax.text(0.5, 0.5, "diverged", transform=ax.transAxes, ha="center")
    ax.set(
        ylim=(0, 1.03),
        xlim=(0.7, history.val_loss.shape[1] + 0.3),
        title="training, validation, and the gap",
    )


def draw_map(ax: Axes, untreated: History, history: History, earlier: list[History]) -> None:
    """Gap against validation accuracy: the untreated networks, earlier runs in grey, this run; the goal is shaded."""
    start = _point(untreated)
    ax.axvspan(-100, start[0] / 2, ymin=0, color=COLOURS[2], alpha=0.05)
    ax.fill_between([-100, start[0] / 2], start[1], 100, color=COLOURS[2], alpha=0.2, linewidth=0)
    for old in earlier:
        ax.plot(*_point(old), "o", color=GREY, alpha=0.5)
    ax.plot(*start, "s", color=COLOURS[0], label="untreated")
    ax.plot(*_point(history), "D", color=COLOURS[1], label="now")
    points = np.array([_point(each) for each in (untreated, history, *earlier)])
    points = points[np.isfinite(points).all(1)]
    ax.set(
        xlim=(min(-2, points[:, 0].min() - 2), max(16, points[:, 0].max() + 2)),
        xlabel="gap in points",
        ylim=(min(80, points[:, 1].min() - 3), 98),
        ylabel="validation accuracy in %",
        title="goal: the green corner",
    )
    ax.legend(loc="lower right")


def describe_gap(history: History, untreated: History) -> str:
    """The lab's line in words: curves, gap, and whether the task is done."""
    (before, score), (now, new) = _point(untreated), _point(history)
    if np.isnan(now):
        return describe_training(history)
    halved, held = now <= before / 2, new >= score
    verdict = {
        (True, True): "the gap is halved and nothing is lost: done",
        (True, False): "the gap is halved, but validation accuracy is lost",
        (False, True): "validation accuracy holds, but the gap is not halved yet",
        (False, False): "validation accuracy is lost, and the gap is not halved",
    }[halved, held]
    return f"{describe_training(history)}; gap {now:.1f} points (untreated {before:.1f}): {verdict}"


def check_evaluate(function: Any) -> Result:
    """Exercise 04.1: ``function(model, split)`` measures with dropout off, and leaves the model as it found it."""
    images = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = make_mlp(64, width=32, dropout=0.5).eval()
    labels = model(images).argmax(-1)
    labels[:63] = (labels[:63] + 1) % 10  # the whole network is right on 137 of 200
    split, truth = Split(images, labels), 137 / 200

    def scores(training: bool) -> list[float]:
        model.train(training)
        return [float(function(model, split)) for _ in range(5)]

    def restored(training: bool) -> bool:
        model.train(training)
        function(model, split)
        return all(module.training == training for module in model.modules())

    return check(
        "04.1",
        [
            (
                lambda: all(0 <= score <= 1 for score in scores(False)),
                "the share of right answers is wanted, 0 to 1.",
            ),
            (
                lambda: len(set(scores(True))) == 1,
                "five calls on the same images give different scores: dropout is on.",
            ),
            (
                lambda: max(abs(score - truth) for score in scores(True)) < 1e-6,
                "that is not the whole network's score.",
            ),
            (
                lambda: restored(False),
                "a model that came in evaluation mode went out in training mode.",
            ),
            (
                lambda: restored(True),
                "a model that came in training mode went out in evaluation mode: the next epoch "
                "trains without dropout.",
            ),
        ],
        hints=[
            "model.eval() switches dropout off, model.train() switches it on.",
            "note model.training first, and call model.train(that value) at the end.",
        ],
        praise="a score that means something, and no side effect.",
    )


def check_dropout(function: Any) -> Result:
    """Exercise 04.2: ``function(x, rate, training, generator)`` is inverted dropout."""
    x = torch.rand(400, 300, generator=torch.Generator().manual_seed(0)) + 0.5

    def out(rate: float, training: bool = True, seed: int = 1) -> Tensor:
        return function(x.clone(), rate, training, torch.Generator().manual_seed(seed))

    def keeps_mean(rate: float) -> bool:
        return abs(out(rate).mean() - x.mean()).item() < 0.03

    return check(
        "04.2",
        [
            (lambda: out(0.3).shape == x.shape, "the output should have the shape of the input."),
            (
                lambda: torch.equal(out(0.3, training=False), x),
                "at evaluation time the input should pass unchanged.",
            ),
            (
                lambda: all(
                    abs((out(rate) == 0).float().mean() - rate) < 0.02 for rate in (0.2, 0.5, 0.8)
                ),
                "the share of zeros should be the rate.",
            ),
            (
                lambda: (
                    (out(0.5) == 0).float().mean(0).std() < 0.1
                    and (out(0.5) == 0).float().mean(1).std() < 0.1
                ),
                "every unit of every image should have its own draw, not a whole row or column one.",
            ),
            (
                lambda: all(keeps_mean(rate) for rate in (0.2, 0.5, 0.8)),
                "the mean changes between training and evaluation: the next layer would see another world.",
            ),
            (
                lambda: (
                    torch.equal(out(0.5), out(0.5)) and not torch.equal(out(0.5), out(0.5, seed=2))
                ),
                "draw from the generator that is passed in.",
            ),
        ],
        hints=[
            "a share of 1 - rate survives; by what must the survivors be multiplied for the mean to stay?",
            "divide the survivors by 1 - rate, in training mode only.",
        ],
        praise="zeroes, rescales, and steps aside at evaluation time.",
    )


def check_matching_decay(function: Any) -> Result:
    """Exercise 04.3: ``function(penalty, momentum)`` is SGD's weight_decay for ``loss + penalty * sum of squares``."""

    def final(penalty: float, weight_decay: float, momentum: float) -> Tensor:
        weights = nn.Parameter(torch.linspace(-1, 1, 7, dtype=torch.float64))
        optimizer = torch.optim.SGD([weights], lr=0.1, momentum=momentum, weight_decay=weight_decay)
        for _ in range(10):
            optimizer.zero_grad()
            (functional.softplus(3 * weights).sum() + penalty * (weights**2).sum()).backward()
            optimizer.step()
        return weights.detach()

    def same(penalty: float, momentum: float) -> bool:
        ours = final(0.0, float(function(penalty, momentum)), momentum)
        return torch.allclose(final(penalty, 0.0, momentum), ours, atol=1e-9)

    return check(
        "04.3",
        [
            (
                lambda: float(function(0.01, 0.0)) >= 0,
                "the function should return a number of at least 0.",
            ),
            (
                lambda: all(same(penalty, 0.0) for penalty in (0.01, 0.1, 0.5)),
                "plain SGD ends at other weights with your weight_decay than with the penalty in the loss.",
            ),
            (
                lambda: all(same(penalty, 0.9) for penalty in (0.01, 0.1, 0.5)),
                "right without momentum, not with it.",
            ),
        ],
        hints=[
            "what is the derivative of w squared?",
            "torch adds weight_decay * w to the gradient, before the momentum.",
        ],
        praise="the factor two, and momentum changes nothing: the term is added before the average is taken.",
    )


def check_gap_closed(config: Any, dataset: Dataset, untreated: Config) -> Result:
    """Exercise 04.4: eight networks of ``config`` have at most half the gap of ``untreated``, and lose no accuracy."""
    ready = isinstance(config, Config) and config.epochs <= 60
    fair = ready and config.depth <= 3 and config.width <= 512
    done = (
        {
            name: fit(
                [each.replace(seed=seed) for seed in range(8)],
                dataset,
                progress=False,
                keep_models=False,
            )
            for name, each in (("now", config), ("before", untreated))
        }
        if fair
        else {}
    )
    say = ""
    if done and not done["now"].diverged.any():
        gain, before, now = (
            difference(done["now"], done["before"]),
            gap(done["before"]),
            gap(done["now"]),
        )
        say = f"gap {100 * before.value:.1f} to {100 * now.value:.1f} points, validation accuracy {gain}."
    return check(
        "04.4",
        [
            (isinstance(config, Config), "a Config is wanted."),
            (
                fair,
                "stay within 60 epochs, width 512 and depth 3: the lever is regularisation, not size.",
            ),
            (bool(say), "some of the networks diverged: a lower learning rate?"),
            (lambda: now.value <= before.value / 2, f"the gap is not halved yet: {say}"),
            (
                lambda: gain.value >= 0,
                f"the gap is closed from the wrong side, by losing accuracy: {say}",
            ),
        ],
        hints=[
            "which lever of the board closed the gap from below, by lifting the validation accuracy?",
            "augment='affine', perhaps with a little dropout; it learns more slowly: look at epochs and rate.",
        ],
        praise=f"the gap is halved from below: {say}",
    )
