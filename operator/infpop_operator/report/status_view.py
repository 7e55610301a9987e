"""Turn a study and its status into the page that `infpop tune` and `infpop status` show.

Pure. Fields that only a newer version knows are left out. If this version cannot read the spec, the page lacks what
depends on the search space, but shows every result.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from infpop_operator.api.landscapes import described_study, to_landscape
from infpop_operator.api.status_model import Best, Condition, LiveRun, PoolStatus, SetAside, TrialRow
from infpop_operator.api.study_object import StudyObject
from infpop_operator.core.instants import instant_text
from infpop_operator.core.model import INTERRUPTED, SCALED_TO_ZERO, Phase
from infpop_operator.report.conclusion import conclusion_of
from infpop_operator.report.failure_view import LastRuns, ending_of, failures_of, trial_text
from infpop_operator.report.front_view import front_table
from infpop_operator.report.picture import Notice, Picture, PoolPicture, RunPicture
from infpop_operator.report.place import Place
from infpop_operator.report.round_view import round_lines, round_notices
from infpop_operator.report.shown_study import ShownStudy
from infpop_operator.report.status_page import ConditionLine, Outcome, StatusPage, TrialLine
from infpop_operator.report.words import (
    certainty,
    configuration_phrase,
    count,
    duration,
    number,
    on_one_line,
    percent,
    phase_text,
    reused_phrase,
)

_PHASES = {phase.value: phase for phase in Phase}
_NO_RUNS: LastRuns = {}
# Longer than the default time-outs of a load and of a trial, so the phase of a live run would have changed.
_SILENT_SECONDS = 3600.0
_SILENT = "A live run seldom goes that long without news: check that the operator is running."
_FRESH_SECONDS = 10.0  # a running operator reconciles a new study within this time


def to_page(study_object: StudyObject, place: Place, now: datetime, *, last_runs: LastRuns = _NO_RUNS) -> StatusPage:
    """Return the page of a study.

    Args:
        study_object: the study with its status.
        place: where it is tuned.
        now: the current time, timezone-aware.
        last_runs: the last run of each trial that has ended, as far as it is known beside the status.
    """
    document = study_object.document
    study = None if document is None else described_study(document, study_object.status)
    shown = ShownStudy(object=study_object, place=place, now=now, study=study)
    outcome = _outcome(shown)
    conclusion = conclusion_of(shown, outcome)
    rows = list(shown.newest_rows())
    return StatusPage(
        picture=_picture(shown, outcome, rows, last_runs, with_best=conclusion is None),
        outcome=outcome,
        trials=tuple(_trial(shown, row, last_runs) for row in rows),
        rounds=round_lines(shown),
        front=front_table(shown),
        conditions=tuple(_condition(shown, condition) for condition in shown.status.conditions)
        if place.is_cluster
        else (),
        conclusion=conclusion,
        footer=_footer(shown),
    )


def _outcome(shown: ShownStudy) -> Outcome:
    """Return whether the study has ended, according to its newest spec."""
    study, ready = shown.object, shown.object.condition("Ready")
    if study.status.observed_generation != study.generation:
        return Outcome.OPEN
    if study.holds("Stalled"):
        return Outcome.STALLED
    if study.holds("Succeeded"):
        return Outcome.SUCCEEDED
    return Outcome.INTERRUPTED if ready is not None and ready.reason == INTERRUPTED else Outcome.OPEN


def _picture(
    shown: ShownStudy, outcome: Outcome, rows: Sequence[TrialRow], last_runs: LastRuns, *, with_best: bool
) -> Picture:
    study = shown.object
    notices = tuple(_notices(shown, outcome))
    done, most = _progress(shown)
    name = f"{study.namespace}/{study.name}" if shown.place.is_cluster else study.name
    return Picture(
        title=on_one_line(f"{name}: {study.engine}, {study.model}"),
        is_simulated=study.status.simulated,
        trials_done=done,
        trials_most=most,
        best=_best_phrase(shown, study.status.best) if with_best and study.status.best is not None else None,
        notices=notices,
        runs=tuple(_run(shown, row) for row in study.status.runs),
        pools=tuple(_pool(shown, row) for row in study.status.pools),
        failures=failures_of(shown, rows, last_runs, said=[each.detail for each in notices]),
    )


def _progress(shown: ShownStudy) -> tuple[int, int]:
    done, _, most = (shown.status.progress or "").partition("/")
    if not (done.isdigit() and most.isdigit()):
        return (0, 0)
    finished = int(done) + sum(_passed(run) for run in shown.status.runs)
    return (finished, int(most))


def _passed(run: LiveRun) -> int:
    """Return how many trials of a shared load are over: the runner measures them in the order of the row."""
    return run.batch_sizes.index(run.batch_size) if run.batch_size in run.batch_sizes else 0


def _best_phrase(shown: ShownStudy, best: Best) -> str:
    where = f" on pool {best.pool}" if shown.has_several_pools else ""
    stale = f" (of round {best.round})" if shown.object.holds("ResultStale") else ""
    tokens = f"{number(float(best.throughput))} tokens/s{reused_phrase(best.reused_from)}"
    return f"{shown.configuration(best.pool, best)}{where}: {tokens}{stale}"


def _notices(shown: ShownStudy, outcome: Outcome) -> Iterator[Notice]:
    study = shown.object
    if study.is_deleted:
        yield Notice(text="Being deleted", style="bold red")
    if not study.status.conditions:
        yield _not_reconciled(shown)
        return
    if study.generation != study.status.observed_generation:
        observed = study.status.observed_generation
        text = f"The spec is newer (generation {study.generation}) than the status shown here (generation {observed})"
        yield Notice(text=text, style="bold yellow", remedy=_CHECK_OPERATOR)
    yield _state_notice(shown, outcome)


_CHECK_OPERATOR = "if this persists, check that the operator is running, and read its log"


def _not_reconciled(shown: ShownStudy) -> Notice:
    seconds = shown.since(shown.object.created_at or shown.now)
    remedy = f"check that the operator is running and watches namespace {shown.object.namespace}"
    return Notice(
        text="No operator has reconciled this study yet",
        style="bold yellow",
        when=f"(created {duration(seconds)} ago)",
        remedy="" if seconds < _FRESH_SECONDS else remedy,
    )


# Condition, its status, and the word shown for it; the first one that holds is used.
_STATES = (
    ("Accepted", "False", "Refused", "bold red"),
    ("Suspended", "True", "Suspended", "bold yellow"),
    ("Stalled", "True", "Stalled", "bold red"),
    ("Succeeded", "True", "Succeeded", "bold green"),
    ("Reconciling", "True", "In progress", "bold cyan"),
)
_UNKNOWN = ("Ready", "Unknown", "bold yellow")
_STOPPED = ("Reconciling", "Stopped", "bold yellow")


def _state_notice(shown: ShownStudy, outcome: Outcome) -> Notice:
    """Return the state of the study, taken from the condition that explains it best."""
    kind, word, style = _STOPPED if outcome is Outcome.INTERRUPTED else _state(shown)
    condition = shown.object.condition(kind) or shown.status.conditions[0]
    since = duration(shown.since(condition.last_transition_time))
    shown_by_runs = kind == "Reconciling" and _is_shown_by_a_run(shown, condition.reason)
    return Notice(
        text=word,
        style=style,
        when="" if outcome is Outcome.INTERRUPTED else f"{since} ago" if kind == "Succeeded" else f"for {since}",
        reason="" if condition.reason == word else condition.reason,
        detail="" if shown_by_runs else condition.message.replace("; spec.", "\nspec."),
        remedy="" if shown_by_runs else shown.remedy(condition.reason, detail=condition.message),
        shown_by_runs=shown_by_runs,
    )


def _state(shown: ShownStudy) -> tuple[str, str, str]:
    holding = ((kind, word, style) for kind, status, word, style in _STATES if shown.object.holds(kind, status))
    return next(holding, _UNKNOWN)


def _is_shown_by_a_run(shown: ShownStudy, reason: str) -> bool:
    """Return whether the lines of the runs explain the state of the study, and its age, in more detail."""
    states = {row.state for row in shown.status.runs}
    return reason in states or (bool(states) and reason in _PHASES)


def _run(shown: ShownStudy, row: LiveRun) -> RunPicture:
    seconds = shown.since(row.since)
    where = f"{row.pool}: " if shown.has_several_pools else ""
    return RunPicture(
        what=on_one_line(f"{where}{_run_text(shown, row)}"),
        state=_run_state(row),
        seconds=seconds,
        detail=row.message or "",
        remedy=shown.remedy(row.state, run=row.name, seconds=seconds),
    )


def _run_text(shown: ShownStudy, row: LiveRun) -> str:
    """Return the configurations of a run in one phrase; the trials of a run share their extra arguments."""
    trials = [trial for trial in shown.status.trials if trial.run == row.name]
    extra = (trials[0].extra if trials else None) or {}
    attempt = max((trial.attempts for trial in trials), default=1)
    again = f" (attempt {attempt})" if attempt > 1 else ""
    return configuration_phrase(row.gpu_count, shown.device(row.pool), row.batch_sizes, extra) + again


def _run_state(row: LiveRun) -> str:
    phase = _PHASES.get(row.state)
    if phase is None:
        return f"waiting: {row.state}"
    at_work = "" if row.batch_size is None else f" batch size {row.batch_size}"
    return phase_text(phase) + at_work


def _pool(shown: ShownStudy, row: PoolStatus) -> PoolPicture:
    device = shown.device(row.name)
    facts = ", ".join(fact for fact in _pool_facts(row, device) if fact)
    return PoolPicture(
        name=row.name,
        device=device,
        title=on_one_line(f"Pool {row.name}: {facts}" if facts else f"Pool {row.name}"),
        notice=_pool_problem(shown, row),
        rounds=tuple(round_notices(shown, row)),
        subject=_subject(shown, row),
        landscape=to_landscape(shown.status, row, shown.study),
        note=_dropped(shown, row),
        set_aside=tuple(_set_aside(shown, row, each) for each in row.set_aside or ()),
    )


def _subject(shown: ShownStudy, row: PoolStatus) -> str:
    """Return what a pool's landscape is of, so that it can be read without the rest of the page."""
    hardware = "" if row.gpu is None else f" on {row.gpu}"
    return on_one_line(f"{shown.object.model} with {shown.object.engine}{hardware}")


