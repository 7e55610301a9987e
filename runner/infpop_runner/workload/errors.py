"""The error of a workload."""


class WorkloadError(Exception):
    """The requested prompts are not available; the message names the source, the value and the remedy."""
