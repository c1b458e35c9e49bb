"""The engine is plain PyTorch, K times over: held to ordinary loops with torch.optim, one network after another."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from course_utils import Config, Dataset, Split, fit, load_mnist, make_cnn, make_mlp, train
from course_utils.engine import training
from course_utils.stacking import architecture

CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
CLOSE = {"rtol": 2e-3, "atol": 2e-4}
BASE = Config(
    batch_size=20, epochs=5, width=8, activation="tanh", optimizer="sgd", learning_rate=0.3
)
STEPS = 50  # 190 images: nine batches of 20 and one of 10, five times


def small(images=190, size=7, device="cpu"):
    mnist = load_mnist(subset=images, image_size=size, device=device)
    return Dataset(mnist.train, mnist.val.first(200), mnist.test.first(10), name="small")


DATA = small()


def run(configs, dataset=DATA, **options):
    return fit(configs, dataset, progress=False, **options)


# The reference: nothing of the engine's, nothing of ours


def plain_mlp(config, dataset, normalisation=None):
    """The network of a Config in torch's own layers, with He's initialisation from the same seed."""
    torch.manual_seed(config.seed)
    layers, inputs = [nn.Flatten()], dataset.train.images[0].numel()
    for _ in range(config.depth):
        layers.append(nn.Linear(inputs, config.width))
        if normalisation:
            layers.append(normalisation(config.width))
        layers.append({"tanh": nn.Tanh, "relu": nn.ReLU}[config.activation]())
        inputs = config.width
    layers.append(nn.Linear(inputs, 10))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, math.sqrt(2 / layer.in_features))
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def plain_loop(
    config, model, optimizer=None, scheduler=None, dataset=DATA, loss=functional.cross_entropy
):
    """The loop of every tutorial. Returns the losses and the learning rates of all steps; trains ``model``."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = optimizer or torch.optim.SGD(trained, lr=config.learning_rate)
    scheduler = scheduler and scheduler(optimizer)
    order, losses, rates = torch.Generator().manual_seed(config.seed), [], []
    images, labels = dataset.train.images, dataset.train.labels
    for _ in range(config.epochs):
        model.train()
        for chosen in torch.randperm(len(images), generator=order).split(config.batch_size):
            optimizer.zero_grad()
            value = loss(model(images[chosen]), labels[chosen])
            value.backward()
            if config.clip_norm:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            losses.append(value.item())
            if scheduler and not isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
                scheduler.step()
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            scheduler.step(evaluate(model, dataset.val)[0])
    return np.array(losses), np.array(rates)


@torch.no_grad()
def evaluate(model, split):
    """(mean loss, which are right), in evaluation mode."""
    logits = model.eval()(split.images)
    return functional.cross_entropy(logits, split.labels).item(), (
        logits.argmax(1) == split.labels
    ).cpu().numpy()


def assert_same_weights(model, expected, **tolerance):
    for mine, other in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine.data, other.data, **(tolerance or CLOSE))


def assert_same_run(history, index, expected, dataset=DATA):
    """Run ``index`` has the weights of the module ``expected``, and its last figures."""
    assert_same_weights(history.model(index), expected)
    last = history.kept_epoch[index]
    loss, correct = evaluate(expected, dataset.val)
    assert history.val_loss[index, last] == pytest.approx(loss, rel=2e-3)
    assert history.val_accuracy[index, last] == pytest.approx(correct.mean(), abs=0.011)
    loss, correct = evaluate(expected, dataset.train.first(len(dataset.val)))
    assert history.train_loss[index, last] == pytest.approx(loss, rel=2e-3)
    assert history.train_accuracy[index, last] == pytest.approx(correct.mean(), abs=0.011)


def assert_equal(history, other):
    """Two records hold the same numbers, to the last bit."""
    for name in (*CURVES, "step_loss", "learning_rate", "diverged", "kept_epoch", "val_correct"):
        np.testing.assert_array_equal(getattr(history, name), getattr(other, name), err_msg=name)


def assert_alike(history, other):
    """Two records hold the same numbers, up to rounding."""
    for name in (*CURVES, "step_loss", "learning_rate"):
        tolerance = {"atol": 0.011} if "accuracy" in name else {"rtol": 2e-3, "atol": 1e-5}
        np.testing.assert_allclose(
            getattr(history, name), getattr(other, name), err_msg=name, **tolerance
        )
    np.testing.assert_array_equal(history.kept_epoch, other.kept_epoch)


