"""Notebook 00: starters fail, solutions pass, tempting mistakes are told apart."""

import pytest

from course_utils import Config, Dataset, Estimate, compare, fit, load_mnist
from course_utils.lessons.start_here import exercises, machine

MNIST = load_mnist(subset=100, image_size=4, device="cpu")
DATA = Dataset(
    MNIST.train, MNIST.val.first(100), MNIST.test.first(10), "tiny", MNIST.tuning.first(100)
)
NARROW = Config(optimizer="sgd", learning_rate=0.1, width=8, epochs=1)


def run(configs):
    return fit(configs, DATA, progress=False)


@pytest.mark.parametrize(
    ("configs", "said"),
    [
        (NARROW, "this is 1"),
        ([NARROW] * 8, "a seed of its own"),
        (NARROW.replace(width=9).seeds(8), "width 8"),
        (
            [NARROW.replace(seed=seed, learning_rate=1 / (1 + seed)) for seed in range(8)],
            "their seed alone",
        ),
    ],
)
def test_eight_seeds_differ_in_their_seed_alone(configs, said):
    result = exercises.check_eight_seeds(run(configs))
    assert not result and said in result.message


def test_eight_seeds_pass():
    assert exercises.check_eight_seeds(run(NARROW.seeds(8)))
    assert not exercises.check_eight_seeds([1, 2, 3])


@pytest.mark.parametrize(
    ("low", "high", "right"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False)]
)
def test_a_real_difference_is_one_whose_interval_leaves_zero_out(low, high, right):
    import numpy as np

    for number in (float, np.float64):
        measured = Estimate(number((low + high) / 2), number(low), number(high), 8, "points")
        assert exercises.check_real_difference(right, measured)
        assert exercises.check_real_difference(measured.low > 0 or measured.high < 0, measured)
        assert not exercises.check_real_difference(not right, measured)
        assert not exercises.check_real_difference(None, measured)


def trial(rates=(0.001, 0.3, 1e4), **options):
    return compare(
        {"a": NARROW, "b": NARROW.replace(momentum=0.5)},
        DATA,
        tune={"learning_rate": list(rates)},
        tuning_seeds=[8, 9],
        **options,
    )


def test_an_experiment_of_ones_own_is_judged_by_its_design_and_its_verdict():
    fair = trial()
    gain = fair.gain("b")
    verdict = "supported" if gain.low > 0 else "refuted" if gain.high < 0 else "not settled"
    assert exercises.check_my_experiment(fair, verdict)
    others = {"supported", "refuted", "not settled", None, "depends"} - {verdict}
    assert not any(exercises.check_my_experiment(fair, other) for other in others)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: "a story", "what compare"),
        (lambda: trial(seeds=range(4)), "Judge on 8 seeds"),
        (lambda: trial(rates=(0.001, 0.01)), "Try 3 values"),
        (lambda: trial(rates=(0.001, 0.01, 0.02)), "that was tried"),
        (
            lambda: compare({"a": NARROW, "b": NARROW.replace(momentum=0.5)}, DATA),
            "Tune both sides",
        ),
        (
            lambda: compare(
                {"a": NARROW, "b": NARROW},
                DATA,
                tune={"learning_rate": [0.001, 0.3, 1e4]},
                tuning_seeds=[8, 9],
            ),
            "The arms are equal",
        ),
    ],
)
def test_unfair_experiments_are_told_what_is_missing(make, said):
    result = exercises.check_my_experiment(make(), "supported")
    assert not result and said in result.message


# The machine


def test_a_machine_with_everything_is_ready():
    table = machine.check_machine()
    missing = table[~table["good"]]
    assert set(missing["what"]) <= {"figures"}  # a test draws no figures in a page
    assert {
        "Python",
        "torch",
        "notebook kernel",
        "threads",
        "accelerator",
        "free disk",
        "proxy",
        "progress",
    } <= set(table["what"])


def test_what_is_missing_or_too_old_is_named_with_what_to_do(monkeypatch):
    wanted = [
        "torch>=2.6",
        "no-such-package>=1",
        "numpy>=999",
        "pywin32; sys_platform == 'no such'",
        "ray; extra == 'extra'",
    ]
    monkeypatch.setattr(machine, "_requirements", lambda: wanted)
    rows = {row[0]: row for row in machine._packages()}
    assert rows["torch"][2] and not rows["no-such-package"][2] and not rows["numpy"][2]
    assert rows["no-such-package"][1] == "missing" and "pip install" in rows["numpy"][3]
    assert "pywin32" not in rows and "ray" not in rows


def test_a_backend_that_draws_nothing_in_a_notebook_is_noticed(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(machine.matplotlib, "get_backend", lambda: "agg")
    name, found, good, advice = machine._figures()
    assert not good and "MPLBACKEND" in found and "%matplotlib inline" in advice
