"""Notebook 06: its helpers measure what they say, its exercises judge rightly, its lab survives every extreme."""

import math
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from course_utils import Config, checks, fit, load_mnist, make_mlp
from course_utils.engine.networks import is_stackable
from course_utils.plots import new_figure
from course_utils.topics import t06
from run_notebooks import NOTEBOOKS

STEM = "06_gradient_diagnostics"


@pytest.fixture(autouse=True)
def no_earlier_tries():
    checks._tries.clear()


@pytest.fixture(scope="module")
def small():
    return load_mnist(subset=1000, image_size=14)


def sources(path, tag):
    notebook = nbformat.read(NOTEBOOKS / path, as_version=4)
    return [cell.source for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


# ---- exercises: starters fail, solutions pass -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["exercise", "solution"])
def test_every_starter_fails_helpfully_and_every_solution_passes(tag, shell):
    assert shell.run_cell("import torch\nfrom course_utils import load_mnist\nfrom course_utils.topics import clinic, t06\n"
                          "small = load_mnist(subset=1000, image_size=14)").success
    cells = sources({"exercise": f"{STEM}.ipynb", "solution": f"solutions/{STEM}_solutions.ipynb"}[tag], tag)
    assert len(cells) == 5
    for number, source in enumerate(cells, start=1):
        outcome = shell.run_cell(source)
        assert outcome.success and outcome.result.exercise == f"06.{number}"
        assert bool(outcome.result) == (tag == "solution"), outcome.result
        assert tag == "solution" or "Hint:" in outcome.result.message


@pytest.mark.parametrize("right", [
    lambda before, after: torch.log10((after - before).norm() / before.norm()),
    lambda before, after: math.log10((after - before).std() / before.std()),
    lambda before, after: np.log10(np.linalg.norm((after - before).numpy()) / np.linalg.norm(before.numpy())),
])
def test_right_update_ratios(right):
    assert t06.check_update_ratio(right)


@pytest.mark.parametrize("wrong", [
    lambda before, after: ((after - before).norm() / before.norm()).item(),
    lambda before, after: math.log10((after - before).norm()),
    lambda before, after: math.log((after - before).norm() / before.norm()),
    lambda before, after: math.log10(before.norm() / (after - before).norm()),
    lambda before, after: -3.0, lambda before, after: None, None, 3,
])
def test_wrong_update_ratios(wrong):
    assert not t06.check_update_ratio(wrong)


@pytest.mark.parametrize("right", [
    lambda outputs: (outputs == 0).all(0).float().mean(),
    lambda outputs: float((outputs.abs().sum(dim=0) == 0).sum()) / outputs.shape[1],
    lambda outputs: 1 - float((outputs > 0).any(0).float().mean()),
])
def test_right_dead_shares(right):
    assert t06.check_dead_share(right)


@pytest.mark.parametrize("wrong", [
    lambda outputs: float((outputs == 0).float().mean()), lambda outputs: float((outputs == 0).all(1).float().mean()),
    lambda outputs: float((outputs.mean(0) < 0.01).float().mean()), lambda outputs: int((outputs == 0).all(0).sum()),
    lambda outputs: 0.5, None,
])
def test_wrong_dead_shares(wrong):
    assert not t06.check_dead_share(wrong)


@pytest.mark.parametrize("right", [
    lambda norms: norms[norms.isfinite()].quantile(0.75), lambda norms: float(np.nanquantile(norms[~norms.isinf()], 0.95)),
    lambda norms: 2 * float(norms[norms.isfinite()].median()),
])
def test_right_thresholds(right):
    assert t06.check_threshold(right)


@pytest.mark.parametrize("wrong", [
    lambda norms: float(norms.mean()), lambda norms: float(norms.max()), lambda norms: float(norms.quantile(0.9)),
    lambda norms: float(norms[norms.isfinite()].median()), lambda norms: float(norms[norms.isfinite()].mean()),
    lambda norms: 1.0, lambda norms: 2.4, lambda norms: 1e9, None,
])
def test_wrong_thresholds(wrong):
    assert not t06.check_threshold(wrong)


def standardiser(spread):
    def standardise(images):
        centred = images - images.mean(dim=(1, 2, 3), keepdim=True)
        return centred / spread(centred)
    return standardise


@pytest.mark.parametrize("right", [
    standardiser(lambda c: (c.pow(2).mean(dim=(1, 2, 3), keepdim=True) + 1e-6).sqrt()),
    standardiser(lambda c: c.pow(2).mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6).sqrt()),
    lambda images: nn.functional.layer_norm(images, images.shape[1:]),
])
def test_right_standardisers(right):
    assert t06.check_standardise(right)


@pytest.mark.parametrize("wrong", [
    standardiser(lambda c: c.std(dim=(1, 2, 3), keepdim=True)),
    standardiser(lambda c: c.pow(2).mean(dim=(1, 2, 3), keepdim=True).sqrt() + 1e-5),
    standardiser(lambda c: c.pow(2).mean(dim=(1, 2, 3), keepdim=True) + 1e-5),
    standardiser(lambda c: (c.pow(2).mean(dim=(1, 2, 3), keepdim=True) + 0.1).sqrt()),
    lambda images: (images - images.mean()) / (images.std() + 1e-5),
    lambda images: torch.nan_to_num((images - images.mean((1, 2, 3), True)) / images.std((1, 2, 3), keepdim=True)),
    lambda images: images, lambda images: images.flatten(1), None,
])
def test_wrong_standardisers(wrong):
    assert not t06.check_standardise(wrong)


# ---- helpers --------------------------------------------------------------------------------------------------------