OPTIMIZERS = {
    "sgd": ({"learning_rate": 0.3}, lambda p, lr: torch.optim.SGD(p, lr=lr)),
    "sgd with L2": (
        {"learning_rate": 0.3, "weight_decay": 0.02},
        lambda p, lr: torch.optim.SGD(p, lr=lr, weight_decay=0.02),
    ),
    "momentum": (
        {"learning_rate": 0.1, "momentum": 0.9},
        lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
    ),
    "nesterov": (
        {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
        lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, nesterov=True),
    ),
    "adam": (
        {"optimizer": "adam", "learning_rate": 0.01},
        lambda p, lr: torch.optim.Adam(p, lr=lr),
    ),
    "adam with L2": (
        {"optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0.02},
        lambda p, lr: torch.optim.Adam(p, lr=lr, weight_decay=0.02),
    ),
    "adamw": (
        {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.3},
        lambda p, lr: torch.optim.AdamW(p, lr=lr, weight_decay=0.3),
    ),
    "adamw without decay": (
        {"optimizer": "adamw", "learning_rate": 0.01},
        lambda p, lr: torch.optim.AdamW(p, lr=lr, weight_decay=0),
    ),
    "rmsprop": (
        {"optimizer": "rmsprop", "learning_rate": 0.003},
        lambda p, lr: torch.optim.RMSprop(p, lr=lr),
    ),
    "rmsprop with momentum": (
        {"optimizer": "rmsprop", "learning_rate": 0.001, "momentum": 0.8},
        lambda p, lr: torch.optim.RMSprop(p, lr=lr, momentum=0.8),
    ),
}


def warm_cosine(optimizer):
    climb = lr_scheduler.LinearLR(optimizer, 0.01, 1.0, total_iters=10)
    return lr_scheduler.SequentialLR(
        optimizer, [climb, lr_scheduler.CosineAnnealingLR(optimizer, 40)], [10]
    )


SCHEDULES = {
    "constant": ({}, None),
    "step": ({"schedule": "step"}, lambda o: lr_scheduler.StepLR(o, 17, 0.1)),
    "cosine": ({"schedule": "cosine"}, lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS)),
    "warm restarts": (
        {"schedule": "warm_restarts"},
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 8, 2),
    ),
    "one-cycle": (
        {"schedule": "one_cycle"},
        lambda o: lr_scheduler.OneCycleLR(
            o, o.param_groups[0]["lr"], total_steps=STEPS + 1, cycle_momentum=False
        ),
    ),
    "cyclic": (
        {"schedule": "cyclic"},
        lambda o: lr_scheduler.CyclicLR(
            o,
            o.param_groups[0]["lr"] / 10,
            o.param_groups[0]["lr"],
            step_size_up=6,
            cycle_momentum=False,
        ),
    ),
    "warm-up and cosine": ({"schedule": "cosine", "warmup": 0.2}, warm_cosine),
    "plateau": (
        {"schedule": "plateau"},
        lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.3, patience=2),
    ),
    "one's own": (
        {"schedule": lambda o: lr_scheduler.ExponentialLR(o, 0.97)},
        lambda o: lr_scheduler.ExponentialLR(o, 0.97),
    ),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_stack_equals_plain_loops(optimizer, schedule):
    fields, make_optimizer = OPTIMIZERS[optimizer]
    more, make_scheduler = SCHEDULES[schedule]
    config = BASE.replace(**fields, **more)
    # Two that can share an optimiser, one that cannot, and one that shares its batches with another.
    configs = [
        config,
        config.replace(seed=1),
        config.replace(seed=2, learning_rate=config.learning_rate / 3),
        config.replace(learning_rate=config.learning_rate / 2),
    ]
    history = run(configs)
    for index, each in enumerate(configs):
        model = plain_mlp(each, DATA)
        before = copy.deepcopy(model)
        losses, rates = plain_loop(
            each, model, make_optimizer(model.parameters(), each.learning_rate), make_scheduler
        )
        assert len(losses) == STEPS
        np.testing.assert_allclose(history.learning_rate[index], rates, rtol=1e-5)
        np.testing.assert_allclose(history.step_loss[index], losses, rtol=2e-3, atol=1e-4)
        assert_same_run(history, index, model)
        with pytest.raises(AssertionError):  # there was something to learn
            assert_same_weights(history.model(index), before)


def test_plateau_equals_plain_loops_where_it_lowers_the_rate():
    data = small(60)
    config = BASE.replace(schedule="plateau", batch_size=30, epochs=25)
    configs = [config.replace(learning_rate=rate) for rate in (2.0, 1.0, 0.01)]
    history = run(configs, data)
    for index, config in enumerate(configs):
        model = plain_mlp(config, data)
        losses, rates = plain_loop(config, model, scheduler=SCHEDULES["plateau"][1], dataset=data)
        np.testing.assert_allclose(history.learning_rate[index], rates, rtol=1e-5)
        np.testing.assert_allclose(history.step_loss[index], losses, rtol=2e-3, atol=1e-4)
    lowered = [len(set(rates)) > 1 for rates in history.learning_rate.tolist()]
    assert lowered[0] and not lowered[2]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(
    ("fields", "normalisation"),
    [
        ({"depth": 0}, None),
        ({"depth": 3, "activation": "relu", "learning_rate": 0.1}, None),
        ({"normalisation": "batch", "depth": 2}, nn.BatchNorm1d),
        ({"normalisation": "layer"}, nn.LayerNorm),
        ({"batch_size": 1000}, None),
        ({"batch_size": 190}, None),
        ({"clip_norm": 0.3, "learning_rate": 1.0}, None),
    ],
    ids=[
        "no hidden layer",
        "deep",
        "batch norm",
        "layer norm",
        "batch beyond the data",
        "batch of all",
        "clipping",
    ],
)
def test_other_networks_and_batches_equal_plain_loops(fields, normalisation, alone):
    configs = [BASE.replace(**fields, seed=seed) for seed in range(1 if alone else 3)]
    history = run(configs)
    for index, config in enumerate(configs):
        model = plain_mlp(config, DATA, normalisation)
        losses, _ = plain_loop(config, model)
        assert len(losses) == np.isfinite(history.step_loss[index]).sum()
        np.testing.assert_allclose(history.step_loss[index], losses, rtol=2e-3, atol=1e-4)
        assert_same_run(history, index, model)
        for mine, other in zip(
            [b for b in history.model(index).buffers() if b.numel() == 8],
            [b for b in model.buffers() if b.numel() == 8],
            strict=True,
        ):
            torch.testing.assert_close(mine, other, **CLOSE)  # the running statistics of BatchNorm


def test_clipping_is_each_networks_own():
    """One clips hard, one hardly ever, one not at all: in one stack."""
    limits = (0.1, 2.0, None)
    configs = [
        BASE.replace(clip_norm=limit, learning_rate=1.0, seed=seed)
        for seed, limit in enumerate(limits)
    ]
    history = run(configs)
    for index, config in enumerate(configs):
        model = plain_mlp(config, DATA)
        plain_loop(config, model)
        assert_same_run(history, index, model)
    unclipped = run([config.replace(clip_norm=None) for config in configs])
    assert np.abs(history.step_loss[0] - unclipped.step_loss[0]).max() > 0.1


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_every_device_equals_plain_loops(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA")
    if device == "mps" and not torch.backends.mps.is_available():
        pytest.skip("this machine has no MPS")
    configs = [
        BASE.replace(seed=seed, optimizer="adamw", learning_rate=0.01, schedule="cosine")
        for seed in range(3)
    ]
    history = run(configs, small(device=device))
    for index, config in enumerate(configs):
        model = plain_mlp(config, DATA)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0)
        plain_loop(config, model, optimizer, SCHEDULES["cosine"][1])
        assert next(history.model(index).parameters()).device.type == device
        assert_same_run(history, index, model.cpu())


