"""Notebook 15: augmentations, networks, recipes on the engine, stored runs, the challenge."""

import json
import multiprocessing
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from course_utils import Config, Dataset, Split, accuracy, fit
from course_utils.classroom import check
from course_utils.lessons.cifar10_challenge import (
    augmentation,
    challenge,
    networks,
    recipes,
    records,
    studies,
    views,
)
from course_utils.lessons.cifar10_challenge.networks import Network
from course_utils.lessons.cifar10_challenge.recipes import BASELINE, FAST, STRONG


@pytest.fixture(autouse=True)
def no_earlier_attempts():
    check.ATTEMPTS.clear()


def random_split(count, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 3, 32, 32), generator=generator) / 255
    return Split(images, torch.arange(count) % 10)


@pytest.fixture(scope="module")
def photographs():
    parts = random_split(100, 0), random_split(50, 1), random_split(50, 2)
    return Dataset(*parts, "CIFAR-10, generated for a test")


SMALL = FAST.replace(width=4, epochs=2, batch_size=25)


@pytest.fixture(scope="module")
def trained(photographs):
    return fit(SMALL.config.seeds(3), photographs, model=SMALL.network, progress=False)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Augmentation -------------------------------------------------------------------------------------


def test_each_crop_is_a_window_of_its_own_of_the_mirrored_image():
    images = torch.rand(30, 3, 8, 8)
    padded = nn.functional.pad(images, (2, 2, 2, 2), mode="reflect")
    places = []
    for image, cropped in zip(padded, augmentation.crop(images, generator()), strict=True):
        same = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(image[:, y : y + 8, x : x + 8], cropped)
        ]
        assert len(same) == 1
        places += same
    assert len(set(places)) > 10


def test_cutout_hides_one_square_of_each_image():
    images = torch.rand(40, 3, 16, 16)
    hidden = (augmentation.cutout(images, generator(), square=5) != images).any(1)
    assert (hidden.flatten(1).sum(1) == 25).all()
    assert (hidden.any(1).sum(1) == 5).all() and (hidden.any(2).sum(1) == 5).all()
    assert len({tuple(square.flatten().tolist()) for square in hidden}) > 10


# Networks on the engine ---------------------------------------------------------------------------


def test_whitening_makes_patches_uncorrelated_with_unit_variance():
    images = nn.functional.interpolate(torch.randn(400, 3, 8, 8), 32, mode="bilinear")
    first = networks.make_resnet(4)[0]
    networks.whiten(first, images)
    assert torch.equal(first.weight[:12], -first.weight[12:])
    outputs = nn.functional.conv2d(images, first.weight[:12], stride=4).transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(outputs), torch.eye(12), atol=0.2, rtol=0)


def test_the_whitened_layer_stays_as_it_is_and_the_others_learn(photographs, trained):
    begin = dict(networks_of(SMALL, photographs).named_parameters())
    end = dict(trained.model(0).named_parameters())
    moved = {name for name in end if not torch.equal(begin[name], end[name])}
    first = next(name for name in end if name.startswith("network."))
    assert first not in moved and len(moved) > 10


def networks_of(recipe, dataset):
    torch.manual_seed(recipe.config.seed)
    return recipe.network(recipe.config, dataset)


def test_the_average_answers_and_the_network_learns(photographs):
    decay, steps = 0.5, 6
    network = Network(width=4, averaging=decay)
    torch.manual_seed(0)
    model = network(Config(), photographs).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    expected = None
    for _ in range(steps):
        weight = model.network[1][0].weight.detach().clone()
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
        optimizer.zero_grad()
        model(photographs.train.images[:20]).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(model.average.module[1][0].weight, expected)
    assert not torch.allclose(model.network[1][0].weight, expected)
    images = photographs.val.images[:8]
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images), model.average.module.eval()(images))


