"""The shared package of the course: everything the notebooks need, and nothing they should show themselves.

Import the rest from where it stands: ``course_utils.models``, ``.plots``, ``.labs``, ``.diagnostics``, ``.search``.
"""

from .checks import check, predict
from .config import Config
from .data import Dataset, Split, load_mnist, load_mnist_full
from .evidence import Estimate, accuracy, claim, difference, mean_interval
from .history import History
from .models import make_cnn, make_mlp
from .training import Run, fit, train

__all__ = ["Config", "Dataset", "Estimate", "History", "Run", "Split", "accuracy", "check", "claim", "difference", "fit",
           "load_mnist", "load_mnist_full", "make_cnn", "make_mlp", "mean_interval", "predict", "train"]
