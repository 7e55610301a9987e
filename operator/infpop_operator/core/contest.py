"""What the contest for the best of a round looks at, and the number of its winner.

`core.confirmation` says what is measured when; here are the parts that it shares with `core.challenge`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from infpop_operator.core import objective
from infpop_operator.core.confirming_loads import Loads, Why, combined, loads_of
from infpop_operator.core.constraints import violations
from infpop_operator.core.load_noise import LoadNoise, load_noise
from infpop_operator.core.metric_values import missing_metrics
from infpop_operator.core.model import History, Round, Trial
from infpop_operator.core.study import Pool, Study
from infpop_runner.contract import Measured

CONSTRAINT_BROKEN = "ConstraintBroken"  # reason of a number that breaks a constraint of its study
METRIC_MISSING = "MetricMissing"  # the objective or a constraint needs the metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """How far a round is with measuring its best again.

    `due` are the trials of which another load may start now, the most urgent first. `loads` of at most `planned` loads
    have a number. `winner` and `baseline` are trials with the numbers of their loads: None until all loads have ended,
    and `baseline` too if there is none to compare with. `contest` are the candidates with the numbers that decided.
    `lost` are the trials, by index, that did not survive a fresh load, each with the reason. `blocked` says why nothing
    can be confirmed. `fresh` are the configurations with the numbers of their fresh loads, but for the winner, once one
    that had its number was challenged. `unchecked` still clearly beats the winner by its own number, but as many others
    as may be have challenged it already.
    """

    due: tuple[Loads, ...] = ()
    loads: int = 0
    planned: int = 0
    winner: Trial | None = None
    baseline: Trial | None = None
    contest: tuple[Trial, ...] = ()
    lost: Mapping[int, Why]
    blocked: Why | None = None
    fresh: tuple[Trial, ...] = ()
    unchecked: Trial | None = None

    @property
    def is_over(self) -> bool:
        """Whether no further load is wanted."""
        return self.winner is not None or self.blocked is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """The inputs: a round, its trials that count, and what has been measured again of each that has been."""

    study: Study
    pool: Pool
    history: History
    round: Round
    trials: tuple[Trial, ...]
    choosing_loads: int
    number_loads: int  # 0: the best need only be measured in full, once

    def loads(self, trial: Trial) -> Loads:
        """Return what has been measured again of a trial."""
        return loads_of(self.history, self.round, trial)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The winner or the baseline: `first` of its loads have decided the choice, and are not part of its number."""

    loads: Loads
    first: int

    @property
    def index(self) -> int:
        """Its trial."""
        return self.loads.trial.index

    @property
    def fresh(self) -> tuple[Trial, ...]:
        """The loads that its number is the mean of."""
        return self.loads.measured[self.first :]

    @property
    def started(self) -> int:
        """How many of these have a number or are under way."""
        return len(self.fresh) + self.loads.live


@dataclass(frozen=True, slots=True, kw_only=True)
class Noises:
    """How much loads differ in this round: in their throughput, and in their objective value."""

    of_throughput: LoadNoise | None
    of_value: LoadNoise | None

    @classmethod
    def of(cls, contest: Contest, measured: Sequence[Loads]) -> Self:
        """Return the noise that all numbers of some configurations show, those of the search included."""
        distinct = {each.trial.index: each for each in measured}
        return cls.of_groups(contest, (_numbers(each) for each in distinct.values()))

    @classmethod
    def of_groups(cls, contest: Contest, measured: Iterable[Sequence[Trial]]) -> Self:
        """Return the noise that groups of loads show, each of one configuration."""
        groups = tuple(measured)
        return cls(
            of_throughput=load_noise([_tokens(group) for group in groups]),
            of_value=load_noise([_values(contest, group) for group in groups]),
        )

    def combined(self, loads: Sequence[Trial]) -> Trial:
        """Return a trial with the mean of some loads of it, and what that is worth."""
        return combined(loads, of_throughput=self.of_throughput, of_value=self.of_value)


