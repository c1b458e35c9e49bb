"""Notebook 01: starters fail, solutions pass, mistakes are told apart; labs; what it measures."""

import math
import runpy

import matplotlib
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from course_utils import Config, Dataset, Split, fit, load_mnist, make_mlp
from course_utils.lessons.initialisation import exercises, experiments, figures, labs

SMALL = load_mnist(subset=100, image_size=14, device="cpu")
BATCH = SMALL.val.first(100)


# 01.1 -------------------------------------------------------------------------------------------


@torch.no_grad()
def zero_in_place(model):
    model[-1].weight.zero_()


@torch.no_grad()
def shrunk_and_returned(model):
    model[-1].weight.mul_(1e-6)
    return model


@torch.no_grad()
def all_layers(model):
    for parameter in model.parameters():
        parameter.mul_(0.01)


@torch.no_grad()
def not_small_enough(model):
    model[-1].weight.mul_(0.1)


@torch.no_grad()
def bias_alone(model):
    model[-1].bias.zero_()


@torch.no_grad()
def no_number(model):
    model[-1].weight.fill_(math.nan)


def frozen(model):
    zero_in_place(model)
    model[-1].requires_grad_(False)


@pytest.mark.parametrize("calm", [zero_in_place, shrunk_and_returned])
def test_a_calm_last_layer_passes(calm):
    assert exercises.check_first_loss(calm, BATCH)


@pytest.mark.parametrize(
    ("calm", "said"),
    [
        (bias_alone, "The first loss is"),
        (not_small_enough, "The first loss is"),
        (all_layers, "hidden layers have changed"),
        (frozen, "no longer learn"),
        (no_number, "no finite number"),
        (None, "TypeError"),
        (lambda model: model[-1].wieght, "AttributeError"),
    ],
)
def test_other_first_losses_are_told_what_is_wrong(calm, said):
    result = exercises.check_first_loss(calm, BATCH)
    assert not result and said in result.message


# 01.2 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "right",
    [
        lambda n, a: math.sqrt(2 / (1 + a**2) / n),
        lambda n, a: nn.init.calculate_gain("leaky_relu", a) / torch.tensor(n).sqrt(),
        lambda n, a: np.sqrt(2 / ((1 + a**2) * n)),
    ],
)
def test_the_size_for_every_slope_passes(right):
    assert exercises.check_leaky_std(right)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda n, a: np.sqrt(2 / n), "For slope 1"),
        (lambda n, a: math.sqrt(1 / n), "For slope 0"),
        (lambda n, a: 2 / ((1 + a**2) * n), "For slope 0"),
        (lambda n, a: math.sqrt(2 / ((1 + a) * n)), "a slope of 0.5"),
        (lambda n, a: math.sqrt((2 - a) / n), "slope 0.2"),
        (lambda n, a: math.sqrt(2 / (1 + a**2) / 256), "fan_in 10"),
        (lambda n, a: -1.0, "positive number"),
        (lambda n, a: None, "TypeError"),
        (None, "TypeError"),
    ],
)
def test_tempting_sizes_are_told_apart(wrong, said):
    result = exercises.check_leaky_std(wrong)
    assert not result and said in result.message


# 01.3 -------------------------------------------------------------------------------------------


def centring(factor=-0.5, dim=1, first=1):
    @torch.no_grad()
    def centre(model):
        for layer in [each for each in model if isinstance(each, nn.Linear)][first:]:
            total = layer.weight.sum(dim)
            layer.bias.copy_(factor * (total if len(total) == len(layer.bias) else total[0]))

    return centre


@torch.no_grad()
def starter(model):
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.bias.fill_(-0.5)


@torch.no_grad()
def larger_weights(model):
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.weight.mul_(2)


def test_biases_that_take_the_half_away_pass():
    assert exercises.check_centred(centring(), BATCH)
    assert exercises.check_centred(centring(first=0), BATCH)


@pytest.mark.parametrize(
    ("centre", "said"),
    [
        (starter, "is left after 10 layers"),
        (lambda model: None, "is left after 10 layers"),
        (centring(factor=0.5), "is left after 10 layers"),
        (centring(dim=0), "is left after 10 layers"),
        (larger_weights, "The weights have changed"),
        (lambda model: model[4].weight.requires_grad_(False), "no longer learn"),
        (None, "TypeError"),
    ],
)
def test_other_biases_do_not(centre, said):
    result = exercises.check_centred(centre, BATCH)
    assert not result and said in result.message


