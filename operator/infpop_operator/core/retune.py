"""Decide when a pool is tuned again: go on with its newest round, note a change, open a round, or resume an older one.

A round measures one identity: the hardware of a pool and everything in the spec that changes a number. Hardware changes
by itself, so a change of it must last (`debounce`) and the rounds that it starts are limited (`maxPerDay`). A change of
the spec and the retune annotation are acts of the user: neither is limited, and they wait only until hardware that has
changed as well has settled. `docs/retuning.md` has the table.

Everything follows from the history, the study and the time; a change is part of the newest round until it is answered.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from infpop_operator.core import budget
from infpop_operator.core.comparability import was_measured_on
from infpop_operator.core.engine_args import engine_settings
from infpop_operator.core.fingerprint import measurement_identity
from infpop_operator.core.history import current_round, results_of, runs_of
from infpop_operator.core.model import (
    POOL_CHANGED,
    REQUESTED,
    SPEC_CHANGED,
    Hardware,
    History,
    PoolChange,
    Round,
)
from infpop_operator.core.plan import plan_pool
from infpop_operator.core.publication import configuration_in_use
from infpop_operator.core.recommend import best_of_pool, best_of_round
from infpop_operator.core.scope import declared_baseline, earlier_best
from infpop_operator.core.study import Configuration, Pool, Study
from infpop_operator.core.subject import differences, subject

DAY = timedelta(hours=24)
_REMEDY = (
    "set the annotation infpop.io/retune to a new value to tune it again, or spec.retune.policy to OnPoolChange to have"
    " that done whenever it changes"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retuned:
    """The history with the rounds of now, and by pool when or why not a change starts a round (as in `Decision`)."""

    history: History
    retunes_at: Mapping[str, datetime]
    held_changes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wait:
    """Why a change starts no round now; `until` is None if time alone changes nothing."""

    until: datetime | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A pool and its newest round, which no longer suffices."""

    study: Study
    pool: Pool
    history: History
    last: Round
    identity: str
    now: datetime

    @property
    def is_changed(self) -> bool:
        """Whether the pool or the spec no longer has the round's identity."""
        return self.identity != self.last.identity

    @property
    def is_other_hardware(self) -> bool:
        """Whether the pool has other hardware; also if an earlier version did not record the round's hardware."""
        known = self.last.hardware
        return self.is_changed and (known is None or known.fingerprint != self.pool.fingerprint)

    @property
    def is_other_spec(self) -> bool:
        """Whether the spec changed what is measured, whatever the hardware is."""
        known = self.last.hardware
        if not self.is_changed or known is None:
            return False
        return measurement_identity(self.study, replace(self.pool, fingerprint=known.fingerprint)) != self.last.identity

    @property
    def is_requested(self) -> bool:
        """Whether the user set the annotation to a value that no round has taken into account."""
        return self.study.retune.requested not in (None, self.last.requested)


def retune(study: Study, history: History, now: datetime) -> Retuned:
    """Return the history in which the newest round of each pool is the one to measure, or has the change that waits.

    Args:
        study: the study as it is now, with the observed hardware of its pools.
        history: the history, with all runs that have ended.
        now: the current time.
    """
    rounds, retunes_at, held = list(history.rounds), dict[str, datetime](), dict[str, str]()
    for pool in study.pools:
        last, identity = current_round(history, pool.name), measurement_identity(study, pool)
        if last is None:
            rounds.append(_first(study, pool, identity, now))
            continue
        if last.identity != identity and _is_better_known(study, history, pool, last):
            last = _replace(rounds, last, replace(last, identity=identity, before=last.identity))
        view = _View(study=study, pool=pool, history=history, last=last, identity=identity, now=now)
        wait = _wait(view)
        if wait is None:
            entry = _next(view)
            rounds = [each for each in rounds if (each.pool, each.number) != (entry.pool, entry.number)]
            rounds.append(entry)
            continue
        _replace(rounds, last, _kept(view))
        if wait.until is not None:
            retunes_at[pool.name] = wait.until
        if wait.why is not None:
            held[pool.name] = wait.why
    return Retuned(history=replace(history, rounds=tuple(rounds)), retunes_at=retunes_at, held_changes=held)


def _replace(rounds: list[Round], entry: Round, by: Round) -> Round:
    rounds[rounds.index(entry)] = by
    return by


def _wait(view: _View) -> _Wait | None:
    """Return why no other round starts now, None if one does."""
    if view.is_requested and not _is_answered(view):
        return _without_budget(view) or _for_request(view)
    if not view.is_changed:
        return _Wait()
    if view.is_other_hardware:
        return _without_budget(view) or _for_hardware(view)
    if view.study.retune.policy != "OnPoolChange" and (_was_held(view) or _is_tuned(view)):
        return _Wait(why=_held("what is measured has changed", view))
    return _without_budget(view)


