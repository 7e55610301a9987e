"""The public API: the resource that users write, the status that InfPop writes, and their conversion to the core."""
