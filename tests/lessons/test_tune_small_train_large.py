"""Notebook 12: muP as the cell has it, its instruments, what is stored, forecasts, schedule-free
steps, checks and lab."""

from collections import Counter
from dataclasses import replace

import nbformat
import numpy as np
import pytest
import torch
from torch import nn

import build_widths
from course_utils import Config, Dataset, Estimate, fit, load_mnist, make_mlp, sweep
from course_utils.bank import read_sealed
from course_utils.engine.plan import build
from course_utils.files import DATA_FOLDER
from course_utils.lessons.tune_small_train_large import (
    exercises,
    experiments,
    figures,
    labs,
    networks,
    scaling,
    studies,
)
from stored import NOTEBOOKS

MNIST = load_mnist(subset=100, image_size=14, device="cpu")
DATA = Dataset(
    MNIST.train, MNIST.val.first(200), MNIST.test.first(10), "tiny", MNIST.tuning.first(100)
)


@pytest.fixture(scope="module")
def cells():
    """The functions that the notebook's cells define: what a learner reads is what is tested."""
    from types import ModuleType

    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell(user_module=ModuleType("lesson"))
    setup = "import math, torch\nfrom torch import nn\nfrom torch.nn import functional\n"
    shell.run_cell(setup + "from course_utils import make_mlp")
    notebook = nbformat.read(NOTEBOOKS / "12_tune_small_train_large.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code" and "show-code" in cell.metadata.get("tags", []):
            assert shell.run_cell(cell.source).success
    return shell.user_ns


def standard(config, dataset):
    return make_mlp(196, config.width, config.depth, dataset.classes)


# muP


def test_a_scaled_layer_is_a_layer_whose_matrix_is_multiplied(cells):
    layer, inputs = cells["Scaled"](5, 3, 0.25, 1.0), torch.randn(4, 5)
    plain = nn.Linear(5, 3)
    with torch.no_grad():
        plain.weight.copy_(0.25 * layer.weight)
        plain.bias.copy_(layer.bias)
    torch.testing.assert_close(layer(inputs), plain(inputs))


def test_a_step_of_adam_on_a_scaled_layer_is_a_step_at_a_smaller_rate(cells):
    torch.manual_seed(0)
    layer, inputs = cells["Scaled"](5, 3, 0.25, 1.0), torch.randn(4, 5)
    plain = nn.Linear(5, 3, bias=False)
    with torch.no_grad():
        plain.weight.copy_(0.25 * layer.weight)
    for module, rate in ((layer, 0.1), (plain, 0.025)):
        optimizer = torch.optim.Adam([module.weight], lr=rate)
        module(inputs).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(0.25 * layer.weight, plain.weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [8, 32, 128])
def test_mup_begins_with_hidden_signals_of_one_size_and_no_answer(cells, width):
    network = build(cells["mup"], Config(width=width, depth=2), DATA)[0]
    signal = network[:-1](DATA.val.images)
    assert 0.1 < signal.square().mean().sqrt() < 1.5
    assert not network(DATA.val.images).any()


def test_the_coordinate_check_tells_the_parametrisations_apart(cells):
    models = {"standard": standard, "muP": cells["mup"]}
    moved = experiments.coordinate_check(models, [32, 512], DATA, 2**-6)
    growth = {name: sizes[1] / sizes[0] for name, sizes in moved.items()}
    assert moved["muP"].shape == (2, 4)
    assert (growth["standard"] > 3).all() and (growth["muP"][1:] < 2.5).all()


def test_trained_networks_are_stacked_as_they_are_alone(cells):
    config = Config(optimizer="adam", depth=2, width=16, epochs=1, learning_rate=0.01)
    both = fit(config.seeds(2), DATA, model=cells["mup"], progress=False)
    alone = fit(config.replace(seed=1), DATA, model=cells["mup"], progress=False)
    np.testing.assert_allclose(both.train_loss[1], alone.train_loss[0], rtol=1e-3)


# Where the best rate lies


def history_with(losses, rates):
    """Runs whose final training losses [rate, seed] are these."""
    configs = sweep(Config(width=2, epochs=1), learning_rate=rates, seeds=len(losses[0]))
    history = fit(configs, DATA, progress=False, keep_models=False)
    history.train_loss[:, 0] = np.ravel(losses)
    return history


def test_the_best_exponent_is_that_of_the_parabola():
    rates = [2.0**e for e in range(-6, 0)]
    for centre in (-4.3, -2.0, -3.5):
        losses = [[np.exp(0.3 * (e - centre) ** 2)] * 2 for e in range(-6, 0)]
        found = experiments.best_exponents(history_with(losses, rates))
        np.testing.assert_allclose(found, centre, atol=1e-4)
    falling = [[7.0 - e] * 2 for e in range(6)]
    assert experiments.best_exponents(history_with(falling, rates)) == pytest.approx(-1)
    falling[-1] = [np.nan, np.nan]
    assert experiments.best_exponents(history_with(falling, rates)) == pytest.approx(-2)
    level = [[0.5] * 2 for _ in range(6)]
    assert np.isfinite(experiments.best_exponents(history_with(level, rates))).all()


@pytest.mark.parametrize("slope", [-1, -0.5, 0, 0.5])
def test_the_slope_of_the_best_decay_is_found_seed_by_seed(slope):
    rates, decays = [2.0**e for e in range(-4, 0)], [2.0**e for e in range(-6, 7)]
    configs = sweep(Config(width=2, epochs=1), learning_rate=rates, weight_decay=decays, seeds=2)
    history = fit(configs, DATA, progress=False, keep_models=False)
    for row, config in enumerate(configs):
        best = slope * (np.log2(config.learning_rate) + 2) + 0.3 * config.seed
        away = np.log2(config.weight_decay) - best
        history.val_accuracy[row] = 1 - 0.1 * np.exp(0.01 * away**2)
    np.testing.assert_allclose(experiments.decay_slopes(history), slope, atol=0.01)


def test_the_price_of_transfer_is_one_where_the_best_rates_agree():
    rates = [0.01, 0.1, 1.0]
    small = history_with([[3, 3.1], [2, 2.1], [4, 4]], rates)
    alike = history_with([[2, 2.2], [1, 1.1], [4, 4]], rates)
    other = history_with([[0.5, 0.55], [1, 1.1], [4, 4]], rates)
    assert experiments.price_of_transfer(small, alike).value == pytest.approx(1)
    assert experiments.price_of_transfer(small, other).value == pytest.approx(2)


def test_parameters_are_counted():
    for width, depth in ((3, 2), (7, 1), (5, 4)):
        model = make_mlp(196, width, depth)
        assert experiments.parameters(width, depth) == sum(p.numel() for p in model.parameters())


# What is stored


def test_the_stored_trainings_are_those_of_the_notebooks_networks(cells):
    for name, theirs in (("standard", standard), ("muP", cells["mup"])):
        config, ours = Config(width=48, depth=2, seed=3), studies.STUDIES[name].model
        one, other = (build(each, config, DATA)[0] for each in (ours, theirs))
        torch.testing.assert_close(one(DATA.val.images), other(DATA.val.images))
        states = [each.state_dict() for each in (one, other)]
        assert all(map(torch.equal, *(state.values() for state in states)))
    assert networks.mup is studies.STUDIES["muP"].model


def test_stored_runs_lie_inside_their_grids_and_no_best_value_at_an_end():
    stored = studies.load_studies()
    assert set(stored) == set(studies.STUDIES)
    for name, field, metric in (
        ("standard", "learning_rate", "train_loss"),
        ("muP", "learning_rate", "train_loss"),
        ("decay, plain", "weight_decay", "val_accuracy"),
        ("decay, layer normalisation", "weight_decay", "val_accuracy"),
    ):
        for outer, runs in stored[name].by(next(iter(studies.STUDIES[name].grid))).items():
            values, finals = experiments.finals_by(runs, field, metric)
            mean = finals.mean(1) if metric.endswith("accuracy") else -finals.mean(1)
            assert 0 < np.nanargmax(mean) < len(values) - 1, (name, outer)
            assert finals.shape[1] == studies.SEEDS
    assert (DATA_FOLDER / studies.WIDTHS).stat().st_size < 100_000


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("standard", {"width": 16, "learning_rate": 2.0**-6}),
        ("standard", {"width": 64, "learning_rate": 2.0**-7}),
        ("muP", {"width": 32, "learning_rate": 2.0**-5}),
        ("decay, plain", {"learning_rate": 2.0**-8, "weight_decay": 1.0}),
    ],
)
def test_a_stored_training_carried_out_again_is_as_stored(name, chosen):
    """Alike in the mean of its eight seeds: another processor rounds differently."""
    again = studies.STUDIES[name].carry_out(**chosen)
    kept = studies.load_studies()[name].select(**chosen)
    for metric, values in zip(studies.METRICS, again, strict=True):
        is_loss = metric.endswith("loss")
        near = {"rtol": 0.05, "atol": 1e-3} if is_loss else {"rtol": 0, "atol": 0.01}
        np.testing.assert_allclose(values.mean(), kept.final(metric).mean(), **near)


