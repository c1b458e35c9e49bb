"""What makes no sense is refused before anything is trained, by the name of what was wrong."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from course_utils import Config, Dataset, Split, fit, load_mnist, sweep

MNIST = load_mnist(subset=60, image_size=4, device="cpu")
IMAGES, LABELS = MNIST.train.images, MNIST.train.labels
DATA = Dataset(MNIST.train, MNIST.val.first(40), MNIST.test.first(10), "tiny")
BASE = Config(batch_size=25, epochs=2, width=6, optimizer="sgd", learning_rate=0.1)


def refused(config=BASE, dataset=DATA, **options):
    """The error of ``fit``, which must not have trained anything."""
    updates = []
    with pytest.raises((TypeError, ValueError)) as caught:
        fit(config, dataset, progress=False, on_step=updates.append, **options)
    assert not updates
    return str(caught.value)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[:50], LABELS, "images, labels: got 50 images and 60 labels"),
        (IMAGES.flatten(1), LABELS, "images: got the shape"),
        (IMAGES[0], LABELS, "images: got the shape"),
        (IMAGES.numpy(), LABELS, "images: got a ndarray"),
        (IMAGES.tolist(), LABELS, "images: got a list"),
        (IMAGES.double(), LABELS, "images: got a tensor of torch.float64"),
        ((IMAGES * 255).byte(), LABELS, "images: got a tensor of torch.uint8"),
        (IMAGES, functional.one_hot(LABELS), r"labels: got the shape \[60, 10\].*one-hot"),
        (IMAGES, LABELS.int(), "labels: got a tensor of torch.int32"),
        (IMAGES, LABELS.float(), "labels: got a tensor of torch.float32"),
        (IMAGES, LABELS.numpy(), "labels: got a ndarray"),
        (IMAGES, LABELS - 1, "labels: got -1"),
        (IMAGES[:, :, :0], LABELS, "images: got no pixel"),
        (IMAGES.clone().requires_grad_(), LABELS, "images: got a tensor that requires a gradient"),
        (
            IMAGES.clone().index_fill_(0, torch.tensor([3]), torch.nan),
            LABELS,
            "images: got NaN or infinite pixels",
        ),
        (
            IMAGES.clone().index_fill_(0, torch.tensor([3]), torch.inf),
            LABELS,
            "images: got NaN or infinite pixels",
        ),
    ],
)
def test_data_that_make_no_sense_are_refused_by_name(images, labels, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        Split(images, labels)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((DATA.train, DATA.val.first(0), DATA.test), "val: got no image"),
        ((DATA.train.first(0), DATA.val, DATA.test), "train: got no image"),
        (
            (DATA.train, load_mnist(image_size=7, device="cpu").val, DATA.test),
            r"val: got images shaped \[1, 7, 7\]",
        ),
        ((DATA.train, (IMAGES, LABELS), DATA.test), "val: got a tuple"),
    ],
)
def test_splits_that_do_not_fit_together_are_refused_by_name(parts, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        Dataset(*parts)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda split: split.images[3].fill_(torch.nan), "images: got NaN or infinite pixels"),
        (lambda split: split.labels[3:].fill_(-1), "labels: got -1"),
        (lambda split: split.labels.fill_(4), "train: has images of class 4 alone"),
        (lambda split: split.labels.mul_(1_000_000), "labels: got the class 9,000,000"),
    ],
)
def test_data_spoilt_after_they_were_made_are_refused(spoil, message):
    train = Split(IMAGES.clone(), LABELS.clone())
    data = Dataset(train, Split(IMAGES, LABELS), DATA.test)
    spoil(train)
    assert refused(dataset=data).startswith(message)


def test_classes_that_no_network_could_learn_are_refused():
    rare = LABELS < 9
    few = Split(IMAGES[rare], LABELS[rare])
    assert refused(dataset=Dataset(few, few, few, tuning=DATA.val)).startswith("tuning: has images")
    seen = LABELS < 8
    data = Dataset(Split(IMAGES[seen], LABELS[seen]), DATA.val, DATA.test)
    assert refused(dataset=data).startswith(
        "val: has images of class 8, 9, of which train has none"
    )
    assert refused(dataset=(DATA.train, DATA.val)).startswith("dataset: got a tuple")


class Answering(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.inner, self.answer = nn.Linear(16, 10), answer

    def forward(self, images):
        return self.answer(self.inner(images.flatten(1)))


def frozen(config, dataset):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
    return model.requires_grad_(False)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(16, 10), "model: got a Linear, takes a function"),
        ("mlp", "model: got a str"),
        (None, "model: got a NoneType"),
        (lambda config, dataset: None, "model: it returned a NoneType"),
        (lambda config, dataset: nn.Linear, "model: it returned a type"),
        (
            lambda config, dataset: torch.jit.script(
                nn.Sequential(nn.Flatten(), nn.Linear(16, 10))
            ),
            "model: got a network compiled by torch.jit",
        ),
        (frozen, "model: nothing in the network can be trained"),
        (
            lambda config, dataset: nn.Sequential(nn.Flatten(), nn.Linear(16, 10)).double(),
            "model: 1.weight is of torch.float64",
        ),
        (
            lambda config, dataset: nn.Sequential(nn.Flatten(), nn.Linear(16, 10)).half(),
            "model: 1.weight is of torch.float16",
        ),
        (
            lambda config, dataset: Answering(lambda x: (x, x)),
            "model: its forward returned a tuple",
        ),
        (
            lambda config, dataset: nn.Sequential(nn.Flatten(2), nn.LSTM(16, 10, batch_first=True)),
            "model: its forward returned a tuple",
        ),
        (
            lambda config, dataset: Answering(lambda x: x[:, :5]),
            r"model: its forward made \[25, 5\] of 25 images of 10 classes",
        ),
        (lambda config, dataset: Answering(lambda x: x.mean(0)), r"model: its forward made \[10\]"),
        (
            lambda config, dataset: Answering(lambda x: x.unsqueeze(0)),
            r"model: its forward made \[1, 25, 10\]",
        ),
    ],
)
def test_networks_that_cannot_be_trained_are_refused(model, message):
    import re

    assert re.match(message, refused(model=model))


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear,
        nn.Sequential,
        lambda: nn.Linear(16, 10),
        lambda config, dataset: undefined_name,  # noqa: F821
        lambda config, dataset: nn.Sequential(nn.Flatten(), nn.Linear(99, 10)),
    ],
)
def test_an_error_of_the_learners_own_is_shown_with_a_note_on_where_it_came_from(model):
    with pytest.raises(Exception) as caught:
        fit(BASE, DATA, progress=False, model=model)
    notes = "".join(getattr(caught.value, "__notes__", [])) + str(caught.value)
    assert "model" in notes


def test_lazy_networks_get_their_shape_from_the_images():
    history = fit(
        BASE.seeds(2),
        DATA,
        progress=False,
        model=lambda config, dataset: nn.Sequential(
            nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(10)
        ),
    )
    assert history.model(1)[1].weight.shape == (8, 16)
    assert not torch.equal(history.model(0)[1].weight, history.model(1)[1].weight)


@pytest.mark.parametrize("size", [1, 59])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "model": lambda config, dataset: nn.Sequential(
                nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6), nn.Linear(6, 10)
            )
        },
    ],
)
def test_a_batch_of_one_image_cannot_be_normalised(size, options):
    config = BASE.replace(normalisation="batch", batch_size=size)
    assert refused(config, **options).startswith("batch_size: leaves a batch of one image")
    fit(config.replace(normalisation="layer"), DATA, progress=False)


@pytest.mark.parametrize("size", [1, 59])
def test_a_batch_size_turned_to_leave_one_image_is_refused(size):
    def turn(run):
        if run.epoch == 1:
            run.set(batch_size=size)

    with pytest.raises(ValueError, match="^batch_size: left a batch of one image"):
        fit(BASE.replace(normalisation="batch"), DATA, progress=False, on_epoch=turn)


def test_a_single_image_of_many_pixels_is_normalised_as_torch_does():
    def model(config, dataset):
        parts = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 10)
        return nn.Sequential(*parts)

    history = fit(BASE.replace(batch_size=59), DATA, progress=False, model=model)
    assert np.isfinite(history.step_loss).all()


# Schedules, losses, augmentations


class Decaying(lr_scheduler.LambdaLR):
    def step(self, epoch=None):
        super().step(epoch)
        for group in self.optimizer.param_groups:
            group["weight_decay"] = 0.1 * self.last_epoch


OTHER = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda o: None, "schedule: it returned None"),
        (lambda o: lr_scheduler.StepLR, "schedule: it returned <class"),
        (lambda o: lr_scheduler.StepLR(OTHER, 3), "schedule: it returned another optimizer"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="max"), 'schedule: got mode="max"'),
        (
            lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
            "schedule: OneCycleLR changes the momentum",
        ),
        (
            lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=3, cycle_momentum=False),
            "Tried to step",
        ),
        (
            lambda o: lr_scheduler.LambdaLR(o, lambda step: float("nan") if step == 4 else 1.0),
            "schedule: got a rate of nan at step 4",
        ),
        (lambda o: lr_scheduler.LambdaLR(o, lambda step: 1.0 - step), "schedule: got a rate of -"),
        (
            # begins at the momentum that there is, and changes it later
            lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=2, max_momentum=0.9),
            "schedule: CyclicLR changes the momentum",
        ),
        (
            lambda o: Decaying(o, lambda step: 1.0),
            "schedule: Decaying changes the weight decay",
        ),
    ],
)
def test_schedules_that_are_not_what_they_seem_are_refused(schedule, message):
    assert refused(BASE.replace(momentum=0.9, schedule=schedule)).startswith(message)


def test_a_schedule_of_the_second_stack_is_looked_at_before_the_first_is_trained():
    configs = [BASE, BASE.replace(width=7, schedule=lambda o: None)]
    assert refused(configs).startswith("schedule: it returned None")


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_a_schedule_of_ones_own_that_leaves_the_momentum_alone_is_welcome(momentum):
    schedule = {
        "schedule": lambda o: lr_scheduler.OneCycleLR(o, 0.2, total_steps=6, cycle_momentum=False)
    }
    history = fit(BASE.replace(momentum=momentum, **schedule), DATA, progress=False)
    assert history.learning_rate[0].max() == pytest.approx(0.2, rel=0.1)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (functional.cross_entropy, r"loss: got a result shaped \(\) for 4 images"),
        (lambda logits, labels: 1.0, "loss: it returned a float"),
        (lambda logits, labels: None, "loss: it returned a NoneType"),
        (lambda logits, labels: logits, r"loss: got a result shaped \(4, 10\)"),
    ],
)
def test_losses_of_the_wrong_kind_are_refused(loss, message):
    import re

    assert re.match(message, refused(loss=loss))


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (lambda images, generator: None, "augment: it returned a NoneType"),
        (
            lambda images, generator: (images, generator),
            "augment: it returned a tuple.*a torchvision transform is wrapped",
        ),
        (lambda images, generator: images[:-1], "augment: it made"),
        (lambda images, generator: images.flatten(1), "augment: it made"),
        (lambda images, generator: images.double(), "augment: it made .* of torch.float64"),
        (lambda images, generator: images.numpy(), "augment: it returned a ndarray"),
    ],
)
def test_augmentations_of_the_wrong_kind_are_refused(augment, message):
    import re

    assert re.match(message, refused(BASE.replace(augment=augment)))


def test_a_transform_of_torchvisions_works_as_the_message_says():
    v2 = pytest.importorskip("torchvision.transforms.v2")
    turn = v2.RandomRotation(10)
    assert "augment: it returned a tuple" in refused(BASE.replace(augment=turn))
    config = BASE.replace(augment=lambda images, generator: turn(images))
    one, two = (fit(config, DATA, progress=False) for _ in range(2))
    np.testing.assert_array_equal(one.step_loss, two.step_loss)


# Many


def test_a_wide_batch_of_many_networks_is_cut_to_what_memory_holds(monkeypatch):
    from course_utils.stacking import architecture

    sizes = []
    monkeypatch.setattr(architecture, "STACK_NUMBERS", 60 * 20 * 7)
    history = fit(
        BASE.replace(width=1, batch_size=3000).seeds(20),
        DATA,
        progress=False,
        on_epoch=lambda run: sizes.append(len(run.indices)),
    )
    assert max(sizes) <= 7 and len(history) == 20 and np.isfinite(history.val_loss).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sweep(BASE, learning_rat=[0.1]), "learning_rat: is no field of Config"),
        (lambda: sweep(BASE, optimizer="adam"), "optimizer: got 'adam', takes a list"),
        (lambda: sweep(BASE, width=8), "width: got 8, takes a list"),
        (lambda: sweep(BASE, width=[]), "width: got \\[\\], takes one value or more"),
        (lambda: sweep(BASE, width=[4, 8, 4]), "width: got .*none twice"),
        (lambda: sweep(BASE, seeds=0), "seed: got \\[\\]"),
        (lambda: BASE.seeds([1, 1]), "seed: got .*none twice"),
        (lambda: sweep(BASE, width=[0]), "width: got 0"),
    ],
)
def test_a_sweep_of_nonsense_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_a_sweep_is_every_combination_with_every_seed():
    configs = sweep(BASE, learning_rate=np.array([0.1, 0.2]), width=[4, 8], seeds=3)
    found = [(config.learning_rate, config.width, config.seed) for config in configs]
    assert found == [
        (rate, width, seed) for rate in (0.1, 0.2) for width in (4, 8) for seed in range(3)
    ]
    assert (
        sweep(BASE.replace(seed=5)) == [BASE.replace(seed=5)]
        and BASE.replace(seed=8).seeds(2)[1].seed == 9
    )
    assert [config.seed for config in BASE.seeds(range(8, 11))] == [8, 9, 10]
