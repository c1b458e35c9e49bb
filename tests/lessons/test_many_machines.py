"""Notebook 14: bills and costs add up, the supernet is what it says, mistakes are told apart."""

import functools
import inspect
from pathlib import Path

import nbformat
import numpy as np
import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from optuna.trial import TrialState

from course_utils import Estimate, make_mlp, optional
from course_utils.lessons.many_machines import (
    costs,
    engines,
    exercises,
    experiments,
    figures,
    labs,
    supernet,
    worker,
)

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def small():
    return worker.load_small()


# Bills and the cost model


def test_how_long_a_trial_keeps_its_place():
    # Two places: a trial of 4 s in one; of 1, 1 and 2 s in the other, with pauses of 0.5 and 0.25.
    started, seconds = np.array([10, 10, 11.5, 12.75]), np.array([4, 1, 1, 2])
    kept = engines.occupied(started, seconds, places=2)
    np.testing.assert_allclose(kept, [np.nan, np.nan, 1.5, 2.25])
    order = np.array([3, 0, 2, 1])
    np.testing.assert_allclose(
        engines.occupied(started[order], seconds[order], places=2), kept[order]
    )
    np.testing.assert_allclose(
        engines.occupied(started, seconds, places=2, begun=9), [5, 2, 1.5, 2.25]
    )
    np.testing.assert_allclose(engines.occupied([0, 3], [1, 1]), [np.nan, 3])


def test_one_process_pays_little_beside_its_training(small):
    bill = engines.one_process(small, trials=3)
    assert bill.workers == 1 and len(bill.training) == len(bill.overhead) == 2
    assert (bill.overhead >= 0).all() and (bill.training > 0).all()


@given(
    trials=st.integers(1, 10_000),
    seconds=st.floats(0.01, 1e4),
    workers=st.integers(1, 200),
    overhead=st.floats(0, 100),
    start=st.floats(0, 100),
    slowdown=st.floats(1, 3),
)
def test_what_a_search_costs(trials, seconds, workers, overhead, start, slowdown):
    def cost(count=workers, serial=0.0, overhead=overhead, parallel=True):
        engine = costs.Engine(overhead, serial, start, slowdown, parallel)
        return costs.search_seconds(trials, seconds, count, engine)

    assert cost() >= start + overhead + seconds * (1 - 1e-9)
    assert cost(2 * workers) <= cost() <= cost(overhead=overhead + 1)
    assert cost(serial=1.0) >= trials and cost(serial=1.0) >= cost()
    assert cost(parallel=False) == cost(1)
    assert cost(trials) == pytest.approx(start + overhead + seconds * slowdown)


def test_no_workers_no_search():
    with pytest.raises(ValueError, match="take 1 or more"):
        costs.search_seconds(10, 1.0, 0, costs.Engine())


def test_people_read_durations():
    said = [costs.duration(seconds) for seconds in (12, 180, 18_720, 700_000)]
    assert said == ["12 s", "3 min", "5.2 h", "8.1 days"]


def test_long_trials_make_all_engines_alike_and_short_ones_do_not():
    slow = engines.Bill(np.full(5, 0.1), np.array([3.9, 4.0, 4.1, 4.0, 4.0]), 2)
    short, long = engines.gain(slow, 0.1), engines.gain(slow, 1000.0)
    assert short.value == pytest.approx(0.2 / 4.1) and 1.99 < long.value < 2
    assert short.low < short.value < short.high and isinstance(short, Estimate)
    model = engines.model_of(slow, engines.Bill(np.full(5, 0.08), np.zeros(5), 1), serial=False)
    assert model.overhead == 4.0 and model.serial == 0 and model.slowdown == pytest.approx(1.25)


# Seeds


def test_a_seed_decides_what_one_thread_asks_and_not_what_two_ask():
    once, twice = experiments.asked_twice(1)
    assert once == twice
    once, twice = experiments.asked_twice(2)
    assert not set(once) & set(twice)


def test_a_search_on_the_bank_repeats_itself_and_finds_something():
    found = experiments.search_on_bank("random", at_once=4, trials=12, seeds=2)
    np.testing.assert_array_equal(
        found, experiments.search_on_bank("random", at_once=4, trials=12, seeds=2)
    )
    assert found.shape == (2,) and (found > 0.5).all() and (found < 1).all()
    with pytest.raises(ValueError, match="'grid'"):
        experiments.search_on_bank("grid")


# The supernet


