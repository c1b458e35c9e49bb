"""Notebook 09: augmentations, networks, the loop, the examiner, the leaderboard, and the exercises."""

import json

import nbformat
import numpy as np
import pytest
import torch
from torch import nn

from course_utils import Dataset, Split, checks
from course_utils.cifar import load_digits_as_cifar
from course_utils.topics import t09, t09_exam
from run_notebooks import NOTEBOOKS

STEM = "09_cifar10_challenge"


@pytest.fixture(autouse=True)
def no_earlier_tries():
    checks._tries.clear()


def random_split(count, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 3, 32, 32), generator=generator) / 255
    return Split(images, torch.arange(count) % 10)


@pytest.fixture(scope="module")
def photographs():
    return Dataset(random_split(100, 0), random_split(50, 1), random_split(50, 2), "CIFAR-10, generated for a test")


SMALL = t09.FAST.replace(width=4, epochs=2, batch_size=25, precision="float32")


@pytest.fixture(scope="module")
def trained(photographs):
    return t09.train_recipe(SMALL, photographs)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- augmentation -------------------------------------------------------------------------------------------------------


def test_each_crop_is_a_window_of_its_own_of_the_mirrored_image():
    images = torch.rand(30, 3, 8, 8)
    padded = nn.functional.pad(images, (2, 2, 2, 2), mode="reflect")
    places = []
    for image, cropped in zip(padded, t09.crop(images, generator(), padding=2), strict=True):
        found = [(y, x) for y in range(5) for x in range(5) if torch.equal(image[:, y:y + 8, x:x + 8], cropped)]
        assert len(found) == 1
        places += found
    assert len(set(places)) > 10


def test_cutout_covers_one_square_of_each_image():
    images = torch.rand(40, 3, 16, 16)
    changed = t09.cutout(images, generator(), size=5)
    covered = (changed != images).any(1)
    assert (covered.flatten(1).sum(1) == 25).all()
    assert (covered.any(1).sum(1) == 5).all() and (covered.any(2).sum(1) == 5).all()
    assert len({tuple(square.flatten().tolist()) for square in covered}) > 10


# ---- networks and the loop ----------------------------------------------------------------------------------------------


def test_whitening_makes_patches_uncorrelated_with_unit_variance():
    images = nn.functional.interpolate(torch.randn(400, 3, 8, 8), 32, mode="bilinear")
    model = t09.make_resnet(4)
    t09.whiten(model, images)
    weight = model[0].weight
    assert torch.equal(weight[:12], -weight[12:])
    outputs = nn.functional.conv2d(images, weight[:12], stride=4).transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(outputs), torch.eye(12), atol=0.2, rtol=0)


def test_a_run_can_be_repeated_and_its_network_is_what_was_judged(photographs, trained):
    again = t09.train_recipe(SMALL, photographs)
    np.testing.assert_allclose(again.step_loss, trained.step_loss, rtol=1e-4)
    _, right = t09.evaluate(trained.model(), photographs.val, views=SMALL.test_views)
    assert (right == trained.val_correct[0]).mean() > 0.95
    assert trained.final()[0] == pytest.approx(trained.val_correct[0].mean())
    assert trained.learning_rate[0].max() <= SMALL.learning_rate + 1e-6


def test_an_interrupted_run_continues_where_it_was(photographs, trained, tmp_path):
    class PowerCut(Exception):
        pass

    def cut(history, epoch):
        raise PowerCut

    file = tmp_path / "run.pt"
    with pytest.raises(PowerCut):
        t09.train_recipe(SMALL, photographs, on_epoch=cut, checkpoint=file)
    continued = t09.train_recipe(SMALL, photographs, checkpoint=file)
    np.testing.assert_allclose(continued.step_loss, trained.step_loss, rtol=1e-4)
    np.testing.assert_allclose(continued.val_loss, trained.val_loss, rtol=1e-3)
    with pytest.raises(ValueError, match="another recipe"):
        t09.train_recipe(SMALL.replace(width=5), photographs, checkpoint=file)


