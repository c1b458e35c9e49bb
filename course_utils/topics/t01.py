"""Notebook 01: the two labs, the deep auto-encoder, the audit of a training step, and the exercise checks. Floor 7."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import Linear, functional

from ..classroom.check import Result, check
from ..classroom.lab import Lab, Values, choice, slider
from ..diagnostics import inspect_layers, layer_outputs
from ..engine.config import Config
from ..engine.data import Dataset, Split
from ..engine.history import History
from ..engine.networks import ACTIVATIONS, INITIALISATIONS, initialise, make_mlp
from ..engine.training import fit
from ..plots import GREY, style

LAB_WIDTH = 100  # units in each hidden layer of the initialisation lab


# Small helpers ------------------------------------------------------------------------------------------------------


def two_inks(split: Split, digits: tuple[int, int] = (3, 1)) -> tuple[Tensor, Tensor]:
    """Two measurements of each image of two digits: features [n, 2] (ink in all, ink in the middle) and labels [n].

    Each feature has mean 0 and standard deviation 1. The label is 1 for the second digit, 0 for the first.
    """
    keep = (split.labels == digits[0]) | (split.labels == digits[1])
    images, side = split.images[keep].squeeze(1), split.images.shape[-1]
    middle = slice(round(0.36 * side), round(0.64 * side))
    inks = torch.stack([images.sum((1, 2)), images[:, middle, middle].sum((1, 2))], 1)
    return (inks - inks.mean(0)) / inks.std(0), (split.labels[keep] == digits[1]).float()


def tuned(history: History) -> History:
    """The runs at the learning rate with the best mean validation accuracy: how a comparison is made fair."""
    return max(history.by("learning_rate").values(), key=lambda runs: runs.val_correct.mean())


def some_digits(
    dataset: Dataset, low: int, high: int, labels: int | None = None, at_least: int = 1
) -> Dataset:
    """The digits ``low`` to ``high`` only, renamed 0, 1, ...; the first ``labels`` of them to train on.

    Few images are repeated until there are ``at_least`` so many: an epoch then takes as many updates as with many.
    """

    def part(split: Split, count: int | None = None, least: int = 1) -> Split:
        keep = torch.nonzero((split.labels >= low) & (split.labels <= high)).flatten()[:count]
        keep = keep.repeat(-(-least // len(keep)))[: max(least, len(keep))]
        return Split(split.images[keep], split.labels[keep] - low)

    name = f"digits {low} to {high}"
    return Dataset(
        part(dataset.train, labels, at_least), part(dataset.val), part(dataset.test), name
    )


def importance(model: nn.Module, split: Split, seed: int = 0) -> np.ndarray:
    """[inputs]: the rise of the cross-entropy when one input is shuffled among the images (Breiman, 2001)."""
    generator, flat = torch.Generator().manual_seed(seed), split.images.flatten(1)

    def loss() -> float:
        return functional.cross_entropy(model(flat.view_as(split.images)), split.labels).item()

    rises, undisturbed = np.zeros(flat.shape[1]), loss()
    flat = flat.clone()
    for index in range(flat.shape[1]):
        column = flat[:, index].clone()
        flat[:, index] = column[torch.randperm(len(flat), generator=generator).to(flat.device)]
        rises[index] = loss() - undisturbed
        flat[:, index] = column
    return rises


def fine_tuned(
    bodies: list[nn.Sequential], pretrained: bool, frozen: bool
) -> Callable[[Config, Dataset], nn.Module]:
    """For ``fit(model=...)``: a dense network with a fresh head for this dataset's classes.

    ``pretrained`` takes everything but the head from ``bodies[config.seed]``; ``frozen`` lets the head alone learn.
    """

    def build(config: Config, dataset: Dataset) -> nn.Sequential:
        model = make_mlp(
            dataset.train.images[0].numel(), config.width, config.depth, dataset.classes
        )
        if pretrained:
            head = initialise(Linear(config.width, dataset.classes), "xavier")
            model = nn.Sequential(*copy.deepcopy(bodies[config.seed])[:-1], head)
        model[:-1].requires_grad_(not frozen)
        return model

    return build


def decades(model: nn.Module, split: Split) -> tuple[float, float]:
    """log10 of how a network changes the size of its signals: (activations last / first, gradients first / last).

    Both compare standard deviations in the first and in the last hidden layer: 0 is a signal that arrives as it left.
    """
    table = inspect_layers(model, split.images, split.labels)
    out, gradient = (np.log10(table[column].to_numpy()) for column in ("std", "gradient_std"))
    return out[-1] - out[0], gradient[0] - gradient[-1]


def what_moved(model: nn.Module, step: Callable[[], object]) -> pd.DataFrame:
    """Run one training step and report on every parameter and buffer of ``model``.

    trainable   requires_grad (buffers: False)
    gradient    norm of what the step left in ``.grad``; NaN where there is none
    moved       largest absolute change of an element
    """
    before = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    step()
    parameters, rows = dict(model.named_parameters()), []
    for name, tensor in model.state_dict().items():
        parameter = parameters.get(name)
        gradient = None if parameter is None else parameter.grad
        rows.append(
            {
                "tensor": name,
                "trainable": parameter is not None and parameter.requires_grad,
                "gradient": math.nan if gradient is None else gradient.norm().item(),
                "moved": (tensor.double() - before[name].double()).abs().max().item(),
            }
        )
    return pd.DataFrame(rows)


# Layer-wise pretraining ---------------------------------------------------------------------------------------------


class AutoEncoder(nn.Module):
    """One new sigmoid layer on a frozen body, and a decoder that must rebuild the layer's input from its output.

    The forward pass returns the squared error of each image, [n, 1], so that ``fit`` can minimise it.
    """

    stackable = True

    def __init__(self, body: nn.Module, inputs: int, width: int):
        super().__init__()
        self.body, self.squash = body.requires_grad_(False), nn.Sigmoid()
        self.encode, self.decode = Linear(inputs, width), Linear(width, inputs)
        initialise(self.encode, "xavier")
        initialise(self.decode, "xavier")

    def forward(self, images: Tensor) -> Tensor:
        before = self.body(images)
        rebuilt = self.squash(self.decode(self.squash(self.encode(before))))
        return (rebuilt - before).square().mean(-1, keepdim=True)


def pretrain_layers(
    dataset: Dataset,
    depth: int,
    width: int,
    seeds: int = 8,
    epochs: int = 10,
    learning_rate: float = 0.01,
) -> list[nn.Sequential]:
    """A body of ``depth`` sigmoid layers for each seed, every layer trained by itself, without labels.

    Greedy layer-wise pretraining with auto-encoders (Bengio et al., 2007).
    """
    bodies = [nn.Sequential(nn.Flatten(-3)) for _ in range(seeds)]
    configs = [
        Config(epochs=epochs, learning_rate=learning_rate, seed=seed) for seed in range(seeds)
    ]
    for layer in range(depth):
        inputs = width if layer else dataset.train.images[0].numel()

        def build(config: Config, _: Dataset, inputs: int = inputs) -> nn.Module:
            return AutoEncoder(copy.deepcopy(bodies[config.seed]), inputs, width)

        history = fit(
            configs, dataset, model=build, loss=lambda errors, _: errors[:, 0], progress=False
        )
        for seed in range(seeds):
            bodies[seed] = nn.Sequential(*bodies[seed], history.model(seed).encode, nn.Sigmoid())
    return bodies


# Labs ---------------------------------------------------------------------------------------------------------------


def neuron_lab(features: Tensor, labels: Tensor) -> Lab:
    """One neuron, two inputs: the sliders are its two weights and its bias, the picture is what it decides."""
    steps = np.arange(-4, 4.01, 0.5).round(1).tolist()
    controls = {
        "weight_of_all_ink": slider("weight of all ink", steps, -1.0),
        "weight_of_middle_ink": slider("weight of middle ink", steps, 2.0),
        "bias": slider("bias", steps, 0.0),
    }
    points, truth = features.cpu().numpy(), labels.cpu().numpy() > 0.5

    def run(values: Values) -> Iterator[np.ndarray]:
        yield np.array(list(values.values()), float)

    def describe(neuron: np.ndarray) -> str:
        right = ((points @ neuron[:2] + neuron[2] > 0) == truth).mean()
        return (
            f"sum = {neuron[0]:g} x all ink {neuron[1]:+g} x middle ink {neuron[2]:+g}; "
            f"right for {100 * right:.0f} % of the images"
        )

    def draw(figure, axes, neuron: np.ndarray, earlier: list[np.ndarray]) -> None:
        plane, curve = axes.flat
        ticks = np.linspace(-3.2, 3.2, 60)
        across, up = np.meshgrid(ticks, ticks)
        plane.pcolormesh(
            across,
            up,
            _sigmoid(neuron[0] * across + neuron[1] * up + neuron[2]),
            cmap="PuOr",
            vmin=-0.3,
            vmax=1.3,
            shading="nearest",
            rasterized=True,
        )
        for number, old in enumerate([*earlier, neuron]):
            if old[:2].any():  # where the sum is zero: a line, if a weight is not
                last = number == len(earlier)
                look = ("black", 2.4, "-") if last else (GREY, 1.0, ":")
                plane.contour(
                    across,
                    up,
                    old[0] * across + old[1] * up + old[2],
                    levels=[0],
                    colors=look[0],
                    linewidths=look[1],
                    linestyles=look[2],
                )
        sums = points @ neuron[:2] + neuron[2]
        reach = max(6.0, np.abs(sums).max())
        for number, (digit, chosen, mark) in enumerate([("a 3", ~truth, "o"), ("a 1", truth, "^")]):
            plane.plot(
                *points[chosen][:150].T,
                mark,
                markersize=3.5,
                color=style(number)["color"],
                label=digit,
                markeredgecolor="white",
                markeredgewidth=0.3,
            )
            share, edges = np.histogram(sums[chosen], 40, (-reach, reach))
            curve.stairs(share / max(share.max(), 1), edges, label=digit, **style(number))
        ticks = np.linspace(-reach, reach, 200)
        curve.plot(ticks, _sigmoid(ticks), color="black", linewidth=2)
        curve.axvline(0, color=GREY, linewidth=0.8)
        plane.set(
            xlabel="ink in all (standardised)",
            ylabel="ink in the middle",
            xlim=(-3.2, 3.2),
            ylim=(-3.2, 3.2),
        )
        curve.set(
            xlabel="weighted sum + bias", ylabel="output; share of images", ylim=(-0.02, 1.05)
        )
        curve.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8.5, borderaxespad=0.2
        )
        plane.set_title("black: where the sum is zero", fontsize=9, fontweight="normal")

    return Lab(controls, run, draw, describe, size=(8.4, 3.6))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(values / 2))


def init_lab(dataset: Dataset, images: int = 200) -> Lab:
    """Depth, activation, initialisation: what a fresh network puts out in each layer, and what gradients reach it."""
    names = [name for name in ACTIVATIONS if name != "identity"]
    controls = {
        "depth": slider("depth", [1, 2, 3, 5, 10, 15, 20], 10),
        "activation": choice("activation", names, "relu"),
        "init": choice("initialisation", list(INITIALISATIONS), "xavier"),
    }
    batch = dataset.val.first(images)

    def run(values: Values) -> Iterator[dict]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = make_mlp(batch.images[0].numel(), LAB_WIDTH, outputs=dataset.classes, **values)
        model = model.to(batch.images.device)
        with torch.no_grad():
            outputs = layer_outputs(model, batch.images)
            loss = functional.cross_entropy(outputs.pop("logits"), batch.labels).item()
        table = inspect_layers(model, batch.images, batch.labels)
        yield {"outputs": list(outputs.values()), "table": table, "loss": loss}

    def describe(result: dict) -> str:
        ends = result["table"].iloc[[0, -1]]
        (first, last), (back_first, back_last) = ends["std"], ends["gradient_std"]
        return (
            f"standard deviation of the activations: {first:.2g} in the first layer, {last:.2g} in the last; "
            f"of the gradients: {back_first:.2g} and {back_last:.2g}; "
            f"first loss {result['loss']:.3g} (log {dataset.classes} = {math.log(dataset.classes):.2f})"
        )

    def draw(figure, axes, result: dict, _: list) -> None:
        ridge, lines = axes.flat
        arrays = [out.flatten().cpu().numpy() for out in result["outputs"]]
        low, high = np.percentile(np.concatenate(arrays), [0.2, 99.8])
        low, high = (low, high) if high > low else (low - 1, high + 1)
        for layer, array in enumerate(arrays):
            share, edges = np.histogram(array, 60, (low, high))
            tops = layer + 1 - 0.85 * np.sqrt(share / max(share.max(), 1))
            ridge.fill_between(
                (edges[1:] + edges[:-1]) / 2,
                layer + 1,
                tops,
                step="mid",
                alpha=0.75,
                linewidth=0.6,
                facecolor=style(0)["color"],
                edgecolor="black",
            )
        layers = np.arange(1, len(arrays) + 1)
        for number, (column, label) in enumerate(
            [("std", "activations"), ("gradient_std", "gradients")]
        ):
            spread = result["table"][column].to_numpy()
            lines.plot(
                layers,
                np.where(spread > 0, spread, np.nan),
                marker="os"[number],
                label=label,
                markersize=4,
                **style(number),
            )
        if not (result["table"][["std", "gradient_std"]].to_numpy() > 0).any():
            lines.text(
                0.5,
                0.5,
                "every activation and\nevery gradient is zero",
                ha="center",
                transform=lines.transAxes,
            )
        ridge.set(
            xlabel="activation",
            ylabel="hidden layer (1: next to the input)",
            ylim=(len(arrays) + 0.3, 0),
        )
        lines.set(xlabel="hidden layer", ylabel="standard deviation", yscale="log")
        for axis in (ridge.yaxis, lines.xaxis):
            axis.get_major_locator().set_params(integer=True)
        lines.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8.5, borderaxespad=0.2
        )

    return Lab(controls, run, draw, describe, size=(8.4, 3.6))


# Exercise checks ----------------------------------------------------------------------------------------------------


def check_neuron(weights: object, bias: object, features: Tensor, labels: Tensor) -> Result:
    """Exercise 01.1: a neuron set by hand that tells 1 from 3 in at least nine of ten images."""

    def right() -> float:
        sums = features.double() @ torch.as_tensor(weights, dtype=torch.float64) + float(bias)
        return ((sums > 0) == (labels > 0.5)).double().mean().item()

    return check(
        "01.1",
        [
            (
                lambda: torch.as_tensor(weights).shape == (2,),
                "weights must be two numbers, one for each input.",
            ),
            (lambda: math.isfinite(float(bias)), "bias must be one number."),
            (
                lambda: right() > 0.5,
                "the neuron is wrong more often than right: which weight should be negative?",
            ),
            (lambda: right() >= 0.9, "not yet nine of ten."),
        ],
        [
            "a 1 has little ink in all, but much of it in the middle.",
            "only the ratio of the two weights counts for the direction of the boundary.",
            "the bias moves the boundary without turning it; try it in the lab first.",
        ],
        "the signs of the weights turn the boundary, the bias shifts it.",
    )


def check_leaky_std(leaky_std: Callable[[int, float], float]) -> Result:
    """Exercise 01.2: the standard deviation of weights that keeps the signal's size under a Leaky ReLU of any slope."""

    def drift(slope: float, fan_in: int = 256, layers: int = 12) -> float:
        """Decades by which the root mean square has changed after ``layers`` layers."""
        generator = torch.Generator().manual_seed(0)
        signal = torch.randn(256, fan_in, generator=generator)
        for _ in range(layers):
            weight = torch.randn(fan_in, fan_in, generator=generator) * float(
                leaky_std(fan_in, slope)
            )
            signal = functional.leaky_relu(signal @ weight, slope)
        root = signal.square().mean().sqrt().item()
        return math.log10(root) if 0 < root < math.inf else math.inf

    def is_right(fan_in: int, slope: float) -> bool:
        return math.isclose(
            float(leaky_std(fan_in, slope)), math.sqrt(2 / ((1 + slope**2) * fan_in)), rel_tol=0.02
        )

    return check(
        "01.2",
        [
            (
                lambda: float(leaky_std(100, 0.1)) > 0,
                "leaky_std(fan_in, slope) must return a positive number.",
            ),
            (
                lambda: abs(drift(0.0)) < 0.3,
                "for slope 0, which is ReLU, the signal changes its size with depth.",
            ),
            (
                lambda: abs(drift(1.0)) < 0.3,
                "for slope 1, which changes nothing, the signal grows or shrinks.",
            ),
            (
                lambda: abs(drift(0.5)) < 0.3,
                "the ends are right, but a slope of 0.5 does not keep the signal's size.",
            ),
            (
                lambda: all(is_right(n, a) for n in (10, 300) for a in (0.0, 0.01, 0.2, 0.7, 1.0)),
                "nearly: some width or slope is a few per cent off.",
            ),
        ],
        [
            "what share of the mean square survives? Half of the inputs pass whole, half are multiplied by the slope.",
            "a negative input x leaves slope * x, so its square leaves slope**2 * x**2: the share is (1 + slope**2) / 2.",
            "the variance of the weights times fan_in times that share must be 1.",
        ],
        "slope 0 gives He, slope 1 gives 1 / fan_in, and yours gives all between.",
    )


