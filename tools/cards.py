"""Claim cards that are stored in notebooks: renewed when their robustness becomes known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import nbformat

from course_utils.claims import Claim, robustness_of
from course_utils.files import write


def mark_reached(repeated: list[dict[str, Any]], cards: list[dict[str, Any]]) -> None:
    """Note of each card of data/robustness.json, under "reached", whether the altered grids or
    epochs had any part in its experiment, as compared with the stored ``cards``.

    Longer training must have moved an effect. A wider grid need not: where training has a part,
    its choice may be the same as before. What is counted, timed or looked up is not trained.
    """
    plain = {(card["notebook"], card["id"]): _trained(card) for card in cards}
    moved = {
        (card["notebook"], card["id"], card["altered"])
        for card in repeated
        if _trained(card) != plain.get((card["notebook"], card["id"]))
    }
    for card in repeated:
        either = [card["altered"], "doubled"]
        card["reached"] = any((card["notebook"], card["id"], each) in moved for each in either)


def _trained(card: dict[str, Any]) -> list[tuple[float, float, float]]:
    """The intervals of its effects, without those that are timed, which no two runs share."""
    return [
        (effect["value"], effect["low"], effect["high"])
        for effect in card["effects"]
        if "seconds" not in effect["name"] and "measured" not in effect["covers"]
    ]


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
