"""The bank: what is looked up is what was trained; damage is noticed; a killed build goes on."""

import functools
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import build_bank
import chunks
from build_bank import grid, pack
from course_utils import Config, fit, load_mnist
from course_utils.bank import CURVES, METRICS, Bank, load_bank, read_sealed, write_sealed

HERE = Path(__file__).resolve().parent.parent
AXES = {
    "learning_rate": [1e-4, 0.003, 0.1],
    "batch_size": [32, 64],
    "dropout": [0.0, 0.5],
    "weight_decay": [0.01, 1.0],
}
SHAPE, SEEDS, EPOCHS = (3, 2, 2, 2), [3, 5], 4


def numbers() -> dict[str, np.ndarray]:
    """Values for a small bank: as many different ones as accuracies of 1,000 images can show."""
    rng = np.random.default_rng(0)
    values = {name: rng.integers(0, 1001, (*SHAPE, 2, EPOCHS)) / 1000 for name in CURVES}
    values |= {name: 3 * values[name] for name in ("train_loss", "val_loss")}
    values["test_accuracy"] = rng.integers(0, 501, (*SHAPE, 2)) / 500
    return values | {"seconds": rng.random((*SHAPE, 2))}


def about() -> dict:
    return {
        "axes": AXES,
        "seeds": SEEDS,
        "epochs": EPOCHS,
        "fixed": {"width": 8},
        "task": "numbers",
        "date": "2000-01-01",
        "images": {"train_accuracy": 1000, "val_accuracy": 1000, "test_accuracy": 500},
        "versions": {"torch": "0"},
    }


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("bank") / "small.npz"
    write_sealed(path, pack(numbers(), about()))
    return path


@pytest.fixture(scope="module")
def small(path):
    return load_bank(path)


@given(st.integers(0, 23), st.sampled_from(SEEDS), st.integers(1, EPOCHS), st.sampled_from(CURVES))
def test_what_is_looked_up_is_what_was_stored(small, entry, seed, epoch, metric):
    place = np.unravel_index(entry, SHAPE)
    row = SEEDS.index(seed)
    config = small.config(entry)
    assert config == {name: AXES[name][at] for name, at in zip(AXES, place, strict=True)}
    assert small.index(config) == place
    stored = numbers()[metric][place][row]
    close = functools.partial(
        pytest.approx, abs=1e-7, rel=1e-12 if "accuracy" in metric else 1 / 2048
    )
    found = small.lookup(config, epoch, seed, metric)
    assert found == close(stored[epoch - 1])
    assert small.lookup(Config(**config, width=99), epoch, seed, metric) == found
    assert small.curve(config, seed, metric) == close(stored)
    assert small.table(metric)[entry, row] == close(stored)
    assert small.landscape(metric, epoch, seed)[place] == close(stored[epoch - 1])
    mean = numbers()[metric][place][:, epoch - 1].mean()
    assert small.landscape(metric, epoch)[place] == pytest.approx(mean, rel=1e-3, abs=1e-3)


