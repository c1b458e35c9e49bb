"""For notebooks/03_learning_rate.ipynb."""
