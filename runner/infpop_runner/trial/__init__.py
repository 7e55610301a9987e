"""Execute one run from start to end: prompts, engine load, trials, result.

It connects the other packages and decides what each failure means for the rest of the run. It reads no environment
variable and no wall clock: `Environment` provides them.
"""

from infpop_runner.trial.environment import Environment
from infpop_runner.trial.journal import Journal, JournalError
from infpop_runner.trial.run import execute_run

__all__ = ["Environment", "Journal", "JournalError", "execute_run"]
