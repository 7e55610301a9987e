"""One run from start to end: prompts, engine load, trials, result.

Ties the parts together and decides what each failure means for the rest of the run. It reads no environment and no
wall clock: `Surroundings` brings them.
"""

from infpop_runner.trial.journal import Journal, JournalError
from infpop_runner.trial.run import carry_out
from infpop_runner.trial.surroundings import Surroundings

__all__ = ["Journal", "JournalError", "Surroundings", "carry_out"]
