"""For notebooks/16_claims.ipynb."""
