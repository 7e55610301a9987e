"""Turn the trials without a number into their causes: each cause is said once, with its remedy and the logs."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from infpop_operator.api.status_model import TrialRow
from infpop_operator.core.model import ENDED_ON_REQUEST
from infpop_operator.core.numbering import trial_name
from infpop_operator.report.picture import FailedTrial, Failure
from infpop_operator.report.shown_study import ShownStudy
from infpop_operator.report.words import count

_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?")
LastRuns = Mapping[tuple[str, int, int], str]  # the last run that ended, by a trial's pool, round and index


def trial_text(shown: ShownStudy, row: TrialRow) -> str:
    """Return a trial with its configuration, in one phrase."""
    where = f"{row.pool} " if shown.has_several_pools else ""
    return f"{where}{trial_name(row.index)}: {shown.configuration(row.pool, row)}"


def failure_of(shown: ShownStudy, row: TrialRow, last_runs: LastRuns) -> Failure | None:
    """Return why the last attempt of a trial broke, None if it did not, or if its end was asked for."""
    if row.state == "Broken":
        reason, detail = row.reason or "broken", row.message or ""
    elif row.state == "Running" and row.last_failure:
        reason, _, detail = row.last_failure.partition(": ")
    else:
        return None
    return None if reason in ENDED_ON_REQUEST else _failure(shown, row, reason, detail, last_runs)


def ending_of(shown: ShownStudy, row: TrialRow, last_runs: LastRuns) -> Failure | None:
    """Return why the last attempt of a trial has no number, None if it has one, or if its end was asked for.

    That a configuration cannot work is an answer, to which neither remedy nor log belongs.
    """
    if row.state == "Infeasible":
        refused = _failure(shown, row, row.reason or "", row.message or "", last_runs, says_nothing=False)
        return replace(refused, remedy="", trials=tuple(replace(trial, log="") for trial in refused.trials))
    return failure_of(shown, row, last_runs)


def failures_of(
    shown: ShownStudy, rows: Iterable[TrialRow], last_runs: LastRuns, *, said: Iterable[str]
) -> tuple[Failure, ...]:
    """Return the causes for which trials have no number, in the order of their first trial.

    A configuration that cannot work is an answer of the search, unless nothing else was found.

    Args:
        shown: the study.
        rows: the trials of its newest rounds.
        last_runs: the last ended run of each trial, as far as known.
        said: the texts at the top of the page, which are not repeated.
    """
    rows, above = tuple(rows), tuple(said)
    found = [failure for row in rows if (failure := failure_of(shown, row, last_runs)) is not None]
    if not any(row.throughput is not None or row.state == "Running" for row in rows):
        found += _refused(shown, rows, last_runs)
    groups: dict[str, list[Failure]] = {}
    for failure in found:
        groups.setdefault(cause_key(failure), []).append(failure)
    return tuple(_merged(each, above) for each in groups.values())


def cause_key(failure: Failure) -> str:
    """Return what is the same in failures with equal causes: messages that differ in numbers count as equal."""
    return f"{failure.reason}: {_NUMBERS.sub('#', failure.detail)}"


def _refused(shown: ShownStudy, rows: Iterable[TrialRow], last_runs: LastRuns) -> Iterator[Failure]:
    for row in rows:
        if row.state == "Infeasible":
            yield _failure(shown, row, row.reason or "infeasible", row.message or "", last_runs, says_nothing=False)


def _failure(
    shown: ShownStudy, row: TrialRow, reason: str, detail: str, last_runs: LastRuns, *, says_nothing: bool = True
) -> Failure:
    run = last_runs.get((row.pool, row.round, row.index)) or (row.run if row.state != "Running" else "")
    ended = row.attempts - 1 if row.state == "Running" else row.attempts
    attempts = f" ({count(ended, 'attempt')})" if ended > 1 else ""
    trial = FailedTrial(
        what=f"{trial_text(shown, row)}{attempts}", log=shown.place.log_of(run) if run and not row.reused_from else ""
    )
    remedy = shown.remedy(reason, run=run, detail=detail)
    return Failure(reason=reason, detail=detail, remedy=remedy, trials=(trial,), says_nothing=says_nothing)


def _merged(same: list[Failure], above: tuple[str, ...]) -> Failure:
    first = same[0]
    is_above = any(_beginning(first.detail) in text for text in above) if first.detail else False
    return Failure(
        reason=first.reason,
        detail="" if is_above else first.detail,
        remedy="" if is_above else first.remedy,
        trials=tuple(trial for failure in same for trial in failure.trials),
        says_nothing=first.says_nothing,
    )


def _beginning(detail: str) -> str:
    """Return the text before the place at which a status has shortened it."""
    return detail.partition("…")[0].strip()
