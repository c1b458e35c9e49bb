"""For notebooks/09_search_methods.ipynb."""
