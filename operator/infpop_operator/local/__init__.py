"""Tuning on one machine: the loop around `core.decide`, and the checks that run before it starts."""
