"""Notebook 13: profiles and logs say what happened, starters fail, mistakes are told apart."""

import functools
import re
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile, record_function

from course_utils import Config, fit, load_mnist, optional
from course_utils.lessons.time_and_tracking import (
    exercises,
    experiments,
    figures,
    labs,
    profiles,
    tracking,
)

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
DATA = load_mnist(subset=200, image_size=7, device="cpu")


# Profiles


def test_a_profile_is_cut_into_its_named_parts():
    with profile(activities=[ProfilerActivity.CPU]) as measured:
        for name, times in (("much", 30), ("little", 1)):
            with record_function(name):
                for _ in range(times):
                    torch.ones(100, 100) @ torch.ones(100, 100)
    parts = profiles.part_times(measured, ["much", "little"])
    assert parts["much"] > parts["little"] > 0
    assert profiles.operation_table(measured, 20).loc["aten::mm", "calls"] == 31
    assert profiles.count_operations(measured) >= 3 * 31
    with pytest.raises(ValueError, match="'nothing' is not in the profile"):
        profiles.part_times(measured, ["much", "nothing"])


def test_versions_are_timed_in_turn_and_the_first_round_is_not_counted():
    called = []
    versions = {name: functools.partial(called.append, name) for name in "ab"}
    seconds = profiles.side_by_side(versions, rounds=3)
    assert called == list("ab") * 4
    assert all(each.shape == (3,) and (each > 0).all() for each in seconds.values())


def test_losses_are_the_same_only_if_all_of_them_are():
    assert experiments.same_losses([[1.0, 0.5], [1.0, 0.5 + 1e-6]])
    assert not experiments.same_losses([[1.0, 0.5], [1.0, 0.5], [1.0, 0.6]])
    assert not experiments.same_losses([[1.0, 0.5], [1.0]])


def test_a_stack_of_one_gains_nothing_worth_mentioning():
    gain = experiments.stack_gain(DATA, width=4, count=1, rounds=3)
    assert gain.seeds == 3 and gain.unit == "times" and gain.low <= gain.value <= gain.high


# Logs


@pytest.fixture(scope="module")
def runs():
    configs = [each.replace(epochs=2) for each in experiments.random_configs(3)]
    return fit(configs, DATA, keep_models=False, progress=False)


def test_what_was_logged_is_what_was_measured(runs, tmp_path):
    pytest.importorskip("tensorboard")
    experiments.log_runs(runs, tmp_path)
    table = tracking.settings_table(tmp_path)
    np.testing.assert_allclose(table[tracking.METRIC], runs.final(), atol=1e-6)
    np.testing.assert_allclose(
        table["learning_rate"], [config.learning_rate for config in runs.configs]
    )
    logged = tracking.event_table(tmp_path)
    assert (logged["scalars"] == 2).all() and (logged["points"] == 3).all()
    assert (logged[["histograms", "graph"]] == 0).all(axis=None)


def test_random_settings_lie_in_their_ranges_and_do_not_repeat():
    configs = experiments.random_configs(200)
    assert all(1e-4 <= config.learning_rate <= 1 for config in configs)
    assert {config.width for config in configs} == set(experiments.WIDTHS)
    assert len({config.seed for config in configs}) == 200
    assert experiments.random_configs(5) == experiments.random_configs(5)


def test_the_setting_in_which_the_best_agree_has_the_smallest_share():
    table = pd.DataFrame(
        {
            "learning_rate": [1e-4, 1e-3, 2e-3, 1.0],
            "width": [1, 2, 100, 50],
            "val_accuracy": [0.1, 0.9, 0.8, 0.2],
        }
    )
    shares = tracking.common_range(table, "val_accuracy", best=2)
    assert shares.idxmin() == "learning_rate" and shares["learning_rate"] == pytest.approx(
        0.0753, abs=1e-3
    )