def test_channels_last_changes_the_layout_and_not_the_answer(photographs):
    network = networks.make_resnet(4).eval()
    images = photographs.val.images
    with torch.no_grad():
        before = network(images)
        torch.testing.assert_close(
            networks.ChannelsLast(network)(images), before, atol=1e-5, rtol=1e-4
        )
    assert network[2][0].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_fused_optimiser_trains_channels_last_weights_as_a_plain_loop_does(photographs):
    """Fused steps go by memory: weights and gradients must lie alike."""
    recipe = SMALL.replace(averaging=None, augment=None, schedule="constant", warmup=0.0, views=1)
    recipe = recipe.replace(learning_rate=0.05, epochs=1, label_smoothing=0.0)
    history = fit(recipe.config, photographs, model=recipe.network, progress=False)
    model = networks_of(recipe, photographs).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    settings = {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    optimizer = torch.optim.SGD(trained, **settings, foreach=False, fused=False)
    order = torch.randperm(100, generator=generator())
    for chosen in order.split(25):
        optimizer.zero_grad()
        logits = model(photographs.train.images[chosen])
        nn.functional.cross_entropy(logits, photographs.train.labels[chosen]).backward()
        optimizer.step()
    ours = dict(history.model(0).named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter, atol=1e-4, rtol=1e-3)


def test_the_first_layer_sees_every_second_pixel_or_with_stride_1_every_one():
    images = torch.rand(2, 3, 32, 32)
    assert networks.make_resnet(4, stride=2)[0](images).shape[-2:] == (16, 16)
    assert networks.make_resnet(4, stride=1)[0](images).shape[-2:] == (31, 31)
    assert networks.make_resnet(4, stride=1)(images).shape == (2, 10)


def test_a_new_convolution_hands_its_channels_on():
    images = torch.rand(2, 5, 8, 8)
    torch.testing.assert_close(networks.ConvNorm(5, 9, identity=True)[0](images)[:, :5], images)
    assert not torch.allclose(networks.ConvNorm(5, 9)[0](images)[:, :5], images, atol=0.1)


def test_frozen_layers_do_not_move(photographs):
    recipe = SMALL.replace(whitening=False, averaging=None, frozen=True, views=1)
    begin = dict(networks_of(recipe, photographs).named_parameters())
    history = fit(recipe.config, photographs, model=recipe.network, progress=False)
    moved = [n for n, p in history.model(0).named_parameters() if not torch.equal(begin[n], p)]
    assert len(moved) == 1


# Recipes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "dense"},
        {"averaging": 1.0},
        {"stride": 3},
        {"views": 3},
        {"width": 0},
        {"depth": 1.5},
        {"whitening": 1},
        {"learning_rate": -1},
        {"schedule": "none such"},
        {"augment": "mirror"},
        {"voltage": 9},
    ],
)
def test_recipes_refuse_nonsense_by_name(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        FAST.replace(**change)


@pytest.mark.parametrize(
    "change", [{"whitening": True}, {"identity": True}, {"depth": 2}, {"stride": 1}]
)
def test_a_plain_network_refuses_what_it_would_ignore(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))}.*plain"):
        BASELINE.replace(**change)


@pytest.mark.parametrize(
    "fields",
    [
        {"dropout": 0.9},
        {"activation": "sigmoid"},
        {"normalisation": "layer"},
        {"width": 8},
        {"depth": 2},
        {"init": "zeros"},
    ],
)
def test_what_a_config_says_of_a_network_is_refused_and_never_ignored(photographs, fields):
    name = next(iter(fields))
    with pytest.raises(ValueError, match=rf"{name}: got .* Network\("):
        recipes.Recipe(Config(**fields))
    with pytest.raises(ValueError, match=rf"{name}: got .* Network\("):
        fit(Config(**fields), photographs, model=FAST.network)


def test_every_other_setting_of_training_acts_or_is_refused(photographs):
    """One setting at a time: another loss of the first updates, or an error, but never the same."""
    plain = BASELINE.replace(width=2, epochs=2, batch_size=25, momentum=0.5)
    acting = {
        "learning_rate": 0.3,
        "batch_size": 20,
        "optimizer": "rmsprop",
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.1,
        "schedule": "cosine",
        "warmup": 0.5,
        "clip_norm": 1e-6,
        "label_smoothing": 0.2,
        "augment": "flip",
        "seed": 1,
        "standardise": True,
        "kind": "residual",
    }
    quiet = {"epochs", "patience", "width", "averaging", "views", "frozen"} | set(
        networks.RESIDUAL_ALONE
    )
    assert set(acting) | quiet == set(plain.settings())

    def losses(recipe):
        run = fit(recipe.config, photographs, model=recipe.network, progress=False)
        return run.step_loss[0, :8]

    before = losses(plain)
    for name, value in acting.items():
        after = losses(plain.replace(**{name: value}))
        assert len(after) != len(before) or not np.allclose(after, before, rtol=1e-5), name


