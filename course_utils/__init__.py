"""The shared package of the course: everything the notebooks need, and nothing they should show.

The names that most notebooks use stand here; import the rest from where it stands.
"""

from .claims import claim
from .classroom.predict import predict, review
from .classroom.progress import progress
from .classroom.self_test import self_test
from .cnn import make_cnn
from .engine.config import Config, sweep
from .engine.data import Dataset, Split
from .engine.history import History
from .engine.networks import make_mlp
from .engine.run import Run
from .engine.training import epochs, fit, train
from .evidence import Estimate, accuracy, difference, mean_interval
from .mnist import load_mnist, load_mnist_full
from .protocol import Arm, compare

__all__ = [
    "Arm",
    "Config",
    "Dataset",
    "Estimate",
    "History",
    "Run",
    "Split",
    "accuracy",
    "claim",
    "compare",
    "difference",
    "epochs",
    "fit",
    "load_mnist",
    "load_mnist_full",
    "make_cnn",
    "make_mlp",
    "mean_interval",
    "predict",
    "progress",
    "review",
    "self_test",
    "sweep",
    "train",
]
