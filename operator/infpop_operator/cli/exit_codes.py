"""What the exit codes of `infpop` mean."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Stable: scripts depend on them."""

    FOUND = 0
    INTERNAL_ERROR = 1
    BAD_INPUT = 2
    NO_RECOMMENDATION = 3
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it


# A paragraph for each: the help joins single lines.
DOCUMENTATION = """Exit codes:

  0  done; for tune: the best configuration was found; for status: the study goes on, or has found it

  1  InfPop itself failed, its directory could not be written any more, or the cluster does not answer

  2  bad input, nothing was started

  3  the study ended early, or without a configuration to recommend, or cannot go on by itself

130  interrupted; run the same command again to resume
"""
