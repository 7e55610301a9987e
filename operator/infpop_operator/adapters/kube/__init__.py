"""The adapter to Kubernetes: which API objects are read and written, and what they mean for a study.

`records`, `job_manifest`, `observe` and `node_pools` are pure; only `client` and `connection` use the client library.
"""
