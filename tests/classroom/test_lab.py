"""Labs: the last value wins, nothing blocks, nothing shared is touched, no extreme breaks the picture."""

import io
import threading
import time

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from course_utils import Config, accuracy, fit, load_mnist
from course_utils.classroom import lab as lab_module
from course_utils.classroom import open_labs as module
from course_utils.classroom.controls import choice, slider, switch
from course_utils.classroom.lab import Lab
from course_utils.classroom.picture import Picture
from course_utils.classroom.training_lab import rates, training_lab
from course_utils.lessons.start_here.labs import first_lab

DIGITS = load_mnist(subset=200, image_size=7, device="cpu")


class Page:
    """What a lab sends, in the place of a browser."""

    def __init__(self, lab):
        self.messages, self.pictures = [], []
        lab.send = self.hear

    def hear(self, message, buffers=None):
        self.messages.append(message)
        self.pictures.append(buffers[0] if buffers else b"")

    def __getitem__(self, place):
        return self.messages[place]


def slow_lab(steps=100, seconds=0.002, **options):
    """A lab whose run takes many results and records how far each got."""
    ended = []

    def run(values):
        x = values["x"]
        for step in range(steps):
            time.sleep(seconds)
            changes = yield x, step
            if changes:
                x = changes["x"]

    def draw(axes, result, earlier):
        axes[0].plot([0, result[0]], [0, 1])

    picture = Picture(lambda axes: axes[0].set(xlim=(0, 50), ylim=(0, 1)), columns=1)
    lab = Lab(
        {"x": slider("x", list(range(51)), 0)},
        run,
        picture,
        draw,
        lambda result: f"x {result[0]}, step {result[1]}",
        name="a line",
        finished=lambda values, result: ended.append(result),
        **options,
    )
    return lab, ended


@pytest.mark.parametrize("name", ["learning_rate", "width"])
def test_every_setting_draws_a_new_picture(name):
    lab = first_lab(DIGITS)
    seen = {lab.png}
    for option in lab.controls[name].options:
        if option != lab.values[name]:
            lab.set(**{name: option})
            lab.worker.wait()
            assert lab.png not in seen, (name, option)
            seen.add(lab.png)
            assert "accuracy" in lab.text or "diverged" in lab.text
            Image.open(io.BytesIO(lab.png)).verify()


def test_what_a_lab_shows_is_what_fit_gives():
    lab = first_lab(DIGITS)
    history = fit(
        Config(optimizer="sgd", learning_rate=0.1, width=32, epochs=10).seeds(8),
        DIGITS,
        progress=False,
    )
    assert str(accuracy(history)) in lab.text
    np.testing.assert_allclose(lab.result.values["val_loss"][:, 1:], history.val_loss, rtol=1e-4)
    assert (
        lab.result.places[:2] == [pytest.approx(1 / 4), pytest.approx(1)]
        and lab.result.places[-1] == 10
    )  # 4 updates an epoch


def test_a_diverging_setting_says_so():
    controls = {"learning_rate": slider("learning rate", [0.1, 1e30], 0.1)}
    lab = training_lab(DIGITS, controls, name="curves", optimizer="sgd", activation="identity")
    lab.set(learning_rate=1e30)
    lab.worker.wait()
    assert "diverged after" in lab.text


def test_a_burst_ends_on_the_last_value_and_leaves_no_thread_at_work():
    lab, ended = slow_lab()
    threads = threading.active_count()
    for value in range(1, 21):
        lab.set(x=value)
    lab.worker.wait()
    assert lab.result == (20, 99) and ended == [(0, 99), (20, 99)]
    assert threading.active_count() <= threads + 1
    lab.close()
    time.sleep(0.1)
    assert threading.active_count() <= threads


def test_stop_leaves_the_run_where_it_is():
    lab, ended = slow_lab(steps=1000)
    page = Page(lab)
    lab.set(x=5)
    time.sleep(0.1)
    lab.press("stop")
    lab.worker.wait()
    assert lab.result[0] == 5 and lab.result[1] < 999 and len(ended) == 1
    assert page[-1]["text"].startswith("stopped: x 5") and not page[-1]["busy"]
    lab.press("stop")  # when there is nothing to stop
    lab.worker.wait()


def test_pause_holds_step_takes_one_result_and_the_rest_follows():
    lab, ended = slow_lab(steps=60, seconds=0.005)
    page = Page(lab)
    lab.set(x=7)
    time.sleep(0.05)
    lab.press("pause")
    time.sleep(0.1)
    held = lab.result
    time.sleep(0.1)
    assert lab.result == held and page[-1]["paused"] and held[1] < 59
    lab.press("step")
    time.sleep(0.1)
    assert lab.result == (7, held[1] + 1)
    lab.press("pause")
    lab.worker.wait()
    assert lab.result == (7, 59) and ended[-1] == (7, 59) and not page[-1]["paused"]


