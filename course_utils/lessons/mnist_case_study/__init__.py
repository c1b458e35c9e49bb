"""For notebooks/10_mnist_case_study.ipynb."""
