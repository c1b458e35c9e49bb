"""Notebook 05: the bank and its searches in pictures, the two labs, the checks of the exercises."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np

from ..classroom.check import Result, check
from ..classroom.lab import Lab, Values, choice, slider
from ..evidence import Estimate
from ..plots import COLOURS, style
from ..search import Replay, replay

MARKERS = "os^DvPX*"

# ---- pictures of the bank -------------------------------------------------------------------------------------------


def place(entry: Sequence[int], shape: Sequence[int]) -> tuple[int, int]:
    """Where ``plot_bank`` draws an entry (four indices): column by the first two axes, row by the last two."""
    first, second, third, fourth = entry
    return first * shape[1] + second, third * shape[3] + fourth


def plot_bank(
    landscape: np.ndarray, axes: Mapping[str, Sequence[float]], ax, low: float | None = None
):
    """All entries [a, b, c, d] of a four-knob landscape in one picture, a pixel each.

    The first axis runs to the right and the third upwards, in blocks; within each block the second runs to the right
    and the fourth upwards. ``low`` is where the colours begin (the median entry, unless given).
    """
    (first, values), (second, _), (third, levels), (fourth, _) = axes.items()
    a, b, c, d = landscape.shape
    picture = landscape.transpose(2, 3, 0, 1).reshape(c * d, a * b)
    low, high = (
        (np.nanmedian(landscape), np.nanmax(landscape))
        if low is None
        else (low, np.nanmax(landscape, initial=low))
    )
    image = ax.imshow(
        picture, origin="lower", aspect="auto", interpolation="nearest", vmin=low, vmax=high
    )
    for edge in range(1, a):
        ax.axvline(edge * b - 0.5, color="white", linewidth=1)
    for edge in range(1, c):
        ax.axhline(edge * d - 0.5, color="white", linewidth=1)
    ax.set(
        xlabel=f"{_words(first)} (within a block: {_words(second)})",
        ylabel=f"{_words(third)} (within: {_words(fourth)})",
    )
    named = range(0, a, 2) if a > 6 else range(a)  # more would run into one another
    ax.set_xticks(
        [block * b + (b - 1) / 2 for block in named], [f"{values[block]:.2g}" for block in named]
    )
    ax.set_yticks(
        [block * d + (d - 1) / 2 for block in range(c)], [f"{value:g}" for value in levels]
    )
    ax.grid(visible=False)
    return image


def _words(name: str) -> str:
    return name.replace("_", " ")


def plot_band(
    x: np.ndarray,
    table: np.ndarray,
    ax,
    number: int = 0,
    label: str | None = None,
    share: float = 0.95,
):
    """Median over the repeats of ``table`` [repeat, x], and the band that holds ``share`` of them."""
    low, middle, high = np.nanquantile(table, [(1 - share) / 2, 0.5, (1 + share) / 2], axis=0)
    ax.plot(x, middle, label=label, **style(number))
    ax.fill_between(x, low, high, color=style(number)["color"], alpha=0.13, linewidth=0)
    return ax


def plot_regrets(regrets: Mapping[str, np.ndarray], x: np.ndarray, axes, baseline: str = "random"):
    """Small multiples: each search's regret [repeat, x] in points: median, 95 % band, the baseline dashed."""
    for ax, (name, table) in zip(axes.flat, regrets.items(), strict=False):
        plot_band(x, 100 * table, ax)
        ax.plot(
            x,
            100 * np.nanmedian(regrets[baseline], axis=0),
            color=COLOURS[1],
            linestyle="--",
            linewidth=1.4,
        )
        ax.set_title(f"{name} ({len(table)} repeats)", fontsize=9)
        ax.set(yscale="log", ylim=(0.05, 30))
        ax.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
    for ax in axes.flat[len(regrets) :]:
        ax.axis("off")