def test_a_knob_turned_while_it_runs_reaches_the_run_in_flight():
    lab, ended = slow_lab(steps=200, live=["x"])
    lab.set(x=3)
    time.sleep(0.1)
    lab.set(live=True, x=9)
    lab.worker.wait()
    assert ended[-1] == (9, 199) and len(ended) == 2, "one run, not two"
    lab.set(live=True, x=4)  # nothing in flight: it begins
    lab.worker.wait()
    assert ended[-1] == (4, 199)


def test_training_takes_a_live_rate():
    lab = first_lab(DIGITS)
    rates_used = []
    for number, _ in enumerate(run := lab.run(lab.values)):
        if number == 4:
            run.send({"learning_rate": 0.01})
    history = lab.result.history
    assert np.unique(history.learning_rate[0]).tolist() == pytest.approx([0.1])
    del rates_used


def test_reset_forgets_and_returns_and_is_no_attempt():
    lab, ended = slow_lab(steps=3)
    first = lab.png
    for value in (4, 9):
        lab.set(x=value)
        lab.worker.wait()
    assert [each.label for each in lab.earlier] == ["x 0", "x 4"] and len(ended) == 3
    lab.press("reset")
    lab.worker.wait()
    assert lab.values == {"x": 0} and lab.earlier == [] and lab.png == first and len(ended) == 3


def test_earlier_runs_are_few_and_named_by_what_changed():
    lab, _ = slow_lab(steps=2)
    for value in (1, 2, 3, 4, 5):
        lab.set(x=value)
        lab.worker.wait()
    assert [each.label for each in lab.earlier] == ["x 2", "x 3", "x 4"]
    lab.set(x=5)  # the same again is no earlier run
    lab.worker.wait()
    assert [each.label for each in lab.earlier] == ["x 2", "x 3", "x 4"]


def test_an_error_in_a_run_is_shown_and_the_lab_goes_on(capsys):
    def run(values):
        if values["x"] == 3:
            raise RuntimeError("as a lesson's code may")
        yield values["x"]

    lab = Lab(
        {"x": slider("x", [1, 2, 3], 1)},
        run,
        Picture(lambda axes: None, columns=1),
        lambda axes, result, earlier: axes[0].plot([0, result]),
        str,
        name="a line",
    )
    lab.set(x=3)
    lab.worker.wait()
    assert (
        lab.text == "RuntimeError: as a lesson's code may"
        and "Traceback" in capsys.readouterr().err
    )
    lab.set(x=2)
    lab.worker.wait()
    assert lab.text == "2"


# What the page says and is told


def test_a_value_from_the_page_is_answered_by_number():
    lab, _ = slow_lab(steps=3)
    page = Page(lab)
    lab._hear(lab, {"kind": "set", "places": {"x": 12}, "number": 5}, [])
    lab.worker.wait()
    assert lab.values == {"x": 12} and page[-1]["number"] == 5 and page[-1]["places"] == {"x": 12}
    assert page.pictures[-1] == lab.png and page[0]["busy"] and not page[-1]["busy"]


def test_a_page_that_opens_is_shown_what_is_there_in_its_theme():
    lab, _ = slow_lab(steps=3)
    page, light = Page(lab), lab.png
    lab._hear(lab, {"kind": "hello", "dark": False}, [])
    assert page.pictures == [light] and page[-1]["text"] == lab.text
    lab._hear(lab, {"kind": "hello", "dark": True}, [])
    lab.worker.wait()
    assert lab.png != light and page.pictures[-1] == lab.png
    pixels = np.asarray(Image.open(io.BytesIO(lab.png)))
    assert (pixels[..., 3] == 0).mean() > 0.5, "transparent, so that it suits the page"
    ink = pixels[(pixels[..., 3] > 200) & (np.ptp(pixels[..., :3].astype(int), axis=-1) < 10)]
    assert ink[:, :3].mean() > 150, "light ink on a dark page"


def test_code_that_repeats_the_run_is_handed_out_and_runs(shell):
    lab = first_lab(DIGITS)
    page = Page(lab)
    lab.set(learning_rate=lab.controls["learning_rate"].options[6])
    lab.worker.wait()
    lab.press("code")
    code = page[-1]["code"]
    names = {
        "Config": Config,
        "fit": lambda configs, data: fit(configs, data, progress=False),
        "small_mnist": DIGITS,
        "accuracy": accuracy,
    }
    shell.user_ns.update(names)
    shell.run_cell(code).raise_error()
    history = shell.user_ns["history"]
    np.testing.assert_allclose(history.val_loss, lab.result.history.val_loss, rtol=1e-4)


