"""The engine: one run is a stack of runs. Begin with ``training``, and follow its imports down."""