def test_the_last_epoch_and_what_is_known_after_it_only(small):
    config = grid(AXES)[5]
    assert small.lookup(config, seed=3) == small.lookup(config, EPOCHS, 3)
    test_accuracy = numbers()["test_accuracy"].reshape(-1, 2)[5, 1]
    assert small.lookup(config, seed=5, metric="test_accuracy") == pytest.approx(test_accuracy)
    with pytest.raises(ValueError, match=r"seconds is known after the last epoch \(4\) only"):
        small.lookup(config, 2, 3, "seconds")


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        (
            {"learning_rate": 0.0031},
            ValueError,
            r"learning_rate: got 0.0031, the bank holds 0.0001",
        ),
        ({"batch_size": True}, ValueError, "batch_size: got True"),
        ({"dropout": "0.5"}, ValueError, "dropout: got '0.5'"),
        ({"weight_decay": None}, ValueError, "weight_decay: got None"),
        ({"width": 8}, KeyError, "takes exactly learning_rate"),
        ({"dropout": float("nan")}, ValueError, "dropout: got nan"),
    ],
)
def test_what_is_not_in_the_grid_is_refused_by_name(small, change, error, complaint):
    with pytest.raises(error, match=complaint):
        small.lookup(grid(AXES)[0] | change, seed=3)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"epoch": 0}, "epoch: got 0, takes 1 to 4"),
        ({"epoch": 5}, "epoch: got 5"),
        ({"epoch": True}, "epoch: got True"),
        ({"epoch": 1.5}, "epoch: got 1.5"),
        ({"seed": 0}, "seed: got 0, the bank holds 3, 5"),
        ({"metric": "accuracy"}, "metric: got 'accuracy', takes one of train_loss"),
    ],
)
def test_what_is_not_in_the_table_is_refused_by_name(small, arguments, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        small.lookup(grid(AXES)[0], **{"seed": 3} | arguments)
    if "epoch" not in arguments:
        alike = {{"seed": "seeds"}.get(name, name): value for name, value in arguments.items()}
        with pytest.raises(ValueError, match=re.escape(complaint)):
            small.landscape(**alike)


def test_a_caller_cannot_change_the_bank(small):
    before = small.table()
    small.table()[:] = 0
    small.curve(grid(AXES)[0], 3)[:] = 0
    np.testing.assert_array_equal(small.table(), before)


@given(st.integers(2, 7))
def test_searches_see_other_seeds_than_the_truth(count):
    scores = np.random.default_rng(count).random((3, count, 2))
    bank = Bank({"dropout": (0.0, 0.3, 0.6)}, tuple(range(count)), 2, {}, {"val_accuracy": scores})
    assert set(bank.search_seeds) | set(bank.judge_seeds) == set(bank.seeds)
    assert not set(bank.search_seeds) & set(bank.judge_seeds)
    assert bank.search_seeds and bank.judge_seeds
    np.testing.assert_allclose(bank.truth(), scores[:, list(bank.judge_seeds), -1].mean(1))


def test_a_bank_of_one_seed_cannot_judge():
    bank = Bank({"dropout": (0.0,)}, (0,), 1, {}, {"val_accuracy": np.zeros((1, 1, 1))})
    with pytest.raises(ValueError, match="some to search on, some to judge"):
        bank.truth()


def test_a_diverged_run_has_an_infinite_loss_and_the_accuracy_of_chance(tmp_path):
    values = numbers()
    values["val_loss"][0, 0, 0, 0, 0, 2:] = np.nan
    write_sealed(tmp_path / "b.npz", pack(values, about()))
    curve = load_bank(tmp_path / "b.npz").curve(grid(AXES)[0], 3, "val_loss")
    assert np.isinf(curve).tolist() == [False, False, True, True]


# Damage ------------------------------------------------------------------------------------------


def refused_or_sound(broken, small):
    """A damaged file is read as it was, or refused with one clear error, and nothing else."""
    try:
        bank = load_bank(broken)
    except ValueError as error:
        text = str(error)
        assert "hpo_bank.npz" in text and "git checkout -- :/data/" in text and "make bank" in text
        assert str(broken.parent) not in text
        return False
    np.testing.assert_array_equal(bank.table("val_loss"), small.table("val_loss"))
    return True


@given(st.data())
def test_a_file_cut_short_says_how_to_get_it_again(path, small, tmp_path_factory, data):
    whole = path.read_bytes()
    broken = tmp_path_factory.mktemp("cut") / "hpo_bank.npz"
    broken.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert not refused_or_sound(broken, small)


@given(st.data())
def test_flipped_bits_never_change_a_number_unnoticed(path, small, tmp_path_factory, data):
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    broken = tmp_path_factory.mktemp("flipped") / "hpo_bank.npz"
    broken.write_bytes(whole)
    refused_or_sound(broken, small)


def test_every_flipped_bit_of_a_table_of_contents_is_noticed_or_harmless(tmp_path):
    """There a single bit may say "encrypted", or "of another length"."""
    path, arrays = tmp_path / "small.npz", {"numbers": np.arange(5, dtype=np.uint16)}
    write_sealed(path, arrays)
    whole = path.read_bytes()
    for at in range(8 * whole.index(b"PK\x01\x02"), 8 * len(whole)):
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << at % 8
        path.write_bytes(flipped)
        try:
            found = read_sealed(path, {"numbers"}, "What to do.")
        except ValueError as error:
            assert str(error).startswith("small.npz ") and str(error).endswith("What to do.")
        else:
            np.testing.assert_array_equal(found["numbers"], arrays["numbers"])


@pytest.mark.parametrize("change", ["another number", "one array less", "no checksum"])
def test_a_sound_file_with_other_contents_is_refused(small, tmp_path, change):
    broken, arrays = tmp_path / "hpo_bank.npz", pack(numbers(), about())
    write_sealed(broken, arrays)
    with np.load(broken, allow_pickle=False) as archive:
        stored = {name: archive[name] for name in archive.files}
    if change == "another number":
        stored["val_accuracy"][0, 0, 0, 0, 0, 0] += 1
        np.savez_compressed(broken, **stored)
    elif change == "no checksum":
        np.savez_compressed(broken, **arrays)
    else:
        del arrays["seconds"]
        write_sealed(broken, arrays)
    assert not refused_or_sound(broken, small)


def test_a_missing_file_says_how_to_get_it_again(tmp_path):
    with pytest.raises(FileNotFoundError, match="hpo_bank.npz is missing.*make bank"):
        load_bank(tmp_path / "hpo_bank.npz")


# Optuna on the bank ------------------------------------------------------------------------------


def test_an_objective_answers_from_the_table_and_can_be_pruned(small):
    sampler = optuna.samplers.RandomSampler(seed=0)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    study.optimize(small.objective(seed=5), n_trials=40)
    states = {trial.state.name for trial in study.trials}
    assert states == {"COMPLETE", "PRUNED"}
    for trial in study.trials:
        curve = small.curve(trial.user_attrs["config"], 5)
        reports = list(trial.intermediate_values.values())
        assert reports == curve[: len(reports)].tolist()
        if trial.state.name == "COMPLETE":
            assert trial.value == curve[-1]


def test_an_objective_of_random_seeds_shows_search_seeds_alone_and_the_same_again():
    table = np.random.default_rng(0).random((3, 4, 2))
    bank = Bank({"dropout": (0.0, 0.3, 0.6)}, (0, 1, 2, 3), 2, {}, {"val_accuracy": table})

    def values():
        sampler = optuna.samplers.RandomSampler(seed=0)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.optimize(bank.objective(seed="random"), n_trials=30)
        return [(trial.user_attrs["config"], trial.value) for trial in study.trials]

    first = values()
    assert first == values()
    shown = {
        seed
        for config, value in first
        for seed in range(4)
        if bank.lookup(config, 2, seed) == value
    }
    assert shown == {0, 1}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("kind", ["TPESampler", "GPSampler", "CmaEsSampler", "QMCSampler"])
def test_any_sampler_can_walk_on_the_grid(small, kind):
    sampler = getattr(optuna.samplers, kind)(seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(small.objective(seed=3), n_trials=12)
    assert len(study.trials) == 12


# Building ----------------------------------------------------------------------------------------


def build_in_a_process(tmp_path) -> subprocess.Popen:
    command = [sys.executable, str(HERE / "tools" / "build_bank.py"), "--tiny"]
    command += ["--target", str(tmp_path / "bank.npz"), "--work", str(tmp_path / "work")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stamps(tmp_path) -> dict[Path, int]:
    """When each finished chunk was written."""
    return {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "work").glob("*/???.npz"))}


@pytest.mark.slow
def test_a_killed_build_goes_on_where_it_was(tmp_path):
    process, give_up = build_in_a_process(tmp_path), time.monotonic() + 120
    while len(stamps(tmp_path)) < 3:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < give_up
        time.sleep(0.01)
    process.kill()  # SIGKILL: nothing of ours can run any more
    process.communicate()
    assert not (tmp_path / "bank.npz").exists()
    before = stamps(tmp_path)
    assert len(before) < 8

    process = build_in_a_process(tmp_path)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    after = stamps(tmp_path)
    assert len(after) == 8 and {path: after[path] for path in before} == before
    bank = load_bank(tmp_path / "bank.npz")
    assert (bank.shape, bank.seeds, bank.epochs) == ((2, 2, 2, 2), (0, 1), 3)
    digits = load_mnist(subset=500, image_size=7, device="cpu")
    assert retrain(bank, digits, count=6, dropout=True) < 0.02
    assert "32 runs of 3 epochs" in text


@pytest.mark.parametrize("damage", ["empty", "half", "another number", "no checksum"])
def test_a_damaged_chunk_is_named_set_aside_and_trained_again(tmp_path, capsys, damage):
    digits = load_mnist(subset=100, image_size=2, device="cpu")
    axes = {name: values[1:2] for name, values in build_bank.AXES.items()}
    axes["dropout"] = [0.0, 0.2]

    def build(target):
        build_bank.build(tmp_path / target, tmp_path / "work", axes, [0, 1], 2, digits)
        return load_bank(tmp_path / target)

    undisturbed = build("first.npz")
    chunk = sorted((tmp_path / "work").glob("*/*.npz"))[2]
    whole, damaged = chunk.read_bytes(), chunk.with_name(f"{chunk.name}.damaged")
    with np.load(chunk, allow_pickle=False) as archive:
        stored = {name: archive[name] for name in archive.files}
    if damage in ("empty", "half"):
        chunk.write_bytes(b"" if damage == "empty" else whole[: len(whole) // 2])
    else:
        stored["val_loss"][0, 0] += 1
        named = damage == "another number"
        np.savez(chunk, **{name: stored[name] for name in stored if named or name != "sha256"})
    capsys.readouterr()
    again = build("second.npz")
    told = capsys.readouterr().out
    assert f"{chunk.name} is damaged" in told and str(tmp_path) not in told
    assert f"set aside as {damaged.name}" in told and damaged.exists()
    for metric in CURVES:
        np.testing.assert_array_equal(again.table(metric), undisturbed.table(metric))


@given(lengths=st.lists(st.integers(1, 3), min_size=4, max_size=4), seeds=st.integers(1, 2))
@settings(max_examples=10)
def test_every_run_is_put_where_its_settings_say(lengths, seeds, tmp_path_factory):
    """The chunks' order is another than the bank's: each run carries its own settings here."""
    folder = tmp_path_factory.mktemp("order")
    sizes = zip(build_bank.AXES.items(), lengths, strict=True)
    axes = {name: values[:length] for (name, values), length in sizes}

    def number(config, seed, epoch):
        return round(sum(config.values()) + 100 * seed + 1000 * epoch, 6)

    def train(points, seed, epochs, dataset):
        curve = [[number(point, seed, epoch) for epoch in range(1, epochs + 1)] for point in points]
        last = np.array(curve)[:, -1]
        return {name: np.array(curve) if name in CURVES else last for name in METRICS}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_bank, "train_chunk", train)
        patch.setattr(build_bank, "pack", lambda values, about: values)
        digits = load_mnist(subset=10, image_size=2, device="cpu")
        build_bank.build(folder / "b.npz", folder, axes, list(range(seeds)), 2, digits)
    stored = read_sealed(folder / "b.npz", set(METRICS), "")
    for point in grid(axes):
        place = tuple(axes[name].index(value) for name, value in point.items())
        for seed in range(seeds):
            expected = [number(point, seed, epoch) for epoch in (1, 2)]
            assert stored["val_accuracy"][(*place, seed)].tolist() == expected
            assert stored["seconds"][(*place, seed)] == expected[1]


def test_chunks_of_other_settings_are_never_taken(tmp_path):
    first, same, other = (chunks.folder_for({"epochs": epochs}, tmp_path) for epochs in (1, 1, 2))
    assert first == same != other


def retrain(bank, dataset, count: int, dropout: bool) -> float:
    """Train a random sample of entries anew; the mean absolute difference of validation accuracy
    over the first epochs.

    Where the learning rate is not too high: there, a rounding error grows into another run.
    """
    rng = np.random.default_rng()
    points = [point for point in grid(bank.axes) if point["learning_rate"] < 0.007]
    points = [point for point in points if dropout or point["dropout"] == 0]
    chosen = [points[at] for at in rng.choice(len(points), min(count, len(points)), replace=False)]
    seed = int(rng.choice(bank.seeds))
    epochs = min(3, bank.epochs)  # no schedule: a short run is the beginning of a long one
    fixed = bank.about["fixed"]
    configs = [Config(**fixed, **point, epochs=epochs, seed=seed) for point in chosen]
    history = fit(configs, dataset, progress=False)
    stored = np.array([bank.curve(point, seed)[:epochs] for point in chosen])
    return float(np.abs(history.val_accuracy - stored).mean())


# The bundled bank --------------------------------------------------------------------------------


def test_the_bundled_bank_is_what_it_says():
    bank = load_bank()
    assert bank.axes == {name: tuple(values) for name, values in build_bank.AXES.items()}
    assert (bank.seeds, bank.epochs) == (tuple(build_bank.SEEDS), build_bank.EPOCHS)
    assert bank.about["fixed"] == build_bank.FIXED
    assert (bank.search_seeds, bank.judge_seeds) == ((0, 1), (2, 3))
    assert len(bank) >= 3000
    assert bank.epochs >= 30
    for name in METRICS:
        assert not np.isnan(bank.landscape(name)).any()
    assert 0.93 < bank.landscape().max() < 0.99
    assert bank.landscape("test_accuracy").max() < 0.99
    words = (*bank.axes, "nats", "seconds", "torch", bank.about["date"])
    assert all(word in bank.describe() for word in words)
    assert (HERE / "data" / "hpo_bank.npz").stat().st_size < 4_000_000


@pytest.mark.slow
@pytest.mark.parametrize(("dropout", "difference"), [(False, 0.003), (True, 0.012)])
def test_entries_trained_anew_are_found_as_stored(dropout, difference):
    """Without dropout, up to rounding; with it, masks of an older engine differ a little."""
    assert retrain(load_bank(), load_mnist(device="cpu"), 12, dropout) < difference


def test_the_bank_is_kept_as_json_can_say_it():
    with np.load(HERE / "data" / "hpo_bank.npz", allow_pickle=False) as archive:
        assert json.loads(str(archive["about"]))["seeds"] == build_bank.SEEDS
        assert {archive[name].dtype.kind for name in archive.files} <= set("ufU")
