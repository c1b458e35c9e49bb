"""Notebook 03: its instruments measure what they say, its checks judge rightly, its lab follows."""

import nbformat
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from course_utils import Config, Dataset, compare, fit, load_mnist, sweep
from course_utils.lessons.learning_rate import bowl, exercises, experiments, figures, labs
from stored import NOTEBOOKS

MNIST = load_mnist(subset=100, image_size=4, device="cpu")
DATA = Dataset(
    MNIST.train, MNIST.val.first(100), MNIST.test.first(10), "tiny", MNIST.tuning.first(100)
)


def plain(weight, gradient, state, rate, beta=0.9):
    state["velocity"] = beta * state.get("velocity", 0) + gradient
    return weight - rate * state["velocity"]


def nesterov(weight, gradient, state, rate, beta=0.9):
    state["velocity"] = beta * state.get("velocity", 0) + gradient
    return weight - rate * (gradient + beta * state["velocity"])


@pytest.fixture
def cells(shell):
    """The functions that the notebook's cells define: what a learner reads is what is tested."""
    shell.run_cell("import torch\nfrom torch.nn import functional")
    for cell in nbformat.read(NOTEBOOKS / "03_learning_rate.ipynb", as_version=4).cells:
        if cell.cell_type == "code" and cell.source.startswith("def "):
            shell.run_cell(cell.source.split("\n\n\n")[0])
    return shell.user_ns


# Instruments


def test_the_steps_in_the_cells_are_torchs_own(cells):
    gap = experiments.gap_to_torch
    assert gap(cells["momentum_step"], "SGD", 0.1, momentum=0.9) < 1e-5
    assert gap(cells["adamw_step"], "AdamW", 0.01, weight_decay=0.01) < 1e-5
    assert gap(cells["adamw_step"], "Adam", 0.01) > 1e-5  # it decays, and Adam does not
    if hasattr(torch.optim, "Muon"):
        options = {"weight_decay": 0, "adjust_lr_fn": "match_rms_adamw"}
        assert gap(cells["muon_step"], "Muon", 0.01, **options) < 0.2
        assert gap(plain, "Muon", 0.01, **options) > 0.5


def test_a_step_that_differs_is_noticed_and_an_optimiser_that_is_missing_is_named():
    assert experiments.gap_to_torch(lambda w, g, s, rate: w - rate * g, "SGD", 0.1) < 1e-6
    assert experiments.gap_to_torch(plain, "SGD", 0.1) > 0.1
    assert "came with torch 2.9" in experiments.beside_torch(plain, "NoSuch", 0.1)


def test_the_steepest_curvature_is_the_largest_eigenvalue_of_the_hessian(cells):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).double()
    images, labels = torch.rand(30, 1, 2, 2, dtype=torch.float64), torch.arange(30) % 3
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])

    def loss(vector):
        logits = images.flatten(1) @ vector[:12].view(3, 4).T + vector[12:]
        return functional.cross_entropy(logits, labels)

    hessian = torch.autograd.functional.hessian(loss, flat)
    wanted = torch.linalg.eigvalsh(hessian).max().item()
    measured = cells["steepest_curvature"](model, images, labels, rounds=80)
    assert measured == pytest.approx(wanted, rel=1e-3)


def test_untrained_networks_are_those_that_training_begins_with():
    config = Config(width=5, epochs=1, learning_rate=1e-30, optimizer="sgd")
    first = experiments.untrained_curvatures(
        lambda model, images, labels: float(model[1].weight.detach().sum()), config, DATA
    )
    trained = fit(config.seeds(8), DATA, progress=False)
    for seed in range(8):
        assert first[seed] == pytest.approx(
            float(trained.model(seed)[1].weight.detach().sum()), abs=1e-5
        )


def test_what_is_measured_on_the_way_is_what_gradient_descent_passes():
    def loss(model, images, labels):
        return float(experiments.squared_error(model(images), labels).mean().detach())

    way = experiments.curvature_on_the_way(loss, DATA, 0.05, [0, 5, 20])
    assert way.shape == (4, 3) and (np.diff(way, axis=1) < 0).all()
    thrown = experiments.curvature_on_the_way(loss, DATA, 1e6, [0, 40])
    assert np.isfinite(thrown[:, 0]).all() and np.isnan(thrown[:, 1]).all()


def test_squared_error_by_hand():
    logits = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert experiments.squared_error(logits, torch.tensor([0, 1])).tolist() == [0.0, 0.5]


def test_smoothing_keeps_a_line_and_the_mean_of_noise():
    line = np.linspace(0, 1, 100)
    np.testing.assert_allclose(experiments.smoothed(line)[5:-5], line[5:-5])
    noise = np.random.default_rng(0).normal(size=400)
    assert experiments.smoothed(noise).std() < 0.5 * noise.std()


