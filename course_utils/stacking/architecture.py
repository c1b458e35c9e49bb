"""What a learner's network is, and which way of stacking serves it.

Everything here looks at copies: the network stays as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ..randomness import Chance
from .copies import has_hooks, settled_copy
from .layers import BLOCK, TWINS, layers_of
from .rows import LayerStack, MappedStack
from .single import Single
from .stack import Stack
from .trial import HANDLED, plain, tried

Way = Callable[[list[nn.Module], list[Chance], torch.device], Stack]
FEW = 4  # images that a trial takes
# A stack larger than the processor's cache is slower than two that fit (see `make bench`), and the
# images and activations of one update must fit into memory.
STACK_PARAMETERS = 1_000_000
STACK_NUMBERS = 2**25
SMALL = 50_000_000  # products in one update, below which a second thread hardly helps one network


def key_of(network: nn.Module) -> Hashable:
    """Networks with equal keys have one architecture, and can share a stack if any of them can."""
    if _is_layered(network):
        return tuple(_settings(layer) for _, layer in layers_of(network))
    return _architecture(network)


def way_of(network: nn.Module, images: Tensor) -> Way:
    """The way of stacking that serves a network: the fastest that gives its own results."""
    if _is_layered(network):
        return LayerStack
    images = images[:FEW].clone()
    looks = [tried(network, images, training) for training in (False, True)]
    alone = partial(Single, disturbed=looks[0].disturbed, touches=looks[0].touched)
    if any(isinstance(each, _ConvNd) or not _is_ordinary(each) for each in network.modules()):
        return alone
    if any(look.disturbed or look.touched for look in looks):
        return alone
    with Chance(0, images.device):
        unused = _unused(network, images)
        mapped = _can_be_mapped(network, images, unused)
    return partial(MappedStack, unused=unused) if mapped else alone


def _is_layered(network: nn.Module) -> bool:
    """Whether it is a plain Sequential of layers that have a twin, none of which is there twice."""
    if type(network) is not nn.Sequential or not all(map(_is_ordinary, network.modules())):
        return False
    layers = [layer for _, layer in layers_of(network)]
    tensors = [id(each) for layer in layers for each in layer.parameters()]
    if not layers or type(layers[0]) is not nn.Flatten or len(set(tensors)) < len(tensors):
        return False
    bare = itertools.takewhile(lambda layer: not list(layer.parameters()), layers)
    if any(getattr(layer, "inplace", False) for layer in bare):  # it would change the images
        return False
    return all(type(layer) in TWINS and _has_usual_settings(layer) for layer in layers)


def _is_ordinary(module: nn.Module) -> bool:
    """No hook, and no forward that was put in the place of its class's."""
    own = vars(module)
    hooks = any(own[name] for name in own if "hook" in name)
    return not hooks and "forward" not in own and not any(map(has_hooks, module.parameters(False)))


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
    trained = tuple((each.shape, each.requires_grad) for each in layer.parameters())
    return type(layer), "" if isinstance(layer, nn.Dropout) else layer.extra_repr(), trained


def _architecture(network: nn.Module) -> tuple:
    """Equal for networks that differ in the values of parameters and buffers alone."""
    modules = tuple(
        (name, type(module), key, plain(value))
        for name, module in network.named_modules(remove_duplicate=False)
        for key, value in vars(module).items()
        if key not in HANDLED
    )
    places: dict[int, int] = {}

    def place(tensor: Tensor) -> int:
        return places.setdefault(id(tensor), len(places))

    tensors = [
        *network.named_parameters(remove_duplicate=False),
        *network.named_buffers(remove_duplicate=False),
    ]
    return modules, tuple(
        (name, each.shape, each.dtype, each.requires_grad, has_hooks(each), place(each))
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
    if any(isinstance(each, nn.Dropout) and each.p for each in network.modules()):
        units *= 1 + 2 * BLOCK  # the numbers that are drawn ahead, and the masks made of them
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
