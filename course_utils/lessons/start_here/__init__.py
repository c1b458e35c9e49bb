"""For notebooks/00_start_here.ipynb."""
