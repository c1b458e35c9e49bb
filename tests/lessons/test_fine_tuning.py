"""Notebook 11: its tasks, its instruments, its checks and its lab."""

import copy

import nbformat
import numpy as np
import pytest
import torch
from torch import nn

from course_utils import Config, Estimate, fit, load_mnist, make_mlp
from course_utils.lessons.fine_tuning import exercises, experiments, labs, layer_wise, tasks
from stored import NOTEBOOKS

DIGITS = load_mnist(subset=2000, image_size=4, device="cpu")


@pytest.fixture
def cells(shell):
    """What the notebook's cells define: what a learner reads is what is tested."""
    setup = "import copy, torch\nimport pandas as pd\nfrom torch import nn\n"
    setup += "from torch.nn import functional\nfrom course_utils import make_mlp\n"
    setup += "from course_utils.lessons.fine_tuning import experiments"
    shell.run_cell(setup)
    for cell in nbformat.read(NOTEBOOKS / "11_fine_tuning.ipynb", as_version=4).cells:
        is_lesson = cell.cell_type == "code" and "show-code" in cell.metadata.get("tags", [])
        if is_lesson and cell.source.startswith(("def ", "class ")):
            source = cell.source.split("\n\n\nbody =")[0].replace("196", "16")
            assert shell.run_cell(source).success
    return shell.user_ns


# Tasks


def test_the_two_halves_of_the_new_digits_share_no_class_and_no_image():
    old, new = tasks.old_digits(DIGITS), tasks.new_digits(DIGITS, 50)
    assert old.classes == new.classes == 5
    assert len(old.train) + int((DIGITS.train.labels > 4).sum()) == len(DIGITS.train)
    assert len(old.val) + len(new.val) == len(DIGITS.val)
    assert len(old.tuning) + len(new.tuning) == len(DIGITS.tuning)


def test_few_labels_are_repeated_and_no_others_are_seen():
    for make in (tasks.new_digits, tasks.tilted):
        few, more = make(DIGITS, 20, 50), make(DIGITS, 80, 50)
        assert len(few.train) == 50 and len(more.train) == 80
        assert torch.equal(few.train.images[:20], few.train.images[20:40])
        assert torch.equal(few.train.images[:20], more.train.images[:20])
        for labels in (0, len(DIGITS.train) + 1):
            with pytest.raises(ValueError, match="labels: got"):
                make(DIGITS, labels)


def test_tilted_digits_are_the_second_half_and_upright_ones_the_first():
    assert torch.equal(tasks.upright(DIGITS).train.images, DIGITS.train.images[: tasks.HALF])
    target = tasks.tilted(DIGITS, 10, 10)
    assert torch.equal(target.train.images, tasks.tilt(DIGITS.train.images[tasks.HALF :][:10]))
    assert torch.equal(target.val.labels, DIGITS.val.labels)


def test_a_tilt_of_nothing_changes_nothing_and_a_quarter_turn_turns():
    images = torch.rand(3, 1, 14, 14)
    torch.testing.assert_close(tasks.tilt(images, 0.0), images)
    quarter = tasks.tilt(images, 90.0)
    turns = [torch.rot90(images, k, (2, 3)) for k in (1, 3)]
    assert any(torch.allclose(quarter, each, atol=1e-4) for each in turns)
    assert tasks.tilt(images).sum() < images.sum()  # corners leave the picture


# What moves


def tiny_bodies():
    return experiments.pretrain(tasks.upright(DIGITS), width=6, epochs=1)


def test_fine_tuned_copies_bodies_and_freezes(cells):
    bodies, config = tiny_bodies(), Config(width=6, depth=2, seed=3)
    assert sorted(bodies) == list(experiments.SEEDS)
    data = tasks.tilted(DIGITS, 20, 20)
    frozen = cells["fine_tuned"](bodies, True, frozen=True)(config, data)
    assert [each.requires_grad for each in frozen.parameters()] == [False] * 4 + [True] * 2
    assert torch.equal(frozen[1].weight, bodies[3][1].weight)
    assert frozen[1].weight is not bodies[3][1].weight
    fresh = cells["fine_tuned"](bodies, pretrained=False)(config, data)
    assert not torch.equal(fresh[1].weight, bodies[3][1].weight)


