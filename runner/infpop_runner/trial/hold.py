"""Hold a finished run until Prometheus has seen its last values: a process that is gone cannot be scraped.

The engine is closed and the result complete by then, so a run that is killed while it is held loses nothing. Its GPUs
wait with it: a run without any number is not held.
"""

from contextlib import suppress

from infpop_runner.contract import Measured, RunSpec
from infpop_runner.trial.environment import Environment
from infpop_runner.trial.journal import JournalError


def hold_for_scrape(spec: RunSpec, around: Environment) -> None:
    """Wait until a scrape has seen the final values, at most `spec.scrape_grace_seconds`, and note how long it took."""
    if not spec.scrape_grace_seconds or not _has_a_number(around):
        return
    start = around.clock()
    around.scrapes.hold(spec.scrape_grace_seconds)
    with suppress(JournalError):  # the result is there, and complete without it
        around.journal.note_held(around.clock() - start)


def _has_a_number(around: Environment) -> bool:
    return any(isinstance(trial, Measured) for trial in around.journal.result.trials)
