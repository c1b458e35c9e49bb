"""Instruments for a network's inside: what each layer puts out, the gradient that reaches it.

All take a plain module (``history.model(k)``, ``run.model(k)``, or your own) and leave it as it
was. Notebook 07 is about them.
"""

from .instruments import Instruments
from .layers import inspect_layers, layer_gradients, layer_outputs, saturation
from .nonfinite import first_nonfinite

__all__ = [
    "Instruments",
    "first_nonfinite",
    "inspect_layers",
    "layer_gradients",
    "layer_outputs",
    "saturation",
]
