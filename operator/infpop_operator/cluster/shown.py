"""Turn a study's object into the page that is shown of it. Pure: reading is in `reading`, drawing in `report`.

Only the object is needed. What a newer operator wrote and this version does not know is left out; a spec that this
version cannot read hides what follows from the search space, and nothing that was found.
"""

from collections.abc import Iterator
from datetime import datetime

from infpop_operator.adapters.kube.records import Body
from infpop_operator.api.landscapes import to_landscape
from infpop_operator.api.status_model import Best, Condition, LiveRun, PoolStatus, StudyStatus, TrialRow
from infpop_operator.cluster.result import conclusion_of
from infpop_operator.cluster.view import View, look_at
from infpop_operator.core.model import Phase
from infpop_operator.report.advice import remedy_for
from infpop_operator.report.picture import Notice, Picture, PoolPicture, RunPicture
from infpop_operator.report.status_page import ConditionLine, Outcome, StatusPage, TrialLine
from infpop_operator.report.words import (
    count,
    duration,
    number,
    on_one_line,
    percent,
    phase_text,
)

_PHASES = {phase.value: phase for phase in Phase}
_FRESH_SECONDS = 10.0  # an operator that runs has looked at a new study by then


def to_page(body: Body, now: datetime) -> StatusPage:
    """Return the page of a study.

    Args:
        body: the object as the API server has it.
        now: the time, aware.

    Raises:
        UnreadableError: its status is of a form that this version does not know.
    """
    view = look_at(body, now)
    outcome = _outcome(view)
    conclusion = None if outcome is Outcome.OPEN else conclusion_of(view, outcome)
    return StatusPage(
        picture=_picture(view, with_best=conclusion is None),
        outcome=outcome,
        trials=tuple(_trial(view, row) for row in _newest_rows(view.status)),
        conditions=tuple(_condition(view, each) for each in view.status.conditions),
        conclusion=conclusion,
        footer=_footer(view),
    )


def _outcome(view: View) -> Outcome:
    """Return whether the study, as it is wanted now, has ended."""
    if view.status.observed_generation != view.body["metadata"].get("generation"):
        return Outcome.OPEN
    if view.holds("Stalled"):
        return Outcome.STALLED
    return Outcome.SUCCEEDED if view.holds("Succeeded") else Outcome.OPEN


def _picture(view: View, *, with_best: bool) -> Picture:
    spec = view.body.get("spec") or {}
    engine, model = ((spec.get(part) or {}).get("name", "?") for part in ("engine", "model"))
    done, most = _progress(view.status)
    return Picture(
        title=on_one_line(f"{view.namespace}/{view.name}: {engine}, {model}"),
        is_simulated=view.status.simulated,
        trials_done=done,
        trials_most=most,
        best=_best_phrase(view, view.status.best) if with_best and view.status.best is not None else None,
        notices=tuple(_notices(view)),
        runs=tuple(_run(view, row) for row in view.status.runs),
        pools=tuple(_pool(view, row) for row in view.status.pools),
    )


def _progress(status: StudyStatus) -> tuple[int, int]:
    done, _, most = (status.progress or "").partition("/")
    return (int(done), int(most)) if done.isdigit() and most.isdigit() else (0, 0)


def _best_phrase(view: View, best: Best) -> str:
    where = f" on pool {best.pool}" if len(view.status.pools) > 1 else ""
    stale = f" (of round {best.round})" if view.holds("ResultStale") else ""
    return f"{view.configuration(best)}{where}: {number(float(best.throughput))} tokens/s{stale}"


def _notices(view: View) -> Iterator[Notice]:
    metadata = view.body["metadata"]
    if metadata.get("deletionTimestamp"):
        yield Notice(text="Being deleted", style="bold red")
    if not view.status.conditions:
        yield _not_looked_at(view)
        return
    generation, observed = metadata.get("generation"), view.status.observed_generation
    if generation != observed:
        text = f"The spec is newer (generation {generation}) than what is shown here (generation {observed})"
        yield Notice(text=text, style="bold yellow", remedy=_IS_IT_THERE)
    yield _standing(view)


_IS_IT_THERE = "if it stays so, see whether the operator runs and what its log says"


def _not_looked_at(view: View) -> Notice:
    seconds = view.since(datetime.fromisoformat(view.body["metadata"]["creationTimestamp"]))
    remedy = "" if seconds < _FRESH_SECONDS else f"see whether the operator runs and watches namespace {view.namespace}"
    text, when = "No operator has looked at this study", f"for {duration(seconds)}"
    return Notice(text=text, style="bold yellow", when=when, remedy=remedy)


def _standing(view: View) -> Notice:
    """Return where the study stands: what the condition that says most about it says."""
    kind, word, style = next(
        ((kind, word, style) for kind, status, word, style in _STANDINGS if _has(view, kind, status)), _UNKNOWN
    )
    condition = view.condition(kind) or view.status.conditions[0]
    since = duration(view.since(condition.last_transition_time))
    told_below = kind == "Reconciling" and _is_told_by_a_run(view, condition.reason)
    return Notice(
        text=word,
        style=style,
        when=f"{since} ago" if kind == "Succeeded" else f"for {since}",
        reason="" if condition.reason == word else condition.reason,
        detail="" if told_below else condition.message.replace("; spec.", "\nspec."),
        remedy="" if told_below else remedy_for(condition.reason),
    )