@pytest.mark.slow
def test_lightning_writes_what_it_is_asked_for_and_no_more(tmp_path):
    lightning = pytest.importorskip("lightning")
    pytest.importorskip("tensorboard")

    class Silent(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = experiments.seeded_model(DATA)[0]

        def training_step(self, batch, _):
            return functional.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Asks(Silent):
        def training_step(self, batch, number):
            loss = super().training_step(batch, number)
            self.log("loss", loss)
            return loss

    kinds = list(tracking.KINDS)
    silent = experiments.train_by_lightning(Silent(), DATA.train, tmp_path / "silent")
    assert (silent[kinds] == 0).all()
    asks = experiments.train_by_lightning(Asks(), DATA.train, tmp_path / "asks")
    assert asks["scalars"] >= 1 and asks["graph"] == asks["histograms"] == 0


# What may be missing


def test_a_missing_package_is_named_with_what_to_do(capsys):
    assert optional.is_here("torch") and capsys.readouterr().out == ""
    assert not optional.is_here("torch", "no_such_package")
    said = capsys.readouterr().out
    assert "no_such_package" in said and optional.INSTALL in said and said.count("\n") == 1


def test_cells_that_need_a_package_say_so_and_do_nothing_else(monkeypatch, shell, capsys):
    monkeypatch.setattr(optional, "find_spec", lambda name: None)
    shell.user_ns.update(optional=optional, figures=figures, tempfile=tempfile, Path=Path)
    cells = [
        cell.source
        for cell in nbformat.read(NOTEBOOKS / "13_time_and_tracking.ipynb", 4).cells
        if "is_here(" in cell.source and "exercise" not in cell.metadata.get("tags", [])
    ]
    assert len(cells) == 6
    for source in cells:
        assert shell.run_cell(source).success
        assert optional.INSTALL in capsys.readouterr().out


# Figures and lab


@pytest.mark.parametrize("name", figures.PAGES)
def test_stored_pictures_are_small_and_say_what_they_show(name, capsys):
    picture = figures.picture_of_page(name)
    assert picture.data.startswith(b"\x89PNG") and len(picture.data) < 400_000
    assert repr(picture) == figures.PAGES[name] and picture.alt == figures.PAGES[name]


def test_bars_are_as_long_as_their_parts():
    axes = Figure().subplots()
    spent = {"a": pd.Series({"x": 1.0, "y": 2.0}), "b": pd.Series({"x": 0.5, "y": 0.5})}
    figures.plot_parts(spent, axes)
    assert sorted(patch.get_width() for patch in axes.patches) == [0.5, 0.5, 1.0, 2.0]


@pytest.fixture(scope="module")
def lab():
    lab = labs.stacking_lab(DATA)
    yield lab
    lab.close()


@pytest.mark.parametrize("name", ["count", "width", "batch_size"])
def test_the_lab_draws_other_pictures_at_both_ends(lab, name, see):
    options = lab.controls[name].options
    (first, said), (last, other) = (see(lab, **{name: options[end]}) for end in (0, -1))
    assert first != last and said != other
    assert all(re.search(r"in a loop and .* as one stack", each) for each in (said, other))


def test_the_lab_hands_out_code_that_trains(lab, shell):
    shell.user_ns.update(Config=Config, small_mnist=DATA, fit=fit)
    assert shell.run_cell(lab.code({"count": 2, "width": 8, "batch_size": 64})).success
    assert len(shell.user_ns["history"]) == 2


# Exercises


def test_speeding_up_a_part():
    assert exercises.check_speed_up(lambda share, factor: 1 / (1 - share + share / factor))
    for wrong in (
        lambda share, factor: factor,
        lambda share, factor: 1 + share * (factor - 1),
        lambda share, factor: share * factor,
        lambda share, factor: 1 / (1 - share),
        lambda share: 1,
        None,
    ):
        assert not exercises.check_speed_up(wrong)


def mended(data, rate=0.1, every=False, seen=exercises.SEEN):
    model, _ = experiments.seeded_model(data)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    images, labels, losses, accuracies = data.train.images, data.train.labels, [], []
    for _ in range(2):
        for chosen in torch.randperm(len(labels)).split(50):
            loss = functional.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if every:
                accuracies.append(0.5)
        with torch.no_grad():
            right = model(data.val.images[:seen]).argmax(1) == data.val.labels[:seen]
        if not every:
            accuracies.append(right.float().mean().item())
    return losses, accuracies


@pytest.mark.parametrize(
    ("loop", "said"),
    [
        (exercises.loop_to_mend, "It still calls"),
        (functools.partial(mended, rate=0.2), "The losses differ"),
        (functools.partial(mended, every=True), "One accuracy after each epoch"),
        (functools.partial(mended, seen=3), "The accuracies should be"),
        (lambda data: mended(data)[0], "two lists"),
        (None, "should be a function"),
    ],
)
def test_loops_that_are_not_mended_are_told_why(loop, said):
    result = exercises.check_mended_loop(loop, DATA)
    assert not result and said in result.message


def test_a_mended_loop_passes():
    assert exercises.check_mended_loop(mended, DATA)


def write_log(folder, history, name=".", settings=("learning_rate", "batch_size"), points=True):
    from torch.utils.tensorboard import SummaryWriter

    for index, config in enumerate(history.configs):
        with SummaryWriter(str(folder / f"run-{index}")) as writer:
            for epoch, share in enumerate(history.val_accuracy[index], start=1):
                if points:
                    writer.add_scalar("val_accuracy", share, epoch)
            if settings:
                values = {name: getattr(config, name) for name in settings}
                final = {tracking.METRIC: history.final()[index]}
                writer.add_hparams(values, final, run_name=name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"points": False}, "a curve of 2 points"),
        ({"settings": ()}, "No settings are logged"),
        ({"settings": ("learning_rate",)}, "batch_size is missing"),
        ({"name": "deeper"}, "a folder for each of 3 runs"),
        ({}, None),
    ],
)
def test_logs_are_read_back(runs, tmp_path, options, said):
    pytest.importorskip("tensorboard")
    write_log(Path(tmp_path), runs, **options)
    result = exercises.check_log(tmp_path, runs)
    assert bool(result) == (said is None), result.message
    assert said is None or said in result.message


FAST, SLOW = np.linspace(1.0, 1.1, 8), np.linspace(2.0, 2.1, 8)


@pytest.mark.parametrize(
    ("race", "same", "verdict", "said"),
    [
        ({"a": SLOW, "b": FAST}, True, "supported", None),
        ({"a": FAST, "b": SLOW}, True, "refuted", None),
        ({"a": FAST, "b": FAST[::-1]}, True, "not settled", None),
        ({"a": SLOW, "b": FAST}, True, "refuted", "look at where 1 lies"),
        ({"a": SLOW, "b": FAST}, False, "supported", "do not compute the same"),
        ({"a": SLOW, "b": FAST}, None, "supported", "True or False"),
        ({"a": SLOW[:4], "b": FAST[:4]}, True, "supported", "8 rounds"),
        ({"a": SLOW}, True, "supported", "Race two versions"),
        ("a story", True, "supported", "side_by_side"),
    ],
)
def test_a_race_is_judged_by_its_design_and_its_verdict(race, same, verdict, said):
    result = exercises.check_my_race(race, same, verdict)
    assert bool(result) == (said is None), result.message
    assert said is None or said in result.message
