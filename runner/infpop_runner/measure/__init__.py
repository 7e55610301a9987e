"""The rules for measuring a trial: what is timed, how often, and when a number is not comparable.

Pure. The engine and its clock come in as callables, so tests check every rule with plain values. Nothing in this
package depends on the engine, the source of the prompts or the destination of the results.
"""

from infpop_runner.measure.adaptive import AdaptivePlan, measure_adaptively
from infpop_runner.measure.order import representative_order, take
from infpop_runner.measure.passes import (
    FULL_BATCHES_PER_PASS,
    extended_length,
    pass_length,
    sequential_batch_seconds,
    steady_batch_seconds,
)
from infpop_runner.measure.prompts import IdPrompts, Prompts, SyntheticPrompts, TextPrompts, Vocabulary, other_ids
from infpop_runner.measure.statistics import peak_concurrency, percentile, round_significant, spread_ratio
from infpop_runner.measure.trial import TrialActions, measure_trial
from infpop_runner.measure.validation import TrialReport, find_flaw
from infpop_runner.measure.values import Block, Interval, PassOutcome, Repeat, merge_repeats

__all__ = [
    "FULL_BATCHES_PER_PASS",
    "AdaptivePlan",
    "Block",
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
    "extended_length",
    "find_flaw",
    "measure_adaptively",
    "measure_trial",
    "merge_repeats",
    "other_ids",
    "pass_length",
    "peak_concurrency",
    "percentile",
    "representative_order",
    "round_significant",
    "sequential_batch_seconds",
    "spread_ratio",
    "steady_batch_seconds",
    "take",
]
