"""The measuring side of InfPop: load one engine, measure trials, report results. It never searches or decides."""
