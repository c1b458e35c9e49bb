"""Notebook 05: its exercises judge rightly, its measures are right, its labs survive every extreme."""

import re

import nbformat
import numpy as np
import pytest
from optuna import samplers

from course_utils import checks
from course_utils.bank import Bank
from course_utils.plots import new_figure
from course_utils.topics import t05
from run_notebooks import NOTEBOOKS

STEM = "05_search_methods"


@pytest.fixture(autouse=True)
def no_earlier_tries():
    checks._tries.clear()


@pytest.fixture(scope="module")
def bank():
    """A made-up table: best at the second rate, the third batch size, no dropout, whatever the decay."""
    axes = {"learning_rate": (0.001, 0.01, 0.1), "batch_size": (32, 64, 128),
            "dropout": (0.0, 0.5), "weight_decay": (0.1, 1.0)}
    a, b, c, _, seed, epoch = np.indices((3, 3, 2, 2, 2, 4))
    score = 0.9 - 0.1 * abs(a - 1) - 0.02 * abs(b - 2) - 0.05 * c + 0.004 * seed - 0.1 / (1 + epoch)
    values = {"val_accuracy": score.astype(np.float32)}
    return Bank(axes, (0, 1), 4, {"task": "none", "fixed": {}, "versions": {}, "date": ""}, values)


