"""Tuning on one machine: the loop around the core's decision, and everything that has to be known before it starts."""
