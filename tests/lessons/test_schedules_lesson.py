"""Notebook 04: its instruments measure what they say, its checks judge rightly, its lab races."""

import nbformat
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from course_utils import Config, Dataset, compare, fit, load_mnist
from course_utils.lessons.schedules import exercises, experiments, labs
from course_utils.protocol import Trial
from stored import NOTEBOOKS

MNIST = load_mnist(subset=96, image_size=4, device="cpu")
DATA = Dataset(
    MNIST.train, MNIST.val.first(100), MNIST.test.first(10), "tiny", MNIST.tuning.first(100)
)
TINY = Config(optimizer="sgd", learning_rate=0.1, width=4, epochs=2, batch_size=16)
UPDATES = 12


@pytest.fixture
def cells(shell):
    """The functions that the notebook's cells define: what a learner reads is what is tested."""
    shell.run_cell(
        "import torch\nfrom torch.optim.lr_scheduler import "
        "ConstantLR, CosineAnnealingLR, LinearLR, SequentialLR"
    )
    for cell in nbformat.read(NOTEBOOKS / "04_schedules.ipynb", as_version=4).cells:
        if cell.cell_type == "code" and "show-code" in cell.metadata.get("tags", []):
            shell.run_cell(cell.source)
    return shell.user_ns


# Schedules


def test_the_schedules_in_the_cells_end_near_zero(cells):
    for name in ("cosine", "wsd"):
        rates = experiments.planned_rates(cells[name], 315)
        assert rates.max() == pytest.approx(1) and 0 <= rates[-1] < 0.02
    wsd = experiments.planned_rates(cells["wsd"], 315)
    assert np.allclose(wsd[20:236], 1) and 0 < wsd[0] < 0.1
    assert (np.diff(wsd[:20]) > 0).all() and (np.diff(wsd[240:]) < 0).all()


def test_planned_rates_are_those_that_training_uses():
    for name in ("cosine", "warm_restarts", "one_cycle"):
        used = fit(TINY.replace(schedule=name), DATA, progress=False).learning_rate[0]
        np.testing.assert_allclose(0.1 * experiments.planned_rates(name, UPDATES), used, rtol=1e-4)


def test_plateau_is_told_the_losses_it_is_given():
    falling = experiments.planned_rates("plateau", 20, np.linspace(1, 0, 10))
    stalled = experiments.planned_rates("plateau", 20, [1.0] * 10)
    assert np.allclose(falling, 1) and stalled[-1] < 0.5


# Restarts


def test_a_ridge_is_measured_above_the_line_between_its_ends():
    line = np.linspace(2, 1, 11)
    bump = line + 0.3 * np.eye(11)[2]  # far from half-way
    np.testing.assert_allclose(experiments.ridge_heights(np.array([line, bump])), [0, 0.3])


def test_the_way_between_two_networks_begins_and_ends_with_their_own_losses():
    first, last = (nn.Sequential(nn.Flatten(), nn.Linear(16, 10)) for _ in range(2))
    path = experiments.losses_between(first, last, DATA.train, points=5)
    for network, end in ((first, path[0]), (last, path[-1])):
        loss = functional.cross_entropy(network(DATA.train.images), DATA.train.labels)
        assert end == pytest.approx(loss.item(), rel=1e-5)
    assert (experiments.ridge_heights(path[None]) < 1e-6).all()  # a convex loss has no ridge


def test_snapshots_are_the_networks_on_the_way():
    early, late = experiments.snapshots(TINY, [1, 2], DATA)
    assert len(early) == len(late) == 8
    whole = fit(TINY.seeds(8), DATA, progress=False)
    shorter = fit(TINY.replace(epochs=1).seeds(8), DATA, progress=False)
    for seed in (0, 7):
        for found, right in ((late, whole), (early, shorter)):
            weight = right.model(seed)[1].weight
            torch.testing.assert_close(found[seed][1].weight, weight, rtol=1e-4, atol=1e-5)


# Races


def test_a_race_chooses_on_other_seeds_than_it_judges():
    race = experiments.race(TINY, [0.01, 0.1, 1.0], DATA)
    assert {config.seed for config in race.choosers.configs} == set(range(8, 12))
    race.choosers.val_accuracy[:] = 0.0
    race.choosers.val_accuracy[4:8, 1] = 0.9  # the middle peak reaches it
    race.judges.val_accuracy[:] = 0.9
    assert race.peak(0.8) == 0.1 and not race.flags(0.8)
    np.testing.assert_array_equal(race.epochs(0.8), np.ones(8))
    assert experiments.epochs_saved(race, race, 0.8).value == 0


