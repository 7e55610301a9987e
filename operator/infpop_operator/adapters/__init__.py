"""The outside world, one small module for each part of it: stores, executors, devices, model and workload files."""
