"""Plain networks, and the ways to fill their weights.

Floor 0. Every layer here also works on a *stack* of networks: give its parameters a leading
dimension K and one call runs K networks at once, each on its own batch. The layers are
PyTorch's own; only where theirs insists on a fixed number of dimensions do we broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "gelu": nn.GELU, "silu": nn.SiLU,
    "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "identity": nn.Identity,
}


class _IntoGradient(torch.autograd.Function):
    """K dense layers whose backward pass adds to ``weight.grad`` and ``bias.grad`` where they lie.

    Ordinary autograd would allocate each gradient anew, and copy it: for layers this small that
    costs more than computing it. Adding (not writing) keeps a layer that is used twice right.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = x.expand(len(weight), *x.shape[-2:])
        ctx.save_for_backward(x, weight, bias)
        return torch.baddbmm(bias.unsqueeze(1), x, weight.mT)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, weight, bias = ctx.saved_tensors
        weight.grad.baddbmm_(gradient.mT, x)
        bias.grad.add_(gradient.sum(1))
        return torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None, None, None


class Linear(nn.Linear):
    """``nn.Linear``; with weights [K, out, in] it is K layers side by side.

    Input [K, batch, in], or [batch, in] for a batch that all K share.
    """

    stackable = True

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.dim() == 2:
            return functional.linear(x, self.weight, self.bias)
        if self.bias is None:
            return torch.matmul(x, self.weight.mT)
        has_gradients = self.weight.grad is not None and self.bias.grad is not None
        if has_gradients and torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type):
            return _IntoGradient.apply(x, self.weight, self.bias)
        if x.dim() == 2:                                   # one product for all K, instead of K small ones
            return (torch.matmul(self.weight, x.mT) + self.bias.unsqueeze(-1)).mT
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.mT)


class Dropout(nn.Module):
    """Dropout whose rate is a buffer, so that networks in one stack can have different rates.

    Zeroes each unit with probability ``rate`` and scales the others by 1 / (1 - rate), in
    training mode only (Srivastava et al., 2014). Draws from ``generator`` where one is set.
    """

    stackable = True

    def __init__(self, rate: float = 0.5):
        super().__init__()
        self.register_buffer("rate", torch.tensor([[float(rate)]]))     # [1, 1]; stacked [K, 1, 1]
        self.generator: torch.Generator | None = None
        self.train()

    def train(self, mode: bool = True) -> Dropout:
        # Sixteen random bits a unit decide: four units for each 64-bit number drawn, several
        # times faster than a float each. It rounds the rate to 1/65536.
        rate = self.rate.clamp(max=65535 / 65536)
        self._threshold = (rate * 65536 - 32768).round().to(torch.int16)
        self._scale = 1 / (1 - rate)
        self._drops = mode and bool(self.rate.any())
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self._drops:
            return x
        numbers = torch.randint(-2**63, 2**63 - 1, (math.ceil(x.numel() / 4),),
                                generator=self.generator, device=x.device)
        bits = numbers.view(torch.int16).as_strided(x.shape, torch.empty_like(x).stride())
        return x * ((bits >= self._threshold) * self._scale)

    def extra_repr(self) -> str:
        return f"rate={self.rate.item():g}" if self.rate.numel() == 1 else f"rates={self.rate.flatten().tolist()}"


class LayerNorm(nn.LayerNorm):
    """``nn.LayerNorm`` over the last dimension; with weights [K, width] it is K of them."""

    stackable = True

    def forward(self, x: Tensor) -> Tensor:
        normal = functional.layer_norm(x, x.shape[-1:], eps=self.eps)
        return normal * self.weight.unsqueeze(-2) + self.bias.unsqueeze(-2)


class BatchNorm(nn.BatchNorm1d):
    """``nn.BatchNorm1d`` for [batch, width]; with weights [K, width] it is K of them."""

    stackable = True

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            mean, var = x.mean(-2), x.var(-2, correction=0)
            with torch.no_grad():
                unbiased = var * x.shape[-2] / max(x.shape[-2] - 1, 1)
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
                self.num_batches_tracked.add_(1)
        else:
            mean, var = self.running_mean, self.running_var
        scale = self.weight * (var + self.eps).rsqrt()
        return (x - mean.unsqueeze(-2)) * scale.unsqueeze(-2) + self.bias.unsqueeze(-2)


NORMALISATIONS = {"layer": LayerNorm, "batch": BatchNorm}


