"""The instruments: they measure what they say, and leave the network as it was."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from course_utils import load_mnist, make_cnn, make_mlp
from course_utils.diagnostics import (
    Instruments,
    first_nonfinite,
    inspect_layers,
    layer_gradients,
    layer_outputs,
    saturation,
)
from course_utils.diagnostics.layers import read_layer


@pytest.fixture(scope="module")
def data():
    return load_mnist(subset=200, image_size=14).train


def network(**kinds):
    torch.manual_seed(0)
    return make_mlp(196, **{"width": 16, "depth": 2} | kinds)


def train(model, data, steps=6, lr=0.1, **options):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=lr)
    instruments = Instruments(model, optimizer, data.images[:50], **options)
    for step in range(steps):
        chosen = slice(20 * step, 20 * step + 20)
        loss = functional.cross_entropy(model(data.images[chosen]), data.labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return instruments


# ---- one look ------------------------------------------------------------------------------------


def test_outputs_are_those_of_the_layers_and_no_hook_stays(data):
    model = network()
    outputs = layer_outputs(model, data.images)
    assert list(outputs) == ["2", "5", "logits"]
    assert torch.equal(outputs["2"], model[:3](data.images)) and torch.equal(
        outputs["logits"], model(data.images)
    )
    assert not any(layer._forward_hooks for layer in model.modules())
    assert list(layer_outputs(model, data.images, (nn.Linear,))) == ["1", "4", "7", "logits"]


def test_gradients_are_those_of_backward(data):
    model = network()
    found = layer_gradients(model, data.images, data.labels)
    functional.cross_entropy(model(data.images), data.labels).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


def test_saturation_and_its_refusal(data):
    assert saturation(network(activation="sigmoid", init="xavier"), data.images) < 0.05
    assert saturation(network(activation="sigmoid", init="normal"), data.images) > 0.2
    with pytest.raises(ValueError, match="Sigmoid or Tanh"):
        saturation(network(), data.images)


def test_inspection_finds_dead_units_and_keeps_the_mode(data):
    model = network()
    model[1].bias.data[:4] = -100.0
    model.train()
    table = inspect_layers(model, data.images, data.labels)
    assert model.training and len(table) == 2
    silent = (model[:3](data.images) == 0).all(0).float().mean().item()
    assert table["dead"][0] == pytest.approx(silent) and silent >= 4 / 16
    assert np.isnan(table["saturated"]).all()


def test_the_spread_between_images_is_not_the_spread_between_units(data):
    """Units that differ, and answer every image alike: one sees a sound layer, the other none."""
    blind = nn.Sequential(nn.Flatten(), nn.Linear(196, 16), nn.Sigmoid(), nn.Linear(16, 10))
    blind[1].weight.data.mul_(1e-4)
    blind[1].bias.data.copy_(torch.linspace(-2, 2, 16))
    [row] = inspect_layers(blind, data.images, data.labels).to_dict("records")
    assert row["std"] > 0.2 and row["between_images"] < 1e-4
    deep = network(depth=8, activation="sigmoid", init="xavier")
    table = inspect_layers(deep, data.images, data.labels)
    assert table["between_images"].iloc[-1] < 1e-3 * table["between_images"].iloc[0]
    assert 0.3 < table["std"].iloc[-1] / table["std"].iloc[0] < 3


@settings(max_examples=20)
@given(scale=st.floats(0.1, 10), shift=st.floats(-3, 3))
def test_the_spread_between_images_follows_the_scale_and_no_shift(scale, shift):
    outputs = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.ReLU())
    plain = read_layer(model, "0", outputs)["between_images"]
    moved = read_layer(model, "0", scale * outputs + shift * torch.arange(8))["between_images"]
    assert plain == pytest.approx(outputs.std(0).mean().item())
    assert moved == pytest.approx(scale * plain, rel=1e-3)


def test_one_image_is_too_few_to_see_differences(data):
    with pytest.raises(ValueError, match="images: got 1, takes two"):
        inspect_layers(network(), data.images[:1], data.labels[:1])
    assert saturation(network(activation="tanh"), data.images[:1]) >= 0


def test_a_convolutional_network_is_read_too(data):
    model = make_cnn(width=4)
    table = inspect_layers(model, data.images[:30], data.labels[:30])
    assert len(table) == 2 and (table["between_images"] > 0).all()


# ---- instruments during training -----------------------------------------------------------------


def test_instruments_read_what_a_hand_written_loop_reads(data):
    instruments = train(network(), data, steps=1, lr=0.3)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    functional.cross_entropy(model(data.images[:20]), data.labels[:20]).backward()
    old = model[4].weight.detach().clone()
    optimizer.step()
    update = (model[4].weight - old).norm() / old.norm()
    assert instruments["gradient_norm"]["4"][0] == pytest.approx(
        model[4].weight.grad.norm().item(), rel=1e-5
    )
    assert instruments["update_ratio"]["4"][0] == pytest.approx(math.log10(update.item()), abs=1e-4)
    assert instruments["weight_norm"]["4"][0] == pytest.approx(
        model[4].weight.norm().item(), rel=1e-5
    )
    outputs = model[:3](data.images[:50])
    assert instruments["std"]["2"][0] == pytest.approx(outputs.std().item(), rel=1e-4)
    assert instruments["between_images"]["2"][0] == pytest.approx(
        outputs.std(0).mean().item(), rel=1e-4
    )
    assert instruments["dead"]["2"][0] == pytest.approx((outputs == 0).all(0).float().mean().item())


@pytest.mark.parametrize(
    "kinds", [{}, {"dropout": 0.5}, {"normalisation": "batch"}, {"activation": "sigmoid"}]
)
def test_instruments_change_nothing(data, kinds):
    """Not the weights, not the random numbers, not dropout's state, not BatchNorm's statistics."""
    ends = []
    for watched in (True, False):
        model = network(**kinds)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if watched:
            Instruments(model, optimizer, data.images[:50])
        model.train()
        torch.manual_seed(1)
        for _ in range(4):
            optimizer.zero_grad()
            functional.cross_entropy(model(data.images), data.labels).backward()
            optimizer.step()
        assert all(layer.training for layer in model.modules())
        ends.append([*model.parameters(), *model.buffers()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def test_each_module_gets_its_own_mode_back(data):
    model = network(dropout=0.5, normalisation="batch")
    model.train()
    norm = next(layer for layer in model if isinstance(layer, nn.BatchNorm1d))
    norm.eval()
    train(model, data, steps=2)
    inspect_layers(model, data.images[:20], data.labels[:20])
    assert not norm.training and model.training
    assert next(layer for layer in model if isinstance(layer, nn.Dropout)).training


def test_every_and_keep(data):
    instruments = train(network(), data, steps=6, every=2, keep=4)
    assert list(instruments["gradient_norm"].index) == [0, 2, 4] == instruments.steps
    assert list(instruments.snapshots) == [0, 4]
    assert instruments.snapshots[4]["1"].shape == (16, 196)
    assert list(instruments["saturated"].columns) == ["2", "5"]


def test_a_frozen_layer_reads_as_one(data):
    model = network()
    model[4].weight.requires_grad_(False)
    instruments = train(model, data, steps=2)
    assert instruments["gradient_norm"]["4"].isna().all()
    assert (instruments["update_ratio"]["4"] == -math.inf).all()
    assert np.isfinite(instruments["update_ratio"]["1"]).all()


def test_detached_instruments_are_silent_and_unknown_quantities_refused(data):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    instruments = Instruments(model, optimizer, data.images)
    assert instruments["gradient_norm"].empty
    instruments.detach()
    functional.cross_entropy(model(data.images), data.labels).backward()
    optimizer.step()
    assert instruments.steps == []
    with pytest.raises(KeyError, match="gradient_norm"):
        instruments["noise"]


# ---- where a NaN was born ------------------------------------------------------------------------


class Ill(nn.Module):
    def __init__(self, way):
        super().__init__()
        self.way = way

    def forward(self, x):
        if self.way == "forward":
            return x / (x.sum(1, keepdim=True) * 0)
        if self.way == "backward":
            return x + (x * 0).sum(1, keepdim=True).sqrt()
        return x * 1


@pytest.mark.parametrize(
    ("way", "place"), [("forward", 1), ("forward", 3), ("backward", 1), ("backward", 3)]
)
def test_the_birthplace_is_found(data, way, place):
    layers = [nn.Flatten(), Ill(None), nn.Linear(196, 16), Ill(None), nn.Linear(16, 10)]
    layers[place] = Ill(way)
    model = nn.Sequential(*layers)
    assert first_nonfinite(model, data.images, data.labels) == (way, str(place))
    assert not any(layer._forward_hooks or layer._backward_hooks for layer in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_healthy_network_has_no_birthplace(data):
    assert first_nonfinite(network(), data.images, data.labels) is None
    assert (
        first_nonfinite(network(normalisation="layer", activation="gelu"), data.images, data.labels)
        is None
    )


def test_a_broken_weight_is_found_where_it_stands(data):
    model = network()
    model[4].weight.data[0, 0] = math.nan
    assert first_nonfinite(model, data.images, data.labels) == ("forward", "4")