def _numbers(loads: Loads) -> tuple[Trial, ...]:
    """Return a trial with each of its numbers: that of the search as well, unless another study measured it."""
    own = () if loads.trial.reused_from is not None else (loads.trial,)
    return (*own, *loads.measured) if loads.measured else ()


def _tokens(trials: Sequence[Trial]) -> list[float]:
    return [trial.result.throughput_tokens_per_second for trial in trials if isinstance(trial.result, Measured)]


def _values(contest: Contest, trials: Sequence[Trial]) -> list[float]:
    return [
        number for trial in trials if (number := objective.value_of(contest.study, contest.pool, trial)) is not None
    ]


def number_of(
    contest: Contest, noises: Noises, winner: Side, rival: Side | None, so_far: Confirmation
) -> Confirmation | dict[int, Why]:
    """Return the state of measuring the winner and what it is compared with, by turns."""
    wanted = contest.number_loads
    sides = [side for side in (winner, rival) if side is not None]
    due = [side for side in sides if side.started < wanted]
    if rival is not None and rival in due and rival.started > 0 and not _is_open(contest, noises, winner, rival):
        due.remove(rival)
    loads = so_far.loads + sum(len(side.fresh) for side in sides)
    missing = [side for side in sides if len(side.fresh) < (wanted if side is winner else 1)]
    if due or missing or any(side.loads.live for side in sides):
        return replace(
            so_far,
            due=tuple(side.loads for side in sorted(due, key=lambda side: side.started)),
            loads=loads,
            planned=so_far.loads + wanted * len(sides),
        )
    best = noises.combined(winner.fresh)
    if not objective.eligible(contest.study, contest.pool, [best]):
        return not_eligible(contest, [best], so_far.lost)
    baseline = None if rival is None else noises.combined(rival.fresh)
    return replace(so_far, loads=loads, planned=loads, winner=best, baseline=baseline)


def _is_open(contest: Contest, noises: Noises, winner: Side, rival: Side) -> bool:
    """Return whether another load of the baseline is needed: its loads have ended, and the interval includes 0."""
    if len(winner.fresh) < contest.number_loads or winner.loads.live or rival.loads.live:
        return False
    new, old = ((contest.pool, noises.combined(side.fresh)) for side in (winner, rival))
    interval = objective.improvement_interval(contest.study, new, old)
    return interval is None or interval[0] <= 0 <= interval[1]


def is_adaptive(trial: Trial) -> bool:
    """Return whether the search measured a trial only for as long as its number needed."""
    return isinstance(trial.result, Measured) and trial.result.mode == "adaptive"


def in_full(loads: Loads) -> Trial:
    """Return a trial with its number in full: of its fresh loads if it has any, else of the search."""
    return combined(loads.measured, of_throughput=None, of_value=None) if loads.measured else loads.trial


def why_out(contest: Contest, loads: Loads) -> Why | None:
    """Return why a configuration does not survive its fresh loads, None if it does so far."""
    return loads.lost_for or broken_constraint(contest, loads.measured)


def broken_constraint(contest: Contest, loads: Sequence[Trial]) -> Why | None:
    """Return the constraints that the mean of some loads of a trial breaks; not those of a metric that is missing."""
    if not loads:
        return None
    trial = combined(loads, of_throughput=None, of_value=None)
    if not isinstance(trial.result, Measured):
        return None
    broken = violations(contest.study, trial.result, trial.configuration.gpu_count, trial.extra_metrics)
    return (CONSTRAINT_BROKEN, "; ".join(broken)) if broken else None


def not_eligible(contest: Contest, entries: Sequence[Trial], lost: Mapping[int, Why]) -> Confirmation | dict[int, Why]:
    """Return why none of the measured candidates can be the best: a metric is missing, or a constraint broken."""
    for trial in entries:
        missing = missing_metrics(contest.study.objective, trial.extra_metrics)
        if missing:
            return Confirmation(lost=lost, blocked=(METRIC_MISSING, "; ".join(missing)))
    return {trial.index: broken_constraint(contest, [trial]) or (CONSTRAINT_BROKEN, "") for trial in entries}
