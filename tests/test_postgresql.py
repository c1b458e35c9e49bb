"""The same study on a real PostgreSQL, on a local socket: two workers, nothing lost."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from course_utils.lessons.many_machines import worker, workers

pytestmark = pytest.mark.slow


def binaries() -> Path | None:
    """Where initdb and pg_ctl stand: on PATH, or where Debian keeps them."""
    if on_path := shutil.which("initdb"):
        return Path(on_path).parent
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(found, key=lambda folder: int(folder.parent.name), default=None)


def as_server() -> list[str]:
    """What to put before a command: PostgreSQL refuses to run as root."""
    return (
        ["runuser", "-u", "postgres", "--"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    )


@pytest.fixture
def database():
    """The URL of an empty database in a cluster of its own, which listens on no port."""
    found = binaries()
    if os.name == "nt" or found is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip(
        "psycopg", reason="psycopg is not installed (pip install 'psycopg[binary]')"
    )
    with tempfile.TemporaryDirectory(prefix="pg") as name:  # short: a socket's path has a limit
        folder, before = Path(name), as_server()
        if before:
            shutil.chown(folder, "postgres")

        def run(*command: object) -> None:
            # Into a file: a pipe would stay open as long as the server.
            with open(folder / "said", "a+b") as said:
                done = subprocess.run(
                    [*before, *map(str, command)],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                )
            assert done.returncode == 0, (folder / "said").read_text()

        run(
            found / "initdb",
            "-D",
            folder / "data",
            "-U",
            "learner",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-sync",
        )
        run(
            found / "pg_ctl",
            "-D",
            folder / "data",
            "-w",
            "-l",
            folder / "log",
            "-o",
            f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off",
            "start",
        )
        try:
            if before:
                folder.chmod(0o755)  # we are another user, and want the socket
            yield f"postgresql+psycopg://learner@/postgres?host={folder}"
        finally:
            run(found / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")


def test_two_workers_share_a_postgresql_and_one_that_is_killed_loses_nothing(database):
    processes = workers.start_workers(database, "digits", trials=3, epochs=60)
    study = worker.open_study(database, "digits")
    victim = workers.kill_in_mid_trial(study, processes[0])
    workers.wait_for(processes[1:])

    table = workers.account(study)
    assert workers.lost(study) == [] and len(study.get_trials(states=worker.FINISHED)) >= 3
    assert table["state"].tolist().count("fail") == 1 and table["state"][victim] == "fail"
    assert set(table["state"]) <= {"fail", "complete"}
    assert {t.user_attrs["worker"] for t in study.trials} == {each.pid for each in processes}
    [repeat] = table.index[(table["repeats"] == victim).fillna(False)]
    assert study.trials[repeat].params == study.trials[victim].params
    assert len({tuple(t.params.items()) for t in study.trials}) == len(study.trials) - 1
