"""For notebooks/13_time_and_tracking.ipynb."""
