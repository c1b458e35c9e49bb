"""Notebook 07: starters fail, solutions pass, experiments measure what they say."""

import math
import re
import runpy
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from course_utils import Config, Dataset, compare, fit, load_mnist
from course_utils.engine.plan import build_mlp
from course_utils.lessons.gradient_diagnostics import exercises, experiments, figures, labs

MNIST = load_mnist(subset=100, image_size=7, device="cpu")
DATA = Dataset(
    MNIST.train, MNIST.val.first(100), MNIST.test.first(10), "tiny", MNIST.tuning.first(100)
)
TINY = Config(width=8, batch_size=50, epochs=1)


# Exercises ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "right",
    [
        lambda before, after: torch.log10((after - before).norm() / before.norm()),
        lambda before, after: math.log10((after - before).std() / before.std()),
        lambda before, after: np.log10(np.linalg.norm(after - before) / np.linalg.norm(before)),
    ],
)
def test_right_update_ratios(right):
    assert exercises.check_update_ratio(right)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda before, after: float(after.norm() / before.norm()), "thousandth"),
        (lambda before, after: ((after - before).norm() / before.norm()).item(), "thousandth"),
        (lambda before, after: math.log((after - before).norm() / before.norm()), "thousandth"),
        (lambda before, after: -3.0, "hundredth"),
        (lambda before, after: None, "TypeError"),
        (None, "TypeError"),
    ],
)
def test_wrong_update_ratios(wrong, said):
    result = exercises.check_update_ratio(wrong)
    assert not result and said in result.message


def standardiser(spread):
    def standardise(images):
        centred = images - images.mean(dim=(1, 2, 3), keepdim=True)
        return centred / spread(centred)

    return standardise


def variance(centred):
    return centred.pow(2).mean(dim=(1, 2, 3), keepdim=True)


@pytest.mark.parametrize(
    "right",
    [
        standardiser(lambda c: (variance(c) + 1e-6).sqrt()),
        standardiser(lambda c: variance(c).clamp(min=1e-6).sqrt()),
        lambda images: nn.functional.layer_norm(images, images.shape[1:]),
    ],
)
def test_right_standardisers(right):
    assert exercises.check_standardise(right)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (standardiser(lambda c: c.std(dim=(1, 2, 3), keepdim=True)), "became NaN"),
        (standardiser(lambda c: variance(c).sqrt() + 1e-5), "comes too late"),
        (standardiser(lambda c: variance(c) + 1e-5), "deviation 1"),
        (standardiser(lambda c: (variance(c) + 0.1).sqrt()), "deviation 1"),
        (lambda images: (images - images.mean()) / (images.std() + 1e-5), "mean zero"),
        (lambda images: images.flatten(1), "shape"),
        (lambda images: None, "tensor"),
        (None, "TypeError"),
    ],
)
def test_wrong_standardisers(wrong, said):
    result = exercises.check_standardise(wrong)
    assert not result and said in result.message


def trial(rates=(1e-5, 0.03, 1e3), **options):
    arms = {"sigmoid": TINY.replace(activation="sigmoid"), "relu": TINY}
    grid = {"learning_rate": list(rates)}
    return compare(arms, DATA, tune=grid, tuning_seeds=[8, 9], **options)


def test_an_experiment_of_ones_own_is_judged_by_its_design_and_its_verdict():
    fair = trial()
    gain = fair.gain("relu")
    verdict = "supported" if gain.low > 0 else "refuted" if gain.high < 0 else "not settled"
    assert exercises.check_my_cure(fair, verdict)
    others = {"supported", "refuted", "not settled", None} - {verdict}
    assert not any(exercises.check_my_cure(fair, other) for other in others)
    assert "Judge on 8 seeds" in exercises.check_my_cure(trial(seeds=range(3)), verdict).message
    assert "Try 3 values" in exercises.check_my_cure(trial(rates=(0.01, 0.02)), verdict).message


# Experiments --------------------------------------------------------------------------------------


def test_a_residual_layer_adds_to_its_input():
    layer, x = nn.Linear(4, 4), torch.randn(3, 4)
    torch.testing.assert_close(experiments.Residual(layer, nn.ReLU())(x), x + layer(x).relu())


def test_biases_stand_where_they_are_told():
    network = experiments.biased(-2.0)(TINY.replace(depth=2), DATA)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert [set(layer.bias.tolist()) for layer in layers] == [{-2.0}, {-2.0}, {0.0}]


@pytest.mark.parametrize("model", [build_mlp, experiments.residual_mlp, experiments.biased(-1.0)])
def test_a_first_look_sees_the_network_with_which_fit_begins(model):
    config = TINY.replace(depth=3, learning_rate=1e-12, optimizer="sgd", seed=5)
    trained = fit(config, DATA, model=model, progress=False).model()
    images, labels = DATA.train.images[:200], DATA.train.labels[:200]
    expected = experiments.inspect_layers(trained, images, labels)
    pd.testing.assert_frame_equal(
        experiments.first_look(config, DATA, model), expected, rtol=1e-3, atol=1e-5
    )


