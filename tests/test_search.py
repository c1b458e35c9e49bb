"""Search: real Optuna on the real engine; pruning saves epochs, studies resume."""

import optuna
import pytest

from course_utils import Config, load_mnist
from course_utils.search import epochs_spent, make_study, run_study


@pytest.fixture(scope="module")
def digits():
    return load_mnist(subset=300, image_size=7)


def suggest(trial):
    return Config(learning_rate=trial.suggest_float("learning_rate", 1e-4, 1.0, log=True), width=8, epochs=6)


def test_every_trial_is_accounted_for(digits):
    study = run_study(make_study(), suggest, digits, trials=23, batch=8)
    assert len(study.trials) == 23
    assert all(trial.state.is_finished() for trial in study.trials)
    assert study.best_value == max(trial.value for trial in study.get_trials(states=[optuna.trial.TrialState.COMPLETE]))


def test_a_trial_s_reports_are_the_engine_s_curve(digits):
    study = run_study(make_study(pruner=optuna.pruners.NopPruner()), suggest, digits, trials=4, batch=4)
    for trial in study.trials:
        assert sorted(trial.intermediate_values) == [1, 2, 3, 4, 5, 6]
        assert trial.value == pytest.approx(trial.intermediate_values[6], abs=1e-6)
        assert trial.user_attrs["config"]["width"] == "8"


def test_pruning_saves_epochs_and_keeps_its_reports(digits):
    pruned = run_study(make_study(pruner=optuna.pruners.ThresholdPruner(lower=0.99)), suggest, digits, trials=4, batch=4)
    assert [trial.state.name for trial in pruned.trials] == ["PRUNED"] * 4
    assert epochs_spent(pruned) == 4
    kept = run_study(make_study(pruner=optuna.pruners.NopPruner()), suggest, digits, trials=4, batch=4)
    assert epochs_spent(kept) == 24


def test_a_diverging_trial_counts_as_chance(digits):
    study = make_study()
    run_study(study, lambda trial: Config(optimizer="sgd", activation="identity", learning_rate=1e30, width=8, epochs=2),
              digits, trials=1)
    assert study.trials[0].value == pytest.approx(0.1, abs=0.03)


def test_a_stored_study_is_taken_up_again(digits, tmp_path):
    storage = f"sqlite:///{(tmp_path / 'study.db').as_posix()}"
    run_study(make_study(storage=storage, name="resumed"), suggest, digits, trials=3)
    again = run_study(make_study(storage=storage, name="resumed"), suggest, digits, trials=2)
    assert len(again.trials) == 5


def test_nonsense_is_refused(digits):
    with pytest.raises(ValueError, match="trials, batch: got 0"):
        run_study(make_study(), suggest, digits, trials=0)