def _set_aside(shown: ShownStudy, row: PoolStatus, each: SetAside) -> Notice:
    """Return which configurations are not tried now, why, and when they are tried again."""
    extra = "".join(f", {name}={value}" for name, value in (each.extra or {}).items())
    extra += "" if each.min_batch_size is None else f", batch {each.min_batch_size} and larger"
    times = f" after {count(each.attempts, 'attempt')}" if each.attempts else ""
    again = "" if each.next_attempt is None else f"; next attempt {instant_text(each.next_attempt, shown.now)}"
    return Notice(
        text=on_one_line(f"{count(each.gpu_count, shown.device(row.name))}{extra}: set aside{times}{again}"),
        style="yellow",
        reason=each.reason,
        detail=each.message or "",
        remedy=shown.remedy(each.reason, detail=each.message or ""),
    )


def _pool_facts(row: PoolStatus, device: str) -> Iterator[str]:
    yield row.gpu or ""
    yield "" if row.nodes is None else count(row.nodes, "node")
    yield "" if row.gpus_per_node is None else f"up to {count(row.gpus_per_node, device)}"
    yield f"round {row.round}" if row.round is not None and row.round > 1 else ""
    yield f"ended: {row.ended}" if row.ended is not None else ""


def _dropped(shown: ShownStudy, row: PoolStatus) -> str:
    """Return a sentence about the trials that the status had no room for; empty if there are none."""
    known = sum((trial.pool, trial.round) == (row.name, row.round) for trial in shown.status.trials)
    dropped = 0 if row.trials is None else row.trials.total - known
    return f"{count(dropped, 'trial')} of this round are no longer in the status." if dropped > 0 else ""