# Neighbours


def rows_of(history):
    return [history[index] for index in range(len(history))]


NEIGHBOURS = [
    BASE,
    BASE.replace(seed=1),
    BASE.replace(seed=1, learning_rate=0.1),
    BASE.replace(seed=2, momentum=0.9, learning_rate=0.05),
    BASE.replace(optimizer="adamw", learning_rate=0.01, schedule="cosine"),
    BASE.replace(seed=3, clip_norm=0.2),
    BASE.replace(seed=4, label_smoothing=0.2),
    BASE.replace(optimizer="rmsprop", learning_rate=0.003, init="xavier"),
    BASE.replace(seed=5, schedule="plateau"),
    BASE.replace(seed=6, augment="shift"),
    BASE.replace(seed=1, augment="affine"),
    BASE.replace(seed=7, patience=1, learning_rate=2.0),
]


@pytest.mark.parametrize(
    "order",
    [range(len(NEIGHBOURS)), range(len(NEIGHBOURS))[::-1], [3, 10, 0, 7], [11, 2]],
    ids=["as given", "reversed", "four", "two"],
)
def test_a_result_does_not_depend_on_who_shares_the_stack(order):
    history = run([NEIGHBOURS[index] for index in order])
    for place, index in enumerate(order):
        alone = run(NEIGHBOURS[index])
        assert_alike(history[place], alone)
        assert_same_weights(history.model(place), alone.model())


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.05},
        {"momentum": 0.5},
        {"nesterov": True},
        {"weight_decay": 0.05},
        {"schedule": "step"},
        {"warmup": 0.5},
        {"optimizer": "rmsprop"},
        {"schedule": lambda o: lr_scheduler.ConstantLR(o, 0.3, 99)},
    ],
    ids=lambda change: "".join(change),
)
def test_neighbours_that_differ_in_one_field_only_are_told_apart(change):
    config = BASE.replace(learning_rate=0.02, momentum=0.9, schedule="cosine")
    history = run([config, config.replace(**change), config.replace(seed=1)])
    for index, each in enumerate(history.configs):
        assert_alike(history[index], run(each))
    assert np.abs(history.step_loss[0] - history.step_loss[1]).max() > 0.01


@pytest.mark.parametrize("most", [1, 700, 1500])
def test_cutting_a_stack_into_parts_changes_nothing(monkeypatch, most):
    whole, sizes = run(NEIGHBOURS), []
    monkeypatch.setattr(architecture, "STACK_PARAMETERS", most)
    cut = run(NEIGHBOURS, on_epoch=lambda run: sizes.append(len(run.indices)))
    assert max(sizes) == max(1, most // 490)  # 49 x 8 + 8 + 8 x 10 + 10 = 490 numbers a network
    assert_alike(whole, cut)


def test_configurations_that_cannot_share_a_stack_come_back_in_the_order_given():
    fields = itertools.product((20, 50), (4, 8), (0, 1, 2), (1, 2))
    configs = [
        BASE.replace(batch_size=batch, width=width, depth=depth, epochs=epochs, seed=seed)
        for seed, (batch, width, depth, epochs) in enumerate(fields)
    ]
    configs = [configs[index] for index in np.random.default_rng(0).permutation(len(configs))]
    history = run(configs)
    assert (
        history.configs == configs
        and history.val_loss.shape == (24, 2)
        and history.step_loss.shape == (24, 20)
    )
    for index, config in enumerate(configs):
        steps = config.epochs * math.ceil(190 / config.batch_size)
        assert np.isfinite(history.step_loss[index]).tolist() == [True] * steps + [False] * (
            20 - steps
        )
        assert (
            np.isfinite(history.val_loss[index]).sum()
            == config.epochs
            == history.kept_epoch[index] + 1
        )
        model = plain_mlp(config, DATA)
        plain_loop(config, model)
        assert_same_run(history, index, model)


def test_dropout_in_a_stack_is_dropout_alone_in_distribution():
    configs = [BASE.replace(dropout=0.5, epochs=2, seed=seed) for seed in range(60)]
    stacked = run(configs).step_loss.mean(1)
    alone = np.concatenate([run(config).step_loss.mean(1) for config in configs])
    without = run([config.replace(dropout=0.0) for config in configs]).step_loss.mean(1)
    difference = stacked - alone  # paired: same weights at the start, same batches
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(60)
    assert difference.std() > 0
    assert (stacked - without).mean() > 4 * (stacked - without).std() / math.sqrt(
        60
    )  # it would be noticed


def test_rates_of_dropout_differ_within_a_stack():
    config = BASE.replace(width=64, epochs=1)
    configs = [
        config.replace(dropout=rate, seed=seed) for rate in (0.0, 0.3, 0.9) for seed in range(8)
    ]
    history, plain = run(configs), run([config.replace(dropout=0.0) for config in configs])
    assert_alike(history[:8], plain[:8])  # none is none, next to whom it may be
    worse = (history.step_loss - plain.step_loss).mean(1).reshape(3, 8).mean(1)
    assert worse[0] == pytest.approx(0, abs=1e-4) and worse[2] > worse[1] > 0.02
    assert [history.model(index)[3].p for index in (0, 8, 16)] == pytest.approx([0, 0.3, 0.9])


# Divergence


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("patience", [None, 3])
def test_a_run_that_diverges_is_marked_ends_and_harms_no_neighbour(shared, patience):
    """``shared``: the neighbours have the same fields but for seeds, and so the same optimiser's settings."""
    calm = [BASE.replace(seed=seed, patience=patience, activation="relu") for seed in range(3)]
    wild = calm[0].replace(seed=9, learning_rate=1e25)
    if shared:

        def model(config, dataset):
            network = make_mlp(49, 8)
            if config.seed == 9:  # as if a bad start had made it explode
                network[1].weight.data[0, 0], network[-1].weight.data[:] = math.inf, math.nan
            return network

        history = run([calm[0], wild.replace(learning_rate=0.3), *calm[1:]], model=model)
        expected = run(calm, model=model)
    else:
        history, expected = run([calm[0], wild, *calm[1:]]), run(calm)
    assert history.diverged.tolist() == [False, True, False, False] and not expected.diverged.any()
    assert_alike(history[[0, 2, 3]], expected)
    for index, other in ((0, 0), (2, 1), (3, 2)):
        assert_same_weights(history.model(index), expected.model(other))
    last = np.flatnonzero(~np.isnan(history.learning_rate[1])).max()
    assert (
        last < 10
        and np.isfinite(history.step_loss[1, :last]).all()
        and not np.isfinite(history.step_loss[1, last])
    )
    assert (
        np.isnan(history.step_loss[1, last + 1 :]).all()
        and np.isnan(history.learning_rate[1, last + 1 :]).all()
    )
    assert all(np.isnan(getattr(history, name)[1]).all() for name in CURVES)
    assert history.kept_epoch[1] == -1 and np.isnan(history.final()[1])
    assert not all(p.isfinite().all() for p in history.model(1).parameters())
    _, correct = evaluate(history.model(1), DATA.val)
    assert np.array_equal(history.val_correct[1], correct)  # what its network answers: chance


def test_a_run_that_diverges_in_its_last_update_is_marked_too():
    history = run(
        [BASE.replace(learning_rate=rate, batch_size=190, epochs=1) for rate in (0.3, 1e38)]
    )
    assert np.isfinite(history.step_loss).all()  # the one loss there is was still a number
    assert history.diverged.tolist() == [False, True]
    assert np.isnan(history.val_loss[1]).all() and np.isnan(history.val_accuracy[1]).all()


def test_the_bar_of_diverged_networks_is_full_at_the_end(monkeypatch):
    closed = []

    class Bar(training.tqdm):
        def close(self):
            closed.append((self.n, self.total))
            super().close()

    monkeypatch.setattr(training, "tqdm", Bar)
    fit(BASE.replace(learning_rate=1e30, activation="relu").seeds(2), DATA)
    done, total = closed[0]
    assert done == total < 2 * BASE.epochs


def test_training_ends_early_when_all_have_diverged():
    wild = BASE.replace(learning_rate=1e30, activation="relu")
    assert sum(1 for _ in train([wild.replace(seed=seed) for seed in range(3)], DATA)) < 10


# Reproducing


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"dropout": 0.5},
        {"augment": "affine"},
        {
            "dropout": 0.3,
            "augment": "affine",
            "normalisation": "batch",
            "optimizer": "adamw",
            "learning_rate": 0.01,
        },
    ],
)
def test_the_same_call_gives_the_same_bits(fields):
    configs = [BASE.replace(seed=seed, **fields) for seed in range(4)]
    first = run(configs)
    torch.rand(100)  # the global generator plays no part
    again = run(configs)
    assert_equal(first, again)
    for index in range(4):
        assert_same_weights(first.model(index), again.model(index), rtol=0, atol=0)
    assert len({tuple(losses) for losses in first.step_loss.tolist()}) == 4


