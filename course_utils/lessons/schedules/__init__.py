"""For notebooks/04_schedules.ipynb."""