def _pool_problem(shown: ShownStudy, row: PoolStatus) -> Notice | None:
    """Return why the pool cannot be tuned now; None if it can, or if the study's condition already says why."""
    ready = shown.object.condition("Ready")
    if row.reason in {None, SCALED_TO_ZERO} or (ready is not None and row.message and row.message in ready.message):
        return None
    reason = row.reason or ""
    remedy = shown.remedy(reason)
    return Notice(text=f"Waiting: {reason}", style="yellow", detail=row.message or "", remedy=remedy)


def _trial(shown: ShownStudy, row: TrialRow, last_runs: LastRuns) -> TrialLine:
    is_running = row.state == "Running"
    return TrialLine(
        pool=row.pool,
        round=row.round,
        index=row.index,
        what=trial_text(shown, row),
        ended_attempts=row.attempts - 1 if is_running else row.attempts,
        outcome=row.last_failure or "" if is_running else _trial_outcome(row),
        failure=ending_of(shown, row, last_runs),
    )


def _trial_outcome(row: TrialRow) -> str:
    why = ": ".join(part for part in (row.reason, row.message) if part)
    if row.throughput is None and row.throughput_at_most is not None:
        took = "" if row.measured_seconds is None else f" ({certainty(None, row.measured_seconds)})"
        return f"slower than the best: at most {number(float(row.throughput_at_most))} tokens/s{took}"
    if row.throughput is None:
        what = {"Infeasible": "cannot work: ", "Invalid": "not comparable: "}.get(row.state, "")
        return f"{what}{why}{reused_phrase(row.reused_from)}"
    spread = "" if row.spread is None else f" (spread {percent(float(row.spread))})"
    if row.mode is not None and (how_sure := certainty(row.interval, row.measured_seconds)):
        spread = f" ({how_sure})"
    return f"{number(float(row.throughput))} tokens/s{spread}{reused_phrase(row.reused_from)}" + (
        f", {why}" if why else ""
    )


def _condition(shown: ShownStudy, condition: Condition) -> ConditionLine:
    """Return a condition, without its message unless the top of the page lacks it."""
    has_more = condition.type == "ResultStale" and condition.status == "True"
    return ConditionLine(
        type=condition.type,
        status=condition.status,
        reason=condition.reason,
        seconds=shown.since(condition.last_transition_time),
        message=condition.message if has_more else "",
    )


def _footer(shown: ShownStudy) -> str:
    """Return the age of the status: an operator that wrote nothing for hours may be idle, or gone."""
    written = shown.object.written_at
    if written is None:
        return ""
    seconds = shown.since(written)
    text = f"Status last written {duration(seconds)} ago."
    is_live = shown.place.is_cluster and any(row.state in _PHASES for row in shown.status.runs)
    return f"{text} {_SILENT}" if is_live and seconds > _SILENT_SECONDS else text
