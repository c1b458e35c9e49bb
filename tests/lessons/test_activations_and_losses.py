"""Notebook 02: starters fail, solutions pass, mistakes are told apart; lab; what it measures."""

import math
import runpy

import matplotlib
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from course_utils import Config, fit, load_mnist, make_mlp, mean_interval
from course_utils.lessons.activations_and_losses import exercises, experiments, figures, labs

SMALL = load_mnist(subset=100, image_size=14, device="cpu")
BATCH = SMALL.val.first(100)


# 02.1 -------------------------------------------------------------------------------------------


def by_the_product_rule(z):
    s = torch.sigmoid(z)
    return s + z * s * (1 - s)


def by_another_form(z):
    return torch.sigmoid(z) + functional.silu(z) * (1 - torch.sigmoid(z))


def by_autograd(z):
    z = z.clone().requires_grad_(True)
    return torch.autograd.grad(functional.silu(z).sum(), z)[0]


@pytest.mark.parametrize("slope", [by_the_product_rule, by_another_form, by_autograd])
def test_the_slope_of_silu_passes(slope):
    assert exercises.check_silu_slope(slope)


@pytest.mark.parametrize(
    ("slope", "said"),
    [
        (torch.sigmoid, "At z = 1"),
        (lambda z: torch.sigmoid(z) * (1 - torch.sigmoid(z)), "At z = 0"),
        (lambda z: z * torch.sigmoid(z) * (1 - torch.sigmoid(z)), "At z = 0"),
        (lambda z: (z > 0).float(), "At z = 0"),
        (lambda z: by_the_product_rule(z).sum(), "One slope for each"),
        (
            lambda z: by_the_product_rule(z) + 0.01 * ((z - 0.5).abs() < 0.05),
            "Between those places",
        ),
        (lambda z: 1.0, "a tensor"),
        (lambda z: z.sigmoidd(), "AttributeError"),
        (None, "TypeError"),
    ],
)
def test_other_slopes_are_told_where(slope, said):
    result = exercises.check_silu_slope(slope)
    assert not result and said in result.message


# 02.2 -------------------------------------------------------------------------------------------


def by_hand(z, y):
    return z.clamp(min=0) - z * y + torch.log1p(torch.exp(-z.abs()))


def starter(z, y):
    p = torch.sigmoid(z)
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p))


def clipped(z, y):
    p = torch.sigmoid(z).clamp(1e-7, 1 - 1e-7)
    return -(y * p.log() + (1 - y) * (1 - p).log())


def one_sided(z, y):
    return torch.log(1 + torch.exp(z)) - y * z


def right_values_only(z, y):
    return by_hand(z.detach(), y) + 0 * z


@pytest.mark.parametrize(
    "bce",
    [
        by_hand,
        lambda z, y: functional.softplus(z) - y * z,
        lambda z, y: -y * functional.logsigmoid(z) - (1 - y) * functional.logsigmoid(-z),
    ],
)
def test_a_loss_for_every_logit_passes(bce):
    assert exercises.check_stable_bce(bce)


@pytest.mark.parametrize(
    ("bce", "said"),
    [
        (starter, "infinite, or no number"),
        (one_sided, "infinite, or no number"),
        (clipped, "finite, but wrong"),
        (lambda z, y: by_hand(z, 1 - y), "For small logits"),
        (lambda z, y: by_hand(z, y).mean(), "One number for each logit"),
        (right_values_only, "the gradient"),
        (lambda z, y: None, "a tensor"),
        (None, "TypeError"),
    ],
)
def test_tempting_losses_are_told_apart(bce, said):
    result = exercises.check_stable_bce(bce)
    assert not result and said in result.message


def test_hints_escalate():
    for check in (exercises.check_silu_slope, exercises.check_stable_bce):
        messages = [repr(check(lambda *_: torch.zeros(()))) for _ in range(3)]
        assert len(set(messages)) == 3


# 02.3 -------------------------------------------------------------------------------------------


