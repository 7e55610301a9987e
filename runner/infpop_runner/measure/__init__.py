"""The rules for measuring a trial: what is timed, how often, and when a number is not comparable.

Pure. The engine and its clock come in as callables, so tests check every rule with plain values. Nothing in this
package depends on the engine, the source of the prompts or the destination of the results.
"""

from infpop_runner.measure.passes import cycle_prompts, pass_length
from infpop_runner.measure.prompts import IdPrompts, Prompts, SyntheticPrompts, TextPrompts, Vocabulary, other_ids
from infpop_runner.measure.statistics import peak_concurrency, percentile, round_significant, spread_ratio
from infpop_runner.measure.trial import TrialActions, TrialReport, find_flaw, measure_trial
from infpop_runner.measure.values import Interval, PassOutcome, Repeat, merge_repeats

__all__ = [
    "IdPrompts",
    "Interval",
    "PassOutcome",
    "Prompts",
    "Repeat",
    "SyntheticPrompts",
    "TextPrompts",
    "TrialActions",
    "TrialReport",
    "Vocabulary",
    "cycle_prompts",
    "find_flaw",
    "measure_trial",
    "merge_repeats",
    "other_ids",
    "pass_length",
    "peak_concurrency",
    "percentile",
    "round_significant",
    "spread_ratio",
]
