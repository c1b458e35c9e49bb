"""A stack of networks is K networks, and each of them is what plain PyTorch would make."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from course_utils import make_cnn, make_mlp
from course_utils.models import (
    ACTIVATIONS,
    INITIALISATIONS,
    NORMALISATIONS,
    BatchNorm,
    Dropout,
    LayerNorm,
    Linear,
    initialise,
    is_stackable,
)

K = 3


def stack(modules, in_place=False):
    """One module with the parameters and buffers of all; ``in_place`` gives it gradients to add to."""
    stacked = copy.deepcopy(modules[0])
    for name in ("parameters", "buffers"):
        for tensor, *each in zip(getattr(stacked, name)(), *(getattr(m, name)() for m in modules), strict=True):
            tensor.data = torch.stack([one.data for one in each])
    if in_place:
        for parameter in stacked.parameters():
            parameter.grad = torch.zeros_like(parameter)
    return stacked.train(modules[0].training)


def randomised(module, seed):
    """A copy in double precision, with all parameters drawn at random: ones and zeros hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    module = copy.deepcopy(module).double()
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.double)
    return module


def check_stack(modules, shared, in_place, inputs):
    """The stack's outputs and gradients, of the inputs too, are those of ``modules`` one by one."""
    stacked = stack(modules, in_place)
    x = inputs.clone().requires_grad_()
    out = stacked(x)
    weights = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(1))
    (out * weights).sum().backward()
    input_gradients = []
    for k, module in enumerate(modules):
        own = (inputs if shared else inputs[k]).clone().requires_grad_()
        expected = module(own)
        torch.testing.assert_close(out[k], expected)
        (expected * weights[k]).sum().backward()
        input_gradients.append(own.grad)
        for together, alone in zip(stacked.parameters(), module.parameters(), strict=True):
            torch.testing.assert_close(together.grad[k], alone.grad)
        for together, alone in zip(stacked.buffers(), module.buffers(), strict=True):
            torch.testing.assert_close(together[k], alone)
    expected = torch.stack(input_gradients)
    torch.testing.assert_close(x.grad, expected.sum(0) if shared else expected)


def inputs_for(shared, *shape):
    shape = shape if shared else (K, *shape)
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("layer", [Linear(6, 4), Linear(5, 5), Linear(6, 4, bias=False), LayerNorm(6), BatchNorm(6)],
                         ids=["linear", "square", "no bias", "layer norm", "batch norm"])
def test_a_stacked_layer_is_k_layers(layer, shared, in_place):
    width = getattr(layer, "in_features", 6)
    check_stack([randomised(layer, seed) for seed in range(K)], shared, in_place, inputs_for(shared, 8, width))


@pytest.mark.parametrize(("ours", "theirs"), [(Linear(6, 4), nn.Linear(6, 4)), (LayerNorm(6), nn.LayerNorm(6)),
                                              (BatchNorm(6), nn.BatchNorm1d(6))], ids=["linear", "layer", "batch"])
def test_a_layer_by_itself_is_torchs_own(ours, theirs):
    ours, theirs = randomised(ours, 0), randomised(theirs, 0)
    for step in range(3):
        x = torch.randn(8, 6, dtype=torch.double, generator=torch.Generator().manual_seed(step)) * 3 + 1
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        ours(a).square().sum().backward()
        theirs(b).square().sum().backward()
        torch.testing.assert_close(a.grad, b.grad)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
    for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(mine, other)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("in_place", [False, True])
def test_stacked_batch_norm_is_torchs_own_in_training_and_after(in_place):
    plain = [randomised(nn.BatchNorm1d(6), seed) for seed in range(K)]
    ours = [randomised(BatchNorm(6), seed) for seed in range(K)]
    stacked = stack(ours, in_place)
    for step in range(5):
        x = torch.randn(K, 8, 6, dtype=torch.double, generator=torch.Generator().manual_seed(step)) * 3 + 1
        out = stacked(x)
        torch.testing.assert_close(out, torch.stack([norm(one) for norm, one in zip(plain, x, strict=True)]))
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(stacked, name), torch.stack([getattr(norm, name) for norm in plain]))
    stacked.eval()
    evaluated = torch.stack([norm.eval()(one) for norm, one in zip(plain, x, strict=True)])
    torch.testing.assert_close(stacked(x), evaluated)
    assert not torch.allclose(evaluated, out)              # the two modes do differ


def test_gradients_of_a_layer_used_twice_are_summed_in_place():
    plain, ours = randomised(nn.Linear(5, 5), 0), randomised(Linear(5, 5), 0)
    stacked = stack([ours, randomised(Linear(5, 5), 1)], in_place=True)
    x = inputs_for(True, 8, 5)
    stacked(stacked(x).tanh()).square().sum().backward()
    plain(plain(x).tanh()).square().sum().backward()
    torch.testing.assert_close(stacked.weight.grad[0], plain.weight.grad)
    torch.testing.assert_close(stacked.bias.grad[0], plain.bias.grad)


