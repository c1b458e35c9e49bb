"""For notebooks/02_activations_and_losses.ipynb."""