def check_first_loss(calm: Callable[[nn.Module], object], split: Split) -> Result:
    """Exercise 01.3: bring the first loss to log(classes) without touching the hidden layers."""
    classes = int(split.labels.max()) + 1

    def repaired(seed: int, depth: int = 2) -> tuple[nn.Module, nn.Module]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            before = make_mlp(split.images[0].numel(), 32, depth, classes, init="normal").to(
                split.images.device
            )
            after = copy.deepcopy(before)
            result = calm(after)
        return before, result if isinstance(result, nn.Module) else after

    def loss(model: nn.Module) -> float:
        return functional.cross_entropy(model(split.images), split.labels).item()

    def kept(depth: int) -> bool:
        before, after = repaired(0, depth)
        pairs = zip(list(before.parameters())[:-2], list(after.parameters())[:-2], strict=True)
        return all(torch.equal(old, new) for old, new in pairs)

    return check(
        "01.3",
        [
            (
                lambda: math.isfinite(loss(repaired(0)[1])),
                "calm(model) fails, or leaves a loss that is no number.",
            ),
            (
                lambda: kept(1) and kept(3),
                "the hidden layers have changed: only the last layer may.",
            ),
            (
                lambda: all(p.requires_grad for p in repaired(0)[1].parameters()),
                "a parameter can no longer learn.",
            ),
            (
                lambda: all(abs(loss(repaired(s)[1]) - math.log(classes)) < 0.1 for s in range(3)),
                f"the first loss is not yet near log({classes}).",
            ),
        ],
        [
            "the loss is log(classes) when all classes get equal probability; when are all logits equal?",
            "the last layer is model[-1]; change it under torch.no_grad().",
            "multiply model[-1].weight by a very small number, or set it to zero.",
        ],
        'a small last layer says "I do not know yet", which is the truth.',
    )