TINY = {
    "a": studies.Study(Config(epochs=1), {"width": (2, 3), "learning_rate": (0.01, 0.1)}),
    "b": studies.Study(Config(epochs=1, width=2), {"learning_rate": (0.01, 0.1)}),
}


def contents(path):
    stored = read_sealed(path, {"about", *TINY}, "")
    return {name: stored[name] for name in TINY}


def test_a_build_that_was_interrupted_goes_on_and_a_damaged_chunk_is_made_again(
    tmp_path, monkeypatch, capsys
):
    whole, again = tmp_path / "whole.npz", tmp_path / "again.npz"
    build_widths.build(whole, tmp_path / "one", TINY)
    carried_out, begun = build_widths.carry_out, []

    def interrupted(study, field, value):
        begun.append((field, value))
        if len(begun) == 3:
            raise KeyboardInterrupt
        return carried_out(study, field, value)

    monkeypatch.setattr(build_widths, "carry_out", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_widths.build(again, tmp_path / "two", TINY)
    assert not again.exists()
    build_widths.build(again, tmp_path / "two", TINY)
    assert Counter(begun) == {
        ("width", 2): 1,
        ("width", 3): 1,
        ("learning_rate", 0.01): 2,
        ("learning_rate", 0.1): 1,
    }
    for name, array in contents(again).items():
        np.testing.assert_array_equal(array, contents(whole)[name])
        assert array.shape == (3, len(TINY[name].configs()))
    chunk = next((tmp_path / "two").glob("*/01.npz"))
    chunk.write_bytes(chunk.read_bytes()[:100])
    build_widths.build(again, tmp_path / "two", TINY)
    assert f"{chunk.name} is damaged" in capsys.readouterr().out and len(begun) == 6
    assert not list(tmp_path.rglob("*.unfinished"))


def test_a_missing_a_damaged_and_another_file_say_how_to_get_it_back(tmp_path):
    path, kept = tmp_path / "widths.npz", (DATA_FOLDER / studies.WIDTHS).read_bytes()
    with pytest.raises(FileNotFoundError, match="widths.npz is missing.*make widths"):
        studies.load_studies(path)
    for broken in (kept[:-100], kept[:3000] + b"no" + kept[3002:]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="widths.npz is damaged.*git checkout.*make widths"):
            studies.load_studies(path)
    path.write_bytes((DATA_FOLDER / "races.npz").read_bytes())
    with pytest.raises(ValueError, match="widths.npz holds other arrays.*make widths"):
        studies.load_studies(path)


def test_effects_of_stored_runs_say_so():
    flagged = studies.of_stored_runs({"a": Estimate(1, 0, 2, 8)})
    assert flagged["a"].flags == (f"these runs {studies.STORED}",)


# Forecasts


def curve_of(errors, images=1000):
    """A curve whose errors [size] are these, for each of eight seeds."""
    rng = np.random.default_rng(0)
    wrong = {
        size: rng.permuted(np.arange(images) < error * images * np.ones((8, 1)), axis=1)
        for size, error in errors.items()
    }
    return scaling.Curve("training digits", wrong, dict.fromkeys(errors, 0.01), ())


def test_a_power_law_is_found_and_its_forecast_hits_what_follows_it():
    law = {size: 4 * size**-0.5 for size in (100, 200, 400, 800, 2400)}
    curve = curve_of(law, images=10_000)
    for points, sizes in ((None, [100, 200, 400, 800]), (2, [400, 800])):
        found, exponent, factor = scaling.law_of(curve, points)
        assert found == sizes
        assert exponent == pytest.approx(-0.5, abs=0.01) and factor == pytest.approx(4, rel=0.05)
    for points in (None, 2):
        missed = scaling.missed(curve, points)
        assert missed.low < 0 < missed.high and abs(missed.value) < 0.001
        assert missed.seeds == 8 and missed.unit == "points"


def test_the_interval_of_a_forecast_is_as_wide_as_fresh_seeds_and_images_make_it():
    """Seeds of unequal luck: the spread of many such measurements against one's half-width."""
    law, values, halves = {100: 0.4, 200: 0.28, 400: 0.2, 1200: 0.12}, [], []
    for number in range(60):
        rng = np.random.default_rng(number)
        share = {size: error * rng.lognormal(0, 0.1, (8, 1)) for size, error in law.items()}
        wrong = {size: rng.random((8, 1000)) < each for size, each in share.items()}
        missed = scaling.missed(scaling.Curve("width", wrong, {}, ()))
        values.append(missed.value)
        halves.append(missed.high - missed.value)
    assert 0.8 < np.mean(halves) / (2.36 * np.std(values)) < 1.6


def test_a_curve_that_levels_off_lies_above_its_forecast():
    curve = curve_of({100: 0.4, 200: 0.25, 400: 0.2, 800: 0.18, 2400: 0.17})
    far, near = (scaling.missed(curve, points) for points in (None, 2))
    assert far.value > near.value > 0
    assert scaling.distance(far) == far
    mirrored = scaling.distance(replace(far, value=-far.value, low=-far.high, high=-far.low))
    assert mirrored == far


def test_digits_are_dealt_in_equal_classes_and_updates():
    data = replace(DATA, train=DATA.train.first(80))
    first, drawn, other = (scaling.deal(data, 20, seed) for seed in (None, 0, 1))
    assert torch.equal(first.train.labels[:20], DATA.train.labels[:20])
    assert len(first.train) == len(drawn.train) == 80
    kinds = [
        {tuple(image.flatten().tolist()) for image in each.train.images} for each in (drawn, other)
    ]
    assert len(kinds[0]) == len(kinds[1]) == 20 and kinds[0] != kinds[1]
    assert Counter(drawn.train.labels.tolist()) == dict.fromkeys(range(10), 8)
    assert len(scaling.many_digits().train) == scaling.DIGITS


def test_scaling_curves_are_measured_and_drawn():
    data = replace(DATA, train=DATA.train.first(80))
    plan = Config(batch_size=20, epochs=2, width=8)
    curves = [
        scaling.against_digits(plan, data, [20, 40, 80], [0.001, 0.01, 0.03]),
        scaling.against_width(plan, data, [4, 8, 24], [0.001, 0.01, 0.03]),
    ]
    for curve in curves:
        assert curve.table.shape == (3, 8, 200) and set(curve.rates) == set(curve.sizes)
        assert np.isfinite(scaling.missed(curve).value)
    assert curves[0].flags and "digits: learning_rate" in curves[0].flags[0]
    assert len(figures.plot_scaling(curves).axes) == 2


# Schedule-free


def test_schedule_free_steps_are_those_of_the_paper():
    config = Config(optimizer="sgd", width=3, epochs=2, learning_rate=0.2, batch_size=50)
    seen = []

    class Follower:
        def __call__(self, run, memory):
            seen.append((run.step, run.stack.gradients.clone()))
            experiments.schedule_free(run, memory)
            self.rows = run.stack.rows.clone()

    follow = Follower()
    start = torch.cat([p.detach().flatten() for p in build_rows(config)])
    experiments._fit_rewritten([config], DATA, follow)
    z = x = start
    for step, gradient in seen:
        z = z - 0.2 * gradient[0]
        x = x + (z - x) / (step + 1)
    assert follow.rows.shape[1] == len(start)
    torch.testing.assert_close(follow.rows[0].sort().values, x.sort().values, rtol=1e-3, atol=1e-4)


def build_rows(config):
    from course_utils.engine.plan import build_mlp

    return build(build_mlp, config, DATA)[0].parameters()


def test_what_is_judged_is_what_was_left_after_the_last_step():
    config = Config(optimizer="sgd", width=3, epochs=1)

    def forget(run, memory):
        run.stack.rows.zero_()

    rate, runs = experiments.tuned_after_steps(config, DATA, [0.1, 0.3], forget)
    assert rate in (0.1, 0.3) and len(runs) == 8
    assert (runs.val_correct == (DATA.val.labels == 0).numpy()).all()
    rate, runs = experiments.tuned_after_steps(
        replace(config, epochs=8, width=16), DATA, [1e-5, 0.5], experiments.schedule_free
    )
    assert rate == 0.5 and runs.val_correct.mean() > 0.3


# Exercises


def test_mup_rates():
    def right(rate, base, width):
        return {"input": rate, "hidden": rate * base / width, "head": rate * base / width}

    assert exercises.check_rates(right)
    wrong = {
        "input layer": lambda r, b, w: dict.fromkeys(("input", "hidden", "head"), r * b / w),
        "hidden has": lambda r, b, w: {**right(r, b, w), "hidden": r * (b / w) ** 0.5},
        "head has": lambda r, b, w: {**right(r, b, w), "head": r},
        "the keys": lambda r, b, w: {"input": r},
        "rate should rise": lambda r, b, w: right(r, b, max(b, w)),
    }
    for said, rates in wrong.items():
        result = exercises.check_rates(rates)
        assert not result and said in result.message, said


def test_a_running_mean():
    assert exercises.check_running_mean(lambda mean, point, n: mean + (point - mean) / n)
    assert exercises.check_running_mean(lambda mean, point, n: ((n - 1) * mean + point) / n)
    for wrong in (
        lambda mean, point, n: 0.9 * mean + 0.1 * point,
        lambda mean, point, n: mean + (point - mean) / (n + 1),
        lambda mean, point, n: (mean + point) / 2,
    ):
        assert "the mean is" in exercises.check_running_mean(wrong).message


def test_an_experiment_of_ones_own_is_judged_by_its_design():
    result = exercises.check_my_experiment("a story", "supported")
    assert not result and "what compare" in result.message


# The lab


def test_the_lab_answers_both_ends_of_every_control(cells):
    lab = labs.width_lab(DATA, {"standard": standard, "muP": cells["mup"]})
    try:
        for name, control in lab.controls.items():
            pictures = set()
            for value in (control.options[0], control.options[-1]):
                lab.set(**{name: value})
                lab.worker.wait()
                pictures.add(lab.png)
                assert "lowest training loss" in lab.text
                assert np.isfinite(lab.result.loss).all()
            assert len(pictures) == 2, name
            lab.set(**{name: control.start})
            lab.worker.wait()
    finally:
        lab.close()