def _fans(weight: Tensor) -> tuple[int, int]:
    """(inputs, outputs) of one unit of a weight [out, in] or [out, in, height, width]."""
    receptive = math.prod(weight.shape[2:])
    return weight.shape[1] * receptive, weight.shape[0] * receptive


def _xavier(weight: Tensor) -> Tensor:
    fan_in, fan_out = _fans(weight)
    return weight.normal_(0, math.sqrt(2 / (fan_in + fan_out)))


def _he(weight: Tensor) -> Tensor:
    return weight.normal_(0, math.sqrt(2 / _fans(weight)[0]))


def _torch_default(weight: Tensor) -> Tensor:
    return nn.init.kaiming_uniform_(weight, a=math.sqrt(5))


INITIALISATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros": lambda weight: weight.zero_(),
    "constant": lambda weight: weight.fill_(0.05),
    "normal": lambda weight: weight.normal_(0, 1),         # what "draw them at random" often means
    "small": lambda weight: weight.normal_(0, 0.01),
    "uniform": lambda weight: weight.uniform_(-0.5, 0.5),
    "xavier": _xavier,                                     # Glorot and Bengio, 2010
    "he": _he,                                             # He et al., 2015
    "torch": _torch_default,                               # what nn.Linear does by itself
}


@torch.no_grad()
def initialise(model: nn.Module, scheme: str) -> nn.Module:
    """Fill every weight of every dense or convolutional layer by ``scheme``; biases become zero.

    Takes a name in ``INITIALISATIONS``; draws from torch's global generator. Returns the model.
    """
    if scheme not in INITIALISATIONS:
        raise ValueError(f"init: got {scheme!r}, takes one of {', '.join(INITIALISATIONS)}")
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            INITIALISATIONS[scheme](layer.weight)
            if layer.bias is not None:
                layer.bias.zero_()
    return model


def make_mlp(inputs: int = 784, width: int = 64, depth: int = 1, outputs: int = 10, activation: str = "relu",
             init: str = "he", dropout: float = 0.0, normalisation: str | None = None) -> nn.Sequential:
    """A dense network: ``depth`` hidden layers of ``width`` units; images [n, 1, h, w] -> logits [n, outputs].

    Each hidden layer is Linear, normalisation (if any), activation, dropout.
    """
    for name, got, known in (("activation", activation, ACTIVATIONS), ("normalisation", normalisation, NORMALISATIONS)):
        if got is not None and got not in known:
            raise ValueError(f"{name}: got {got!r}, takes one of {', '.join(known)}")
    layers: list[nn.Module] = [nn.Flatten(-3)]
    for index in range(depth):
        layers.append(Linear(inputs if index == 0 else width, width))
        if normalisation is not None:
            layers.append(NORMALISATIONS[normalisation](width))
        layers += [ACTIVATIONS[activation](), Dropout(dropout)]
    layers.append(Linear(width if depth else inputs, outputs))
    return initialise(nn.Sequential(*layers), init)


def make_cnn(channels: int = 1, width: int = 16, outputs: int = 10, activation: str = "relu", init: str = "he",
             dropout: float = 0.0) -> nn.Sequential:
    """A small convolutional network: two blocks of 3x3 convolution, normalisation and pooling, then a dense layer.

    Images [n, channels, h, w] of any size -> logits [n, outputs]; ``width`` channels after the first block, twice that
    after the second.
    """
    def block(before: int, after: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after),
                ACTIVATIONS[activation](), nn.MaxPool2d(2)]

    model = nn.Sequential(*block(channels, width), *block(width, 2 * width),
                          nn.AdaptiveAvgPool2d(7),         # what 28 x 28 pixels have become anyway
                          nn.Flatten(), Dropout(dropout), nn.Linear(2 * width * 49, outputs))
    return initialise(model, init)


def is_stackable(model: nn.Module) -> bool:
    """Whether parameters with a leading dimension K turn this module into K of itself.

    True for ``nn.Sequential`` of the layers above and of elementwise ones. A module of your own
    says so with a class attribute ``stackable = True``, and then keeps its forward free of
    operations that count dimensions from the left.
    """
    if getattr(model, "stackable", False):
        return all(is_stackable(child) for child in model.children())
    if isinstance(model, nn.Sequential):
        return all(is_stackable(child) for child in model)
    if isinstance(model, nn.Flatten):
        return model.start_dim < 0
    return isinstance(model, tuple(ACTIVATIONS.values()))
