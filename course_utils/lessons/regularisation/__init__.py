"""For notebooks/06_regularisation.ipynb."""
