"""Search: real Optuna on the real engine. Pruning saves epochs, studies resume, none is left open."""

import logging
from collections import Counter

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from course_utils import Config, fit, load_mnist
from course_utils.search import close_unfinished, epochs_spent, make_study, run_study, stoppable

NO_PRUNER = optuna.pruners.NopPruner()


@pytest.fixture(scope="module")
def digits():
    return load_mnist(subset=300, image_size=7)


def suggest(trial):
    rate = trial.suggest_float("learning_rate", 1e-4, 1.0, log=True)
    return Config(learning_rate=rate, width=8, epochs=6)


def suggest_from_grid(trial):
    rate = trial.suggest_float("learning_rate", 1e-4, 1.0)
    return Config(learning_rate=rate, seed=trial.suggest_int("seed", 0, 9), width=8, epochs=1)


def grid_study(rates=3, seeds=2, **options):
    space = {"learning_rate": [0.001, 0.01, 0.1][:rates], "seed": list(range(seeds))}
    return make_study(optuna.samplers.GridSampler(space, seed=0), **options)


def states(study):
    return Counter(trial.state.name for trial in study.trials)


def storage(tmp_path):
    return f"sqlite:///{(tmp_path / 'study.db').as_posix()}"


def test_every_trial_is_accounted_for(digits):
    study = run_study(make_study(), suggest, digits, trials=23, batch=8)
    assert len(study.trials) == 23
    assert all(trial.state.is_finished() for trial in study.trials)
    complete = study.get_trials(states=[TrialState.COMPLETE])
    assert study.best_value == max(trial.value for trial in complete)


def test_a_trial_s_reports_are_the_engine_s_curve(digits):
    study = run_study(make_study(pruner=NO_PRUNER), suggest, digits, trials=4, batch=4)
    for trial in study.trials:
        assert sorted(trial.intermediate_values) == [1, 2, 3, 4, 5, 6]
        assert trial.value == pytest.approx(trial.intermediate_values[6], abs=1e-6)
        assert trial.user_attrs["config"]["width"] == "8"


def test_pruning_saves_epochs_and_keeps_its_reports(digits):
    strict = optuna.pruners.ThresholdPruner(lower=0.99)
    pruned = run_study(make_study(pruner=strict), suggest, digits, trials=4, batch=4)
    assert states(pruned) == {"PRUNED": 4}
    assert epochs_spent(pruned) == 4
    kept = run_study(make_study(pruner=NO_PRUNER), suggest, digits, trials=4, batch=4)
    assert epochs_spent(kept) == 24


def test_a_diverging_trial_counts_as_chance(digits):
    wild = Config(
        optimizer="sgd", activation="identity", learning_rate=1e30, width=8, epochs=2
    )  # which diverges
    study = run_study(make_study(), lambda trial: wild, digits, trials=1)
    assert study.trials[0].value == pytest.approx(0.1, abs=0.03)


def test_a_stored_study_is_taken_up_again(digits, tmp_path):
    where = {"storage": storage(tmp_path), "name": "resumed"}
    run_study(make_study(**where), suggest, digits, trials=3)
    again = run_study(make_study(**where), suggest, digits, trials=2)
    assert len(again.trials) == 5


def test_nonsense_is_refused(digits):
    with pytest.raises(ValueError, match="trials, batch: got 0"):
        run_study(make_study(), suggest, digits, trials=0)
    study = make_study()
    with pytest.raises(TypeError, match="suggest: returned a dict, takes a Config"):
        run_study(study, lambda trial: {}, digits, trials=2)
    assert states(study) == {"FAIL": 1}


@pytest.mark.parametrize("directions", [["minimize"], ["maximize", "minimize"]])
def test_a_study_that_does_not_maximise_is_refused_before_any_training(digits, directions):
    study = optuna.create_study(directions=directions)
    with pytest.raises(ValueError, match="minimizes, but accuracy is to be maximised"):
        run_study(study, suggest, digits)
    assert not study.trials


def test_a_stored_study_that_minimises_is_refused_as_well(digits, tmp_path):
    optuna.create_study(direction="minimize", storage=storage(tmp_path), study_name="down")
    with pytest.raises(ValueError, match="'down' minimizes"):
        make_study(storage=storage(tmp_path), name="down")


# How a search may end ----------------------------------------------------------------------------


@given(
    rates=st.integers(1, 3),
    seeds=st.integers(1, 3),
    trials=st.integers(1, 12),
    batch=st.integers(1, 12),
)
@settings(max_examples=15)
def test_a_grid_is_walked_once_and_then_the_search_returns(digits, rates, seeds, trials, batch):
    study = grid_study(rates, seeds, pruner=NO_PRUNER)
    run_study(study, suggest_from_grid, digits, trials=trials, batch=batch)
    points = [tuple(trial.params.values()) for trial in study.trials]
    assert len(set(points)) == len(points) == min(trials, rates * seeds)
    assert states(study) == {"COMPLETE": len(points)}


@pytest.mark.parametrize("trials", [6, 9])
@pytest.mark.parametrize("batch", [2, 4, 10])
@pytest.mark.parametrize(
    "make",
    [
        optuna.samplers.BruteForceSampler,
        lambda: optuna.samplers.PartialFixedSampler({"seed": 1}, grid_study().sampler),
        lambda: optuna.samplers.PartialFixedSampler({"seed": 1}, optuna.samplers.TPESampler(0)),
    ],
    ids=["brute force", "part of a grid", "part of TPE"],
)
def test_samplers_that_know_an_end_leave_nothing_running(digits, make, batch, trials):
    def six(trial):
        rate = trial.suggest_categorical("learning_rate", [0.001, 0.01, 0.1])
        return Config(learning_rate=rate, seed=trial.suggest_int("seed", 0, 1), epochs=1, width=4)

    study = make_study(make(), pruner=NO_PRUNER)
    run_study(study, six, digits, trials=trials, batch=batch)
    assert set(states(study)) == {"COMPLETE"} and len(study.trials) <= trials


