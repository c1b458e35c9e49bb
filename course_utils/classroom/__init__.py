"""What answers a learner: checks, predictions, labs, self-tests, progress, the glossary.

And what a teacher needs: the records of a class, read together.
"""

from .hand_in import collect, export

__all__ = ["collect", "export"]
