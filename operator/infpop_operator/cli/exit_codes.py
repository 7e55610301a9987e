"""The exit codes of `infpop` and their documentation."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit code of a command. The values are stable, because scripts depend on them."""

    FOUND = 0
    INTERNAL_ERROR = 1
    BAD_INPUT = 2
    NO_RECOMMENDATION = 3
    INTERRUPTED = 130  # 128 + SIGINT, as in shells


_NO_ANSWER = "InfPop itself failed, or the cluster does not answer"
_CANNOT_GO_ON = "the study ended early or without a configuration to recommend, or it cannot continue by itself"


def documentation(
    *,
    done: str = "done",
    failed: str | None = "InfPop itself failed",
    bad: str | None = "bad input, nothing was started",
    without: str | None = None,
    interrupted: str | None = None,
) -> str:
    """Return what the exit codes of a command mean, for the end of its help; None: it has no such code.

    Each code has a paragraph, because the help joins single lines.
    """
    meanings = {
        ExitCode.FOUND: done,
        ExitCode.INTERNAL_ERROR: failed,
        ExitCode.BAD_INPUT: bad,
        ExitCode.NO_RECOMMENDATION: without,
        ExitCode.INTERRUPTED: interrupted,
    }
    lines = (f"{code.value:>3}  {meaning}" for code, meaning in meanings.items() if meaning is not None)
    return "\n\n".join(("Exit codes:", *lines))


ALL = documentation(
    failed=_NO_ANSWER,
    without="there is no result, or none that lasts: the help of each command says when",
    interrupted="interrupted",
)
SIMPLE = documentation(bad="bad input")
TUNE = documentation(
    done="the best configuration was found",
    failed="InfPop itself failed, or it could no longer write to its directory",
    without="the study ended early or without a configuration to recommend",
    interrupted="interrupted; run the same command again to resume",
)
VALIDATE = documentation(done="every study can be tuned", bad="at least one cannot")
STUDY = documentation(
    done="the study is unfinished, or has found its best configuration",
    failed=_NO_ANSWER,
    bad="bad input",
    without=_CANNOT_GO_ON,
)
COMPARE = documentation(failed=_NO_ANSWER, bad="bad input", without="the two must not be compared")
EXPORT = documentation(failed=_NO_ANSWER, bad="bad input", without="the study has no result that will stay")
RESULTS = documentation(failed=_NO_ANSWER, bad="bad input")
