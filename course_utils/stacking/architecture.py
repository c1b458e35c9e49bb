"""What a learner's network is: whether it can be trained, and which way of stacking serves it.

Everything here looks at copies: the network stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from ..randomness import Chance
from .layers import TWINS, layers_of
from .rows import LayerStack, MappedStack
from .single import Single, settled_copy
from .stack import Stack

Way = Callable[[list[nn.Module], list[Chance], torch.device], Stack]
FEW = 4  # images that a trial takes
# A stack larger than the processor's cache is slower than two that fit (see `make bench`), and the
# images and activations of one update must fit into memory.
STACK_PARAMETERS = 1_000_000
STACK_NUMBERS = 2**25
SMALL = 50_000_000  # products in one update, below which a second thread hardly helps one network
PLAIN = (bool, int, float, complex, str, bytes, type(None), type, torch.dtype, torch.device)
HANDLED = ("_parameters", "_buffers", "_modules", "training")  # among a module's attributes


def check(network: nn.Module, images: Tensor, sizes: tuple[int, ...], classes: int) -> None:
    """Refuse, before any training, a network that could not be trained.

    ``sizes`` are those of the batches of ``images`` that it will meet, ``classes`` the fewest
    logits that it must have. Raises TypeError or ValueError that names ``model`` or ``batch_size``;
    what the network itself raises is shown as it is, with a note.
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError("model: nothing in the network can be trained: all of it is frozen")
    for name, parameter in network.named_parameters():
        if parameter.dtype != torch.float32:
            has = f"{name} is of {parameter.dtype}"
            raise TypeError(f"model: {has}, takes torch.float32, which the images are of")
    if 1 in sizes and any(isinstance(part, _BatchNorm) for part in network.modules()):
        raise ValueError(
            "batch_size: leaves a batch of one image, which BatchNorm cannot normalise; takes a "
            f"size above 1 that leaves no remainder of 1 from {len(images):,} images"
        )
    for size in sizes:
        logits, _ = _alone(network, images[:size], training=True)
        if not isinstance(logits, Tensor):
            got = type(logits).__name__
            raise TypeError(f"model: its forward returned a {got}, takes logits [n, classes]")
        if logits.dim() != 2 or len(logits) != size or logits.shape[1] < classes:
            got = f"{list(logits.shape)} of {size} images of {classes} classes"
            raise ValueError(f"model: its forward made {got}, takes logits [n, classes]")


def key_of(network: nn.Module) -> Hashable:
    """Networks with equal keys have one architecture, and can share a stack if any of them can."""
    if _is_layered(network):
        return tuple(_settings(layer) for _, layer in layers_of(network))
    return _architecture(network)


def way_of(network: nn.Module, images: Tensor) -> Way:
    """The way of stacking that serves a network: the fastest that gives its own results."""
    if _is_layered(network):
        return LayerStack
    images = images[:FEW]
    disturbed = _alone(network, images, training=False)[1]
    alone = partial(Single, disturbed=disturbed)
    if any(isinstance(each, _ConvNd) or not _is_ordinary(each) for each in network.modules()):
        return alone
    if disturbed or _alone(network, images, training=True)[1]:
        return alone
    unused = _unused(network, images)
    return partial(MappedStack, unused=unused) if _can_be_mapped(network, images, unused) else alone


def _is_layered(network: nn.Module) -> bool:
    """Whether it is a plain Sequential of layers that have a twin, none of which is there twice."""
    if type(network) is not nn.Sequential or not all(map(_is_ordinary, network.modules())):
        return False
    layers = [layer for _, layer in layers_of(network)]
    tensors = [id(each) for layer in layers for each in layer.parameters()]
    if not layers or type(layers[0]) is not nn.Flatten or len(set(tensors)) < len(tensors):
        return False
    return all(type(layer) in TWINS and _has_usual_settings(layer) for layer in layers)


def _is_ordinary(module: nn.Module) -> bool:
    """No hook, and no forward that was put in the place of its class's."""
    own = vars(module)
    return "forward" not in own and not any(own[name] for name in own if "hook" in name)


def _has_usual_settings(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Flatten):
        return (layer.start_dim, layer.end_dim) == (1, -1)
    if isinstance(layer, nn.LayerNorm):
        return len(layer.normalized_shape) == 1 and layer.bias is not None
    if isinstance(layer, nn.BatchNorm1d):
        return layer.affine and layer.track_running_stats and layer.momentum is not None
    return True


def _settings(layer: nn.Module) -> tuple:
    """Type, settings and shapes of a layer; a dropout's rate may differ within a stack."""
    trained = tuple(parameter.requires_grad for parameter in layer.parameters())
    return type(layer), "" if isinstance(layer, nn.Dropout) else layer.extra_repr(), trained