def test_the_row_network_is_elmans_and_stacks(small):
    torch.manual_seed(0)
    model = t06.RowNetwork(14, 14, width=8)
    image = small.train.images[:3]
    state = (image[:, 0, 0] @ model.read.weight.T + model.read.bias).relu()
    for row in range(1, 14):
        seen = image[:, 0, row] @ model.read.weight.T + model.read.bias
        state = (seen + state @ model.recur.weight.T + model.recur.bias).relu()
    torch.testing.assert_close(model(image), state @ model.answer.weight.T + model.answer.bias)
    assert is_stackable(model)


@pytest.mark.parametrize("build", [t06.residual_mlp, t06.scaled(3), lambda config, dataset: t06.RowNetwork(14, 14, 8)])
def test_a_stack_trains_like_single_runs(small, build):
    configs = [Config(width=8, depth=3, batch_size=200, epochs=2, learning_rate=0.01, seed=seed) for seed in range(3)]
    together = fit(configs, small, model=build, progress=False)
    alone = [fit(config, small, model=build, progress=False) for config in configs]
    for row, single in enumerate(alone):
        np.testing.assert_allclose(together.step_loss[row], single.step_loss[0], rtol=1e-3, atol=1e-4)


def test_a_residual_layer_adds_to_its_input():
    layer = nn.Linear(4, 4)
    x = torch.randn(3, 4)
    torch.testing.assert_close(t06.Residual(layer, nn.ReLU())(x), x + layer(x).relu())


def test_clipping_by_value_cuts_every_entry(small):
    seen = []
    config = Config(optimizer="sgd", learning_rate=1.0, width=8, batch_size=100, epochs=1, schedule=t06.clip_by_value(1e-3))
    fit(config, small, on_step=lambda run: seen.append(run.gradients.abs().max().item()), progress=False)
    assert 0 < max(seen) <= 1e-3 + 1e-9


def test_untrained_is_where_fit_begins(small):
    config = Config(width=8, depth=2, learning_rate=1e-12, optimizer="sgd", epochs=1, seed=5)
    begun, trained = t06.untrained(config, small), fit(config, small, progress=False).model()
    for one, other in zip(begun.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_gradient_kept_tells_sigmoid_from_relu(small):
    seen = small.train.first(100)
    kept = {activation: t06.gradient_kept(t06.untrained(Config(depth=10, activation=activation, init=init), small), seen)
            for activation, init in (("sigmoid", "xavier"), ("relu", "he"))}
    assert kept["sigmoid"] < -4 < -1 < kept["relu"]
    dark = t06.untrained(Config(depth=4, init="zeros"), small)
    assert t06.gradient_kept(dark, seen) >= -12


def test_dead_share_and_rank_correlation(small):
    model = make_mlp(196, width=10, depth=2)
    model[1].bias.data[:5] = -1e3
    assert t06.dead_share(model, small.train.images[:100]) >= 0.5
    assert t06.rank_correlation(np.array([1, 2, 3]), np.array([1, 10, 1000])) == pytest.approx(1)
    assert t06.rank_correlation(np.array([1, 2, 3]), np.array([3, 2, 1])) == pytest.approx(-1)
    assert t06.rank_correlation(np.array([1, 2, 3]), np.array([7, 7, 7])) == 0


def test_images_can_be_changed_and_the_first_loss_seen(small):
    dark = t06.with_images(small, lambda images: 0 * images)
    assert dark.test.images.sum() == 0 and torch.equal(dark.val.labels, small.val.labels)
    assert t06.first_loss(make_mlp(196), dark.train.images, dark.train.labels) == pytest.approx(math.log(10), abs=1e-5)


def test_pictures_survive_what_instruments_can_read():
    _, axes = new_figure(columns=3)
    table = pd.DataFrame({"1": [1.0, np.nan, np.inf], "4": [0.0, 1.0, -np.inf], "7": [1.0, 2.0, 3.0]}, index=[0, 2, 4])
    t06.plot_layers(table, axes[0, 0], "norm", guide=-3)
    assert [line.get_label() for line in axes[0, 0].lines[1:3]] == ["first layer", "last layer"]
    t06.plot_ridge({0: torch.zeros(5), 10: torch.tensor([0.0, 1e-3, 1e-40])}, axes[0, 1])
    assert [label.get_text() for label in axes[0, 1].get_yticklabels()] == ["0", "10"]
    t06.plot_success({("relu", "he", 2): 0.9, ("relu", "torch", 2): 0.4}, axes[0, 2])
    assert sorted(text.get_text() for text in axes[0, 2].texts) == ["40", "90"]


# ---- the lab and the page -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_lab_survives_its_extremes(small):
    lab = t06.vanishing_lab(small, seeds=2)
    for name, control in lab.controls.items():
        lab.reset()
        values = [value for _, value in control._options_full]
        for value in [values[0], values[-1], *values] if name != "depth" else [values[0], values[-1]]:
            before, same = lab.picture.value, control.value == value
            control.value = value
            assert same or lab.picture.value != before, (name, value)
            assert "accuracy" in lab.status.value
    lab.reset()
    for name, value in {"init": "zeros", "activation": "relu", "depth": 16}.items():
        lab.controls[name].value = value
    assert "accuracy" in lab.status.value
    for name, value in {"init": "normal", "residual": "yes", "normalisation": "batch"}.items():
        lab.controls[name].value = value
    assert bytes(lab.picture.value).startswith(b"\x89PNG") and len(lab.earlier) <= 3


def test_every_claim_of_the_notebook_has_its_card():
    claimed = " ".join(sources(f"{STEM}.ipynb", "claim"))
    assert set(re.findall(r'claim\("([A-Z]{2}\d)"', claimed)) == {"GD1", "GD2", "GD3", "GD4", "RG3", "UF3"}