def test_training_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    run([BASE.replace(seed=seed, dropout=0.5, augment="affine") for seed in range(2)])
    assert torch.equal(torch.get_rng_state(), state)


def test_equal_seeds_start_alike_and_see_equal_batches():
    tiny = BASE.replace(learning_rate=1e-9)
    history = run([tiny, tiny.replace(learning_rate=2e-9), tiny.replace(seed=1)])
    np.testing.assert_allclose(history.step_loss[0], history.step_loss[1], rtol=1e-5)
    assert np.abs(history.step_loss[0] - history.step_loss[2]).max() > 0.01


# Losses, augmentation, precision


def test_label_smoothing_is_torchs_own_and_each_networks_own():
    configs = [
        BASE.replace(label_smoothing=share, seed=seed) for seed, share in enumerate((0.0, 0.1, 0.5))
    ]
    history = run(configs)
    for index, config in enumerate(configs):

        def loss(logits, labels, share=config.label_smoothing):
            return functional.cross_entropy(logits, labels, label_smoothing=share)

        model = plain_mlp(config, DATA)
        losses, _ = plain_loop(config, model, loss=loss)
        np.testing.assert_allclose(history.step_loss[index], losses, rtol=2e-3, atol=1e-4)
        assert_same_run(history, index, model)  # whose curves are of the plain cross-entropy


def squared_error(logits, labels):
    return (logits.softmax(-1) - functional.one_hot(labels, 10)).square().sum(-1)


def test_a_loss_of_ones_own_equals_plain_loops():
    configs = [BASE.replace(seed=seed) for seed in range(3)]
    history = run(configs, loss=squared_error)
    for index, config in enumerate(configs):
        model = plain_mlp(config, DATA)
        losses, _ = plain_loop(
            config, model, loss=lambda logits, labels: squared_error(logits, labels).mean()
        )
        np.testing.assert_allclose(history.step_loss[index], losses, rtol=2e-3, atol=1e-4)
        assert_same_weights(history.model(index), model)
        with torch.no_grad():
            expected = squared_error(model.eval()(DATA.val.images), DATA.val.labels).mean().item()
        assert history.val_loss[index, -1] == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("count", [1, 3])
def test_a_loss_that_is_already_a_mean_is_refused(count):
    with pytest.raises(
        ValueError, match=r"^loss: got a result shaped \(\) .* one number for each image"
    ):
        run([BASE.replace(seed=seed) for seed in range(count)], loss=functional.cross_entropy)


def test_label_smoothing_with_a_loss_of_ones_own_is_refused():
    with pytest.raises(ValueError, match="^label_smoothing: got a value above 0, takes 0"):
        run([BASE, BASE.replace(label_smoothing=0.1)], loss=squared_error)


def test_augmentation_reaches_the_training_images_only():
    """An augmentation that paints all images black: then nothing but the biases of the last layer can learn."""

    def black(images, generator):
        return torch.zeros_like(images)

    configs = [
        BASE.replace(seed=seed, augment=augment) for seed in range(3) for augment in (black, None)
    ]
    history = run(configs)
    torch.manual_seed(0)
    start = make_mlp(49, 8, 1, 10, "tanh")
    torch.testing.assert_close(history.model(0)[1].weight.data, start[1].weight.data)
    assert (history.val_accuracy[1::2, -1] > 0.4).all()
    model = history.model(0)
    assert history.train_loss[0, -1] == pytest.approx(evaluate(model, DATA.train)[0], rel=1e-3)
    assert_alike(history[[1, 3, 5]], run([config for config in configs if config.augment is None]))


