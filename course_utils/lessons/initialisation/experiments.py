"""What notebook 01 measures: of one neuron's inputs, of fresh networks, of trained ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

from ...diagnostics import layer_outputs
from ...engine.config import Config
from ...engine.data import Dataset, Split
from ...engine.history import History
from ...engine.networks import make_mlp
from ...evidence import Estimate, mean_interval
from ...randomness import Chance
from ...threads import Threads

# One neuron, and one layer of them ----------------------------------------------------------------


def two_inks(split: Split, digits: tuple[int, int] = (3, 1)) -> tuple[Tensor, Tensor]:
    """Two measurements of each image of two digits: how much ink in all, how much in the middle.

    Returns features [n, 2], each with mean 0 and standard deviation 1, and labels [n]: 1 for the
    second digit, 0 for the first.
    """
    keep = (split.labels == digits[0]) | (split.labels == digits[1])
    images, side = split.images[keep].squeeze(1), split.images.shape[-1]
    middle = slice(round(0.36 * side), round(0.64 * side))
    inks = torch.stack([images.sum((1, 2)), images[:, middle, middle].sum((1, 2))], 1)
    return (inks - inks.mean(0)) / inks.std(0), (split.labels[keep] == digits[1]).float()


def central_pixels(dataset: Dataset) -> Dataset:
    """The middle of each image: at the rim many pixels are black in nearly all images, and nothing
    could be said about them."""
    side = dataset.image_shape[-1]
    rim = round(0.2 * side)
    return each_image(dataset, lambda images: images[..., rim : side - rim, rim : side - rim])


def each_image(dataset: Dataset, change: Callable[[Tensor], Tensor]) -> Dataset:
    """The same dataset with every image changed: ``change`` takes images [n, ...]."""

    def changed(split: Split) -> Split:
        return Split(change(split.images), split.labels)

    tuning = None if dataset.tuning is None else changed(dataset.tuning)
    train, val, test = map(changed, (dataset.train, dataset.val, dataset.test))
    return Dataset(train, val, test, dataset.name, tuning)


def random_units(dataset: Dataset, seed: int = 0) -> Tensor:
    """A factor from 0.1 to 10 for each pixel, as metres and millimetres stand beside each other."""
    generator = torch.Generator().manual_seed(seed)
    exponents = 2 * torch.rand(dataset.image_shape, generator=generator) - 1
    return (10**exponents).to(dataset.device)


def importance(model: nn.Module, split: Split, seed: int = 0) -> np.ndarray:
    """[inputs]: how far the cross-entropy rises when one input is shuffled among the images.

    Permutation importance (Breiman, 2001, "Random forests").
    """
    generator, flat = torch.Generator().manual_seed(seed), split.images.flatten(1)
    order = torch.stack([torch.randperm(len(flat), generator=generator) for _ in flat[0]], 1)
    shuffled = flat.gather(0, order.to(flat.device))
    with torch.no_grad():
        logits = model(split.images)
        before = functional.cross_entropy(logits, split.labels)
        rises = []
        for index in range(flat.shape[1]):
            changed = flat.clone()
            changed[:, index] = shuffled[:, index]
            loss = functional.cross_entropy(model(changed.view_as(split.images)), split.labels)
            rises.append((loss - before).item())
    return np.array(rises)


def agreement(layers: History, dataset: Dataset, factor: Tensor | float = 1.0) -> Estimate:
    """How well the sizes of a layer's weights rank the pixels by importance: Spearman's rank
    correlation, 1 for the same order, 0 for none, -1 for the reverse.

    ``layers`` are trained networks without a hidden layer, one for each seed; ``factor`` multiplies
    the size of each pixel's weights.
    """
    found, factors = [], torch.as_tensor(factor, device=dataset.device).flatten()
    for run in range(len(layers)):
        model = layers.model(run)
        size = model[-1].weight.detach().norm(dim=0) * factors
        with Threads(several=False):  # small work: a second thread would only spin
            rises = importance(model, dataset.val, seed=run)
        found.append(spearmanr(size.cpu().numpy(), rises).statistic)
    return mean_interval(found, covers="the seeds, on these pixels and images")


def distinct_neurons(model: nn.Sequential) -> int:
    """How many hidden neurons of a dense network differ from all before them, in any of their
    weights or in their bias, by more than one per cent of a typical neuron's size."""
    first, last = model[1], model[-1]
    rows = torch.cat([first.weight, first.bias[:, None], last.weight.T], 1).detach()
    apart = torch.cdist(rows, rows) > 0.01 * rows.norm(dim=1).mean()
    return 1 + sum(bool(apart[place, :place].all()) for place in range(1, len(rows)))


def where_random(counts: Mapping[str, Sequence[int]]) -> str:
    """In which layer the weights must be random, so that neurons become different. ``counts`` is
    {start: distinct neurons of each run}, with the starts "first random" and "last random"."""
    first, last = (min(counts[name]) > 1 for name in ("first random", "last random"))
    if first and last:
        return "in either of them"
    if first:
        return "in the first layer"
    return "in the last layer" if last else "in both"


