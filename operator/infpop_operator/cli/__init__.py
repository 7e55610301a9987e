"""The command line: reads arguments and the environment, calls, prints, and chooses the exit code."""
