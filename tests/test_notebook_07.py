"""Notebook 07: the checks of its exercises accept what is right and reject what tempts."""

import numpy as np
import pytest

from course_utils import Estimate, History
from course_utils.topics import t07
from course_utils.topics.t07 import PATIENT


def runs(share: float, seeds: int = 8, **changes) -> History:
    history = History.empty([PATIENT.replace(**{"seed": seed} | changes) for seed in range(seeds)], 1, 1000)
    history.val_correct[:, : round(1000 * share)] = True
    return history


@pytest.mark.parametrize("changes", [{"init": "xavier"}, {"init": "he", "epochs": 10}, {"init": "torch"}])
def test_one_changed_field_cures(changes):
    assert t07.check_one_change(runs(0.91, **changes))


@pytest.mark.parametrize("history", [
    None, "he", runs(0.8, init="xavier"), runs(0.95, activation="relu"), runs(0.93, init="xavier", learning_rate=0.01),
    runs(0.91, seeds=3, init="xavier"), runs(0.91, init="xavier", seed=0)], ids=str)
def test_what_does_not_count_as_one_change(history):
    assert not t07.check_one_change(history)


def test_the_most_valuable_treatment_is_the_largest_loss():
    gains = {"a": Estimate(0.3, 0.2, 0.4, 8, "points"), "b": Estimate(0.01, 0, 0.02, 8, "points")}
    assert t07.check_most_valuable("a", gains)
    for wrong in ("b", "c", None, 0.3):
        assert not t07.check_most_valuable(wrong, gains)


def test_a_diagnosis_needs_its_evidence():
    assert t07.check_diagnosis("vanished", 1e-9)
    for answer, evidence in (("finished", 1e-9), ("vanished", 0.4), ("vanished", None), (None, 1e-9), ("vanished", np.nan)):
        assert not t07.check_diagnosis(answer, evidence)
