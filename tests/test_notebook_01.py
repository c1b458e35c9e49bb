"""Notebook 01: its checks tell right from tempting, its labs survive their extremes, its helpers measure what they say."""

import math
import runpy
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from course_utils import Config, checks, fit, load_mnist, make_mlp
from course_utils.engine.networks import INITIALISATIONS
from course_utils.topics import t01

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOK = NOTEBOOKS / "01_weights_and_activations.ipynb"
SOLUTIONS = NOTEBOOKS / "solutions" / "01_weights_and_activations_solutions.ipynb"
CLAIMS = {"RG3", "GD2", "WB1", "WB2", "WB3", "WB4", "WB5", "AF1", "AF2"}


@pytest.fixture(scope="module")
def digits():
    return load_mnist(image_size=14, device="cpu")


@pytest.fixture(scope="module")
def tiny():
    return load_mnist(subset=60, image_size=7, device="cpu")


@pytest.fixture(autouse=True)
def fresh_hints():
    checks._tries.clear()


def tagged(path: Path, tag: str) -> list[str]:
    return [cell.source for cell in nbformat.read(path, 4).cells if tag in cell.metadata.get("tags", [])]


# --- the notebook as it stands --------------------------------------------------------------------------------------


def test_every_claim_has_its_card():
    sources = tagged(NOTEBOOK, "claim")
    assert {id for id in CLAIMS if any(f'claim("{id}"' in source for source in sources)} == CLAIMS


@pytest.mark.parametrize(("path", "tag", "passes"), [(NOTEBOOK, "exercise", False), (SOLUTIONS, "solution", True)])
def test_starters_fail_and_solutions_pass(path, tag, passes, digits, tmp_path):
    sources = tagged(path, tag)
    assert len(sources) == 5
    names = {name: getattr(t01, name) for name in dir(t01) if name.startswith("check_")}
    names |= {"np": np, "torch": torch, "nn": nn, "functional": functional, "two_inks": t01.two_inks,
              "mnist": digits, "small": digits}
    for number, source in enumerate(sources):
        body, _, call = source.rstrip().rpartition("\n")
        script = tmp_path / f"exercise_{number}.py"
        script.write_text(f"{body}\nresult = {call}\n", encoding="utf-8")
        result = runpy.run_path(str(script), names)["result"]
        assert bool(result) is passes, result
        assert passes or ("Hint:" in result.message and len(result.message) > 40)


# --- exercise checks ------------------------------------------------------------------------------------------------


def test_neuron(digits):
    features, labels = t01.two_inks(digits.train)
    for right in (([-2.0, 1.0], -0.5), (np.array([-3, 1.5]), -1), (torch.tensor([-20.0, 10.0]), torch.tensor(-5.0))):
        assert t01.check_neuron(*right, features, labels)
    for wrong in (([1, 1], 0), ([2, -1], 0.5), ([-1, 2], 0), ([0, 0], 0), ([-2, 1], 5), ([1, 2, 3], 0), (None, 0),
                  ([-2, 1], None), ([-2, 1], math.nan), ("ab", "c"), ([math.nan, 1], 0)):
        assert not t01.check_neuron(*wrong, features, labels)


def test_leaky_std():
    assert t01.check_leaky_std(lambda fan_in, slope: math.sqrt(2 / (1 + slope**2) / fan_in))
    assert t01.check_leaky_std(lambda n, a: nn.init.calculate_gain("leaky_relu", a) / torch.tensor(n).sqrt())
    for wrong in (None, lambda *_: None, lambda n, a: math.sqrt(2 / n), lambda n, a: math.sqrt(1 / n),
                  lambda n, a: 2 / ((1 + a**2) * n), lambda n, a: math.sqrt(2 / ((1 + a) * n)), lambda n, a: -1,
                  lambda n, a: math.sqrt((2 - a) / n), lambda n, a: math.sqrt(2 / (1 + a**2) / 256)):
        assert not t01.check_leaky_std(wrong)


def test_first_loss(digits):
    split = digits.val.first(200)

    @torch.no_grad()
    def zero(model):
        model[-1].weight.zero_()                           # in place, and nothing returned, is as good

    @torch.no_grad()
    def all_layers(model):
        for parameter in model.parameters():
            parameter.mul_(0.01)

    @torch.no_grad()
    def not_small_enough(model):
        model[-1].weight.mul_(0.1)

    def frozen(model):
        zero(model)
        model[-1].requires_grad_(False)

    assert t01.check_first_loss(zero, split)
    for wrong in (None, lambda model: None, lambda model: 3, all_layers, not_small_enough, frozen):
        assert not t01.check_first_loss(wrong, split)