def test_an_exhausted_grid_taken_up_again_trains_nothing(digits, tmp_path):
    where = {"storage": storage(tmp_path), "name": "grid", "pruner": NO_PRUNER}
    run_study(grid_study(**where), suggest_from_grid, digits, trials=4)
    run_study(grid_study(**where), suggest_from_grid, digits, trials=50)
    again = run_study(grid_study(**where), suggest_from_grid, digits, trials=50)
    assert states(again) == {"COMPLETE": 6}


@pytest.mark.parametrize("who", ["suggest", "callback", "epoch"])
def test_whoever_stops_the_study_ends_the_search_without_an_error(digits, who):
    study = make_study(pruner=NO_PRUNER)

    def stopping(trial):
        if who == "suggest" and trial.number == 4:
            trial.study.stop()
        return suggest(trial)

    last = optuna.study.MaxTrialsCallback(3) if who == "callback" else lambda *_: None
    on_epoch = (lambda run: study.stop()) if who == "epoch" else None
    options = {"callbacks": [last], "on_epoch": on_epoch}
    run_study(study, stopping, digits, trials=50, batch=3, **options)
    assert states(study) == {"COMPLETE": 5 if who == "suggest" else 3}
    with pytest.raises(RuntimeError, match="Study.stop"):
        study.stop()  # Optuna's own again


def test_callbacks_see_every_trial_pruned_ones_included(digits):
    def choosy(trial):
        if trial.number % 2:
            raise optuna.TrialPruned
        return suggest(trial)

    seen = []
    study = make_study(pruner=NO_PRUNER)
    note = lambda study, trial: seen.append((trial.number, trial.state.name))  # noqa: E731
    run_study(study, choosy, digits, trials=4, batch=2, callbacks=[note])
    assert sorted(seen) == [(0, "COMPLETE"), (1, "PRUNED"), (2, "COMPLETE"), (3, "PRUNED")]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["suggest", "training", "callback"])
def test_what_fails_is_told_and_raised_and_nothing_is_left_running(digits, where, error):
    study = make_study(pruner=NO_PRUNER)

    def fail(place, number=4):
        if place == where and number == 4:
            raise error("on purpose")

    def failing(trial):
        fail("suggest", trial.number)
        return suggest(trial)

    with pytest.raises(error, match="on purpose"):
        run_study(
            study,
            failing,
            digits,
            trials=9,
            batch=3,
            on_epoch=lambda run: fail("training", len(study.trials) - 2),
            callbacks=[lambda study, trial: fail("callback", trial.number)],
        )
    expected = {"suggest": (3, 2), "training": (3, 3), "callback": (5, 1)}[where]
    assert states(study) == dict(zip(("COMPLETE", "FAIL"), expected, strict=True))
    run_study(study, suggest, digits, trials=1)  # and the study is still of use
    assert len(study.trials) == sum(expected) + 1


def test_trials_left_running_by_a_killed_process_are_closed(tmp_path):
    study = make_study(storage=storage(tmp_path), name="cut")
    study.tell(study.ask(), 0.5)
    study.ask()
    assert close_unfinished(study) == 1 and close_unfinished(study) == 0
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"]


def test_the_last_point_of_a_grid_left_running_is_closed_without_an_error():
    study = grid_study(1, 1)
    study.ask()
    assert close_unfinished(study) == 1


# What a search leaves alone, and what it must not depend on ---------------------------------------


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.ERROR])
def test_optuna_is_as_talkative_afterwards_as_before(digits, level):
    before = optuna.logging.get_verbosity()
    try:
        optuna.logging.set_verbosity(level)
        run_study(make_study(), suggest, digits, trials=1)
        assert optuna.logging.get_verbosity() == level
        with pytest.raises(ValueError), stoppable(make_study()):
            raise ValueError
        assert optuna.logging.get_verbosity() == level
    finally:
        optuna.logging.set_verbosity(before)


def test_making_a_study_says_nothing(capfd, tmp_path):
    make_study(storage=storage(tmp_path), name="quiet")
    make_study(storage=storage(tmp_path), name="quiet")
    assert "study" not in capfd.readouterr().err


def test_a_config_decides_its_run_from_any_thread(digits):
    configs = [Config(width=8, epochs=2, dropout=0.3, seed=seed) for seed in range(3)]

    def objective(trial):
        config = configs[trial.suggest_int("which", 0, 2)]
        return fit(config, digits, progress=False).val_correct.mean()

    study = make_study(optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=24, n_jobs=2)
    alone = [fit(config, digits, progress=False).val_correct.mean() for config in configs]
    assert len(set(alone)) > 1
    for trial in study.trials:
        assert trial.value == alone[trial.params["which"]]


def test_the_same_search_finds_the_same(digits):
    first, second = (run_study(make_study(), suggest, digits, trials=12, batch=4) for _ in range(2))
    assert [trial.params for trial in first.trials] == [trial.params for trial in second.trials]
    values = [[trial.value for trial in study.trials] for study in (first, second)]
    np.testing.assert_array_equal(*values)
