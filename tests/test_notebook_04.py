"""Notebook 04: its helpers measure what they say, its exercises judge rightly, its lab survives every extreme."""

from dataclasses import replace

import nbformat
import numpy as np
import pytest
import torch

from course_utils import Config, Dataset, Split, checks, difference, fit, load_mnist, make_mlp
from course_utils.topics import t04
from run_notebooks import NOTEBOOKS


@pytest.fixture(autouse=True)
def no_earlier_tries():
    checks._tries.clear()


@pytest.fixture(scope="module")
def mnist():
    return load_mnist(image_size=14)


@pytest.fixture(scope="module")
def pair(mnist):
    """Two stacks of three seeds: without and with dropout."""
    data = replace(mnist, train=mnist.train.first(200))
    return [fit([Config(width=32, epochs=8, dropout=dropout, seed=seed) for seed in range(3)], data)
            for dropout in (0.0, 0.5)]


# ---- helpers --------------------------------------------------------------------------------------------------------


def test_rescoring_on_the_split_that_fit_saw_changes_nothing(mnist, pair):
    again = t04.rescore(pair[0], mnist.val)
    assert (again.val_correct == pair[0].val_correct).mean() > 0.999     # another order of sums may tip one image
    assert t04.rescore(pair[0], mnist.train.first(300)).val_correct.shape == (3, 300)
    assert pair[0].val_correct.shape == (3, 1000), "the given history was changed"


def test_the_gap_is_training_minus_validation_accuracy(pair):
    plain, dropped = pair
    expected = plain.final("train_accuracy").mean() - plain.val_correct.mean()
    found = t04.gap(plain)
    assert found.value == pytest.approx(expected, abs=1e-6) and found.low < expected < found.high
    closed = t04.gap_closed(dropped, plain)
    assert closed.value == pytest.approx(found.value - t04.gap(dropped).value, abs=1e-6)
    assert t04.gap_closed(plain, plain).value == 0 == difference(plain, plain).value


def test_wrong_labels_are_wrong_in_the_share_asked_for(mnist):
    lies = t04.wrong_labels(mnist.train, 0.3)
    assert (lies.labels != mnist.train.labels).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert lies.labels.min() >= 0 and lies.labels.max() <= 9 and lies.labels.dtype == torch.int64
    assert torch.equal(t04.wrong_labels(mnist.train, 0.0).labels, mnist.train.labels)
    assert torch.equal(t04.wrong_labels(mnist.train, 0.3).labels, lies.labels)
    assert len(t04.wrong_labels(mnist.train, 1.0)) == 3000
    assert not (t04.wrong_labels(mnist.train, 1.0).labels == mnist.train.labels).any()


def test_silencing_no_unit_leaves_the_score_and_silencing_most_ruins_it(mnist, pair):
    model = pair[0].model(0)
    whole = (model(mnist.val.images).argmax(-1) == mnist.val.labels).float().mean().item()
    assert t04.silenced_accuracy(model, mnist.val, 0.0) == pytest.approx(whole, abs=2e-3)
    assert t04.silenced_accuracy(model, mnist.val, 0.9) < whole - 0.1


def test_one_round_of_the_board_is_drawn(pair):
    from course_utils.plots import new_figure

    _, axes = new_figure(columns=2)
    t04.plot_board({"nothing": pair[0], "dropout": pair[1]}, axes[0])
    assert [text.get_text() for text in axes[0, 0].get_yticklabels()] == ["nothing", "dropout"]
    assert axes[0, 1].lines and axes[0, 1].get_xlabel()


