"""For notebooks/01_initialisation.ipynb."""
