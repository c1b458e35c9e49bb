"""Intervals cover what they should, pairs are paired, verdicts follow from intervals."""

import json
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from scipy import stats

from cards import mark_reached
from course_utils import (
    Config,
    Dataset,
    Estimate,
    History,
    accuracy,
    claim,
    difference,
    fit,
    load_mnist,
    mean_interval,
)
from course_utils.claims import TIED, Claim, differ, first_of, robustness_of
from course_utils.evidence import (
    basin,
    basin_width,
    correlation_interval,
    counted,
    curve_interval,
    epochs_to,
    ratio_interval,
    share_interval,
)


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
    assert (estimate.value, estimate.low, estimate.high, estimate.seeds) == pytest.approx(
        (0.5, low, high, 4)
    )


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")]])
def test_mean_interval_refuses_what_has_no_interval(values):
    with pytest.raises(ValueError, match="values"):
        mean_interval(values)


def test_accuracy_covers_the_truth_about_as_often_as_it_says():
    """Simulated: seeds differ in skill, images in difficulty; both are redrawn each time."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(300):
        skill, ease = rng.normal(0, 0.3, (8, 1)), rng.normal(0, 1.0, (1, 400))
        estimate = accuracy(
            history_of(rng.random((8, 400)) < 1 / (1 + np.exp(-1.5 - skill - ease)))
        )
        covered += estimate.low <= TRUTH <= estimate.high
    assert covered / 300 > 0.92


def _truth() -> float:
    rng = np.random.default_rng(1)
    return float(
        np.mean(1 / (1 + np.exp(-1.5 - rng.normal(0, 0.3, 10**6) - rng.normal(0, 1.0, 10**6))))
    )


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
    assert verdict == (
        "supported" if low > threshold else "refuted" if low + width < threshold else "not settled"
    )
    mirrored = Estimate(-effect.value, -effect.high, -effect.low, 8)
    assert claim("X1", "It falls", mirrored, below=-threshold).verdict == verdict


def test_disagreeing_effects_depend():
    effects = {"here": Estimate(1, 0.5, 1.5, 8), "there": Estimate(-1, -1.5, -0.5, 8)}
    card = claim("X2", "It helps", effects, above=0, depends_on="the place")
    assert card.verdict == "depends on the place"
    assert "✔ here: 1 [0.5, 1.5]" in str(card) and "**X2**" in card._repr_markdown_()
    with pytest.raises(ValueError, match="exactly one threshold"):
        claim("X2", "It helps", effects)


def test_basin_counts_and_width():
    configs = [
        Config(learning_rate=rate, seed=seed) for rate in (0.01, 0.1, 1.0) for seed in range(2)
    ]
    correct = np.zeros((6, 100), bool)
    for row, share in enumerate([90, 91, 90, 90, 10, 10]):
        correct[row, :share] = True
    history = history_of(correct, configs)
    rates, mean, low, high = basin(history)
    assert rates.tolist() == [0.01, 0.1, 1.0]
    assert mean == pytest.approx([0.905, 0.9, 0.1])
    assert (low < mean).all() and (mean < high).all()
    assert basin_width(history).value == pytest.approx(1.0, abs=0.05)


def test_curves_average_over_the_runs_that_reached_an_epoch():
    history = history_of(np.ones((2, 50), bool), [Config(epochs=3, seed=seed) for seed in range(2)])
    history.val_accuracy[:] = [[0.5, 0.7, np.nan], [0.7, 0.9, 0.8]]
    mean, low, high = curve_interval(history)
    assert mean == pytest.approx([0.6, 0.8, 0.8])
    assert (
        (low <= mean)[:2].all() and (mean <= high)[:2].all() and np.isnan(low[2])
    )  # one run has no band


CARD = claim(
    "X3",
    "It helps",
    {
        "here": Estimate(np.float64(1.23456789), 0.5, 1.5, np.int64(8), flags=("the edge",)),
        "there": Estimate(-1, -1.5, -0.5, 8),
    },
    above=0,
    depends_on="the place",
    note="Two places.",
)


def test_a_card_carries_its_claim_as_data():
    data, metadata = CARD._repr_mimebundle_()
    assert data["text/plain"] == str(CARD) and data["text/markdown"] == CARD._repr_markdown_()
    stored = json.loads(json.dumps(metadata))["claim"]
    assert stored["verdict"] == "depends on the place" and [
        effect["value"] for effect in stored["effects"]
    ] == [1.23457, -1]
    again = Claim.from_dict(stored)
    assert str(again) == str(CARD) and again.to_dict() == stored
    assert again.verdicts == {"here": "supported", "there": "refuted"}


def test_a_notebook_stores_the_claim_with_the_card():
    shell = InteractiveShell(user_module=ModuleType("lesson"))
    data, metadata = shell.display_formatter.format(CARD)
    assert set(data) == {"text/plain", "text/markdown"}
    assert metadata["claim"]["id"] == "X3"


@pytest.mark.parametrize(
    "damage",
    [
        {"effects": None},
        {"effects": [{"name": "", "value": 1}]},
        {"effects": [{"value": 1}]},
        {"colour": "red"},
    ],
)
def test_a_card_that_is_damaged_is_refused(damage):
    with pytest.raises(ValueError, match="claim: got"):
        Claim.from_dict(CARD.to_dict() | damage)


@pytest.mark.parametrize(
    "effect", [{}, Estimate(float("nan"), 0, 1, 8), {"here": Estimate(1, 0, float("inf"), 8)}]
)
def test_no_verdict_follows_from_no_number(effect):
    with pytest.raises(ValueError, match="effect"):
        claim("X4", "It helps", effect, above=0)


def test_epochs_to_a_target_count_from_one_and_a_run_that_never_arrives_counts_one_more_than_the_last():
    history = History.empty([Config(epochs=3, seed=seed) for seed in range(3)], 1, 10)
    history.val_accuracy[:] = [[0.9, 0.1, 0.9], [0.1, 0.2, 0.5], [0.1, np.nan, np.nan]]
    assert epochs_to(history, 0.5).tolist() == [1, 3, 4]


# Circumstances


UP, DOWN, OPEN, WIDE = (
    Estimate(2, 1, 3, 8),
    Estimate(-2, -3, -1, 8),
    Estimate(0.1, -0.4, 0.6, 8),
    Estimate(1, -1, 3, 8),
)


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        ({"a": UP, "b": UP}, "supported"),
        ({"a": DOWN, "b": DOWN}, "refuted"),
        ({"a": OPEN, "b": WIDE}, "not settled"),
        ({"a": UP, "b": DOWN}, "depends on the day"),
        ({"a": UP, "b": DOWN, "c": OPEN}, "depends on the day"),
        ({"a": UP, "b": WIDE}, "supported for a; not settled for b"),
        ({"a": WIDE, "b": DOWN}, "depends on the day"),
        ({"a": OPEN, "b": Estimate(-0.5, -0.9, -0.1, 8)}, "refuted for b; not settled for a"),
        ({"a": UP, "b": OPEN}, "depends on the day"),  # 1.9 apart, and 1.1 would do
    ],
)
def test_what_is_not_settled_does_not_depend(effects, verdict):
    assert claim("X", "It helps", effects, above=0, depends_on="the day").verdict == verdict


def test_the_first_is_named_only_where_the_second_is_clearly_behind():
    def gain(value, half):
        return Estimate(value, value - half, value + half, 8, "points")

    clear = {"a": gain(0.01, 0.005), "b": gain(0.05, 0.005), "c": gain(-0.2, 0.1)}
    assert first_of(clear) == "b"
    assert first_of(clear | {"d": gain(0.045, 0.02)}) == TIED


@given(
    low=st.floats(-2, 2), width=st.floats(0.01, 2), shift=st.floats(-2, 2), other=st.floats(0.01, 2)
)
def test_depends_needs_a_contradiction_or_a_difference(low, width, shift, other):
    one = Estimate(low + width / 2, low, low + width, 8)
    two = Estimate(low + shift + other / 2, low + shift, low + shift + other, 8)
    card = claim("X", "It helps", {"one": one, "two": two}, above=0, depends_on="the day")
    kinds = set(card.verdicts.values())
    if "depends" in card.verdict:
        assert kinds == {"supported", "refuted"} or differ(one, two)
    elif len(kinds) > 1:
        assert "supported" not in kinds or "refuted" not in kinds


def test_effects_of_one_card_are_one_quantity():
    with pytest.raises(ValueError, match="effect: got the units '%', 'epochs'"):
        claim(
            "X",
            "It helps",
            {"a": Estimate(1, 0, 2, 8, "%"), "b": Estimate(1, 0, 2, 8, "epochs")},
            above=0,
        )


def test_counted_things_have_no_interval_and_settle_a_claim():
    card = claim(
        "X",
        "It needs more memory",
        {"64": counted(3.5, "times"), "512": counted(12, "times")},
        above=1,
    )
    assert (
        card.verdict == "supported"
        and "3.5 times" in str(card)
        and "[" not in str(card)
        and "seeds" not in str(card)
    )


def test_flags_and_coverage_stand_on_the_card():
    effect = mean_interval(
        [1, 2, 3], covers="the luck of the search, on this one landscape"
    ).flagged("one", "two", "one")
    card = claim("X", "It helps", {"a": effect, "b": effect}, above=0)
    assert card.flags == ["one", "two"] and str(card).count("Mind: one.") == 1
    assert (
        str(card).count("The intervals cover the luck of the search, on this one landscape.") == 1
    )
    assert Claim.from_dict(json.loads(json.dumps(card.to_dict()))).flags == ["one", "two"]


def test_robustness_is_told_by_comparing_verdicts():
    stored = [
        {"id": "X", "effects": [{"name": "a"}], "verdict": "supported", "altered": "widened"},
        {"id": "X", "effects": [{"name": "a"}], "verdict": "not settled", "altered": "doubled"},
        {"id": "X", "effects": [{"name": "elsewhere"}], "verdict": "refuted", "altered": "widened"},
        {"id": "Z", "effects": [{"name": "a"}], "verdict": "supported", "altered": "widened"},
    ]
    stored = [card | {"reached": card["id"] == "X"} for card in stored]
    assert robustness_of("X", ["a"], "supported", stored) == {
        "widened": "holds",
        "doubled": "falls to *not settled*",
    }
    assert robustness_of("Y", ["a"], "supported", stored) == {}
    assert robustness_of("Z", ["a"], "supported", stored) == {}  # nothing there to alter


# Intervals inside what is possible


@given(successes=st.integers(0, 60), more=st.integers(0, 60))
def test_a_share_stays_between_none_and_all(successes, more):
    if successes + more:
        share = share_interval(successes, successes + more)
        assert 0 <= share.low <= share.value <= share.high <= 1 and share.low < share.high
    else:
        with pytest.raises(ValueError, match="^successes, trials: got 0 of 0"):
            share_interval(0, 0)


def test_a_share_has_wilsons_interval():
    expected = stats.binomtest(45, 47).proportion_ci(0.95, "wilson")
    share = share_interval(45, 47)
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=5, max_size=40))
def test_a_correlation_stays_between_minus_one_and_one(pairs):
    x, y = zip(*pairs, strict=True)
    if len(set(x)) == 1 or len(set(y)) == 1:
        with pytest.raises(ValueError, match="^x, y"):
            correlation_interval(x, y)
    else:
        found = correlation_interval(x, y)
        assert -1 <= found.low <= found.value + 1e-9 and found.value - 1e-9 <= found.high <= 1


def test_correlations_cover_the_truth_about_as_often_as_they_say():
    rng, truth, covered = np.random.default_rng(0), 6 / np.pi * np.arcsin(0.8 / 2), 0
    for _ in range(300):
        x = rng.normal(size=30)
        found = correlation_interval(x, 0.8 * x + 0.6 * rng.normal(size=30))
        covered += found.low <= truth <= found.high
    assert covered / 300 > 0.91


@given(
    share=st.floats(0.02, 0.999),
    seeds=st.integers(2, 8),
    images=st.integers(2, 60),
    seed=st.integers(0, 99),
)
def test_an_accuracy_stays_between_none_and_all(share, seeds, images, seed):
    estimate = accuracy(history_of(np.random.default_rng(seed).random((seeds, images)) < share))
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_a_ratio_is_compared_on_its_logarithm():
    found = ratio_interval([2, 8, 4], [1, 1, 1])
    assert (
        found.value == pytest.approx(4) and 0 < found.low < 4 < found.high and found.unit == "times"
    )
    with pytest.raises(ValueError, match="^above, below"):
        ratio_interval([1, -1], [1, 1])


# Bands and intervals agree; repeats are no evidence


@pytest.mark.parametrize("seeds", [2, 3, 8])
@pytest.mark.parametrize("images", [20, 1000])
def test_the_band_ends_where_the_printed_interval_does(seeds, images):
    rng = np.random.default_rng(seeds)
    correct = rng.random((seeds, images)) < 1 / (
        1 + np.exp(-1 - rng.normal(0, 0.2, (seeds, 1)) - rng.normal(0, 1, (1, images)))
    )
    history = history_of(correct, [Config(epochs=3, seed=seed) for seed in range(seeds)])
    history.val_accuracy[:, -1] = correct.mean(1)
    history.val_accuracy[:, :-1] = rng.random((seeds, 2))
    _, low, high = curve_interval(history)
    printed = accuracy(history)
    assert (low[-1], high[-1]) == pytest.approx((printed.low, printed.high), abs=1e-5)


def test_one_run_has_no_band():
    history = history_of(np.ones((1, 50), bool), [Config(epochs=3)])
    history.val_accuracy[:] = [0.2, 0.5, 0.6]
    history.val_loss[:] = [2, 1, 0.5]
    for metric in ("val_accuracy", "val_loss"):
        mean, low, high = curve_interval(history, metric)
        assert np.isfinite(mean).all() and np.isnan(low).all() and np.isnan(high).all()


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ([Config()] * 3, "seeds: 0 stands more than once"),
        ([Config(), Config(seed=1), Config(seed=1)], "seeds: 1 stands"),
        (
            [Config(seed=seed, width=4 + seed) for seed in range(3)],
            "history: its runs differ in width",
        ),
        (
            [Config(seed=seed, learning_rate=1 / (seed + 1), optimizer="sgd") for seed in range(3)],
            "history: .*learning_rate",
        ),
    ],
)
def test_repeats_and_mixtures_are_no_seeds(configs, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        accuracy(history_of(np.ones((3, 10), bool), configs))


def test_the_width_of_a_basin_is_finer_than_its_grid():
    configs = [
        Config(learning_rate=rate, seed=seed) for rate in (0.01, 0.1, 1.0) for seed in range(2)
    ]
    correct = np.zeros((6, 100), bool)
    for row, share in enumerate([88, 88, 90, 90, 84, 84]):
        correct[row, :share] = True
    assert basin_width(history_of(correct, configs), within=0.03).value == pytest.approx(1.5)


def test_a_repeat_counts_only_where_there_was_something_to_alter():
    def card(id: str, value: float, altered: str = "", name: str = "a") -> dict:
        effect = {"name": name, "value": value, "low": value - 1, "high": value + 1, "covers": ""}
        made = {"notebook": "03_x", "id": id, "effects": [effect]}
        return made | {"altered": altered} if altered else made

    plain = [card("trained", 1), card("looked up", 1), card("timed", 1, name="seconds saved")]
    repeated = [
        card("trained", 1, "widened"),  # the wider grid was tried, and the same rate chosen
        card("trained", 2, "doubled"),
        card("looked up", 1, "widened"),
        card("looked up", 1, "doubled"),
        card("timed", 3, "doubled", name="seconds saved"),
    ]
    mark_reached(repeated, plain)
    assert [each["reached"] for each in repeated] == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("unit", "limit", "told"),
    [
        ("points", 0.01, "above 1 point;"),
        ("points", -0.002, "above -0.2 points;"),
        ("%", 0.8, "above 80 %;"),
        ("decades", 0.48, "above 0.48 decades;"),
        ("factors of two", 1, "above 1 factor of two;"),
        ("", 0.5, "above 0.5;"),
    ],
)
def test_a_card_names_its_threshold_in_the_unit_of_its_effects(unit, limit, told):
    assert told in str(claim("X", "It helps", Estimate(0.9, 0.85, 0.95, 8, unit), above=limit))


def test_a_difference_and_a_band_refuse_what_accuracy_refuses():
    few = load_mnist(subset=100, image_size=4, device="cpu")
    base = Config(epochs=1, width=4)
    sound = fit(base.seeds(3), few, progress=False)
    pooled = fit(
        [base.replace(learning_rate=0.01 * (seed + 1), seed=seed) for seed in range(3)],
        few,
        progress=False,
    )
    with pytest.raises(ValueError, match="^treated: its runs differ in learning_rate"):
        difference(pooled, sound)
    for history in (pooled, fit([base] * 3, few, progress=False)):
        with pytest.raises(ValueError, match="differ in learning_rate|more than once"):
            curve_interval(history)
    other = Dataset(few.train, few.val.first(50), few.test)
    with pytest.raises(ValueError, match="^images: got 1000 and 50"):
        difference(sound, fit(base.seeds(3), other, progress=False))
