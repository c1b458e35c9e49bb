"""For notebooks/07_gradient_diagnostics.ipynb."""
