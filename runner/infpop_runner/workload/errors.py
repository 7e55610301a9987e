"""What can be wrong with a workload."""


class WorkloadError(Exception):
    """The prompts cannot be had as asked for; the message names the source, the value and the remedy."""