def test_an_experiment_of_ones_own_needs_what_is_fair():
    result = exercises.check_my_experiment("a story", "supported")
    assert not result and "what compare" in result.message
    assert exercises.check_my_experiment.exercise == "02.3"


# What is measured -------------------------------------------------------------------------------


def test_centred_sums_lie_around_zero():
    torch.manual_seed(0)
    plain = make_mlp(196, 50, 3, activation="sigmoid", init="xavier_sigmoid")
    before = [parameter.clone() for parameter in plain.parameters()]
    means = []
    for centred in (False, True):
        model = experiments.centre_sigmoids(plain) if centred else plain
        sums = model[4](model[:4](BATCH.images)).detach()  # of the second hidden layer
        means.append(sums.mean(0).abs().mean().item())
    assert means[1] < 0.5 * means[0]
    for old, new in zip(before, plain.parameters(), strict=True):
        assert new.dim() == 1 or torch.equal(old, new)


def test_a_centred_network_fits_its_dataset():
    model = experiments.centred_sigmoid(Config(width=8, depth=2), SMALL)
    assert model(BATCH.images).shape == (100, SMALL.classes)


def test_gradients_fade_as_weights_and_slopes_say():
    starts = {"He": ("relu", "he"), "Xavier": ("relu", "xavier")}
    starts |= {"plain": ("sigmoid", "xavier_sigmoid"), "centred": ("sigmoid", "centred")}
    profiles = experiments.gradient_profiles(starts, BATCH, depth=5, width=60, seeds=3)
    lost = {name: experiments.decades_lost(profiles, name).mean() for name in starts}
    assert all(values.shape == (3, 5) for values in profiles.values())
    assert all((values[:, -1] == 1).all() for values in profiles.values())
    assert abs(lost["He"]) < 0.2
    assert lost["Xavier"] - lost["He"] == pytest.approx(2 * math.log10(2), abs=0.15)  # 4 layers
    assert lost["plain"] > lost["centred"] + 0.2


def test_silent_units_are_seen_in_all_layers():
    torch.manual_seed(0)
    model = make_mlp(196, 6, 2)
    with torch.no_grad():
        model[1].bias[:3] = -1e6
    outputs = experiments.hidden_outputs(model, BATCH)
    assert outputs.shape == (100, 12)
    assert (outputs[:, :3] == 0).all() and not (outputs[:, 6:] == 0).all()


def test_a_measure_is_asked_of_every_run():
    runs = fit(Config(width=4, epochs=1).seeds(3), SMALL, progress=False)
    sizes = experiments.share_over_seeds(runs, lambda model, split: len(split), BATCH)
    assert sizes.tolist() == [100, 100, 100]


def test_odd_or_even_changes_labels_and_nothing_else():
    parity = experiments.odd_or_even(SMALL)
    assert parity.classes == 2 and torch.equal(parity.val.images, SMALL.val.images)
    assert torch.equal(parity.tuning.labels, SMALL.tuning.labels % 2)


def test_squared_error_leaves_many_wrong_images_without_a_say():
    torch.manual_seed(0)
    logits = make_mlp(inputs=196, width=32, init="normal")(SMALL.train.images)
    wrong = logits.argmax(dim=1) != SMALL.train.labels
    one_hot = functional.one_hot(SMALL.train.labels, 10)
    losses = {
        "squared error": (logits.softmax(dim=1) - one_hot).square().sum(),
        "cross-entropy": functional.cross_entropy(logits, SMALL.train.labels, reduction="sum"),
    }
    silent = {}
    for name, loss in losses.items():
        (slopes,) = torch.autograd.grad(loss, logits, retain_graph=True)
        silent[name] = (slopes[wrong].norm(dim=1) < 0.01).float().mean().item()
    assert silent["squared error"] > 0.25 and silent["cross-entropy"] == 0


