"""Notebook 15, the CIFAR-10 challenge: photographs, recipes for them, and the examination."""
