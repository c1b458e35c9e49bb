"""Fair comparisons of stored runs: as ``compare`` makes them, but nothing is trained.

Notebook 15, sections 2, 4, 5 and 8.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from ...engine.history import History
from ...evidence import Estimate, epochs_to
from ...protocol import Trial, edges
from .recipes import ladder
from .records import Record, Stored, to_history

FIELD = "learning_rate"
STORED_RUNS = "these runs are stored, and were not repeated with wider grids or longer training"


def rungs(stored: Stored) -> dict[str, History]:
    """{lever: runs on ten thousand photographs with it and all levers before it}, the same seeds on
    each rung. The two last are one training, asked for one view of each image and for six."""
    *_, one_view, six_views = ladder()
    records = stored.records[f"rung, {six_views}"]
    found = stored.starting("rung, ") | {one_view: to_history(records, views=False)}
    return {lever: found[lever] for lever in ladder()}


def schedules(stored: Stored) -> Trial:
    """``compare`` on stored runs of FAST on all photographs: a constant rate and triangles, each at
    the rate that seeds of its own and every other validation image chose; the rest judge."""
    tuning, judged = {}, {}
    for arm in ("constant", "cyclic"):
        tried = [name for name in stored if name.startswith(f"tuning, {arm} ")]
        tuning[arm] = [_half(record, 0) for name in tried for record in stored.records[name]]
        judged[arm] = [_half(record, 1) for record in _at_the_choice(stored, arm, tuning[arm])]
    return _trial(tuning, judged)


def _at_the_choice(stored: Stored, arm: str, tuning: list[Record]) -> list[Record]:
    """The judged runs of one schedule at the rate that its tuning chose."""
    chosen = _best(to_history(tuning))
    judged = [each for name, each in stored.records.items() if name.startswith(f"judged, {arm}")]
    return next(runs for runs in judged if runs[0].facts["settings"][FIELD] == chosen)


def tried(trial: Trial, target: float = 0.8) -> pd.DataFrame:
    """What the tuning runs reached, one column for each rate: accuracy on the images that chose,
    and the first epoch at the target, by all images; a dash where no epoch was."""
    rows: dict[str, dict[float, str]] = {}
    for arm, runs in trial.tuning.items():
        for rate, each in runs.by(FIELD).items():
            share, epochs = each.val_correct.mean(), epochs_to(each, target).mean()
            reached = f"{epochs:g}" if epochs <= each.val_accuracy.shape[1] else "–"
            rows.setdefault(f"{arm}: accuracy in %", {})[rate] = f"{100 * share:.1f}"
            rows.setdefault(f"{arm}: epochs to {100 * target:g} %", {})[rate] = reached
    return pd.DataFrame(rows).T.sort_index(axis=1).rename_axis(columns="rate").fillna("")


def of_stored_runs(effects: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Effects for a card, which says that nothing was trained for it now."""
    return {name: effect.flagged(STORED_RUNS) for name, effect in effects.items()}


def replay(
    stored: Stored,
    arms: Mapping[str, str],
    *,
    tune: Mapping[str, Sequence[float]],
    tuning_seeds: Iterable[int],
    seeds: Iterable[int],
) -> Trial:
    """``compare`` on the bank of stored runs of five thousand photographs.

        replay(stored, {"crop": "crop", "crop and flip": "crop_flip"},
               tune={"learning_rate": [0.4, 0.8, 1.6]}, tuning_seeds=[4], seeds=[0, 1, 5])

    ``arms`` names the augmentation of each side: "none", "crop" or "crop_flip". As in ``compare``,
    every other validation image chooses, and the rest judge. Raises ValueError for what is not
    stored, for fewer than two arms, and for seeds that would both choose and judge.
    """
    judges, choosers = list(seeds), list(tuning_seeds)
    if len(arms) < 2:
        raise ValueError(f"arms: got {len(arms)}, takes two or more")
    if both := sorted(set(judges) & set(choosers)):
        raise ValueError(f"seeds, tuning_seeds: {both} stand in both; who chooses must not judge")
    for name, given in {"seeds": judges, "tuning_seeds": choosers}.items():
        if not given:
            raise ValueError(f"{name}: got none, takes one or more")
    if set(tune) != {FIELD} or not len(tune[FIELD]):
        raise ValueError(f"tune: got {dict(tune)}, takes {FIELD} with one value or more")
    bank = [
        record
        for name, records in stored.records.items()
        if name.startswith("bank, ")
        for record in records
    ]
    tuning, judged = {}, {}
    for arm, augment in arms.items():
        tuning[arm] = [
            _half(_only(bank, augment, rate, seed), 0) for rate in tune[FIELD] for seed in choosers
        ]
        rate = _best(to_history(tuning[arm]))
        judged[arm] = [_half(_only(bank, augment, rate, seed), 1) for seed in judges]
    return _trial(tuning, judged)


def _only(bank: list[Record], augment: str, rate: float, seed: int) -> Record:
    """The run with these settings. Raises ValueError where there is none, saying what there is."""
    kinds: dict[str, dict[int, dict[float, Record]]] = {}
    for record in bank:
        settings = record.facts["settings"]
        runs = kinds.setdefault(settings["augment"] or "none", {})
        runs.setdefault(settings["seed"], {})[settings[FIELD]] = record
    if augment not in kinds:
        raise ValueError(f"arms: got {augment!r}, takes one of {', '.join(kinds)}")
    rates = kinds[augment].get(seed, {})
    if rate in rates:
        return rates[rate]
    there = ", ".join(f"{each:g}" for each in rates)
    known = ", ".join(map(str, sorted(kinds[augment])))
    told = f"seed {seed} was trained at {there}" if rates else f"stored are the seeds {known}"
    raise ValueError(
        f"tune, seeds: no run of {augment!r} at rate {rate} with seed {seed} is stored; {told}"
    )


def _half(record: Record, start: int) -> Record:
    """The same run, judged by every other validation image."""
    return Record(record.facts, record.lines, record.correct[:, start::2])


def _best(runs: History) -> float:
    return runs.best(FIELD).configs[0].learning_rate


def _trial(tuning: Mapping[str, list[Record]], judged: Mapping[str, list[Record]]) -> Trial:
    choosing = {arm: to_history(records) for arm, records in tuning.items()}
    judging = {arm: to_history(records) for arm, records in judged.items()}
    chosen, updates, flags, tried = {}, {}, {}, {}
    for arm, runs in choosing.items():
        rates, config = sorted(runs.by(FIELD)), judging[arm].configs[0]
        chosen[arm], tried[arm] = {FIELD: _best(runs)}, len(rates)
        flags[arm] = edges(chosen[arm], {FIELD: rates})
        images = judged[arm][0].facts["training_images"]
        updates[arm] = config.epochs * math.ceil(images / config.batch_size)
    return Trial(chosen, choosing, judging, tried, updates, flags)
