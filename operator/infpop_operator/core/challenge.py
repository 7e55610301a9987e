"""Check what is clearly better than the number of the winner before that is recommended.

The fresh loads of a winner may give far less than its search did: one lucky load, or a machine that is busy since. Then
a configuration that was no candidate may have the better number, and nothing has refuted it. So what clearly beats the
winner by its own number (that of its fresh loads if it has any, else that of the search) is measured again as well, the
strongest first and each configuration once. It becomes the winner by the rules of every choice only, and the load that
decides is no part of its number.

How much loads differ is taken from fresh loads alone here, and from what the search measured of a baseline that was no
candidate: the search's number of a winner that has failed only says how far it was off. Each challenge is judged by the
loads from before it, so that no later load takes it back.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from infpop_operator.core import objective
from infpop_operator.core.confirming_loads import Loads, Why
from infpop_operator.core.contest import (
    Confirmation,
    Contest,
    Noises,
    Side,
    in_full,
    is_adaptive,
    number_of,
    why_out,
)
from infpop_operator.core.model import Trial

# Each costs a load, and two or three more if it wins. When three of them have failed as well, the machine has changed
# since the search, and the others would fail too. Reasoned, not measured
MOST_CHALLENGERS = 3
# A number that is better by more than this is checked whatever the noise: two loads that differ cannot tell what that
# is. Four standard deviations of a load at the larger noise of benchmarks/bench_confirm.py. Reasoned, not measured
CHECKED_RATIO = 0.2

_Trials = Sequence[Trial]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """What fresh loads have shown of a round, from challenge to challenge.

    `found` has the winner. By the index of a configuration, `numbers` are the loads that its own number comes from, and
    `noise` those that say how much loads differ. `sides` took part in the choice, `tried` are the challengers.
    """

    contest: Contest
    found: Confirmation
    winner: Trial
    sides: Mapping[int, Side]
    baseline: Side | None
    lost: Mapping[int, Why]
    numbers: Mapping[int, _Trials] = field(default_factory=dict)
    noise: Mapping[int, _Trials] = field(default_factory=dict)
    tried: Mapping[int, Loads] = field(default_factory=dict)

    def knowing(self, index: int, *, number: _Trials, noise: _Trials) -> Self:
        return replace(self, numbers={**self.numbers, index: number}, noise={**self.noise, index: noise})

    def own_number(self, trial: Trial) -> Trial:
        noises = Noises.of_groups(self.contest, self.noise.values())
        return noises.combined(self.numbers.get(trial.index, (trial,)))

    @property
    def fresh(self) -> tuple[Trial, ...]:
        """The configurations with the numbers of their fresh loads, but for the winner."""
        return tuple(self.own_number(loads[0]) for index, loads in self.numbers.items() if index != self.winner.index)

    @property
    def measured(self) -> tuple[Loads, ...]:
        """All that has been measured again."""
        sides = {side.index: side.loads for side in (*self.sides.values(), self.baseline) if side is not None}
        return tuple((sides | dict(self.tried)).values())

    @property
    def loads(self) -> int:
        return sum(len(each.measured) for each in self.measured)


def challenged(
    contest: Contest, found: Confirmation, winner: Trial, sides: Sequence[Side], baseline: Side | None
) -> Confirmation:
    """Return the state of a round whose winner has its number: confirmed, unless something challenges that.

    Args:
        contest: the round.
        found: with the number of the winner.
        winner: the winner with its number.
        sides: what the choice was between, the winner among them.
        baseline: the baseline of the round, None if there is none that can be measured again.
    """
    standing = _standing(contest, found, winner, {side.index: side for side in sides}, baseline)
    for _ in range(MOST_CHALLENGERS):
        challenger = _strongest(standing)
        if challenger is None:
            break
        after = _checked(standing, challenger)
        if isinstance(after, Confirmation):
            return after
        standing = after
    if not standing.tried:
        return found
    loads, left = standing.loads, _strongest(standing)
    return replace(standing.found, loads=loads, planned=loads, lost=standing.lost, fresh=standing.fresh, unchecked=left)


def _standing(
    contest: Contest, found: Confirmation, winner: Trial, sides: Mapping[int, Side], baseline: Side | None
) -> _Standing:
    """Return what was known when the winner had its number, without any load from after that."""
    standing = _Standing(
        contest=contest, found=found, winner=winner, sides=sides, baseline=baseline, lost=dict(found.lost)
    )
    for side in sides.values():
        chose = side.loads.measured[: side.first]
        if side.index == winner.index:
            number = side.fresh[: contest.number_loads]
            standing = standing.knowing(side.index, number=number, noise=(*chose, *number))
        elif chose:
            standing = standing.knowing(side.index, number=chose, noise=chose)
    if baseline is None or baseline.index == winner.index:
        return standing
    known = baseline.loads.measured[: _first(standing, baseline.index)]
    is_candidate = baseline.index in sides or baseline.loads.trial.reused_from is not None
    noise = known if is_candidate else (baseline.loads.trial, *known)
    return standing.knowing(baseline.index, number=known, noise=noise)


def _first(standing: _Standing, index: int) -> int:
    """Return how many loads of a challenger decide whether it wins.

    Of the baseline one load of its number counts: whether there is a second one may change with the winner.
    """
    if standing.baseline is not None and index == standing.baseline.index:
        return standing.baseline.first + 1
    side = standing.sides.get(index)
    return standing.contest.choosing_loads if side is None else side.first


def _strongest(standing: _Standing) -> Trial | None:
    """Return the trial of the search whose own number beats that of the winner most, None if none clearly does."""
    out = {standing.winner.index, *standing.tried, *standing.lost}
    numbers = {trial.index: standing.own_number(trial) for trial in _left(standing.contest, out)}
    return _clearly_best(standing.contest, numbers, standing.own_number(standing.winner))


def _left(contest: Contest, out: Collection[int]) -> tuple[Trial, ...]:
    left = (trial for trial in contest.trials if trial.index not in out)
    return objective.eligible(contest.study, contest.pool, left)


def _clearly_best(contest: Contest, numbers: Mapping[int, Trial], winner: Trial) -> Trial | None:
    """Return the trial of the search, by its index, with the best of the numbers that clearly beat the winner's."""
    clear = (number for number in numbers.values() if is_clear(contest, number, winner))
    best = objective.top(contest.study, contest.pool, clear)
    return None if best is None else next(trial for trial in contest.trials if trial.index == best.index)