def check_stable_bce(bce: Callable[[Tensor, Tensor], Tensor]) -> Result:
    """Exercise 01.4: binary cross-entropy from logits, right for every float32."""
    logits = torch.tensor(
        [-1e4, -200.0, -90.0, -20.0, -3.0, -0.1, 0.0, 0.5, 4.0, 20.0, 90.0, 200.0, 1e4]
    )
    labels = torch.tensor([0.0, 1.0, 0.3])

    def both(z: Tensor) -> tuple[Tensor, Tensor]:
        z, y = z.repeat(len(labels)), labels.repeat_interleave(len(z))
        return bce(z, y), functional.binary_cross_entropy_with_logits(z, y, reduction="none")

    def gradients() -> bool:
        z = logits[logits != 0].clone().requires_grad_(True)
        mine, theirs = (torch.autograd.grad(each.sum(), z)[0] for each in both(z))
        return torch.allclose(mine, theirs, atol=1e-4)

    def values(z: Tensor) -> bool:
        mine, theirs = both(z)
        return torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5)

    return check(
        "01.4",
        [
            (
                lambda: both(logits)[0].shape == both(logits)[1].shape,
                "bce must return one number for each logit.",
            ),
            (
                lambda: values(logits[logits.abs() < 5]),
                "for small logits the value is not the binary cross-entropy.",
            ),
            (
                lambda: torch.isfinite(both(logits)[0]).all(),
                "for a large logit the loss is infinite, or not a number.",
            ),
            (
                lambda: values(logits),
                "for a large logit the loss is finite, but wrong: it must grow with the logit.",
            ),
            (
                gradients,
                "the values are right, but the gradient of a large logit is not: nothing can learn from it.",
            ),
        ],
        [
            "1 - sigmoid(z) is rounded to 0 from z = 17 on. Never compute the sigmoid; what is -log(1 - sigmoid(z)) in z?",
            "-log(1 - sigmoid(z)) = log(1 + exp(z)), which torch has as functional.softplus(z).",
            "the loss is softplus(z) - y * z.",
        ],
        "finite, right, and it can be learnt from.",
    )


