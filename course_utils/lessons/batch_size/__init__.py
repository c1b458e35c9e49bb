"""For notebooks/05_batch_size.ipynb."""
