"""The clinic: each fault shows its sign, no healthy network shows any, cures work."""

from dataclasses import fields

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.text import Text

from course_utils import Config, compare, load_mnist
from course_utils.classroom.check import ATTEMPTS
from course_utils.lessons.clinic import exercises, figures, labs
from course_utils.lessons.clinic.faults import FAULTS, HEALTHY, symptoms
from course_utils.lessons.clinic.patients import Case, attend
from course_utils.lessons.clinic.ward import Quiz, answer, deal, examine, treated

pytestmark = pytest.mark.slow

SMALL = load_mnist(subset=1000, image_size=14, device="cpu")
BROKEN = [name for name in FAULTS if name != HEALTHY]
SEEDS = (0, 1)


def last(charts):
    *_, chart = charts
    return chart


@pytest.fixture(scope="module")
def ward():
    """{(name, seed): (chart of the patient, chart of its healthy twin)}"""
    return {
        (name, seed): (
            examine(name, SMALL, seed),
            last(attend(FAULTS[name].twin(), SMALL, seed)),
        )
        for name in FAULTS
        for seed in SEEDS
    }


def test_there_are_words_for_everything():
    known = {field.name for field in fields(Case)}
    for fault in FAULTS.values():
        assert fault.sign and fault.remedy
        assert set(fault.broken) | set(fault.setting) | set(fault.cure) <= known
        assert (fault.case() == fault.twin()) == (fault.name == HEALTHY)
    assert len(BROKEN) == 19 and len({fault.sign for fault in FAULTS.values()}) == 20


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", BROKEN)
def test_the_sign_shows_in_the_broken_network_and_not_in_its_twin(ward, name, seed):
    patient, twin = ward[name, seed]
    assert FAULTS[name].shows(patient)
    assert symptoms(twin) == [] and FAULTS[HEALTHY].shows(twin)


@pytest.mark.parametrize("name", BROKEN)
def test_a_sign_is_not_shared_by_many(ward, name):
    """A cause may bring a second sign along, but its own must set it apart."""
    shown = [all(FAULTS[name].shows(ward[other, s][0]) for s in SEEDS) for other in BROKEN]
    assert sum(shown) <= 2


# What does harm can be seen to be cured; a leak only flatters, and a frozen layer may do without.
@pytest.mark.parametrize(
    "name", [n for n in BROKEN if n not in ("test images in the training set", "frozen layer")]
)
def test_the_cure_works(ward, name):
    cured = [examine(name, SMALL, seed, name).accuracy["test"][-1] for seed in SEEDS]
    ill = [ward[name, seed][0].accuracy["test"][-1] for seed in SEEDS]
    assert sum(cured) / len(SEEDS) > sum(ill) / len(SEEDS) + 0.04


def test_a_leak_flatters_and_its_cure_is_honest(ward):
    def flattery(name):
        charts = [ward[name, seed][0] for seed in SEEDS]
        return sum(chart.accuracy["test"][-1] - chart.accuracy["fresh"][-1] for chart in charts)

    assert flattery("test images in the training set") > flattery(HEALTHY) + 0.05


def test_the_lost_spread_is_seen_between_images(ward):
    """The standard deviation over everything stays, where all images are answered alike."""
    chart = ward["vanishing gradients", 0][0]
    whole = chart.at_start("std")
    assert chart.facts["spread kept"] < 0.01 < 0.3 < whole[-1] / whole[0]
    assert ward[HEALTHY, 0][0].facts["spread kept"] > 0.3


@pytest.mark.parametrize("treatment", FAULTS)
def test_a_wrong_cure_never_raises_and_does_not_remove_the_fault(treatment):
    chart = next(attend(treated("labels shuffled", treatment), SMALL))
    assert FAULTS["labels shuffled"].shows(chart) == (treatment != "labels shuffled")


def test_charts_are_reproducible_and_disturb_no_random_numbers():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first = examine("dropout left on in evaluation", SMALL, 1)
    assert torch.equal(torch.rand(3), expected)
    second = examine("dropout left on in evaluation", SMALL, 1)
    assert (first.loss, first.accuracy, first.facts) == (
        second.loss,
        second.accuracy,
        second.facts,
    )


