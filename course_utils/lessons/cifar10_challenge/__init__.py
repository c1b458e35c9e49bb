"""For notebooks/15_cifar10_challenge.ipynb."""
