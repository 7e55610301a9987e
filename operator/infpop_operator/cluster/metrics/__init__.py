"""The metrics that Prometheus scrapes from the operator: its own counters, and the series of each study."""