def test_stable_bce():
    def by_hand(z, y):
        return z.clamp(min=0) - z * y + torch.log1p(torch.exp(-z.abs()))

    def clipped(z, y):
        p = torch.sigmoid(z).clamp(1e-7, 1 - 1e-7)
        return -(y * p.log() + (1 - y) * (1 - p).log())

    def one_sided(z, y):
        return torch.log(1 + torch.exp(z)) - y * z

    def right_values_only(z, y):
        return by_hand(z.detach(), y) + 0 * z

    for right in (by_hand, lambda z, y: functional.softplus(z) - y * z,
                  lambda z, y: -y * functional.logsigmoid(z) - (1 - y) * functional.logsigmoid(-z)):
        assert t01.check_stable_bce(right)
    for wrong in (None, lambda z, y: None, lambda z, y: by_hand(z, y).mean(), clipped, one_sided, right_values_only,
                  lambda z, y: functional.binary_cross_entropy(torch.sigmoid(z), y, reduction="none")):
        assert not t01.check_stable_bce(wrong)


class Model(nn.Module):
    def __init__(self, body, calls_adapter=True):
        super().__init__()
        self.body, self.adapter, self.head, self.calls = body, nn.Linear(8, 8), nn.Linear(8, 5), calls_adapter

    def forward(self, images):
        features = self.body(images)
        return self.head(self.adapter(features).relu() if self.calls else features)


def recipe(calls_adapter=True, frozen=True, only_learning=True, body_rests=True, set_to_none=True):
    def prepare(body):
        model = Model(body, calls_adapter)
        body.requires_grad_(not frozen)
        chosen = [p for p in model.parameters() if p.requires_grad or not only_learning]
        return model, torch.optim.AdamW(chosen, lr=0.01, weight_decay=0.1)

    def one_step(model, optimizer, images, labels):
        model.train()
        model.body.train(not body_rests)
        optimizer.zero_grad(set_to_none=set_to_none)
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return prepare, one_step


def test_fine_tuning():
    for right in (recipe(), recipe(set_to_none=False), recipe(only_learning=False)):
        assert t01.check_fine_tuning(*right)
    tempting = {"adapter": recipe(calls_adapter=False), "frozen": recipe(only_learning=False, set_to_none=False),
                "weights": recipe(frozen=False), "something else": recipe(body_rests=False)}
    tempting["new layer"] = tempting.pop("adapter")
    tempting["weights are frozen"] = tempting.pop("weights")
    for word, wrong in tempting.items():
        result = t01.check_fine_tuning(*wrong)
        assert not result and word in result.message
    prepare, one_step = recipe()
    for wrong in ((None, None), (prepare, None), (prepare, lambda *_: None), (lambda body: None, one_step)):
        assert not t01.check_fine_tuning(*wrong)


@pytest.mark.parametrize("check", [t01.check_leaky_std, t01.check_stable_bce])
def test_hints_escalate(check):
    messages = [check(lambda *_: 0.0).message for _ in range(3)]
    assert len(set(messages)) == 3


# --- labs -----------------------------------------------------------------------------------------------------------


