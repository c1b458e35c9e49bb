"""Notebook 14: bills and costs add up, the supernet is what it says, mistakes are told apart."""

import functools
import inspect
import json
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

import build_engine_times
from course_utils import make_mlp, optional
from course_utils.files import DATA_FOLDER
from course_utils.lessons.many_machines import (
    costs,
    engine_times,
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


def searched(seconds, pause=0.0, workers=2):
    """A search whose places each train one trial after another, with a pause before each."""
    lengths = np.asarray(seconds, float)
    started = np.empty(len(lengths))
    for place in range(workers):
        ends = np.cumsum(lengths[place::workers] + pause)
        started[place::workers] = ends - lengths[place::workers]
    return engine_times.Search(started, lengths, workers)


def bill_with(seconds, overhead, workers=2):
    overhead = np.array(overhead, float)
    lengths = np.full(len(overhead), float(seconds))
    return engines.Bill(lengths, overhead, workers, searched(lengths, overhead.mean(), workers))


# Bills and the cost model


def test_how_long_a_trial_keeps_its_place():
    # Two places: a trial of 4 s in one; of 1, 1 and 2 s in the other, with pauses of 0.5 and 0.25.
    started, seconds = np.array([10, 10, 11.5, 12.75]), np.array([4, 1, 1, 2])
    kept = engine_times.occupied(started, seconds, places=2)
    np.testing.assert_allclose(kept, [np.nan, np.nan, 1.5, 2.25])
    order = np.array([3, 0, 2, 1])
    np.testing.assert_allclose(
        engine_times.occupied(started[order], seconds[order], places=2), kept[order]
    )
    np.testing.assert_allclose(
        engine_times.occupied(started, seconds, places=2, begun=9), [5, 2, 1.5, 2.25]
    )
    np.testing.assert_allclose(engine_times.occupied([0, 3], [1, 1]), [np.nan, 3])


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


def test_the_model_of_an_engine_takes_its_bill():
    slow, alone = bill_with(0.1, [3.9, 4.0, 4.1, 4.0, 4.0]), bill_with(0.08, np.zeros(5), 1)
    model = engines.model_of(slow, alone, serial=False)
    assert model.overhead == 4.0 and model.serial == 0 and model.slowdown == pytest.approx(1.25)


# Whole searches, of short trials and of long ones


def test_a_search_is_timed_by_the_clocks_of_its_places():
    # One place trains from 2 to 7 s, the other from 4 to 8.5 s; ordered at 0 s.
    started, seconds = np.array([2.0, 4, 5, 6.5]), np.array([2.0, 2, 2, 2])
    kept = engine_times.Search(started, seconds, 2)
    assert sorted(kept.held) == [2.5, 3], "the first in each place does not count"
    assert kept.wall == pytest.approx(5.5 / 2) and kept.rate == pytest.approx(2 / 2.75)
    fresh = engine_times.Search(started, seconds, 2, begun=0.0)
    assert fresh.wall == pytest.approx((7 + 8.5) / 2) and fresh.rate == pytest.approx(4 / 7.75)
    late = engine_times.Search(started + np.array([0, 0.9, 0, 0.9]), seconds, 2)
    assert late.wall == pytest.approx(kept.wall), "a worker that comes late is the engine's start"


def test_what_trainings_cost_each_other_is_inside_the_gain():
    seconds, rng = np.full(8, 1.0), np.random.default_rng(0)
    alone = searched(seconds, workers=1)
    assert engine_times.measured_gain(searched(seconds), alone).value == pytest.approx(2)
    slowed = searched(1.6 * rng.uniform(0.95, 1.05, 8))
    found = engine_times.measured_gain(slowed, alone)
    assert found.value == pytest.approx(2 / 1.6, rel=0.05) and found.low < found.value < found.high
    assert found.unit == "times" and "measured" in found.covers
    bills = {"one process": engines.bill_of(alone), "other": engines.bill_of(slowed)}
    assert engines.gains(bills) == {"other": found}


def pretend(name, dataset, epochs):
    number = len(pretend.begun)
    pretend.begun.append(name)
    if number == pretend.broken_at:
        raise KeyboardInterrupt
    lengths = np.full(build_engine_times.TRIALS[name], 1.0 if name == engine_times.ALONE else 1.25)
    return searched(lengths + 0.01 * number, workers=1 if name == engine_times.ALONE else 2)


def test_a_measurement_that_was_interrupted_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build_engine_times, "search", pretend)
    monkeypatch.setattr(build_engine_times, "version", lambda name: "1.0+cpu")
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    pretend.begun, pretend.broken_at = [], 5
    target, work = tmp_path / "engine_times.json", tmp_path / "work"
    timed = []
    monkeypatch.setattr(build_engine_times, "epochs_for", lambda *given: timed.append(given) or 60)
    with pytest.raises(KeyboardInterrupt):
        build_engine_times.build(target, work, repeats=4)
    assert not target.exists()
    build_engine_times.build(target, work, repeats=4)
    assert len(timed) == 1 and len(pretend.begun) == 6 + 3 * 4, "the first repeat was kept"
    first = pretend.begun[:4]
    assert pretend.begun[6:10] == [*first[1:], first[0]], "another engine is the first"
    found = engine_times.load_engine_times(target)
    assert len(found["repeats"]) == 4 and found["about"]["epochs"] == 60
    assert found["repeats"][0]["one process"]["seconds"] == [1.0, 1.0, 1.0]
    for name, gain in engine_times.stored_gains(target).items():
        assert 1.5 < gain.value < 1.7 and gain.seeds == 4, name
        assert any("are stored" in flag for flag in gain.flags) and "measured" in gain.covers
    build_engine_times.report(target)
    assert "Ray, a process each" in capsys.readouterr().out


def test_the_length_of_a_trial_is_found_by_one_timed_alone(small):
    epochs = build_engine_times.epochs_for(0.05, small)
    assert epochs % build_engine_times.REPORTS == 0 and epochs > 0
    bill = engines.one_process(small, 2, epochs=12, every=2)
    assert len(bill.search.seconds) == 2 and len(bill.training) == 1


def test_a_missing_and_another_file_of_engine_times_say_how_to_get_it_back(tmp_path):
    path = tmp_path / "engine_times.json"
    with pytest.raises(FileNotFoundError, match="engine_times.json is missing.*make engines"):
        engine_times.load_engine_times(path)
    for other in ({"repeats": []}, {"about": {}, "repeats": [{"one process": {}}]}, []):
        path.write_text(json.dumps(other), encoding="utf-8")
        with pytest.raises(ValueError, match="holds other searches.*make engines"):
            engine_times.load_engine_times(path)


@pytest.mark.skipif(
    not (DATA_FOLDER / engine_times.ENGINE_TIMES).exists(), reason="not measured yet"
)
def test_stored_searches_are_whole_and_of_trials_as_long_as_they_say():
    found = engine_times.load_engine_times()
    assert len(found["repeats"]) == build_engine_times.REPEATS
    for repeat in found["repeats"]:
        for name, trials in build_engine_times.TRIALS.items():
            assert len(repeat[name]["seconds"]) >= trials
            assert engine_times.to_search(repeat[name]).wall == pytest.approx(
                repeat[name]["wall"], abs=0.01
            )
        assert np.allclose(
            repeat["one process"]["seconds"][1:], found["about"]["seconds"], rtol=0.25
        )


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
    bill = bill_with(1, [0.0, 0.1, 0.2])
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
        "one process": bill_with(1, np.zeros(6), 1),
        "Optuna, two workers": bill_with(1, [0.01, 0.02, 0.03, 0.01, 0.02, 0.03]),
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
