"""The self-tests' right answers, held against what the notebooks measured and stored.

Where an answer rests on an effect of a claim card, the card must still bear it: a lesson that
finds something else has to change its question as well.
"""

from __future__ import annotations

import json

import pytest

from course_utils.classroom.self_test import questions
from course_utils.files import DATA_FOLDER

# {question: [(lesson and claim, effect, "above" or "below", what the answer says of its interval)]}
BEARS = {
    "01.q-units": [
        ("01 WB3", "standardised", "above", 0),
        ("01 WB3", "random units", "below", 0),
        ("01 WB3", "random units, weight × spread", "above", 0.5),
    ],
    "01.q-apart": [("01 WB1", "equal, with dropout", "above", 2)],
    "02.q-swap": [("02 GD2", "tanh against ReLU with nn.Linear's", "below", -1)],
    "02.q-late": [
        ("02 AF1", "six, 5 epochs", "above", 0.1),
        ("02 AF1", "six, 30 epochs", "below", 0.1),
    ],
    "02.q-squared": [
        ("02 AF2", "N(0, 1) start, 5 epochs", "above", 0.1),
        ("02 AF2", "He start, 5 epochs", "below", 0.1),
    ],
    "03.q-walls": [
        ("03 LR1", "ten times too large", "above", 0.1),
        ("03 LR1", "thirty times too small, ten times as long", "below", 0.1),
    ],
    "04.q-restart": [("04 LR3", "1st restart, tuned peak", "below", 0.1)],
    "04.q-average": [("04 NW3", "exponential average", "above", -0.01)],
    "05.q-clock": [
        ("05 BS1", "fewer updates", "below", 1),
        ("05 BS1", "fewer epochs", "above", 1),
    ],
    "05.q-memory": [
        ("05 BS2", "memory of 512, dense, two layers of 1024", "below", 2),
        ("05 BS2", "memory of 512, convolutional, width 8", "above", 2),
    ],
    "06.q-gap": [
        ("06 RG1", "gap closed, 30 % wrong labels", "above", 0),
        ("06 RG1", "accuracy gained, 30 % wrong labels", "below", 0.01),
    ],
    "06.q-honest": [("06 RG4", "validation accuracy gained", "below", 0)],
    "06.q-early-stop": [
        ("06 RG6", "30 % wrong, ten times that rate", "above", 0.02),
        ("06 RG6", "30 % wrong, the best rate", "below", 0.02),
    ],
    "06.q-adam-decay": [
        ("06 RG2", "Adam, twice 0.01", "below", 1e-3),
        ("06 RG2", "AdamW, its nearest", "above", 0.1),
    ],
    "07.q-sign": [("07 GD1", "failing networks that have it", "below", 0.9)],
    "07.q-ratio": [
        ("07 GD5", "SGD, 5 epochs", "above", 0.5),
        ("07 GD5", "SGD, 60 epochs", "below", 0.5),
    ],
    "09.q-knowledge": [
        ("09 SR1", "4 learning rates, 2, 2", "below", 0),
        ("09 SR1", "4 dropouts, 2, 2", "above", 0),
    ],
    "10.q-chart": [
        ("10 CS2", "patient A", "below", 0),
        ("10 CS2", "patient B", "above", 0),
    ],
    "10.q-mistakes": [
        ("10 CS5", "patient A", "above", 1),
        ("10 CS5", "eight sigmoid layers", "below", 1e-6),
    ],
    "10.q-box": [("10 CS4", "patient A", "below", 0.95), ("10 CS4", "patient B", "below", 0.95)],
    "11.q-frozen": [
        ("11 WB5", "tilted digits, 500 labels", "below", -0.01),
        ("11 WB5", "new digits, 500 labels", "below", -0.01),
    ],
    "11.q-layer-wise": [
        ("11 WB4", "then: over plain sigmoid, SGD", "above", 0),
        ("11 WB4", "now: over ReLU and He", "below", 0),
    ],
    "12.q-carry": [
        ("12 NW1", "standard", "above", 1),
        ("12 NW1", "standard, 32 to 1,024", "above", 1),
    ],
    "12.q-decay": [
        ("12 NW7", "plain", "above", -0.5),
        ("12 NW7", "plain", "below", 0.2),
        ("12 NW7", "layer normalisation", "below", -0.2),
    ],
    "12.q-law": [("12 NW6", "width", "above", 0)],
    "12.q-halfway": [
        ("12 NW4", "2 epochs", "above", 0),
        ("12 NW4", "6 epochs", "below", 0.01),
    ],
    "13.q-logger": [("13 LG1", "histograms", "below", 0.5)],
    "14.q-overhead": [
        ("14 SR6", "Ray, a process each, short", "below", 0.25),
        ("14 SR6", "Ray, a process each, 10 s", "above", 0.25),
    ],
    "14.q-rival": [("14 NS1", "all twelve, over one epoch each", "below", 0)],
    "15.q-hint": [
        ("15 CF2", "SGD", "below", 0.8),
        ("15 CF1", "FAST, cyclic", "above", 0.8),
        ("15 CF1", "baseline, constant", "below", 0.8),
    ],
}


def effects() -> dict[tuple[str, str], dict]:
    """{(lesson and claim, effect): its stored interval}."""
    cards = json.loads((DATA_FOLDER / "claims.json").read_text(encoding="utf-8"))
    return {
        (f"{card['notebook'][:2]} {card['id']}", effect["name"]): effect
        for card in cards
        for effect in card["effects"]
    }


@pytest.mark.parametrize("question", BEARS)
def test_what_was_measured_bears_the_right_answer(question):
    assert question in {each.id for each in questions(question[:2])}
    stored = effects()
    for claim, effect, side, limit in BEARS[question]:
        interval = stored[claim, effect]
        held = interval["low"] > limit if side == "above" else interval["high"] < limit
        assert held, f"{question}: {claim}, {effect} is no longer {side} {limit}: {interval}"