def test_a_peak_at_the_edge_is_flagged():
    race = experiments.race(TINY, [0.01, 0.1], DATA)
    assert any("that was tried" in flag for flag in race.flags(0.0))


def test_what_chooses_needs_tuning_images():
    with pytest.raises(ValueError, match="tuning images"):
        experiments.tuning_part(Dataset(DATA.train, DATA.val, DATA.test, "none"))


# Warm-up


def test_the_steepest_curvature_is_the_largest_eigenvalue_of_the_hessian():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
    split = DATA.train
    inputs = torch.cat([split.images.flatten(1), torch.ones(len(split), 1)], 1)
    wanted = torch.linalg.eigvalsh(inputs.T @ inputs / len(split)).max().item()
    measured = experiments.steepest_curvature(model, split, rounds=60)
    assert measured == pytest.approx(wanted, rel=1e-3)


def test_the_curvature_is_followed_with_all_images_at_once():
    config = TINY.replace(learning_rate=0.05, epochs=6)
    curvature, history = experiments.curvature_on_the_way(config, DATA, [1, 6])
    assert curvature.shape == (experiments.FOLLOWED, 2) and (curvature > 0).all()
    assert history.step_loss.shape[1] == 6 and (np.diff(history.step_loss, axis=1) < 0).all()


# Averages


def test_an_average_that_keeps_nothing_is_the_training_itself(cells):
    configs = TINY.seeds(3)
    plain = fit(configs, DATA, progress=False)
    same = experiments.fit_averaged(configs, DATA, lambda state, weights: (weights, weights))
    np.testing.assert_array_equal(plain.val_correct, same.val_correct)
    still = experiments.fit_averaged(
        configs, DATA, lambda state, w: cells["exponential_average"](state, w, keep=0.0)
    )
    np.testing.assert_array_equal(plain.val_correct, still.val_correct)


def test_the_averages_by_hand(cells):
    state, one, three = {}, torch.ones(2, 3), 3 * torch.ones(2, 3)
    assert cells["exponential_average"](state, one, keep=0.5)[1].equal(one)
    going, judged = cells["exponential_average"](state, three, keep=0.5)
    assert going.equal(three) and judged.equal(2 * torch.ones(2, 3))
    state = {}
    going, _ = cells["schedule_free"](state, one)
    assert going.equal(one)
    going, judged = cells["schedule_free"](state, one + 2)  # SGD made a step of 2
    torch.testing.assert_close(judged, 2 * one)  # the mean of the fast points 1 and 3
    torch.testing.assert_close(going, 0.1 * 3 * one + 0.9 * 2 * one)


def test_averages_follow_the_stack_when_networks_are_left_behind(cells):
    rates = [0.1, 1e30, 1e31, 1e32]
    configs = [TINY.replace(learning_rate=rate, epochs=4) for rate in rates]
    history = experiments.fit_averaged(configs, DATA, cells["exponential_average"])
    alone = experiments.fit_averaged(configs[:1], DATA, cells["exponential_average"])
    assert history.diverged.tolist() == [False, True, True, True]
    np.testing.assert_array_equal(history.val_correct[0], alone.val_correct[0])


def test_averages_are_compared_as_compare_does():
    rates = [0.01, 0.1, 1.0]
    arms = {
        "constant": (TINY, rates, None),
        "cosine": (TINY.replace(schedule="cosine"), rates, None),
    }
    ours = experiments.compare_averages(arms, DATA)
    theirs = compare(
        {name: config for name, (config, *_) in arms.items()}, DATA, tune={"learning_rate": rates}
    )
    assert isinstance(ours, Trial) and ours.chosen == theirs.chosen and ours.flags == theirs.flags
    assert str(ours.gain("cosine")) == str(theirs.gain("cosine"))


# The lab


@pytest.fixture(scope="module")
def trial():
    arms = {name: TINY.replace(schedule=name) for name in ("constant", "cosine")}
    return compare(arms, DATA, tune={"learning_rate": [0.01, 0.1, 1.0]})


@pytest.fixture(scope="module")
def lab(trial):
    lab = labs.drive_lab(DATA, trial, ["constant", "cosine"], seconds=0.2)
    yield lab
    lab.close()


