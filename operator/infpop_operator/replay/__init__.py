"""Replay recorded landscapes through `core.decide`: what a search would have tried, and what that would have cost.

Nothing is measured, and no run is started: every number comes from a table. The decisions are those of the operator.
"""
