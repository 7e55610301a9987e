"""The exit codes of `infpop` and their documentation."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit code of a command. The values are stable, because scripts depend on them."""

    FOUND = 0
    INTERNAL_ERROR = 1
    BAD_INPUT = 2
    NO_RECOMMENDATION = 3
    INTERRUPTED = 130  # 128 + SIGINT, as in shells


# One paragraph for each code, because the help output joins single lines.
DOCUMENTATION = """Exit codes:

  0  done; for tune: the best configuration was found; for status and show: the study is unfinished, or has found it

  1  InfPop itself failed, it could no longer write to its directory, or the cluster does not answer

  2  bad input, nothing was started

  3  the study ended early or without a configuration to recommend, or it cannot continue by itself; for export: it has
no result that will stay; for compare: the two must not be compared

130  interrupted; run the same command again to resume
"""
