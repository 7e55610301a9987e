"""The operator without its framework: the cache of cluster objects, the work queue of studies, and the reconciler.

Nothing here imports kopf: `handlers` only passes on watch events. A pass over a study observes its runs, calls
`core.decide` and carries out the decision. All state that the operator needs after a restart is in the cluster.
"""