def test_a_low_rank_layer_begins_as_the_layer_it_corrects(cells):
    linear, inputs = nn.Linear(5, 3), torch.randn(4, 5)
    wanted = linear(inputs)
    layer = cells["LowRank"](linear, 2)
    torch.testing.assert_close(layer(inputs), wanted)
    assert experiments.trainable(layer) == 2 * 5 + 3 * 2


def test_after_a_first_training_everything_learns_and_each_seed_has_its_own(cells):
    bodies, data = tiny_bodies(), tasks.tilted(DIGITS, 20, 20)
    model = cells["fine_tuned"](bodies, frozen=True)
    config = Config(width=6, depth=2, epochs=1, learning_rate=0.1)
    go_on = experiments.after_training(config, data, model)
    first, again = (go_on(config.replace(seed=2), data) for _ in range(2))
    assert first is not again and all(each.requires_grad for each in first.parameters())
    assert torch.equal(first[1].weight, bodies[2][1].weight)
    assert not torch.equal(first[-1].weight, bodies[2][-1].weight)


def test_a_first_step_says_what_came_of_it(capsys):
    class Net(nn.Module):
        def __init__(self, called):
            super().__init__()
            self.old, self.new_layer, self.called = (
                make_mlp(16, 4, 1, 10),
                nn.Linear(10, 10),
                called,
            )

        def forward(self, images):
            return self.new_layer(self.old(images)) if self.called else self.old(images)

    def outcome(called, frozen, held="all"):
        net = Net(called)
        net.old.requires_grad_(not frozen)
        holds = net.parameters() if held == "all" else [nn.Parameter(torch.zeros(1))]
        return experiments.first_step(net, torch.optim.Adam(holds, lr=0.01), DIGITS.train)

    assert outcome(called=False, frozen=True) == 0
    assert "does not require grad" in capsys.readouterr().out
    assert outcome(called=True, frozen=False, held="none") == 1
    assert outcome(called=True, frozen=True) == 2
    assert outcome(called=False, frozen=False) == 3


def test_the_audit_tells_each_mistake_from_the_others(cells):
    cells |= {"body": experiments.trained_body(DIGITS, updates=5)}
    cells["twenty"] = tasks.tilted(DIGITS, 64, 64)
    cells["functional"] = nn.functional

    def moved(*arguments, **named):
        table = cells["audit"](*arguments, **named)
        return {name for name in table.index if table.loc[name, "moved"] > 0}, table

    new = {"new_layer.weight", "new_layer.bias", "head.weight", "head.bias"}
    assert moved(cells["Repaired"])[0] == new
    asleep, table = moved(cells["NeverCalled"])
    assert asleep == {"head.weight", "head.bias"}
    assert np.isnan(table.loc["new_layer.weight", "gradient"])
    late, table = moved(cells["Repaired"], freeze_late=True)
    assert "body.1.weight" in late and table.loc["body.1.weight", "gradient"] == 0
    statistics = moved(cells["Repaired"], body_rests=False)[0] - new
    assert statistics and all("running" in each or "tracked" in each for each in statistics)


@pytest.mark.parametrize(
    ("one", "other", "which"),
    [((2, 3), (0, 1), "a"), ((0, 1), (2, 3), "b"), ((0, 2), (1, 3), "alike")],
)
def test_an_effect_is_larger_where_intervals_do_not_overlap(one, other, which):
    effects = {n: Estimate(sum(e) / 2, *e, 8) for n, e in (("a", one), ("b", other))}
    assert experiments.larger(effects, "alike") == which


# Layer by layer


def test_layer_wise_pretraining_learns_to_rebuild():
    bodies = layer_wise.pretrain_layers(DIGITS, depth=2, width=5, seeds=[0, 9], epochs=1)
    assert list(bodies) == [0, 9] and bodies[0](DIGITS.val.images).shape == (1000, 5)
    assert not torch.equal(bodies[0][1].weight, bodies[9][1].weight)
    history = fit(
        Config(epochs=3, learning_rate=0.03).seeds(2),
        DIGITS,
        model=lambda *_: layer_wise.AutoEncoder(nn.Flatten(), 16, 8),
        loss=lambda errors, _: errors[:, 0],
        progress=False,
    )
    assert (history.val_loss[:, -1] < history.val_loss[:, 0]).all()


