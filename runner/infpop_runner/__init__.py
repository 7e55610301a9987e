"""The measuring side of InfPop: load one engine, measure trials, say what happened. It searches and decides nothing."""
