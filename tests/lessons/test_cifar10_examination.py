"""Notebook 15: stored runs, their fair comparison, the examination, the lab."""

import numpy as np
import pytest

from course_utils import difference
from course_utils.claims import judge
from course_utils.classroom import check
from course_utils.lessons.cifar10_challenge import (
    examination,
    exercises,
    labs,
    recipes,
    records,
    replay,
    reports,
    studies,
)

RATES = {"learning_rate": [0.2, 0.4, 0.8, 1.6, 3.2]}
JUDGES = list(studies.BANK_JUDGES)


@pytest.fixture(autouse=True)
def no_earlier_attempts():
    check.ATTEMPTS.clear()


@pytest.fixture(scope="module")
def stored():
    return records.load_stored()


def trial_of(stored, **changes):
    usual = {"tune": RATES, "tuning_seeds": [4], "seeds": JUDGES}
    return replay.replay(stored, {"nothing": "none", "crop": "crop"}, **usual | changes)


# What is stored -----------------------------------------------------------------------------------


def test_the_stored_runs_are_those_that_the_studies_describe(stored):
    described = studies.everything()
    assert set(stored) == set(described)
    for name, runs in stored.records.items():
        seeds = [run.facts["settings"]["seed"] for run in runs]
        assert seeds == list(described[name].seeds), name
        for run in runs:
            settings = recipes.plain(described[name].recipe.settings())
            assert run.facts["settings"] == settings | {"seed": run.facts["settings"]["seed"]}, name
            assert run.facts["data"] == described[name].data


def test_the_stored_file_is_small_and_its_curves_agree_with_its_answers(stored):
    assert records.STORED.stat().st_size < 2_000_000
    for runs in stored.records.values():
        for run in runs:
            last = run.lines[3, -1]
            assert np.isnan(last) or abs(last - run.correct[0].mean()) < 1e-3
            assert run.correct.shape[1] == 5000


def test_the_bank_was_judged_at_the_rates_that_its_first_seed_chose(stored):
    arms = {name: name for name in studies.BANK_CHOICE}
    trial = replay.replay(stored, arms, tune=RATES, tuning_seeds=[4], seeds=JUDGES)
    chosen = {arm: choice["learning_rate"] for arm, choice in trial.chosen.items()}
    assert chosen == studies.BANK_CHOICE and not any(trial.flags.values())


def test_two_schedules_were_judged_at_the_rates_that_seeds_of_their_own_chose(stored):
    trial = replay.schedules(stored)
    assert not any(trial.flags.values()) and len(set(trial.updates.values())) == 1
    assert len(set(trial.tried.values())) == 1
    table = replay.tried(trial)
    for arm, judged in trial.histories.items():
        rate = trial.chosen[arm]["learning_rate"]
        assert {config.learning_rate for config in judged.configs} == {rate}
        choosers = {config.seed for config in trial.tuning[arm].configs}
        assert choosers == set(studies.SCHEDULE_CHOOSERS)
        assert not choosers & {config.seed for config in judged.configs}
        chosen = trial.tuning[arm].select(learning_rate=rate).val_correct.mean()
        shown = table.loc[f"{arm}: accuracy in %"]
        assert shown[rate] == f"{100 * chosen:.1f}" == max(shown)
        assert list(shown.index) == list(studies.SCHEDULE_RATES)
        assert judged.val_correct.shape[1] == 2500


# Replay -------------------------------------------------------------------------------------------


def test_a_replay_chooses_by_some_images_and_judges_by_the_others(stored):
    trial = trial_of(stored)
    rate = trial.chosen["crop"]["learning_rate"]
    whole = stored[f"bank, crop {rate:g}"].val_correct
    assert np.array_equal(trial.histories["crop"].val_correct, whole[: len(JUDGES), 1::2])
    chosen_by = trial.tuning["crop"].select(learning_rate=rate).val_correct
    assert np.array_equal(chosen_by, whole[len(JUDGES) :, ::2])
    means = [runs.val_correct.mean() for runs in trial.tuning["crop"].by("learning_rate").values()]
    assert chosen_by.mean() == max(means)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": [1, 4], "tuning_seeds": [4]}, "stand in both"),
        ({"seeds": [77]}, "no run of"),
        ({"tune": {"learning_rate": [0.3]}}, "no run of"),
        ({"tune": {"learning_rate": [0.2, 0.4, 0.8]}}, "seed 0 was trained at 1.6"),
        ({"tune": {"momentum": [0.9]}}, "takes learning_rate"),
        ({"tune": {"learning_rate": []}}, "takes learning_rate"),
        ({"seeds": []}, "seeds: got none"),
        ({"tuning_seeds": []}, "tuning_seeds: got none"),
    ],
)
def test_a_replay_of_what_is_not_stored_is_refused(stored, changes, said):
    with pytest.raises(ValueError, match=said):
        trial_of(stored, **changes)
    with pytest.raises(ValueError, match="two or more"):
        replay.replay(stored, {"a": "crop"}, tune=RATES, tuning_seeds=[4], seeds=[0])
    with pytest.raises(ValueError, match="'flip', takes one of none, crop, crop_flip"):
        replay.replay(stored, {"a": "flip", "b": "crop"}, tune=RATES, tuning_seeds=[4], seeds=[0])


