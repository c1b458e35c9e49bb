"""Notebook 05: its instruments measure what they say, its checks judge rightly, its lab follows."""

from dataclasses import replace

import nbformat
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from course_utils import Config, Dataset, compare, fit, load_mnist, make_mlp, sweep, train
from course_utils.lessons.batch_size import exercises, experiments, labs
from stored import NOTEBOOKS

MNIST = load_mnist(subset=100, image_size=4, device="cpu")
DATA = Dataset(
    MNIST.train, MNIST.val.first(100), MNIST.test.first(10), "tiny", MNIST.tuning.first(100)
)
TINY = Config(optimizer="sgd", learning_rate=0.3, width=8, epochs=2, batch_size=25)


@pytest.fixture
def cells(shell):
    """The functions that the notebook's cells define: what a learner reads is what is tested."""
    shell.run_cell("import numpy as np\nimport torch\nfrom torch.nn import functional")
    shell.push({"train": train, "small": DATA, "looked_at": DATA, "DataLoader": DataLoader})
    shell.push({"data": TensorDataset(DATA.train.images, DATA.train.labels)})
    for cell in nbformat.read(NOTEBOOKS / "05_batch_size.ipynb", as_version=4).cells:
        starter = "exercise" in cell.metadata.get("tags", [])
        if cell.cell_type == "code" and "def " in cell.source and not starter:
            shell.run_cell("def " + cell.source.partition("def ")[2].split("\n\napart")[0])
    return shell.user_ns


# Instruments


def test_a_race_ends_when_all_seeds_of_a_rate_have_arrived(cells):
    runs = sweep(TINY.replace(epochs=40), learning_rate=[1e-6, 0.5, 1e6], seeds=3)
    arrived = cells["race"](runs, DATA.val)
    assert arrived.shape == (9,) and np.isinf(arrived[:3]).all() and np.isinf(arrived[6:]).all()


def test_image_gradients_are_those_of_single_images_and_average_to_the_batchs(cells):
    torch.manual_seed(0)
    model = make_mlp(16, 5)
    table = cells["image_gradients"](model, DATA.train)
    for image in (0, 7):
        logits = model(DATA.train.images[image : image + 1])
        loss = functional.cross_entropy(logits, DATA.train.labels[image : image + 1])
        own = torch.autograd.grad(loss, list(model.parameters()))
        wanted = torch.cat([part.flatten() for part in own])
        torch.testing.assert_close(table[image], wanted, rtol=1e-4, atol=1e-6)
    loss = functional.cross_entropy(model(DATA.train.images), DATA.train.labels)
    own = torch.autograd.grad(loss, list(model.parameters()))
    wanted = torch.cat([part.flatten() for part in own])
    torch.testing.assert_close(table.mean(0), wanted, rtol=1e-4, atol=1e-6)


def test_the_noise_scale_and_its_angle_are_those_of_gradients_made_to_measure(cells):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4000, 50, generator=generator)
    gradients = torch.zeros(50) + (torch.arange(50) == 0) + noise
    assert cells["noise_scale"](gradients) == pytest.approx(50, rel=0.1)
    angle = experiments.angles(gradients, [50])[0]
    assert angle == pytest.approx(45, abs=4)
    assert experiments.angles(gradients, [4000])[0] == pytest.approx(0, abs=0.1)


def test_accumulated_gradients_are_the_whole_ones_without_batch_normalisation(cells):
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(1000, 1, 4, 4, generator=generator), torch.arange(1000) % 10
    cells["data"] = TensorDataset(images, labels)
    for kind, near in ((None, True), ("layer", True), ("batch", False)):
        torch.manual_seed(0)
        network = make_mlp(16, 8, normalisation=kind)
        whole, parts = (cells["gradient"](network, parts=parts) for parts in (1, 8))
        assert ((parts - whole).norm() / whole.norm() < 1e-4) == near


def test_shaking_is_the_noise_and_not_the_descent():
    steps = np.arange(400)[:, None]
    descent = np.repeat(3 - 0.005 * steps, 2, axis=1)
    assert np.allclose(experiments.shake(descent), 0, atol=1e-9)
    noise = np.random.default_rng(0).normal(0, [0.1, 0.4], (400, 2))
    np.testing.assert_allclose(experiments.shake(descent + noise), [0.1, 0.4], rtol=0.15)


def test_a_trace_holds_the_log_and_the_loss_on_fixed_images():
    log, fixed = experiments.trace(TINY, DATA, updates=6)
    assert log.shape == fixed.shape == (6, 8)
    history = fit(TINY.seeds(8), DATA, progress=False)
    np.testing.assert_allclose(fixed[3], history.val_loss[:, 0], rtol=1e-4)
    np.testing.assert_allclose(log, history.step_loss[:, :6].T, rtol=1e-4)


def test_fewer_to_look_at_leaves_the_training_images():
    fewer = experiments.fewer_to_look_at(DATA, 30)
    assert fewer.train is DATA.train and len(fewer.val) == len(fewer.tuning) == 30
    assert experiments.fewer_to_look_at(replace(DATA, tuning=None), 30).tuning is None


def test_timing_trains_really():
    torch.manual_seed(0)
    model = make_mlp(16, 8)
    before = functional.cross_entropy(model(DATA.train.images), DATA.train.labels).item()
    assert experiments.seconds_per_update(model, DATA.train, 50, rounds=3, least=0.003) > 0
    assert functional.cross_entropy(model(DATA.train.images), DATA.train.labels).item() < before