def test_plateau_and_augmentations_by_name_work_with_photographs(photographs):
    recipe = SMALL.replace(schedule="plateau", warmup=0.0, augment="flip", averaging=None)
    assert np.isfinite(fit(recipe.config, photographs, model=recipe.network).final()).all()


def test_the_ladder_leads_from_the_baseline_to_fast():
    rungs = recipes.ladder()
    assert list(rungs)[1:] == list(recipes.LEVERS) and list(rungs.values())[-1] == FAST
    for (name, change), before, after in zip(
        recipes.LEVERS.items(), list(rungs.values()), list(rungs.values())[1:], strict=False
    ):
        settings = after.settings()
        differ = {key for key, value in before.settings().items() if settings[key] != value}
        assert differ == set(change), name


def test_recipes_survive_being_stored():
    stored = [study.recipe for study in studies.everything().values()] + [STRONG]
    for recipe in stored:
        text = json.dumps(recipes.plain(recipe.settings()))
        assert recipes.recipe_of(json.loads(text)) == recipe


def test_the_table_of_settings_shows_where_recipes_differ():
    table = recipes.settings_table({"fast": FAST, "strong": STRONG})
    assert set(table.index) == {"width", "depth", "stride"}


@pytest.mark.parametrize(
    ("make", "touched"), [(recipes.the_hint, True), (recipes.the_hint_for_adam, False)]
)
def test_the_hint_turns_the_momentum_unless_it_is_told_not_to(make, touched):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    schedule = make(optimizer)
    for _ in range(200):
        optimizer.step()
        schedule.step()
    group = optimizer.param_groups[0]
    assert group["lr"] == pytest.approx(0.01) and (group["momentum"] == 0.9) != touched


# Views --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", views.VIEWS)
def test_the_views_of_an_image_are_weighted_to_one(count):
    assert sum(weight for *_, weight in views.VIEWS[count]) == pytest.approx(1)
    places = {(shift, mirrored) for shift, mirrored, _ in views.VIEWS[count]}
    assert len(views.VIEWS[count]) == count == len(places)


def test_a_view_is_the_image_moved_along_the_diagonal_or_mirrored():
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(views.view(images, 0, False), images)
    assert torch.equal(views.view(images, 0, True), images.flip(-1))
    assert torch.equal(views.view(images, 1, False)[..., :7, :7], images[..., 1:, 1:])
    assert torch.equal(views.view(images, -1, False)[..., 1:, 1:], images[..., :7, :7])
    assert views.view(images, 1, True).shape == images.shape