def test_augmentation_draws_for_each_seed_and_goes_on_drawing():
    seen, drawn = [], []

    def watched(images, generator):
        seen.append(images.flatten(1))
        drawn.append(torch.rand(len(images), 3, generator=generator))
        return images

    run(
        [
            BASE.replace(seed=seed, learning_rate=rate, augment=watched)
            for seed in (0, 1)
            for rate in (0.1, 0.2)
        ]
    )
    images, numbers = torch.cat(seen), torch.cat(drawn)
    assert len(images) == 2 * BASE.epochs * len(DATA.train)  # equal seeds share their images
    assert len(numbers.unique(dim=0)) == len(numbers)
    counts = images.unique(dim=0, return_counts=True)[1]
    assert set(counts.tolist()) == {2 * BASE.epochs}  # each image once in every epoch of each seed


@pytest.mark.parametrize("normalisation", [None, "batch", "layer"])
@pytest.mark.parametrize("count", [1, 3])
def test_autocast_lands_near_full_precision_and_not_on_it(count, normalisation):
    configs = [
        BASE.replace(seed=seed, width=16, normalisation=normalisation, dropout=0.0)
        for seed in range(count)
    ]
    full, half = run(configs), run(configs, autocast=True)
    assert np.abs(full.step_loss - half.step_loss).max() > 0
    np.testing.assert_allclose(half.val_loss, full.val_loss, rtol=0.05)
    assert all(p.dtype == torch.float32 for p in half.model(0).parameters())


# Early stopping, stopping, looking in


PATIENT = BASE.replace(batch_size=30, epochs=40, patience=3, learning_rate=1.0)


@pytest.mark.parametrize("kind", ["mlp", "dropout", "batch norm", "cnn"])
@pytest.mark.parametrize("count", [1, 4])
def test_patience_keeps_the_best_epoch_and_ends_the_run(kind, count):
    data = small(60, 14 if kind == "cnn" else 7)
    fields = {
        "mlp": {},
        "dropout": {"dropout": 0.3},
        "batch norm": {"normalisation": "batch"},
        "cnn": {"epochs": 12},
    }[kind]
    options = {"model": lambda config, dataset: make_cnn(width=2)} if kind == "cnn" else {}
    configs = [
        PATIENT.replace(seed=seed, **fields, learning_rate=1.0 / 4**seed) for seed in range(count)
    ]
    if kind == "cnn":
        configs = configs[:2]
    history = run(configs, data, **options)
    for index, config in enumerate(configs):
        losses = history.val_loss[index]
        epochs = int(np.isfinite(losses).sum())
        best = int(np.nanargmin(losses))
        assert history.kept_epoch[index] == best and epochs == min(
            best + 1 + config.patience, config.epochs
        )
        assert (
            np.isnan(losses[epochs:]).all()
            and np.isnan(history.train_accuracy[index, epochs:]).all()
        )
        assert np.isfinite(history.learning_rate[index]).sum() == 2 * epochs
        loss, correct = evaluate(history.model(index), data.val)
        assert loss == pytest.approx(losses[best], rel=1e-4)
        assert np.array_equal(correct, history.val_correct[index])
        assert history.final()[index] == pytest.approx(correct.mean())
    assert np.isnan(history.val_loss[0, -1])  # the first, at least, did end early


def test_patience_beyond_the_epochs_changes_no_curve():
    configs = [BASE.replace(seed=seed, learning_rate=2.0) for seed in range(3)]
    plain, patient = run(configs), run([config.replace(patience=99) for config in configs])
    for name in CURVES:
        np.testing.assert_allclose(
            getattr(plain, name), getattr(patient, name), rtol=2e-3, atol=0.011
        )
    assert (
        np.array_equal(patient.kept_epoch, patient.val_loss.argmin(1))
        and (plain.kept_epoch == 4).all()
    )


@pytest.mark.parametrize("normalisation", [None, "batch"])
def test_stop_ends_one_run_and_keeps_its_weights(normalisation):
    configs = [BASE.replace(seed=seed, normalisation=normalisation) for seed in range(3)]
    models = []

    def stop(run):
        if run.epoch == 2:
            assert run.is_active(1)
            models.append(run.model(1))
            run.stop(1)
            run.stop(1)  # saying so twice is harmless
            assert not run.is_active(1) and run.is_active(0)

    history, free = run(configs, on_epoch=stop), run(configs)
    assert len(models) == 1
    assert_equal(history[[0, 2]], free[[0, 2]])
    np.testing.assert_array_equal(history.val_loss[1, :2], free.val_loss[1, :2])
    for name, ended in (
        ("val_loss", 2),
        ("train_accuracy", 2),
        ("step_loss", 20),
        ("learning_rate", 20),
    ):
        values = getattr(history, name)[1]
        assert np.isfinite(values[:ended]).all() and np.isnan(values[ended:]).all()
    assert history.kept_epoch[1] == 1 and not history.diverged.any()
    assert_same_weights(history.model(1), models[0], rtol=0, atol=0)
    assert np.array_equal(evaluate(history.model(1), DATA.val)[1], history.val_correct[1])


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "adamw", "learning_rate": 0.01, "schedule": "cosine"},
        {"momentum": 0.9, "schedule": "plateau"},
        # Not with RMSprop or Adam: the biases before BatchNorm have no gradient but noise, which these would blow up.
        {"normalisation": "batch", "depth": 2, "momentum": 0.5},
        {"optimizer": "rmsprop", "learning_rate": 0.003},
        {"augment": "shift"},
    ],
    ids=["adamw", "momentum", "batch norm", "rmsprop", "augment"],
)
def test_a_stack_that_shrinks_as_its_runs_end_gives_each_what_it_gets_alone(fields, shared):
    config = BASE.replace(**{"learning_rate": 0.1, **fields})
    configs = [
        config.replace(
            learning_rate=config.learning_rate / (1 + index),
            seed=index // 2,
            clip_norm=index or None,
            label_smoothing=index / 20,
            patience=99 if index % 3 else None,
        )
        for index in range(8)
    ]
    if shared:  # 0 and 4 share an optimiser: it stays for the sake of 4
        configs[4] = configs[0].replace(seed=7)
    ends, sizes = {0: 1, 2: 1, 5: 1, 6: 1, 1: 3, 3: 3, 7: 3, 4: 99}, []

    def stop(run):
        sizes.append(len(run.indices))
        for index, epoch in ends.items():
            if run.epoch == epoch:
                run.stop(index)

    history = run(configs, on_epoch=stop)
    assert sizes == (
        [8, 5, 5, 2, 2] if shared and config.schedule != "plateau" else [8, 4, 4, 1, 1]
    )
    for index, each in enumerate(configs):
        alone = run(each, on_epoch=lambda run, end=ends[index]: run.epoch == end and run.stop(0))
        assert_alike(history[index], alone)
        mine, other = history.model(index).state_dict(), alone.model().state_dict()
        for name in other:
            torch.testing.assert_close(mine[name], other[name], **CLOSE)
        assert np.isfinite(history.val_loss[index]).sum() == min(ends[index], 5)