def is_clear(contest: Contest, new: Trial, old: Trial) -> bool:
    """Return whether a number is better than another by more than the noise of both, or by more than any noise."""
    study, pool = contest.study, contest.pool
    if objective.is_clearly_better(study, (pool, new), (pool, old)):
        return True
    better, other = (objective.value_of(study, pool, trial) for trial in (new, old))
    ratio = None if better is None or other is None else objective.improvement_ratio(study.objective, better, other)
    return ratio is not None and ratio > CHECKED_RATIO


def _checked(standing: _Standing, challenger: Trial) -> _Standing | Confirmation:
    """Return what is known after a challenge, or the state of it while it goes on."""
    contest, index = standing.contest, challenger.index
    loads = contest.loads(challenger)
    standing = replace(standing, tried={**standing.tried, index: loads})
    why = why_out(contest, loads)
    if why is not None:
        return replace(standing, lost={**standing.lost, index: why})
    if loads.stuck_for is not None:
        return standing
    side = Side(loads=loads, first=_first(standing, index))
    missing = side.first - len(loads.measured)
    if missing > 0:
        return _under_way(standing, () if loads.live else (loads,), missing + contest.number_loads)
    decided = loads.measured[: side.first]
    standing = standing.knowing(index, number=decided, noise=decided)
    entries = (standing.own_number(standing.winner), standing.own_number(challenger))
    best = objective.best(contest.study, contest.pool, entries)
    return standing if best is None or best.index != index else _numbered(standing, side, entries)


def _numbered(standing: _Standing, side: Side, entries: tuple[Trial, ...]) -> _Standing | Confirmation:
    """Return what is known of a challenger that has won the choice, with its number, or the state of measuring that."""
    contest, index = standing.contest, side.index
    baseline = standing.baseline
    rival = None if baseline is None or baseline.index == index else baseline
    so_far = Confirmation(contest=entries, lost=standing.lost)
    found = number_of(contest, Noises.of(contest, standing.measured), side, rival, so_far)
    if not isinstance(found, Confirmation):
        return replace(standing, lost={**standing.lost, **found})
    if found.blocked is not None:
        return standing
    if found.winner is None:
        return _under_way(standing, found.due, found.planned - found.loads)
    number = side.fresh[: contest.number_loads]
    standing = standing.knowing(index, number=number, noise=(*side.loads.measured[: side.first], *number))
    before = standing.winner
    if is_clear(contest, standing.own_number(before), standing.own_number(found.winner)):
        return standing
    tried = {**standing.tried, before.index: contest.loads(before)}
    return replace(standing, found=found, winner=found.winner, tried=tried)


def _under_way(standing: _Standing, due: tuple[Loads, ...], left: int) -> Confirmation:
    """Return the state of a round that still needs up to `left` loads, as far as is known now."""
    loads, fresh = standing.loads, standing.fresh
    fresh = (*fresh, standing.own_number(standing.winner))
    return Confirmation(due=due, loads=loads, planned=loads + left, lost=standing.lost, fresh=fresh)


def challenged_in_full(contest: Contest, found: Confirmation) -> Confirmation:
    """Return the state of a round whose best need only be measured in full: done, unless something challenges it.

    Args:
        contest: the round.
        found: with the winner, and in `contest` everything whose number is one in full.
    """
    tried = {trial.index for trial in found.contest}
    for _ in range(MOST_CHALLENGERS):
        numbers = {trial.index: trial for trial in _left(contest, {*tried, *found.lost})}
        challenger = None if found.winner is None else _clearly_best(contest, numbers, found.winner)
        if challenger is None:
            break
        loads = contest.loads(challenger)
        tried.add(challenger.index)
        why = why_out(contest, loads)
        if why is not None:
            found = replace(found, lost={**found.lost, challenger.index: why})
        elif is_adaptive(challenger) and not loads.measured and loads.stuck_for is None:
            due = () if loads.live else (loads,)
            return replace(found, due=due, planned=found.loads + 1, winner=None, contest=(), fresh=found.contest)
        elif loads.measured or not is_adaptive(challenger):
            found = _with_entry(contest, found, loads)
    return found


def _with_entry(contest: Contest, found: Confirmation, loads: Loads) -> Confirmation:
    """Return a state with the number in full of another configuration."""
    entries = (*found.contest, in_full(loads))
    total = found.loads + len(loads.measured)
    winner = objective.best(contest.study, contest.pool, entries)
    return replace(found, loads=total, planned=total, winner=winner, contest=entries)