def test_three_ways_agree_where_float32_can_tell():
    ways = experiments.three_ways(torch.tensor([0.0, 2.0, 8.0]))
    for losses in ways.values():
        assert torch.allclose(losses, ways["with logits"], rtol=1e-3)
    far = experiments.three_ways(torch.tensor([50.0]))
    assert far["by hand"].isinf() and far["BCELoss"] == 100 and far["with logits"] == 50


# Figures ----------------------------------------------------------------------------------------


def test_figures_show_what_they_are_given():
    matplotlib.use("Agg")
    figure = figures.plot_activations([torch.relu, torch.tanh])
    assert [axes.get_title() for axes in figure.axes[:2]] == [
        "ReLU: slope up to 1",
        "tanh: slope up to 1",
    ]
    figure = figures.plot_gradients({"a": np.full((3, 4), 0.1), "b": np.ones((3, 4))})
    assert figure.axes[0].lines[0].get_ydata() == pytest.approx(np.full(4, 0.1))
    shares = [mean_interval([0.1, 0.2, 0.3]), mean_interval([0.5, 0.6, 0.7])]
    figure = figures.plot_dead([0.01, 0.1], {"ReLU": shares}, {"ReLU": shares})
    assert figure.axes[0].lines[0].get_ydata() == pytest.approx([0.2, 0.6])
    ends = [line.get_xdata().max() for line in figures.plot_range(40.0).axes[0].lines]
    assert ends[0] < 17 and ends[1] == ends[2] == 40


# The lab ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def curve():
    lab = labs.curve_lab()
    yield lab
    lab.close()


@pytest.mark.parametrize("name", ["activation", "loss", "width", "learning_rate", "outliers"])
def test_both_ends_of_each_control_look_different_and_say_so(curve, name, see):
    options = curve.controls[name].options
    (first, said), (last, other) = (
        see(curve, **{name: each}) for each in (options[0], options[-1])
    )
    assert first != last and said != other and "distance from the clean curve" in said
    curve.press("reset")


def final(**changes):
    start = {"activation": "relu", "loss": "squared", "width": 12, "learning_rate": 0.01}
    *_, last = labs.learn_curve({**start, "outliers": False, **changes})
    return last


def test_every_activation_learns_the_curve():
    for activation in ("relu", "tanh", "sigmoid", "gelu"):
        result = final(activation=activation, width=20)
        assert result.error < 0.25 and np.isfinite(result.outputs).all()


def test_contributions_add_up_to_the_curve():
    result = final()
    gap = result.outputs - result.contributions.sum(1)
    assert np.ptp(gap) < 1e-4  # what is left is the bias


def test_wrong_points_draw_squared_error_more_than_the_others():
    errors = {loss: final(loss=loss, outliers=True).error for loss in labs.LOSSES}
    assert errors["squared"] > 1.5 * max(errors["Huber"], errors["absolute"])


def test_a_new_learning_rate_is_taken_while_it_learns():
    values = {"activation": "tanh", "loss": "squared", "width": 5, "learning_rate": 0.01}
    calm, changed = (labs.learn_curve({**values, "outliers": False}) for _ in range(2))
    next(calm), next(changed)
    ours, theirs = calm.send(None), changed.send({"learning_rate": 1.0})
    assert ours.step == theirs.step == 2 and ours.loss != theirs.loss


@pytest.mark.parametrize("loss", list(labs.LOSSES))
def test_the_labs_code_runs_and_is_what_the_lab_does(curve, tmp_path, loss, see):
    see(curve, activation="tanh", width=3, loss=loss)
    script = tmp_path / "copied.py"
    script.write_text(curve.code(curve.values), encoding="utf-8")
    places, targets = labs.curve_points(outliers=True)
    given = {"torch": torch, "nn": nn, "places": places, "targets": targets}
    copied = runpy.run_path(str(script), given)
    assert isinstance(copied["model"][1], nn.Tanh) and copied["model"][0].out_features == 3
    wanted = labs.LOSSES[loss](copied["model"](places), targets)
    assert copied["loss"].item() == pytest.approx(wanted.item())
