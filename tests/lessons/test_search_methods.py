"""Notebook 09: starters fail, solutions pass, mistakes are told apart; figures, lab, measures."""

import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import optuna
import pytest
from scipy.stats import norm

from course_utils import Config, Estimate, difference, fit, load_mnist
from course_utils.bank import Bank, load_bank
from course_utils.claims import TIED
from course_utils.lessons.search_methods import exercises, experiments, figures, labs
from course_utils.races import METHODS, load_races, race

SMALL = load_mnist(subset=200, image_size=7, device="cpu")
TINY = replace(SMALL, val=SMALL.val.first(100), tuning=SMALL.tuning.first(100))
USUAL = Config(width=8, epochs=1, learning_rate=0.001)


@pytest.fixture(scope="module")
def bank():
    return load_bank()


@pytest.fixture(scope="module")
def races():
    return load_races()


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)
    plt.close("all")


# 09.1 and 09.2 ------------------------------------------------------------------------------------


def right_count(share, confidence):
    return math.ceil(math.log(1 - confidence) / math.log(1 - share))


def test_trials_needed_passes():
    assert exercises.check_trials_needed(right_count)
    assert exercises.check_trials_needed(lambda share, sure: float(right_count(share, sure)))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "A function"),
        (lambda share, sure: round(sure / share), "19 is not the smallest"),
        (lambda share, sure: math.log(1 - sure) / math.log(1 - share), "whole numbers"),
        (lambda share, sure: math.floor(math.log(1 - sure) / math.log(1 - share)), "58 is not"),
        (lambda share, sure: right_count(share, sure) + 1, "two trials miss it once in four"),
        (lambda share, sure: {0.05: 59, 0.5: 2}.get(share, 5), "For 1 % and 50 %"),
        (lambda share, sure: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_wrong_numbers_of_trials_are_told_apart(answer, said):
    result = exercises.check_trials_needed(answer)
    assert not result and said in result.message


def by_maximum(scores):
    return scores[:, 1].max(axis=(0, 1))


def test_isolation_passes():
    assert exercises.check_isolation(dict(exercises.ROLES), by_maximum)


@pytest.mark.parametrize(
    ("roles", "effect", "said"),
    [
        (None, by_maximum, "name each of"),
        ({"learning_rate": "nuisance"}, by_maximum, "name each of"),
        (exercises.ROLES | {"dropout": "free"}, by_maximum, "scientific, nuisance or fixed"),
        (exercises.ROLES | {"weight_decay": "fixed"}, by_maximum, "what the question is about"),
        (exercises.ROLES | {"batch_size": "nuisance"}, by_maximum, "the machine dictates"),
        (exercises.ROLES | {"dropout": "fixed"}, by_maximum, "is a nuisance"),
        (exercises.ROLES, 5, "a function"),
        (exercises.ROLES, lambda scores: scores.max(), "the shape is ()"),
        (exercises.ROLES, lambda scores: scores.max(axis=(0, 1, 2)), "index 1"),
        (exercises.ROLES, lambda scores: scores[:, 1].mean(axis=(0, 1)), "its own best"),
        (exercises.ROLES, lambda scores: scores[:, 1].max(axis=0).mean(axis=0), "its own best"),
    ],
)
def test_wrong_isolations_are_told_apart(roles, effect, said):
    result = exercises.check_isolation(roles, effect)
    assert not result and said in result.message


# 09.3 ---------------------------------------------------------------------------------------------


def searched(best=0.03, trials=20, knobs=("learning_rate", "dropout"), low=1e-4):
    """A study whose best trial is known, without a training."""
    boxes = {
        "learning_rate": optuna.distributions.FloatDistribution(low, 1.0, log=True),
        "dropout": optuna.distributions.FloatDistribution(0.0, 0.6),
    }
    study = optuna.create_study(direction="maximize")
    for number in range(trials):
        values = {"learning_rate": best if number == 3 else 0.5, "dropout": 0.0}
        study.add_trial(
            optuna.trial.create_trial(
                params={name: values[name] for name in knobs},
                distributions={name: boxes[name] for name in knobs},
                value=0.9 if number == 3 else 0.5,
            )
        )
    return study


def judged(config, seeds=range(100, 108)):
    return fit(config.seeds(seeds), TINY, progress=False)


def decided(found, usual):
    gain = difference(found, usual)
    return "adopt" if gain.low > 0 else "keep" if gain.high < 0 else "not settled"


def test_a_search_of_ones_own_passes_and_only_with_the_decision_that_follows():
    found, usual = judged(USUAL.replace(learning_rate=0.03)), judged(USUAL)
    decision = decided(found, usual)
    assert exercises.check_my_search(searched(), found, usual, decision)
    for other in {"adopt", "keep", "not settled", None} - {decision}:
        assert not exercises.check_my_search(searched(), found, usual, other)
    even = exercises.check_my_search(searched(), found, judged(found.configs[0]), "not settled")
    assert even  # nothing gained over itself


@pytest.mark.parametrize(
    ("study", "config", "options", "said"),
    [
        (None, USUAL, {}, "optuna.create_study"),
        (searched(trials=5), USUAL, {}, "these are 5"),
        (searched(knobs=("learning_rate",)), USUAL, {}, "two knobs"),
        (searched(best=0.9), USUAL, {}, "learning_rate 0.9 of 0.0001 to 1"),
        (searched(best=0.03, low=0.029), USUAL, {}, "at an edge"),
        (searched(), USUAL, {}, "look at learning_rate"),
        (searched(), USUAL.replace(learning_rate=0.03), {"seeds": range(8)}, "has seen the seeds"),
        (searched(), USUAL.replace(learning_rate=0.03), {"seeds": range(50, 54)}, "these are 4"),
        (searched(), USUAL.replace(learning_rate=0.03), {"seeds": range(50, 58)}, "same seeds"),
        (searched(), USUAL.replace(learning_rate=0.03, epochs=2), {}, "epochs differ"),
    ],
)
def test_searches_that_prove_nothing_are_told_why(study, config, options, said):
    found = judged(config, **options)
    result = exercises.check_my_search(study, found, judged(USUAL), "adopt")
    assert not result and said in result.message


def test_a_natural_end_is_no_edge():
    assert exercises.at_an_edge(searched().best_trial) == ""  # its dropout is 0
    assert "learning_rate" in exercises.at_an_edge(searched(best=1.1e-4).best_trial)


# Searches on the bank -----------------------------------------------------------------------------


def test_what_is_lost_at_random_is_nothing_for_a_knob_that_does_nothing():
    scores = np.zeros((3, 2, 4, 1)) + np.array([0.1, 0.9, 0.5])[:, None, None, None]
    axes = {"learning_rate": (0.1, 1.0, 10.0), "batch_size": (32, 64)}
    bank = Bank(axes, (0, 1, 2, 3), 1, {}, {"val_accuracy": scores})
    lost = experiments.lost_at_random(bank)
    assert lost["batch_size"] == pytest.approx(0)
    assert lost["learning_rate"] == pytest.approx(100 * (0.9 - 0.5))


def test_searches_of_two_knobs_have_regret_and_more_trials_help(bank):
    few, many = (experiments.searches_of_two_knobs(bank, 12, trials) for trials in (2, 20))
    assert (few >= 0).all() and (many >= 0).all()
    assert many.mean() < few.mean()


def lead(low, high):
    return Estimate((low + high) / 2, low, high, 100, "points")


@pytest.mark.parametrize(
    ("leads", "answer"),
    [
        ([(-2, -1), (1, 2), (1, 2)], "with four learning rates only"),
        ([(-2, -1)] * 3, "always"),
        ([(-2, 1), (1, 2), (1, 2)], "never"),
        ([(-2, 1), (-2, -1), (1, 2)], "in other cases"),
    ],
)
def test_when_a_grid_is_ahead(leads, answer):
    assert experiments.when_a_grid_is_ahead([lead(*each) for each in leads]) == answer


def test_who_is_ahead_must_be_shown():
    even = {name: lead(-1, 3) for names in experiments.FAMILIES.values() for name in names}
    assert experiments.who_is_ahead(even) == "nobody is ahead"
    assert experiments.who_is_ahead(even | {"GP": lead(0.1, 1)}) == "a model (TPE, GP, CMA-ES)"
    both = even | {"GP": lead(0.1, 1), "Hyperband": lead(1, 2)}
    assert experiments.who_is_ahead(both) == "stopping early"
    assert set(sum(experiments.FAMILIES.values(), ())) < set(figures.SHOWN)
    assert experiments.who_is_ahead(both, apart=lead(-1, 1)) == TIED
    assert experiments.who_is_ahead(both, apart=lead(1, 2)) == "stopping early"
    assert experiments.who_is_ahead(even, apart=lead(-1, 1)) == "nobody is ahead"


def test_the_rival_of_the_first_is_of_another_family(races):
    leads = {name: races.lead(name) for name in figures.SHOWN[1:]}
    first, rival, apart = experiments.first_and_rival(races, leads)
    assert leads[first].value == max(lead.value for lead in leads.values())
    assert not any({first, rival} <= set(names) for names in experiments.FAMILIES.values())
    assert apart.value == races.lead(first, over=rival).value


def test_power_grows_with_gain_seeds_and_images():
    pairs = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], size=(8, 500), p=[0.05, 0.9, 0.05])
    sizes = [(0.0, 1000), (0.005, 1000), (0.01, 1000), (0.01, 100_000)]
    table = experiments.power_table(pairs, sizes, seeds=(4, 32))
    assert table.iloc[0].max() < 0.05
    assert (table.diff().iloc[1:, 1] > 0).all() and (table["32 seeds"] >= table["4 seeds"]).all()