# ---- what the notebook teaches, held ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("optimizer", "equal"), [("sgd", True), ("adam", True), ("adamw", False)])
def test_weight_decay_is_the_l2_penalty_except_in_adamw(mnist, optimizer, equal):
    images, labels = mnist.train.images[:50], mnist.train.labels[:50]
    kinds = {"sgd": (torch.optim.SGD, torch.optim.SGD), "adam": (torch.optim.Adam, torch.optim.Adam),
             "adamw": (torch.optim.Adam, torch.optim.AdamW)}
    ends = []
    for kind, penalty, decay in zip(kinds[optimizer], (0.01, 0.0), (0.0, 0.02), strict=True):
        torch.manual_seed(0)
        model = make_mlp(196, 16)
        steps = kind(model.parameters(), lr=0.01, weight_decay=decay)
        for _ in range(10):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            loss = loss + penalty * sum((weights**2).sum() for weights in model.parameters())
            steps.zero_grad()
            loss.backward()
            steps.step()
        ends.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach())
    distance = ((ends[0] - ends[1]).norm() / ends[0].norm()).item()
    assert (distance < 1e-4) == equal


def test_on_idle_weights_adamw_follows_the_law_and_adams_l2_ignores_its_strength(mnist):
    data = replace(mnist, train=mnist.train.first(100), val=mnist.val.first(100))
    idle = data.train.images.flatten(1).amax(0) == 0
    assert idle.sum() > 10
    runs = [("adamw", 1.0), ("adam", 0.1), ("adam", 0.001)]
    configs = [Config(optimizer=name, weight_decay=decay, learning_rate=0.003, width=16, epochs=20) for name, decay in runs]
    start = make_mlp_of(configs[0]).get_parameter("1.weight")[:, idle].abs().mean().item()
    history = fit(configs, data)
    sizes = [history.model(run).get_parameter("1.weight")[:, idle].abs().mean().item() for run in range(3)]
    updates = np.isfinite(history.step_loss[0]).sum()
    assert sizes[0] == pytest.approx(start * (1 - 0.003) ** updates, rel=1e-3)
    assert sizes[1] == pytest.approx(sizes[2], rel=0.05) and sizes[1] < sizes[0]


def make_mlp_of(config):
    torch.manual_seed(config.seed)
    return make_mlp(196, config.width, dropout=config.dropout)


# ---- exercises ------------------------------------------------------------------------------------------------------


def code_with(tag, path):
    return [cell.source for cell in nbformat.read(path, 4).cells if tag in cell.metadata.get("tags", [])]


@pytest.mark.slow
@pytest.mark.parametrize("tag", ["exercise", "solution"])
def test_every_starter_fails_helpfully_and_every_solution_passes(tag, shell):
    name = {"exercise": "04_regularisation.ipynb", "solution": "solutions/04_regularisation_solutions.ipynb"}[tag]
    path = NOTEBOOKS / name
    set_up = ("import torch\nfrom course_utils import Config, Dataset, load_mnist\nfrom course_utils.topics import t04\n"
              "mnist = load_mnist(image_size=14)\nsmall = Dataset(mnist.train.first(500), mnist.val, mnist.test)")
    assert shell.run_cell(set_up).success
    sources = code_with(tag, path)
    assert len(sources) == 4
    for source in sources:
        outcome = shell.run_cell(source)
        assert outcome.success
        assert bool(outcome.result) == (tag == "solution"), outcome.result
        assert tag == "solution" or "Hint:" in outcome.result.message


def measured(model, split):
    return (model(split.images).argmax(-1) == split.labels).float().mean().item()


def never_restores(model, split):
    model.eval()
    return measured(model, split)


def always_trains_afterwards(model, split):
    model.eval()
    score = measured(model, split)
    model.train()
    return score


def by_copy(model, split):
    import copy
    return torch.tensor(measured(copy.deepcopy(model).eval(), split))


def test_exercise_1_wants_the_mode_put_back_and_takes_other_forms():
    assert "dropout is on" in t04.check_evaluate(measured).message
    assert "training mode went out" in t04.check_evaluate(never_restores).message
    assert "evaluation mode went out" in t04.check_evaluate(always_trains_afterwards).message
    assert not t04.check_evaluate(lambda model, split: 0.1)
    assert not t04.check_evaluate(lambda model: 0.1)
    assert not t04.check_evaluate(None)
    assert t04.check_evaluate(by_copy)