def test_asking_for_one_view_finds_what_the_engine_found(photographs, trained):
    again = views.ask(trained, photographs, views=1)
    assert (again.val_correct == trained.val_correct).mean() > 0.98
    several = views.ask(trained, photographs, views=6)
    assert (several.val_correct != trained.val_correct).any()
    assert np.array_equal(several.val_accuracy, trained.val_accuracy)


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx512_f": True}, False),
        ({}, False),
    ],
)
def test_bfloat16_only_where_the_processor_has_it(monkeypatch, capabilities, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert views.bfloat16_is_fast("cpu") == fast and not views.bfloat16_is_fast("mps")


def test_an_older_torch_that_cannot_tell_imitates_no_bfloat16(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not views.bfloat16_is_fast("cpu")


# Stored runs --------------------------------------------------------------------------------------


def test_a_run_comes_back_as_the_history_that_it_was(photographs, tmp_path):
    runs = [
        records.carry_out(SMALL.replace(seed=seed), photographs, "a, b", "all") for seed in (0, 1)
    ]
    records.save(tmp_path / "runs.npz", runs)
    stored = records.Stored(records.load(tmp_path / "runs.npz"))
    again = fit(SMALL.config.seeds(2), photographs, model=SMALL.network, progress=False)
    history = stored["a, b"]
    assert history.configs == again.configs and stored.starting("a, ")["b"].configs
    assert history.val_correct.shape == again.val_correct.shape
    for row, run in enumerate(runs):
        assert (history.val_correct[row] == run.correct[1]).all()
        np.testing.assert_allclose(history.val_accuracy[row], run.lines[3], atol=1e-4)
        assert run.facts["moved"] and run.facts["settings"]["augment"] == "crop_flip"
    assert history.final()[0] == pytest.approx(runs[0].correct[0].mean(), abs=1e-4)


def test_a_damaged_file_of_runs_is_one_clear_error(photographs, tmp_path):
    file = tmp_path / "runs.npz"
    records.save(file, [records.carry_out(SMALL, photographs, "a", "all")])
    whole, numbers = file.read_bytes(), np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[numbers.integers(len(whole))] ^= 1 << numbers.integers(8)
        file.write_bytes(damaged)
        try:
            records.load(file)
        except ValueError as error:
            assert "runs.npz" in str(error)


def test_the_data_of_the_studies_are_what_their_names_say(photographs):
    made = {name: change(photographs) for name, change in studies.DATA.items()}
    assert challenge.shared(made["leaked"].val, made["leaked"].train)
    wrong = made["wrong labels"].train.labels != photographs.train.labels
    assert 0.2 < wrong.float().mean() < 0.5
    assert made["prepared otherwise"].val.images.max() > 100


# The challenge ------------------------------------------------------------------------------------


def answered(history, share=0.95):
    """The same history, had it named ``share`` of the validation images rightly."""
    good = history[:]
    count = good.val_correct.shape[1]
    rng = np.random.default_rng(0)
    good.val_correct = np.stack([rng.permutation(count) < share * count for _ in range(len(good))])
    good.val_accuracy = good.val_accuracy.copy()
    good.val_accuracy[:, -1] = good.val_correct.mean(1)
    return good


def test_a_good_attempt_passes_and_enters_the_leaderboard(photographs, trained, tmp_path):
    board = tmp_path / "board.json"
    assert not challenge.examine(trained, photographs, "first", board)
    assert challenge.examine(answered(trained), photographs, "second", board)
    assert challenge.read_leaderboard(board)["name"].tolist() == ["second", "first"]


def test_an_interval_that_holds_the_bar_is_not_enough(photographs, trained):
    lucky = answered(trained, 0.82)
    assert accuracy(lucky).value > 0.8 > accuracy(lucky).low
    result = challenge.examine(lucky, photographs, leaderboard=None)
    assert not result and "interval" in result.message


def test_what_breaks_the_rules_is_refused_and_not_entered(photographs, trained, tmp_path):
    board, good = tmp_path / "board.json", answered(trained)
    long, forged, one, mixed = good[:], good[:], good[:1], good[:]
    long.configs = [config.replace(epochs=11) for config in good.configs]
    forged.val_accuracy = good.val_accuracy - 0.5
    mixed.configs = [config.replace(weight_decay=0.1 * n) for n, config in enumerate(good.configs)]
    tuned = Dataset(photographs.train, photographs.test, photographs.test, photographs.name)
    seen = Dataset(photographs.train, photographs.train.first(50), photographs.test, "CIFAR-10")
    for history, dataset, said in (
        (long, photographs, "ten epochs"),
        (good, tuned, "test"),
        (good, seen, "training"),
        (forged, photographs, "agree"),
        (one, photographs, "Three seeds"),
        (mixed, photographs, "seed alone"),
        (None, photographs, "Hand over"),
        ("80 %", photographs, "Hand over"),
    ):
        result = challenge.examine(history, dataset, "x", board)
        assert not result and said in result.message
    assert not board.exists()


@pytest.mark.parametrize("text", ["[{", "{}", '[{"name": "x"}]', "[1]", "\x00"])
def test_a_damaged_leaderboard_is_named_and_left_as_it_is(trained, tmp_path, text):
    board = tmp_path / "board.json"
    board.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"board.json is damaged.*Rename or delete"):
        challenge.enter(trained, "x", board)
    assert board.read_text(encoding="utf-8") == text


def write_many(path, name, history):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(15):
            challenge.enter(history, f"{name}-{number}", path)


def test_no_entry_is_lost_among_three_writers(trained, tmp_path):
    board, context = tmp_path / "board.json", multiprocessing.get_context("spawn")
    light = trained[:]
    light.weights = [None] * len(light)
    light.configs = [Config(seed=seed) for seed in range(len(light))]
    writers = [context.Process(target=write_many, args=(board, str(n), light)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    assert len(challenge.read_leaderboard(board)) == 45
