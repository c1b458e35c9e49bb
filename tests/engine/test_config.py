"""A Config takes what makes sense, and refuses the rest by name."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from course_utils import Config
from course_utils.engine.augment import AUGMENTATIONS, random_flip
from course_utils.engine.networks import ACTIVATIONS, INITIALISATIONS, NORMALISATIONS
from course_utils.engine.optimizers import OPTIMIZERS
from course_utils.engine.schedules import SCHEDULES

POSITIVE = st.floats(0, exclude_min=True, allow_infinity=False)
NOT_NEGATIVE = st.floats(0, allow_infinity=False)
SHARE = st.floats(0, 1, exclude_max=True)
NEGATIVE = st.floats(max_value=0, exclude_max=True, allow_infinity=False)
NO_SHARE = NEGATIVE | st.floats(1, allow_infinity=False)
NO_NUMBER = (
    st.sampled_from(
        [
            math.nan,
            math.inf,
            -math.inf,
            10**400,
            -(10**400),
            True,
            False,
            np.True_,
            1j,
            "0.1",
            b"1",
            [],
            [0.1],
            (0.1,),
            {},
            object(),
            np.array([0.1]),
            float,
        ]
    )
    | st.text()
    | st.binary()
)


def count(least):
    return st.integers(least, 2**63 - 1)


def no_count(least):
    return (
        st.integers(max_value=least - 1)
        | st.integers(2**63)
        | st.floats()
        | NO_NUMBER
        | st.just(np.float64(3))
    )


def name_of(choices):
    return st.sampled_from(sorted(choices))


def no_name_of(choices, none=False):
    wrong = (
        st.text().filter(lambda text: text not in choices)
        | st.integers()
        | st.floats()
        | st.booleans()
        | st.sampled_from([[], ("relu",), {}, b"adam", "ADAM", " relu", "None"])
    )
    return wrong if none else wrong | st.none()


# field: (sensible values, nonsense)
FIELDS = {
    "learning_rate": (POSITIVE, NEGATIVE | st.just(0) | st.just(0.0) | st.none() | NO_NUMBER),
    "batch_size": (count(1), st.none() | no_count(1)),
    "epochs": (count(1), st.none() | no_count(1)),
    "optimizer": (name_of(OPTIMIZERS), no_name_of(OPTIMIZERS) | st.just(print)),
    "momentum": (st.none() | SHARE, NO_SHARE | NO_NUMBER),
    "nesterov": (st.booleans(), st.sampled_from([0, 1, None, "True", "", 0.0])),
    "weight_decay": (NOT_NEGATIVE, NEGATIVE | st.none() | NO_NUMBER),
    "schedule": (
        name_of(SCHEDULES) | st.just(lambda o: lr_scheduler.StepLR(o, 3)),
        no_name_of(SCHEDULES),
    ),
    "warmup": (SHARE, NO_SHARE | st.none() | NO_NUMBER),
    "clip_norm": (st.none() | POSITIVE, NEGATIVE | st.just(0) | NO_NUMBER),
    "activation": (name_of(ACTIVATIONS), no_name_of(ACTIVATIONS) | st.just(math.tanh)),
    "init": (name_of(INITIALISATIONS), no_name_of(INITIALISATIONS) | st.just(print)),
    "width": (count(1), st.none() | no_count(1)),
    "depth": (count(0), st.none() | no_count(0)),
    "normalisation": (st.none() | name_of(NORMALISATIONS), no_name_of(NORMALISATIONS, none=True)),
    "dropout": (SHARE, NO_SHARE | st.none() | NO_NUMBER),
    "label_smoothing": (SHARE, NO_SHARE | st.none() | NO_NUMBER),
    "augment": (
        st.none() | name_of(AUGMENTATIONS) | st.just(random_flip),
        no_name_of(AUGMENTATIONS, none=True),
    ),
    "patience": (st.none() | count(1), no_count(1)),
    "seed": (st.integers(0, 2**32 - 1), st.none() | no_count(0) | st.integers(2**32)),
}
NEEDED = {"momentum": {"optimizer": "sgd"}, "nesterov": {"optimizer": "sgd", "momentum": 0.9}}


def test_every_field_is_covered_here():
    assert set(FIELDS) == {field.name for field in dataclasses.fields(Config)}


@pytest.mark.parametrize("field", FIELDS)
@given(data=st.data())
def test_nonsense_is_refused_by_name(field, data):
    value = data.draw(FIELDS[field][1])
    with pytest.raises(ValueError) as error:
        Config(**{field: value}, **NEEDED.get(field, {}))
    start, _, takes = str(error.value).rpartition(", takes ")
    assert start == f"{field}: got {value!r}"
    assert len(takes) > 3


@pytest.mark.parametrize("field", FIELDS)
@given(data=st.data())
def test_sense_is_accepted_and_kept(field, data):
    value = data.draw(FIELDS[field][0])
    config = Config(**{field: value}, **NEEDED.get(field, {}))
    assert getattr(config, field) == value


@given(
    st.fixed_dictionaries(
        {
            field: sense
            for field, (sense, _) in FIELDS.items()
            if field not in ("momentum", "nesterov", "warmup")
        }
    )
)
def test_sensible_fields_go_together(fields):
    config = Config(**fields)
    assert Config(**config.to_dict()) == config and hash(config.replace()) == hash(config)


@pytest.mark.parametrize(
    ("field", "value", "plain"),
    [
        ("learning_rate", np.float32(0.5), float),
        ("learning_rate", np.float64(0.1), float),
        ("learning_rate", 1, float),
        ("learning_rate", Fraction(1, 4), float),
        ("learning_rate", np.int64(2), float),
        ("weight_decay", np.float16(0.5), float),
        ("dropout", np.float32(0.25), float),
        ("batch_size", np.int64(64), int),
        ("seed", np.uint8(200), int),
        ("width", np.int32(5), int),
        ("epochs", np.uint64(3), int),
        ("patience", np.int8(3), int),
    ],
)
def test_numbers_of_other_kinds_become_plain_ones(field, value, plain):
    got = getattr(Config(**{field: value}), field)
    assert got == value and type(got) is plain


@example(value=Fraction(10**40 - 1, 10**40))  # below 1, but not as a float
@given(value=st.fractions(1, 3))
def test_limits_hold_after_rounding(value):
    with pytest.raises(ValueError, match="^dropout: "):
        Config(dropout=value)


def test_a_config_is_frozen_and_replace_makes_another():
    config = Config(seed=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 2
    assert config.replace(seed=2) == Config(seed=2) and config == Config(seed=1)
    with pytest.raises(ValueError, match="^width: "):
        config.replace(width=0)
    with pytest.raises(TypeError, match="learning_rat"):
        Config(learning_rat=0.1)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_momentum_needs_an_optimizer_that_has_it(optimizer):
    with pytest.raises(ValueError, match="^momentum: got 0.9, takes None with optimizer"):
        Config(optimizer=optimizer, momentum=0.9)
    assert Config(optimizer=optimizer, momentum=0).momentum == 0
    assert Config(optimizer="rmsprop", momentum=0.9).momentum == 0.9


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.0},
        {"optimizer": "adam"},
        {"optimizer": "rmsprop", "momentum": 0.9},
    ],
)
def test_nesterov_needs_sgd_with_momentum(fields):
    with pytest.raises(ValueError, match="^nesterov: got True, takes True only with"):
        Config(nesterov=True, **fields)


@pytest.mark.parametrize(
    "schedule", ["plateau", "warmup_stable_decay", lambda o: lr_scheduler.StepLR(o, 3)]
)
def test_warmup_is_refused_where_the_schedule_sees_to_its_own_start(schedule):
    with pytest.raises(ValueError, match="^warmup: got 0.1, takes 0 with schedule"):
        Config(schedule=schedule, warmup=0.1)
    assert Config(schedule=schedule).warmup == 0
