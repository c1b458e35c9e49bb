"""Schedules by name: real schedulers of torch's, with the curves that their names promise."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from course_utils.engine.schedules import SCHEDULES, make_schedule

WITH_WARMUP = [name for name in SCHEDULES if name not in ("plateau", "warmup_stable_decay")]
RATE = 0.4
KIND = {
    "step": lr_scheduler.StepLR,
    "multistep": lr_scheduler.MultiStepLR,
    "exponential": lr_scheduler.ExponentialLR,
    "linear": lr_scheduler.LinearLR,
    "cosine": lr_scheduler.CosineAnnealingLR,
    "cyclic": lr_scheduler.CyclicLR,
    "warm_restarts": lr_scheduler.CosineAnnealingWarmRestarts,
    "one_cycle": lr_scheduler.OneCycleLR,
    "warmup_stable_decay": lr_scheduler.SequentialLR,
    "plateau": lr_scheduler.ReduceLROnPlateau,
}


def make_optimizer(**options):
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=RATE, momentum=0.9, **options)


def curve(schedule, steps, warmup=0.0):
    """The learning rate of each of ``steps`` updates, as a share of the configured one."""
    optimizer = make_optimizer()
    scheduler = make_schedule(schedule, optimizer, steps, warmup)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"] / RATE)
        assert optimizer.param_groups[0]["momentum"] == 0.9  # only the rate is touched
        optimizer.step()
        if scheduler is not None and schedule != "plateau":
            scheduler.step()
    return rates


def fall(share):
    """Half a cosine wave, from 1 to 0."""
    return (1 + math.cos(math.pi * share)) / 2


def test_every_schedule_is_one_of_torchs_own():
    assert set(KIND) | {"constant"} == set(SCHEDULES)
    for name, kind in KIND.items():
        assert type(make_schedule(name, make_optimizer(), 100)) is kind
    for name in WITH_WARMUP:
        assert isinstance(make_schedule(name, make_optimizer(), 100, 0.1), lr_scheduler.LRScheduler)
    assert make_schedule("constant", make_optimizer(), 100) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", lambda t: 1.0),
        ("step", lambda t: 0.1 ** (t // 28)),
        ("multistep", lambda t: 1 if t < 42 else 0.1 if t < 63 else 0.01),
        ("exponential", lambda t: 0.01 ** (t / 84)),
        ("linear", lambda t: 1 - 0.999 * t / 84),
        ("cosine", lambda t: fall(t / 84)),
        (
            "warm_restarts",
            lambda t: (
                fall(t / 12) if t < 12 else fall((t - 12) / 24) if t < 36 else fall((t - 36) / 48)
            ),
        ),
        ("cyclic", lambda t: 0.1 + 0.9 * (1 - abs(t % 20 - 10) / 10)),
        (
            "warmup_stable_decay",
            lambda t: 0.01 + 0.99 * t / 8 if t < 8 else 1 if t < 68 else 1 - 0.999 * (t - 68) / 16,
        ),
        ("plateau", lambda t: 1.0),
    ],
)
def test_the_curve_is_the_one_intended(name, expected):
    assert curve(name, 84) == pytest.approx([expected(step) for step in range(84)], abs=1e-9)


@pytest.mark.parametrize("steps", [40, 235, 470])
@pytest.mark.parametrize("name", WITH_WARMUP)
def test_start_peak_and_end(name, steps):
    rates = curve(name, steps)
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates[0] == pytest.approx({"one_cycle": 1 / 25, "cyclic": 0.1}.get(name, 1))
    if name in ("cosine", "one_cycle"):
        assert rates[-1] < 0.01
    if name in ("step", "multistep", "exponential"):
        assert rates[-1] == pytest.approx(0.01, rel=0.15)


@given(st.integers(8, 400))
def test_warm_restarts_start_again_exactly_twice_and_each_cycle_falls(steps):
    rates = curve("warm_restarts", steps)
    jumps = [step for step in range(1, steps) if rates[step] > rates[step - 1]]
    assert len(jumps) == 2 and [rates[jump] for jump in jumps] == pytest.approx([1, 1])
    assert jumps[1] - jumps[0] == 2 * jumps[0]
    if steps % 7 == 0:
        assert jumps[0] == steps // 7 and rates[-1] < 0.5


@given(st.integers(1, 400))
def test_step_has_at_most_three_levels(steps):
    assert len({round(math.log10(rate)) for rate in curve("step", steps)}) == min(
        3, steps if steps != 4 else 2
    )


@given(steps=st.integers(1, 200), warmup=st.floats(0, 0.9), name=st.sampled_from(sorted(SCHEDULES)))
def test_rates_are_finite_positive_and_never_above_the_configured_one(steps, warmup, name):
    rates = curve(name, steps, warmup if name in WITH_WARMUP else 0.0)
    assert len(rates) == steps
    assert all(0 < rate <= 1 + 1e-9 for rate in rates)
    if steps >= 10:
        assert max(rates) > 0.7  # and near the configured one at some time


@given(steps=st.integers(1, 200), cut=st.integers(1, 201))
def test_a_warm_up_of_a_whole_number_of_steps_does_not_divide_by_zero(steps, cut):
    rates = curve("one_cycle", steps, min(cut / (steps + 1), 0.99))
    assert all(0 < rate <= 1 + 1e-9 for rate in rates)


@example(steps=2, warmup=0.75, name="exponential")
@given(
    steps=st.integers(2, 200),
    warmup=st.floats(0.01, 0.9),
    name=st.sampled_from([name for name in WITH_WARMUP if name != "one_cycle"]),
)
def test_warm_up_climbs_linearly_for_its_share_and_then_leaves_the_rest_to_the_schedule(
    steps, warmup, name
):
    climb = round(warmup * steps)
    rates = curve(name, steps, warmup)
    assert rates[:climb] == pytest.approx([0.01 + 0.99 * step / climb for step in range(climb)])
    left = steps - climb  # none, where the warm-up fills a very short run
    assert rates[climb:] == pytest.approx(curve(name, max(1, left))[:left])


@pytest.mark.parametrize("warmup", [0.1, 0.3, 0.5])
def test_warm_up_of_one_cycle_is_its_share_before_the_peak(warmup):
    rates = curve("one_cycle", 200, warmup)
    assert rates.index(max(rates)) == pytest.approx(warmup * 200, abs=1)
    assert rates[0] == pytest.approx(1 / 25) and rates[-1] < 0.001


def test_plateau_lowers_the_rate_when_the_loss_stalls_for_three_epochs():
    optimizer = make_optimizer()
    scheduler = make_schedule("plateau", optimizer, 100)
    rates = []
    for loss in [1.0, 0.9, 0.9, 0.9, 0.9, 0.8, 0.8]:
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"] / RATE)
    assert rates == pytest.approx([1, 1, 1, 1, 0.3, 0.3, 0.3])


def test_a_callable_makes_its_own_scheduler():
    optimizer = make_optimizer()
    own = lr_scheduler.StepLR(optimizer, 3)
    assert make_schedule(lambda given: own if given is optimizer else None, optimizer, 100) is own
