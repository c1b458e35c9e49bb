"""TensorBoard's event files, read back: what stands in them is what its page can show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

METRIC = "hparam/val_accuracy"
KINDS = ("scalars", "graph", "histograms")
CLAIMED = {"loss curves": "scalars", "model structure": "graph", "histograms": "histograms"}


def runs_below(folder: str | Path) -> Iterator[tuple[str, Any]]:
    """(name of the run, its events), for each folder with event files below ``folder``."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for run in sorted({path.parent for path in Path(folder).rglob("events.out.tfevents*")}):
        events = EventAccumulator(str(run), size_guidance={"scalars": 0})
        events.Reload()
        yield run.relative_to(folder).as_posix(), events


def event_table(folder: str | Path) -> pd.DataFrame:
    """What was logged: for each run its number of tags of each kind, and of points of curves."""
    rows = []
    for name, events in runs_below(folder):
        tags = events.Tags()
        rows.append(
            {
                "run": name,
                "scalars": len(tags["scalars"]),
                "histograms": len(tags["histograms"]),
                "graph": int(tags["graph"]),
                "points": sum(len(events.Scalars(tag)) for tag in tags["scalars"]),
            }
        )
    return pd.DataFrame(rows, columns=["run", *KINDS, "points"]).set_index("run")


def settings_table(folder: str | Path) -> pd.DataFrame:
    """What TensorBoard's HParams page will show: one row for each run that logged its settings."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    rows = []
    for name, events in runs_below(folder):
        content = events.summary_metadata.get("_hparams_/session_start_info")
        if content is None:
            continue
        data = HParamsPluginData.FromString(content.plugin_data.content)
        settings = data.session_start_info.hparams
        row = {"run": name} | {each: settings[each].number_value for each in sorted(settings)}
        row |= {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}
        rows.append(row)
    return pd.DataFrame(rows).set_index("run") if rows else pd.DataFrame()


def common_range(table: pd.DataFrame, metric: str, best: int = 8) -> pd.Series:
    """[setting]: over which share of its range the best runs are spread; learning rates by decade.

    Small means that the best runs agree about this setting.
    """
    shares = {}
    for name in table.columns.drop(metric):
        values = np.log10(table[name]) if name == "learning_rate" else table[name]
        chosen = values[table[metric].nlargest(best).index]
        shares[name] = float(np.ptp(chosen) / np.ptp(values))
    return pd.Series(shares, name="share of the range")
