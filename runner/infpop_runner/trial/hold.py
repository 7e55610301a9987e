"""Hold a finished run until Prometheus has scraped its final values: a process that has exited cannot be scraped.

The engine is closed and the result complete by then, so a run that is killed during the hold loses nothing. The run
keeps its GPUs allocated during the hold, so a run without any number is not held.
"""

from contextlib import suppress

from infpop_runner.contract import Measured, RunSpec
from infpop_runner.trial.environment import Environment
from infpop_runner.trial.journal import JournalError


def hold_for_scrape(spec: RunSpec, environment: Environment) -> None:
    """Wait until a scrape has read the final values, at most `spec.scrape_grace_seconds`, and record the time."""
    if not spec.scrape_grace_seconds or not _has_a_number(environment):
        return
    start = environment.clock()
    environment.scrapes.hold(spec.scrape_grace_seconds)
    with suppress(JournalError):  # the result is complete without this field
        environment.journal.note_held(environment.clock() - start)


def _has_a_number(environment: Environment) -> bool:
    return any(isinstance(trial, Measured) for trial in environment.journal.result.trials)
