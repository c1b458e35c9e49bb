"""Notebook 06: its instruments measure what they say, its checks judge rightly, its lab follows."""

from dataclasses import replace

import nbformat
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from course_utils import Config, Dataset, Split, compare, fit, load_mnist, make_mlp
from course_utils.lessons.regularisation import exercises, experiments, labs
from stored import NOTEBOOKS

MNIST = load_mnist(subset=100, image_size=4, device="cpu")
DATA = Dataset(
    MNIST.train, MNIST.val.first(100), MNIST.test.first(10), "tiny", MNIST.tuning.first(100)
)
TINY = Config(learning_rate=0.01, width=8, epochs=2, batch_size=25)


# Instruments


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_wrong_labels_are_wrong_and_as_many_as_asked(share):
    split = Split(torch.rand(2000, 1, 2, 2), torch.arange(2000) % 10)
    noisy = experiments.wrong_labels(split, share)
    assert (noisy.labels != split.labels).float().mean() == pytest.approx(share, abs=0.03)
    assert noisy.labels.min() >= 0 and noisy.labels.max() <= 9
    assert torch.equal(noisy.labels, experiments.wrong_labels(split, share).labels)
    assert torch.equal(noisy.images, split.images)


def test_a_gap_that_closes_is_counted_in_points_whichever_curve_moved():
    before = fit(TINY.seeds(3), DATA, progress=False)
    after = fit(TINY.seeds(3), DATA, progress=False)
    for history, seen, right in ((before, 1.0, 60), (after, 0.9, 70)):
        history.train_accuracy[:] = seen
        history.val_correct[:] = np.arange(100) < right
    assert experiments.gap_closed(after, before).value == pytest.approx(0.2)
    assert experiments.gap_closed(before, before).value == 0


def test_images_that_chose_the_epoch_do_not_judge():
    watched = experiments.watched_by_tuning(DATA)
    assert watched.val is DATA.tuning and watched.tuning is None and watched.train is DATA.train
    history = fit(TINY.replace(patience=1, epochs=4).seeds(2), watched, progress=False)
    judged = experiments.judged_on(history, DATA.val)
    for run in range(2):
        answers = history.model(run)(DATA.val.images).argmax(-1) == DATA.val.labels
        assert np.array_equal(judged.val_correct[run], answers.numpy())


def test_labels_learnt_are_told_apart():
    given = experiments.wrong_labels(DATA.train, 0.4)
    runs = [TINY.replace(width=256, learning_rate=0.01, epochs=200, batch_size=50)]
    learnt = experiments.labels_learnt(
        fit(runs, replace(DATA, train=given), progress=False), given, DATA.train.labels
    )
    assert learnt["right labels"].shape == (1,)
    assert learnt["wrong labels"][0] > 0.5  # so large a network learns them by heart
    clean = experiments.labels_learnt(
        fit(TINY.seeds(1), DATA, progress=False), given, DATA.train.labels
    )
    assert clean["wrong labels"][0] < 0.3


def test_with_all_units_at_work_nothing_is_lost_and_with_none_it_is_chance():
    torch.manual_seed(0)
    model = make_mlp(16, 20).eval()
    whole = (model(DATA.val.images).argmax(-1) == DATA.val.labels).float().mean().item()
    assert experiments.silenced_accuracy(model, DATA.val, 0.0) == pytest.approx(whole)
    twin = make_mlp(16, 40).eval()  # every unit twice, at half the weight: nothing to miss
    with torch.no_grad():
        twin[1].weight.copy_(model[1].weight.repeat(2, 1))
        twin[1].bias.copy_(model[1].bias.repeat(2))
        twin[-1].weight.copy_(model[-1].weight.repeat(1, 2) / 2)
        twin[-1].bias.copy_(model[-1].bias)
    same = experiments.silenced_accuracy(twin, DATA.val, 0.0)
    assert same == pytest.approx(whole)


def test_kept_when_silenced_is_a_loss():
    history = fit(TINY.replace(epochs=20, learning_rate=0.03).seeds(2), DATA, progress=False)
    assert (experiments.kept_when_silenced(history, DATA.val, 0.0) == 0).all()
    assert (experiments.kept_when_silenced(history, DATA.val, 0.75) < 0).all()