def _is_told_by_a_run(view: View, reason: str) -> bool:
    """Say whether the runs below tell more of why the study is where it is, and since when."""
    states = {row.state for row in view.status.runs}
    return reason in states or (bool(states) and reason in _PHASES)


# The first that holds: condition, its status, and what that is called.
_STANDINGS = (
    ("Accepted", "False", "Refused", "bold red"),
    ("Suspended", "True", "Suspended", "bold yellow"),
    ("Stalled", "True", "Stalled", "bold red"),
    ("Succeeded", "True", "Succeeded", "bold green"),
    ("Reconciling", "True", "In progress", "bold cyan"),
)
_UNKNOWN = ("Ready", "Unknown", "bold yellow")


def _has(view: View, kind: str, status: str) -> bool:
    found = view.condition(kind)
    return found is not None and found.status == status


def _run(view: View, row: LiveRun) -> RunPicture:
    seconds = view.since(row.since)
    batches = ", ".join(str(batch) for batch in row.batch_sizes)
    shared = f"batch sizes {batches}" if len(row.batch_sizes) > 1 else f"batch size {batches}"
    where = f"{row.pool}: " if len(view.status.pools) > 1 else ""
    phase = _PHASES.get(row.state)
    return RunPicture(
        name=row.name,
        what=f"{where}{count(row.gpu_count, view.device(row.pool))}, {shared}",
        state=f"waiting: {row.state}" if phase is None else phase_text(phase),
        seconds=seconds,
        detail=row.message or "",
        remedy=remedy_for(row.state, run=row.name, seconds=seconds),
    )


def _pool(view: View, row: PoolStatus) -> PoolPicture:
    device = view.device(row.name)
    facts = [row.gpu or ""]
    if row.nodes is not None:
        facts.append(count(row.nodes, "node"))
    if row.gpus_per_node is not None:
        facts.append(f"up to {count(row.gpus_per_node, device)}")
    if row.round is not None and row.round > 1:
        facts.append(f"round {row.round}")
    if row.ended is not None:
        facts.append(f"ended: {row.ended}")
    told = ", ".join(part for part in facts if part)
    return PoolPicture(
        name=row.name,
        device=device,
        title=on_one_line(f"Pool {row.name}: {told}" if told else f"Pool {row.name}"),
        notice=_pool_problem(view, row),
        landscape=to_landscape(view.status, row, view.study),
        note=_lacking(view, row),
    )


def _lacking(view: View, row: PoolStatus) -> str:
    """Return how many trials the status had no room for."""
    known = sum((trial.pool, trial.round) == (row.name, row.round) for trial in view.status.trials)
    lacking = 0 if row.trials is None else row.trials.total - known
    return f"{count(lacking, 'trial')} of this round are not in the status any more." if lacking > 0 else ""


def _pool_problem(view: View, row: PoolStatus) -> Notice | None:
    """Return why the pool cannot be tuned now, unless the study says just that already."""
    ready = view.condition("Ready")
    if row.reason is None or (ready is not None and row.message and row.message in ready.message):
        return None
    return Notice(text=f"Waits: {row.reason}", style="yellow", detail=row.message or "", remedy=remedy_for(row.reason))


def _newest_rows(status: StudyStatus) -> Iterator[TrialRow]:
    newest = {(pool.name, pool.round) for pool in status.pools}
    return (row for row in status.trials if (row.pool, row.round) in newest)


def _trial(view: View, row: TrialRow) -> TrialLine:
    where = f"{row.pool} " if len(view.status.pools) > 1 else ""
    broken = row.state == "Broken"
    return TrialLine(
        pool=row.pool,
        round=row.round,
        index=row.index,
        what=f"{where}trial {row.index}: {view.configuration(row)}",
        run=row.run,
        attempts=row.attempts,
        state=row.state,
        outcome="" if row.state == "Running" else _trial_outcome(row),
        remedy=remedy_for(row.reason or "", run=row.run) if broken else "",
        log=f"kubectl logs --namespace {view.namespace} job/{row.run}" if broken else "",
    )


def _trial_outcome(row: TrialRow) -> str:
    why = ": ".join(part for part in (row.reason, row.message) if part)
    if row.throughput is None:
        return {"Infeasible": "cannot work: ", "Invalid": "not comparable: "}.get(row.state, "") + why
    spread = "" if row.spread is None else f" (spread {percent(float(row.spread))})"
    return f"{number(float(row.throughput))} tokens/s{spread}" + (f", {why}" if why else "")


def _condition(view: View, condition: Condition) -> ConditionLine:
    """Return a condition; what most of them say is on top of the page already."""
    tells_more = condition.type == "ResultStale" and condition.status == "True"
    return ConditionLine(
        type=condition.type,
        status=condition.status,
        reason=condition.reason,
        seconds=view.since(condition.last_transition_time),
        message=condition.message if tells_more else "",
    )


def _footer(view: View) -> str:
    """Return how old the status is: an operator that writes nothing for hours may have nothing to say, or be gone."""
    entries = view.body["metadata"].get("managedFields") or ()
    times = [datetime.fromisoformat(each["time"]) for each in entries if each.get("subresource") == "status"]
    return f"Status last written {duration(view.since(max(times)))} ago." if times else ""
