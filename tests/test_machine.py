"""Threads and random generators belong to the whole process: the engine borrows them and gives them back."""

import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from course_utils import Config, fit, load_mnist, threads
from course_utils.randomness import Chance
from course_utils.threads import Threads, granted_threads


def test_never_more_threads_than_the_machine_grants(monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(threads, "_processors", lambda: 8)
    monkeypatch.setattr(threads, "_quota", lambda: None)
    assert granted_threads() == 8
    for quota, expected in ((2.0, 2), (1.5, 2), (0.4, 1), (100.0, 8)):
        monkeypatch.setattr(threads, "_quota", lambda quota=quota: quota)
        assert granted_threads() == expected
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert granted_threads() == 3


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({}, None),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    ],
)
def test_the_quota_of_a_control_group_is_read(files, quota, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert threads._quota.__wrapped__(tmp_path) == quota


@pytest.fixture
def machine(monkeypatch):
    """Four threads granted, and a machine of which ``free`` processors are idle."""
    monkeypatch.setattr(threads, "granted_threads", lambda: 4)
    monkeypatch.setattr(threads._MACHINE, "measure", lambda: None)

    def with_free(free):
        monkeypatch.setattr(threads._MACHINE, "free", free)

    return with_free


def used(several=True):
    with Threads(several):
        return torch.get_num_threads()


def test_several_threads_only_where_processors_for_them_stand_idle(machine):
    before = torch.get_num_threads()
    for free, expected in ((4.0, 4), (3.7, 4), (3.0, 1), (0.5, 1)):
        machine(free)
        assert used() == expected and used(several=False) == 1
        assert torch.get_num_threads() == before


def test_runs_of_one_process_share_the_threads(machine):
    machine(4.0)
    with Threads(True):
        found = []
        thread = threading.Thread(target=lambda: found.append(used()))
        thread.start()
        thread.join()
    assert found == [2] and used() == 4


def test_the_setting_is_given_back_also_after_an_error(machine):
    machine(4.0)
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), Threads(True):
        raise ZeroDivisionError
    assert torch.get_num_threads() == before and used() == 4


def test_what_others_do_is_seen():
    """A real process that does nothing but compute, and the real measurement."""
    machine = threads._Machine()
    program = "import time\nend = time.time() + 5\nwhile time.time() < end: sum(range(1000))"
    with subprocess.Popen([sys.executable, "-c", program]) as other:
        time.sleep(0.5)
        machine._at, machine._busy, machine._own = machine._look()
        time.sleep(1.0)
        machine.measure()
        with_it = machine.free
        other.kill()
    assert with_it < threads._processors() - 0.3


def test_the_number_of_threads_changes_no_result_of_a_stack(machine):
    data = load_mnist(subset=200, image_size=14, device="cpu")
    configs = Config(width=32, epochs=2, dropout=0.2, normalisation="batch").seeds(5)
    histories = []
    for free in (4.0, 0.0):
        machine(free)
        histories.append(fit(configs, data, progress=False))
    np.testing.assert_array_equal(histories[0].step_loss, histories[1].step_loss)
    np.testing.assert_array_equal(histories[0].val_loss, histories[1].val_loss)


# Random numbers


def draw():
    return torch.rand(2).tolist() + np.random.rand(2).tolist() + [random.random()]


def test_draws_inside_begin_at_the_seed_and_go_on():
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = [draw(), draw(), draw()]
    chance, found = Chance(3), []
    for _ in range(3):
        draw()  # somebody else's
        with chance:
            found.append(draw())
    assert found == expected and chance.drew


def test_draws_inside_are_not_seen_outside():
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    np.random.randn()  # leaves the second of a pair behind
    expected = draw() + [np.random.randn()]
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    np.random.randn()
    with Chance(9):
        draw(), np.random.randn()
    assert draw() + [np.random.randn()] == expected


def test_it_is_known_whether_anything_was_drawn():
    for work, drew in (
        (lambda: None, False),
        (lambda: torch.rand(1), True),
        (lambda: np.random.rand(), True),
        (random.random, True),
    ):
        chance = Chance(0)
        with chance:
            work()
        assert chance.drew == drew


def test_an_error_inside_gives_the_generators_back():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), Chance(0):
        torch.rand(1)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)
    with Chance(0):  # and the lock
        pass
