"""The first lab of the course."""

from __future__ import annotations

from ...classroom.controls import slider
from ...classroom.lab import Lab
from ...classroom.training_lab import rates, training_lab
from ...engine.data import Dataset


def first_lab(dataset: Dataset) -> Lab:
    """Learning rate and width; eight networks, plain SGD for ten epochs."""
    controls = {
        "learning_rate": slider("learning rate", rates(1e-3, 100.0), 0.1),
        "width": slider("width", [1, 2, 4, 8, 16, 32, 64, 128], 32),
    }
    return training_lab(
        dataset,
        controls,
        name="loss and accuracy of eight networks in training",
        live=["learning_rate"],
        optimizer="sgd",
        epochs=10,
    )
