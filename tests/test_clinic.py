"""The clinic: every fault shows its sign, no healthy network shows any, every cure works."""

from dataclasses import fields

import pytest
import torch

from course_utils import checks, load_mnist
from course_utils.plots import new_figure
from course_utils.topics import clinic
from course_utils.topics.clinic import FAULTS, Case

pytestmark = pytest.mark.slow

BROKEN = [name for name in FAULTS if name != clinic.HEALTHY]
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def small():
    return load_mnist(subset=1000, image_size=14)


def last(charts):
    *_, chart = charts
    return chart


@pytest.fixture(scope="module")
def ward(small):
    """{(name, seed): (chart of the patient, chart of its healthy twin)}"""
    return {(name, seed): (clinic.examine(name, small, seed), last(clinic.attend(FAULTS[name].twin(), small, seed)))
            for name in FAULTS for seed in SEEDS}


def test_there_are_at_least_twelve_faults_with_words_for_everything():
    assert len(BROKEN) >= 12
    known = {field.name for field in fields(Case)}
    for fault in FAULTS.values():
        assert fault.sign and fault.remedy and set(fault.broken) | set(fault.setting) | set(fault.cure) <= known
        assert fault.case() == fault.twin() if fault.name == clinic.HEALTHY else fault.case() != fault.twin()
    assert len({fault.sign for fault in FAULTS.values()}) == len(FAULTS)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", BROKEN)
def test_the_sign_shows_in_the_broken_network_and_not_in_its_twin(ward, name, seed):
    patient, twin = ward[name, seed]
    assert FAULTS[name].shows(patient)
    assert not FAULTS[name].shows(twin)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", FAULTS)
def test_a_healthy_network_shows_no_sign_at_all(ward, name, seed):
    assert clinic.symptoms(ward[name, seed][1]) == []
    assert FAULTS[clinic.HEALTHY].shows(ward[name, seed][1])


@pytest.mark.parametrize("name", BROKEN)
def test_a_sign_is_not_shared_by_many(ward, name):
    """A cause may bring a second sign along, but its own must set it apart."""
    others = [other for other in BROKEN if other != name and all(FAULTS[name].shows(ward[other, seed][0]) for seed in SEEDS)]
    assert len(others) <= 1, others


# What does harm can be seen to be cured; a leak only flatters, and a frozen layer may do without.
HARMLESS = {"test images in the training set", "frozen layer"}


@pytest.mark.parametrize("name", [name for name in BROKEN if name not in HARMLESS])
def test_the_cure_works(ward, small, name):
    cured = [clinic.examine(name, small, seed, treatment=name).accuracy["test"][-1] for seed in SEEDS]
    ill = [ward[name, seed][0].accuracy["test"][-1] for seed in SEEDS]
    assert sum(cured) / len(SEEDS) > sum(ill) / len(SEEDS) + 0.04


def test_a_leak_flatters_and_its_cure_is_honest(ward):
    flattery = [chart.accuracy["test"][-1] - chart.accuracy["fresh"][-1]
                for name in ("test images in the training set", "healthy")
                for chart in [ward[name, seed][0] for seed in SEEDS]]
    assert sum(flattery[:3]) > sum(flattery[3:]) + 0.05


@pytest.mark.parametrize("treatment", FAULTS)
def test_a_wrong_cure_never_raises_and_does_not_remove_the_fault(small, treatment):
    chart = next(clinic.attend(clinic._treated("labels shuffled", treatment), small))
    assert FAULTS["labels shuffled"].shows(chart) == (treatment != "labels shuffled")


@pytest.mark.parametrize("name", ["exploding gradients", "frozen layer"])
def test_every_treatment_fits_every_kind_of_network(small, name):
    for treatment in FAULTS:
        next(clinic.attend(clinic._treated(name, treatment), small))


def test_charts_are_reproducible_and_disturb_no_random_numbers(small):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first = clinic.examine("dropout left on in evaluation", small, 1)
    assert torch.equal(torch.rand(3), expected)
    second = clinic.examine("dropout left on in evaluation", small, 1)
    assert first.loss == second.loss and first.accuracy == second.accuracy and first.facts == second.facts


def test_a_seed_deals_the_same_patients_to_everybody():
    assert clinic.deal(4, 3) == ["vanishing gradients", "labels shuffled", "all weights start equal"]
    assert clinic.deal(5) == clinic.deal(5) != clinic.deal(6)
    assert len(set(clinic.deal(0, len(FAULTS)))) == len(FAULTS)
    assert clinic.HEALTHY not in clinic.deal(0, len(BROKEN), healthy=False)
    for count in (0, len(FAULTS) + 1):
        with pytest.raises(ValueError, match="count"):
            clinic.deal(0, count)


