"""Intervals cover what they should, pairs are paired, verdicts follow from intervals."""

import json
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from scipy import stats

from course_utils import Config, Estimate, History, accuracy, claim, difference, mean_interval
from course_utils.evidence import Claim, basin, basin_width, curve_interval, epochs_to


def history_of(correct: np.ndarray, configs: list[Config] | None = None) -> History:
    """A history whose runs were right where ``correct`` [run, image] says so."""
    configs = configs or [Config(seed=seed) for seed in range(len(correct))]
    history = History.empty(configs, steps=1, val_images=correct.shape[1])
    history.val_correct[:] = correct
    return history


def test_mean_interval_is_students():
    values = [0.2, 0.5, 0.4, 0.9]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    estimate = mean_interval(values)
    assert (estimate.value, estimate.low, estimate.high, estimate.seeds) == pytest.approx((0.5, low, high, 4))


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")]])
def test_mean_interval_refuses_what_has_no_interval(values):
    with pytest.raises(ValueError, match="values"):
        mean_interval(values)


def test_accuracy_covers_the_truth_about_as_often_as_it_says():
    """Simulated: seeds differ in skill, images in difficulty; both are redrawn each time."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(300):
        skill, ease = rng.normal(0, 0.3, (8, 1)), rng.normal(0, 1.0, (1, 400))
        estimate = accuracy(history_of(rng.random((8, 400)) < 1 / (1 + np.exp(-1.5 - skill - ease))))
        covered += estimate.low <= TRUTH <= estimate.high
    assert covered / 300 > 0.92


def _truth() -> float:
    rng = np.random.default_rng(1)
    return float(np.mean(1 / (1 + np.exp(-1.5 - rng.normal(0, 0.3, 10**6) - rng.normal(0, 1.0, 10**6)))))


TRUTH = _truth()


def test_difference_is_paired_by_seed_whatever_the_order():
    rng = np.random.default_rng(0)
    base = rng.random((6, 300)) < 0.7
    better = base | (rng.random((6, 300)) < 0.1)
    forward = difference(history_of(better), history_of(base))
    order = [3, 1, 5, 0, 2, 4]
    shuffled = history_of(better[order], [Config(seed=seed) for seed in order])
    backward = difference(shuffled, history_of(base))
    assert (forward.value, forward.low) == pytest.approx((backward.value, backward.low))
    assert forward.low > 0
    unpaired = accuracy(history_of(better)).high - accuracy(history_of(better)).low
    assert forward.high - forward.low < unpaired


def test_difference_refuses_unequal_seeds():
    table = np.ones((2, 10), bool)
    with pytest.raises(ValueError, match="seeds"):
        difference(history_of(table), history_of(table, [Config(seed=1), Config(seed=2)]))
    with pytest.raises(ValueError, match="at least two seeds"):
        accuracy(history_of(table[:1]))


def test_a_perfect_score_has_no_width():
    estimate = accuracy(history_of(np.ones((3, 20), bool)))
    assert estimate.low == estimate.value == estimate.high == 1


@given(low=st.floats(-1, 1), width=st.floats(0, 1), threshold=st.floats(-1, 1))
def test_the_verdict_follows_from_the_interval(low, width, threshold):
    effect = Estimate(low + width / 2, low, low + width, 8)
    verdict = claim("X1", "It rises", effect, above=threshold).verdict
    assert verdict == ("supported" if low > threshold else "refuted" if low + width < threshold else "not settled")
    mirrored = Estimate(-effect.value, -effect.high, -effect.low, 8)
    assert claim("X1", "It falls", mirrored, below=-threshold).verdict == verdict


def test_disagreeing_effects_depend():
    effects = {"here": Estimate(1, 0.5, 1.5, 8), "there": Estimate(-1, -1.5, -0.5, 8)}
    card = claim("X2", "It helps", effects, above=0, depends_on="the place")
    assert card.verdict == "depends on the place"
    assert "here: 1 [0.5, 1.5]" in str(card) and "**X2**" in card._repr_markdown_()
    with pytest.raises(ValueError, match="exactly one threshold"):
        claim("X2", "It helps", effects)


def test_basin_counts_and_width():
    configs = [Config(learning_rate=rate, seed=seed) for rate in (0.01, 0.1, 1.0) for seed in range(2)]
    correct = np.zeros((6, 100), bool)
    for row, share in enumerate([90, 91, 90, 90, 10, 10]):
        correct[row, :share] = True
    history = history_of(correct, configs)
    rates, mean, low, high = basin(history)
    assert rates.tolist() == [0.01, 0.1, 1.0]
    assert mean == pytest.approx([0.905, 0.9, 0.1])
    assert (low < mean).all() and (mean < high).all()
    assert basin_width(history).value == pytest.approx(1.0)


def test_curves_average_over_the_runs_that_reached_an_epoch():
    history = history_of(np.ones((2, 50), bool), [Config(epochs=3, seed=seed) for seed in range(2)])
    history.val_accuracy[:] = [[0.5, 0.7, np.nan], [0.7, 0.9, 0.8]]
    mean, low, high = curve_interval(history)
    assert mean == pytest.approx([0.6, 0.8, 0.8])
    assert (low <= mean).all() and (mean <= high).all()


CARD = claim("X3", "It helps", {"here": Estimate(np.float64(1.23456789), 0.5, 1.5, np.int64(8), "%"),
                                "there": Estimate(-1, -1.5, -0.5, 8)}, above=0, depends_on="the place", note="Two places.")


def test_a_card_carries_its_claim_as_data():
    data, metadata = CARD._repr_mimebundle_()
    assert data["text/plain"] == str(CARD) and data["text/markdown"] == CARD._repr_markdown_()
    stored = json.loads(json.dumps(metadata))["claim"]
    assert stored["verdict"] == "depends on the place" and [effect["value"] for effect in stored["effects"]] == [1.23457, -1]
    again = Claim.from_dict(stored)
    assert str(again) == str(CARD) and again.to_dict() == stored
    assert again.verdicts == {"here": "supported", "there": "refuted"}


def test_a_notebook_stores_the_claim_with_the_card():
    shell = InteractiveShell(user_module=ModuleType("lesson"))
    data, metadata = shell.display_formatter.format(CARD)
    assert set(data) == {"text/plain", "text/markdown"}
    assert metadata["claim"]["id"] == "X3"


@pytest.mark.parametrize("damage", [
    {"effects": None}, {"effects": [{"name": "", "value": 1}]}, {"effects": [{"value": 1}]}, {"colour": "red"}])
def test_a_card_that_is_damaged_is_refused(damage):
    with pytest.raises(ValueError, match="claim: got"):
        Claim.from_dict(CARD.to_dict() | damage)


@pytest.mark.parametrize("effect", [{}, Estimate(float("nan"), 0, 1, 8), {"here": Estimate(1, 0, float("inf"), 8)}])
def test_no_verdict_follows_from_no_number(effect):
    with pytest.raises(ValueError, match="effect"):
        claim("X4", "It helps", effect, above=0)


def test_epochs_to_a_target_count_from_one_and_a_run_that_never_arrives_counts_one_more_than_the_last():
    history = History.empty([Config(epochs=3, seed=seed) for seed in range(3)], 1, 10)
    history.val_accuracy[:] = [[0.9, 0.1, 0.9], [0.1, 0.2, 0.5], [0.1, np.nan, np.nan]]
    assert epochs_to(history, 0.5).tolist() == [1, 3, 4]