def test_the_good_rates_end_where_two_points_are_lost():
    rates = [0.01, 0.1, 1.0, 10.0]
    history = fit(
        sweep(Config(width=1, epochs=1), learning_rate=rates, seeds=2), DATA, progress=False
    )
    for runs, right in zip(range(0, 8, 2), (50, 90, 89, 20), strict=True):
        history.val_correct[runs : runs + 2] = np.arange(100) < right
    low, high = figures.good_rates(history)
    assert low == pytest.approx(0.1 * 10 ** -(2 / 40)) and high == pytest.approx(10 ** (1 / 69))
    assert figures.left_of_basin({"a": (0.05, 1), "b": (0.2, 1)}, {"a": history, "b": history}) == [
        "a"
    ]


# The bowl


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("steepness", [1.0, 10.0, 50.0])
def test_the_bowl_holds_below_its_edge_and_not_beyond(momentum, steepness):
    edge = bowl.descend(0.01, momentum, steepness).edge
    ends = [bowl.descend(share * edge, momentum, steepness, steps=3000) for share in (0.97, 1.03)]
    assert np.linalg.norm(ends[0].path[-1]) < 1e-3 < 1e3 < np.linalg.norm(ends[1].path[-1])


def test_many_rates_at_once_end_where_torch_ends():
    rates = np.array([0.01, 0.03, 0.039])
    for momentum in (0.0, 0.9):
        ends = bowl.distances_after(rates, momentum, 50.0, (-4.0, 1.0))
        each = [bowl.descend(rate, momentum, 50.0).path[-1] for rate in rates]
        np.testing.assert_allclose(ends, np.linalg.norm(each, axis=1), rtol=1e-9)


@pytest.fixture(scope="module")
def lab():
    lab = labs.bowl_lab()
    yield lab
    lab.close()


def test_the_lab_answers_both_ends_of_every_control(lab):
    for name, control in lab.controls.items():
        pictures = set()
        for value in (control.options[0], control.options[-1]):
            lab.press("reset")
            lab.set(**{name: value})
            lab.worker.wait()
            assert "Error" not in lab.text
            pictures.add(lab.png)
        assert len(pictures) == 2, name


def test_the_lab_follows_the_pointer(lab):
    assert lab.point(0, 1.1, -0.6, lab.values) == {"flat": 1.0, "steep": -0.5}
    rate = lab.point(2, 0.21, 1.0, lab.values)["learning_rate"]
    assert rate in labs.RATES and 0.9 < rate / 0.21 < 1.1
    assert lab.point(1, 10, 1, lab.values) == {}


@pytest.mark.parametrize(("rate", "side"), [(0.19, "below"), (0.21, "beyond"), (0.2, "exactly")])
def test_the_lab_says_on_which_side_of_the_edge_it_is(rate, side):
    assert f"{side} " in labs.describe_descent(bowl.descend(rate))


def test_the_code_that_the_lab_hands_out_repeats_its_path(lab, shell):
    lab.press("reset")
    lab.worker.wait()
    shell.run_cell("import torch\n" + lab.code(lab.values))
    point = shell.user_ns["point"].detach()
    np.testing.assert_allclose(point, lab.result.path[-1], rtol=1e-3)


# Exercises


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (None, "a function"),
        (plain, "still plain momentum"),
        (lambda w, g, s, rate, beta=0.9: nesterov(w, g, s, rate, 0.9), "use `beta`"),
        (lambda w, g, s, rate, beta=0.9: w - rate * g, "yours differ by"),
        (lambda w, g, s, rate, beta=0.9: w - rat * g, "NameError"),  # noqa: F821
    ],
)
def test_steps_that_are_not_nesterovs(step, said):
    result = exercises.check_nesterov(step)
    assert not result and said in result.message and result.hint


def test_nesterovs_step_passes():
    assert exercises.check_nesterov(nesterov)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda curvatures, momentum: 1 / np.mean(curvatures),
        lambda curvatures, momentum: 2 / max(curvatures),
        lambda curvatures, momentum: 2 / min(curvatures),
        lambda curvatures, momentum: 1 / max(curvatures),
        lambda curvatures, momentum: 2 * (1 - momentum) / max(curvatures),
        lambda curvatures, momentum: -1.0,
        lambda curvatures, momentum: "wide",
    ],
)
def test_stable_rates_that_tempt(wrong):
    assert not exercises.check_largest_stable_rate(wrong)


def test_the_largest_stable_rate_passes():
    right = lambda curvatures, momentum: 2 * (1 + momentum) / max(curvatures)  # noqa: E731
    assert exercises.check_largest_stable_rate(right)


def test_an_experiment_of_ones_own_is_judged_by_its_design():
    narrow = Config(optimizer="sgd", width=8, epochs=1)
    arms = {"plain": narrow, "mine": narrow.replace(momentum=0.5)}
    options = {"tune": {"learning_rate": [0.001, 0.3, 1e4]}, "tuning_seeds": [8, 9]}
    trial = compare(arms, DATA, **options)
    gain = trial.gain("mine")
    verdict = "supported" if gain.low > 0 else "refuted" if gain.high < 0 else "not settled"
    assert exercises.check_my_experiment(trial, verdict)
    assert not exercises.check_my_experiment(trial, None)
    same = compare({"plain": narrow, "mine": narrow}, DATA, **options)
    assert "equal" in exercises.check_my_experiment(same, "not settled").message