def test_masks_that_change_nothing_leave_the_whole_networks_score():
    history = fit(TINY.seeds(2), DATA, progress=False)

    def opinions(model, images, count):
        return torch.stack([model(images).softmax(-1) for _ in range(count)]).detach()

    before = torch.random.get_rng_state()
    masks = experiments.with_masks(history, DATA.val, opinions, count=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert masks.alone.shape == masks.averaged.shape == (2, 3) and masks.whole.shape == (2,)
    np.testing.assert_allclose(masks.alone, masks.whole[:, None].repeat(3, 1))
    np.testing.assert_allclose(masks.averaged, masks.alone)
    np.testing.assert_allclose(masks.whole, history.final(), atol=1e-6)


def test_each_shuffled_image_keeps_its_pixels_and_has_an_order_of_its_own():
    shuffled = experiments.each_shuffled(DATA.train.images)
    assert torch.equal(shuffled.flatten(1).sort(1)[0], DATA.train.images.flatten(1).sort(1)[0])
    ramp = torch.arange(64.0).view(1, 1, 8, 8).repeat(2, 1, 1, 1)
    first, second = experiments.each_shuffled(ramp)
    assert not torch.equal(first, second)
    changed = experiments.with_images(DATA, lambda images: images / 2)
    assert torch.equal(changed.val.images, DATA.val.images / 2)
    assert torch.equal(changed.train.labels, DATA.train.labels) and changed.tuning is None


def test_five_patients_have_one_thing_wrong_each():
    noisy = replace(DATA, train=experiments.wrong_labels(DATA.train, 0.3))
    ill = experiments.five_patients(TINY, DATA, noisy)
    assert list(ill) == list("ABCDE")
    changed = {letter: config != TINY for letter, (config, _) in ill.items()}
    assert changed == {"A": True, "B": True, "C": True, "D": False, "E": False}
    assert ill["A"][1] is ill["C"][1] is DATA and ill["B"][1] is noisy
    assert torch.equal(ill["E"][1].val.images, DATA.val.images / 255)


def test_what_is_restored_is_a_share_of_what_was_missing(monkeypatch):
    def learnt(config, dataset):
        return np.full(8, 0.2 + 0.1 * config.width * (1 if config.epochs == 1 else 2))

    monkeypatch.setattr(experiments, "training_accuracy", learnt)
    ill = Config(width=2, epochs=1)
    shares = experiments.restored({"a": (ill, DATA)}, {"width": 3, "epochs": 2}, np.full(8, 1.0))
    np.testing.assert_allclose(shares["width"]["a"], 0.4 / 0.6)
    np.testing.assert_allclose(shares["epochs"]["a"], 0.2 / 0.6)


@pytest.fixture
def cells(shell):
    """The functions that the notebook's cells define: what a learner reads is what is tested."""
    shell.run_cell("import torch\nfrom functools import partial\nfrom torch.nn import functional")
    few = load_mnist(subset=500, image_size=14, device="cpu")
    shell.push({"experiments": experiments, "make_mlp": make_mlp, "few": few})
    for name in ("@torch.no_grad()\ndef opinions", "idle = ", "def distance"):
        for cell in nbformat.read(NOTEBOOKS / "06_regularisation.ipynb", as_version=4).cells:
            if cell.cell_type == "code" and cell.source.startswith(name):
                parts = cell.source.split("\n\n")
                shell.run_cell("\n\n".join(parts[: 2 if name == "idle = " else 1]))
    return shell.user_ns


def test_weight_decay_equals_l2_in_sgd_and_adam_alone(cells):
    distance = cells["distance"]
    assert distance("SGD", 0.02) < 1e-4 and distance("Adam", 0.02) < 1e-3
    assert distance("SGD", 0.01) > 1e-3 and distance("AdamW", 0.02) > 1e-2


def test_opinions_differ_with_dropout_and_leave_the_model_in_evaluation_mode(cells):
    model = make_mlp(16, 30, dropout=0.5).eval()
    voices = cells["opinions"](model, DATA.val.images, 4)
    assert voices.shape == (4, 100, 10) and not torch.equal(voices[0], voices[1])
    torch.testing.assert_close(voices.sum(-1), torch.ones(4, 100))
    assert not model.training


def test_adamws_idle_weights_shrink_as_the_text_says(cells):
    make = cells["partial"](torch.optim.AdamW, lr=0.003, weight_decay=3)
    _, sizes = cells["train_plainly"](make, updates=20)
    np.testing.assert_allclose(sizes[-1] / sizes[0], (1 - 0.009) ** 19, rtol=1e-3)


# Exercises


def right_evaluate(model, split):
    mode = model.training
    model.eval()
    with torch.no_grad():
        share = (model(split.images).argmax(-1) == split.labels).float().mean().item()
    model.train(mode)
    return share


def forgets_to_go_back(model, split):
    model.eval()
    return (model(split.images).argmax(-1) == split.labels).float().mean().item()


def always_trains_on(model, split):
    share = forgets_to_go_back(model, split)
    model.train()
    return share


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        (None, "a function"),
        (
            lambda m, s: (m(s.images).argmax(-1) == s.labels).float().mean().item(),
            "dropout is still on",
        ),
        (lambda m, s: 0.5, "not the score"),
        (lambda m, s: 68.5, "a share"),
        (forgets_to_go_back, "trains without dropout"),
        (always_trains_on, "came in evaluation mode"),
    ],
)
def test_evaluations_that_cannot_be_trusted(evaluate, said):
    result = exercises.check_evaluate(evaluate)
    assert not result and said in result.message


