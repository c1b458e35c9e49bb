"""For notebooks/11_fine_tuning.ipynb."""
