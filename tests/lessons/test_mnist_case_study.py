"""Notebook 10: what it measures, its lab, and its exercises: starters fail, solutions pass."""

import dataclasses
import math

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from case_study import run
from course_utils import Config, Dataset, Estimate, accuracy, compare, difference, fit, load_mnist
from course_utils.lessons.mnist_case_study import exercises, experiments, figures, labs
from course_utils.search import make_study, run_study

MNIST = load_mnist(subset=200, image_size=4, device="cpu")
DATA = Dataset(
    MNIST.train, MNIST.val.first(100), MNIST.test.first(10), "tiny", MNIST.tuning.first(100)
)
PATIENT = Config(optimizer="adam", learning_rate=0.01, width=8, batch_size=32, epochs=2)


def trained(config, seeds=range(8)):
    return fit(config.seeds(seeds), DATA, progress=False)


def points(value, half):
    return Estimate(value, value - half, value + half, 8, "points")


# What is measured


def test_choosing_looks_at_other_images():
    other = experiments.choosing(DATA)
    assert other.val is DATA.tuning and other.train is DATA.train
    with pytest.raises(ValueError, match="no tuning images"):
        experiments.choosing(other)


def test_a_gap_is_what_training_accuracy_promises_too_much():
    history = trained(PATIENT)
    gap = experiments.gap(history)
    apart = history.final("train_accuracy").mean() - history.final().mean()
    assert gap.value == pytest.approx(apart, abs=1e-6) and gap.unit == "points" and gap.covers


def test_a_report_is_subtracted_from_all_three_ends():
    below = experiments.above_report(Estimate(0.83, 0.81, 0.85, 8, "%"), 0.88)
    assert (below.value, below.low, below.high) == pytest.approx((-0.05, -0.07, -0.03))
    assert below.unit == "points" and below.seeds == 8


def test_mistakes_are_all_the_images_that_a_model_gets_wrong():
    model = trained(PATIENT, range(1)).model(0)
    wrong = experiments.mistakes(model, DATA.val)
    with torch.no_grad():
        assert not (model(wrong.images).argmax(1) == wrong.labels).any()
        right = (model(DATA.val.images).argmax(1) == DATA.val.labels).sum().item()
    assert len(wrong) + right == len(DATA.val)
    with torch.no_grad(), pytest.raises(ValueError, match="every image right"):
        told = dataclasses.replace(DATA.val, labels=model(DATA.val.images).argmax(1))
        experiments.mistakes(model, told)


def test_gradient_norms_are_those_of_the_mean_loss():
    model = trained(PATIENT, range(1)).model(0)
    first, last = experiments.gradient_norms(model, DATA.val)
    model.zero_grad()
    nn.functional.cross_entropy(model(DATA.val.images), DATA.val.labels).backward()
    weights = [each.grad.norm().item() for name, each in model.named_parameters() if "w" in name]
    assert (first, last) == pytest.approx((weights[0], weights[-1]))
    history = trained(PATIENT, range(2))
    assert experiments.first_layer_gradients(history, DATA.val)[0] == pytest.approx(first)
    assert experiments.first_layer_gradients(history, DATA.val, wrong=True)[0] > first


# Figures


def test_the_figures_show_what_they_are_given():
    arms = {"as it is": PATIENT, "dropout": PATIENT.replace(dropout=0.5)}
    trial = compare(arms, DATA, tune={"learning_rate": [0.01, 0.1]}, tuning_seeds=[8, 9])
    history = trial.histories["as it is"]
    drawn = figures.plot_two_patients({"A": history, "B": history}, {"A": trial, "B": trial})
    texts = [text.get_text() for ax in drawn.axes for text in ax.texts]
    assert texts.count(f"{100 * trial.gain('dropout').value:+.1f}") == 2
    rungs = {"A": {"dropout": trial.accuracy("dropout")}}
    ax = figures.plot_ladder(rungs, {"dropout": 0.92}, plt.figure().gca())
    assert any(list(line.get_xdata()) == [92] for line in ax.lines)
    steps = {"dropout": trial.gain("dropout")}
    assert isinstance(figures.plot_recipe(trial.accuracy("as it is"), steps, steps, "a"), Figure)
    assert isinstance(figures.plot_inside({"a": np.linspace(0, 1, 9)}, {"b": [1e-3, 1]}), Figure)
    plt.close("all")


def test_the_search_is_drawn_with_what_confirms_it():
    def suggest(trial):
        return PATIENT.replace(learning_rate=trial.suggest_float("learning_rate", 1e-3, 1e-1))

    study = run_study(make_study(), suggest, experiments.choosing(DATA), trials=3, batch=3)
    ax = figures.plot_search(study, {"confirmed": points(0.9, 0.01)}, plt.figure().gca())
    best = next(line for line in ax.lines if line.get_label() == "best so far")
    assert best.get_ydata()[-1] == pytest.approx(100 * study.best_value)
    plt.close("all")


