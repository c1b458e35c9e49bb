"""One lab's recording: which settings, how a picture is packed, and the files that a page shows.

A recording is a folder: ``lab.html``, which goes into the page; ``recording.js``, with the words
and the code of every setting; and a picture for each. ``replay`` in ``lab.js`` steps through them.
"""

from __future__ import annotations

import html
import io
import itertools
import json
import math
import os
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from PIL import Image

MOST_SETTINGS = 170  # pictures of a lab
MOST_BYTES = 3_000_000  # of a lab, with everything
COLOURS = 64  # of a picture; curves and letters need no more
Places = tuple[int, ...]  # the option that each control stands at


def settings(counts: Sequence[int], start: Places, most: int = MOST_SETTINGS) -> list[Places]:
    """The settings to record, the start first: all of them, if they are at most ``most``.

    Else every control is moved alone, away from the start; and the first two, which a lab lists
    first because they tell the most, together: all their pairs if there is room, else their
    corners.
    """
    if math.prod(counts) <= most:
        chosen = list(itertools.product(*map(range, counts)))
    else:
        chosen = [
            (*start[:control], place, *start[control + 1 :])
            for control, count in enumerate(counts)
            for place in range(count)
        ]
        pairs = list(itertools.product(range(counts[0]), range(counts[1])))
        if len(pairs) + len(chosen) > most:
            pairs = list(itertools.product((0, counts[0] - 1), (0, counts[1] - 1)))
        chosen += [(*pair, *start[2:]) for pair in pairs]
    return list(dict.fromkeys([start, *chosen]))


def packed(png: bytes) -> bytes:
    """A lab's picture as a WebP image of few colours, its ground still transparent."""
    few = Image.open(io.BytesIO(png)).convert("RGBA").quantize(COLOURS, Image.Quantize.FASTOCTREE)
    out = io.BytesIO()
    few.convert("RGBA").save(out, "webp", lossless=True, quality=100, method=4)
    return out.getvalue()


def about(counts: Sequence[int], recorded: int) -> str:
    """When and on what a recording was made, and which settings it has."""
    from importlib.metadata import version

    total = math.prod(counts)
    share = "all" if recorded == total else f"{recorded} of"
    today = date.today()
    text = f"Recorded on {today.day} {today:%B %Y}"
    text += f" with PyTorch {version('torch').partition('+')[0]} on {platform.system()}, "
    text += f"{os.cpu_count()} processors: {share} {total:,} settings, every one a real run."
    if recorded < total:
        text += (
            " Recorded is each control moved alone, and the first two together; where a setting is "
            "missing, the nearest one that has your last move is shown."
        )
    return text


def write_files(
    folder: Path,
    look: dict[str, Any],
    states: dict[Places, dict[str, Any]],
    pictures: dict[Places, bytes],
    words: str,
    made_from: str,
) -> int:
    """Write a recording into ``folder``, which exists; returns its bytes.

    states    {setting: {"text", "code", "table"}}, the start first
    Raises ValueError when it is heavier than ``MOST_BYTES``.
    """
    shown = {}
    for number, (places, state) in enumerate(states.items()):
        name = f"{number}.webp"
        (folder / name).write_bytes(pictures[places])
        shown[",".join(map(str, places))] = {**state, "picture": name}
    start = next(iter(states))
    recording = {
        "look": {**look, "recorded": True},
        "start": list(start),
        "about": words,
        "states": shown,
    }
    text = json.dumps(recording, ensure_ascii=False, separators=(",", ":"))
    script = f"(globalThis.courseRecordings ??= {{}})[{json.dumps(folder.name)}] = {text};\n"
    (folder / "recording.js").write_text(script, encoding="utf-8", newline="\n")
    first = states[start]["text"]
    page = (
        f'<div class="lab-recording" data-name="{html.escape(folder.name)}" '
        f'data-folder="{{folder}}" data-made-from="{made_from}">'
        f'<img src="{{folder}}/0.webp" width="{look["width"]}" height="{look["height"]}" '
        f'loading="lazy" alt="{html.escape(look["name"] + ". " + first)}">'
        f"<p>{html.escape(words)}</p></div>\n"
    )
    (folder / "lab.html").write_text(page, encoding="utf-8", newline="\n")
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size > MOST_BYTES:
        raise ValueError(f"{folder.name}: takes at most {MOST_BYTES:,} bytes, got {size:,}")
    return size
