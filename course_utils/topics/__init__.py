"""What single notebooks need beyond the shared modules: their labs, exercise checks and longer helpers. Floor 7."""