def test_gradients_are_lost_in_small_sigmoid_layers_and_not_in_relu_ones():
    deep = Config(depth=4, width=8)
    arms = {"sigmoid": deep.replace(activation="sigmoid", init="xavier"), "relu": deep}
    shares = layer_wise.gradients_left(arms, DIGITS)
    assert shares["sigmoid"].high < 0.1 < shares["relu"].low


# Exercises


def test_numbers_that_learn_are_counted():
    def right(model):
        return sum(each.numel() for each in model.parameters() if each.requires_grad)

    wrong = {
        "four tensors": lambda model: sum(each.requires_grad for each in model.parameters()),
        "as if it learned": lambda model: sum(each.numel() for each in model.parameters()),
        "not yet so": lambda model: sum(
            each.numel() for each in model.parameters() if each.dim() > 1
        ),
    }
    assert exercises.check_trainable(right)
    for said, count in wrong.items():
        result = exercises.check_trainable(count)
        assert not result and said in result.message


def recipe(calls=True, only_new=True, rests=True):
    def forward(body, adapter, head, images):
        return head(adapter(body(images)).relu() if calls else body(images))

    def prepare(body, adapter, head):
        parts = (adapter, head) if only_new else (body, adapter, head)
        body.requires_grad_(False)
        learning = [each for part in parts for each in part.parameters()]
        return torch.optim.AdamW(learning, lr=0.01, weight_decay=0.1)

    def before_step(body, adapter, head):
        body.train(not rests)

    return forward, prepare, before_step


def test_a_repair_needs_all_three():
    assert exercises.check_repair(*recipe())
    tempting = {"new layer": {"calls": False}, "weights are frozen": {"only_new": False}}
    tempting["something else"] = {"rests": False}
    for said, mistake in tempting.items():
        result = exercises.check_repair(*recipe(**mistake))
        assert not result and said in result.message
    for nonsense in (None, lambda *_: None):
        assert not exercises.check_repair(nonsense, nonsense, nonsense)


def test_a_correction_is_merged(cells):
    @torch.no_grad()
    def right(layer):
        plain = copy.deepcopy(layer.linear)
        plain.weight += layer.up @ layer.down
        return plain

    @torch.no_grad()
    def in_place(layer):
        layer.linear.weight += layer.up @ layer.down
        return layer.linear

    @torch.no_grad()
    def halved(layer):
        plain = right(layer)
        plain.weight -= 0.5 * layer.up @ layer.down
        return plain

    make = cells["LowRank"]
    assert exercises.check_merge(right, make)
    wrong = {"work on a copy": in_place, "without its": lambda each: copy.deepcopy(each.linear)}
    wrong |= {"answers differ": halved, "plain nn.Linear": lambda layer: layer}
    for said, merge in wrong.items():
        result = exercises.check_merge(merge, make)
        assert not result and said in result.message


def test_an_experiment_of_ones_own_is_judged_by_its_design():
    result = exercises.check_my_experiment("a story", "supported")
    assert not result and "what compare" in result.message


# The lab


@pytest.fixture(scope="module")
def lab():
    sources = {"tilted digits": tasks.upright, "new digits": tasks.old_digits}
    bodies = {name: experiments.pretrain(source(DIGITS), 6, 1) for name, source in sources.items()}
    lab = labs.forgetting_lab(DIGITS, bodies)
    yield lab
    lab.close()


def test_the_lab_answers_both_ends_of_every_control(lab):
    for name, control in lab.controls.items():
        pictures, start = set(), control.start
        for value in (control.options[0], control.options[-1]):
            lab.set(**{name: value})
            lab.worker.wait()
            pictures.add(lab.png)
            assert "old task with the old head" in lab.text and lab.text.startswith("Epoch 12")
        assert len(pictures) == 2, name
        lab.set(**{name: start})
        lab.worker.wait()


def test_a_frozen_body_forgets_nothing(lab):
    lab.set(learns="head only", learning_rate=1.0)
    lab.worker.wait()
    assert len(set(lab.result.remembered)) == 1
    lab.set(learns="everything")
    lab.worker.wait()
    assert lab.result.remembered[-1] < lab.result.remembered[0]
