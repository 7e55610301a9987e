"""One run from start to end: prompts, engine load, trials, result.

Ties the parts together and decides what each failure means for the rest of the run. It reads no environment and no
wall clock: `Environment` brings them.
"""

from infpop_runner.trial.environment import Environment
from infpop_runner.trial.journal import Journal, JournalError
from infpop_runner.trial.run import execute_run

__all__ = ["Environment", "Journal", "JournalError", "execute_run"]
