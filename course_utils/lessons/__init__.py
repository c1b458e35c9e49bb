"""The lessons: one folder each, which knows the core and no other lesson."""
