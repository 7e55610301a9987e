"""Measure the best configurations of a round again, so that the choice and its number survive.

The best of many noisy numbers is too good to be true, and so is the best of a few. So the loads that decide between the
candidates are not those whose number is published:

1. *Choose.* Each candidate (the configurations within the tie band of the search's best) is measured once, on a fresh
   engine load. The best of these numbers wins by the rules of every comparison: a tie goes to fewer GPUs. With a single
   candidate there is nothing to choose.
2. *Number.* The winner is measured on `NUMBER_LOADS` further loads, alternating with the baseline of the round. Their
   mean is the number of the winner: no choice depended on it.
3. *Check.* What clearly beats that number by its own, and was no candidate, is measured again too (`core.challenge`).

How much loads differ is estimated from all configurations that were measured again, together with what the search
measured of them; the search's numbers widen the intervals, and are part of no number. For the margin of a tie in the
choice only the loads that choose and the search's numbers count. `benchmarks/bench_confirm.py` has the figures behind
the constants.

Everything is derived from the history; nothing about it is stored but the runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from infpop_operator.core import objective
from infpop_operator.core.challenge import challenged, challenged_in_full
from infpop_operator.core.confirming_loads import Loads, Why
from infpop_operator.core.contest import (
    Confirmation,
    Contest,
    Noises,
    Side,
    in_full,
    is_adaptive,
    not_eligible,
    number_of,
    why_out,
)
from infpop_operator.core.history import runs_of, trials_of
from infpop_operator.core.model import History, Round, Trial, TrialState
from infpop_operator.core.scope import baseline_of, in_scope
from infpop_operator.core.study import Pool, Study
from infpop_runner.contract import Measured

CHOOSING_LOADS = 1  # a second one lowers the loss of a wrong choice by 0.2 % of the throughput at a noise of 5 %
NUMBER_LOADS = (
    2  # with one, the interval is twice as wide, and a gain of 5 % is seen in 52 instead of 80 of 100 studies
)
MOST_CANDIDATES = 4  # each costs a load, and the tie band holds two of them on average. Reasoned, not measured
MOST_LOST = 4  # after so many that did not survive a fresh load, something else is wrong. Reasoned, not measured
NONE_SURVIVED = "NoneSurvived"  # no candidate worked on a fresh load


def confirmation_of(study: Study, pool: Pool, history: History, entry: Round) -> Confirmation | None:
    """Return how far the round is with measuring its best again; None if that is not wanted.

    It is meant for a round whose search has ended. While the search goes on nothing has been measured again, unless the
    user has let it go on; then the best of all its trials counts. A round that was confirmed stays so if the user turns
    `confirm` off, and a number of fresh loads that was challenged by then counts as one in full. What a round measured
    adaptively is measured in full once, whether it is confirmed or not.
    """
    known = trials_of(history, entry.pool, entry.number)
    # What was raced out has no number, and whether it still counts follows from what is lost here.
    unraced = (trial for trial in known if trial.state is not TrialState.RACED_OUT)
    trials = in_scope(study, unraced, baseline_of(study, entry))
    challenged_before = False
    if entry.confirms:
        found = _judge(_contest(study, pool, history, entry, trials, number_loads=NUMBER_LOADS))
        if study.budget.confirm or found.winner is not None:
            return found
        challenged_before = bool(found.fresh)
    if not challenged_before and not any(is_adaptive(trial) for trial in trials):
        return None
    return _judge(_contest(study, pool, history, entry, trials, number_loads=0))


def measured_again(study: Study, pool: Pool | None, history: History, entry: Round) -> Confirmation | None:
    """Return what the round has measured again, None if that is nothing so far.

    `pool` is None if the study has it no longer; its price has no influence within a round.
    """
    if not any(ended.run.confirms for ended in runs_of(history.ended, entry)):
        return None
    known = pool or Pool(name=entry.pool, device="cuda", fingerprint="", price_per_gpu_hour=1.0)
    return confirmation_of(study, known, history, entry)


def _contest(
    study: Study, pool: Pool, history: History, entry: Round, trials: tuple[Trial, ...], *, number_loads: int
) -> Contest:
    return Contest(
        study=study,
        pool=pool,
        history=history,
        round=entry,
        trials=trials,
        choosing_loads=CHOOSING_LOADS,
        number_loads=number_loads,
    )


def _judge(contest: Contest) -> Confirmation:
    """Return the state of a contest; a candidate that does not survive makes room for the next best."""
    lost: dict[int, Why] = {}
    while len(lost) <= MOST_LOST:
        candidates = [contest.loads(trial) for trial in _candidates(contest, lost)]
        if not candidates:
            break
        found = _fallen(contest, candidates) or _among(contest, candidates, lost)
        if isinstance(found, Confirmation):
            return found
        lost |= found
    if not lost:
        return Confirmation(lost=lost, blocked=(NONE_SURVIVED, "there is no result that could be the best"))
    cell, (reason, detail) = next((_named(contest, index), why) for index, why in lost.items())
    why = f"{cell} did not work again on a fresh load: {reason}" + (f": {detail}" if detail else "")
    return Confirmation(lost=lost, blocked=(NONE_SURVIVED, why))


def _named(contest: Contest, index: int) -> str:
    cell = next(trial.configuration for trial in contest.trials if trial.index == index)
    return f"{cell.gpu_count} GPU{'s' if cell.gpu_count > 1 else ''}, batch size {cell.batch_size}"


def _candidates(contest: Contest, lost: Mapping[int, Why]) -> tuple[Trial, ...]:
    """Return what the search cannot tell from its best: that first, then what is measured best, then fewer GPUs."""
    left = [trial for trial in contest.trials if trial.index not in lost]
    return objective.tied_with_best(contest.study, contest.pool, left)[:MOST_CANDIDATES]


def _fallen(contest: Contest, candidates: Sequence[Loads]) -> dict[int, Why]:
    """Return the candidates that did not survive, by index, each with the reason."""
    found = ((each.trial.index, why_out(contest, each)) for each in candidates)
    return {index: why for index, why in found if why is not None}


def _among(contest: Contest, candidates: Sequence[Loads], lost: Mapping[int, Why]) -> Confirmation | dict[int, Why]:
    """Return the state of the contest between candidates, or those of them that turn out not to be eligible."""
    able = [each for each in candidates if each.stuck_for is None]
    if not able:
        return Confirmation(lost=lost, blocked=candidates[0].stuck_for)
    if contest.number_loads == 0:
        return _in_full(contest, able, lost)
    baseline = _baseline(contest, lost)
    first = contest.choosing_loads if len(able) > 1 else 0
    to_choose = [each for each in able if len(each.measured) < first]
    if to_choose:
        others = contest.number_loads * (1 if baseline is None else 2)
        return Confirmation(
            due=tuple(each for each in to_choose if each.live == 0),
            loads=sum(min(len(each.measured), first) for each in able),
            planned=first * len(able) + others,
            lost=lost,
        )
    deciding = Noises.of(contest, [replace(each, measured=each.measured[:first]) for each in able])
    entries = tuple(deciding.combined(each.measured[:first]) if first else each.trial for each in able)
    best = objective.best(contest.study, contest.pool, entries)
    if best is None:
        return not_eligible(contest, entries, lost)
    sides = [Side(loads=each, first=first) for each in able]
    known = baseline and next((side for side in sides if side.index == baseline.trial.index), None)
    compared = known or (None if baseline is None else Side(loads=baseline, first=0))
    found = number_of(
        contest,
        Noises.of(contest, able if baseline is None else [*able, baseline]),
        next(side for side in sides if side.index == best.index),
        None if compared is None or compared.index == best.index else compared,
        Confirmation(loads=first * len(able), contest=entries, lost=lost),
    )
    if not isinstance(found, Confirmation) or found.winner is None:
        return found
    return challenged(contest, found, found.winner, sides, compared)


def _baseline(contest: Contest, lost: Mapping[int, Why]) -> Loads | None:
    """Return the baseline of the round with its loads; None if there is none, or it cannot be measured again."""
    wanted = baseline_of(contest.study, contest.round)
    trial = next((trial for trial in contest.trials if trial.configuration == wanted), None)
    if trial is None or not isinstance(trial.result, Measured) or trial.index in lost:
        return None
    loads = contest.loads(trial)
    return loads if loads.lost_for is None and loads.stuck_for is None else None


def _in_full(contest: Contest, able: Sequence[Loads], lost: Mapping[int, Why]) -> Confirmation | dict[int, Why]:
    """Return the state of measuring each candidate in full once, where the search did not."""
    wanted = [each for each in able if is_adaptive(each.trial)]
    left = [each for each in wanted if not each.measured]
    if left:
        due = tuple(each for each in left if each.live == 0)
        return Confirmation(due=due, loads=len(wanted) - len(left), planned=len(wanted), lost=lost)
    entries = tuple(in_full(each) for each in able)
    best = objective.best(contest.study, contest.pool, entries)
    if best is None:
        return not_eligible(contest, entries, lost)
    found = Confirmation(loads=len(wanted), planned=len(wanted), winner=best, contest=entries, lost=lost)
    return challenged_in_full(contest, found)