def test_a_seed_deals_the_same_patients_to_everybody():
    assert deal(4, 3) == ["vanishing gradients", "labels shuffled", "all weights start equal"]
    assert deal(5) == deal(5) != deal(6)
    assert HEALTHY not in deal(0, len(BROKEN), healthy=False)
    for count in (0, len(FAULTS) + 1):
        with pytest.raises(ValueError, match="count"):
            deal(0, count)


def test_names_that_are_no_fault_are_refused():
    with pytest.raises(ValueError, match="labels shuffled"):
        examine("tired", SMALL)
    with pytest.raises(ValueError, match="tired"):
        examine("healthy", SMALL, treatment="tired")


def test_a_wrong_diagnosis_is_told_no_cure():
    wrong = answer("labels shuffled", "dead ReLUs")
    assert FAULTS["dead ReLUs"].sign in wrong and FAULTS["dead ReLUs"].remedy not in wrong
    assert "labels shuffled" not in wrong and FAULTS["labels shuffled"].sign not in wrong


def test_a_chart_is_drawn_for_every_patient_and_does_not_name_the_fault(ward):
    for name in FAULTS:
        figure = figures.plot_chart(ward[name, 0][0], ward[HEALTHY, 0][0], "Patient 1")
        words = " ".join(t.get_text() for t in figure.findobj(plt.Text))
        assert name == HEALTHY or name not in words
        plt.close(figure)


# Quiz and exercises -------------------------------------------------------------------------------


def test_a_quiz_marks_and_keeps_its_key():
    quiz = Quiz(SMALL, seed=4, count=3)
    assert len(quiz) == 3 and quiz.key() == Quiz(SMALL, seed=4, count=3).key()
    assert quiz.mark(quiz.key())["right"].all()
    marks = quiz.mark({1: "healthy", 2: "nonsense"})
    assert not marks["right"].any() and list(marks["answer"])[1:] == ["no diagnosis"] * 2
    with pytest.raises(ValueError, match="patient"):
        quiz.chart(4)


def test_the_check_of_diagnoses_speaks_of_the_first_wrong_one():
    quiz = Quiz(SMALL, seed=4, count=3)
    assert exercises.check_diagnoses(quiz.key(), quiz)
    wrong = exercises.check_diagnoses(quiz.key() | {2: "dead ReLUs"}, quiz)
    assert not wrong and "Patient 2" in wrong.message and "zero for every" in wrong.message
    assert "labels shuffled" not in wrong.message
    for nonsense in (None, {}, {1: "healthy"}, {1: 1, 2: 2, 3: 3}, "labels shuffled", [1, 2]):
        assert not exercises.check_diagnoses(nonsense, quiz)


@pytest.mark.parametrize(
    ("answered", "passes"),
    [
        (lambda outputs: (outputs == 0).all(0).float().mean(), True),
        (lambda outputs: 1 - float((outputs > 0).any(0).float().mean()), True),
        (lambda outputs: float((outputs == 0).float().mean()), False),
        (lambda outputs: float((outputs == 0).all(1).float().mean()), False),
        (lambda outputs: float((outputs.mean(0) < 0.01).float().mean()), False),
        (lambda outputs: int((outputs == 0).all(0).sum()), False),
        (lambda outputs: 0.5, False),
        (None, False),
    ],
)
def test_dead_shares(answered, passes):
    assert bool(exercises.check_dead_share(answered)) == passes


def test_a_rule_is_true_of_one_patient_alone(ward):
    charts = {name: ward[name, 0][0] for name in FAULTS}
    name = "gradients not zeroed"
    assert exercises.check_rule(FAULTS[name].shows, name, charts)
    ATTEMPTS.clear()
    for wrong, said in (
        (lambda chart: True, "Another patient"),
        (lambda chart: False, "does not show it"),
        (lambda chart: chart.facts["no such"], "KeyError"),
        (None, "function"),
    ):
        result = exercises.check_rule(wrong, name, charts)
        assert not result and said in result.message