def test_a_centred_sigmoid_network_is_a_tanh_network():
    torch.manual_seed(0)
    sigmoid = make_mlp(196, 20, 3, activation="sigmoid", init="xavier_sigmoid")
    tanh = make_mlp(196, 20, 3, activation="tanh", init="xavier")
    centring()(sigmoid)
    with torch.no_grad():
        for theirs, ours in zip(tanh.parameters(), sigmoid.parameters(), strict=True):
            theirs.copy_(ours / 4 if theirs.dim() == 2 else torch.zeros_like(theirs))
        tanh[1].weight.mul_(2)  # z / 2: the first layer sees pixels, and no halves
        tanh[-1].weight.mul_(2)  # 4 W times ½ tanh is 2 W tanh
    assert torch.allclose(sigmoid(BATCH.images), tanh(BATCH.images), atol=1e-5)


# 01.4 -------------------------------------------------------------------------------------------


def test_an_experiment_of_ones_own_needs_what_is_fair():
    result = exercises.check_my_experiment("a story", "supported")
    assert not result and "what compare" in result.message
    assert exercises.check_my_experiment.exercise == "01.4"


# What is measured -------------------------------------------------------------------------------


def test_two_inks_are_standardised_and_tell_ones_from_threes():
    features, labels = experiments.two_inks(load_mnist(image_size=14, device="cpu").train)
    assert torch.allclose(features.mean(0), torch.zeros(2), atol=1e-5)
    assert torch.allclose(features.std(0), torch.ones(2), atol=1e-5)
    right = (features @ torch.tensor([-2.0, 1.0]) - 0.5 > 0) == (labels > 0.5)
    assert right.float().mean() > 0.9