def test_a_run_that_diverges_ends_and_says_so(photographs):
    hopeless = SMALL.replace(learning_rate=1e30, schedule="constant", warmup=0, whitening=False)
    history = t09.train_recipe(hopeless, photographs)
    assert history.diverged[0] and np.isnan(history.final()[0])


@pytest.mark.parametrize("change", [{"network": "dense"}, {"precision": "float8"}, {"averaging": 1.0}, {"stride": 3},
                                    {"test_views": 3}, {"network": "plain", "whitening": True}, {"learning_rate": -1}])
def test_recipes_refuse_nonsense_by_name(change):
    with pytest.raises(ValueError, match=next(iter(change)) if "whitening" not in change else "whitening"):
        t09.FAST.replace(**change)


@pytest.mark.parametrize(("capabilities", "precision"), [
    ({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16),
    ({"avx512_f": True, "avx512_bf16": False}, torch.float32), ({}, torch.float32),
])
def test_bfloat16_only_where_the_processor_has_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert t09.best_precision("cpu") == precision and t09.best_precision("mps") == torch.float32


# ---- the examiner and the files -----------------------------------------------------------------------------------------


def passing(history, share=0.9):
    """The same history, had it answered ``share`` of the validation images rightly."""
    good = history[:]
    good.val_correct = np.arange(good.val_correct.shape[1])[None] < share * good.val_correct.shape[1]
    good.val_accuracy = good.val_accuracy.copy()
    good.val_accuracy[0, -1] = good.val_correct.mean()
    return good


def test_a_good_attempt_passes_and_enters_the_leaderboard(photographs, trained, tmp_path):
    board = tmp_path / "board.json"
    assert not t09_exam.check_challenge(trained, photographs, "first", board)
    assert t09_exam.check_challenge(passing(trained), photographs, "second", board)
    assert [entry["name"] for entry in t09_exam.read_leaderboard(board)] == ["second", "first"]
    assert [path.name for path in tmp_path.iterdir()] == ["board.json"]


def test_what_breaks_the_rules_is_refused_and_not_entered(photographs, trained, tmp_path):
    board, good = tmp_path / "board.json", passing(trained)
    long, forged = good[:], good[:]
    long.configs = [SMALL.replace(epochs=11)]
    forged.val_accuracy = trained.val_accuracy
    tuned = Dataset(photographs.train, photographs.test, photographs.test, photographs.name)
    seen = Dataset(photographs.train, photographs.train.first(50), photographs.test, photographs.name)
    for history, dataset, said in ((long, photographs, "ten epochs"), (good, tuned, "test"), (good, seen, "training"),
                                   (forged, photographs, "agree"), (None, photographs, "hand over"),
                                   ("80 %", photographs, "")):
        result = t09_exam.check_challenge(history, dataset, "x", board)
        assert not result and said in result.message
    assert not board.exists()


def test_hints_come_in_three_steps(photographs, trained):
    told = [t09_exam.check_challenge(trained, photographs, leaderboard=None).message for _ in range(4)]
    assert len(set(told)) == 3 and told[2] == told[3]


def test_a_damaged_leaderboard_is_left_as_it_is(trained, tmp_path):
    board = tmp_path / "board.json"
    board.write_text("[{", encoding="utf-8")
    with pytest.raises(ValueError, match="board.json is damaged"):
        t09_exam.enter(trained, "x", board)
    assert board.read_text(encoding="utf-8") == "[{"


def test_results_are_merged_with_what_they_were_measured_on(photographs, trained, tmp_path):
    file = tmp_path / "results.json"
    t09_exam.store_result("one", [trained], photographs, file)
    t09_exam.store_result("two", [trained, trained], photographs, file, note="a test")
    stored = t09_exam.load_stored(file)
    assert list(stored) == ["one", "two"] and stored == json.loads(file.read_text(encoding="utf-8"))
    assert stored["two"]["processor"] and stored["two"]["recipe"]["augment"] == "crop_flip"
    rows = t09_exam.stored_table(stored)
    assert "no interval" in rows[0]["validation accuracy"] and "[" in rows[1]["validation accuracy"]


def test_a_stored_result_comes_back_as_the_history_it_was(photographs, trained, tmp_path):
    other = t09.train_recipe(SMALL.replace(seed=1), photographs)
    file = tmp_path / "results.json"
    t09_exam.store_result("both", [trained, other], photographs, file)
    back = t09_exam.stored_history(t09_exam.load_stored(file)["both"])
    assert [config.seed for config in back.configs] == [0, 1] and back.configs[0].augment is t09.crop_flip
    for row, run in enumerate((trained, other)):
        assert (back.val_correct[row] == run.val_correct[0]).all()
        np.testing.assert_allclose(back.val_accuracy[row], run.val_accuracy[0], atol=1e-4)
        assert back.final()[row] == pytest.approx(back.val_correct[row].mean(), abs=1e-4)


def test_the_first_layer_sees_every_pixel_at_stride_1_and_every_second_at_stride_2():
    images = torch.rand(2, 3, 32, 32)
    assert t09.make_resnet(4, stride=2)[0](images).shape[-2:] == (16, 16)
    assert t09.make_resnet(4, stride=1)[0](images).shape[-2:] == (31, 31)
    assert t09.make_resnet(4, stride=1)(images).shape == (2, 10)


@pytest.mark.parametrize("views", t09.VIEWS)
def test_the_views_of_an_image_are_weighted_to_one(views):
    assert sum(weight for *_, weight in t09.VIEWS[views]) == pytest.approx(1)
    assert len(t09.VIEWS[views]) == views == len({(shift, mirrored) for shift, mirrored, _ in t09.VIEWS[views]})


def test_a_view_is_the_image_moved_along_the_diagonal_or_mirrored():
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(t09.view(images, 0, False), images) and torch.equal(t09.view(images, 0, True), images.flip(-1))
    assert torch.equal(t09.view(images, 1, False)[..., :7, :7], images[..., 1:, 1:])
    assert torch.equal(t09.view(images, -1, False)[..., 1:, 1:], images[..., :7, :7])
    assert t09.view(images, 1, True).shape == images.shape


def test_a_new_convolution_hands_its_channels_on():
    images = torch.rand(2, 5, 8, 8)
    torch.testing.assert_close(t09.ConvNorm(5, 9)[0](images)[:, :5], images)
    assert not torch.allclose(t09.ConvNorm(5, 9, dirac=False)[0](images)[:, :5], images, atol=0.1)


def test_stored_results_name_their_runs():
    for result in t09_exam.load_stored().values():
        assert {"processor", "torch", "threads", "seeds", "seconds", "measured", "data", "note"} <= set(result)
        assert max(result["epochs"]) <= t09.MOST_EPOCHS
        assert len(result["seeds"]) == len(result["seconds"]) == len(result["val_accuracy"])


# ---- the lab and the page -----------------------------------------------------------------------------------------------


def test_the_lab_survives_its_extremes():
    lab = t09.augmentation_lab(load_digits_as_cifar(20, device="cpu"), count=4)
    for name, control in lab.controls.items():
        for value in (control._options_full[0][1], control._options_full[-1][1]):
            lab.reset()
            control.value = value
            assert "pixels differ" in lab.status.value, (name, value)
    assert bytes(lab.picture.value).startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["exercise", "solution"])
def test_every_starter_fails_helpfully_and_every_solution_passes(tag, shell):
    assert shell.run_cell("import torch\nfrom course_utils.cifar import load_digits_as_cifar\n"
                          "from course_utils.topics import t09, t09_exam\nimages = load_digits_as_cifar(1000)").success
    path = {"exercise": f"{STEM}.ipynb", "solution": f"solutions/{STEM}_solutions.ipynb"}[tag]
    cells = [cell.source for cell in nbformat.read(NOTEBOOKS / path, as_version=4).cells
             if tag in cell.metadata.get("tags", [])]
    assert len(cells) == 4
    for number, source in enumerate(cells, start=1):
        outcome = shell.run_cell(source)
        assert outcome.success and outcome.result.exercise == f"09.{number}"
        assert bool(outcome.result) == (tag == "solution"), outcome.result
        assert tag == "solution" or "Hint:" in outcome.result.message