def _is_answered(view: _View) -> bool:
    """Return whether the newest round answers the request as well: it was requested itself and goes on."""
    return not view.is_changed and view.last.trigger == REQUESTED and not _is_over(view)


def _for_request(view: _View) -> _Wait | None:
    """Return what a request waits for: while hardware changes, its round would measure what may be gone soon.

    If an earlier version did not record the round's hardware, nothing says that it has changed.
    """
    settled_at, is_known = _settled_at(view), view.last.hardware is not None
    return _Wait(until=settled_at) if is_known and view.is_other_hardware and view.now < settled_at else None


def _without_budget(view: _View) -> _Wait | None:
    """Return why the budget of the study lets no round start, None if it does."""
    spent = budget.spent(view.study, view.history, view.now)
    if spent is None:
        return None
    return _Wait(why=f"no new round starts: {spent.message}; raise {spent.field} to tune pool {view.pool.name} again")


def _for_hardware(view: _View) -> _Wait | None:
    """Return what a change of hardware waits for, None if its round starts now."""
    wanted, settled_at = view.study.retune, _settled_at(view)
    if wanted.policy != "OnPoolChange" and not _has_nothing(view):
        return _Wait(why=_held("the hardware has changed", view))
    recent, limit = _recent(view), wanted.max_per_day
    if view.is_other_spec or limit is None or len(recent) < limit:
        return _Wait(until=settled_at) if view.now < settled_at else None
    until = max(settled_at, recent[-limit] + DAY)
    why = (
        f"changed hardware has started {len(recent)} rounds within 24 hours, the maximum of spec.retune.maxPerDay;"
        f" the next one may start at {until:%Y-%m-%d %H:%M:%S %Z}"
    )
    return _Wait(until=until, why=why)


def _held(what: str, view: _View) -> str:
    return f"{what}, and spec.retune.policy is {view.study.retune.policy}: {_REMEDY}"


def _settled_at(view: _View) -> datetime:
    """Return from when on changed hardware counts as settled."""
    return _since(view) + view.study.retune.debounce


def _since(view: _View) -> datetime:
    """Return since when the pool has had its present hardware; from now on if the clock was set back meanwhile."""
    noted = view.last.change
    if noted is None or noted.hardware != view.pool.fingerprint or noted.since > view.now:
        return view.now
    return noted.since


def _recent(view: _View) -> tuple[datetime, ...]:
    """Return when changed hardware started rounds in the last 24 hours; a time in the future is of a wrong clock."""
    return tuple(instant for instant in view.last.pool_changes if view.now - DAY < instant <= view.now)


def _was_held(view: _View) -> bool:
    """Return whether the change was noted before: whether its round was finished was decided then."""
    return view.last.change is not None and view.last.other_hardware_since is None


def _is_over(view: _View) -> bool:
    """Return whether the round starts no more runs: its search has ended, or a budget of the study is spent."""
    if any(runs_of(view.history.active, view.last)):
        return False
    return budget.exhausted(view.study, view.history, view.now) is not None or _has_ended(view)


def _is_tuned(view: _View) -> bool:
    """Return whether the round's search has ended with a result that the user may want to keep, confirmed or not."""
    if best_of_pool(view.study, view.pool, view.history) is None:
        return False
    if any(not started.run.confirms for started in runs_of(view.history.active, view.last)):
        return False
    return plan_pool(view.study, view.pool, view.history, view.now, asks_search=False).searched is not None


def _has_ended(view: _View) -> bool:
    return plan_pool(view.study, view.pool, view.history, view.now, asks_search=False).ended is not None


def _has_nothing(view: _View) -> bool:
    """Return whether no round of the pool has results: it was never tuned, so no policy forbids to begin."""
    rounds = (entry for entry in view.history.rounds if entry.pool == view.pool.name)
    return not any(_has_results(view.history, entry) for entry in rounds)


def _has_results(history: History, entry: Round) -> bool:
    return any(results_of(ended) for ended in runs_of(history.ended, entry))


def _kept(view: _View) -> Round:
    """Return the newest round as it goes on: with the change that it waits for, or with what is known of it now."""
    last, requested = view.last, view.last.requested
    if view.is_requested and _is_answered(view):
        requested = view.study.retune.requested
    if last.confirms != view.study.budget.confirm and _is_searching(view):
        last = replace(last, confirms=view.study.budget.confirm)
    if not view.is_changed:
        return _with_facts(replace(last, change=None, requested=requested), view.study, view.pool)
    what = differences(last, view.study, view.pool)
    change = PoolChange(
        identity=view.identity,
        hardware=view.pool.fingerprint,
        what=what,
        since=_since(view),
        seen=Hardware.of(view.pool),
    )
    return replace(last, change=change, requested=requested)


