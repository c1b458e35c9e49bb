"""For notebooks/12_tune_small_train_large.ipynb."""
