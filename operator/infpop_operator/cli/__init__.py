"""The command line `infpop`: reads arguments and the environment, runs a command, prints, and sets the exit code."""