def sources(path, tag):
    notebook = nbformat.read(NOTEBOOKS / path, as_version=4)
    return [cell.source for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


@pytest.mark.parametrize("tag", ["exercise", "solution"])
def test_every_starter_fails_helpfully_and_every_solution_passes(tag, shell):
    assert shell.run_cell("import numpy as np\nfrom course_utils.topics import t05").success
    cells = sources({"exercise": f"{STEM}.ipynb", "solution": f"solutions/{STEM}_solutions.ipynb"}[tag], tag)
    assert len(cells) == 5
    for number, source in enumerate(cells, start=1):
        outcome = shell.run_cell(source)
        assert outcome.success and outcome.result.exercise == f"05.{number}"
        assert bool(outcome.result) == (tag == "solution"), outcome.result
        assert tag == "solution" or "Hint:" in outcome.result.message


@pytest.mark.parametrize("wrong", [
    lambda trials, knobs: int(trials ** (1 / knobs)), lambda trials, knobs: round(trials ** (1 / knobs)),
    lambda trials, knobs: trials, None,
])
def test_wrong_levels(wrong):
    assert not t05.check_levels(wrong)


@pytest.mark.parametrize("wrong", [
    lambda share, confidence: np.log(1 - confidence) / np.log(1 - share),
    lambda share, confidence: int(np.log(1 - confidence) / np.log(1 - share)), lambda share, confidence: 59, None,
])
def test_wrong_numbers_of_trials(wrong):
    assert not t05.check_trials_needed(wrong)


@pytest.mark.parametrize("wrong", [
    lambda scores, n: scores.max(), lambda scores, n: np.sort(scores)[-n:].mean(),
    lambda scores, n: np.sum(scores * np.diff((np.arange(len(scores) + 1) / len(scores)) ** n)),
    lambda scores, n: np.random.default_rng().choice(scores, (5000, n)).max(1).mean(), None,
])
def test_wrong_bests_of_n(wrong):
    assert not t05.check_best_of(wrong)


ROLES = {"dropout": "scientific", "learning_rate": "nuisance", "weight_decay": "nuisance", "batch_size": "fixed"}


@pytest.mark.parametrize(("roles", "effect"), [
    (ROLES, lambda scores: scores.max(axis=(0, 1, 3))), (ROLES, lambda scores: scores[:, 1].mean(axis=(0, 2))),
    (ROLES | {"weight_decay": "fixed"}, lambda scores: scores[:, 1].max(axis=(0, 2))), (ROLES, None), (None, None),
    ({"dropout": "scientific"}, lambda scores: scores[:, 1].max(axis=(0, 2))),
])
def test_wrong_isolations(roles, effect):
    assert not t05.check_isolation(roles, effect)


@pytest.mark.parametrize("wrong", [
    lambda most, keep: [(27, 1), (12, 3), (6, 9), (4, 27)],
    lambda most, keep: [(keep**s, most // keep**s) for s in range(int(np.log(most) / np.log(keep)), -1, -1)],
    lambda most, keep: [], None,
])
def test_wrong_brackets(wrong):
    assert not t05.check_brackets(wrong)


def test_every_entry_has_a_pixel_of_its_own():
    shape = (3, 4, 2, 5)
    landscape = np.arange(120.0).reshape(shape)
    _, axes = new_figure()
    picture = t05.plot_bank(landscape, dict(zip("abcd", map(range, shape), strict=True)), axes[0, 0]).get_array()
    for entry in np.ndindex(shape):
        column, row = t05.place(entry, shape)
        assert picture[row, column] == landscape[entry]


def test_overtaking_means_staying_ahead():
    baseline, x = np.full((3, 4), 2.0), np.array([1, 2, 3, 4])
    assert t05.first_better(np.tile([1.0, 3, 1, 1], (3, 1)), baseline, x) == 3
    assert t05.first_better(np.tile([1.0, 1, 1, 3], (3, 1)), baseline, x) == np.inf
    assert t05.first_better(np.tile([np.nan, 1, 1, 1], (3, 1)), baseline, x) == 2


def test_a_gap_is_what_is_saved():
    rng = np.random.default_rng(0)
    saved = t05.gap(rng.normal(1, 0.1, 200), rng.normal(3, 0.1, 200))
    assert saved.low < 2 < saved.high and saved.high - saved.low < 0.1
    with pytest.raises(ValueError, match="at least two"):
        t05.gap(np.ones(1), np.ones(5))


def drive(lab):
    """Move every control to both of its extremes, from the defaults each time."""
    for name, control in lab.controls.items():
        lab.reset()
        values = [value for _, value in control._options_full]
        for value in (values[0], values[-1]):
            control.value = value
            assert bytes(lab.picture.value).startswith(b"\x89PNG")
            assert "below the best" in lab.status.value or "worth" in lab.status.value, (name, value)


@pytest.mark.slow
def test_the_race_survives_its_extremes(bank):
    players = {"random": lambda seed: samplers.RandomSampler(seed=seed), "TPE": lambda seed: samplers.TPESampler(seed=seed)}
    lab = t05.race_lab(bank, players, bank.landscape(), trials=6)
    drive(lab)
    lab.reset()
    for name, value in {"learning_rate": 0.01, "batch_size": 128, "dropout": 0.0}.items():
        lab.controls[name].value = value
    lab.button.click()
    assert len(lab.hand) == 1 and "you: 1 trials, 0.00 points below the best" in lab.status.value
    lab.reset()
    assert not lab.hand and "you:" not in lab.status.value


@pytest.mark.slow
def test_the_process_can_be_beaten_by_hand(shell):
    cells = nbformat.read(NOTEBOOKS / f"{STEM}.ipynb", as_version=4).cells
    source = next(cell.source for cell in cells if "def gp(" in cell.source)
    imports = "import numpy as np\nfrom scipy import stats\nfrom scipy.linalg import cho_factor, cho_solve"
    assert shell.run_cell(imports).success and shell.run_cell(source).success
    gp, expected_improvement = shell.user_ns["gp"], shell.user_ns["expected_improvement"]
    at = np.linspace(-4, 1, 51)
    hill = np.exp(-((at + 1) ** 2))
    lab = t05.gp_lab(lambda x, seed: float(np.exp(-((x + 1) ** 2))), gp, expected_improvement, (at, hill), steps=8)
    drive(lab)
    lab.reset()
    lab.controls["trials"].value = 8
    assert abs(lab.result["x"][lab.result["y"].argmax()] + 1) < 0.3
    lab.button.click()
    assert len(lab.result["hand"]) == 1 and "You, 1 trials" in lab.status.value
    mean, deviation = gp(np.array([-1.0]), np.array([0.9]), np.array([-1.0, 100.0]), 0.6)
    assert mean == pytest.approx([0.9, 0.5], abs=0.01) and deviation == pytest.approx([0.02, 0.3], abs=0.01)


def test_every_claim_of_the_notebook_has_its_card():
    claimed = " ".join(sources(f"{STEM}.ipynb", "claim"))
    assert set(re.findall(r'claim\("([A-Z]{2}\d)"', claimed)) == {"SR1", "SR2", "SR3", "SR4", "SR5"}