def test_importance_is_zero_where_a_model_does_not_look():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[5.0, 0, 0, 1.0], [-5.0, 0, 0, -1.0]]))
    images = torch.randn(400, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    split = Split(images, (images[:, 0, 0, 0] < 0).long())
    rises = experiments.importance(model, split)
    assert rises[1] == rises[2] == 0 and rises[0] > 5 * abs(rises[3])


def test_views_change_images_and_nothing_else():
    centre = experiments.central_pixels(SMALL)
    assert centre.image_shape == (1, 8, 8) and torch.equal(centre.val.labels, SMALL.val.labels)
    assert (centre.train.images.std(0) > 0.05).all()
    units = experiments.random_units(centre)
    assert units.shape == (1, 8, 8) and 0.1 <= units.min() < 1 < units.max() <= 10
    twice = experiments.each_image(centre, lambda images: 2 * images)
    assert torch.equal(twice.tuning.images, 2 * centre.tuning.images)


def test_weights_of_rescaled_inputs_rank_as_their_size_times_the_unit():
    centre = experiments.central_pixels(SMALL)
    layers = fit(Config(depth=0, epochs=3, learning_rate=0.03).seeds(2), centre, progress=False)
    plain = experiments.agreement(layers, centre)
    same = experiments.agreement(layers, centre, torch.full((1, 8, 8), 3.0))
    other = experiments.agreement(layers, centre, experiments.random_units(centre))
    assert same == plain and other.value != plain.value


def test_distinct_neurons_are_counted():
    torch.manual_seed(0)
    model = make_mlp(9, 6)
    assert experiments.distinct_neurons(model) == 6
    with torch.no_grad():
        for rows in (model[1].weight, model[1].bias, model[-1].weight.T):
            rows[3:] = rows[:1]
    assert experiments.distinct_neurons(model) == 3
    nn.init.zeros_(model[1].weight), nn.init.zeros_(model[-1].weight)
    assert experiments.distinct_neurons(model) == 1


def test_a_signals_profile_is_what_each_layer_puts_out_and_is_taught():
    torch.manual_seed(0)
    model = make_mlp(196, 20, 2)
    spread, gradient, loss = experiments.signal_profile(model, BATCH)
    hidden = model[:3](BATCH.images).detach()
    assert spread[0] == pytest.approx(hidden.std(0).square().mean().sqrt().item(), rel=1e-5)
    assert loss == pytest.approx(functional.cross_entropy(model(BATCH.images), BATCH.labels).item())
    assert len(spread) == len(gradient) == 2
    with torch.no_grad():
        model[1].weight.zero_()
    assert experiments.signal_profile(model, BATCH)[0][0] == 0


def test_signals_grow_and_fade_as_the_rule_says():
    table = experiments.signal_table(
        ["tanh", "relu"], {"X": "xavier", "He": "he"}, BATCH, depth=6, width=60, seeds=3
    )
    assert len(table) == 2 * 2 * 3 * 6
    for quantity in ("spread", "gradient"):
        found = {
            (activation, start): experiments.decades(table, activation, start, quantity).mean()
            for activation in ("tanh", "relu")
            for start in ("X", "He")
        }
        assert found["relu", "X"] - found["relu", "He"] == pytest.approx(
            -2.5 * math.log10(2), abs=0.15
        )
        assert abs(found["tanh", "X"]) < 0.3 and found["tanh", "He"] > found["tanh", "X"]


def test_curvature_is_that_of_a_known_hessian():
    images = torch.tensor([[[[1.0, 0.0]]], [[[-1.0, 0.0]]]])
    split = Split(images, torch.tensor([0, 1]))
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    nn.init.zeros_(model[1].weight)
    assert experiments.steepest_curvature(model, split) == pytest.approx(0.5, rel=1e-3)
    small, large = (
        experiments.first_curvature(gain, Config(width=8, depth=2), SMALL, seeds=2)
        for gain in (0.5, 2)
    )
    assert (large > 4 * small).all()


def test_scaled_weights_are_hes_times_the_gain():
    torch.manual_seed(0)
    scaled = experiments.scaled_he(3.0)(Config(width=8, depth=2), SMALL)
    torch.manual_seed(0)
    plain = make_mlp(196, 8, 2)
    for theirs, ours in zip(plain.parameters(), scaled.parameters(), strict=True):
        assert torch.allclose(3 * theirs, ours)


def test_the_best_rate_is_found_for_each_seed():
    tiny = Dataset(SMALL.train, SMALL.val.first(100), SMALL.test.first(10), "tiny")
    from course_utils import sweep

    base = Config(optimizer="sgd", width=8, epochs=3)
    history = fit(sweep(base, learning_rate=[1e-4, 0.3, 100.0], seeds=2), tiny, progress=False)
    assert experiments.best_rates(history).tolist() == [0.3, 0.3]


# Figures ----------------------------------------------------------------------------------------


def test_figures_show_what_they_are_given():
    matplotlib.use("Agg")
    table = experiments.signal_table(["relu"], {"He": "he"}, BATCH, depth=3, width=8, seeds=2)
    figure = figures.plot_signals(table)
    lines = figure.axes[0].lines
    assert len(lines) == 1 and lines[0].get_ydata()[0] == pytest.approx(1)
    assert figure.axes[1].lines[0].get_ydata()[-1] == pytest.approx(1)
    figure = figures.plot_neurons({"a": torch.rand(3, 4), "b": torch.zeros(3, 4)})
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["a", "b"]


# Labs -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def neuron():
    lab = labs.neuron_lab(*experiments.two_inks(SMALL.train))
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def depth():
    lab = labs.depth_lab(SMALL, images=50)
    yield lab
    lab.close()


@pytest.mark.parametrize("name", ["weight_of_all_ink", "weight_of_middle_ink", "bias"])
def test_both_ends_of_the_neurons_sliders_look_different_and_say_so(neuron, name, see):
    options = neuron.controls[name].options
    (first, said), (last, other) = (
        see(neuron, **{name: each}) for each in (options[0], options[-1])
    )
    assert first != last and said != other and "right for" in said
    neuron.press("reset")


def test_a_neuron_without_weights_gives_one_answer(neuron, see):
    _, said = see(neuron, weight_of_all_ink=0.0, weight_of_middle_ink=0.0, bias=1.0)
    assert "sum = 0 × all ink +0 × middle ink +1" in said
    _, said = see(neuron, weight_of_all_ink=-2.0, weight_of_middle_ink=1.0, bias=-0.5)
    assert int(said.split("right for ")[1].split(" %")[0]) > 85
    assert neuron.code(neuron.values) == "weights, bias = [-2.0, 1.0], -0.5"


def test_the_pointer_takes_the_arrows_tip_and_the_threshold(neuron):
    assert labs.point_at_neuron(0, -1.9, 1.1, {}) == {
        "weight_of_all_ink": -2.0,
        "weight_of_middle_ink": 1.0,
    }
    assert labs.point_at_neuron(1, 0.6, 0.3, {}) == {"bias": -0.5}
    far = labs.point_at_neuron(0, 99, -99, {})
    assert far["weight_of_all_ink"] == 3 and far["weight_of_middle_ink"] == -3
    for changes in (far, labs.point_at_neuron(1, 99, 0, {})):
        assert all(value in neuron.controls[name].options for name, value in changes.items())


@pytest.mark.parametrize("name", ["depth", "activation", "size"])
def test_both_ends_of_the_depth_labs_controls_look_different_and_say_so(depth, name, see):
    options = depth.controls[name].options
    (first, said), (last, other) = (
        see(depth, **{name: each}) for each in (options[0], options[-1])
    )
    assert first != last and said != other and "First loss" in said
    depth.press("reset")


def test_every_activation_and_size_can_be_drawn(depth, see):
    for activation in depth.controls["activation"].options:
        for size in (0.1, 10.0):
            _, said = see(depth, activation=activation, size=size, depth=20)
            assert "nan" not in said


def test_the_depth_labs_code_makes_its_network(depth, tmp_path, see):
    see(depth, depth=3, activation="tanh", size=2.0)
    script = tmp_path / "copied.py"
    script.write_text(depth.code(depth.values), encoding="utf-8")
    model = runpy.run_path(str(script), {"make_mlp": make_mlp, "torch": torch})["model"]
    assert model[4].weight.std().item() == pytest.approx(2 / 10, rel=0.05)
