"""Worker processes on one study: whoever dies, every trial is accounted for."""

import subprocess
import sys
import time

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from course_utils.lessons.many_machines import worker, workers


@pytest.fixture(scope="module")
def small():
    return worker.load_small()


def sqlite(folder) -> str:
    return f"sqlite:///{(folder / 'study.db').as_posix()}"


def states(study) -> list[str]:
    return [trial.state.name for trial in study.trials]


@pytest.mark.slow
def test_a_worker_killed_in_mid_trial_loses_nothing(tmp_path):
    processes = workers.start_workers(sqlite(tmp_path), "digits", trials=3, epochs=60)
    study = worker.open_study(sqlite(tmp_path), "digits")
    victim = workers.kill_in_mid_trial(study, processes[0])
    assert workers.lost(study) != [], "before anybody noticed, the trial is missing"
    workers.wait_for(processes[1:])

    trials, table = study.trials, workers.account(study)
    assert workers.lost(study) == []
    assert trials[victim].state == TrialState.FAIL and trials[victim].value is None
    assert states(study).count("FAIL") == 1
    assert not {"RUNNING", "WAITING"} & set(states(study))
    assert len(study.get_trials(states=worker.FINISHED)) >= 3
    [repeat] = table.index[(table["repeats"] == victim).fillna(False)]
    assert trials[repeat].params == trials[victim].params
    assert trials[repeat].state in worker.FINISHED
    assert trials[repeat].user_attrs["worker"] == processes[1].pid
    assert table["worker"].nunique() == 2


@pytest.mark.slow
def test_without_a_heartbeat_a_killed_workers_trial_stays_running(tmp_path):
    place = sqlite(tmp_path)
    [process] = workers.start_workers(
        place, "digits", trials=3, workers=1, epochs=60, heartbeat=False
    )
    study = worker.open_study(place, "digits", heartbeat=False)
    victim = workers.kill_in_mid_trial(study, process)
    time.sleep(worker.GRACE_SECONDS + 1)
    optuna.storages.fail_stale_trials(worker.open_study(place, "digits", heartbeat=False))
    assert study.trials[victim].state == TrialState.RUNNING and workers.lost(study) == [victim]


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(tmp_path):
    script = (
        "from course_utils.lessons.many_machines import workers\n"
        f"[one] = workers.start_workers({sqlite(tmp_path)!r}, 'digits', 1000, workers=1)\n"
        "print(one.pid, flush=True)\n"
        "import time; time.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(owner.stdout.readline()))
    time.sleep(5)
    owner.kill()
    owner.communicate()
    child.wait(timeout=60)  # raises TimeoutExpired for one that lives on


def test_in_a_journal_a_dead_workers_trial_stays_running(tmp_path, small):
    journal = f"journal:{(tmp_path / 'study.log').as_posix()}"
    study = worker.open_study(journal, "digits")
    abandoned = study.ask()
    worker.suggest(abandoned)
    later = worker.open_study(journal, "digits")  # as another worker would
    optuna.storages.fail_stale_trials(later)
    later.optimize(lambda trial: worker.objective(trial, small, epochs=1), n_trials=1)
    assert states(later) == ["RUNNING", "COMPLETE"]
    assert workers.lost(later) == [abandoned.number]


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_worker_works_until_the_study_is_complete(tmp_path, small, storage):
    journal = f"journal:{(tmp_path / 'study.log').as_posix()}"
    place = sqlite(tmp_path) if storage == "sqlite" else journal
    study = worker.open_study(place, "digits")
    worker.work(study, 4, small, epochs=1)
    assert states(study) == ["COMPLETE"] * 4 and workers.lost(study) == []
    assert all({"worker", "started", "seconds"} <= set(t.user_attrs) for t in study.trials)
    worker.work(worker.open_study(place, "digits"), 4, small, epochs=1)
    assert len(study.trials) == 4, "a complete study was given another trial"


def test_a_worker_trains_what_was_queued_even_if_the_study_has_enough(tmp_path, small):
    study = worker.open_study(sqlite(tmp_path), "digits")
    knobs = {"learning_rate": 0.01, "dropout": 0.1}
    study.enqueue_trial(knobs)
    worker.work(study, 0, small, epochs=1)
    assert states(study) == ["COMPLETE"] and study.trials[0].params == knobs


def test_a_retry_of_a_retry_is_followed_to_its_end():
    study = optuna.create_study()
    for repeats, state in [
        (None, TrialState.FAIL),
        ([0], TrialState.FAIL),
        ([0, 1], TrialState.COMPLETE),
        (None, TrialState.FAIL),
    ]:
        attributes = (
            {} if repeats is None else {"failed_trial": repeats[0], "retry_history": repeats}
        )
        value = 1.0 if state == TrialState.COMPLETE else None
        study.add_trial(
            optuna.trial.create_trial(state=state, value=value, system_attrs=attributes)
        )
    assert workers.lost(study) == [3]


def python(code: str) -> subprocess.Popen:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], **pipes)


def test_a_worker_that_fails_is_reported_with_its_last_words():
    with pytest.raises(RuntimeError, match="code 3.*no such table"):
        workers.wait_for([python("import sys; sys.stderr.write('no such table'); sys.exit(3)")])


def test_a_worker_that_never_ends_is_ended():
    endless = python("import time; time.sleep(600)")
    with pytest.raises(subprocess.TimeoutExpired):
        workers.wait_for([endless], seconds=0.5)
    assert endless.poll() is not None


def test_who_is_dead_already_cannot_be_killed_in_mid_trial(tmp_path):
    gone = python("pass")
    gone.wait()
    with pytest.raises(RuntimeError, match="never seen in the middle"):
        workers.kill_in_mid_trial(worker.open_study(sqlite(tmp_path), "digits"), gone)
