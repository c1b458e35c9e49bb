"""The shared package of the course: everything the notebooks need, and nothing they should show themselves."""

from .config import Config
from .data import Dataset, Split, load_mnist, load_mnist_full
from .history import History
from .models import make_cnn, make_mlp
from .training import Run, fit, train

__all__ = ["Config", "Dataset", "History", "Run", "Split", "fit", "load_mnist", "load_mnist_full", "make_cnn", "make_mlp",
           "train"]