def test_an_evaluation_that_can_be_trusted():
    assert exercises.check_evaluate(right_evaluate)


def right_mixup(model, images, labels, share, order):
    logits = model(share * images + (1 - share) * images[order])
    one, two = (functional.cross_entropy(logits, each) for each in (labels, labels[order]))
    return share * one + (1 - share) * two


def by_soft_labels(model, images, labels, share, order):
    hot = functional.one_hot(labels, 10).float()
    logits = model(share * images + (1 - share) * images[order])
    return functional.cross_entropy(logits, share * hot + (1 - share) * hot[order])


def labels_kept(model, images, labels, share, order):
    mixed = share * images + (1 - share) * images[order]
    wanted = labels if share else labels[order]
    return functional.cross_entropy(model(mixed), wanted)


def losses_mixed(model, images, labels, share, order):
    own = functional.cross_entropy(model(images), labels)
    return share * own + (1 - share) * functional.cross_entropy(model(images[order]), labels[order])


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (None, "a function"),
        (lambda m, i, y, s, o: 1.0, "to descend"),
        (lambda m, i, y, s, o: functional.cross_entropy(m(i), y), "With share 0"),
        (lambda m, i, y, s, o: right_mixup(m, i, y, 1 - s, o), "With share 1"),
        (labels_kept, "their labels are not"),
        (losses_mixed, "ask the network once"),
    ],
)
def test_mixups_that_tempt(loss, said):
    result = exercises.check_mixup(loss)
    assert not result and said in result.message


@pytest.mark.parametrize("loss", [right_mixup, by_soft_labels])
def test_mixup_passes(loss):
    assert exercises.check_mixup(loss)


def test_starters_fail(shell):
    shell.push({"exercises": exercises, "torch": torch, "functional": functional, "nn": nn})
    starters = 0
    for cell in nbformat.read(NOTEBOOKS / "06_regularisation.ipynb", as_version=4).cells:
        if "exercise" in cell.metadata.get("tags", []) and cell.source.startswith("def "):
            result = shell.run_cell(cell.source).result
            assert not result and len(result.message) > 40
            starters += 1
    assert starters == 2


def test_an_experiment_of_ones_own_is_judged_by_its_design():
    arms = {"nothing": TINY, "mine": TINY.replace(label_smoothing=0.2)}
    options = {"tune": {"learning_rate": [1e-5, 0.03, 1e4]}, "tuning_seeds": [8, 9]}
    trial = compare(arms, DATA, **options)
    gain = trial.gain("mine")
    verdict = "supported" if gain.low > 0 else "refuted" if gain.high < 0 else "not settled"
    assert exercises.check_my_experiment(trial, verdict)
    assert not exercises.check_my_experiment(trial, None)
    assert not exercises.check_my_experiment("a story", verdict)
    longer = {"nothing": TINY, "mine": TINY.replace(epochs=3)}
    unequal = compare(longer, DATA, question="epochs", **options)
    said = exercises.check_my_experiment(unequal, "supported").message
    assert "same number of epochs" in said


# The lab


@pytest.fixture(scope="module")
def lab():
    lab = labs.gap_lab(load_mnist(subset=2000, image_size=7, device="cpu"))
    yield lab
    lab.close()


def test_the_lab_answers_both_ends_of_every_control(lab):
    for name, control in lab.controls.items():
        pictures, texts = set(), set()
        for value in (control.options[0], control.options[-1]):
            lab.press("reset")
            lab.set(**{name: value})
            lab.worker.wait()
            assert "Error" not in lab.text
            pictures.add(lab.png)
            texts.add(lab.text)
        assert len(pictures) == len(texts) == 2, name


def test_the_lab_says_whether_the_gap_is_halved_and_from_which_side(lab):
    lab.press("reset")
    lab.set(learning_rate=1e-4)
    lab.worker.wait()
    assert "from the wrong side" in lab.text
    lab.press("reset")
    lab.set(images=2000)
    lab.worker.wait()
    assert "halved" in lab.text and "wrong side" not in lab.text