def drive(lab):
    """Every control to both ends and every option: the picture changes, nothing raises."""
    for control in lab.controls.values():
        options = [value for _, value in control.options]
        few = options if len(options) <= 8 else options[:: len(options) // 4]
        for value in [options[0], options[-1], *few]:
            before, old = bytes(lab.picture.value), control.value
            control.value = value
            assert value == old or bytes(lab.picture.value) != before
            assert bytes(lab.picture.value).startswith(b"\x89PNG")
            assert "Error" not in lab.status.value


def test_the_neuron_lab_survives_its_extremes(digits):
    lab = t01.neuron_lab(*t01.two_inks(digits.train))
    first = lab.status.value
    drive(lab)
    for control in lab.controls.values():
        control.value = 0.0                                # no weights: no boundary
    assert "right for" in lab.status.value and lab.status.value != first
    lab.reset()
    assert lab.status.value == first and not lab.earlier


def test_the_initialisation_lab_survives_its_extremes(digits):
    lab = t01.init_lab(digits, images=40)
    assert {value for _, value in lab.controls["init"].options} == set(INITIALISATIONS)
    drive(lab)
    for depth in (1, 20):
        for init in ("zeros", "constant", "normal", "small"):
            for activation in ("relu", "sigmoid"):
                for name, value in (("depth", depth), ("init", init), ("activation", activation)):
                    lab.controls[name].value = value
                assert "first loss" in lab.status.value
    lab.reset()
    assert lab.values == {"depth": 10, "activation": "relu", "init": "xavier"}


def test_labs_are_quick(digits):
    lab = t01.init_lab(digits)
    times = []
    for depth in (1, 20, 5, 15):
        start = time.perf_counter()
        lab.controls["depth"].value = depth
        times.append(time.perf_counter() - start)
    assert min(times) < 1.0                                # 0.1 to 0.2 s on a free machine


# --- helpers --------------------------------------------------------------------------------------------------------


def test_two_inks_are_standardised(digits):
    features, labels = t01.two_inks(digits.train, (3, 1))
    chosen = digits.train.labels[(digits.train.labels == 3) | (digits.train.labels == 1)]
    assert torch.equal(labels, (chosen == 1).float())
    assert features.mean(0).abs().max() < 1e-4 and (features.std(0) - 1).abs().max() < 1e-4


def test_some_digits_are_renamed_and_repeated(digits):
    few = t01.some_digits(digits, 5, 9, labels=10, at_least=25)
    assert len(few.train) == 25 and few.classes == 5
    assert torch.equal(few.train.images[:10], few.train.images[10:20])
    assert set(few.val.labels.tolist()) == {0, 1, 2, 3, 4}
    assert len(t01.some_digits(digits, 0, 4).train) == int((digits.train.labels < 5).sum())


def test_importance_sees_what_a_network_uses(digits):
    model = make_mlp(196, depth=0)
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[1, 100] = 3.0
    rises = t01.importance(model, digits.val, seed=0)
    assert rises.shape == (196,) and set(np.flatnonzero(np.abs(rises) > 1e-6)) == {100}


def test_decades_by_construction(tiny):
    torch.manual_seed(0)
    model = make_mlp(49, 64, 3, activation="tanh", init="small")
    forward, backward = t01.decades(model, tiny.val)
    per_layer = math.log10(0.01 * math.sqrt(64))           # two layers lie between the first and the last
    assert forward == pytest.approx(2 * per_layer, abs=0.2) and backward == pytest.approx(2 * per_layer, abs=0.2)


def test_what_moved_tells_the_three_mistakes_from_none():
    images, labels = torch.rand(32, 1, 4, 4), torch.randint(0, 5, (32,))

    def audit(**mistake):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU())
        body(images).sum().backward()
        prepare, one_step = recipe(**mistake)
        model, optimizer = prepare(body)
        return t01.what_moved(model, lambda: one_step(model, optimizer, images, labels)).set_index("tensor")

    right = audit()
    assert right.loc["adapter.weight", "moved"] > 0 and right.loc["adapter.weight", "gradient"] > 0
    assert not right.loc[["body.1.weight", "body.2.running_mean"], "moved"].any()
    uncalled = audit(calls_adapter=False)
    assert uncalled.loc["adapter.weight", "moved"] == 0 and math.isnan(uncalled.loc["adapter.weight", "gradient"])
    assert uncalled.loc["adapter.weight", "trainable"]
    late = audit(only_learning=False, set_to_none=False)
    assert late.loc["body.1.weight", "moved"] > 0 and late.loc["body.1.weight", "gradient"] == 0
    assert not late.loc["body.1.weight", "trainable"]
    assert audit(body_rests=False).loc["body.2.running_mean", "moved"] > 0


def test_fine_tuned_freezes_and_copies(tiny):
    source = fit(Config(width=8, depth=2, epochs=1), tiny, progress=False)
    bodies, config = [source.model(0)], Config(width=8, depth=2)
    model = t01.fine_tuned(bodies, pretrained=True, frozen=True)(config, tiny)
    assert [p.requires_grad for p in model.parameters()] == [False] * 4 + [True] * 2
    assert torch.equal(model[1].weight, bodies[0][1].weight) and model[1].weight is not bodies[0][1].weight
    model = t01.fine_tuned(bodies, pretrained=False, frozen=False)(config, tiny)
    assert not torch.equal(model[1].weight, bodies[0][1].weight) and all(p.requires_grad for p in model.parameters())


def test_layer_wise_pretraining_learns_to_rebuild(tiny):
    bodies = t01.pretrain_layers(tiny, depth=2, width=16, seeds=2, epochs=3)
    assert len(bodies) == 2 and bodies[0](tiny.val.images).shape == (1000, 16)
    assert not torch.equal(bodies[0][1].weight, bodies[1][1].weight)
    history = fit([Config(epochs=8, learning_rate=0.01, seed=seed) for seed in range(2)], tiny, progress=False,
                  model=lambda *_: t01.AutoEncoder(nn.Flatten(-3), 49, 16), loss=lambda errors, _: errors[:, 0])
    assert (history.val_loss[:, -1] < history.val_loss[:, 0]).all()


def test_a_stacked_auto_encoder_is_two_single_ones(tiny):
    def build(config, _):
        return t01.AutoEncoder(nn.Sequential(nn.Flatten(-3), *make_mlp(49, 6, 1, outputs=5)[1:]), 5, 4)

    options = {"model": build, "loss": lambda errors, _: errors[:, 0], "progress": False}
    configs = [Config(epochs=2, seed=seed) for seed in range(2)]
    both = fit(configs, tiny, **options)
    for seed in range(2):
        alone = fit(configs[seed], tiny, **options)
        np.testing.assert_allclose(both.val_loss[seed], alone.val_loss[0], rtol=1e-4)


def test_tuned_takes_the_best_rate(tiny):
    history = fit([Config(learning_rate=rate, epochs=3, seed=seed) for rate in (1e-7, 1e-2) for seed in range(2)], tiny,
                  progress=False)
    assert {config.learning_rate for config in t01.tuned(history).configs} == {1e-2}