@pytest.mark.parametrize("architecture", supernet.ARCHITECTURES)
def test_a_candidate_of_the_supernet_is_the_network_it_names(architecture):
    width, activation, depth = architecture
    torch.manual_seed(0)
    shared = supernet.Supernet(196).eval()
    shared.architecture = architecture
    plain = make_mlp(196, width=width, depth=depth, activation=activation)
    layers = [module for module in plain.modules() if hasattr(module, "weight")]
    parts = (
        [shared.first, shared.second, shared.head] if depth == 2 else [shared.first, shared.head]
    )
    for layer, wide in zip(layers, parts, strict=True):
        rows, columns = layer.weight.shape
        layer.weight.data, layer.bias.data = (
            wide.weight.data[:rows, :columns],
            wide.bias.data[:rows],
        )
    images = torch.rand(5, 1, 14, 14)
    torch.testing.assert_close(shared(images), plain(images))


def test_training_draws_every_candidate_and_evaluation_none():
    torch.manual_seed(0)
    shared, image = supernet.Supernet(196, seed=1), torch.rand(1, 1, 14, 14)
    drawn = {tuple(shared(image).flatten().tolist()) for _ in range(300)}
    assert len(drawn) == len(supernet.ARCHITECTURES)
    shared.eval()
    assert len({tuple(shared(image).flatten().tolist()) for _ in range(20)}) == 1


def test_rankings_have_a_row_for_each_candidate_and_a_column_for_each_seed(small):
    for train in (supernet.train_shared, supernet.train_alone):
        before = torch.random.get_rng_state()
        found = train(small, 1, [0.003, 0.03], [0, 1])
        assert found.shape == (2, 12, 2) and (found >= 0).all() and (found <= 1).all()
        assert torch.equal(before, torch.random.get_rng_state())


def test_agreement_is_one_for_the_same_order_and_never_looks_at_its_own_seed():
    alone = np.arange(12.0)[:, None] + np.zeros((12, 3))
    assert supernet.agreement(alone, alone).tolist() == [1, 1, 1]
    assert supernet.agreement(-alone, alone).tolist() == [-1, -1, -1]
    assert supernet.agreement(np.ones((12, 1)), alone).tolist() == [0, 0, 0]
    spoiled = alone.copy()
    spoiled[:, 0] = -spoiled[:, 0]
    assert supernet.agreement(alone, spoiled)[0] == 1
    counted = supernet.count_weights()
    assert counted.shape == (12, 1) and counted[0, 0] == 196 * 4 + 4 + 4 * 10 + 10


# Figures and lab


def test_the_timeline_shows_a_cross_where_a_worker_was_killed():
    study = exercises.orphaned_study()
    study.tell(2, state=TrialState.FAIL)
    study.set_user_attr("killed 2", study.trials[2].datetime_start.timestamp() + 0.001)
    axes = Figure().subplots()
    figures.plot_timeline(study, axes)
    assert len(axes.patches) == 5
    assert sum(line.get_marker() == "X" for line in axes.lines) == 1
    assert [text.get_text() for text in axes.texts] == ["killed", "noticed"]


def test_a_bill_is_drawn_for_each_engine():
    axes = Figure().subplots()
    bill = engines.Bill(np.ones(3), np.array([0.0, 0.1, 0.2]), 2)
    figures.plot_bills({"a": bill, "b": bill}, axes)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]


def test_the_stored_picture_is_small_and_says_what_it_shows():
    picture = figures.picture_of_dashboard()
    assert picture.data.startswith(b"\x89PNG") and len(picture.data) < 400_000
    assert repr(picture) == picture.alt == figures.DASHBOARD


@pytest.fixture(scope="module")
def lab():
    lab = labs.cost_lab()
    yield lab
    lab.close()


@pytest.mark.parametrize("name", ["trials", "seconds", "workers"])
def test_the_lab_draws_other_pictures_at_both_ends(lab, name, see):
    options = lab.controls[name].options
    (first, said), (last, other) = (see(lab, **{name: options[end]}) for end in (0, -1))
    assert first != last and said != other
    assert all(engine in said for engine in costs.TYPICAL)


# What may be missing


def test_cells_that_need_ray_say_so_and_do_nothing_else(monkeypatch, shell, capsys):
    monkeypatch.setattr(optional, "find_spec", lambda name: None)
    bills = {
        "one process": engines.Bill(np.ones(3), np.zeros(3), 1),
        "Optuna, two workers": engines.Bill(np.ones(3), np.array([0.01, 0.02, 0.03]), 2),
    }
    shell.user_ns.update(is_here=optional.is_here, bills=bills, engines=engines, worker=worker)
    shell.user_ns.update(inspect=inspect, figures=figures)
    cells = [
        cell.source
        for cell in nbformat.read(NOTEBOOKS / "14_many_machines.ipynb", 4).cells
        if "is_here(" in cell.source and "optuna_workers(" not in cell.source
    ]
    assert len(cells) == 5
    for source in cells:
        assert shell.run_cell(source).success
        assert optional.INSTALL in capsys.readouterr().out