def test_training_ends_when_all_are_stopped():
    calls = []

    def stop(run):
        calls.append(run.step)
        for index in run.indices:
            run.stop(index)

    history = run([BASE.replace(seed=seed) for seed in range(3)], on_step=stop, every=7)
    assert calls == [7] and np.isfinite(history.step_loss).sum() == 3 * 7


def test_leaving_the_generator_stops_training():
    for looked_in in train([BASE, BASE.replace(seed=1)], DATA):
        if looked_in.step == 13:
            break
    history = looked_in.history
    assert np.isfinite(history.step_loss).sum(1).tolist() == [13, 13]
    assert np.isfinite(history.val_loss).sum(1).tolist() == [1, 1]
    with pytest.raises(ValueError, match="run 0 has no weights"):
        history.model()


def test_train_yields_after_every_update_and_tells_where_it_is():
    places = [(run.epoch, run.step, run.epoch_ended) for run in train(BASE.replace(epochs=2), DATA)]
    assert places == [(step // 10, step, step % 10 == 0) for step in range(1, 21)]


@pytest.mark.parametrize("every", [1, 3, 10, 100])
def test_callbacks_are_called_as_often_as_they_should(every):
    configs = [BASE, BASE.replace(seed=1), BASE.replace(batch_size=50, epochs=3)]  # two stacks
    steps, epochs = [], []
    run(
        configs,
        on_step=lambda run: steps.append((run.indices, run.step)),
        every=every,
        on_epoch=lambda run: epochs.append((run.indices, run.epoch)),
    )
    assert epochs == [([0, 1], epoch) for epoch in range(1, 6)] + [
        ([2], epoch) for epoch in range(1, 4)
    ]
    assert steps == [
        (indices, step)
        for indices, total in (([0, 1], 50), ([2], 12))
        for step in range(1, total + 1)
        if step % every == 0
    ]


def test_callbacks_see_the_gradients_and_the_models_of_this_moment():
    config = BASE.replace(learning_rate=0.2)
    expected = plain_mlp(config, DATA)
    chosen = torch.randperm(190, generator=torch.Generator().manual_seed(0))[:20]
    functional.cross_entropy(
        expected(DATA.train.images[chosen]), DATA.train.labels[chosen]
    ).backward()
    gradient = torch.cat([p.grad.flatten() for p in expected.parameters()])
    first = next(train([config, config.replace(seed=1)], DATA))
    torch.testing.assert_close(first.stack.gradients[0], gradient, **CLOSE)
    for parameter in expected.parameters():
        parameter.data -= 0.2 * parameter.grad
    assert_same_weights(first.model(0), expected)
    assert not first.model(0).training


def test_models_taken_from_a_run_are_copies():
    stack = train([BASE, BASE.replace(seed=1)], DATA)
    first = next(stack)
    model = first.model(0)
    before = copy.deepcopy(model)
    for parameter in first.model(1).parameters():
        parameter.data.fill_(math.nan)
    for _ in stack:
        pass
    assert_same_weights(model, before, rtol=0, atol=0)  # training on does not change it
    assert np.isfinite(first.history.val_loss).all()  # nor does changing it change the training
    final = first.history.model(0)
    next(final.parameters()).data.zero_()
    assert next(first.history.model(0).parameters()).any()


# Models


@pytest.mark.parametrize("kind", ["mlp", "mlp with everything", "cnn"])
def test_a_trained_model_is_plain_and_reproduces_the_record(kind):
    data = small(60, 14) if kind == "cnn" else DATA
    fields = (
        {"dropout": 0.4, "normalisation": "batch", "depth": 2, "augment": "affine"}
        if "every" in kind
        else {}
    )
    options = (
        {"model": lambda config, dataset: make_cnn(width=3, dropout=0.2)} if kind == "cnn" else {}
    )
    configs = [BASE.replace(seed=seed, epochs=2, **fields) for seed in range(3)]
    history = run(configs, data, **options)
    for index in range(3):
        model = history.model(index)
        assert not any(module.training for module in model.modules())
        reference = (
            make_cnn(width=3)
            if kind == "cnn"
            else make_mlp(49, 8, configs[0].depth, 10, "tanh", "he", 0.4, configs[0].normalisation)
        )
        reference.load_state_dict(model.state_dict())  # same names, same shapes: an ordinary module
        loss, correct = evaluate(model, data.val)
        assert np.array_equal(correct, history.val_correct[index])
        assert loss == pytest.approx(history.val_loss[index, -1], rel=1e-4)
        assert history.val_accuracy[index, -1] == pytest.approx(correct.mean())
        model.train()(data.train.images[:8]).sum().backward()  # yours to train on
        assert all(p.grad is not None for p in model.parameters())


def test_convolutional_networks_are_trained_in_turn_and_equal_plain_loops():
    data, sizes = small(60, 14), []
    configs = [BASE.replace(seed=seed, epochs=2, learning_rate=0.05) for seed in range(2)]
    history = run(
        configs,
        data,
        model=lambda config, dataset: make_cnn(width=3, activation="tanh"),
        on_epoch=lambda run: sizes.append(len(run.indices)),
    )
    assert sizes == [1] * 4
    for index, config in enumerate(configs):
        torch.manual_seed(config.seed)
        model = make_cnn(width=3, activation="tanh")
        plain_loop(config, model, dataset=data)
        assert_same_run(history, index, model, data)


class Own(nn.Module):
    """A dense network by hand, with a layer that is used twice and one that is never used."""

    def __init__(self):
        super().__init__()
        self.into, self.again, self.out, self.idle = (
            nn.Linear(49, 8),
            nn.Linear(8, 8),
            nn.Linear(8, 10),
            nn.Linear(3, 3),
        )

    def forward(self, images):
        hidden = self.into(images.flatten(-3)).tanh()
        return self.out(self.again(self.again(hidden).tanh()).tanh())


def own(config, dataset):
    return Own()


@pytest.mark.parametrize("count", [1, 3])
def test_a_layer_used_twice_and_one_never_used_equal_plain_loops(count):
    configs = [
        BASE.replace(seed=seed, optimizer="adam", learning_rate=0.01) for seed in range(count)
    ]
    stacks = set()
    history = run(configs, model=own, on_epoch=lambda run: stacks.add(len(run.indices)))
    assert stacks == {count}
    for index, config in enumerate(configs):
        torch.manual_seed(config.seed)
        model = Own()
        start = copy.deepcopy(model.idle)
        plain_loop(config, model, torch.optim.Adam(model.parameters(), lr=0.01))
        assert_same_run(history, index, model)
        assert_same_weights(history.model(index).idle, start, rtol=0, atol=0)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "frozen",
    [
        ["into.weight", "into.bias"],
        ["again.weight"],
        ["again.bias", "out.bias"],
        ["into.weight", "again.weight", "out.weight"],
    ],
    ids=" ".join,
)
def test_frozen_parameters_stay_put_while_the_rest_learns(frozen, count):
    def partly_frozen(config=None, dataset=None):
        model = Own()
        for name in frozen:
            model.get_parameter(name).requires_grad_(False)
            model.get_parameter(name).data.normal_(0, 0.3)  # each network of the stack has its own
        return model

    configs = [BASE.replace(seed=seed) for seed in range(count)]
    stacks = set()
    history = run(configs, model=partly_frozen, on_epoch=lambda run: stacks.add(len(run.indices)))
    assert stacks == {count}
    for index, config in enumerate(configs):
        torch.manual_seed(config.seed)
        model = partly_frozen()
        start = copy.deepcopy(model)
        plain_loop(config, model)
        trained = history.model(index)
        assert_same_run(history, index, model)
        for name, parameter in trained.named_parameters():
            before = start.get_parameter(name)
            assert parameter.requires_grad == before.requires_grad
            assert torch.equal(parameter, before) == (name in frozen or name.startswith("idle"))


def test_models_of_different_kinds_do_not_share_a_stack_though_their_shapes_agree():
    """A model function may look at any field, here at the seed."""

    def model(config, dataset):
        return make_mlp(49, 8, 1, 10, "relu" if config.seed % 2 else "tanh")

    configs = [BASE.replace(seed=seed) for seed in range(4)]
    history = run(configs, model=model)
    for index, config in enumerate(configs):
        expected = plain_mlp(config.replace(activation="relu" if config.seed % 2 else "tanh"), DATA)
        plain_loop(config, expected)
        assert_same_run(history, index, expected)


def test_the_model_function_is_given_the_config_and_the_data_under_the_seed():
    given = []

    def model(config, dataset):
        given.append((config, dataset, torch.rand(1).item()))
        return make_mlp(49, 8)

    configs = [BASE.replace(seed=seed, epochs=1) for seed in (3, 4)]
    run(configs, model=model)
    draws = []
    for config in configs:
        torch.manual_seed(config.seed)
        draws.append(torch.rand(1).item())
    assert given == [(config, DATA, draw) for config, draw in zip(configs, draws, strict=True)]


# What it is given


@pytest.mark.parametrize("configs", [[], ()])
def test_no_configuration_is_refused(configs):
    with pytest.raises(ValueError, match="^configs: got an empty list, takes at least one Config"):
        run(configs)


@pytest.mark.parametrize(
    "configs", [[BASE, None], [0.1], ["adam"], [{"learning_rate": 0.1}], {"learning_rate": 0.1}]
)
def test_what_is_no_configuration_is_refused(configs):
    with pytest.raises(TypeError, match="^configs: got a .*, takes Config or a list of them"):
        run(configs)


def test_one_configuration_is_a_list_of_one_and_any_iterable_will_do():
    assert_equal(run(BASE), run([BASE]))
    assert_equal(run(BASE), run(iter((BASE,))))


def test_numpys_numbers_train_like_plain_ones():
    plain = {
        "learning_rate": 0.25,
        "batch_size": 20,
        "epochs": 2,
        "width": 8,
        "depth": 1,
        "weight_decay": 0.125,
        "momentum": 0.5,
        "label_smoothing": 0.25,
        "clip_norm": 0.5,
        "seed": 3,
        "patience": 2,
        "dropout": 0.25,
        "warmup": 0.25,
    }
    other = {
        name: np.int64(value) if isinstance(value, int) else np.float32(value)
        for name, value in plain.items()
    }
    for schedule in ("cosine", "one_cycle", "constant"):
        common = {"optimizer": "sgd", "schedule": schedule}
        configs = [[Config(**fields, **common)] * 2 for fields in (plain, other)]
        assert_equal(run(configs[0]), run(configs[1]))


def test_fewer_validation_images_than_slices_and_fewer_training_images_than_either():
    """The evaluation works in slices; none of their seams may show."""
    images = torch.rand(1500, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(1500) % 3
    for sizes in ((7, 1490), (1400, 60), (3, 1)):
        train_part = Split(images[: sizes[0]], labels[: sizes[0]])
        part = Split(images[-sizes[1] :], labels[-sizes[1] :])
        data = Dataset(train_part, part, part)
        history = run(
            [BASE.replace(seed=seed, epochs=1) for seed in range(3)],
            data,
            model=lambda config, dataset: make_mlp(4, 8),
        )
        for index in range(3):
            model = history.model(index)
            loss, correct = evaluate(model, part)
            assert np.array_equal(history.val_correct[index], correct)
            assert history.val_loss[index, 0] == pytest.approx(loss, rel=1e-4)
            seen = train_part.first(sizes[1])
            assert history.train_loss[index, 0] == pytest.approx(evaluate(model, seen)[0], rel=1e-4)


# Knobs that turn while it trains


KNOB_CASES = {
    "learning_rate": (BASE, {"learning_rate": 0.05}, {"lr": 0.05}),
    "momentum": (
        BASE.replace(momentum=0.9, learning_rate=0.05),
        {"momentum": 0.5},
        {"momentum": 0.5},
    ),
    "weight decay": (BASE, {"weight_decay": 0.05}, {"weight_decay": 0.05}),
    "two": (
        BASE.replace(momentum=0.9),
        {"learning_rate": 0.02, "momentum": 0.3},
        {"lr": 0.02, "momentum": 0.3},
    ),
}


@pytest.mark.parametrize("case", KNOB_CASES)
@pytest.mark.parametrize("own", [False, True])
def test_a_knob_turned_in_training_equals_a_plain_loop_that_turns_it(case, own):
    config, changes, groups = KNOB_CASES[case]
    configs = config.seeds(3)
    model = (
        {
            "model": lambda config, dataset: nn.Sequential(
                nn.Sequential(*plain_mlp(config, DATA)), nn.Identity()
            )
        }
        if own
        else {}
    )

    def turn(run):
        if run.step == 17:
            run.set(**changes)

    history = run(configs, on_step=turn, **model)
    assert history.changes == {index: [(17, changes)] for index in range(3)}
    for index, each in enumerate(configs):
        network = plain_mlp(each, DATA)
        optimizer = torch.optim.SGD(
            network.parameters(), lr=each.learning_rate, momentum=each.momentum or 0
        )
        order, images, labels, step = (
            torch.Generator().manual_seed(each.seed),
            DATA.train.images,
            DATA.train.labels,
            0,
        )
        for _ in range(each.epochs):
            for chosen in torch.randperm(len(images), generator=order).split(each.batch_size):
                optimizer.zero_grad()
                functional.cross_entropy(network(images[chosen]), labels[chosen]).backward()
                optimizer.step()
                step += 1
                if step == 17:
                    optimizer.param_groups[0].update(groups)
        assert_same_weights(history.model(index), network)
        if "lr" in groups:
            np.testing.assert_allclose(
                history.learning_rate[index], [each.learning_rate] * 17 + [groups["lr"]] * 33
            )


def test_the_batch_size_changes_between_epochs():
    def turn(run):
        if run.epoch_ended and run.epoch == 2:
            run.set(batch_size=10)

    history = run(BASE.seeds(2), on_step=turn)
    assert np.isfinite(history.step_loss).sum(1).tolist() == [2 * 10 + 3 * 19] * 2
    assert np.isfinite(history.val_loss).all() and history.changes[1] == [(20, {"batch_size": 10})]


def test_dropout_changes_from_the_next_update_on():
    configs = BASE.replace(dropout=0.5).seeds(3)

    def turn(run):
        if run.step == 10:
            run.set(dropout=0.0)

    changed, without = (
        run(configs, on_step=turn),
        run([config.replace(dropout=0.0) for config in configs]),
    )
    kept = run(configs)
    np.testing.assert_array_equal(changed.step_loss[:, :10], kept.step_loss[:, :10])
    assert (np.nanmean(changed.step_loss[:, 20:]) - np.nanmean(without.step_loss[:, 20:])) < 0.1
    assert [changed.model(index)[3].p for index in range(3)] == [0.0] * 3


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (BASE, {"width": 9}, "width: cannot be changed"),
        (BASE, {"learning_rate": -1}, "learning_rate: got -1"),
        (
            BASE.replace(schedule="cosine"),
            {"learning_rate": 0.1},
            "learning_rate: the schedule decides",
        ),
        (BASE, {"batch_size": 5}, "batch_size: changes between two epochs"),
        (BASE.replace(optimizer="adam"), {"momentum": 0.5}, "momentum: got 0.5"),
        (BASE, {"dropout": 1.0}, "dropout: got 1.0"),
    ],
)
def test_knobs_that_cannot_be_turned_are_refused(config, changes, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        next(train(config, DATA)).set(**changes)


# Muon


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon came with torch 2.9")
@pytest.mark.parametrize("count", [1, 3])
def test_muon_takes_the_hidden_matrices_and_leaves_the_rest_to_adamw(count):
    configs = BASE.replace(
        optimizer="muon", learning_rate=0.01, weight_decay=0.1, depth=2, epochs=1, schedule="cosine"
    ).seeds(count)
    history = run(configs)
    for index, config in enumerate(configs):
        network = plain_mlp(config, DATA)
        hidden = [network[1].weight, network[3].weight]
        others = [p for p in network.parameters() if not any(p is matrix for matrix in hidden)]
        optimizers = [
            torch.optim.Muon(
                hidden, lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(others, lr=0.01, weight_decay=0.1),
        ]
        schedules = [lr_scheduler.CosineAnnealingLR(optimizer, 10) for optimizer in optimizers]
        order = torch.Generator().manual_seed(config.seed)
        for _ in range(config.epochs):
            for chosen in torch.randperm(190, generator=order).split(20):
                network.zero_grad()
                functional.cross_entropy(
                    network(DATA.train.images[chosen]), DATA.train.labels[chosen]
                ).backward()
                for each in (*optimizers, *schedules):
                    each.step()
        assert_same_weights(
            history.model(index), network, rtol=2e-2, atol=3e-3
        )  # Muon computes in bfloat16
