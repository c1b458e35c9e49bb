"""Notebook 02: its helpers measure what they say, its exercises judge rightly, its labs survive every extreme."""

import nbformat
import numpy as np
import pytest
import torch
from torch import nn

from course_utils import Config, Split, checks, fit, load_mnist, make_mlp
from course_utils.engine.schedules import SCHEDULES
from course_utils.topics import t02
from run_notebooks import NOTEBOOKS

STEM = "02_learning_rate_schedules"


@pytest.fixture(autouse=True)
def no_earlier_tries():
    checks._tries.clear()


@pytest.fixture(scope="module")
def small():
    return load_mnist(subset=200, image_size=7, device="cpu")


def sources(path, tag):
    notebook = nbformat.read(NOTEBOOKS / path, as_version=4)
    return [cell.source for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


# ---- exercises ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["exercise", "solution"])
def test_every_starter_fails_helpfully_and_every_solution_passes(tag, shell):
    assert shell.run_cell("import numpy as np\nimport torch\nfrom course_utils.topics import t02").success
    cells = sources({"exercise": f"{STEM}.ipynb", "solution": f"solutions/{STEM}_solutions.ipynb"}[tag], tag)
    assert len(cells) == 4
    for number, source in enumerate(cells, start=1):
        outcome = shell.run_cell(source)
        assert outcome.success and outcome.result.exercise == f"02.{number}"
        assert bool(outcome.result) == (tag == "solution"), outcome.result
        assert tag == "solution" or "Hint:" in outcome.result.message


def test_rates_by_epoch_without_a_scheduler_are_as_right():
    assert t02.check_rates_by_epoch(lambda epochs, steps: [0.8 / 10 ** (epoch // 30) for epoch in range(epochs)])


@pytest.mark.parametrize(("wrong", "complaint"), [
    (None, "a function"), (lambda epochs, steps: [0.8] * epochs, "90 epochs|epochs 0 to 29"),
    (lambda epochs, steps: [0.8] * (epochs * steps), "one rate for each epoch"),
    (lambda epochs, steps: [0.8 / 10 ** ((epoch + 1) // 30) for epoch in range(epochs)], "before the scheduler moves on"),
    (lambda epochs, steps: 1 / 0, "one rate for each epoch")])
def test_rates_by_epoch_that_tempt(wrong, complaint):
    result = t02.check_rates_by_epoch(wrong)
    assert not result
    assert any(part in result.message for part in complaint.split("|"))


@pytest.mark.parametrize("wrong", [
    lambda curvatures, momentum: 2 / max(curvatures), lambda curvatures, momentum: 2 / min(curvatures),
    lambda curvatures, momentum: 1 / max(curvatures), lambda curvatures, momentum: 2 * (1 - momentum) / max(curvatures),
    lambda curvatures, momentum: -1.0, lambda curvatures, momentum: "2"])
def test_stable_rates_that_tempt(wrong):
    assert not t02.check_largest_stable_rate(wrong)


@pytest.mark.parametrize("right", [
    lambda rates, losses: rates[np.isfinite(losses)][t02.smoothed(losses[np.isfinite(losses)]).argmin()] / 6,
    lambda rates, losses: rates[np.convolve(np.nan_to_num(losses, nan=99), np.ones(13) / 13, "valid").argmin() + 6] / 10])
def test_any_sound_picker_passes(right):
    assert t02.check_pick(right)


@pytest.mark.parametrize("wrong", [
    lambda rates, losses: 0.05, lambda rates, losses: rates[np.nanargmin(losses)],
    lambda rates, losses: rates[np.nanargmin(losses)] / 10, lambda rates, losses: rates[np.argmin(losses)] / 10,
    lambda rates, losses: rates[np.argmin(np.gradient(losses))], lambda rates, losses: np.nan])
def test_pickers_that_tempt(wrong):
    assert not t02.check_pick(wrong)


def own_peak(score, schedule, peaks, seeds):
    return max(peaks, key=lambda peak: np.mean([score(schedule, peak, seed) for seed in seeds]))


def comparison(tune, judge):
    def compare(first, second, peaks, score):
        a, b = (own_peak(score, name, peaks, tune) for name in (first, second))
        return np.mean([score(second, b, seed) - score(first, a, seed) for seed in judge])

    return compare


def test_a_fair_comparison_passes_and_unfair_ones_do_not():
    held, used = range(8, 12), range(8)
    assert t02.check_compare(comparison(held, used))
    for tune, judge in ((used, used), (held, range(12)), (range(12), used), (held, held)):
        assert not t02.check_compare(comparison(tune, judge)), (tune, judge)
    assert not t02.check_compare(lambda first, second, peaks, score: 0.02)


# ---- helpers --------------------------------------------------------------------------------------------------------


def test_the_steepest_curvature_is_the_largest_eigenvalue_of_the_hessian():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).double()
    split = Split(torch.rand(30, 1, 2, 2, dtype=torch.float64), torch.arange(30) % 3)
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])

    def loss(vector):
        logits = split.images.flatten(1) @ vector[:12].view(3, 4).T + vector[12:]
        return nn.functional.cross_entropy(logits, split.labels)

    wanted = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat)).max().item()
    assert t02.steepest_curvature(model, split, rounds=60) == pytest.approx(wanted, rel=1e-3)


def test_the_line_between_two_networks_begins_and_ends_at_them(small):
    first, second = make_mlp(49, 8), make_mlp(49, 8)
    losses = t02.losses_between(first, second, small.train, points=5)
    ends = [nn.functional.cross_entropy(model(small.train.images), small.train.labels).item() for model in (first, second)]
    assert losses[[0, -1]] == pytest.approx(ends, rel=1e-5)
    assert t02.losses_between(first, first, small.train, points=3) == pytest.approx([ends[0]] * 3, rel=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_planned_rates_are_those_that_training_uses(schedule, small):
    config = Config(schedule=schedule, learning_rate=0.3, optimizer="sgd", width=4, epochs=3, batch_size=20)
    history = fit(config, small, progress=False)
    planned = t02.planned_rates(schedule, 30, 0.3, val_losses=list(history.val_loss[0]))
    np.testing.assert_allclose(planned, history.learning_rate[0], rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("steepness", [2.0, 10.0, 50.0])
def test_the_bowl_holds_below_its_edge_and_not_beyond(momentum, steepness):
    edge = t02.descend(0.1, momentum, steepness).edge
    near, far = (abs(t02.descend(share * edge, momentum, steepness, steps=2000).path[-1, 1]) for share in (0.97, 1.03))
    assert near < 1e-3 < 1e3 < far


def test_basin_widths_are_counted_seed_by_seed():
    configs = [Config(learning_rate=rate, seed=seed) for seed in (1, 0) for rate in (0.01, 0.1, 1.0)]
    digits = load_mnist(subset=50, image_size=2, device="cpu")
    history = fit([config.replace(epochs=1, width=1) for config in configs], digits, progress=False)
    history.val_correct[:] = False
    for row, share in enumerate([0.9, 0.9, 0.5, 0.2, 0.9, 0.885]):
        history.val_correct[row, : round(1000 * share)] = True
    assert t02.basin_widths(history) == pytest.approx([1.0, 1.0])
    assert t02.basin_widths(history, within=0.01) == pytest.approx([0.0, 1.0])


# ---- labs -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bowl", "schedule"])
def test_the_labs_survive_their_extremes(kind, small):
    lab = t02.bowl_lab() if kind == "bowl" else t02.schedule_lab(small, epochs=3)
    seen = {lab.picture.value}
    for name, control in lab.controls.items():
        values = [value for _, value in control.options]
        for value in values if name == "schedule" else (values[0], values[-1]):
            control.value = value
            assert not lab.status.value.count("Error"), lab.status.value
            assert lab.picture.value not in seen or len(values) == 1 or value == lab._defaults[name]
            seen.add(lab.picture.value)
    lab.reset()
    assert lab.values == lab._defaults


def test_the_bowl_says_on_which_side_of_the_edge_it_is():
    assert "below the edge at 0.2" in t02.describe_descent(t02.descend(0.19))
    assert "beyond the edge at 0.2" in t02.describe_descent(t02.descend(0.21))
    assert "exactly at the edge" in t02.describe_descent(t02.descend(0.2))
