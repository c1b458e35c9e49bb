"""A comparison that is not fair is refused, or says so on its table and on every card made from it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_utils import Arm, Config, Dataset, claim, compare, fit, grids, load_mnist
from course_utils.protocol import budget, edges, log_grid, widened

MNIST = load_mnist(subset=100, image_size=4, device="cpu")
DATA = Dataset(
    MNIST.train, MNIST.val.first(120), MNIST.test.first(10), "tiny", MNIST.tuning.first(80)
)
BASE = Config(width=6, epochs=2, batch_size=25, optimizer="sgd", learning_rate=0.1)
RATES = [0.02, 0.1, 0.5]


def test_each_arm_is_tuned_on_seeds_and_images_of_its_own_and_judged_on_fresh_ones():
    arms = {"narrow": BASE, "wide": BASE.replace(width=12)}
    trial = compare(
        arms, DATA, tune={"learning_rate": RATES}, tuning_seeds=range(8, 10), seeds=range(3)
    )
    for name, config in arms.items():
        choosing = Dataset(DATA.train, DATA.tuning, DATA.test)
        scores = {
            rate: fit(
                config.replace(learning_rate=rate).seeds([8, 9]), choosing, progress=False
            ).val_correct.mean()
            for rate in RATES
        }
        best = max(scores, key=scores.get)
        assert trial.chosen[name] == {"learning_rate": best} and trial.tried[name] == 3
        judged = fit(config.replace(learning_rate=best).seeds(3), DATA, progress=False)
        np.testing.assert_array_equal(trial.histories[name].val_correct, judged.val_correct)
    assert [config.seed for config in trial.histories["wide"].configs] == [0, 1, 2]
    assert str(trial.gain("wide")) in trial.table.loc["wide"].tolist()
    assert list(trial.gains()) == ["wide"]


def test_without_images_to_spare_half_of_validation_chooses_and_the_other_half_judges():
    data = Dataset(DATA.train, DATA.val, DATA.test)
    trial = compare(
        {"a": BASE, "b": BASE.replace(momentum=0.9)},
        data,
        tune={"learning_rate": RATES},
        tuning_seeds=[8],
        seeds=[0, 1],
    )
    assert trial.histories["a"].val_correct.shape == (2, 60) and trial.tuning[
        "a"
    ].val_correct.shape == (3, 60)
    untuned = compare({"a": BASE, "b": BASE.replace(momentum=0.9)}, data, seeds=[0, 1])
    assert untuned.histories["a"].val_correct.shape == (2, 120)
    assert untuned.table["chosen"].tolist() == ["(nothing to choose)"] * 2


def test_a_choice_on_the_edge_is_flagged_on_the_table_and_on_the_card():
    trial = compare(
        {"a": BASE, "b": Arm(BASE, tune={"momentum": [0.0, 0.5]})},
        DATA,
        tune={"learning_rate": [1e-4, 1e-3]},
        tuning_seeds=[8, 9],
        seeds=[0, 1],
    )
    flag = trial.table.loc["a", "mind"]
    assert flag in (
        "learning_rate 0.001 is the largest that was tried",
        "learning_rate 0.0001 is the smallest that was tried",
    )
    card = claim("X", "It helps", trial.gain("b"), above=0)
    assert f"a: {flag}" in card.flags and f"Mind: a: {flag}" in str(card)


@pytest.mark.parametrize(
    ("chosen", "grid", "flagged"),
    [
        ({"learning_rate": 0.1}, {"learning_rate": [0.1, 0.2, 0.3]}, True),
        ({"learning_rate": 0.2}, {"learning_rate": [0.1, 0.2, 0.3]}, False),
        ({"learning_rate": 0.3}, {"learning_rate": [0.3, 0.1, 0.2]}, True),
        ({"dropout": 0.0}, {"dropout": [0.0, 0.2, 0.5]}, False),
        ({"dropout": 0.5}, {"dropout": [0.0, 0.2, 0.5]}, True),
        ({"optimizer": "sgd"}, {"optimizer": ["sgd", "adam"]}, False),
        ({"patience": None}, {"patience": [None, 2, 4]}, False),
        ({"learning_rate": 0.1}, {"learning_rate": [0.1]}, False),
        ({"nesterov": True}, {"nesterov": [False, True]}, False),
    ],
)
def test_edges_are_those_beyond_which_more_might_lie(chosen, grid, flagged):
    assert bool(edges(chosen, grid)) == flagged


@pytest.mark.parametrize(
    ("arms", "options", "message"),
    [
        ({"a": BASE}, {}, "arms: got 1"),
        (
            {"a": BASE, "b": BASE},
            {"seeds": range(9), "tuning_seeds": range(8, 12)},
            r"seeds, tuning_seeds: \[8\] stand in both",
        ),
        ({"a": BASE, "b": BASE.replace(epochs=3)}, {}, "arms: their epochs differ"),
        (
            {"a": BASE, "b": BASE.replace(batch_size=50)},
            {},
            "arms: their updates differ .a 8, b 4.",
        ),
        (
            {"a": BASE, "b": BASE.replace(epochs=3)},
            {"question": "updates"},
            "arms: their epochs differ",
        ),
        (
            {"a": BASE, "b": Arm(BASE, tune={"epochs": [3, 4]})},
            {"tuning_seeds": [8]},
            "arms: their epochs differ",
        ),
        (
            {"a": BASE, "b": Arm(BASE, dataset=Dataset(MNIST.train, DATA.val, DATA.test))},
            {},
            "arms: b has data of its own",
        ),
        (
            {"a": BASE, "b": Arm(BASE, dataset=MNIST)},
            {"question": "data"},
            "arms: b has other validation images",
        ),
        ({"a": BASE, "b": BASE}, {"question": "which"}, "question: got 'which'"),
    ],
)
def test_unfair_comparisons_are_refused(arms, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        compare(arms, DATA, **{"seeds": [0, 1], **options})


@pytest.mark.parametrize(
    ("arm", "question"),
    [
        (BASE.replace(epochs=3), "epochs"),
        (BASE.replace(batch_size=50), "updates"),
        (Arm(BASE, dataset=Dataset(MNIST.train.first(50), DATA.val, DATA.test)), "data"),
    ],
)
def test_what_differs_may_be_the_question(arm, question):
    trial = compare({"a": BASE, "b": arm}, DATA, seeds=[0, 1], question=question)
    assert len(set(trial.table["updates"])) == 2


def test_runs_that_diverged_are_named():
    trial = compare({"a": BASE, "b": BASE.replace(learning_rate=1e30)}, DATA, seeds=[0, 1])
    assert trial.flags["b"] == ["2 of 2 runs of b diverged"]


# Robustness


@pytest.fixture
def altered(monkeypatch):
    return lambda how: monkeypatch.setattr(grids, "ALTERED", how)


@pytest.mark.parametrize(
    ("name", "grid", "wider"),
    [
        ("learning_rate", [0.1, 0.2, 0.4], [0.05, 0.1, 0.2, 0.4, 0.8]),
        ("dropout", [0.0, 0.2, 0.5], [0.0, 0.2, 0.5, 0.8]),
        ("width", [16, 32], [8, 16, 32, 64]),
        ("batch_size", [1, 2, 4], [1, 2, 4, 8]),
        ("optimizer", ["sgd", "adam"], ["sgd", "adam"]),
        ("dropout", [0.5, 0.9], [0.278, 0.5, 0.9]),
        ("patience", [None, 2, 4], [1, None, 2, 4, 8]),
        ("learning_rate", [0.1], [0.1]),
    ],
)
def test_grids_are_widened_by_a_step_at_both_ends_where_one_makes_sense(name, grid, wider, altered):
    assert widened(name, grid) == grid
    altered("widened")
    found = widened(name, grid)
    assert (
        found == pytest.approx(wider, abs=1e-3)
        if all(isinstance(each, float) for each in wider)
        else found == wider
    )


@given(low=st.floats(1e-6, 1e-2), high=st.floats(0.1, 10), count=st.integers(2, 30))
def test_a_grid_of_equal_ratios(low, high, count):
    values = log_grid(low, high, count)
    ratios = values[1:] / values[:-1]
    assert len(values) == count and (values[0], values[-1]) == pytest.approx((low, high))
    assert ratios == pytest.approx(np.full(count - 1, ratios[0]))


def test_altered_comparisons_try_more_or_train_longer(altered):
    arms = {"a": BASE, "b": BASE.replace(momentum=0.9)}
    options = {"tune": {"learning_rate": RATES}, "tuning_seeds": [8], "seeds": [0, 1]}
    altered("widened")
    wide = compare(arms, DATA, **options)
    assert wide.tried == {"a": 5, "b": 5} and len(log_grid(0.1, 1, 3)) == 5 and budget(10) == 10
    altered("doubled")
    long = compare(arms, DATA, **options)
    assert (
        long.tried == {"a": 3, "b": 3}
        and long.table["epochs"].tolist() == [4, 4]
        and budget(10) == 20
    )
