"""Claim cards that are stored in notebooks: renewed when their robustness becomes known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import nbformat

from course_utils.claims import Claim, robustness_of
from course_utils.files import write


def renew_cards(path: Path, repeated: list[dict[str, Any]]) -> None:
    """Let each stored card say what ``repeated`` (the cards of data/robustness.json) says of it, as
    it would if its cell ran again. A card's words follow from its data."""
    notebook = nbformat.read(path, as_version=4)
    before = nbformat.writes(notebook)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if (stored := output.get("metadata", {}).get("claim")) is None:
                continue
            card = Claim.from_dict(stored)
            tried = robustness_of(card.id, list(card.effects), card.verdict, repeated)
            texts, about = dataclasses.replace(card, robustness=tried)._repr_mimebundle_()
            output.data.update(texts)
            output.metadata.update(about)
    if (after := nbformat.writes(notebook)) != before:
        write(path, after.rstrip("\n") + "\n")
