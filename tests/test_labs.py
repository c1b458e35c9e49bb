"""Labs: the last value wins, nothing blocks, no extreme breaks the picture."""

import asyncio
import io

import pytest
import torch
from PIL import Image as PilImage

from course_utils import load_mnist
from course_utils.classroom.lab import Lab, choice, in_one_thread, learning_rate_lab, rates, slider, training_lab
from course_utils.topics.t07 import cockpit_lab


@pytest.fixture(scope="module")
def digits():
    return load_mnist(subset=200, image_size=7)


def every_option(lab: Lab):
    """Each control at each of its options, one at a time."""
    for control in lab.controls.values():
        for option in control.options:
            yield control, option[1] if isinstance(option, tuple) else option


@pytest.mark.slow
@pytest.mark.parametrize("make", [learning_rate_lab, lambda data: cockpit_lab(data, {"Optuna": 0.9})],
                         ids=["first", "cockpit"])
def test_every_setting_draws_a_new_picture(make, digits):
    lab = make(digits)
    for control, option in every_option(lab):
        before = lab.picture.value
        if control.value == option:
            continue
        control.value = option
        assert lab.picture.value != before, (control.description, option)
        assert "accuracy" in lab.status.value or "diverged" in lab.status.value
    PilImage.open(io.BytesIO(lab.picture.value)).verify()


def test_a_diverging_setting_says_so(digits):
    controls = {"learning_rate": slider("learning_rate", [0.1, 1e30], 0.1)}
    lab = training_lab(digits, controls, optimizer="sgd", activation="identity")
    lab.controls["learning_rate"].value = 1e30
    assert "diverged at epoch" in lab.status.value


def test_reset_forgets_and_returns(digits):
    lab = learning_rate_lab(digits)
    first = lab.picture.value
    lab.controls["width"].value = 4
    lab.controls["learning_rate"].value = 1.0
    assert len(lab.earlier) == 2
    lab.reset()
    assert lab.values == {"learning_rate": 0.1, "width": 32}
    assert lab.earlier == [] and lab.picture.value == first


def slow_lab(finished: list):
    """A lab whose run takes a hundred breaths and records how far each got."""
    def run(values):
        for step in range(100):
            yield values["x"], step

    def draw(figure, axes, result, earlier):
        axes.flat[0].set_title(str(result[0]))

    return Lab({"x": slider("x", list(range(50)), 0)}, run, draw, str, columns=1,
               finished=lambda values, result: finished.append(values["x"]))


def test_a_burst_ends_on_the_last_value_and_leaves_no_task(monkeypatch):
    monkeypatch.setattr("course_utils.classroom.lab.BREATH_SECONDS", 0.0)
    finished = []
    lab = slow_lab(finished)

    async def burst():
        for value in range(1, 21):
            lab.controls["x"].value = value
            await asyncio.sleep(0)
        await lab.task
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert asyncio.run(burst()) == []
    assert lab.result == (20, 99) and finished == [0, 20]


def test_stop_leaves_the_training_where_it_is(monkeypatch):
    monkeypatch.setattr("course_utils.classroom.lab.BREATH_SECONDS", 0.0)
    finished = []
    lab = slow_lab(finished)

    async def stop_soon():
        lab.controls["x"].value = 7
        for _ in range(5):
            await asyncio.sleep(0)
        lab.stop()
        await asyncio.sleep(0)
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert asyncio.run(stop_soon()) == []
    assert lab.result[0] == 7 and lab.result[1] < 99 and finished == [0]
    assert "stopped" in lab.status.value


def test_a_run_computes_in_one_thread_and_leaves_the_setting_alone():
    def run():
        yield torch.get_num_threads()
        raise ZeroDivisionError

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        results = in_one_thread(run())
        assert next(results) == 1 and torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError):
            next(results)
        assert torch.get_num_threads() == 3
        assert list(in_one_thread([])) == []
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_run_is_said_and_not_swallowed():
    def run(values):
        if values["x"]:
            raise ZeroDivisionError("x is not zero")
        yield 0

    lab = Lab({"x": slider("x", [0, 1], 0)}, run, lambda *_: None, str, columns=1)

    async def move():
        lab.controls["x"].value = 1
        with pytest.raises(ZeroDivisionError):
            await lab.task

    asyncio.run(move())
    assert "ZeroDivisionError" in lab.status.value


def test_the_cockpit_logs_attempts_beside_the_results_to_beat(digits):
    lab = cockpit_lab(digits, {"Optuna, 50 trials": 0.999})
    log = lab.children[-1]
    assert "attempt 1" in log.value and "Optuna, 50 trials" in log.value and "nothing" in log.value
    lab.controls["init"].value = "he"
    assert "attempt 2" in log.value and "init he" in log.value


def test_the_static_picture_is_the_lab_s_own(digits):
    lab = learning_rate_lab(digits)
    assert lab.static().data == lab.picture.value


def test_words_on_controls_are_full_and_rates_are_log_spaced():
    assert choice("weight_decay", [0.0, 0.1], 0.1).description == "weight decay"
    assert rates(0.01, 1.0, per_decade=1) == [0.01, 0.1, 1.0]
    assert slider("width", [1, 2], 1).style.description_width == "initial"
