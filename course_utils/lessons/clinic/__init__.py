"""For notebooks/08_clinic.ipynb."""
