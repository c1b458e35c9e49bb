"""Pages on this machine, with real processes: they answer, they stop, they end with their owner."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from course_utils import servers

FILES = [sys.executable, "-m", "http.server", "{port}", "--bind", "{host}"]
OWNER = """
import sys, time
from course_utils import servers
page = servers.start_page({command!r}, "files")
print(page.address, page.process.pid, flush=True)
{then}
"""


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def port_of(page):
    return int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/", page.address)[1])


@pytest.fixture
def page():
    page = servers.start_page(FILES, "files")
    yield page
    servers.stop_page(page)


@pytest.fixture
def owner(request):
    """(process, address, number of the guard) of another Python that has started a page."""
    then = getattr(request, "param", "time.sleep(600)")
    script = OWNER.format(command=FILES, then=then)
    course = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=course
    )
    address, guard = process.stdout.readline().split()
    yield process, address, int(guard)
    process.kill()
    process.communicate()


def test_a_free_port_is_free():
    port = servers.free_port()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


def test_a_page_answers_until_it_is_stopped(page):
    assert servers.answers(page.address) and page.is_open and page.address in repr(page)
    family = psutil.Process(page.process.pid).children(recursive=True)
    servers.stop_page(page)
    assert not servers.answers(page.address, seconds=1) and not page.is_open
    assert not any(each.is_running() for each in family)
    assert repr(page) == "files has ended."
    servers.stop_page(page)  # once more does no harm


def test_only_this_machine_can_reach_a_page(page):
    family = psutil.Process(page.process.pid).children(recursive=True)
    name = "net_connections" if hasattr(psutil.Process, "net_connections") else "connections"
    heard = [c for each in family for c in getattr(each, name)() if c.status == "LISTEN"]
    assert {(each.laddr.ip, each.laddr.port) for each in heard} == {("127.0.0.1", port_of(page))}


def test_what_is_promised_is_true(page):
    """No word of nobody else: whoever is logged in to this machine can open it, and is told so."""
    assert "other people who are logged in" in repr(page) and "no password" in repr(page)
    assert "nobody" not in repr(page).lower()


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_page_is_asked_directly_whatever_proxy_there_is(monkeypatch, name):
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    page = servers.start_page(FILES, "files", seconds=30)
    try:
        assert servers.answers(page.address)
    finally:
        servers.stop_page(page)


def test_an_error_page_is_an_answer_too(page):
    assert servers.answers(page.address + "not-there")


def test_two_pages_at_a_time(page):
    other = servers.start_page(FILES, "other")
    assert other.address != page.address
    servers.stop_page(other)
    assert servers.answers(page.address), "to stop one leaves the other alone"


# When things go wrong


def test_a_command_that_ends_is_repeated_with_its_last_words():
    command = [sys.executable, "-c", "print('no such {{folder}}'); raise SystemExit(3)"]
    with pytest.raises(RuntimeError, match=r"files ended at once. It said: no such \{folder\}"):
        servers.start_page(command, "files")


def test_a_page_that_never_answers_is_ended():
    command = [sys.executable, "-c", "import time; print('{port}', flush=True); time.sleep(600)"]
    with pytest.raises(RuntimeError, match=r"not answered within 1.5 s. It said: \d+") as raised:
        servers.start_page(command, "files", seconds=1.5)
    port = str(raised.value).rsplit(" ", 1)[-1]
    commands = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if f"print('{port}'" in command]


def test_a_command_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match="no command no-such-command"):
        servers.start_page(["no-such-command"], "files")
    with pytest.raises(FileNotFoundError, match="no-such-script is missing.*group extra"):
        servers.script("no-such-script")


# When the owner ends


@pytest.mark.slow
@pytest.mark.parametrize("owner", ["time.sleep(600)"], indirect=True)
def test_a_page_ends_with_its_owner_even_if_that_is_killed(owner):
    process, address, guard = owner
    family = [psutil.Process(guard), *psutil.Process(guard).children(recursive=True)]
    assert servers.answers(address)
    process.kill()
    assert until(lambda: not any(each.is_running() for each in family))
    assert not servers.answers(address, seconds=1)


@pytest.mark.slow
@pytest.mark.parametrize("owner", ["", "raise SystemExit", "1 / 0"], indirect=True)
def test_a_page_ends_with_its_owner_however_that_ends(owner):
    process, address, guard = owner
    assert process.wait(60) is not None
    assert until(lambda: not psutil.pid_exists(guard)) and not servers.answers(address, seconds=1)


@pytest.mark.slow
def test_what_a_killed_guard_left_behind_is_ended_at_the_next_start(owner):
    process, address, guard = owner
    [left] = psutil.Process(guard).children(recursive=True)
    psutil.Process(guard).kill()
    process.kill()
    process.wait()
    assert left.is_running() and servers.answers(address), "nobody is left to end it"
    servers.stop_page(servers.start_page(FILES, "files"))
    assert until(lambda: not left.is_running())


@pytest.mark.slow
def test_a_page_whose_owner_lives_is_no_leftover(owner, page):
    assert servers.end_leftovers() == []
    assert servers.answers(owner[1]) and servers.answers(page.address)


def test_an_owners_number_that_was_given_out_again_is_another_owner():
    me = psutil.Process()
    assert not servers._is_gone(f"{me.pid} {me.create_time()}")
    assert servers._is_gone(f"{me.pid} {me.create_time() - 3600}")
    assert not servers._is_gone("nonsense"), "not of our making: leave it alone"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no groups of processes to interrupt")
def test_a_page_survives_the_stop_button(page):
    """Jupyter interrupts the kernel's whole group; a page is in one of its own."""
    for each in psutil.Process(page.process.pid).children(recursive=True):
        assert os.getpgid(each.pid) != os.getpgid(0)


def test_a_guard_that_is_told_to_end_ends_its_page(page):
    page.process.terminate()
    if os.name == "nt":
        servers.end_leftovers()
    else:
        assert until(lambda: not servers.answers(page.address, seconds=1))


def test_a_command_that_starts_others_ends_with_them():
    """A server that is the child of what was started."""
    child = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    page = servers.start_page([sys.executable, "-c", child, *FILES], "files")
    assert len(psutil.Process(page.process.pid).children(recursive=True)) == 2
    servers.stop_page(page)
    assert not servers.answers(page.address, seconds=1)


# The pages of the course


@pytest.mark.slow
def test_tensorboard_serves_a_folder_whatever_its_name(tmp_path):
    pytest.importorskip("tensorboard")
    folder = tmp_path / "a {folder} of ünusual name"
    folder.mkdir()
    page = servers.start_page(servers.tensorboard(folder), "TensorBoard")
    try:
        with urllib.request.urlopen(page.address + "data/environment", timeout=30) as answer:
            assert Path(json.load(answer)["data_location"]) == folder
    finally:
        servers.stop_page(page)


@pytest.mark.slow
def test_optunas_dashboard_is_started_by_its_public_command(tmp_path):
    pytest.importorskip("optuna_dashboard")
    import optuna

    storage = f"sqlite:///{(tmp_path / 'study.db').as_posix()}"
    optuna.create_study(storage=storage, study_name="a study of mine")
    command = servers.optuna_dashboard(storage)
    assert Path(command[0]).stem == "optuna-dashboard" and "_cli" not in " ".join(command)
    page = servers.start_page(command, "Optuna's dashboard")
    try:
        with urllib.request.urlopen(page.address + "api/studies", timeout=30) as answer:
            assert b"a study of mine" in answer.read()
    finally:
        servers.stop_page(page)
