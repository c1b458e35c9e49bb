"""Ray Tune: a node is taken away, a search is interrupted; Ray listens here only, and ends."""

import os
import shutil
import subprocess
import sys
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest

from course_utils.lessons.many_machines import engines, ray_search, worker

pytestmark = [
    pytest.mark.slow,
    # Ray's own test cluster and its servers leave handles to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def ray():
    ray_search.prepare_ray()
    import ray

    return ray


@pytest.fixture(scope="module")
def small():
    return worker.load_small()


def family() -> list[psutil.Process]:
    """The processes that this one started and that still run."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
    ]


@pytest.fixture
def nobody_stays():
    before = {process.pid for process in family()}
    yield
    end = time.monotonic() + 20
    while (
        left := [process for process in family() if process.pid not in before]
    ) and time.monotonic() < end:
        time.sleep(0.2)
    assert not left, [process.name() for process in left]


# As older psutil has it, and as it is called now.
CONNECTIONS = "net_connections" if hasattr(psutil.Process, "net_connections") else "connections"


def listeners() -> set[str]:
    """The addresses on which this process and all it started accept connections."""
    return {
        connection.laddr.ip
        for process in [psutil.Process(), *family()]
        for connection in getattr(process, CONNECTIONS)("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def tuner(data, folder, trials, *, epochs, callbacks=(), retries=0, scheduler=None):
    from ray import tune
    from ray.tune.search import BasicVariantGenerator

    space = {"learning_rate": tune.loguniform(1e-4, 1.0), "dropout": tune.uniform(0.0, 0.6)}
    return tune.Tuner(
        ray_search.with_data(data, epochs),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            num_samples=trials,
            reuse_actors=True,
            max_concurrent_trials=2,
            scheduler=scheduler,
            search_alg=BasicVariantGenerator(random_state=0),
        ),
        run_config=ray_search.settings(folder, "digits", callbacks, retries),
    )


@pytest.mark.skipif(os.name == "nt", reason="Ray's test cluster does not run on Windows")
def test_a_node_is_taken_away_and_the_search_ends_complete(nobody_stays, ray, small, tmp_path):
    from ray import tune
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "dashboard_host": "127.0.0.1"},
    )
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        ray.init(cluster.address, log_to_driver=False, logging_level="critical")
        cluster.wait_for_nodes()
        taken, retried = [], []

        class TakeAway(tune.Callback):
            def on_trial_result(self, iteration, trials, trial, result, **info):
                running = [each for each in trials if each.status == "RUNNING" and each.last_result]
                if not taken and len(running) == 2:  # both nodes are in the middle of a trial
                    taken.append([each.trial_id for each in running])
                    cluster.remove_node(nodes[0], allow_graceful=False)

            def on_trial_recover(self, iteration, trials, trial, **info):
                retried.append(trial.trial_id)

            def __reduce__(self):  # Ray saves it with the search; there is no cluster to save
                return tune.Callback, ()

        results = tuner(small, tmp_path, 5, epochs=30, callbacks=(TakeAway(),), retries=3).fit()
        assert taken and retried and set(retried) <= set(taken[0])
        assert len(cluster.list_all_nodes()) == 2 and not nodes[0].any_processes_alive()
        assert results.num_errors == 0
        table = ray_search.results_table(results)
        assert table["epochs"].tolist() == [30] * 5
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_an_interrupted_search_is_restored_without_training_anything_twice(
    nobody_stays, ray, small, tmp_path
):
    from ray import tune

    try:
        address = ray_search.start_ray(workers=2, dashboard=True)
        assert address.startswith("http://127.0.0.1:")
        with pytest.raises(HTTPError, match="401"):  # it is there, and wants the token
            urlopen(f"{address}/api/version", timeout=30)
        assert all(
            address.removeprefix("::ffff:") in ("127.0.0.1", "::1") for address in listeners()
        ), listeners()
        stop = ray_search.interrupt_after(2)
        interrupted = tuner(small, tmp_path, 6, epochs=2, callbacks=(stop,)).fit()
        first = ray_search.results_table(interrupted)
        # A trial may have reported its last epoch and not yet have ended: it is trained again.
        done = {
            result.metrics["started"]
            for result in interrupted
            if result.metrics and result.metrics.get("done")
        }
        assert 2 <= len(done) < 6
        again = tune.Tuner.restore(
            str(tmp_path / "digits"), ray_search.with_data(small, 2), resume_unfinished=True
        )
        table = ray_search.results_table(again.fit())
        assert table["epochs"].tolist() == [2] * 6
        assert done <= set(table["started"]), "a finished trial was trained again"
        for name in ray_search.KNOBS:
            assert set(first[name]) <= set(table[name])
    finally:
        ray_search.stop_ray()


def test_after_a_restore_asha_remembers_nobody(nobody_stays, ray, small, tmp_path):
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    try:
        ray_search.start_ray(workers=2)
        asha = ASHAScheduler(max_t=3, grace_period=1, reduction_factor=3)
        stop = ray_search.interrupt_after(4)
        tuner(small, tmp_path, 8, epochs=3, callbacks=(stop,), scheduler=asha).fit()
        assert ray_search.rungs(asha)[1] >= 4
        again = tune.Tuner.restore(
            str(tmp_path / "digits"), ray_search.with_data(small, 3), resume_unfinished=True
        )
        assert set(ray_search.rungs(ray_search.scheduler_of(again)).values()) == {0}
        assert len(ray_search.results_table(again.fit())) == 8
    finally:
        ray_search.stop_ray()


def test_both_ways_of_ray_train_all_trials_and_a_new_process_costs_more(
    nobody_stays, ray, small, tmp_path
):
    try:
        ray_search.start_ray(workers=2)
        kept = engines.ray_workers(small, tmp_path, trials=6)
        fresh = engines.ray_workers(small, tmp_path, trials=2, kept=kept)
        assert (
            len(kept.overhead) == 4 and len(fresh.overhead) == 2
        )  # the first two begin with their process
        assert (kept.overhead >= 0).all() and fresh.overhead.min() > kept.overhead.min()
    finally:
        ray_search.stop_ray()


def test_a_session_stands_in_a_folder_that_others_cannot_enter(ray):
    folder = ray_search.session_folder()
    assert folder.parent.stat().st_mode & 0o077 == 0 or os.name == "nt"
    shutil.rmtree(folder.parent)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no sockets with a path")
def test_what_a_killed_kernel_left_behind_is_cleared_away(ray, monkeypatch, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name, owner in (("raydead", gone.pid), ("raymine", os.getpid()), ("rayodd", "nobody")):
        (tmp_path / name / "s").mkdir(parents=True)
        (tmp_path / name / ray_search.OWNER).write_text(str(owner), encoding="utf-8")
    monkeypatch.setattr(ray_search.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ray_search, "LONGEST_FOLDER", 500)
    new = ray_search.session_folder()
    assert not (tmp_path / "raydead").exists() and new.parent.parent == tmp_path
    assert (tmp_path / "raymine").exists() and (tmp_path / "rayodd").exists()


@pytest.mark.parametrize("name", ["x" * 80, "übung"])
def test_a_temporary_folder_that_ray_cannot_use_is_named(ray, monkeypatch, tmp_path, name):
    place = tmp_path / name
    place.mkdir()
    monkeypatch.setattr(ray_search.tempfile, "tempdir", str(place))
    with pytest.raises(RuntimeError, match="TMPDIR"):
        ray_search.session_folder()
    assert not list(place.iterdir())


def test_settings_that_ray_reads(ray):
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["RAY_AUTH_MODE"] == "token" and len(os.environ["RAY_AUTH_TOKEN"]) >= 32
