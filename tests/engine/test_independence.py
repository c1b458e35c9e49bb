"""A Config decides its run: whatever the network is, whoever its neighbours, whichever thread asks for it."""

import random
import threading
from collections import deque
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune
from torch.optim import lr_scheduler

from course_utils import Config, Dataset, fit, load_mnist
from course_utils.engine import plan
from course_utils.engine.plan import build
from course_utils.stacking.architecture import way_of
from course_utils.stacking.rows import LayerStack, MappedStack
from course_utils.stacking.single import Single

MNIST = load_mnist(subset=60, image_size=4, device="cpu")
DATA = Dataset(MNIST.train, MNIST.val.first(40), MNIST.test.first(10), "tiny")
BASE = Config(batch_size=25, epochs=2, width=6, optimizer="sgd", momentum=0.9, learning_rate=0.1)
RECORD = ("step_loss", "train_loss", "val_loss", "val_accuracy", "val_correct", "kept_epoch")


PRISTINE = [t.clone() for part in (DATA.train, DATA.val) for t in (part.images, part.labels)]


def run(configs, **options):
    history = fit(configs, DATA, progress=False, **options)
    now = [tensor for part in (DATA.train, DATA.val) for tensor in (part.images, part.labels)]
    assert all(map(torch.equal, now, PRISTINE)), "the data were changed"
    return history


# Networks as learners write them


class Replaced(nn.Module):
    """A running mean in a buffer that is bound anew in each forward pass (as in d2l's BatchNorm from scratch)."""

    def __init__(self, width, registered=True):
        super().__init__()
        self.inner = nn.Linear(16, width)
        mean = torch.zeros(16)
        if registered:
            self.register_buffer("mean", mean)
        else:
            self.mean = mean

    def forward(self, images):
        x = images.flatten(1)
        self.mean = 0.7 * self.mean + 0.3 * x.mean(0)
        return self.inner(x - 5 * self.mean)


class Subclassed(nn.Sequential):
    """Looks like a Sequential, and is none."""

    def forward(self, images):
        return super().forward(images) * 2 + 1


class Leaky(nn.ReLU):
    def forward(self, x):
        return x.clamp(min=-0.1)


