"""The shared package of the course: everything the notebooks need, and nothing they should show.

The names that most notebooks use stand here; import the rest from where it stands.
"""

from .classroom.check import check, predict
from .engine.config import Config, sweep
from .engine.data import Dataset, Split
from .engine.history import History
from .engine.networks import make_cnn, make_mlp
from .engine.training import Run, epochs, fit, train
from .evidence import Estimate, accuracy, claim, difference, mean_interval
from .mnist import load_mnist, load_mnist_full

__all__ = [
    *("Config", "Dataset", "Estimate", "History", "Run", "Split", "accuracy", "check", "claim"),
    *("difference", "epochs", "fit", "load_mnist", "load_mnist_full", "make_cnn", "make_mlp"),
    *("mean_interval", "predict", "sweep", "train"),
]