def check_fine_tuning(prepare: Callable, one_step: Callable) -> Result:
    """Exercise 01.5: fine-tune a new adapter and head on a body that must stay exactly as it is."""

    def audit() -> pd.DataFrame:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU())
            images, labels = torch.rand(64, 1, 4, 4), torch.randint(0, 5, (64,))
            body(
                images
            ).square().mean().backward()  # a body fresh from training: its gradients still lie about
            body.zero_grad(set_to_none=False)
            model, optimizer = prepare(body)

            def steps() -> None:
                for _ in range(3):
                    one_step(model, optimizer, images, labels)

            table = what_moved(model, steps).set_index("tensor")["moved"]
        for name in ("adapter.", "head.", "body."):
            assert table.index.str.startswith(name).any()
        return table

    def moved(text: str) -> np.ndarray:
        table = audit()
        return table[table.index.str.startswith(text)].to_numpy() > 0

    def still(kinds: tuple[str, ...]) -> bool:
        table = audit()
        return (
            not table[table.index.str.startswith("body.") & table.index.str.endswith(kinds)]
            .to_numpy()
            .any()
        )

    return check(
        "01.5",
        [
            (
                lambda: len(audit()) > 0,
                "prepare and one_step do not run, or the model lost its body, adapter or head.",
            ),
            (lambda: moved("head.").all(), "the head does not learn."),
            (lambda: moved("adapter.").all(), "one new layer has not moved at all in three steps."),
            (
                lambda: still(("weight", "bias")),
                "the body's weights are frozen, and moved all the same.",
            ),
            (
                lambda: still(("running_mean", "running_var", "num_batches_tracked")),
                "the body's weights stand still, but something else in it moved.",
            ),
        ],
        [
            "run what_moved on a model and one_step: what should move and does not, what should not and does?",
            "a layer learns only if forward calls it. An optimiser moves all it holds that has a .grad, be it zero.",
            "give the optimiser only the parameters that learn, and call model.body.eval() after model.train().",
        ],
        "the new layers learn, the body rests, its statistics too.",
    )