# The cockpit


@pytest.fixture
def cockpit():
    lab = labs.cockpit_lab({"patient A": (PATIENT, DATA), "patient B": (PATIENT, DATA)})
    yield lab
    lab.close()


def test_every_control_of_the_cockpit_gives_another_picture(cockpit):
    for name, control in cockpit.controls.items():
        pictures = set()
        for value in (control.options[0], control.options[-1]):
            cockpit.set(**{name: value})
            cockpit.worker.wait()
            pictures.add(cockpit.png)
            assert cockpit.text.startswith(str(cockpit.values["patient"]))
        if name != "patient":  # here, both are one network on the same digits
            assert len(pictures) == 2, name
        cockpit.set(**{name: control.start})
        cockpit.worker.wait()


def test_an_attempt_is_compared_with_the_untreated_patient_of_the_same_seeds(cockpit):
    cockpit.set(init="xavier", times=3.0)
    cockpit.worker.wait()
    own = PATIENT.replace(init="xavier", learning_rate=0.03)
    gain = difference(trained(own, range(4)), trained(PATIENT, range(4)))
    assert f"gain {gain}" in cockpit.text and "init xavier, rate × 3" in cockpit.text
    rows = cockpit.table(cockpit.result)
    assert ("▸ init xavier, rate × 3", str(gain)) in rows and rows[0][0].endswith("patient A")
    assert sum(words.startswith("▸") for words, _ in rows) == 1, "what is shown, and no other"
    cockpit.set(patient="patient B", init="as it is", times=1.0)
    cockpit.worker.wait()
    assert cockpit.table(cockpit.result)[1:] == [
        ("▸ nothing", str(difference(*[trained(PATIENT, range(4))] * 2)))
    ]


def test_the_log_shows_the_present_attempt_however_far_down_it_ranks(cockpit):
    log = cockpit.table.__self__.log
    for place in range(2 * labs.LONGEST_LOG):
        log["patient A", f"treatment {place}"] = points(0.5, 0.1)
    rows = cockpit.table(cockpit.result)
    assert len(rows) == 1 + labs.LONGEST_LOG + 1 and rows[-1][0] == "▸ nothing"


def test_the_cockpits_code_repeats_its_run(cockpit):
    cockpit.set(dropout=0.5, augment="shift")
    cockpit.worker.wait()
    code = cockpit.code(cockpit.values)
    line, _ = code.split("\n")
    assert line.startswith("history = fit(Config(") and line.endswith(".seeds(4), mnist)")
    config = PATIENT.replace(dropout=0.5, augment="shift")
    for name in ("dropout", "augment", "learning_rate", "batch_size", "epochs"):
        assert f"{name}={getattr(config, name)!r}" in line
    assert str(accuracy(trained(config, range(4)))) in cockpit.text


# Exercises

LOSSES = {"start": points(0.2, 0.02), "dropout": points(0.004, 0.01), "decay": points(-0.02, 0.01)}


def test_passengers_are_parts_that_are_not_shown_to_be_needed():
    def right(losses):
        return [name for name, loss in losses.items() if loss.low <= 0]

    assert exercises.check_passengers(right, LOSSES)


@pytest.mark.parametrize(
    ("passengers", "said"),
    [
        (lambda losses: [n for n, loss in losses.items() if loss.value < 0.01], "shows nothing"),
        (lambda losses: [n for n, loss in losses.items() if loss.high < 0.01], "shows nothing"),
        (
            lambda losses: [n for n, each in losses.items() if each.value < 0.01 or each.low <= 0],
            "small, and shown",
        ),
        (lambda losses: [n for n, e in losses.items() if e.low <= 0 <= e.high], "heavy one"),
        (lambda losses: list(losses), "small, and shown"),
        (lambda losses: "dropout", "a list of names"),
        (lambda losses: ["nobody"], "table it is given"),
        (lambda losses: losses["no such part"], "KeyError"),
        ([], "not callable"),
    ],
)
def test_tempting_readings_of_an_ablation_are_told_apart(passengers, said):
    result = exercises.check_passengers(passengers, LOSSES)
    assert not result and said in result.message


WINNER = PATIENT.replace(learning_rate=0.05, epochs=2, seed=exercises.SEARCH_SEED)


def confirmed(winner=WINNER, rival=PATIENT, seeds=range(8), others=None, gain=None):
    sides = trained(winner, seeds), trained(rival, others or seeds)
    gain = gain or difference(*sides)
    return exercises.check_confirmation(*sides, gain, WINNER, PATIENT)