class Tied(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.into, self.one, self.two, self.out = (
            nn.Linear(16, width),
            nn.Linear(width, width),
            nn.Linear(width, width),
            nn.Linear(width, 10),
        )
        self.two.weight = self.one.weight

    def forward(self, images):
        return self.out(self.two(self.one(self.into(images.flatten(1)).tanh()).tanh()))


class Recurrent(nn.Module):
    def __init__(self, width, dropout=0.0):
        super().__init__()
        self.read = nn.LSTM(4, width, num_layers=2, dropout=dropout, batch_first=True)
        self.answer = nn.Linear(width, 10)

    def forward(self, images):
        return self.answer(self.read(images.squeeze(1))[0][:, -1])


class Deciding(nn.Module):
    """Its path depends on what it computes."""

    def __init__(self, width):
        super().__init__()
        self.one, self.two = nn.Linear(16, 10), nn.Linear(16, 10)

    def forward(self, images):
        x = images.flatten(1)
        return self.one(x) if self.one(x).sum() > 0 else self.two(x)


class Counting(nn.Module):
    """Behaves otherwise from its third pass on."""

    def __init__(self, width):
        super().__init__()
        self.inner, self.calls = nn.Linear(16, 10), 0

    def forward(self, images):
        self.calls += self.training
        return self.inner(images.flatten(1)) * (3 if self.calls > 2 else 1)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.into, self.block, self.norm = (
            nn.Linear(16, width),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
        )
        self.out, self.idle = nn.Linear(width, 10), nn.Linear(3, 3)

    def forward(self, images):
        x = self.into(images.flatten(1))
        return self.out(x + self.norm(self.block(x)).relu())


class NumPyNoise(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner, self.sign = nn.Linear(16, 10), random.choice([-1, 1])

    def forward(self, images):
        noise = np.random.normal() + random.random() if self.training else 0.0
        return self.sign * self.inner(images.flatten(1) + 0.1 * noise)


class Remembering(nn.Module):
    """Keeps what it has seen in an object of Python's; with ``graph``, how it was computed, too."""

    def __init__(self, memory, graph=False):
        super().__init__()
        self.inner, self.memory, self.graph = nn.Linear(16, 10), memory, graph

    def forward(self, images):
        answer = self.inner(images.flatten(1))
        if self.training:
            centre = answer.mean(0)
            kept = centre if self.graph else centre.detach()
            if isinstance(self.memory, dict):
                self.memory["mean"] = kept
            else:
                self.memory.append(kept)
        past = list(self.memory.values() if isinstance(self.memory, dict) else self.memory)
        return answer - 3 * sum(each.detach() for each in past) if past else answer


class Tally:
    calls = 0


class Tallying(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.tally = nn.Linear(16, 10), Tally()

    def forward(self, images):
        self.tally.calls += self.training
        favoured = torch.arange(10) == self.tally.calls % 10
        return self.inner(images.flatten(1)) + 2 * favoured


class InPlace(nn.Module):
    """Changes the images that it is given, as is harmless where a loader hands out copies."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(16, 10)

    def forward(self, images):
        images -= 0.5
        return self.inner(images.flatten(1))


class LateNoise(nn.Module):
    """Draws from NumPy's and Python's generators from its fourth update on."""

    def __init__(self):
        super().__init__()
        self.inner, self.calls = nn.Linear(16, 10), 0

    def forward(self, images):
        self.calls += self.training
        if self.training and self.calls > 3:
            images = images + np.random.rand() + random.random()
        return self.inner(images.flatten(1))


def noisy_gradient():
    model = dense(nn.Tanh())
    noise = lambda layer, into, out: (into[0] + 0.01 * torch.randn_like(into[0]),)  # noqa: E731
    model[3].register_full_backward_hook(noise)
    return model


def masked():
    model = dense(nn.Tanh())
    model[1].weight.register_hook(lambda gradient: gradient * (torch.arange(16) < 8))
    return model


def narrowed():
    """A layer made smaller by hand, in another layout in memory; what it says of itself is old."""
    model = dense(nn.ReLU())
    width = 2 + torch.initial_seed() % 2
    model[1].weight = nn.Parameter(model[1].weight[:width].detach())
    model[1].bias = nn.Parameter(model[1].bias[:width].detach())
    model[3].weight = nn.Parameter(model[3].weight[:, :width].detach())
    return model


def pruned():
    model = dense(nn.ReLU())
    prune.random_unstructured(model[1], "weight", 0.5)
    return model


def dense(*middle):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 6), *middle, nn.Linear(6, 10))


def hooked():
    model = dense(nn.ReLU())
    model[1].register_forward_hook(lambda layer, given, out: out * 0.5)
    return model


def frozen():
    model = dense(nn.Tanh())
    model[1].weight.requires_grad_(False)
    return model


def patched():
    model = dense(nn.ReLU())
    model.forward = lambda images: nn.Sequential.forward(model, images) * 3
    return model


SHARED = nn.Linear(6, 6)
NETWORKS = {
    "plain": lambda: dense(nn.ReLU()),
    "deep": lambda: dense(nn.Tanh(), nn.Linear(6, 6), nn.GELU()),
    "dropout": lambda: dense(nn.ReLU(), nn.Dropout(0.4)),
    "batch norm": lambda: dense(nn.BatchNorm1d(6), nn.ReLU()),
    "layer norm": lambda: dense(nn.LayerNorm(6), nn.SiLU()),
    "no bias": lambda: dense(nn.Linear(6, 6, bias=False)),
    "nested": lambda: nn.Sequential(
        nn.Flatten(), nn.Sequential(nn.Linear(16, 6), nn.Sequential(nn.ELU())), nn.Linear(6, 10)
    ),
    "one layer twice": lambda: dense(nn.ReLU(), layer := nn.Linear(6, 6), nn.Tanh(), layer),
    "cumulative norm": lambda: dense(nn.BatchNorm1d(6, momentum=None)),
    "norm of no weights": lambda: dense(nn.LayerNorm(6, bias=False)),
    "rrelu": lambda: dense(nn.RReLU()),
    "alpha dropout": lambda: dense(nn.AlphaDropout(0.3)),
    "softmax": lambda: dense(nn.Softmax(1)),
    "subclassed sequential": lambda: Subclassed(nn.Flatten(), nn.Linear(16, 10)),
    "subclassed relu": lambda: dense(Leaky()),
    "replaced buffer": lambda: Replaced(10),
    "replaced attribute": lambda: Replaced(10, registered=False),
    "tied": lambda: Tied(6),
    "lstm": lambda: Recurrent(4),
    "lstm with dropout": lambda: Recurrent(4, 0.3),
    "deciding": lambda: Deciding(6),
    "counting": lambda: Counting(6),
    "residual": lambda: Residual(6),
    "numpy and random": lambda: NumPyNoise(6),
    "hooked": hooked,
    "frozen": frozen,
    "patched forward": patched,
    "weight norm": lambda: nn.Sequential(
        nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(16, 10))
    ),
    "a list of tensors": lambda: Remembering([]),
    "a dictionary of tensors with their history": lambda: Remembering({}, graph=True),
    "a queue of tensors with their history": lambda: Remembering(deque(maxlen=2), graph=True),
    "an object that counts": lambda: Tallying(),
    "images in place": lambda: InPlace(),
    "first layer in place": lambda: nn.Sequential(
        nn.Flatten(), nn.SiLU(inplace=True), nn.Linear(16, 10)
    ),
    "late noise": lambda: LateNoise(),
    "noisy gradient": noisy_gradient,
    "masked gradient": masked,
    "narrowed by hand": narrowed,
    "pruned": pruned,
    "lazy batch norm": lambda: nn.Sequential(
        nn.Flatten(), nn.LazyLinear(6), nn.LazyBatchNorm1d(), nn.Linear(6, 10)
    ),
    "lazy": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)),
    "convolution": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 10)
    ),
}
# A stack of one may use other products than one of several: the same to rounding. These are never stacked.
EXACT = {
    "rrelu",
    "alpha dropout",
    "replaced buffer",
    "replaced attribute",
    "lstm",
    "lstm with dropout",
    "deciding",
    "counting",
    "numpy and random",
    "hooked",
    "patched forward",
    "convolution",
    "a list of tensors",
    "a dictionary of tensors with their history",
    "a queue of tensors with their history",
    "an object that counts",
    "images in place",
    "first layer in place",
    "late noise",
    "noisy gradient",
    "masked gradient",
    "pruned",
}


def state_of_the_world():
    return (
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),
        np.random.get_state()[2:],
        random.getstate(),
        torch.get_num_threads(),
    )


def assert_same_world(one, two):
    assert torch.equal(one[0], two[0]) and np.array_equal(one[1], two[1]) and one[2:] == two[2:]


def assert_equal_records(history, other, exact=True):
    for name in RECORD:
        if exact:
            np.testing.assert_array_equal(
                getattr(history, name), getattr(other, name), err_msg=name
            )
        else:
            np.testing.assert_allclose(
                getattr(history, name), getattr(other, name), rtol=2e-3, atol=0.03, err_msg=name
            )


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_config_decides_its_run(kind):
    def model(config, dataset):
        return NETWORKS[kind]()

    configs = BASE.seeds(4) + [
        BASE.replace(learning_rate=0.02),
        BASE.replace(seed=2, clip_norm=0.1),
    ]
    before = state_of_the_world()
    together, again = run(configs, model=model), run(configs, model=model)
    assert_same_world(before, state_of_the_world())
    assert_equal_records(together, again)
    assert len(set(together.step_loss[:, -1].tolist())) > 3  # seeds and rates do make a difference
    for index, config in enumerate(configs):
        alone = run(config, model=model)
        assert_equal_records(together[index], alone, exact=kind in EXACT)
        mine, other = together.model(index).state_dict(), alone.model().state_dict()
        for name in other:
            torch.testing.assert_close(mine[name], other[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_trained_network_reproduces_its_record(kind):
    history = run(BASE.seeds(3), model=lambda config, dataset: NETWORKS[kind]())
    for index in range(3):
        with torch.no_grad():
            right = history.model(index)(DATA.val.images.clone()).argmax(1) == DATA.val.labels
        assert np.array_equal(right.numpy(), history.val_correct[index])
        assert history.final()[index] == pytest.approx(right.float().mean().item())


@pytest.mark.parametrize("kind", NETWORKS)
def test_early_stopping_keeps_the_network_that_it_names(kind):
    config = BASE.replace(patience=1, epochs=8, learning_rate=1.5)
    history = run(config.seeds(2), model=lambda config, dataset: NETWORKS[kind]())
    for index in np.flatnonzero(~history.diverged):
        with torch.no_grad():
            right = history.model(int(index))(DATA.val.images.clone()).argmax(1) == DATA.val.labels
        assert np.array_equal(right.numpy(), history.val_correct[index])


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        *(
            (kind, LayerStack)
            for kind in (
                "plain",
                "deep",
                "dropout",
                "batch norm",
                "layer norm",
                "no bias",
                "nested",
                "frozen",
            )
        ),
        *(
            (kind, MappedStack)
            for kind in (
                "residual",
                "tied",
                "softmax",
                "subclassed sequential",
                "subclassed relu",
                "one layer twice",
                "norm of no weights",
            )
        ),
        *(
            (kind, Single)
            for kind in (
                "rrelu",
                "lstm with dropout",
                "deciding",
                "counting",
                "replaced buffer",
                "hooked",
                "replaced attribute",
                "numpy and random",
                "patched forward",
                "convolution",
            )
        ),
    ],
)
def test_the_fastest_way_that_is_right_is_taken(kind, way):
    network, _ = build(lambda config, dataset: NETWORKS[kind](), BASE, DATA)
    found = way_of(network, DATA.train.images)
    assert getattr(found, "func", found) is way


@pytest.mark.parametrize(
    "kind",
    [
        "plain",
        "deep",
        "batch norm",
        "layer norm",
        "no bias",
        "nested",
        "frozen",
        "residual",
        "tied",
    ],
)
def test_the_way_makes_no_difference(kind, monkeypatch):
    """Whatever can be stacked is trained once more one by one, as an ordinary module."""
    configs = BASE.seeds(3) + [
        BASE.replace(optimizer="adamw", momentum=None, learning_rate=0.01, clip_norm=0.3)
    ]
    options = {"model": lambda config, dataset: NETWORKS[kind]()}
    stacked = run(configs, **options)
    monkeypatch.setattr(plan, "way_of", lambda network, images: partial(Single))
    assert_equal_records(stacked, run(configs, **options), exact=False)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    kinds=st.lists(st.sampled_from(sorted(NETWORKS)), min_size=1, max_size=4, unique=True),
    seeds=st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True),
    augment=st.sampled_from([None, "shift"]),
    smoothing=st.sampled_from([0.0, 0.2]),
)
def test_any_mixture_of_networks_is_each_of_them_alone(kinds, seeds, augment, smoothing):
    def model(config, dataset):
        return NETWORKS[kinds[config.width - 1]]()  # the width only says which

    configs = [
        BASE.replace(
            width=1 + number, seed=seed, augment=augment, label_smoothing=smoothing, epochs=1
        )
        for seed in seeds
        for number in range(len(kinds))
    ]
    together = run(configs, model=model)
    for index, config in enumerate(configs):
        assert_equal_records(together[index], run(config, model=model), exact=False)


@pytest.mark.parametrize("kind", ["dropout", "lstm with dropout", "numpy and random", "batch norm"])
def test_threads_that_train_at_the_same_time_do_not_mix(kind):
    configs, found = BASE.seeds(4), {}
    expected = run(configs, model=lambda config, dataset: NETWORKS[kind]())

    def work(index):
        for _ in range(3):
            found.setdefault(index, []).append(
                run(configs[index], model=lambda config, dataset: NETWORKS[kind]())
            )

    before = state_of_the_world()
    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same_world(before, state_of_the_world())
    for index, histories in found.items():
        for history in histories:
            assert_equal_records(history, expected[index], exact=False)


def test_settings_of_a_layer_do_not_leak_to_its_neighbour():
    def model(config, dataset):
        return dense(nn.LeakyReLU(0.99 if config.seed else 0.01))

    history = run(BASE.seeds(2), model=model)
    assert [history.model(index)[2].negative_slope for index in range(2)] == [0.01, 0.99]
    for index in range(2):
        assert_equal_records(history[index], run(history.configs[index], model=model))


@pytest.mark.parametrize(
    "fields", [{"dropout": 0.5}, {"dropout": 0.5, "augment": "affine", "normalisation": "batch"}]
)
def test_dropout_follows_the_seed_and_not_the_stack(fields):
    config = BASE.replace(**fields)
    alone = run(config)
    for neighbours in (
        [config.replace(seed=1)],
        [config.replace(learning_rate=0.01)],
        [config.replace(dropout=0.1)],
    ):
        assert_equal_records(run([config, *neighbours])[0], alone)
        assert_equal_records(run([*neighbours, config])[1], alone)


def test_equal_seeds_drop_equal_units():
    """Two rates of learning are compared on equal dice: at a rate of almost nothing they cannot be told apart."""
    config = BASE.replace(dropout=0.5, learning_rate=1e-9)
    history = run([config, config.replace(learning_rate=2e-9), config.replace(seed=1)])
    np.testing.assert_allclose(history.step_loss[0], history.step_loss[1], rtol=1e-5)
    assert np.abs(history.step_loss[0] - history.step_loss[2]).max() > 0.01


def test_draws_in_a_loss_and_in_an_augmentation_come_from_the_seed():
    def noisy_loss(logits, labels):
        return functional.cross_entropy(logits + torch.randn_like(logits), labels, reduction="none")

    def noisy_augment(images, generator):
        return images + 0.1 * torch.randn_like(images) + np.random.rand() + random.random()

    for options, fields in (({"loss": noisy_loss}, {}), ({}, {"augment": noisy_augment})):
        configs, before = BASE.replace(**fields).seeds(3), state_of_the_world()
        together = run(configs, **options)
        assert_same_world(before, state_of_the_world())
        for index, config in enumerate(configs):
            assert_equal_records(together[index], run(config, **options), exact=False)


def test_draws_in_a_schedule_come_from_the_seed():
    def jumping(optimizer):
        jump = lambda step: 0.5 + torch.rand(1).item() * random.random()  # noqa: E731
        return lr_scheduler.LambdaLR(optimizer, jump)

    configs, before = BASE.replace(schedule=jumping).seeds(3), state_of_the_world()
    together, again = run(configs), run(configs)
    assert_same_world(before, state_of_the_world())
    np.testing.assert_array_equal(together.learning_rate, again.learning_rate)
    assert len(set(together.learning_rate[:, 1].tolist())) == 3
    for index, config in enumerate(configs):
        np.testing.assert_array_equal(together.learning_rate[index], run(config).learning_rate[0])


@pytest.mark.parametrize(
    "spoil", [lambda logits, labels: logits.sub_(3), lambda logits, labels: labels.fill_(0)]
)
def test_a_loss_that_works_in_place_spoils_nothing(spoil):
    def loss(logits, labels):
        spoil(logits, labels)
        return functional.cross_entropy(logits, labels, reduction="none")

    together = run(BASE.seeds(3), loss=loss)
    for index, config in enumerate(BASE.seeds(3)):
        assert_equal_records(together[index], run(config, loss=loss), exact=False)


def test_gradients_are_masked_as_the_hook_says():
    before = run(BASE.replace(learning_rate=1e-30), model=lambda config, dataset: masked())
    after = run(BASE, model=lambda config, dataset: masked())
    moved = (after.model()[1].weight - before.model()[1].weight).abs().sum(0) > 0
    assert moved.tolist()[8:] == [False] * 8 and moved[:8].any()


def test_dropout_keeps_no_more_numbers_than_memory_holds(monkeypatch):
    """Of each network, and by a stack of fewer networks; which changes the result of none."""
    from course_utils.stacking import architecture, layers

    config = BASE.replace(dropout=0.5, batch_size=60)
    monkeypatch.setattr(layers, "MOST_DRAWN", 6 * 60 * 3)
    expected, drawn = run(config.seeds(6)), []
    monkeypatch.setattr(architecture, "STACK_NUMBERS", 2 * 60 * (16 + (6 + 10) * 17))

    def note(current):
        drawn.append((len(current.indices), current.stack.dropout[0]._numbers.shape[1]))

    assert_equal_records(run(config.seeds(6), on_step=note), expected, exact=False)
    assert set(drawn) == {(2, 3)}


def test_a_loss_that_looks_at_its_whole_batch_sees_one_networks_batch():
    sizes = set()

    def balanced(logits, labels):
        sizes.add(len(labels))
        losses = functional.cross_entropy(logits, labels, reduction="none")
        return losses / losses.detach().mean()

    together = run(BASE.seeds(3), loss=balanced)
    assert max(sizes) <= 40
    for index, config in enumerate(BASE.seeds(3)):
        assert_equal_records(together[index], run(config, loss=balanced), exact=False)


def test_a_learners_own_module_is_a_start_and_is_left_as_it_was():
    own = dense(nn.ReLU())
    before = {name: value.clone() for name, value in own.state_dict().items()}
    history = run(BASE.seeds(2), model=lambda config, dataset: own)
    for name, value in own.state_dict().items():
        assert torch.equal(value, before[name])
    assert not torch.equal(
        history.model(0)[1].weight, history.model(1)[1].weight
    )  # their batches differ


def test_a_module_that_fails_leaves_the_world_as_it_was():
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(16, 10)

        def forward(self, images):
            torch.rand(1)
            if self.training and len(images) == 25:
                raise RuntimeError("as a learner's code does")
            return self.inner(images.flatten(1))

    before = state_of_the_world()
    with pytest.raises(RuntimeError, match="as a learner's code does"):
        run(BASE, model=lambda config, dataset: Failing())
    assert_same_world(before, state_of_the_world())
    with pytest.raises(ZeroDivisionError):
        run(BASE, on_step=lambda run: 1 / 0)
    assert_same_world(before, state_of_the_world())