def test_a_survey_tells_sound_networks_from_ill_ones():
    kinds = {"activation": ["sigmoid", "relu"], "init": ["small", "he"]}
    config = TINY.replace(depth=5, epochs=3)
    nets = experiments.survey(config, DATA, [0.003, 0.03], kinds).set_index(["activation", "init"])
    assert len(nets) == 4 and set(nets.learning_rate) <= {0.003, 0.03}
    ill, sound = nets.loc[("sigmoid", "small")], nets.loc[("relu", "he")]
    assert ill.gradient_kept < -4 < -1 < sound.gradient_kept
    assert ill.spread_kept < -4 < -1 < sound.spread_kept
    assert ill.accuracy < sound.accuracy
    dead = experiments.survey(config, DATA, [0.003, 0.03], {"activation": ["relu"]}, bias=-3.0)
    assert dead.dead[0] > 0.9 > sound.dead


def test_a_ratio_is_the_size_of_an_update_against_the_weights():
    slow, fast = (
        TINY.replace(optimizer="sgd", epochs=5, learning_rate=rate) for rate in (0.01, 0.1)
    )
    _, ratios = experiments.update_ratios([slow, fast], DATA, every=5)
    assert ratios[1] - ratios[0] == pytest.approx(1, abs=0.35)
    _, lost = experiments.update_ratios([slow.replace(learning_rate=1e30)], DATA, every=5)
    assert np.isnan(lost[0])


def test_a_study_of_ratios_flags_a_choice_at_the_edge():
    config = TINY.replace(optimizer="sgd", epochs=5)
    study = experiments.study_ratio(config, [1e-4, 1e-3], DATA)
    assert study.rate in (1e-4, 1e-3) and study.distance.flags
    assert list(study.curve.learning_rate) == [1e-4, 1e-3]
    assert study.curve.ratio.is_monotonic_increasing


def test_norms_are_described_with_those_that_are_no_numbers():
    text = experiments.describe_norms([1.0, 3.0, np.inf, np.nan], 2)
    assert "50 % of the steps cut" in text and "50 % not finite" in text
    assert "median 2, largest 3" in text


def test_a_survey_needs_tuning_images():
    without = Dataset(DATA.train, DATA.val, DATA.test)
    with pytest.raises(ValueError, match="tuning"):
        experiments.survey(TINY, without, [0.01, 0.1], {"depth": [1]})


def test_figures_survive_what_instruments_can_read():
    import matplotlib.pyplot as plt

    table = pd.DataFrame({"1": [1.0, np.nan, np.inf], "7": [1.0, 2.0, 3.0]}, index=[0, 2, 4])
    ax = figures.plot_fan(table, plt.figure().gca(), "a fan")
    assert [line.get_label() for line in ax.lines] == ["first layer", "last layer"]
    nets = pd.DataFrame(
        {"activation": ["relu"] * 2, "depth": 2, "init": ["he", "torch"], "accuracy": [0.9, 0.4]}
    )
    ax = figures.plot_success(nets, plt.figure().gca())
    assert sorted(text.get_text() for text in ax.texts) == ["40", "90"]
    plt.close("all")


# The lab ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_lab_answers_at_both_ends_of_each_control_and_says_what_it_shows():
    lab = labs.vanishing_lab(DATA)
    try:
        for name, control in lab.controls.items():
            lab.press("reset")
            lab.worker.wait()
            before = lab.png
            for value in {control.options[0], control.options[-1]} - {control.start}:
                lab.set(**{name: value})
                lab.worker.wait()
                assert lab.png != before and "accuracy" in lab.text, (name, value)
                assert repr(value) in lab.code(lab.values) or name == "residual"
    finally:
        lab.close()


def test_the_labs_gradient_is_that_of_its_network():
    lab = labs.vanishing_lab(DATA)
    try:
        config = Config(depth=8, activation="sigmoid", init="xavier", width=24)
        first = experiments.first_look(config, DATA)["gradient_std"]
        np.testing.assert_allclose(lab.result.gradients[0], first, rtol=1e-4)
        assert lab.text.startswith("The first layer's gradient is 10^-")
    finally:
        lab.close()


# The lesson's text --------------------------------------------------------------------------------


def test_the_hook_in_the_text_notes_the_gradient_of_every_step(tmp_path):
    path = Path(__file__).parents[2] / "notebooks" / "07_gradient_diagnostics.ipynb"
    texts = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    (snippet,) = re.findall(r"```python\n(.*?)```", "\n".join(texts), re.DOTALL)
    model = build_mlp(TINY, DATA)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    (tmp_path / "hook.py").write_text(snippet, encoding="utf-8")
    made = runpy.run_path(str(tmp_path / "hook.py"), {"model": model, "optimizer": optimizer})
    for _ in range(3):
        optimizer.zero_grad()
        model(DATA.train.images).square().sum().backward()
        optimizer.step()
    assert len(made["norms"]) == 3
    assert made["norms"][-1] == pytest.approx(model[1].weight.grad.norm().item())