def test_the_lab_answers_both_ends_of_its_slider(lab):
    pictures = set()
    for rate in (labs.RATES[0], labs.RATES[-1]):
        lab.set(learning_rate=rate)
        lab.worker.wait()
        assert "over cosine" in lab.text
        pictures.add(lab.png)
    assert len(pictures) == 2
    assert len(lab.table(lab.result)) >= 3 and lab.table(lab.result)[0][0] == "drive"


def test_a_change_in_flight_is_driven_and_raced():
    drive = labs.Drive(UPDATES)
    steering = labs.steer(drive, TINY, DATA)
    next(steering)
    for step in range(1, UPDATES):
        steering.send({"learning_rate": 0.01} if step == 6 else None)
    assert np.allclose(drive.rates, [0.1] * 6 + [0.01] * 6)
    assert len(drive.places) == len(drive.accuracy) and drive.places[-1] == UPDATES
    rivals = {"constant": fit(TINY.seeds(8), DATA, progress=False)}
    labs.race(drive, TINY, DATA, rivals)
    assert drive.gains["constant"].seeds == 8

    def steer(run):
        if run.step == 6:
            run.set(learning_rate=0.01)

    by_hand = fit(TINY.seeds(8), DATA, on_step=steer, progress=False)
    assert drive.reached == pytest.approx(by_hand.val_correct.mean())


def test_a_constant_drive_is_the_constant_schedule():
    drive = labs.Drive(UPDATES, rates=[0.1] * UPDATES)
    rivals = {"constant": fit(TINY.seeds(8), DATA, progress=False)}
    labs.race(drive, TINY, DATA, rivals)
    assert drive.gains["constant"].value == 0


def test_the_code_that_the_lab_hands_out_repeats_the_drive(shell):
    drive = labs.Drive(UPDATES, rates=[0.1] * 5 + [0.02] * 7)
    shell.user_ns["small_mnist"] = DATA
    shell.run_cell("from course_utils import Config, accuracy, fit\n" + labs.code_of(drive, TINY))
    labs.race(drive, TINY, DATA, {"same": shell.user_ns["history"]})
    assert drive.gains["same"].value == 0


# Exercises


def by_epoch(epochs, steps_per_epoch, size=30, early=False):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.8)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=size)
    used = []
    for _ in range(epochs):
        used.append(optimizer.param_groups[0]["lr"])
        for _ in range(steps_per_epoch):
            optimizer.step()
        scheduler.step()
        if early:
            used[-1] = optimizer.param_groups[0]["lr"]
    return used


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (None, "a function"),
        (lambda epochs, steps: [0.8], "one rate for each"),
        (lambda epochs, steps: by_epoch(epochs, steps, size=2), "before epoch 30"),
        (lambda epochs, steps: by_epoch(epochs, steps, early=True), "*uses*"),
        (lambda epochs, steps: by_epoch(epochs, steps, size=30 if steps < 16 else 45), "30 should"),
        (lambda epochs, steps: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_rates_that_tempt(function, said):
    result = exercises.check_rates_by_epoch(function)
    assert not result and said in result.message and result.hint


def test_the_right_rates_pass():
    assert exercises.check_rates_by_epoch(by_epoch)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("wsd", "a function"),
        (lambda n, total, up, down: min(1, (n + 1) / up), "ends at 1"),
        (lambda n, total, up, down: min(1, n / up, (total - n) / down), "first update"),
        (lambda n, total, up, down: (total - n) / total, "should be 1"),
        (lambda n, total, up, down: min(1, (n + 1) / up, ((total - n) / down) ** 2), "straight"),
        (lambda n, total, up, down: min(1, (n + 1) / 20, (200 - n) / 50), "another"),
        (lambda n, total, up, down: min(1, 0.05 if n < up else 1, (total - n) / down), "rise"),
    ],
)
def test_multipliers_that_tempt(function, said):
    result = exercises.check_multiplier(function)
    assert not result and said in result.message


def test_the_right_multiplier_passes():
    assert exercises.check_multiplier(
        lambda n, total, up, down: min(1, (n + 1) / up, (total - n) / down)
    )


def test_an_experiment_of_ones_own_is_judged_by_its_design(trial):
    gain = trial.gain("cosine")
    verdict = "supported" if gain.low > 0 else "refuted" if gain.high < 0 else "not settled"
    flagged = any(trial.flags.values())
    assert bool(exercises.check_my_experiment(trial, verdict)) is not flagged
    assert not exercises.check_my_experiment(trial, None)
