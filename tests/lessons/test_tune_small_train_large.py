"""Notebook 12: muP as the cell has it, its instruments, schedule-free steps, checks and lab."""

from dataclasses import replace

import nbformat
import numpy as np
import pytest
import torch
from torch import nn

from course_utils import Config, Dataset, fit, load_mnist, make_mlp, sweep
from course_utils.engine.plan import build
from course_utils.lessons.tune_small_train_large import exercises, experiments, labs
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


# Schedule-free


def test_schedule_free_steps_are_those_of_the_paper(cells):
    config = Config(optimizer="sgd", width=3, epochs=2, learning_rate=0.2, batch_size=50)
    seen = []

    class Follower:
        def __call__(self, run, memory):
            seen.append((run.step, run.stack.gradients.clone()))
            cells["schedule_free"](run, memory)
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


def test_what_is_judged_is_what_was_left_after_the_last_step(cells):
    config = Config(optimizer="sgd", width=3, epochs=1)

    def forget(run, memory):
        run.stack.rows.zero_()

    rate, runs = experiments.tuned_after_steps(config, DATA, [0.1, 0.3], forget)
    assert rate in (0.1, 0.3) and len(runs) == 8
    assert (runs.val_correct == (DATA.val.labels == 0).numpy()).all()
    rate, runs = experiments.tuned_after_steps(
        replace(config, epochs=8, width=16), DATA, [1e-5, 0.5], cells["schedule_free"]
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