# Dropout


def drop(rates, x, seed=0):
    layer = stack([Dropout(rate) for rate in rates])
    layer.generator = torch.Generator().manual_seed(seed)
    return layer(x)


def test_each_network_of_a_stack_drops_at_its_own_rate_and_keeps_the_mean():
    rates = [0.0, 0.1, 0.5, 0.9]
    out = drop(rates, torch.ones(4, 500, 400))
    for rate, one in zip(rates, out, strict=True):
        assert (one == 0).float().mean().item() == pytest.approx(rate, abs=0.005)
        assert one.mean().item() == pytest.approx(1, abs=0.03)
        torch.testing.assert_close(one[one != 0].unique(), torch.tensor([1 / (1 - rate)]))


@given(st.floats(0, 1, exclude_max=True))
def test_any_rate_below_one_is_kept_to(rate):
    layer = Dropout(rate)
    layer.generator = torch.Generator().manual_seed(0)
    out = layer(torch.ones(10_000))
    assert out.isfinite().all()
    assert (out == 0).float().mean().item() == pytest.approx(rate, abs=0.03)


@pytest.mark.parametrize("x", [torch.ones(K, 100, 200).mT, torch.ones(1, 200, 1).expand(K, 200, 100),
                               torch.ones(200, 100).expand(K, 200, 100), torch.ones(K, 401, 300)[:, 1::2, ::3]],
                         ids=["transposed", "expanded", "shared", "sliced"])
def test_every_unit_is_dropped_independently_however_it_lies_in_memory(x):
    kept = (drop([0.5] * K, x) != 0).float()
    assert kept.shape == x.shape
    assert kept.mean((0, 1)).sub(0.5).abs().max() < 0.15   # 600 draws a unit
    for view in (kept.flatten(0, 1).mT, kept.flatten(1), kept.transpose(0, 1).flatten(1)):
        assert len(view.unique(dim=0)) == len(view)        # no two units, networks or images share their draws
    correlation = torch.corrcoef(kept.flatten(0, 1).mT).fill_diagonal_(0)
    assert correlation.abs().max() < 0.25


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.99])
def test_dropout_changes_nothing_in_evaluation(rate):
    x = torch.randn(5, 7)
    assert torch.equal(Dropout(rate).eval()(x), x)


def test_dropout_is_reproduced_by_its_generator_and_leaves_the_global_one_alone():
    x, state = torch.ones(K, 20, 30), torch.get_rng_state()
    assert torch.equal(drop([0.5] * K, x, seed=1), drop([0.5] * K, x, seed=1))
    assert not torch.equal(drop([0.5] * K, x, seed=1), drop([0.5] * K, x, seed=2))
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients_flow_through_the_units_that_were_kept():
    x = torch.ones(K, 20, 30, requires_grad=True)
    out = drop([0.2, 0.5, 0.8], x)
    out.sum().backward()
    assert torch.equal(x.grad, out)


def test_dropout_shows_its_rates():
    assert repr(Dropout(0.25)) == "Dropout(rate=0.25)"
    assert repr(stack([Dropout(0.25), Dropout(0.5)])) == "Dropout(rates=[0.25, 0.5])"


# Networks


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("normalisation", [None, *NORMALISATIONS])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_stacked_mlp_is_k_mlps(activation, normalisation, depth, in_place):
    model = make_mlp(16, 5, depth, 4, activation, normalisation=normalisation)
    models = [randomised(model, seed) for seed in range(K)]
    for shared in (False, True):
        for model in models:
            model.zero_grad()
        check_stack(models, shared, in_place, inputs_for(shared, 8, 1, 4, 4))


