"""Worker processes on one study: whoever dies, every trial is accounted for."""

import subprocess
import sys

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from course_utils.topics import t08, t08_worker


@pytest.fixture(scope="module")
def small():
    return t08_worker.load_small()


def sqlite(folder) -> str:
    return f"sqlite:///{(folder / 'study.db').as_posix()}"


def states(study) -> list[str]:
    return [trial.state.name for trial in study.trials]


@pytest.mark.slow
def test_a_worker_killed_in_mid_trial_loses_nothing(tmp_path):
    workers = t08.start_workers(sqlite(tmp_path), "digits", total=3, epochs=30)
    study = t08_worker.open_study(sqlite(tmp_path), "digits")
    victim = t08.kill_in_mid_trial(study, workers[0])
    assert t08.lost(study) != [], "before anybody noticed, the trial is missing"
    t08.wait_for(workers[1:])

    trials, table = study.trials, t08.account(study)
    assert t08.lost(study) == []
    assert trials[victim].state == TrialState.FAIL and trials[victim].value is None
    assert states(study).count("FAIL") == 1 and "RUNNING" not in states(study) and "WAITING" not in states(study)
    assert len(study.get_trials(states=t08.FINISHED)) >= 3
    [repeat] = table.index[table["repeats trial"] == victim]
    assert trials[repeat].params == trials[victim].params and trials[repeat].state in t08.FINISHED
    assert trials[repeat].user_attrs["worker"] == workers[1].pid
    assert table["worker"].nunique() == 2


def test_without_a_heartbeat_a_dead_workers_trial_stays_running(tmp_path, small):
    journal = f"journal:{(tmp_path / 'study.log').as_posix()}"
    study = t08_worker.open_study(journal, "digits")
    abandoned = study.ask()
    t08_worker.suggest(abandoned)
    later = t08_worker.open_study(journal, "digits")                       # as another worker would
    optuna.storages.fail_stale_trials(later)
    later.optimize(lambda trial: t08_worker.objective(trial, small, epochs=1), n_trials=1)
    assert states(later) == ["RUNNING", "COMPLETE"] and t08.lost(later) == [abandoned.number]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_worker_works_until_the_study_is_complete(tmp_path, small, storage, batch):
    place = sqlite(tmp_path) if storage == "sqlite" else f"journal:{(tmp_path / 'study.log').as_posix()}"
    study = t08_worker.open_study(place, "digits")
    t08_worker.work(study, 5, small, epochs=1, batch=batch)
    assert states(study) == ["COMPLETE"] * 5 and t08.lost(study) == []
    assert all({"worker", "started"} <= set(trial.user_attrs) for trial in study.trials)
    t08_worker.work(t08_worker.open_study(place, "digits"), 5, small, epochs=1, batch=batch)
    assert len(study.trials) == 5, "a complete study was given another trial"


def test_a_worker_trains_what_was_queued_even_if_the_study_has_enough(tmp_path, small):
    study = t08_worker.open_study(sqlite(tmp_path), "digits")
    knobs = {"learning_rate": 0.01, "dropout": 0.1, "weight_decay": 1e-3}
    study.enqueue_trial(knobs)
    t08_worker.work(study, 0, small, epochs=1)
    assert states(study) == ["COMPLETE"] and study.trials[0].params == knobs


def test_a_retry_of_a_retry_is_followed_to_its_end():
    study = optuna.create_study()
    for repeats, state in [(None, TrialState.FAIL), ([0], TrialState.FAIL), ([0, 1], TrialState.COMPLETE),
                           (None, TrialState.FAIL)]:
        attributes = {} if repeats is None else {"failed_trial": repeats[0], "retry_history": repeats}
        study.add_trial(optuna.trial.create_trial(state=state, value=1.0 if state == TrialState.COMPLETE else None,
                                                  system_attrs=attributes))
    assert t08.lost(study) == [3]


def worker(*words: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)


def test_a_worker_that_fails_is_reported_with_its_last_words():
    with pytest.raises(RuntimeError, match="code 3.*no such table"):
        t08.wait_for([worker("import sys; sys.stderr.write('no such table'); sys.exit(3)")])


def test_a_worker_that_never_ends_is_ended():
    endless = worker("import time; time.sleep(600)")
    with pytest.raises(subprocess.TimeoutExpired):
        t08.wait_for([endless], seconds=0.5)
    assert endless.poll() is not None


def test_who_is_dead_already_cannot_be_killed_in_mid_trial(tmp_path):
    gone = worker("pass")
    gone.communicate()
    with pytest.raises(RuntimeError, match="never seen in the middle"):
        t08.kill_in_mid_trial(t08_worker.open_study(sqlite(tmp_path), "digits"), gone)


def test_how_long_a_trial_keeps_its_place():
    # Two places: a trial of 4 s in one; of 1, 1 and 2 s in the other, with pauses of 0.5 and 0.25 s.
    started, seconds = np.array([10, 10, 11.5, 12.75]), np.array([4, 1, 1, 2])
    kept = t08.occupied(started, seconds, places=2)
    np.testing.assert_allclose(kept, [np.nan, np.nan, 1.5, 2.25])
    order = np.array([3, 0, 2, 1])
    np.testing.assert_allclose(t08.occupied(started[order], seconds[order], places=2), kept[order])
    np.testing.assert_allclose(t08.occupied(started, seconds, places=2, begun=9), [5, 2, 1.5, 2.25])
    np.testing.assert_allclose(t08.occupied([0, 3], [1, 1]), [np.nan, 3])


def test_a_ratio_has_an_interval_that_knows_both_samples():
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        estimate = t08.ratio(generator.normal(6, 1, 12), generator.normal(2, 0.3, 12))
        inside += estimate.low < 3 < estimate.high
    assert 180 <= inside <= 200
    same = t08.ratio([2.0, 2.0], [1.0, 1.0])
    assert same.value == same.low == same.high == 2