# Fresh networks -----------------------------------------------------------------------------------


def signal_profile(model: nn.Module, split: Split) -> tuple[np.ndarray, np.ndarray, float]:
    """(spread between images [layer], size of the gradient [layer], first loss) of one network.

    The spread is how much a unit's output differs between the images of ``split``: its standard
    deviation, as a root mean square over the units of a layer. What is the same for all images
    tells nothing about any. The gradient is that of an image's loss with respect to the outputs.
    """
    outputs = layer_outputs(model, split.images)
    logits = outputs.pop("logits")
    loss = functional.cross_entropy(logits, split.labels, reduction="sum")
    gradients = torch.autograd.grad(loss, list(outputs.values()))
    spreads = [out.detach().std(0).square().mean().sqrt().item() for out in outputs.values()]
    sizes = [gradient.square().mean().sqrt().item() for gradient in gradients]
    return np.array(spreads), np.array(sizes), loss.item() / len(split)


def signal_table(
    activations: Sequence[str],
    schemes: Mapping[str, str],
    split: Split,
    depth: int = 10,
    width: int = 100,
    seeds: int = 8,
) -> pd.DataFrame:
    """One row for each hidden layer of fresh networks: activation, start, seed, layer, spread,
    gradient, first_loss (see ``signal_profile``).

    ``schemes`` is {name to be shown: name that Config.init takes}.
    """
    parts = []
    for activation in activations:
        for name, init in schemes.items():
            for seed in range(seeds):
                with Chance(seed, foreign=False):
                    inputs = split.images[0].numel()
                    model = make_mlp(inputs, width, depth, activation=activation, init=init)
                with Threads(several=False):
                    spread, gradient, loss = signal_profile(model.to(split.images.device), split)
                columns = {"activation": activation, "start": name, "seed": seed}
                columns |= {"layer": np.arange(1, depth + 1), "spread": spread}
                columns |= {"gradient": gradient, "first_loss": loss}
                parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def decades(table: pd.DataFrame, activation: str, start: str, quantity: str) -> np.ndarray:
    """[seed]: log10 of what is left of the "spread" in the last hidden layer, or of the "gradient"
    in the first, compared with where it set out. 0 is a signal that arrives as it left."""
    rows = table[(table["activation"] == activation) & (table["start"] == start)]
    values = rows.pivot(index="seed", columns="layer", values=quantity).to_numpy()
    begin, end = (0, -1) if quantity == "spread" else (-1, 0)
    return np.log10(values[:, end] / values[:, begin])


# Trained networks ---------------------------------------------------------------------------------


def scaled_he(gain: float) -> Callable[[Config, Dataset], nn.Module]:
    """For ``fit(model=...)``: a ReLU network with He's weights times ``gain``."""

    def build(config: Config, dataset: Dataset) -> nn.Module:
        inputs = dataset.train.images[0].numel()
        model = make_mlp(inputs, config.width, config.depth, dataset.classes)
        with torch.no_grad():
            for layer in model.modules():
                if isinstance(layer, nn.Linear):
                    layer.weight.mul_(gain)
        return model

    return build


def steepest_curvature(model: nn.Module, split: Split, steps: int = 20) -> float:
    """The largest curvature of the mean cross-entropy, by power iteration on Hessian products
    (Pearlmutter, 1994): notebook 03 writes it out."""
    parameters = list(model.parameters())
    loss = functional.cross_entropy(model(split.images), split.labels)
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    direction = [one.detach() for one in gradient]
    curvature = 0.0
    for _ in range(steps):
        size = math.sqrt(sum(part.square().sum().item() for part in direction))
        direction = [part / size for part in direction]
        slope = sum((one * part).sum() for one, part in zip(gradient, direction, strict=True))
        product = torch.autograd.grad(slope, parameters, retain_graph=True)
        pairs = zip(product, direction, strict=True)
        curvature = sum((one * part).sum().item() for one, part in pairs)
        direction = [one.detach() for one in product]
    return curvature


def first_curvature(gain: float, config: Config, dataset: Dataset, seeds: int = 8) -> np.ndarray:
    """[seed]: the steepest curvature of networks that ``scaled_he`` starts, before any training."""
    curvatures = []
    for seed in range(seeds):
        with Chance(seed, foreign=False):
            model = scaled_he(gain)(config, dataset).to(dataset.device)
        with Threads(several=False):
            curvatures.append(steepest_curvature(model, dataset.train))
    return np.array(curvatures)


def best_rates(history: History) -> np.ndarray:
    """[seed]: the learning rate with the highest final accuracy, for each seed of a sweep."""
    rates = []
    for runs in history.by("seed").values():
        best = int(runs.val_correct.mean(1).argmax())
        rates.append(runs.configs[best].learning_rate)
    return np.array(rates)