def plot_gp(
    axes,
    at: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
    acquisition: np.ndarray | None,
    x: np.ndarray,
    y: np.ndarray,
    truth: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """A Gaussian process over log10 of the learning rate on axes[0], and on axes[1] what it would gain by a trial."""
    top, bottom = axes
    top.plot(at, mean, label="its guess", **style(0))
    top.fill_between(
        at,
        mean - 1.96 * deviation,
        mean + 1.96 * deviation,
        color=COLOURS[0],
        alpha=0.16,
        linewidth=0,
        label="95 % band",
    )
    if truth is not None:
        top.plot(*truth, label="truth", **style(1))
    top.plot(x, y, "o", color="black", markersize=5, label="trials")
    top.set(ylim=(0, 1.05), ylabel="validation accuracy")
    if acquisition is not None:
        bottom.fill_between(at, 0, acquisition, color=COLOURS[2], alpha=0.35, linewidth=0)
        best = acquisition.argmax()
        bottom.plot(at[best], acquisition[best], "v", color="black", markersize=7)
        for ax in axes:
            ax.axvline(at[best], color="black", linewidth=0.8, linestyle=(0, (2, 3)))
    for ax in axes:
        _log_rate_ticks(ax, at)
    bottom.set(xlabel="learning rate", ylim=(0, None))


def _log_rate_ticks(ax, at: np.ndarray) -> None:
    decades = np.arange(math.ceil(at.min()), math.floor(at.max()) + 1)
    ax.set_xticks(decades, [f"{10.0**decade:g}" for decade in decades])
    ax.set_xlim(at.min(), at.max())


# ---- measures of a comparison ---------------------------------------------------------------------------------------


def first_better(table: np.ndarray, baseline: np.ndarray, x: np.ndarray) -> float:
    """From which x on the median of ``table`` [repeat, x] stays at or below that of ``baseline``; infinity for never."""
    better = np.median(table, axis=0) <= np.median(
        baseline, axis=0
    )  # false where a search has nothing yet
    stays = np.logical_and.accumulate(better[::-1])[::-1]
    return float(x[stays.argmax()]) if stays.any() else math.inf


def gap(treated: np.ndarray, control: np.ndarray, unit: str = "points") -> Estimate:
    """Mean of ``control`` less mean of ``treated`` over independent repeats, with Welch's 95 % interval.

    What ``treated`` saves, when both are regrets. Raises ValueError for fewer than two repeats on a side.
    """
    from scipy import stats

    treated, control = np.asarray(treated, float), np.asarray(control, float)
    if min(len(treated), len(control)) < 2:
        raise ValueError(
            f"repeats: got {len(treated)} and {len(control)}, takes at least two on each side"
        )
    test = stats.ttest_ind(control, treated, equal_var=False)
    low, high = test.confidence_interval(0.95)
    return Estimate(
        float(control.mean() - treated.mean()),
        float(low),
        float(high),
        min(len(treated), len(control)),
        unit,
    )


# ---- labs in which the learner takes turns --------------------------------------------------------------------------


class TurnLab(Lab):
    """A lab with one more player: a button takes the learner's turn, ``hand`` keeps them, Reset clears them.

    ``turn``  (values, number of turns before) -> whatever ``run`` and ``draw`` make of a turn
    """

    def __init__(
        self,
        *args: Any,
        hand: list,
        turn: Callable[[Values, int], Any],
        button: str,
        **options: Any,
    ):
        self.hand, self._turn = hand, turn
        self.button = widgets.Button(description=button, button_style="primary")
        self.button.on_click(lambda _: self.take_turn())
        super().__init__(*args, extra=(self.button,), **options)

    def take_turn(self) -> None:
        """One trial of the learner's, with the present values."""
        self.hand.append(self._turn(self.values, len(self.hand)))
        self.start()

    def reset(self) -> None:
        self.hand.clear()
        super().reset()


ACQUISITIONS = ("expected improvement", "the highest guess", "the widest band")


def gp_lab(
    train_at: Callable[[float, int], float],
    gp: Callable,
    expected_improvement: Callable,
    truth: tuple[np.ndarray, np.ndarray],
    steps: int = 12,
) -> TurnLab:
    """Step through a search by a Gaussian process, and try to beat it by hand.

    ``train_at(log_rate, seed)`` trains one network and returns its accuracy; ``gp(x, y, at, length)`` returns mean and
    deviation; ``expected_improvement(mean, deviation, best)``; ``truth`` is (log rates, mean accuracy). Both players'
    best guesses are judged by the truth.
    """
    at, truth_at = truth[0], lambda x: float(np.interp(x, *truth))
    known: dict[tuple[float, int], float] = {}
    hand: list[tuple[float, float]] = []

    def measure(x: float, seed: int) -> float:
        if (x, seed) not in known:
            known[x, seed] = train_at(x, seed)
        return known[x, seed]

    def run(values: Values) -> Iterator[dict]:
        x, y = [float(at[len(at) // 5])], []
        for trial in range(max(values["trials"], 1)):
            y.append(measure(x[trial], trial))
            mean, deviation = gp(np.array(x), np.array(y), at, values["length"])
            tried = np.abs(at[:, None] - np.array(x)).argmin(0)
            gains = {
                "expected improvement": expected_improvement(mean, deviation, mean[tried].max()),
                "the highest guess": mean - mean.min(),
                "the widest band": deviation,
            }[values["choose by"]]
            yield {
                "x": np.array(x),
                "y": np.array(y),
                "mean": mean,
                "deviation": deviation,
                "gains": gains,
                "hand": list(hand),
                "own": math.log10(values["your_learning_rate"]),
                "shown": values["truth"] == "shown",
            }
            x.append(float(at[gains.argmax()]))

    def draw(figure, axes, result: dict, earlier: Sequence[dict]) -> None:
        top, bottom = axes[:, 0]
        plot_gp(
            (top, bottom),
            at,
            result["mean"],
            result["deviation"],
            result["gains"],
            result["x"],
            result["y"],
            truth if result["shown"] else None,
        )
        top.axvline(result["own"], color=COLOURS[1], linewidth=1, linestyle=":")
        top.plot(
            result["x"][-1],
            result["y"][-1],
            "o",
            markersize=11,
            markerfacecolor="none",
            color="black",
        )
        if result["hand"]:
            top.plot(
                *zip(*result["hand"], strict=True),
                "X",
                color=COLOURS[1],
                markersize=8,
                label="yours",
            )
        top.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, fontsize=9)
        bottom.set(ylabel="what a trial might gain", yticks=[])

    def describe(result: dict) -> str:
        best = result["x"][result["y"].argmax()]
        line = (
            f"Gaussian process, {len(result['x'])} trials: best at {10**best:.2g}, "
            f"worth {truth_at(best):.1%} over new seeds"
        )
        if result["hand"]:
            own = max(result["hand"], key=lambda turn: turn[1])[0]
            line += f". You, {len(result['hand'])} trials: best at {10**own:.2g}, worth {truth_at(own):.1%}"
        return line.replace("%", " %")

    rates = [float(f"{10**x:.3g}") for x in at]
    controls = {
        "trials": slider("trials", list(range(1, steps + 1)), min(5, steps)),
        "choose by": choice("choose by", list(ACQUISITIONS), ACQUISITIONS[0]),
        "length": slider("length scale (decades)", [0.2, 0.4, 0.6, 0.8, 1.2, 2.0], 0.6),
        "truth": choice("truth", ["hidden", "shown"], "hidden"),
        "your_learning_rate": slider("your_learning_rate", rates, rates[len(rates) // 2]),
    }
    return TurnLab(
        controls,
        run,
        draw,
        describe,
        columns=1,
        rows=2,
        size=(7.2, 4.6),
        hand=hand,
        button="Train mine",
        turn=lambda values, turns: (
            math.log10(values["your_learning_rate"]),
            measure(math.log10(values["your_learning_rate"]), 100 + turns),
        ),
    )


def race_lab(
    bank: Any, samplers: Mapping[str, Callable[[int], Any]], landscape: np.ndarray, trials: int = 40
) -> TurnLab:
    """Two samplers search the same table, trial by trial, and the learner is the third player.

    ``samplers`` are {name: seed -> Optuna sampler}. A trial shows the final validation accuracy of one seed; a player's
    best trial so far is judged by the mean over the seeds, ``landscape`` [four axes].
    """
    axes, shape, truth = bank.axes, landscape.shape, landscape.ravel()
    known: dict[tuple[str, int], Replay] = {}
    hand: list[tuple[int, float]] = []
    names = list(samplers)

    def search(name: str, start: int) -> Replay:
        if (name, start) not in known:
            known[name, start] = replay(bank, samplers[name](start), trials=trials, seed=start)
        return known[name, start]

    def run(values: Values) -> Iterator[dict]:
        seen = values["trials"]
        result = {"shown": values["landscape"] == "shown", "players": {}}
        for player, name in (("first", values["first"]), ("second", values["second"])):
            found = search(name, values["start"] if player == "first" else values["start"] + 1)
            result["players"][f"{player}: {name}"] = (
                found.entry[:seen],
                100 * found.regret(truth)[:seen],
            )
            yield result | {"hand": None}
        if hand:
            entries, scores = (np.array(column) for column in zip(*hand, strict=True))
            own = Replay(
                entries, np.full(len(hand), bank.epochs), scores, np.full(len(hand), bank.epochs)
            )
            result["players"]["you"] = entries, 100 * own.regret(truth)
        yield result | {"hand": list(hand)}

    def draw(figure, panels, result: dict, earlier: Sequence[dict]) -> None:
        left, right = panels.flat
        plot_bank(
            landscape if result["shown"] else np.full(shape, np.nan),
            axes,
            left,
            low=float(np.nanmedian(landscape)) if result["shown"] else 0.0,
        )
        left.set(xlim=(-0.5, shape[0] * shape[1] - 0.5), ylim=(-0.5, shape[2] * shape[3] - 0.5))
        for number, (name, (entries, regrets)) in enumerate(result["players"].items()):
            columns, rows = zip(
                *(place(np.unravel_index(entry, shape), shape) for entry in entries), strict=True
            )
            left.plot(
                columns,
                rows,
                MARKERS[number],
                color=COLOURS[number],
                markeredgecolor="white",
                markersize=7,
            )
            right.step(
                range(1, len(regrets) + 1),
                regrets,
                where="post",
                marker=MARKERS[number],
                markersize=3.5,
                label=name,
                **style(number),
            )
        right.set(
            xlabel="trial",
            ylabel="points below the best",
            xlim=(0.5, trials + 0.5),
            ylim=(-0.3, 12),
        )
        right.legend(loc="upper right")

    def describe(result: dict) -> str:
        parts = [
            f"{name}: {len(entries)} trials, {regrets[-1]:.2f} points below the best"
            for name, (entries, regrets) in result["players"].items()
        ]
        if result["hand"]:
            parts.append(f"your last trial showed {result['hand'][-1][1]:.1%}".replace("%", " %"))
        return "; ".join(parts)

    def turn(values: Values, turns: int) -> tuple[int, float]:
        entry = tuple(list(levels).index(values[name]) for name, levels in axes.items())
        seed = bank.seeds[turns % len(bank.seeds)]
        score = bank.lookup(
            {name: values[name] for name in axes}, bank.epochs, seed, "val_accuracy"
        )
        return int(np.ravel_multi_index(entry, shape)), float(score)

    controls = {
        "first": choice("first", names, names[0]),
        "second": choice("second", names, names[1]),
        "start": slider("start", list(range(10)), 0),
        "trials": slider("trials", list(range(1, trials + 1)), min(10, trials)),
        "landscape": choice("landscape", ["hidden", "shown"], "hidden"),
        **{
            name: slider(f"your {name}", list(levels), list(levels)[0])
            for name, levels in axes.items()
        },
    }
    return TurnLab(
        controls, run, draw, describe, size=(10.4, 4.0), hand=hand, button="Try mine", turn=turn
    )


# ---- exercises ------------------------------------------------------------------------------------------------------


def check_levels(levels: Callable[[int, int], int]) -> Result:
    """Exercise 5.1: how many values of each of ``knobs`` knobs a full grid can try with ``trials`` trials."""

    def right(trials: int, knobs: int, answer: int) -> Callable[[], bool]:
        return lambda: levels(trials, knobs) == answer

    return check(
        "05.1",
        [
            (callable(levels), "a function is wanted."),
            (right(50, 1, 50), "with one knob, 50 trials try 50 values."),
            (
                right(50, 2, 7),
                "50 trials and two knobs: 7 values of each make 49 trials; 8 would make 64.",
            ),
            (right(15, 4, 1), "15 trials and four knobs: even two values of each make 16."),
            (
                lambda: all(
                    levels(count**knobs, knobs) == count
                    for count in range(1, 12)
                    for knobs in range(1, 8)
                ),
                "k values of d knobs are k**d trials, so k**d trials are exactly enough for k: try levels(64, 3).",
            ),
            (
                lambda: all(
                    levels(count**knobs - 1, knobs) == count - 1
                    for count in range(2, 12)
                    for knobs in range(2, 8)
                ),
                "with one trial fewer than k**d, the grid must be smaller.",
            ),
        ],
        [
            "the number of trials is levels ** knobs.",
            "64 ** (1 / 3) is 3.9999999999999996: count upwards in whole numbers, or round and then correct.",
        ],
        "with four knobs a grid of fifty trials knows two values of each.",
    )


def check_trials_needed(trials_needed: Callable[[float, float], int]) -> Result:
    """Exercise 5.2: random trials until one lies in the best ``share`` of the space with probability ``confidence``."""

    def least(share: float, confidence: float) -> bool:
        count = trials_needed(share, confidence)
        return (
            float(count).is_integer()
            and count >= 1
            and 1 - (1 - share) ** count >= confidence > 1 - (1 - share) ** (count - 1)
        )

    return check(
        "05.2",
        [
            (callable(trials_needed), "a function is wanted."),
            (
                lambda: float(trials_needed(0.05, 0.95)).is_integer(),
                "trials come in whole numbers.",
            ),
            (
                lambda: least(0.5, 0.75),
                "half of the space is good: two trials miss it with probability 1/4.",
            ),
            (
                lambda: least(0.05, 0.95),
                "for the best 5 % with probability 95 %, one trial fewer or more is right.",
            ),
            (
                lambda: all(
                    least(share, confidence)
                    for share in (0.01, 0.1, 0.3, 0.9)
                    for confidence in (0.5, 0.8, 0.99)
                ),
                "right for one share, but not for all: the smallest number that is enough is wanted.",
            ),
        ],
        [
            "what is the probability that all n trials miss?",
            "(1 - share) ** n must be at most 1 - confidence; take logarithms, and round up.",
        ],
        "note what is missing in the formula: the number of knobs.",
    )


def check_best_of(best_of: Callable[[np.ndarray, int], float]) -> Result:
    """Exercise 5.3: the exact expectation of the best of n scores drawn with replacement (Dodge et al., 2019)."""

    def brute(scores: np.ndarray, n: int) -> float:
        return float(np.max(np.stack(np.meshgrid(*[scores] * n)), axis=0).mean())

    def agrees(scores: Sequence[float], n: int) -> Callable[[], bool]:
        return lambda: bool(
            np.isclose(best_of(np.array(scores), n), brute(np.array(scores), n), atol=1e-9)
        )

    return check(
        "05.3",
        [
            (callable(best_of), "a function is wanted."),
            (agrees([0.2, 0.8], 1), "the best of one draw is, on average, the mean."),
            (
                agrees([0.0, 1.0], 2),
                "of two fair coins, the better one shows 1 in three cases of four.",
            ),
            (
                agrees([0.9, 0.1, 0.5], 3),
                "the scores need not come sorted; all 27 draws of three count.",
            ),
            (agrees([0.3, 0.3, 0.7, 0.1], 4), "equal scores should do no harm."),
            (
                lambda: (
                    best_of(np.linspace(0, 1, 1000), 50) == best_of(np.linspace(0, 1, 1000), 50)
                ),
                "no simulation: two calls should give the same.",
            ),
        ],
        [
            "sort the scores. The best of n is at most the i-th smallest of N with probability (i / N) ** n.",
            "the i-th is the best itself with probability (i / N) ** n - ((i - 1) / N) ** n; add up score times probability.",
        ],
        "the whole curve for the price of one search.",
    )


def check_isolation(roles: object, dropout_effect: Callable[[np.ndarray], np.ndarray]) -> Result:
    """Exercise 5.4: roles of four knobs, and the best score for each dropout, from scores [rate, batch, dropout, decay]."""
    right = {
        "dropout": "scientific",
        "learning_rate": "nuisance",
        "weight_decay": "nuisance",
        "batch_size": "fixed",
    }

    def agrees() -> bool:
        for seed in range(3):
            scores = np.random.default_rng(seed).random((5, 3, 4, 2))
            if not np.allclose(dropout_effect(scores), scores[:, 1].max(axis=(0, 2))):
                return False
        return True

    return check(
        "05.4",
        [
            (
                isinstance(roles, dict) and set(roles) == set(right),
                f"`roles` should name each of {', '.join(right)}.",
            ),
            (
                lambda: set(roles.values()) <= {"scientific", "nuisance", "fixed"},
                "roles are scientific, nuisance or fixed.",
            ),
            (lambda: roles["dropout"] == "scientific", "scientific is what the question is about."),
            (
                lambda: roles["batch_size"] == "fixed",
                "what the machine dictates is fixed: the answer holds for it alone.",
            ),
            (
                lambda: roles == right,
                "what must be tuned anew for each dropout, so that the comparison is fair, is a nuisance.",
            ),
            (callable(dropout_effect), "`dropout_effect` should be a function."),
            (
                lambda: np.shape(dropout_effect(np.zeros((5, 3, 4, 2)))) == (4,),
                "one number for each dropout is wanted.",
            ),
            (
                agrees,
                "each dropout deserves its own best learning rate and weight decay, at the batch size of index 1.",
            ),
        ],
        [
            "fix the batch size first: scores[:, 1] has the axes rate, dropout, decay.",
            "optimise over nuisances: a maximum over their axes, not a mean.",
        ],
        "each dropout was judged at its own best.",
    )


def check_brackets(brackets: Callable[[int, int], Sequence[tuple[int, int]]]) -> Result:
    """Exercise 5.5: Hyperband's brackets (Li et al., 2018): (configurations, epochs of the first rung), boldest first."""

    def expected(most: int, keep: int) -> list[tuple[int, int]]:
        deepest = 0
        while keep ** (deepest + 1) <= most:
            deepest += 1
        return [
            (-(-(deepest + 1) * keep**depth // (depth + 1)), most // keep**depth)
            for depth in range(deepest, -1, -1)
        ]

    def agrees(most: int, keep: int) -> Callable[[], bool]:
        return lambda: (
            [tuple(map(int, each)) for each in brackets(most, keep)] == expected(most, keep)
        )

    return check(
        "05.5",
        [
            (callable(brackets), "a function is wanted."),
            (
                lambda: len(brackets(27, 3)) == 4,
                "27 epochs and a third kept: the first rung is 1, 3, 9 or 27 epochs.",
            ),
            (
                lambda: tuple(brackets(27, 3)[-1]) == (4, 27),
                "the most careful bracket trains 4 configurations to the end.",
            ),
            (agrees(27, 3), "27 epochs, a third kept: (27, 1), (12, 3), (6, 9), (4, 27)."),
            (
                agrees(81, 3),
                "81 epochs, a third kept: (81, 1), (34, 3), (15, 9), (8, 27), (5, 81).",
            ),
            (
                lambda: all(
                    agrees(keep**depth, keep)() for keep in (2, 3, 4, 5) for depth in range(1, 6)
                ),
                "right for these, but not in general: logarithms of floats round; 243 epochs and a third have six brackets.",
            ),
        ],
        [
            "s runs from s_max down to 0: ceil((s_max + 1) * keep**s / (s + 1)) configurations, most // keep**s epochs.",
            "s_max is the largest s with keep**s <= most; find it by counting.",
        ],
        "Hyperband does not know how far early scores can be trusted, so it spreads its bets.",
    )