# Exercises


def unfinished(study):
    return study.get_trials(states=(TrialState.RUNNING,))


def lose_them(study):
    for trial in unfinished(study):
        study.tell(trial.number, state=TrialState.FAIL)


def make_values_up(study):
    for trial in unfinished(study):
        study.tell(trial.number, 0.0)
        study.enqueue_trial(trial.params)


def queue_everything(study):
    for trial in study.trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)


def queue_every_failure(study):
    lose_them(study)
    for trial in study.get_trials(states=(TrialState.FAIL,)):
        study.enqueue_trial(trial.params)


def queue_only(study):
    for trial in unfinished(study):
        study.enqueue_trial(trial.params)


def rescue_in_two_loops(study):
    orphans = unfinished(study)
    lose_them(study)
    for trial in orphans:
        study.enqueue_trial(trial.params, user_attrs={"repeats": trial.number})


def test_right_and_wrong_rescues():
    assert exercises.check_rescue(rescue_in_two_loops)
    wrong = [lose_them, make_values_up, queue_everything, queue_every_failure, queue_only]
    for each in (*wrong, lambda study: None, None):
        assert not exercises.check_rescue(each)


def asha(reports, rungs, reduction, first_passes=True, before=True, between=False, ended=True):
    seen, stopped = {}, set()
    for trial, epoch, value in reports:
        if (ended and trial in stopped) or (epoch not in rungs and not between):
            continue
        earlier = seen.setdefault(epoch, [])
        rivals = earlier if before else [*earlier, value]
        cutoff = np.percentile(rivals, 100 * (1 - 1 / reduction)) if rivals else np.inf
        if value < cutoff and (rivals or not first_passes):
            stopped.add(trial)
        earlier.append(value)
    return stopped


def test_right_and_wrong_asha():
    assert exercises.check_stops(asha)
    for change in (
        {"first_passes": False},
        {"before": False},
        {"between": True},
        {"ended": False},
    ):
        assert not exercises.check_stops(functools.partial(asha, **change)), change
    assert not exercises.check_stops(lambda *_: set()) and not exercises.check_stops(None)


def side(found, **changes):
    settings = {"sampler": "tpe", "at_once": 1, "trials": 48, "seeds": 8} | changes
    return {"settings": settings, "found": np.asarray(found, float)}


WORSE, BETTER = np.linspace(0.80, 0.81, 8), np.linspace(0.90, 0.915, 8)


@pytest.mark.parametrize(
    ("first", "second", "verdict", "said"),
    [
        (side(WORSE, at_once=16), side(BETTER), "supported", None),
        (side(BETTER), side(WORSE, sampler="random"), "refuted", None),
        (side(WORSE), side(WORSE[::-1], at_once=4), "not settled", None),
        (side(WORSE), side(BETTER, at_once=4), "refuted", "look at where"),
        (side(WORSE), side(BETTER, at_once=4, sampler="random"), "supported", "differ in one"),
        (side(WORSE), side(BETTER), "supported", "these differ in nothing"),
        (side(WORSE), side(BETTER, trials=32), "supported", "number of trials"),
        (side(WORSE[:4]), side(BETTER[:4], at_once=4), "supported", "8 seeds"),
        (WORSE, BETTER, "supported", "run_side"),
    ],
)
def test_a_search_is_judged_by_its_design_and_its_verdict(first, second, verdict, said):
    result = exercises.check_my_search(first, second, verdict)
    assert bool(result) == (said is None), result.message
    assert said is None or said in result.message


def test_settings_that_are_not_named_are_the_usual_ones():
    found = np.zeros(8)
    first, second = {"settings": {"at_once": 16}, "found": found}, {"settings": {}, "found": found}
    assert exercises.check_my_search(first, second, "not settled")
    told = exercises.check_my_search(first | {"settings": {"at_once": 1}}, second, "not settled")
    assert "these differ in nothing" in told.message


def test_what_an_orphaned_study_holds():
    before = optuna.logging.get_verbosity()
    states = [trial.state for trial in exercises.orphaned_study().trials]
    assert states == [TrialState.COMPLETE] * 2 + [TrialState.RUNNING] * 3
    assert optuna.logging.get_verbosity() == before  # a learner's setting stays