def test_the_stored_races_hold_all_methods_equally_often_with_equal_budgets(races):
    assert set(races.methods) <= set(METHODS) and set(figures.SHOWN) < set(races.methods)
    assert races.regret.shape[1] >= 100 and np.bincount(races.split).std() == 0

    assert (races.epochs == races.budgets[-1]).all()


def test_a_live_race_goes_as_the_stored_one(bank, races):
    made, here = races.about["versions"]["optuna"], optuna.__version__
    same_tpe = here.split(".")[0] == made.split(".")[0]
    for name in ("random", "successive halving", *(["TPE"] if same_tpe else [])):
        run = race(bank, name, seed=0)
        stored = races.leader[races.methods.index(name), 0]
        np.testing.assert_array_equal(run.leader_after(races.budgets), stored)


# Figures ------------------------------------------------------------------------------------------


def studied(trials=12):
    def objective(trial):
        rate = trial.suggest_float("learning_rate", 1e-3, 10.0, log=True)
        for step in range(4):
            trial.report(step - rate, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return 3 - rate

    pruner = optuna.pruners.MedianPruner(n_startup_trials=2)
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(direction="maximize", pruner=pruner, sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study


def test_a_studys_figure_has_real_values_the_boxs_edges_and_a_curve_for_each_trial():
    study = studied()
    left, right = figures.plot_study(study).axes
    assert left.get_xscale() == "log"
    edges = [line.get_xdata()[0] for line in left.lines if line.get_linestyle() == "--"]
    assert edges == [1e-3, 10.0]
    shown = [x for line in left.lines[:2] for x in line.get_xdata()]
    assert sorted(shown) == sorted(trial.params["learning_rate"] for trial in study.trials)
    assert len(right.lines) == len(study.trials)
    assert max(line.get_xdata()[-1] for line in right.lines) == 4


def test_a_study_without_curves_is_drawn_in_the_order_of_its_trials():
    right = figures.plot_study(searched()).axes[1]
    assert right.get_xlabel() == "trial" and len(right.lines[0].get_xdata()) == 20


def test_the_banks_figure_shows_values_not_places(bank):
    panels = figures.plot_bank(bank).axes[:4]
    texts = [text.get_text() for text in panels[0].get_xticklabels()]
    assert texts == ["0.00023", "0.0066", "0.19"]
    assert [panel.get_title() for panel in panels][1] == "dropout 0.2"
    picture = panels[2].images[0].get_array()
    assert picture[1, 4] == pytest.approx(100 * bank.landscape()[4, 1, 2, 1])


def test_the_figure_of_the_races_shades_start_up_and_draws_the_baseline(races):
    panels = figures.plot_races(races).axes
    for panel, name in zip(panels, figures.SHOWN, strict=True):
        assert panel.get_title().startswith(name) and panel.get_title().endswith(" s")
        np.testing.assert_allclose(panel.lines[0].get_ydata(), 100 * races.of(name).mean(0))
        np.testing.assert_allclose(panel.lines[1].get_ydata(), 100 * races.of("random").mean(0))
        shaded = panel.patches[0].get_width()
        assert shaded == np.median(races.startup[races.methods.index(name)])


# The lab ------------------------------------------------------------------------------------------


def gp(x, y, at, length):
    """The notebook's, in short."""

    def kernel(a, b):
        return 0.09 * np.exp(-0.5 * ((a[:, None] - b) / length) ** 2)

    weights = np.linalg.solve(kernel(x, x) + 0.0004 * np.eye(len(x)), kernel(x, at)).T
    variance = 0.09 - (weights * kernel(at, x)).sum(1)
    return 0.5 + weights @ (y - 0.5), np.sqrt(variance.clip(1e-12))


def improvement(mean, deviation, best):
    z = (mean - best) / deviation
    return (mean - best) * norm.cdf(z) + deviation * norm.pdf(z)


@pytest.fixture(scope="module")
def hill():
    return experiments.measure_hill(TINY)


@pytest.fixture
def lab(hill):
    made = labs.search_lab(hill, gp, improvement)
    yield made
    made.close()


def test_the_hill_is_low_at_both_ends_and_regret_is_that_of_the_best_seen(hill):
    top = hill.at[hill.truth.argmax()]
    assert hill.at[0] < top < hill.at[-1]
    assert hill.truth.max() > max(hill.truth[0], hill.truth[-1]) + 0.1
    regret = hill.regret(np.array([-4.0, top, 0.9]), np.array([0.1, 0.8, 0.2]))
    assert regret[0] > 0 and regret[1] == regret[2] == pytest.approx(0)


@pytest.mark.parametrize("control", ["trials", "rule", "length", "truth", "rate"])
def test_every_control_changes_the_picture(lab, control):
    pictures = []
    options = lab.controls[control].options
    for value in (options[0], options[-1]):
        lab.set(**{control: value})
        lab.worker.wait()
        pictures.append(lab.png)
        assert "points below the top" in lab.text
    assert pictures[0] != pictures[1]


def test_more_trials_and_ones_own_are_described(lab):
    lab.set(trials=1)
    lab.worker.wait()
    assert "1 trial:" in lab.text and "You" not in lab.text
    lab.press("Train mine")
    lab.worker.wait()
    assert "You, 1 trial:" in lab.text
    lab.press("Forget mine")
    lab.worker.wait()
    assert "You" not in lab.text


def test_the_rules_do_what_they_are_called(hill, lab):
    for rule, of in (("the highest mean", "mean"), ("the widest band", "deviation")):
        lab.set(rule=rule)
        lab.worker.wait()
        np.testing.assert_array_equal(lab.result.gain, getattr(lab.result, of))


def test_a_pointer_sets_the_learners_rate(lab):
    rates = lab.controls["rate"].options
    assert lab.point(0, 0.1, 0.5, lab.values)["rate"] == min(rates, key=lambda r: abs(r - 0.1))
    assert lab.point(1, 3, 1, lab.values) == {}
    assert "GPSampler" in lab.code(lab.values)


# The classics -------------------------------------------------------------------------------------


def test_scikit_learns_searches_run_on_the_courses_network():
    selection = pytest.importorskip("sklearn.model_selection")
    pytest.importorskip("skorch")
    network, images, labels, options = experiments.for_scikit_learn(TINY)
    search = selection.GridSearchCV(network, {"lr": [1e-6, 0.1]}, **options)
    table = experiments.run_classics([search], images, labels)
    assert table.loc["GridSearchCV", "trainings"] == 2 and table.loc["GridSearchCV", "lr"] == "0.1"
    assert len(images) == len(TINY.train) + len(TINY.tuning)
