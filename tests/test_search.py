"""Search: real Optuna on the real engine; pruning saves epochs, studies resume."""

import numpy as np
import optuna
import pytest

from course_utils import Config, load_mnist
from course_utils.bank import Bank
from course_utils.search import Replay, bank_table, close_unfinished, epochs_spent, make_study, replay, run_study


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


# ---- replays on a table ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bank():
    axes = {"learning_rate": (0.001, 0.01, 0.1), "dropout": (0.0, 0.5)}
    a, b, seed, epoch = np.indices((3, 2, 2, 4))
    score = 0.9 - 0.1 * abs(a - 1) - 0.05 * b + 0.004 * seed - 0.1 / (1 + epoch)
    return Bank(axes, (0, 1), 4, {}, {"val_accuracy": score.astype(np.float32)})


def test_the_table_is_the_bank(bank):
    table = bank_table(bank)
    assert table.shape == (6, 2, 4)
    entry = np.ravel_multi_index(bank.index({"learning_rate": 0.1, "dropout": 0.5}), bank.shape)
    np.testing.assert_allclose(table[entry, 1], bank.curve({"learning_rate": 0.1, "dropout": 0.5}, 1))


def test_a_replay_sees_what_the_bank_holds(bank):
    table, found = bank_table(bank), replay(bank, optuna.samplers.RandomSampler(seed=0), trials=12)
    assert len(found.entry) == 12 and found.spent[-1] == 48
    assert all(score in table[entry, :, -1] for entry, score in zip(found.entry, found.score, strict=True))
    again = replay(bank, optuna.samplers.RandomSampler(seed=0), trials=12)
    assert (found.entry == again.entry).all() and (found.score == again.score).all()


def test_pruned_looks_cost_less_and_never_lead(bank):
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=0)
    found = replay(bank, optuna.samplers.RandomSampler(seed=1), pruner, trials=30)
    assert 1 in found.epochs and found.spent[-1] < 120
    complete = set(found.entry[found.epochs == 4])
    assert set(found.leader) <= complete


def test_budget_fixed_and_idle_knobs(bank):
    found = replay(bank, optuna.samplers.RandomSampler(seed=0), trials=100, budget=20, fixed={"dropout": 0.5}, idle=2)
    assert found.spent[-1] == 20 and (found.entry % 2 == 1).all()


def test_the_leader_is_the_best_of_those_trained_longest():
    found = Replay(entry=[3, 1, 2, 0], epochs=[1, 1, 3, 3], score=[0.5, 0.9, 0.4, 0.6], cost=[1, 1, 2, 2])
    assert found.leader.tolist() == [3, 1, 2, 0]
    truth = np.array([0.7, 0.2, 0.5, 0.9])
    np.testing.assert_allclose(found.regret(truth), [0, 0.7, 0.4, 0.2])
    np.testing.assert_allclose(found.regret_after(truth, [0, 1, 5, 99]), [np.nan, 0, 0.4, 0.2])
    with pytest.raises(ValueError, match="one length"):
        Replay([1, 2], [1], [1], [1])


def test_trials_left_running_are_closed(tmp_path):
    study = make_study(storage=f"sqlite:///{(tmp_path / 'study.db').as_posix()}", name="cut")
    study.tell(study.ask(), 0.5)
    study.ask()
    assert close_unfinished(study) == 1 and close_unfinished(study) == 0
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"]


def test_a_replay_refuses_nonsense(bank):
    with pytest.raises(ValueError, match="trials: got 0"):
        replay(bank, optuna.samplers.RandomSampler(), trials=0)
