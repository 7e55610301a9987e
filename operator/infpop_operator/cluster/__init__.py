"""The operator without its framework: what is known of the cluster, the queue of studies to look at, and the step.

Nothing here knows kopf: `handlers` only tells what changed. A study's step observes, asks `core.decide`, and carries
out; everything needed to go on is in the cluster.
"""