def test_the_ladder_has_the_same_photographs_and_seeds_on_every_rung(stored):
    rungs = replay.rungs(stored)
    seeds = {tuple(config.seed for config in runs.configs) for runs in rungs.values()}
    assert list(rungs) == list(recipes.ladder())
    assert len(seeds) == 1 and len(next(iter(seeds))) >= 3
    records_of = [runs for name, runs in stored.records.items() if name.startswith("rung, ")]
    assert {run.facts["training_images"] for runs in records_of for run in runs} == {10_000}
    one_view, six_views = list(rungs.values())[-2:]
    assert (one_view.val_correct != six_views.val_correct).any()
    assert (one_view.val_loss == six_views.val_loss).all()  # one training, asked twice


# The examination ----------------------------------------------------------------------------------


def test_means_alone_do_not_pass_and_intervals_do(stored):
    by_mean, by_interval = {}, {}
    for number, (_, treated, control) in examination.pairs(stored).items():
        gain = difference(treated, control)
        by_mean[number] = "gain" if gain.value > 0 else "loss"
        by_interval[number] = "gain" if gain.low > 0 else "loss" if gain.high < 0 else "not settled"
    assert not exercises.check_verdicts(by_mean, stored)
    assert not exercises.check_verdicts(by_interval | {1: "perhaps"}, stored)
    assert not exercises.check_verdicts({}, stored)
    listed = exercises.check_diagnoses(dict.fromkeys(examination.LETTERS, ["healthy"]), stored)
    assert "takes one of" in listed.message
    assert exercises.check_verdicts(by_interval, stored)
    assert len(set(by_interval.values())) >= 2


def test_one_mistake_in_the_reports_is_allowed_and_two_are_not(stored):
    right = {letter: report.flaw for letter, report in reports.reports(stored).items()}
    assert sorted(right.values()) == sorted(reports.FLAWS)
    swapped = right | {"A": right["B"], "B": right["A"]}
    assert exercises.check_flaws(right, stored) and exercises.check_flaws(
        right | {"A": right["B"]}, stored
    )
    result = exercises.check_flaws(swapped, stored)
    assert not result and "5 of 7" in result.message
    assert not exercises.check_flaws(dict.fromkeys(right, "fair"), stored)
    assert "flaw" not in reports.reports_table(stored).columns


def test_the_fair_report_is_fair(stored):
    arms = {"crop": "crop", "flip": "crop_flip"}
    trial = replay.replay(stored, arms, tune=RATES, tuning_seeds=[4], seeds=JUDGES)
    assert not any(trial.flags.values())
    told = [each.result for each in reports.reports(stored).values() if each.flaw == "fair"]
    assert told == [str(difference(trial.histories["flip"], trial.histories["crop"]))]


def test_the_ward_holds_one_of_each_illness_and_a_wrong_diagnosis_is_told(stored):
    right = {
        letter: examination.illness_of(run) for letter, run in examination.ward(stored).items()
    }
    assert set(right.values()) == set(examination.ILLNESSES) - set(examination.SOLVED)
    assert exercises.check_diagnoses(right, stored)
    assert not exercises.check_diagnoses(right | {"A": right["B"], "B": right["A"]}, stored)
    assert not exercises.check_diagnoses(dict.fromkeys(right, "healthy"), stored)
    assert len(examination.vital_signs(examination.ward(stored))) == 8


def test_each_network_has_levers_that_help_and_levers_that_do_not(stored):
    gains = {name: examination.lever_gains(stored, name) for name in examination.situations(stored)}
    best = {name: max(each, key=lambda lever: each[lever].value) for name, each in gains.items()}
    assert exercises.check_levers(best, stored)
    assert not exercises.check_levers({"network 1": best["network 1"]}, stored)
    wrong = {"network 1": "averaged weights", "network 2": "label smoothing"}
    result = exercises.check_levers(wrong, stored)
    assert not result and "gained more" in result.message
    for odd, said in (("a prayer", "takes one of"), (["crop and flip"], "takes one of")):
        assert said in exercises.check_levers(best | {"network 2": odd}, stored).message
    result = exercises.check_levers({"network 3": "crop and flip"}, stored)
    assert "no answer yet to network 1, network 2" in result.message


def test_an_experiment_of_ones_own_must_be_fair_and_its_verdict_must_follow(stored):
    fair = trial_of(stored)
    verdict = judge(fair.gain("crop"), 0, None)
    other = "refuted" if verdict != "refuted" else "supported"
    assert exercises.check_my_experiment(fair, verdict)
    for trial, answer, said in (
        (None, verdict, "replay"),
        (trial_of(stored, seeds=JUDGES[:-1]), verdict, "seeds or more"),
        (trial_of(stored, tune={"learning_rate": [0.8, 1.6]}), verdict, "3 values"),
        (fair, other, "interval"),
        (fair, None, "verdict"),
    ):
        result = exercises.check_my_experiment(trial, answer)
        assert not result and said in result.message


# The lab ------------------------------------------------------------------------------------------


def test_every_control_of_the_lab_changes_its_picture(stored):
    lab = labs.difference_lab(stored)
    lab.worker.wait()
    first = lab.png
    assert "minus" in lab.text
    for name, value in (
        ("images", 100),
        ("pair", list(labs.PAIRS)[-1]),
        ("seeds", 8),
        ("pair", list(labs.PAIRS)[1]),
        ("images", 5000),
    ):
        before = lab.png
        lab.set(**{name: value})
        lab.worker.wait()
        assert lab.png != before, name
    assert lab.png != first
