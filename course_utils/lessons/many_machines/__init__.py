"""For notebooks/14_many_machines.ipynb."""
