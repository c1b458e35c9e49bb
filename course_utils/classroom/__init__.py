"""What answers a learner: checks, predictions, labs, progress and the glossary."""
