"""Results as a table, whatever they come from, and what follows from them: comparisons and statistics. No I/O."""
