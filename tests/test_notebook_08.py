"""Notebook 08: its supernet is what it says, its costs add up, its exercises judge rightly, its lab survives extremes."""

import math
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.tensorboard import SummaryWriter

from course_utils import Config, checks, fit, make_mlp
from course_utils.engine.networks import is_stackable
from course_utils.plots import new_figure
from course_utils.topics import t08, t08_worker
from run_notebooks import NOTEBOOKS

STEM = "08_beyond_one_machine"


@pytest.fixture(autouse=True)
def no_earlier_tries():
    checks._tries.clear()


@pytest.fixture(scope="module")
def small():
    return t08_worker.load_small()


def sources(path, tag):
    notebook = nbformat.read(NOTEBOOKS / path, as_version=4)
    return [cell.source for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


# ---- exercises: starters fail, solutions pass -------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["exercise", "solution"])
def test_every_starter_fails_helpfully_and_every_solution_passes(tag, shell):
    assert shell.run_cell("from course_utils.topics import t08").success
    cells = sources({"exercise": f"{STEM}.ipynb", "solution": f"solutions/{STEM}_solutions.ipynb"}[tag], tag)
    assert len(cells) == 4
    for number, source in enumerate(cells, start=1):
        outcome = shell.run_cell(source)
        assert outcome.success and outcome.result.exercise == f"08.{number}"
        assert bool(outcome.result) == (tag == "solution"), outcome.result
        assert tag == "solution" or "Hint:" in outcome.result.message


def test_right_and_wrong_search_times():
    assert t08.check_search_time(lambda n, w, s, o: -(-n // w) * (s + o))
    for wrong in (lambda n, w, s, o: n * (s + o) / w, lambda n, w, s, o: math.ceil(n / w) * s + o,
                  lambda n, w, s, o: (n // w + 1) * (s + o), lambda n, w, s, o: math.inf, lambda: 3, None):
        assert not t08.check_search_time(wrong)


def test_right_and_wrong_break_evens():
    assert t08.check_break_even(lambda overhead, workers: overhead / (workers - 1))
    for wrong in (lambda o, w: o / w, lambda o, w: o * (w - 1), lambda o, w: 0.0, lambda o, w: math.nan, None):
        assert not t08.check_break_even(wrong)


def test_right_and_wrong_batches():
    def rounds(trials, workers, batch):
        return math.ceil(math.ceil(trials / batch) / workers)

    assert t08.check_choose_batch(lambda n, w, s: min(s, key=lambda k: (rounds(n, w, k) * s[k], -k)))
    for wrong in (lambda n, w, s: min(s), lambda n, w, s: max(s), lambda n, w, s: min(s, key=lambda k: s[k] / k),
                  lambda n, w, s: 3, lambda n, w, s: min(s, key=lambda k: n / k / w * s[k]), None):
        assert not t08.check_choose_batch(wrong)


def unfinished(study):
    return study.get_trials(states=(TrialState.RUNNING,))


def lose_them(study):
    for trial in unfinished(study):
        study.tell(trial.number, state=TrialState.FAIL)


def invent_values(study):
    for trial in unfinished(study):
        study.tell(trial.number, 0.0)
        study.enqueue_trial(trial.params)


def queue_everything(study):
    for trial in study.trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)


def queue_every_failure(study):
    lose_them(study)
    for trial in study.get_trials(states=(TrialState.FAIL,)):
        study.enqueue_trial(trial.params)


def rescue_in_two_loops(study):
    orphans = unfinished(study)
    lose_them(study)
    for trial in orphans:
        study.enqueue_trial(trial.params, user_attrs={"repeats": trial.number})


def test_right_and_wrong_rescues():
    assert t08.check_rescue(rescue_in_two_loops)
    for wrong in (lose_them, invent_values, queue_everything, queue_every_failure, lambda study: None, None):
        assert not t08.check_rescue(wrong)


# ---- the supernet -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", t08.ARCHITECTURES)
def test_a_candidate_of_the_supernet_is_the_network_it_names(architecture):
    width, activation, depth = architecture
    torch.manual_seed(0)
    supernet = t08.Supernet().eval()
    supernet.architecture = architecture
    plain = make_mlp(196, width=width, depth=depth, activation=activation)
    layers = [module for module in plain.modules() if hasattr(module, "weight")]
    shared = [supernet.first, supernet.second, supernet.head] if depth == 2 else [supernet.first, supernet.head]
    for layer, wide in zip(layers, shared, strict=True):
        rows, columns = layer.weight.shape
        layer.weight.data, layer.bias.data = wide.weight.data[:rows, :columns], wide.bias.data[:rows]
    images = torch.rand(5, 1, 14, 14)
    torch.testing.assert_close(supernet(images), plain(images))


def test_training_draws_every_candidate_and_evaluation_none():
    torch.manual_seed(0)
    supernet, image = t08.Supernet(seed=1), torch.rand(1, 1, 14, 14)
    drawn = {tuple(supernet(image).flatten().tolist()) for _ in range(300)}
    assert len(drawn) == len(t08.ARCHITECTURES)
    supernet.eval()
    assert len({tuple(supernet(image).flatten().tolist()) for _ in range(20)}) == 1


def test_candidates_alone_train_in_a_stack_as_they_do_singly(small):
    def build(config, dataset):
        return t08.Supernet(fixed=(12, "tanh", 2))

    assert is_stackable(t08.Supernet(fixed=(12, "tanh", 2)))
    configs = [Config(batch_size=200, epochs=1, seed=seed) for seed in range(2)]
    together = fit(configs, small, model=build, progress=False)
    for row, config in enumerate(configs):
        single = fit(config, small, model=build, progress=False)
        np.testing.assert_allclose(together.step_loss[row], single.step_loss[0], rtol=1e-3, atol=1e-4)


def test_ranks_have_a_row_for_each_candidate_and_a_column_for_each_seed(small):
    for found in (t08.train_supernets(small, 1, seeds=2), t08.train_alone(small, 1, seeds=2)):
        assert found.shape == (12, 2) and (found >= 0).all() and (found <= 1).all()
        assert not np.array_equal(found[:, 0], found[:, 1])


# ---- the cost model and the lab -----------------------------------------------------------------------------------------


@given(trials=st.integers(1, 10_000), seconds=st.floats(0.01, 1e4), workers=st.integers(1, 200),
       overhead=st.floats(0, 100), batch=st.integers(1, 64), gain=st.floats(1, 20), start=st.floats(0, 100))
def test_what_a_search_costs(trials, seconds, workers, overhead, batch, gain, start):
    def cost(**changes):
        given = {"workers": workers, "overhead": overhead, "batch": batch, "gain": gain, "start": start} | changes
        return t08.search_seconds(trials, seconds, **given)

    assert cost() >= start + overhead + seconds * (1 - 1e-9)
    assert cost(workers=2 * workers) <= cost() <= cost(overhead=overhead + 1)
    assert cost(gain=gain + 1) <= cost() * (1 + 1e-9)
    assert cost(batch=1, workers=1, overhead=0, start=0) == pytest.approx(trials * seconds)
    assert cost(workers=trials, batch=1) == pytest.approx(start + overhead + seconds)


def test_people_read_durations():
    assert [t08.duration(s) for s in (12, 180, 18_720, 700_000)] == ["12 s", "3 min", "5.2 h", "8.1 days"]


@pytest.mark.slow
def test_the_lab_survives_its_extremes():
    lab = t08.cost_lab()
    for control in lab.controls.values():
        lab.reset()
        values = [value for _, value in control._options_full]
        for value in (values[0], values[-1]):
            before, same = lab.picture.value, control.value == value
            control.value = value
            assert same or lab.picture.value != before
            assert all(name in lab.status.value for name in t08.ENGINES)
    assert bytes(lab.picture.value).startswith(b"\x89PNG")


# ---- trackers, profiles, pictures -----------------------------------------------------------------------------------------


def test_hyperparameters_are_read_back_as_the_tab_shows_them(tmp_path):
    for number, rate in enumerate((0.25, 0.5)):
        with SummaryWriter(tmp_path / f"trial-{number}") as writer:
            writer.add_hparams({"learning_rate": rate}, {"hparam/val_accuracy": 1 - rate}, run_name=".")
    table = t08.hparams_summary(tmp_path)
    assert table["learning_rate"].tolist() == [0.25, 0.5] and table["val_accuracy"].tolist() == [0.75, 0.5]


def test_a_profile_is_cut_into_its_named_parts():
    with profile(activities=[ProfilerActivity.CPU]) as measured:
        for name, times in (("much", 30), ("little", 1)):
            with record_function(name):
                for _ in range(times):
                    torch.ones(100, 100) @ torch.ones(100, 100)
    parts = t08.profile_parts(measured, ["much", "little"])
    assert parts["much"] > parts["little"] > 0
    assert t08.profile_calls(measured, ["much", "little"]).loc["aten::mm", "calls"] == 31


def test_pictures_show_what_they_are_given(small):
    study = t08.orphaned_study()
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    _, axes = new_figure(columns=3)
    t08.plot_timeline(study, axes[0, 0])
    assert len(axes[0, 0].patches) == 5 and [text.get_text() for text in axes[0, 0].texts] == ["killed"] * 3
    t08.plot_parts({"a": pd.Series({"x": 1.0, "y": 2.0}), "b": pd.Series({"x": 0.5, "y": 0.5})}, axes[0, 1])
    assert len(axes[0, 1].patches) == 4
    t08.plot_agreement(np.linspace(0, 1, 12), np.linspace(0, 1, 12), axes[0, 2])
    assert [len(line.get_xdata()) for line in axes[0, 2].lines] == [4, 4, 4]


@pytest.mark.slow
def test_the_dashboard_answers_on_this_machine_only_and_stops(tmp_path):
    storage = f"sqlite:///{(tmp_path / 'study.db').as_posix()}"
    t08_worker.open_study(storage, "digits")
    process, address = t08.start_dashboard(storage)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    t08.stop_page(process)
    assert process.poll() is not None
    with pytest.raises(RuntimeError, match="did not start"):
        t08.start_dashboard("nonsense://nowhere")


def test_every_claim_of_the_notebook_has_its_card():
    claimed = " ".join(sources(f"{STEM}.ipynb", "claim"))
    assert set(re.findall(r'claim\("([A-Z]{2}\d)"', claimed)) == {"SR6", "NS1"}