def test_activations_grow_with_the_batch_and_weights_do_not():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 10))
    own, of_ten = experiments.training_bytes(model, DATA.train, 10)
    same, of_forty = experiments.training_bytes(model, DATA.train, 40)
    assert own == same == 4 * 4 * (16 * 8 + 8 + 8 * 10 + 10)
    # The images, what ReLU gave, and the log-probabilities, 4 bytes a number; and the labels.
    assert of_forty / of_ten == pytest.approx(4, rel=0.1)
    assert of_ten >= 4 * 10 * (16 + 8 + 10)


def test_the_law_gives_back_what_it_was_made_of():
    sizes = [2, 8, 32, 128, 512]
    fewest, critical = experiments.fit_law(sizes, np.array([40 * (1 + 30 / s) for s in sizes]))
    assert fewest == pytest.approx(40, rel=0.02) and critical == pytest.approx(30, rel=0.02)


def test_the_first_rate_lies_where_the_level_is_crossed():
    rates = [0.01, 0.1, 1.0]
    runs = sweep(Config(width=1, epochs=1), learning_rate=rates, seeds=2)
    history = fit(runs, DATA, progress=False)
    for place, right in enumerate((20, 40, 80)):
        history.val_correct[2 * place : 2 * place + 2] = np.arange(100) < right
    np.testing.assert_allclose(experiments.first_rate(history, 0.6), 10**-0.5, rtol=1e-5)
    assert np.isnan(experiments.first_rate(history, 0.1)).all()  # the smallest suffices
    assert np.isnan(experiments.first_rate(history, 0.9)).all()  # none does


# Exercises


def test_the_noise_scale_of_two_batch_sizes():
    def by_ratio(small_square, big_square, small, big):
        ratio = small_square / big_square
        return small * big * (ratio - 1) / (big - ratio * small)

    assert exercises.check_noise_scale(by_ratio)
    wrong = {
        "give the squares 8 and 4": lambda s, b, small, big: s / b,
        "should be a function": None,
        "return a number": lambda *_: None,
        "not for batches of 8": lambda *_: 3.0,
    }
    for said, answer in wrong.items():
        result = exercises.check_noise_scale(answer)
        assert not result and said in result.message
    noisy = lambda s, b, small, big: (s - b) / (1 / small - 1 / big) / b  # noqa: E731
    assert not exercises.check_noise_scale(noisy)


def test_starters_fail(shell):
    shell.push({"exercises": exercises})
    for cell in nbformat.read(NOTEBOOKS / "05_batch_size.ipynb", as_version=4).cells:
        if "exercise" in cell.metadata.get("tags", []) and cell.source.startswith("def "):
            result = shell.run_cell(cell.source).result
            assert not result and len(result.message) > 40


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "should be a function"),
        (lambda a, b, c: c, "Four times the overhead"),
        (lambda a, b, c: a / b, "Four times the overhead"),
        (lambda a, b, c: c * a / b, "100 is best"),
        (lambda a, b, c: 0, "above 0"),
    ],
)
def test_wrong_fastest_batches_are_told_apart(answer, said):
    result = exercises.check_fastest(answer)
    assert not result and said in result.message


def test_the_fastest_batch_may_be_rounded():
    assert exercises.check_fastest(lambda a, b, c: (c * a / b) ** 0.5)
    assert exercises.check_fastest(lambda a, b, c: round((c * a / b) ** 0.5))


def trial(sizes=(50, 10), **options):
    big, little = (TINY.replace(batch_size=size) for size in sizes)
    grid = {"learning_rate": [0.001, 0.3, 1e4]}
    options = {"tune": grid, "tuning_seeds": [8, 9], "question": "updates", **options}
    return compare({"big": big, "little": little}, DATA, **options)


def test_an_experiment_of_ones_own_must_be_about_the_batch_size_and_fair():
    fair = trial()
    gain = fair.gain("little")
    verdict = "supported" if gain.low > 0 else "refuted" if gain.high < 0 else "not settled"
    assert exercises.check_my_experiment(fair, verdict)
    assert not exercises.check_my_experiment(fair, None)
    assert not exercises.check_my_experiment("a story", verdict)
    said = exercises.check_my_experiment(trial(sizes=(50, 50)), verdict).message
    assert "differ in their batch size" in said
    assert "Judge on 8 seeds" in exercises.check_my_experiment(trial(seeds=range(4)), "x").message


# The lab


@pytest.fixture(scope="module")
def lab():
    lab = labs.clocks_lab(load_mnist(subset=100, image_size=7, device="cpu"))
    yield lab
    lab.close()


START = {"batch_size": 32, "learning_rate": 0.1, "optimizer": "sgd", "budget": "equal epochs"}


def test_the_lab_answers_both_ends_of_every_control(lab):
    for name, control in lab.controls.items():
        pictures, texts = [], []
        for value in (control.options[0], control.options[-1]):
            lab.set(**{**START, name: value})
            lab.worker.wait()
            pictures.append(lab.png)
            texts.append(lab.text)
        assert pictures[0] != pictures[1], name
        assert texts[0] != texts[1], name
    lab.set(**START)
    lab.worker.wait()


def test_equal_epochs_and_equal_updates_are_what_they_say(lab):
    lab.set(**{**START, "batch_size": 8})
    lab.worker.wait()
    assert "Batch size 8: 65 updates, 5 epochs" in lab.text
    lab.set(**{**START, "batch_size": 8, "budget": "equal updates"})
    lab.worker.wait()
    assert "Batch size 8: 60 updates" in lab.text


def test_networks_that_diverge_are_counted(lab):
    lab.set(
        **{**START, "learning_rate": lab.controls["learning_rate"].options[-1], "batch_size": 4}
    )
    lab.worker.wait()
    assert "accuracy" in lab.text
