"""Which configurations share a stack, and what is refused before any of them is trained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from ..errors import require
from ..randomness import Chance
from ..refusals import checked_loss, rehearse
from ..stacking.architecture import Way, key_of, most_together, way_of
from ..stacking.copies import settled_copy
from ..stacking.rows import LayerStack
from ..stacking.stack import Stack
from ..stacking.trial import check
from .config import Config
from .data import SPLITS, Dataset
from .losses import Loss
from .networks import make_mlp
from .optimizers import make_optimizer, sharing

Model = Callable[[Config, Dataset], nn.Module]
Built = tuple[nn.Module, Chance]
TAKES = "takes a function (config, dataset) -> torch module"


def build_mlp(config: Config, dataset: Dataset) -> nn.Module:
    """The dense network that a Config describes, for this dataset's images and classes."""
    names = ("width", "depth", "activation", "init", "dropout", "normalisation")
    settings = {name: getattr(config, name) for name in names}
    inputs = dataset.train.images[0].numel()
    return make_mlp(inputs, outputs=dataset.classes, **settings)


def build(model: Model, config: Config, dataset: Dataset) -> Built:
    """One configuration's network, drawn from its seed, and the draws that its training makes next.

    Raises TypeError that names ``model`` where it is no function, or returns no module.
    """
    is_function = callable(model) and not isinstance(model, nn.Module)
    require(is_function, f"model: got a {type(model).__name__}, {TAKES}", TypeError)
    chance = Chance(config.seed, dataset.device, foreign=model is not build_mlp)
    with chance:
        try:
            network = model(config, dataset)
        except Exception as error:
            error.add_note(f"This came from model, which {TAKES}.")
            raise
        returned = f"model: it returned a {type(network).__name__}, {TAKES}"
        require(isinstance(network, nn.Module), returned, TypeError)
        if any(isinstance(part, LazyModuleMixin) for part in network.modules()):
            network = settled_copy(network).to(dataset.device).eval()
            few = dataset.train.images[:2].clone()
            with torch.no_grad():  # gives a lazy layer its shape, and its weights
                network(few)
    return network, chance


def _batch_sizes(config: Config, dataset: Dataset) -> tuple[int, ...]:
    """The sizes of the batches of an epoch: one, or two where the last is smaller."""
    size = min(config.batch_size, len(dataset.train))
    return tuple(dict.fromkeys((size, len(dataset.train) % size or size)))


def _shape(config: Config) -> tuple:
    """Configurations that differ here never share a stack."""
    layers = (config.width, config.depth, config.activation, config.normalisation)
    return config.batch_size, config.epochs, *layers


def refuse_nonsense(
    configs: Sequence[Config], dataset: Dataset, model: Model, loss: Loss | None
) -> dict[int, Built]:
    """Look once at everything that a learner hands over, before anything is trained.

    Raises TypeError or ValueError that names what makes no sense: ``dataset`` or a split of it,
    ``loss``, ``label_smoothing``, ``model``, ``batch_size`` or ``schedule``. Returns the networks
    that were built for it, by their configuration's place.
    """
    got = f"dataset: got a {type(dataset).__name__}, takes a Dataset"
    require(isinstance(dataset, Dataset), got, TypeError)
    dataset.look()  # again: tensors may have been changed since
    classes = dataset.classes if loss is None else 1
    known = set(dataset.train.labels.unique().tolist())
    told = f"labels: got the class {max(known):,} and {len(known)} in all, takes 0, 1, 2 and so on"
    require(max(known) < 1000 + 10 * len(known), told)
    several = len(known) > 1 or loss is not None
    require(several, f"train: has images of class {min(known)} alone: there is nothing to learn")
    for name in SPLITS[1:] if dataset.tuning is None else (*SPLITS[1:], "tuning"):
        strange = sorted(set(getattr(dataset, name).labels.unique().tolist()) - known)
        which = f"images of class {', '.join(map(str, strange))}, of which train has none"
        require(not strange, f"{name}: has {which}: no network could learn it")
    if loss is not None:
        smoothed = any(config.label_smoothing for config in configs)
        alone = "got a value above 0, takes 0 together with a loss of your own"
        require(not smoothed, f"label_smoothing: {alone}")
        few = dataset.train.first(4)
        with Chance(0, dataset.device):
            logits = torch.zeros(len(few), dataset.classes, device=dataset.device)
            checked_loss(loss(logits, few.labels.clone()), few.labels)
    built: dict[int, Built] = {}
    shapes = [_shape(config) for config in configs]
    for index in (shapes.index(shape) for shape in dict.fromkeys(shapes)):
        config = configs[index]
        if model is not build_mlp or config.normalisation == "batch":
            built[index] = build(model, config, dataset)
            sizes = _batch_sizes(config, dataset)
            check(built[index][0], dataset.train.images, sizes, classes)
    for config in configs:
        if callable(config.schedule):
            optimizer = make_optimizer(config, [nn.Parameter(torch.zeros(1, 1))])
            updates = config.epochs * -(-len(dataset.train) // config.batch_size)
            with Chance(config.seed):
                rehearse(config.schedule, optimizer, updates)
    return built


def plan(
    configs: Sequence[Config], dataset: Dataset, model: Model, built: dict[int, Built]
) -> Iterator[tuple[list[int], Stack]]:
    """(indices, stack) of what is trained together, each built when it is due."""
    groups: dict[tuple, list[int]] = defaultdict(list)
    for index, config in enumerate(configs):
        groups[_shape(config)].append(index)
    for indices in groups.values():
        alike: dict[Hashable, list[tuple[int, nn.Module, Chance]]] = defaultdict(list)
        ways: dict[Hashable, Way] = {}
        for index in indices:
            made = built.pop(index) if index in built else build(model, configs[index], dataset)
            network, chance = made
            key = "mlp" if model is build_mlp else key_of(network)
            if key not in ways:
                plain = model is build_mlp
                ways[key] = LayerStack if plain else way_of(network, dataset.train.images)
            alike[key].append((index, network, chance))
        for key, members in alike.items():
            # Rows with equal settings side by side can share an optimiser.
            members.sort(key=lambda member: sharing(configs[member[0]], member[0]))
            first, size = members[0][1], _batch_sizes(configs[members[0][0]], dataset)[0]
            most = most_together(ways[key], first, size, dataset.train.images[0].numel())
            for part in np.array_split(np.arange(len(members)), -(-len(members) // most)):
                chosen = [members[place] for place in part]
                networks, chances = [each[1] for each in chosen], [each[2] for each in chosen]
                yield [each[0] for each in chosen], ways[key](networks, chances, dataset.device)
