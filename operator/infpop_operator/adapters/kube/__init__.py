"""Studies on a Kubernetes cluster: what is read of its objects, what is written, and what both mean.

`records`, `job_manifest`, `observe` and `node_pools` are pure; the client library is used in `client` and `connection`
alone.
"""