def test_names_that_are_no_fault_are_refused(small):
    with pytest.raises(ValueError, match="labels shuffled"):
        clinic.examine("tired", small)
    with pytest.raises(ValueError, match="tired"):
        clinic.examine("healthy", small, treatment="tired")


# ---- quiz -----------------------------------------------------------------------------------------------------------


def test_a_quiz_shows_marks_and_keeps_its_key(small):
    quiz = clinic.Quiz(small, seed=4, count=3)
    assert len(quiz) == 3 and quiz.key() == clinic.Quiz(small, seed=4, count=3).key()
    assert quiz.show(1).data.startswith(b"\x89PNG") and quiz.show(1).data != quiz.show(2).data
    assert quiz.show(1).data != quiz.show(1, treatment=quiz.key()[1]).data
    assert not any(name in str(vars(quiz.show(1))) for name in BROKEN), "the answer is not to stand in the picture"
    marks = quiz.mark(quiz.key())
    assert marks["right"].all()
    marks = quiz.mark({1: "healthy", 2: "nonsense"})
    assert not marks["right"].any() and list(marks["answer"])[1:] == ["no diagnosis"] * 2
    with pytest.raises(ValueError, match="patient"):
        quiz.show(4)


def test_the_check_of_diagnoses_speaks_of_the_first_wrong_one(small):
    checks._tries.clear()
    quiz = clinic.Quiz(small, seed=4, count=3)
    assert clinic.check_diagnoses(quiz.key(), quiz)
    wrong = clinic.check_diagnoses(quiz.key() | {2: "dead ReLUs"}, quiz)
    assert not wrong and "patient 2" in wrong.message and FAULTS["dead ReLUs"].sign in wrong.message
    assert "labels shuffled" not in wrong.message, "the answer is not given away"
    for nonsense in (None, {}, {1: "healthy"}, {1: 1, 2: 2, 3: 3}, "labels shuffled", [1, 2, 3]):
        assert not clinic.check_diagnoses(nonsense, quiz)


# ---- the lab --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(small):
    return clinic.clinic_lab(small, seed=0, count=len(FAULTS))


def test_every_patient_can_be_seen_diagnosed_and_cured(lab):
    patients = [clinic.HEALTHY, *clinic.deal(0, len(FAULTS))]
    controls = lab.controls
    for number, fault in enumerate(patients):
        lab.reset()
        before = lab.picture.value
        controls["patient"].value = number
        assert (lab.picture.value != before) == (number != 0)
        assert fault not in lab.status.value or fault == clinic.HEALTHY
        controls["diagnosis"].value = fault
        assert "Right" in lab.status.value and "Error" not in lab.status.value
        ill = lab.picture.value
        controls["cure"].value = "apply the cure for this diagnosis"
        assert lab.picture.value != ill and "after the cure" in lab.status.value
    assert bytes(lab.picture.value).startswith(b"\x89PNG")


def test_a_wrong_diagnosis_is_told_its_own_sign(lab):
    lab.reset()
    lab.controls["patient"].value = 1
    for diagnosis in FAULTS:
        lab.controls["diagnosis"].value = diagnosis
        right = diagnosis == clinic.deal(0, len(FAULTS))[0]
        assert ("Right" in lab.status.value) == right and ("Look again" in lab.status.value) != right


def test_a_cure_without_a_diagnosis_does_nothing(lab):
    lab.reset()
    lab.controls["patient"].value = 2
    accuracy = lab.result.chart.accuracy
    lab.controls["cure"].value = "apply the cure for this diagnosis"
    assert lab.result.chart.accuracy == accuracy and "What is wrong?" in lab.status.value


def test_the_first_picture_comes_after_one_epoch(small):
    lab = clinic.clinic_lab(small, seed=1, count=3)
    first = next(lab.run(lab.values))
    assert len(first.chart.accuracy["test"]) == 1


def test_the_table_of_facts_comes_with_the_last_picture_however_a_patient_ends(small):
    lab = clinic.clinic_lab(small, seed=0, count=len(FAULTS))
    for number in range(len(FAULTS)):
        visits = list(lab.run(lab.values | {"patient": number}))
        assert not visits[-1].growing, visits[-1].fault
        figure, axes = new_figure(3, 2)
        lab.draw(figure, axes, visits[-1], [])
        assert [text.get_text() for text in axes.flat[5].texts] == [clinic.facts_table(visits[-1].chart)]
        if visits[0].growing:
            figure, axes = new_figure(3, 2)
            lab.draw(figure, axes, visits[0], [])
            assert not axes.flat[5].texts
