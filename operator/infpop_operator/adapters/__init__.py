"""The adapters to the outside world, one module each: stores, executors, devices, model and workload files."""
