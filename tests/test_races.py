"""Races: searches replayed on the bank are fair, the same every time, and stored."""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

import build_races
from course_utils.bank import Bank, load_bank, read_sealed, write_sealed
from course_utils.choices import grid_against_random, winners
from course_utils.races import ARRAYS, METHODS, load_races, race
from course_utils.replay import (
    Replay,
    WithoutRepeats,
    less_regret,
    replay,
    splits,
    with_real_values,
)

HERE = Path(__file__).resolve().parent.parent
AXES = {"learning_rate": (0.001, 0.01, 0.1), "batch_size": (32, 64), "dropout": (0.0, 0.5)}
every_method = pytest.mark.parametrize("method", METHODS)


def landscape(noise=0.0, epochs=4) -> Bank:
    """Twelve entries whose scores are known; ``noise`` is what the seed adds."""
    a, b, c, seed, epoch = np.indices((3, 2, 2, 4, epochs))
    score = 0.9 - 0.1 * abs(a - 1) - 0.05 * b - 0.02 * c - 0.1 / (1 + epoch)
    score = score + noise * np.random.default_rng(0).normal(size=score.shape[:4])[..., None]
    about = {"images": {"val_accuracy": 1000}}
    values = {"val_accuracy": score, "test_accuracy": score[..., -1] - 0.03}
    return Bank(AXES, (0, 1, 2, 3), epochs, about, values)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """A Gaussian process's matrices are so small that a second thread costs more than it brings."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def bank():
    return landscape()


@pytest.fixture(scope="module")
def bundled():
    return load_bank()


def same(first: Replay, second: Replay) -> bool:
    names = ("entry", "epochs", "score", "cost")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


# One replay --------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 10**6),
    budget=st.integers(1, 60),
    method=st.sampled_from(list(METHODS)[:11]),
)
@settings(max_examples=30)
def test_a_race_spends_its_budget_sees_search_seeds_alone_and_is_the_same_again(
    seed, budget, method
):
    noisy = landscape(noise=0.01)
    found = race(noisy, method, seed, budget)
    assert found.spent[-1] == budget or method == "grid"  # a small bank's grid may end earlier
    assert found.spent[-1] <= budget
    table = noisy.table()
    for entry, epochs, score in zip(found.entry, found.epochs, found.score, strict=True):
        assert score in table[entry, :2, epochs - 1] and score not in table[entry, 2:, epochs - 1]
    assert (found.regret(noisy.truth()) >= 0).all()
    assert same(found, race(noisy, method, seed, budget))


@every_method
def test_the_truth_cannot_move_a_search(bundled, method):
    values = {"val_accuracy": bundled.table().reshape(*bundled.shape, 4, 30).copy()}
    values["val_accuracy"][..., 2:, :] = np.random.default_rng(0).random((*bundled.shape, 2, 30))
    other = Bank(bundled.axes, bundled.seeds, bundled.epochs, {}, values)
    found = race(bundled, method, seed=5, budget=450)
    assert same(found, race(other, method, seed=5, budget=450))
    assert not np.array_equal(bundled.truth(), other.truth())


@every_method
def test_other_seeds_make_other_races(bundled, method):
    first, second = (race(bundled, method, seed, budget=300) for seed in (0, 1))
    assert not np.array_equal(first.entry[:8], second.entry[:8])


def test_an_exhaustive_grid_without_noise_ends_at_no_regret_and_costs_all_entries(bank):
    space = {name: list(range(len(values))) for name, values in AXES.items()}
    found = replay(bank, optuna.samplers.GridSampler(space, seed=1), budget=10_000)
    assert sorted(found.entry) == list(range(12))  # each once, then the sampler stops the search
    assert found.regret(bank.truth())[-1] == 0 and found.spent[-1] == 48


def test_random_search_without_repeats_visits_every_entry_before_any_twice(bank):
    found = replay(bank, WithoutRepeats(AXES, seed=3), budget=24 * 4)
    assert sorted(found.entry[:12]) == sorted(found.entry[12:]) == list(range(12))
    assert found.regret(bank.truth())[11] == 0


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_places_of_random_search_are_uniform(seed):
    order = WithoutRepeats({"a": range(5), "b": range(4)}, seed).order
    assert sorted(order) == list(range(20))
    assert not np.array_equal(order, WithoutRepeats({"a": range(5), "b": range(4)}, seed + 1).order)


def test_pruned_looks_cost_less_and_never_lead(bank):
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=0)
    found = replay(bank, WithoutRepeats(AXES, seed=1), pruner, budget=50)
    assert 1 in found.epochs
    assert set(found.leader) <= set(found.entry[found.epochs == 4])


def test_fixed_and_idle_knobs(bank):
    sampler = optuna.samplers.RandomSampler(seed=0)
    found = replay(bank, sampler, budget=20, fixed={"dropout": 0.5}, idle=2)
    assert len(found.entry) == 5 and (found.entry % 2 == 1).all()


def test_the_leader_is_the_best_of_those_trained_longest():
    found = Replay([3, 1, 2, 0], epochs=[1, 1, 3, 3], score=[0.5, 0.9, 0.4, 0.6], cost=[1, 1, 2, 2])
    assert found.leader.tolist() == [3, 1, 2, 0]
    truth = np.array([0.7, 0.2, 0.5, 0.9])
    np.testing.assert_allclose(found.regret(truth), [0, 0.7, 0.4, 0.2])
    assert found.leader_after([0, 1, 5, 99]).tolist() == [-1, 3, 2, 0]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"budget": 0}, "budget: got 0"),
        ({"fixed": {"width": 8}}, "fixed: got width, the bank's knobs are learning_rate"),
        ({"fixed": {"dropout": 0.3}}, "dropout: got 0.3, the bank holds 0, 0.5"),
    ],
)
def test_a_replay_refuses_nonsense(bank, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        replay(bank, optuna.samplers.RandomSampler(), **arguments)
    with pytest.raises(ValueError, match="one length"):
        Replay([1, 2], [1], [1], [1])
    with pytest.raises(ValueError, match="method: got 'annealing', takes one of grid, random"):
        race(bank, "annealing", 0)


def test_a_study_shows_real_values(bank):
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(bank.objective(seed="random"), n_trials=20)
    shown = with_real_values(study, bank)
    assert [trial.params for trial in shown.trials] == [
        trial.user_attrs["config"] for trial in study.trials
    ]
    assert [trial.value for trial in shown.trials] == [trial.value for trial in study.trials]
    logarithmic = {name: kind.log for name, kind in shown.trials[0].distributions.items()}
    assert logarithmic == {"learning_rate": True, "batch_size": True, "dropout": False}
    assert shown.best_trial.intermediate_values == study.best_trial.intermediate_values


# Splits of the seeds ------------------------------------------------------------------------------


def test_splits_share_the_seeds_out_in_every_way(bundled):
    parts = splits(bundled)
    assert [part.search_seeds for part in parts] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    for part in parts:
        assert sorted(part.search_seeds + part.judge_seeds) == [0, 1, 2, 3]
        truth = bundled.landscape(seeds=part.judge_seeds).ravel()
        np.testing.assert_allclose(part.truth(), truth)
        config = bundled.config(400)
        for seed in bundled.seeds:
            assert part.lookup(config, 3, seed) == bundled.lookup(config, 3, seed)
            test = {"seed": seed, "metric": "test_accuracy"}
            assert part.lookup(config, **test) == bundled.lookup(config, **test)
    np.testing.assert_array_equal(parts[0].table(), bundled.table())


def test_less_regret_says_where_the_splits_disagree():
    control = np.full(12, 0.02)
    treated = control - 0.01
    treated[2::6] = 0.03
    gain = less_regret(treated, control)
    assert gain.value == pytest.approx((5 * 0.01 - 0.01) / 6) and gain.unit == "points"
    assert gain.flags == ("ahead on 5 of 6 splits",)
    assert less_regret(control - 0.01 * np.linspace(1, 2, 12), control).flags == ()


# The methods are what they say -------------------------------------------------------------------


def starts(bundled, method, count=40):
    """[race, knob]: the places at which the first trial after the start-up phase stands."""
    first = METHODS[method].startup
    runs = [race(bundled, method, seed, budget=(first + 1) * 30) for seed in range(count)]
    return np.array([np.unravel_index(run.entry[first], bundled.shape) for run in runs])


def test_cma_es_starts_anywhere_and_not_in_the_middle(bundled):
    rate = starts(bundled, "CMA-ES")[:, 0]
    assert np.mean((rate <= 1) | (rate >= 10)) > 0.15  # a third, if uniform; none from the middle


def test_the_start_up_phase_of_a_model_is_random_search(bundled):
    """What the first trials show does not matter for where the next one of them goes."""
    flipped = bundled.table().reshape(*bundled.shape, 4, 30)[::-1].copy()
    other = Bank(bundled.axes, bundled.seeds, 30, {}, {"val_accuracy": flipped})
    for method in ("TPE", "TPE, univariate", "GP"):
        first, second = (race(each, method, 3, budget=13 * 30).entry for each in (bundled, other))
        start = METHODS[method].startup
        assert np.array_equal(first[:start], second[:start])
        assert not np.array_equal(first[start:], second[start:])


def test_the_grid_gives_two_levels_to_each_knob_in_turn(bundled):
    two = Counter()
    for seed in range(60):
        space = METHODS["grid"].sampler(bundled, seed)._search_space
        levels = {name: len(places) for name, places in space.items()}
        assert sorted(levels.values()) == [2, 3, 3, 3]
        two[min(levels, key=levels.get)] += 1
    assert set(two) == set(bundled.axes) and min(two.values()) >= 5


# By hand -----------------------------------------------------------------------------------------


@given(
    levels=st.fixed_dictionaries(
        {}, optional={name: st.integers(1, len(values)) for name, values in AXES.items()}
    ),
    noise=st.sampled_from([0.0, 0.02]),
)
def test_grid_and_random_have_regret_and_equal_chances(levels, noise):
    grid, rand = grid_against_random(landscape(noise), levels, races=5)
    assert (grid >= 0).all() and (rand >= 0).all()
    whole = all(count == len(AXES[name]) for name, count in levels.items())
    if whole and not noise:
        assert not grid.any() and not rand.any()


def test_grid_against_random_refuses_nonsense(bank):
    for levels, complaint in (({"width": 2}, "got width"), ({"dropout": 3}, "got 3 of dropout")):
        with pytest.raises(ValueError, match=complaint):
            grid_against_random(bank, levels)


@given(trials=st.integers(1, 12), finalists=st.integers(1, 12), seed=st.integers(0, 100))
def test_the_seeds_of_the_choice_never_judge(trials, finalists, seed):
    noisy = landscape(noise=0.02)
    if finalists > trials:
        with pytest.raises(ValueError, match="no more finalists than trials"):
            winners(noisy, trials, finalists)
        return
    found = winners(noisy, trials, finalists, races=20, seed=seed)
    for number, (entry, shown, again) in enumerate(
        zip(found.entry, found.shown, found.again, strict=True)
    ):
        final = splits(noisy)[number % 6].table()[entry, :, -1]
        assert shown in final[:2] and shown not in final[2:]
        assert again == pytest.approx(final[2:].mean())
    np.testing.assert_allclose(found.test, found.again - 0.03)


def test_without_noise_the_winner_is_as_good_as_it_looks(bank):
    found = winners(bank, trials=5, races=50)
    np.testing.assert_allclose(found.shown, found.again)
    assert not found.overlooked.any()


# Building ----------------------------------------------------------------------------------------

TINY = {"methods": ("random", "TPE", "Hyperband"), "repeats": 5, "trainings": 4, "chunk": 2}
TIMES = {"seconds", "about"}  # which hold seconds and the date


def contents(path) -> dict[str, np.ndarray]:
    stored = read_sealed(path, ARRAYS, "")
    return {name: array for name, array in stored.items() if name not in TIMES}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, bank):
    folder = tmp_path_factory.mktemp("races")
    build_races.build(folder / "races.npz", folder / "work", bank, **TINY)
    return folder / "races.npz"


@given(st.lists(st.integers(0, 14), min_size=1, max_size=3))
@settings(max_examples=8)
def test_a_build_interrupted_anywhere_resumes_and_equals_an_undisturbed_one(
    undisturbed, bank, tmp_path_factory, stops
):
    folder = tmp_path_factory.mktemp("interrupted")
    begun = []

    def build(last):
        def counted(bank, method, seed, budget):
            if method != "warm-up" and budget == budgets:
                begun.append((method, seed))
                if last is not None and len(begun) - before > last:
                    raise KeyboardInterrupt
            return race(bank, method, seed, budget)

        before, budgets = len(begun), TINY["trainings"] * bank.epochs
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build_races, "race", counted)
            build_races.build(folder / "races.npz", folder / "work", bank, **TINY)

    for last in stops:
        try:
            build(last)
        except KeyboardInterrupt:
            assert not (folder / "races.npz").exists()
    build(None)
    expected = contents(undisturbed)
    for name, array in contents(folder / "races.npz").items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert max(Counter(begun).values()) <= 1 + len(stops)  # the chunk in flight alone is run again
    assert not list(folder.rglob("*.unfinished"))


def test_damaged_chunks_are_set_aside_and_run_again(undisturbed, bank, tmp_path, capsys):
    build_races.build(tmp_path / "races.npz", tmp_path / "work", bank, **TINY)
    chunk = sorted((tmp_path / "work").glob("*/*.npz"))[3]
    chunk.write_bytes(chunk.read_bytes()[:100])
    build_races.build(tmp_path / "races.npz", tmp_path / "work", bank, **TINY)
    assert f"{chunk.name} is damaged" in capsys.readouterr().out
    expected = contents(undisturbed)
    for name, array in contents(tmp_path / "races.npz").items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_more_repeats_keep_those_that_are_there(undisturbed, bank, tmp_path):
    build_races.build(tmp_path / "more.npz", tmp_path / "work", bank, **{**TINY, "repeats": 7})
    more, less = load_races(tmp_path / "more.npz"), load_races(undisturbed)
    np.testing.assert_array_equal(more.leader[:, :5], less.leader)


@pytest.mark.slow
def test_a_killed_process_goes_on_where_it_was(tmp_path):
    command = [sys.executable, str(HERE / "tools" / "build_races.py"), "--tiny"]
    command += ["--target", str(tmp_path / "races.npz"), "--work", str(tmp_path / "work")]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process, give_up, before = subprocess.Popen(command, **options), time.monotonic() + 120, {}
    while len(before) < 2:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < give_up
        chunks = sorted((tmp_path / "work").glob("*/*.npz"))
        before = {path: path.stat().st_mtime_ns for path in chunks}
    process.kill()
    process.communicate()
    text = subprocess.run(command, check=True, **options).stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert load_races(tmp_path / "races.npz").regret.shape == (3, 4, 12) and "Hyperband" in text


# What is stored ----------------------------------------------------------------------------------


@given(st.data())
def test_a_damaged_file_of_races_is_read_as_it_was_or_refused_with_one_error(
    undisturbed, tmp_path_factory, data
):
    whole = bytearray(undisturbed.read_bytes())
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    broken = tmp_path_factory.mktemp("broken") / "races.npz"
    broken.write_bytes(whole)
    try:
        found = load_races(broken)
    except ValueError as error:
        for words in ("races.npz", "git checkout -- :/data/races.npz", "make races"):
            assert words in str(error)
        assert str(broken.parent) not in str(error)
    else:
        np.testing.assert_array_equal(found.regret, load_races(undisturbed).regret)


def test_a_missing_file_and_another_one_are_refused(tmp_path, undisturbed):
    with pytest.raises(FileNotFoundError, match="races.npz is missing.*make races"):
        load_races(tmp_path / "races.npz")
    write_sealed(tmp_path / "races.npz", {"truth": np.zeros(3)})
    with pytest.raises(ValueError, match="races.npz holds other arrays.*make races"):
        load_races(tmp_path / "races.npz")
    with pytest.raises(ValueError, match="hold.* other arrays.*make bank"):
        load_bank(undisturbed)


def test_the_bundled_races_are_equal_repeats_of_equal_budgets(bundled):
    races = load_races()
    methods, repeats, budgets = races.regret.shape
    assert races.methods == tuple(METHODS)
    assert repeats == build_races.REPEATS >= 100
    assert races.budgets.tolist() == [30 * (n + 1) for n in range(50)] and budgets == 50
    assert (races.epochs == 1500).all() and races.trials.shape == (methods, repeats)
    assert (races.distinct <= races.trials).all() and (races.trials >= 50).all()
    assert (races.seconds > 0).all()
    assert np.isfinite(races.regret).all() and (races.regret >= 0).all()
    parts = splits(bundled)
    assert Counter(races.split) == dict.fromkeys(range(6), repeats // 6)  # each equally often
    for number, part in enumerate(parts):
        seeds = {"search": list(part.search_seeds), "judge": list(part.judge_seeds)}
        assert races.about["splits"][number] == seeds
        truth, here = part.truth(), races.split == number
        regret = truth.max() - truth[races.leader[:, here]]
        np.testing.assert_allclose(races.regret[:, here], regret, atol=1e-12)
    assert (HERE / "data" / "races.npz").stat().st_size < 500_000


@pytest.mark.parametrize("method", [name for name in METHODS if not name.startswith("GP")])
def test_a_stored_race_run_again_is_as_stored(bundled, method):
    """The Gaussian process is left out: another processor rounds it into another search."""
    races = load_races()
    made, here = races.about["versions"]["optuna"], optuna.__version__
    if "TPE" in method and here.split(".")[0] != made.split(".")[0]:
        pytest.skip(f"the races were run with Optuna {made}; TPE searches otherwise in {here}")
    row = races.methods.index(method)
    seed = int(np.random.default_rng(row).integers(races.regret.shape[1]))
    again = race(splits(bundled)[races.split[seed]], method, seed)
    np.testing.assert_array_equal(again.leader_after(races.budgets), races.leader[row, seed])
    assert len(again.entry) == races.trials[row, seed]


def test_startup_phases_stand_with_the_races():
    races = load_races()
    for row, method in enumerate(races.methods):
        first = METHODS[method].startup
        assert races.about["startup_trials"][method] == first
        full = METHODS[method].pruner is None
        assert (
            (races.startup[row] == 30 * first).all()
            if full
            else (races.startup[row] <= 30 * first).all()
        )


def test_races_answer_by_name():
    races = load_races()
    gain = races.lead("TPE", over="random")
    last = races.of("random")[:, -1] - races.of("TPE")[:, -1]
    assert gain.value == pytest.approx(last.mean()) and gain.seeds == len(last)
    assert "this one landscape" in gain.covers and gain.unit == "points"
    by_split = races.leads_by_split("TPE")
    assert np.mean([each.value for each in by_split]) == pytest.approx(gain.value)
    assert {each.seeds for each in by_split} == {len(last) // 6} and len(by_split) == 6
    early = races.of("random", 1500) - races.of("Hyperband", 300)
    found = races.lead("Hyperband", budget=300, over_budget=1500)
    assert found.value == pytest.approx(early.mean())
    table = races.to_dataframe()
    assert table.index.tolist() == list(races.methods) and "12 methods" in repr(races)
    assert table.loc["random", "mean regret"] == pytest.approx(
        100 * races.of("random")[:, -1].mean()
    )
    with pytest.raises(ValueError, match="budget: got 31, takes one of 30, 60"):
        races.lead("TPE", budget=31)
    with pytest.raises(ValueError, match="method: got 'tpe'"):
        races.of("tpe")