@pytest.mark.parametrize("normalisation", [None, *NORMALISATIONS])
@pytest.mark.parametrize("depth", [0, 1, 4])
def test_make_mlp_builds_what_it_is_asked_for(depth, normalisation):
    model = make_mlp(49, 8, depth, 6, "tanh", dropout=0.3, normalisation=normalisation)
    assert model(torch.rand(5, 1, 7, 7)).shape == (5, 6)
    dense = [layer for layer in model if isinstance(layer, nn.Linear)]
    sizes = [(layer.in_features, layer.out_features) for layer in dense]
    assert sizes == [(49 if i == 0 else 8, 8) for i in range(depth)] + [(8 if depth else 49, 6)]
    assert sum(isinstance(layer, nn.Tanh) for layer in model) == depth
    assert [layer.rate.item() for layer in model if isinstance(layer, Dropout)] == [pytest.approx(0.3)] * depth
    kinds = tuple(NORMALISATIONS.values())
    assert sum(isinstance(layer, kinds) for layer in model) == (depth if normalisation else 0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_make_mlp_is_the_plain_network_of_torchs_layers(activation):
    ours = make_mlp(49, 8, 2, 10, activation)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(49, 8), ACTIVATIONS[activation](), nn.Linear(8, 8),
                          ACTIVATIONS[activation](), nn.Linear(8, 10))
    for mine, other in zip(ours.parameters(), plain.parameters(), strict=True):
        other.data = mine.data
    x = torch.rand(5, 1, 7, 7)
    torch.testing.assert_close(ours(x), plain(x))


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (1, 14), (3, 32)])
def test_make_cnn_takes_images_of_several_sizes(channels, size):
    model = make_cnn(channels, 4, 7, dropout=0.2)
    assert model(torch.rand(3, channels, size, size)).shape == (3, 7)
    convolutions = [layer for layer in model if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == [(channels, 4), (4, 8)]


class Marked(nn.Module):
    stackable = True

    def __init__(self, inner):
        super().__init__()
        self.inner = inner


class Unmarked(Marked):
    stackable = False


@pytest.mark.parametrize(("module", "answer"), [
    (make_mlp(normalisation="batch", dropout=0.5), True), (make_mlp(depth=0), True), (make_cnn(), False),
    (nn.Sequential(nn.Flatten(-3), nn.Sequential(Linear(4, 4), nn.Sequential(nn.ReLU(), Dropout(0.1)))), True),
    (nn.Sequential(nn.Flatten(-3), nn.Sequential(Linear(4, 4), nn.Sequential(nn.Conv2d(1, 1, 3)))), False),
    (nn.Sequential(nn.Flatten(), Linear(4, 4)), False), (nn.Sequential(nn.Linear(4, 4)), False),
    (nn.Sequential(Linear(4, 4), nn.Dropout(0.5)), False), (nn.Sequential(Linear(4, 4), nn.BatchNorm1d(4)), False),
    (nn.Sequential(), True), (nn.Softmax(1), False), (nn.LayerNorm(4), False), (LayerNorm(4), True),
    (Marked(Linear(4, 4)), True), (Marked(nn.Linear(4, 4)), False), (Unmarked(Linear(4, 4)), False),
    (nn.Sequential(Linear(4, 4), Unmarked(Linear(4, 4))), False),
])
def test_is_stackable_tells_what_is_from_what_is_not(module, answer):
    assert is_stackable(module) is answer


# Initialisation


def expected_std(scheme, fan_in, fan_out):
    return {"zeros": 0, "constant": 0, "normal": 1, "small": 0.01, "uniform": 1 / math.sqrt(12),
            "xavier": math.sqrt(2 / (fan_in + fan_out)), "he": math.sqrt(2 / fan_in),
            "torch": 1 / math.sqrt(3 * fan_in)}[scheme]


@pytest.mark.parametrize("scheme", INITIALISATIONS)
@pytest.mark.parametrize(("layer", "fan_in", "fan_out"), [(Linear(500, 200), 500, 200), (nn.Linear(100, 900), 100, 900),
                                                          (nn.Conv2d(40, 90, 5), 1000, 2250)],
                         ids=["down", "up", "convolution"])
def test_weights_have_the_variance_that_the_scheme_says_and_biases_are_zero(scheme, layer, fan_in, fan_out):
    torch.manual_seed(0)
    model = initialise(nn.Sequential(copy.deepcopy(layer)), scheme)
    weight, std = model[0].weight, expected_std(scheme, fan_in, fan_out)
    assert weight.std().item() == pytest.approx(std, rel=0.02, abs=1e-7)
    assert weight.mean().item() == pytest.approx(0.05 if scheme == "constant" else 0, abs=max(std * 0.02, 1e-7))
    assert not model[0].bias.any()
    if scheme in ("uniform", "torch"):
        assert weight.abs().max() <= std * math.sqrt(3) * (1 + 1e-6)
    elif std:
        assert weight.abs().max() > 3 * std                # a normal distribution has tails


def test_the_torch_scheme_is_what_torch_does_itself():
    torch.manual_seed(3)
    weight = nn.Linear(30, 20).weight
    torch.manual_seed(3)
    assert torch.equal(INITIALISATIONS["torch"](torch.empty(20, 30)), weight)


@pytest.mark.parametrize("make", [make_mlp, make_cnn])
def test_initialisation_reaches_every_layer_follows_the_seed_and_keeps_requires_grad(make):
    def weights(seed, scheme="he"):
        torch.manual_seed(seed)
        return [p for p in make(init=scheme).parameters()]

    assert all(torch.equal(a, b) for a, b in zip(weights(1), weights(1), strict=True))
    matrices = [(a, b) for a, b in zip(weights(1), weights(2), strict=True) if a.dim() > 1]
    assert len(matrices) >= 2 and not any(torch.equal(a, b) for a, b in matrices)
    assert not any(p.any() for p in weights(0, "zeros") if p.dim() > 1)
    assert all(p.requires_grad for p in weights(0))


@pytest.mark.parametrize("scheme", ["He", "", "kaiming", None, 1])
def test_an_unknown_scheme_is_refused_with_the_known_ones(scheme):
    with pytest.raises(ValueError, match="^init: got .*, takes one of zeros, .*xavier, he, torch"):
        initialise(make_mlp(4), scheme)
