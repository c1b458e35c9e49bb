"""The record of a training run can be cut, grouped, tabulated, and asked for its networks."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from course_utils import Config, Dataset, History, fit, load_mnist
from course_utils.engine.history import CURVES

RATES, SEEDS, EPOCHS = (0.1, 0.2, 0.4), (0, 1), 4
ARRAYS = (*CURVES, "step_loss", "learning_rate", "diverged", "kept_epoch", "val_correct", "seconds")


def record(configs=None, steps=8):
    """A history with a different number in every place."""
    configs = configs or [
        Config(learning_rate=rate, seed=seed, epochs=EPOCHS) for rate in RATES for seed in SEEDS
    ]
    history, rng = History.empty(configs, steps, 5), np.random.default_rng(0)
    for name in ARRAYS:
        array = getattr(history, name)
        array[:] = rng.random(array.shape) > 0.5 if array.dtype == bool else rng.random(array.shape)
    history.kept_epoch[:] = EPOCHS - 1
    return history


def trained(**options):
    mnist = load_mnist(subset=50, image_size=4, device="cpu")
    data = Dataset(mnist.train, mnist.val.first(20), mnist.test.first(10))
    return fit(
        [Config(seed=seed, epochs=2, width=3) for seed in range(3)], data, progress=False, **options
    )


def test_an_empty_record_is_all_missing():
    history = History.empty([Config(epochs=2), Config(epochs=5)], 30, 7)
    assert (
        len(history) == 2 and history.val_correct.shape == (2, 7) and not history.val_correct.any()
    )
    assert all(
        np.isnan(getattr(history, name)).all() and getattr(history, name).shape == (2, 5)
        for name in CURVES
    )
    assert (
        history.step_loss.shape == history.learning_rate.shape == (2, 30)
        and np.isnan(history.step_loss).all()
    )
    assert (
        not history.diverged.any()
        and (history.kept_epoch == -1).all()
        and np.isnan(history.final()).all()
    )


@given(st.data())
def test_indexing_takes_the_same_rows_of_everything(data):
    history = record()
    history.weights = list("abcdef")
    chosen = data.draw(
        st.slices(6)
        | st.lists(st.integers(-6, 5), min_size=1).map(np.array)
        | st.integers(-6, 5)
        | st.lists(st.booleans(), min_size=6, max_size=6).map(np.array)
    )
    rows, part = np.atleast_1d(np.arange(6)[chosen]), history[chosen]
    assert part.configs == [history.configs[row] for row in rows] and len(part) == len(rows)
    assert part.weights == ["abcdef"[row] for row in rows]
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(part, name), getattr(history, name)[rows])


def test_select_finds_the_runs_with_these_values():
    history = record()
    np.testing.assert_array_equal(history.select(learning_rate=0.2).val_loss, history.val_loss[2:4])
    np.testing.assert_array_equal(
        history.select(learning_rate=0.2, seed=1).val_loss, history.val_loss[3:4]
    )
    assert len(history.select()) == 6
    with pytest.raises(
        ValueError, match=r"no run has .*0\.3.*differ in .*'learning_rate': \[0\.1, 0\.2, 0\.4\]"
    ):
        history.select(learning_rate=0.3)
    with pytest.raises(AttributeError, match="rate"):
        history.select(rate=0.1)


def test_by_groups_in_order_of_appearance_and_loses_nothing():
    history = record()[[4, 0, 5, 1, 2]]
    groups = history.by("learning_rate")
    assert list(groups) == [0.4, 0.1, 0.2] and [len(group) for group in groups.values()] == [
        2,
        2,
        1,
    ]
    np.testing.assert_array_equal(
        np.concatenate([group.val_loss for group in groups.values()]),
        history.val_loss[[0, 2, 1, 3, 4]],
    )
    assert {name: len(group) for name, group in history.by("momentum").items()} == {None: 5}


@given(
    st.lists(
        st.sampled_from(
            [{}, {"seed": 1}, {"width": 8}, {"seed": 1, "dropout": 0.5}, {"momentum": 0.0}]
        ),
        min_size=1,
    )
)
def test_varied_names_the_fields_that_differ_and_no_others(changes):
    configs = [Config(**fields) for fields in changes]
    differing = [
        name
        for name in configs[0].to_dict()
        if len({getattr(config, name) for config in configs}) > 1
    ]
    assert record(configs).varied() == differing


def test_a_schedule_that_all_share_is_not_varied_though_it_is_no_plain_function():
    schedule = partial(lr_scheduler.StepLR, step_size=3)
    assert record([Config(seed=seed, schedule=schedule) for seed in SEEDS]).varied() == ["seed"]


def test_final_is_the_value_at_the_epoch_that_was_kept():
    history = record()
    history.kept_epoch[:] = [3, 0, 1, 2, -1, 3]
    for metric in CURVES:
        curve = getattr(history, metric)
        expected = [curve[0, 3], curve[1, 0], curve[2, 1], curve[3, 2], np.nan, curve[5, 3]]
        np.testing.assert_array_equal(history.final(metric), np.array(expected, np.float32))
    np.testing.assert_array_equal(history.final(), history.final("val_accuracy"))


def test_mean_is_over_the_runs():
    history = record()
    np.testing.assert_allclose(history.mean("val_loss"), history.val_loss.sum(0) / 6, rtol=1e-6)
    assert history.mean().shape == (EPOCHS,)


def test_the_table_has_a_row_for_each_run_and_epoch():
    history = record()
    frame = history.to_dataframe()
    assert list(frame.columns) == ["learning_rate", "seed", "epoch", *CURVES]
    assert len(frame) == 6 * EPOCHS and sorted(set(frame.epoch)) == [1, 2, 3, 4]
    for index, config in enumerate(history.configs):
        rows = frame[
            (frame.learning_rate == config.learning_rate) & (frame.seed == config.seed)
        ].sort_values("epoch")
        for name in CURVES:
            np.testing.assert_array_equal(rows[name], getattr(history, name)[index])


def test_the_table_leaves_out_epochs_that_were_never_run():
    history = record()
    for name in CURVES:
        getattr(history, name)[2, 1:] = np.nan
    frame = history.to_dataframe()
    assert len(frame) == 6 * EPOCHS - 3 and frame.notna().all(axis=None)
    assert frame[(frame.learning_rate == 0.2) & (frame.seed == 0)].epoch.tolist() == [1]


def test_the_table_names_callables_and_keeps_the_seed_column():
    def my_schedule(optimizer):
        return lr_scheduler.StepLR(optimizer, 3)

    frame = record(
        [Config(schedule=my_schedule), Config(schedule="cosine"), Config(momentum=None)]
    ).to_dataframe()
    assert set(frame.schedule) == {"my_schedule", "cosine", "constant"} and set(frame.seed) == {0}


def test_models_follow_their_runs_through_select():
    history = trained()
    expected = dict(history.model(2).named_parameters())
    for name, parameter in history.select(seed=2).model().named_parameters():
        assert (parameter == expected[name]).all()
    assert not (history.model(0)[1].weight == history.model(2)[1].weight).all()


def test_without_kept_models_the_curves_are_there_and_the_message_says_why_the_model_is_not():
    history, kept = trained(keep_models=False), trained()
    np.testing.assert_array_equal(history.val_loss, kept.val_loss)
    with pytest.raises(
        ValueError, match="run 1 has no weights: fit was called with keep_models=False"
    ):
        history.model(1)
    with pytest.raises(IndexError):
        kept.model(3)


def test_time_is_shared_among_the_runs():
    seconds = trained().seconds
    assert seconds.shape == (3,) and (seconds > 0).all() and len(set(seconds)) == 1


def test_a_table_has_as_many_groups_as_there_are_values():
    """None is kept by pandas, and two functions of one name are two."""
    values = {
        "augment": [None, lambda images, generator: images, lambda images, generator: 2 * images],
        "momentum": [None, 0.5],
        "clip_norm": [None, 1.0],
        "patience": [None, 3],
        "normalisation": [None, "layer"],
    }
    base = Config(optimizer="sgd", epochs=1, batch_size=50, width=4)
    data = load_mnist(subset=100, image_size=4, device="cpu")
    for name, tried in values.items():
        configs = [base.replace(**{name: each}, seed=seed) for each in tried for seed in range(2)]
        history = fit(configs, data, progress=False)
        table = history.to_dataframe()
        assert table.groupby(name).ngroups == len(history.by(name)) == len(tried), name
        assert " at 0x" not in table[name].astype(str).sum()