def masked(scale=True, at_evaluation=False, per_row=False, own_noise=False):
    def dropout(x, rate, training, generator):
        if not (training or at_evaluation):
            return x
        shape = (len(x), 1) if per_row else x.shape
        keep = torch.rand(shape, generator=None if own_noise else generator) >= rate
        return x * keep / (1 - rate if scale else 1)
    return dropout


def test_exercise_2_rejects_what_is_nearly_dropout():
    assert t04.check_dropout(masked())
    assert t04.check_dropout(lambda x, rate, training, noise: torch.where(
        torch.empty_like(x).bernoulli_(1 - rate, generator=noise) > 0, x / (1 - rate), 0.0) if training else x)
    for wrong in (masked(scale=False), masked(at_evaluation=True), masked(per_row=True), masked(own_noise=True),
                  lambda x, rate, training, noise: x, lambda x: x, None):
        assert not t04.check_dropout(wrong)


def test_exercise_3_knows_the_factor_two():
    assert t04.check_matching_decay(lambda penalty, momentum: penalty + penalty)
    assert t04.check_matching_decay(lambda penalty, momentum: np.float64(2.0) * penalty)
    for wrong in (lambda penalty, momentum: penalty, lambda penalty, momentum: penalty / 2,
                  lambda penalty, momentum: 2 * penalty * (1 - momentum), lambda penalty, momentum: -1, lambda: 0, None):
        assert not t04.check_matching_decay(wrong)


def test_exercise_4_wants_the_gap_closed_from_the_right_side(mnist):
    data = Dataset(mnist.train.first(200), mnist.val.first(500), mnist.test)
    untreated = Config(width=32, epochs=10, learning_rate=0.01)
    assert "Config" in t04.check_gap_closed("dropout", data, untreated).message
    assert "60 epochs" in t04.check_gap_closed(untreated.replace(epochs=61), data, untreated).message
    assert "not halved" in t04.check_gap_closed(untreated, data, untreated).message
    assert "losing accuracy" in t04.check_gap_closed(untreated.replace(learning_rate=1e-6), data, untreated).message
    assert not t04.check_gap_closed(untreated.replace(optimizer="sgd", learning_rate=1e30), data, untreated)


# ---- the lab --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_lab_survives_both_ends_of_every_control(mnist):
    lab = t04.regularisation_lab(mnist, seeds=3)
    assert set(lab.controls) == {"images", "width", "learning_rate", "dropout", "weight_decay", "label_smoothing",
                                 "augment", "patience"}
    assert "gap" in lab.status.value and lab.static().data
    for control in lab.controls.values():
        values = [value for _, value in control.options]
        default = control.value
        for value in (values[0], values[-1], *(values if len(values) < 5 else ())):
            before = lab.picture.value
            changed = control.value != value
            control.value = value
            assert not changed or lab.picture.value != before
            assert lab.result is not None and "epoch" in lab.status.value
        control.value = default
    lab.reset()
    assert lab.earlier == [] and "untreated" in lab.status.value


def test_the_lab_names_each_outcome_and_draws_what_diverged(mnist):
    lab = t04.regularisation_lab(replace(mnist, val=mnist.val.first(300)), seeds=2)
    lab.controls["dropout"].value = 0.9
    lab.controls["learning_rate"].value = min(value for _, value in lab.controls["learning_rate"].options)
    assert "accuracy is lost" in lab.status.value
    broken = fit([Config(optimizer="sgd", learning_rate=1e30, seed=seed) for seed in range(2)],
                 replace(mnist, train=mnist.train.first(100)), keep_models=False)
    before = lab.picture.value
    lab.result = broken
    lab._draw(lab.result)
    assert lab.picture.value != before and "diverged" in lab.status.value


def test_a_split_is_all_the_lab_needs_of_its_dataset(mnist):
    tiny = Dataset(Split(mnist.train.images[:600], mnist.train.labels[:600]), mnist.val.first(100), mnist.test.first(10))
    assert t04.regularisation_lab(tiny, seeds=2).result.val_correct.shape == (2, 100)