def _is_searching(view: _View) -> bool:
    """Return whether the search of the newest round goes on: whether it is confirmed is decided until it ends.

    So the default of a newer version starts no run in a study that has finished.
    """
    if budget.exhausted(view.study, view.history, view.now) is not None:
        return False
    if any(not started.run.confirms for started in runs_of(view.history.active, view.last)):
        return True
    return plan_pool(view.study, view.pool, view.history, view.now, asks_search=False).searched is None


def _first(study: Study, pool: Pool, identity: str, now: datetime) -> Round:
    """Return the first round of a pool; it answers a request that was made before it."""
    entry = Round(
        pool=pool.name,
        number=1,
        identity=identity,
        opened_at=now,
        requested=study.retune.requested,
        confirms=study.budget.confirm,
    )
    entry = _with_facts(entry, study, pool)
    return replace(entry, baseline=declared_baseline(study, entry))


def _next(view: _View) -> Round:
    """Return the round that replaces the newest one: an older one with the identity of now, else a new one."""
    older = None if view.is_requested else _older(view)
    if older is None:
        entry = Round(
            pool=view.pool.name,
            number=1 + max(each.number for each in view.history.rounds if each.pool == view.pool.name),
            identity=view.identity,
            baseline=_in_use(view),
            opened_at=view.now,
            confirms=view.study.budget.confirm,
        )
    else:
        baseline = _baseline_on_return(view, older)
        entry = replace(
            older,
            resumed=older.resumed + 1,
            resumed_at=view.now,
            runs_before_return=sum(1 for _ in runs_of(view.history.ended, older)),
            baseline=baseline,
        )
    trigger = _trigger(view)
    entry = replace(
        entry,
        cause=_cause(view),
        trigger=trigger,
        change=None,
        requested=view.study.retune.requested or view.last.requested,
        pool_changes=(*_recent(view), view.now) if trigger == POOL_CHANGED else _recent(view),
    )
    return _with_facts(entry, view.study, view.pool)


def _older(view: _View) -> Round | None:
    """Return the last of the pool's older rounds that measured the identity of now, None if none did."""
    own = (each for each in reversed(view.history.rounds) if each.pool == view.pool.name and each != view.last)
    return next((each for each in own if each.identity == view.identity), None)


def _in_use(view: _View) -> Configuration | None:
    """Return the configuration in use: what is published, else the best of the newest round or those before it."""
    published = configuration_in_use(view.study, view.history, view.pool.name)
    if published is not None:
        return published
    best = best_of_pool(view.study, view.pool, view.history)
    return best.configuration if best is not None else earlier_best(view.last)


def _baseline_on_return(view: _View, older: Round) -> Configuration | None:
    """Return the baseline of a round that is resumed: the configuration in use.

    If no round since has found a best, that is the round's own best, and its baseline stays.
    """
    in_use, own = _in_use(view), best_of_round(view.study, view.pool, view.history, older)
    is_own = own is not None and own.configuration == in_use
    if in_use is None or (is_own and best_of_pool(view.study, view.pool, view.history) is None):
        return older.baseline
    return in_use


def _trigger(view: _View) -> str:
    if view.is_requested:
        return REQUESTED
    return POOL_CHANGED if view.is_other_hardware and not view.is_other_spec else SPEC_CHANGED


def _cause(view: _View) -> tuple[str, ...]:
    request = (f"requested with the annotation infpop.io/retune: {view.study.retune.requested}",)
    what = differences(view.last, view.study, view.pool) if view.is_changed else ()
    return (*(request if view.is_requested else ()), *what)


def _is_better_known(study: Study, history: History, pool: Pool, last: Round) -> bool:
    """Return whether only more is known about the nodes of the round: what it measured was measured on them."""
    if pool.known_as is None or measurement_identity(study, replace(pool, fingerprint=pool.known_as)) != last.identity:
        return False
    ended = (each for each in runs_of(history.ended, last) if results_of(each))
    return all(was_measured_on(each, pool) for each in ended)


def _with_facts(entry: Round, study: Study, pool: Pool) -> Round:
    """Return the round with all that is known of what it measures; its identity determines the rest."""
    return replace(entry, hardware=Hardware.of(pool), engine=engine_settings(study, pool), subject=subject(study, pool))