def test_an_experiment_of_ones_own_is_judged_by_its_design_and_its_verdict():
    tiny = load_mnist(subset=100, image_size=4, device="cpu")
    plain = Config(optimizer="sgd", width=8, epochs=1)
    arms = {"a": plain, "b": plain.replace(init="small")}
    grid = {"learning_rate": [1e-5, 0.3, 1e4]}
    trial = compare(arms, tiny, tune=grid, tuning_seeds=[8, 9])
    gain = trial.gain("b")
    verdict = "supported" if gain.low > 0 else "refuted" if gain.high < 0 else "not settled"
    if not any(trial.flags.values()):
        assert exercises.check_my_treatment(trial, verdict)
    assert not exercises.check_my_treatment(trial, None)
    few = compare(arms, tiny, tune=grid, tuning_seeds=[8, 9], seeds=range(4))
    assert "Judge on 8 seeds" in exercises.check_my_treatment(few, verdict).message


# The labs -----------------------------------------------------------------------------------------


def test_patients_can_be_seen_diagnosed_and_cured():
    lab = labs.clinic_lab(SMALL, seed=6, count=3)
    try:
        for number, fault in enumerate([HEALTHY, *deal(6, 3)]):
            lab.press("reset")
            lab.worker.wait()
            healthy = lab.png
            lab.set(patient=number)
            lab.worker.wait()
            ill = lab.png
            assert (ill != healthy) == (number != 0) and (number == 0 or fault not in lab.text)
            lab.set(cure=True)
            lab.worker.wait()
            assert "Choose a diagnosis first" in lab.text
            lab.set(diagnosis=fault)
            lab.worker.wait()
            assert "Right" in lab.text and "after that cure" in lab.text
            assert number == 0 or lab.png != ill
            wrong = "dead ReLUs" if fault != "dead ReLUs" else "frozen layer"
            lab.set(diagnosis=wrong, cure=False)
            lab.worker.wait()
            assert "Look again" in lab.text and FAULTS[wrong].remedy not in lab.text
            head, *rows = lab.table(lab.result)
            assert len(rows) <= labs.MOST_ROWS and {len(row) for row in rows} == {len(head)}
            shown = {cell for row in rows for cell in row[::2]}
            assert set(figures.facts_of(lab.result.chart)) <= shown
    finally:
        lab.close()


def test_in_hard_mode_instruments_and_wrong_diagnoses_cost_points():
    lab = labs.hard_lab(SMALL, seed=9, count=3)
    try:
        closed = lab.png
        assert not lab.table(lab.result) and "10 of 10" in lab.text
        lab.set(instrument="gradient norms")
        lab.worker.wait()
        assert lab.png != closed and "9 of 10" in lab.text
        lab.set(instrument="training")
        lab.worker.wait()
        assert "8 of 10" in lab.text and len(lab.table(lab.result)) > 3
        lab.set(diagnosis="dead ReLUs", instrument=labs.NOTHING_MORE)
        lab.worker.wait()
        assert "5 of 10" in lab.text and "Look again" in lab.text
        lab.set(diagnosis=deal(9, 3)[0])
        lab.worker.wait()
        assert "Right" in lab.text and "5 of 10" in lab.text
        lab.set(patient=2, diagnosis=labs.LOOK_FIRST)
        lab.worker.wait()
        assert "10 of 10" in lab.text and not lab.table(lab.result)
    finally:
        lab.close()


def test_letters_can_be_read_in_a_narrow_window():
    """A window of 1,024 pixels leaves 577 to a picture; letters should keep nine of them."""
    lab = labs.clinic_lab(SMALL, seed=6, count=1)
    try:
        shrinks_to = 577 / (96 * lab.picture.size[0])
        written = [text for text in lab.picture.figure.findobj(Text) if text.get_text()]
        assert len(written) > 10
        assert min(text.get_fontsize() for text in written) * 96 / 72 * shrinks_to >= 9
    finally:
        lab.close()