def _alone(network: nn.Module, images: Tensor, training: bool) -> tuple[Any, bool]:
    """(what it answers, whether it drew a random number or changed more than a buffer in place)."""
    trial, chance = (
        settled_copy(network).to(images.device).train(training),
        Chance(0, images.device),
    )
    before = _attributes(trial, not training)
    try:
        with torch.set_grad_enabled(training), chance:
            answer = trial(images)
    except Exception as error:
        error.add_note(
            f"This came from the network that model made, for {list(images.shape)} images."
        )
        raise
    return answer, chance.drew or before != _attributes(trial, not training)


def _attributes(network: nn.Module, contents: bool) -> list:
    """All that a module is besides its parameters: the same again, if nothing has changed.

    ``contents`` says whether a buffer that was changed in place counts as changed.
    """
    found: list = []
    for name, module in network.named_modules():
        own = [(key, value) for key, value in vars(module).items() if key not in HANDLED]
        found += [(name, key, _plain(value)) for key, value in own]
        for key, buffer in module._buffers.items():
            version = buffer._version if contents and buffer is not None else 0
            found.append((name, key, id(buffer), version))
    return found


def _plain(value: Any) -> Hashable:
    """Equal for equal settings; an object whose inside nobody knows equals no other."""
    if isinstance(value, (*PLAIN, FunctionType, BuiltinFunctionType)):
        return type(value), value
    if isinstance(value, (tuple, list)):
        return type(value), tuple(map(_plain, value))
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(map(_plain, value))
    if isinstance(value, dict):
        return type(value), tuple((_plain(key), _plain(each)) for key, each in value.items())
    version = value._version if isinstance(value, Tensor) else 0
    return type(value), id(value), version


def _architecture(network: nn.Module) -> tuple:
    """Equal for networks that differ in the values of parameters and buffers alone."""
    modules = tuple(
        (name, type(module), key, _plain(value))
        for name, module in network.named_modules(remove_duplicate=False)
        for key, value in vars(module).items()
        if key not in HANDLED
    )
    places: dict[int, int] = {}
    tensors = [
        *network.named_parameters(remove_duplicate=False),
        *network.named_buffers(remove_duplicate=False),
    ]
    return modules, tuple(
        (name, each.shape, each.dtype, each.requires_grad, places.setdefault(id(each), len(places)))
        for name, each in tensors
    )


def _unused(network: nn.Module, images: Tensor) -> list[str]:
    """Parameters that get no gradient: like an ordinary optimiser, ours leave them alone."""
    trial = settled_copy(network).to(images.device).train()
    named = {name: p for name, p in trial.named_parameters() if p.requires_grad}
    answer = trial(images).square().sum()
    gradients = torch.autograd.grad(answer, list(named.values()), allow_unused=True)
    return [name for name, each in zip(named, gradients, strict=True) if each is None]


def _can_be_mapped(network: nn.Module, images: Tensor, unused: list[str]) -> bool:
    """Whether ``vmap`` gives two networks the answers, gradients and buffers they get alone."""
    other = settled_copy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.9).add_(0.01)
    both, chances = [network, other], [Chance(0), Chance(0)]
    try:
        for training in (True, False):
            together = MappedStack(both, chances, images.device, unused)
            answers = together.logits(images.unsqueeze(0), training)
            together.backward(answers.square().sum((1, 2)))
            for place, each in enumerate(both):
                alone = Single([each], [chances[place]], images.device)
                answer = alone.logits(images.unsqueeze(0), training)
                alone.backward(answer.square().sum((1, 2)))
                pairs = [(answers[place], answer[0])]
                named = dict(alone.module.named_parameters())
                gradients = [named[name].grad for name in together.trained]
                alone_gradient = torch.cat([gradient.flatten() for gradient in gradients])
                pairs.append((together.gradients[place], alone_gradient))
                buffers = dict(alone.module.named_buffers())
                pairs += [
                    (together.others[name][place].float(), value.float())
                    for name, value in buffers.items()
                ]
                if any((a - b).norm() > 1e-3 * (b.norm() + 1e-3) for a, b in pairs):
                    return False
    except Exception:  # whatever stops vmap, the network itself has just shown that it works alone
        return False
    return True


def most_together(way: Way, network: nn.Module, batch_size: int, pixels: int) -> int:
    """How many such networks a stack may hold."""
    if isinstance(way, partial) and way.func is Single:
        return 1
    parameters = list(network.parameters())
    units = sum(len(each) for each in parameters if each.dim() > 1)
    size = max(1, sum(each.numel() for each in parameters))
    return max(1, min(STACK_PARAMETERS // size, STACK_NUMBERS // (batch_size * (pixels + units))))


def several_threads(stack: Stack, batch_size: int) -> bool:
    """Whether a stack is work for more than one thread.

    A stack's results don't depend on the number of threads, to the last bit; those of a single
    network do, which is therefore trained in one unless it is large.
    """
    if len(stack) > 1:
        return True
    convolves = any(isinstance(each, _ConvNd) for each in stack.template.modules())
    return convolves or 6 * stack.rows.numel() * batch_size > SMALL
