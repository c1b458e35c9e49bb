"""The bank: what is looked up is what was trained, damage is noticed, and a killed build loses nothing."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

import build_bank
from course_utils import Config, fit, load_mnist
from course_utils.bank import CURVES, METRICS, grid, load_bank, pack

HERE = Path(__file__).resolve().parent.parent
AXES = {"learning_rate": [1e-4, 0.003, 0.1], "batch_size": [32, 64], "dropout": [0.0, 0.5], "weight_decay": [0.01, 1.0]}
SHAPE, SEEDS, EPOCHS = (3, 2, 2, 2), [3, 5], 4


def numbers() -> dict[str, np.ndarray]:
    """Values for a small bank: as many different ones as accuracies of 1,000 images can show."""
    rng = np.random.default_rng(0)
    values = {name: rng.integers(0, 1001, (*SHAPE, 2, EPOCHS)) / 1000 for name in CURVES}
    values |= {name: 3 * values[name] for name in ("train_loss", "val_loss")}
    return values | {"test_accuracy": rng.integers(0, 501, (*SHAPE, 2)) / 500, "seconds": rng.random((*SHAPE, 2))}


def about() -> dict:
    return {"axes": AXES, "seeds": SEEDS, "epochs": EPOCHS, "fixed": {"width": 8}, "task": "numbers", "date": "2000-01-01",
            "images": {"train_accuracy": 1000, "val_accuracy": 1000, "test_accuracy": 500}, "versions": {"torch": "0"}}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("bank") / "small.npz"
    np.savez_compressed(path, **pack(numbers(), about()))
    return path


@pytest.fixture(scope="module")
def small(path):
    return load_bank(path)


@given(st.integers(0, 23), st.sampled_from(SEEDS), st.integers(1, EPOCHS), st.sampled_from(CURVES))
def test_what_is_looked_up_is_what_was_stored(small, entry, seed, epoch, metric):
    place = np.unravel_index(entry, SHAPE)
    config = {name: values[at] for (name, values), at in zip(AXES.items(), place, strict=True)}
    stored = numbers()[metric][place][SEEDS.index(seed)]
    exact = {"rel": 1e-6} if "accuracy" in metric else {"rel": 1 / 2048}
    assert small.lookup(config, epoch, seed, metric) == pytest.approx(stored[epoch - 1], abs=1e-7, **exact)
    assert small.lookup(Config(**config, width=99), epoch, seed, metric) == small.lookup(config, epoch, seed, metric)
    assert small.curve(config, seed, metric) == pytest.approx(stored, abs=1e-7, **exact)
    assert small.landscape(metric, epoch, seed)[place] == pytest.approx(stored[epoch - 1], abs=1e-7, **exact)
    mean = numbers()[metric][place][:, epoch - 1].mean()
    assert small.landscape(metric, epoch)[place] == pytest.approx(mean, rel=1e-3, abs=1e-3)


def test_the_last_epoch_and_what_is_known_after_it_only(small):
    config = grid(AXES)[5]
    assert small.lookup(config, seed=3) == small.lookup(config, EPOCHS, 3)
    test_accuracy = numbers()["test_accuracy"].reshape(-1, 2)[5, 1]
    assert small.lookup(config, seed=5, metric="test_accuracy") == pytest.approx(test_accuracy)
    assert small.cost(config, 2) == pytest.approx(small.cost(config) / 2)
    assert small.cost(config) == pytest.approx(numbers()["seconds"].reshape(-1, 2)[5].mean(), rel=1e-3)
    with pytest.raises(ValueError, match=r"epoch: got 2, seconds is known after the last epoch \(4\) only"):
        small.lookup(config, 2, 3, "seconds")


@pytest.mark.parametrize(("change", "error", "complaint"), [
    ({"learning_rate": 0.0031}, ValueError, r"learning_rate: got 0.0031, the bank holds 0.0001, 0.003, 0.1"),
    ({"batch_size": True}, ValueError, "batch_size: got True"), ({"dropout": "0.5"}, ValueError, "dropout: got '0.5'"),
    ({"weight_decay": None}, ValueError, "weight_decay: got None"), ({"width": 8}, KeyError, "takes exactly learning_rate"),
    ({"dropout": float("nan")}, ValueError, "dropout: got nan")])
def test_what_is_not_in_the_grid_is_refused_by_name(small, change, error, complaint):
    with pytest.raises(error, match=complaint):
        small.lookup(grid(AXES)[0] | change, seed=3)


@pytest.mark.parametrize(("arguments", "complaint"), [
    ({"epoch": 0}, "epoch: got 0, takes 1 to 4"), ({"epoch": 5}, "epoch: got 5"), ({"epoch": True}, "epoch: got True"),
    ({"epoch": 1.5}, "epoch: got 1.5"), ({"seed": 0}, "seed: got 0, the bank holds 3, 5"),
    ({"metric": "accuracy"}, "metric: got 'accuracy', takes one of train_loss")])
def test_what_is_not_in_the_table_is_refused_by_name(small, arguments, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        small.lookup(grid(AXES)[0], **{"seed": 3} | arguments)
    if "epoch" not in arguments:
        with pytest.raises(ValueError, match=re.escape(complaint)):
            small.landscape(**arguments)


def test_a_diverged_run_has_an_infinite_loss_and_the_accuracy_of_chance(tmp_path):
    values = numbers()
    values["val_loss"][0, 0, 0, 0, 0, 2:] = np.nan
    np.savez(tmp_path / "b.npz", **pack(values, about()))
    bank = load_bank(tmp_path / "b.npz")
    assert np.isinf(bank.curve(grid(AXES)[0], 3, "val_loss")).tolist() == [False, False, True, True]


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "one byte", "another number"])
def test_a_damaged_file_says_how_to_get_it_again(path, tmp_path, damage):
    broken = tmp_path / "hpo_bank.npz"
    data = bytearray(path.read_bytes())
    if damage == "another number":                         # a valid file, whose contents are not what was packed
        arrays = pack(numbers(), about())
        arrays["val_accuracy"][0, 0, 0, 0, 0, 0] += 1
        np.savez_compressed(broken, **arrays)
    elif damage != "missing":
        data[len(data) // 2] ^= 255
        broken.write_bytes({"empty": b"", "truncated": data[: len(data) // 2], "one byte": bytes(data)}[damage])
    with pytest.raises(FileNotFoundError if damage == "missing" else ValueError, match="make bank") as caught:
        load_bank(broken)
    assert "hpo_bank.npz" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_an_objective_answers_from_the_table_and_can_be_pruned(small):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0),
                                pruner=optuna.pruners.MedianPruner(n_startup_trials=4))
    study.optimize(small.objective(seed=5), n_trials=40)
    states = {trial.state for trial in study.trials}
    assert states == {optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED}
    for trial in study.trials:
        curve = small.curve(trial.user_attrs["config"], 5)
        assert list(trial.intermediate_values.values()) == curve[: len(trial.intermediate_values)].tolist()
        if trial.state is optuna.trial.TrialState.COMPLETE:
            assert trial.value == curve[-1]


def test_an_objective_of_random_seeds_shows_each_of_them_and_the_same_again(small):
    def values():
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(small.objective(seed="random", epochs=2), n_trials=30)
        return [(trial.user_attrs["config"], trial.value) for trial in study.trials]

    first = values()
    assert first == values()
    seeds = {seed for config, value in first for seed in SEEDS if small.lookup(config, 2, seed) == value}
    assert seeds == set(SEEDS)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("kind", ["TPESampler", "GPSampler", "CmaEsSampler", "QMCSampler"])
def test_any_sampler_can_walk_on_the_grid(small, kind):
    study = optuna.create_study(direction="maximize", sampler=getattr(optuna.samplers, kind)(seed=0))
    study.optimize(small.objective(seed=3), n_trials=12)
    assert len(study.trials) == 12


# ---- building -------------------------------------------------------------------------------------------------------


def build(tmp_path, **options) -> subprocess.Popen:
    command = [sys.executable, str(HERE / "tools" / "build_bank.py"), "--tiny", "--target", str(tmp_path / "bank.npz"),
               "--work", str(tmp_path / "work")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


@pytest.mark.slow
def test_a_killed_build_goes_on_where_it_was(tmp_path):
    process, chunks = build(tmp_path), []
    give_up = time.monotonic() + 120
    while len(chunks) < 3:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < give_up
        time.sleep(0.01)
        chunks = sorted((tmp_path / "work").glob("*/???.npz"))
    process.kill()                                         # SIGKILL: nothing of ours can run any more
    process.communicate()
    assert not (tmp_path / "bank.npz").exists()
    before = {chunk: chunk.stat().st_mtime_ns for chunk in sorted((tmp_path / "work").glob("*/???.npz"))}
    assert len(before) < 8

    process = build(tmp_path)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    assert {chunk: chunk.stat().st_mtime_ns for chunk in before} == before     # what was finished is not trained again
    bank = load_bank(tmp_path / "bank.npz")
    assert (bank.shape, bank.seeds, bank.epochs) == ((2, 2, 2, 2), (0, 1), 3)
    assert retrain(bank, load_mnist(subset=500, image_size=7, device="cpu"), count=6, dropout=True) < 0.02
    assert "32 runs of 3 epochs" in text


def retrain(bank, dataset, count: int, dropout: bool) -> float:
    """Train a random sample of entries anew; the mean absolute difference of validation accuracy over the first epochs.

    Where the learning rate is not too high: there, a rounding error grows into another run.
    """
    rng = np.random.default_rng()
    points = [point for point in grid(bank.axes) if point["learning_rate"] < 0.007 and (dropout or point["dropout"] == 0)]
    chosen = [points[at] for at in rng.choice(len(points), min(count, len(points)), replace=False)]
    seed = int(rng.choice(bank.seeds))
    epochs = min(3, bank.epochs)                           # no schedule: a short run is the beginning of a long one
    configs = [Config(**bank.about["fixed"], **point, epochs=epochs, seed=seed) for point in chosen]
    history = fit(configs, dataset, progress=False)
    stored = np.array([bank.curve(point, seed)[:epochs] for point in chosen])
    return float(np.abs(history.val_accuracy - stored).mean())


# ---- the bundled bank -----------------------------------------------------------------------------------------------


def test_the_bundled_bank_is_what_it_says():
    bank = load_bank()
    assert bank.axes == {name: tuple(values) for name, values in build_bank.AXES.items()}
    assert (bank.seeds, bank.epochs, bank.about["fixed"]) == (tuple(build_bank.SEEDS), build_bank.EPOCHS, build_bank.FIXED)
    assert len(bank) >= 3000
    assert bank.epochs >= 30
    for name in METRICS:
        assert not np.isnan(bank.landscape(name)).any()
    assert 0.93 < bank.landscape().max() < 0.99
    assert bank.landscape("test_accuracy").max() < 0.99
    assert all(word in bank.describe() for word in (*bank.axes, "nats", "seconds", "torch", bank.about["date"]))
    assert (HERE / "data" / "hpo_bank.npz").stat().st_size < 4_000_000


@pytest.mark.slow
@pytest.mark.parametrize(("dropout", "difference"), [(False, 0.003), (True, 0.012)])
def test_entries_trained_anew_are_found_as_stored(dropout, difference):
    """Without dropout, up to rounding. With it the masks depend on the neighbours in the stack: a curve returns nearly."""
    assert retrain(load_bank(), load_mnist(device="cpu"), 12, dropout) < difference


def test_the_bank_is_kept_as_json_can_say_it():
    with np.load(HERE / "data" / "hpo_bank.npz", allow_pickle=False) as archive:
        assert json.loads(str(archive["about"]))["seeds"] == build_bank.SEEDS
        assert {archive[name].dtype.kind for name in archive.files} <= set("ufU")
