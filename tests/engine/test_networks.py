"""The networks that a Config describes are torch's own layers, filled as their scheme says."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import Linear

from course_utils import make_cnn, make_mlp
from course_utils.engine.networks import ACTIVATIONS, INITIALISATIONS, NORMALISATIONS, initialise


@pytest.mark.parametrize("normalisation", [None, *NORMALISATIONS])
@pytest.mark.parametrize("depth", [0, 1, 4])
def test_make_mlp_builds_what_it_is_asked_for(depth, normalisation):
    model = make_mlp(49, 8, depth, 6, "tanh", dropout=0.3, normalisation=normalisation)
    assert model(torch.rand(5, 1, 7, 7)).shape == (5, 6)
    dense = [layer for layer in model if isinstance(layer, nn.Linear)]
    sizes = [(layer.in_features, layer.out_features) for layer in dense]
    assert sizes == [(49 if i == 0 else 8, 8) for i in range(depth)] + [(8 if depth else 49, 6)]
    assert sum(isinstance(layer, nn.Tanh) for layer in model) == depth
    assert [layer.p for layer in model if isinstance(layer, nn.Dropout)] == [
        pytest.approx(0.3)
    ] * depth
    kinds = tuple(NORMALISATIONS.values())
    assert sum(isinstance(layer, kinds) for layer in model) == (depth if normalisation else 0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_make_mlp_is_the_plain_network_of_torchs_layers(activation):
    ours = make_mlp(49, 8, 2, 10, activation)
    plain = nn.Sequential(
        nn.Flatten(),
        nn.Linear(49, 8),
        ACTIVATIONS[activation](),
        nn.Linear(8, 8),
        ACTIVATIONS[activation](),
        nn.Linear(8, 10),
    )
    for mine, other in zip(ours.parameters(), plain.parameters(), strict=True):
        other.data = mine.data
    x = torch.rand(5, 1, 7, 7)
    torch.testing.assert_close(ours(x), plain(x))


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (1, 14), (3, 32)])
def test_make_cnn_takes_images_of_several_sizes(channels, size):
    model = make_cnn(channels, 4, 7, dropout=0.2)
    assert model(torch.rand(3, channels, size, size)).shape == (3, 7)
    convolutions = [layer for layer in model if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == [
        (channels, 4),
        (4, 8),
    ]


# Initialisation


def expected_std(scheme, fan_in, fan_out):
    return {
        "zeros": 0,
        "constant": 0,
        "normal": 1,
        "small": 0.01,
        "uniform": 1 / math.sqrt(12),
        "xavier": math.sqrt(2 / (fan_in + fan_out)),
        "xavier_sigmoid": 4 * math.sqrt(2 / (fan_in + fan_out)),
        "he": math.sqrt(2 / fan_in),
        "torch": 1 / math.sqrt(3 * fan_in),
    }[scheme]


@pytest.mark.parametrize("scheme", INITIALISATIONS)
@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [
        (Linear(500, 200), 500, 200),
        (nn.Linear(100, 900), 100, 900),
        (nn.Conv2d(40, 90, 5), 1000, 2250),
    ],
    ids=["down", "up", "convolution"],
)
def test_weights_have_the_variance_that_the_scheme_says_and_biases_are_zero(
    scheme, layer, fan_in, fan_out
):
    torch.manual_seed(0)
    model = initialise(nn.Sequential(copy.deepcopy(layer)), scheme)
    weight, std = model[0].weight, expected_std(scheme, fan_in, fan_out)
    assert weight.std().item() == pytest.approx(std, rel=0.02, abs=1e-7)
    assert weight.mean().item() == pytest.approx(
        0.05 if scheme == "constant" else 0, abs=max(std * 0.02, 1e-7)
    )
    assert not model[0].bias.any()
    if scheme in ("uniform", "torch"):
        assert weight.abs().max() <= std * math.sqrt(3) * (1 + 1e-6)
    elif std:
        assert weight.abs().max() > 3 * std  # a normal distribution has tails


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
    with pytest.raises(
        ValueError, match="^init: got .*, takes one of zeros, .*xavier, .*he, torch"
    ):
        initialise(make_mlp(4), scheme)
