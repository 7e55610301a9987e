"""Decide which measured configuration a study publishes for others to serve with.

What is published changes for a reason only: the best of a search that has ended is better than it by more than the
noise of both, it cannot work any more, or the user no longer allows it. Both are compared as they were measured last,
in the newest rounds of their pools: a new round measures what is published first. The record of it is part of the
round, so the decision follows from the history alone, and is made once for each result.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from infpop_operator.core import objective
from infpop_operator.core.constraints import violations
from infpop_operator.core.decision import Decision, Verdict
from infpop_operator.core.history import (
    OF_ITS_ENGINE,
    RETRIES_PER_TRIAL,
    current_round,
    known_model_facts,
    trials_of,
)
from infpop_operator.core.load_failures import LOAD_FAILS
from infpop_operator.core.model import HAS_WORKED, History, Published, Round, Trial, TrialState
from infpop_operator.core.prior import INHERITED
from infpop_operator.core.recommend import best_of_study, fits, trial_value, with_own_number
from infpop_operator.core.run_spec import pool_named
from infpop_operator.core.scope import declared_baseline
from infpop_operator.core.space import cells, ruled_out
from infpop_operator.core.study import Configuration, Pool, Study

# Why something is published.
FIRST_RESULT = "FirstResult"  # nothing was published before
BETTER = "Better"  # better than what was published, by more than the noise of both
MEASURED_AGAIN = "MeasuredAgain"  # still the best, in a newer round
WITHIN_NOISE = "WithinNoise"  # measured again in a newer round, whose best is not clearly better
POOL_REMOVED = "PoolRemoved"  # the study has no such pool any more
LEFT_SEARCH_SPACE = "LeftSearchSpace"  # the user no longer allows the configuration that was published
CANNOT_RUN = "CannotRun"  # the configuration that was published does not run on its pool any more
CONSTRAINT_BROKEN = "ConstraintBroken"  # the configuration that was published breaks a constraint
_HOPELESS = frozenset({INHERITED, LOAD_FAILS})  # why cells are set aside for good
_LEAST_APART = timedelta(seconds=1)  # of two records: the clock may have been set back


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """What is published, where it stands now, and the best of the searches that have ended."""

    study: Study
    decision: Decision
    record: Published
    entry: Round  # the round of the record
    pool: Pool
    newest: Round  # of that pool
    trial: Trial | None  # of the published configuration, in the newest round
    best_pool: Pool
    best: Trial

    @property
    def history(self) -> History:
        return self.decision.history

    @property
    def is_best(self) -> bool:
        return (self.best_pool.name, self.best.configuration) == (self.pool.name, self.record.configuration)


def published_in(history: History) -> tuple[Round, Published] | None:
    """Return what a study publishes and the round that measured it, None if it has published nothing."""
    records = [(entry, entry.published) for entry in history.rounds if entry.published is not None]
    return max(records, key=lambda found: found[1].at, default=None)


def configuration_in_use(study: Study, history: History, pool: str) -> Configuration | None:
    """Return the configuration that a study publishes now if it was measured on `pool`, else None."""
    found = published_in(history)
    return found[1].configuration if study.publishes and found is not None and found[0].pool == pool else None


def with_publication(study: Study, decision: Decision, now: datetime) -> Decision:
    """Return the decision with the record of what is published from now on.

    It is unchanged while a search goes on, and if the study publishes nothing. Doing it again changes nothing.

    Args:
        study: the study.
        decision: the newest decision about it.
        now: the time of the decision.
    """
    if not study.publishes or decision.verdict is not Verdict.SUCCEEDED or _is_about_to_change(decision):
        return decision
    found = best_of_study(_on_present_hardware(study, decision.history), decision.history)
    if found is None:
        return decision
    known = published_in(decision.history)
    change = _first(*found) if known is None else _next(study, decision, known, found)
    if change is None:
        return decision
    pool, trial, reason, detail = change
    at = now if known is None else max(now, known[1].at + _LEAST_APART)
    entry = current_round(decision.history, pool.name)
    if entry is None or entry.number != trial.round:
        raise ValueError(f"trial {trial.index} of pool {pool.name} is not of its newest round")
    record = Published(
        index=trial.index,
        configuration=trial.configuration,
        at=at,
        reason=reason,
        detail=detail,
        model=_measured_fact(entry, "model", study.model.name),
        software=_measured_fact(entry, "software", pool.software) or None,
    )
    rounds = tuple(replace(each, published=record) if each is entry else each for each in decision.history.rounds)
    return replace(decision, history=replace(decision.history, rounds=rounds))


def _is_about_to_change(decision: Decision) -> bool:
    """Return whether a pool gets a new round as soon as its change has lasted: its result is then another one."""
    return bool(decision.retunes_at.keys() - decision.held_changes.keys())


def _on_present_hardware(study: Study, history: History) -> Study:
    """Return the study without the pools whose newest round was measured on hardware that they no longer have."""
    pools = tuple(pool for pool in study.pools if not _has_other_hardware(current_round(history, pool.name)))
    return replace(study, pools=pools)


def _has_other_hardware(newest: Round | None) -> bool:
    if newest is None or newest.change is None or newest.hardware is None:
        return False
    return newest.change.hardware != newest.hardware.fingerprint


_Change = tuple[Pool, Trial, str, str]  # the pool and the trial to publish, why as a word, and why as text


def _first(pool: Pool, best: Trial) -> _Change:
    return pool, best, FIRST_RESULT, f"the first result: {_named(best.configuration, pool.name)}"


def _next(
    study: Study, decision: Decision, known: tuple[Round, Published], found: tuple[Pool, Trial]
) -> _Change | None:
    """Return what is published in place of `known`, None if it stays as it is."""
    entry, record = known
    best_pool, best = found
    if entry.pool not in {pool.name for pool in study.pools}:
        why = f"pool {entry.pool} is no longer in spec.nodePools"
        return best_pool, best, POOL_REMOVED, _instead(record, entry.pool, best, best_pool.name, why)
    newest = current_round(decision.history, entry.pool)
    if newest is None:
        raise ValueError(f"pool {entry.pool} has no round")
    own, pool = trials_of(decision.history, entry.pool, newest.number), pool_named(study, entry.pool)
    trial = next((trial for trial in own if trial.configuration == record.configuration), None)
    view = _View(
        study=study,
        decision=decision,
        record=record,
        entry=entry,
        pool=pool,
        newest=newest,
        trial=None if trial is None else with_own_number(study, pool, decision.history, newest, trial),
        best_pool=best_pool,
        best=best,
    )
    replacement = None if view.is_best else next(_reasons_to_replace(view), None)
    if replacement is not None:
        reason, why = replacement
        return best_pool, best, reason, _instead(record, entry.pool, best, best_pool.name, why)
    return _kept(view)


def _reasons_to_replace(view: _View) -> Iterator[tuple[str, str]]:
    """Yield why the best takes the place of what is published, the plainest reason first; nothing if it stays."""
    cell, trial = view.record.configuration, view.trial
    baselines = {declared_baseline(view.study, entry) for entry in (view.entry, view.newest)}
    if cell not in {*cells(view.study.space), *baselines}:
        yield LEFT_SEARCH_SPACE, "what was published is no longer in spec.searchSpace"
    impossible = _why_impossible(view)
    if impossible is not None:
        yield CANNOT_RUN, f"what was published does not run on pool {view.pool.name} any more: {impossible}"
    if trial is None or trial.state is not TrialState.MEASURED:
        return  # not known to be worse: it was not measured in the newest round, or its number is not comparable
    broken = _broken_constraints(view, trial)
    if broken:
        yield CONSTRAINT_BROKEN, f"what was published breaks spec.objective.constraints: {broken}"
    if objective.is_clearly_better(view.study, (view.best_pool, view.best), (view.pool, trial)):
        yield BETTER, f"{_gain(view, trial)} better, more than the noise of both measurements"


def _kept(view: _View) -> _Change | None:
    """Return what is published with its numbers from a newer round, None if there are none."""
    trial = view.trial
    if _has_other_hardware(view.newest):
        return None
    if view.newest.number == view.entry.number or trial is None or trial.state is not TrialState.MEASURED:
        return None
    stays = f"{_named(trial.configuration, view.pool.name)} stays, measured again in round {view.newest.number}"
    if view.is_best:
        return view.pool, trial, MEASURED_AGAIN, f"{stays}: still the best"
    best = _named(view.best.configuration, view.best_pool.name)
    return view.pool, trial, WITHIN_NOISE, f"{stays}: {best} is not better by more than the noise of both measurements"


def _why_impossible(view: _View) -> str | None:
    """Return why the published configuration cannot be run on its pool, None unless that is certain.

    A node that is not ready, a lost run or a queue says nothing about a configuration: it stays published.
    """
    cell, trial = view.record.configuration, view.trial
    if not fits(view.newest, cell):
        return f"UnsupportedGpuCount: no node of its hardware has {cell.gpu_count} GPUs"
    if trial is not None and trial.state in HAS_WORKED:
        return None
    if trial is not None and (trial.state is TrialState.INFEASIBLE or _breaks_each_time(trial)):
        return ": ".join(part for part in (trial.reason, trial.detail) if part)
    own = trials_of(view.history, view.pool.name, view.newest.number)
    out = ruled_out(view.study, view.pool, own, known_model_facts(view.history), also=(cell,)).get(cell)
    if out is not None:
        return f"{out.reason}: {out.detail}"
    set_aside = view.decision.set_aside.get(view.pool.name, ())
    aside = (each for each in set_aside if each.reason in _HOPELESS and each.covers(cell))
    return next((": ".join(part for part in (each.reason, each.detail) if part) for each in aside), None)


def _breaks_each_time(trial: Trial) -> bool:
    """Return whether no attempt of the trial is left, and its own engine ended the last one."""
    spent = trial.state is TrialState.BROKEN and trial.failures > RETRIES_PER_TRIAL
    return spent and trial.reason in OF_ITS_ENGINE


def _broken_constraints(view: _View, trial: Trial) -> str:
    result, gpus = trial.result, trial.configuration.gpu_count
    if result is None or result.outcome != "measured":
        return ""
    return "; ".join(violations(view.study, result, gpus, trial.extra_metrics))


def _gain(view: _View, trial: Trial) -> str:
    """Return by how much the best is better than what is published, in percent of its objective value."""
    values = (trial_value(view.study, *each) for each in ((view.best_pool, view.best), (view.pool, trial)))
    ratio = objective.improvement_ratio(view.study.objective, *values)
    return "" if ratio is None else f"{ratio * 100:.1f} %"


def _instead(record: Published, pool: str, best: Trial, best_pool: str, why: str) -> str:
    return f"{_named(best.configuration, best_pool)} instead of {_named(record.configuration, pool)}: {why}"


def _named(cell: Configuration, pool: str) -> str:
    extra = "".join(f", {name}={value}" for name, value in cell.extra)
    gpus = f"{cell.gpu_count} GPU{'s' if cell.gpu_count > 1 else ''}"
    return f"{gpus}, batch size {cell.batch_size}{extra} on pool {pool}"


def _measured_fact(entry: Round, name: str, now: str) -> str | None:
    """Return a fact of what a round measured: what the study has now, unless that has changed since.

    A round records its facts for people; a long one is shortened with an ellipsis there, and is unknown here.
    """
    if entry.change is None:
        return now
    known = dict(entry.subject).get(name)
    return None if known is None or "…" in known else known