def test_a_fair_confirmation_passes():
    assert confirmed()
    assert confirmed(WINNER.replace(epochs=3), PATIENT.replace(epochs=3), range(20, 28))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seeds": range(4)}, "take eight"),
        ({"seeds": range(100, 108)}, "take fresh ones"),
        ({"winner": WINNER.replace(epochs=3)}, "The winner trains 3 epochs"),
        ({"winner": WINNER.replace(learning_rate=0.04)}, "has other settings than winner_config"),
        ({"rival": PATIENT.replace(width=9)}, "has other settings than rival_config"),
        ({"gain": points(0.5, 0.1)}, "The paired difference"),
    ],
)
def test_unfair_confirmations_are_told_what_is_wrong(given, said):
    result = confirmed(**given)
    assert not result and said in result.message


def test_a_confirmation_needs_histories():
    assert not exercises.check_confirmation(0.97, 0.96, 0.01, WINNER, PATIENT)


@pytest.fixture(scope="module")
def networks():
    return experiments.unlabelled_networks(load_mnist(device="cpu"))


def test_three_networks_are_told_apart_by_two_gradients(networks):
    data = load_mnist(device="cpu")
    norms = {
        name: experiments.gradient_norms(model, experiments.mistakes(model, data.val))[0]
        for name, model in networks.items()
    }
    assert norms["P"] == 0 and norms["Q"] > 0.1 and 0 < norms["R"] < 1e-4
    right = {"P": "dead", "Q": "finished", "R": "vanished"}
    assert exercises.check_three_networks(right, norms, networks, data)
    swapped = {"P": "vanished", "Q": "finished", "R": "dead"}
    for diagnoses, evidence, said in (
        (swapped, norms, "P: a first-layer gradient"),
        (dict.fromkeys("PQR", "finished"), norms, "P: a first-layer gradient"),
        (dict.fromkeys("PQR", "ill"), norms, "should be one of dead, finished, vanished"),
        (right, dict.fromkeys("PQR", 0.5), "evidence['P'] is not"),
        (right, dict.fromkeys("PQR"), "should be a number"),
        (right, None, "`evidence` should be a dict"),
        ("finished", norms, "`diagnoses` should be a dict"),
    ):
        result = exercises.check_three_networks(diagnoses, evidence, networks, data)
        assert not result and said in result.message, said
    known = {
        name: experiments.gradient_norms(model, data.train.first(180))[0]
        for name, model in networks.items()
    }
    assert all(math.isfinite(norm) and norm < 0.1 * norms["Q"] for norm in known.values())
    assert not exercises.check_three_networks(right, known, networks, data)


def my_trial(first=PATIENT, rates=(0.0001, 0.03, 1e4), **change):
    arms = {"as it is": first, "treated": first.replace(**change)}
    return compare(arms, DATA, tune={"learning_rate": list(rates)}, tuning_seeds=[8, 9])


def verdict_on(trial):
    gain = trial.gain("treated")
    return "supported" if gain.low > 0 else "refuted" if gain.high < 0 else "not settled"


def test_a_treatment_of_ones_own_is_judged_by_its_design():
    fair = my_trial(weight_decay=0.1)
    assert exercises.check_my_treatment(fair, verdict_on(fair), PATIENT)
    others = {"supported", "refuted", "not settled", None} - {verdict_on(fair)}
    assert not any(exercises.check_my_treatment(fair, each, PATIENT) for each in others)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"first": PATIENT.replace(width=16), "weight_decay": 0.1}, "one of the two patients"),
        ({"augment": "affine"}, "has measured this treatment"),
        ({"weight_decay": 0.1, "rates": (0.01, 0.03)}, "Try 3 values"),
    ],
)
def test_treatments_that_are_no_experiment_of_ones_own(given, said):
    trial = my_trial(**given)
    result = exercises.check_my_treatment(trial, verdict_on(trial), PATIENT)
    assert not result and said in result.message


# The tool that runs it without a screen


@pytest.mark.slow
def test_the_case_study_prints_its_table_and_refuses_what_is_none(tmp_path):
    bound = "import pandas\nfrom torch import nn\nresults = pandas.DataFrame({'a': [1]})\n"
    for last, said in (("best_model = nn.Linear(2, 3)", "best_model: 9 parameters"), ("", None)):
        cells = [nbformat.v4.new_code_cell(bound + last)]
        notebook = nbformat.v4.new_notebook(cells=cells)
        if said is None:
            with pytest.raises(Exception, match="best_model: got NoneType, takes Module"):
                run(notebook, tmp_path)
        else:
            text, seconds = run(notebook, tmp_path)
            assert said in text and seconds > 0