def test_actions_answer_in_words():
    lab, _ = slow_lab(steps=2, actions={"cheer": lambda lab: f"hurrah for {lab.values['x']}"})
    page = Page(lab)
    lab.press("cheer")
    assert page[-1]["text"] == "hurrah for 0" and lab.look["actions"] == ["cheer"]


def test_a_pointer_is_followed_in_the_panels_own_coordinates():
    asked = []

    def point(panel, x, y, values):
        asked.append((panel, x, y))
        return {"x": int(round(x))}

    lab, _ = slow_lab(steps=2, point=point)
    axes = lab.picture.axes[0]
    place = axes.transData.transform((30, 0.5)) / lab.picture.figure.bbox.size
    lab._hear(lab, {"kind": "point", "x": place[0], "y": 1 - place[1], "number": 1}, [])
    lab.worker.wait()
    assert asked == [(0, pytest.approx(30), pytest.approx(0.5))] and lab.values == {"x": 30}
    lab._hear(lab, {"kind": "point", "x": 0.0, "y": 0.0, "number": 2}, [])  # outside of all panels
    assert len(asked) == 1


def test_a_lab_is_its_picture_where_there_is_no_kernel(monkeypatch):
    shown = []
    monkeypatch.setattr(
        lab_module, "display", lambda data, **options: shown.append((data, options.get("metadata")))
    )
    slow_lab(steps=2)[0]._ipython_display_()
    (_, _), (picture, about) = shown  # the widget, then its picture
    assert picture["text/plain"] == "Lab: a line. x 0, step 1" and picture["image/png"]
    assert about["image/png"]["alt"] == "a line. x 0, step 1"


# Nothing shared is touched


def test_drawing_changes_no_setting_of_matplotlibs():
    lab, _ = slow_lab(steps=20)
    before = dict(matplotlib.rcParams)
    lab.set(x=8)
    with matplotlib.rc_context(
        {"axes.facecolor": "red", "font.size": 30, "figure.constrained_layout.use": True}
    ):
        lab.set(x=9)
        lab.worker.wait()
        strange = lab.png
    assert dict(matplotlib.rcParams) == before
    lab.set(x=8)
    lab.worker.wait()
    lab.earlier.clear()
    lab.set(x=9)
    lab.worker.wait()
    assert strange[:4] == lab.png[:4]


def test_a_lab_computes_in_one_thread_and_leaves_the_setting_alone(monkeypatch):
    used = []
    monkeypatch.setattr("course_utils.threads._MACHINE.free", 99.0)
    before = torch.get_num_threads()
    lab = first_lab(DIGITS)
    run = lab.run

    def watched(values):
        for result in run(values):
            used.append(torch.get_num_threads())
            yield result

    lab.run = watched
    lab.set(width=4)
    lab.worker.wait()
    assert set(used) == {before} and torch.get_num_threads() == before
    from course_utils.threads import granted_threads, one_thread

    with one_thread():
        assert granted_threads() == 1


def test_a_cell_run_again_closes_the_lab_it_made(monkeypatch):
    class Kernel:
        cell, run = "a", 0

        def get_parent(self, channel):
            return {
                "metadata": {"cellId": self.cell},
                "header": {"msg_id": f"{self.cell}{self.run}"},
                "content": {},
            }

    class Shell:
        kernel = Kernel()

    monkeypatch.setattr(module, "get_ipython", lambda: Shell)
    monkeypatch.setattr(module, "OPEN", {})
    closed = []
    monkeypatch.setattr(Lab, "close", lambda lab: closed.append(lab))
    first, second = slow_lab(steps=1)[0], slow_lab(steps=1)[0]  # two labs of one cell
    assert not closed and len(module.OPEN) == 2
    Kernel.run = 1
    again = slow_lab(steps=1)[0]
    assert closed == [first]
    slow_lab(steps=1)
    assert closed == [first, second]
    Kernel.cell = "b"
    slow_lab(steps=1)
    assert len(closed) == 2 and again in module.OPEN.values()


# Controls


def test_controls_stand_on_one_of_their_options():
    with pytest.raises(ValueError, match="rate: got 0.3, takes one of"):
        slider("rate", [0.1, 0.2], 0.3)
    assert choice("normalisation", [None, "batch"], None).texts == ["none", "batch"]
    assert slider("rate", [0.001, 10.0], 10.0).texts == ["0.001", "10"] and switch(
        "more"
    ).options == (False, True)


def test_rates_are_evenly_spaced_on_the_log_axis():
    values = rates(1e-3, 10)
    assert (values[0], values[-1]) == (1e-3, 10) and len(values) == 17
    assert np.ptp(np.diff(np.log10(values))) < 0.03
