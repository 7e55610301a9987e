"""The conclusion of a study: what it found and what that cost, shown at the end of the page once it has ended."""

from collections.abc import Iterator, Mapping

from infpop_operator.api.convert import to_metric
from infpop_operator.api.spec_pool import NodePool
from infpop_operator.api.status_model import Baseline, Best, Condition, Confirmed, PoolStatus
from infpop_operator.api.status_rounds import BASELINE_INFEASIBLE
from infpop_operator.core.model import ENDED_ON_REQUEST
from infpop_operator.report.advice import remedy_for
from infpop_operator.report.busy_machine import LARGE_SPREAD, explanation
from infpop_operator.report.round_view import measured_on
from infpop_operator.report.serving import render_serving
from infpop_operator.report.shown_study import ShownStudy
from infpop_operator.report.status_page import Conclusion, Outcome
from infpop_operator.report.untried import untried_facts
from infpop_operator.report.words import certainty, interval_text, number, on_one_line, percent, reused_phrase
from infpop_runner.contract import InvalidReason

NOT_CONFIRMED = "NotConfirmed"
_UNSTABLE: InvalidReason = "UnstableRepeats"
SPENT = "Spent"  # the name of the fact that says what a study has used
_STATES = {  # what the counts of trials are called
    "measured": "measured",
    "raced_out": "slower than the best",
    "infeasible": "infeasible",
    "invalid": "invalid",
    "broken": "broken",
    "stopped": "stopped",
    "running": "running",
}
_ENDS = {  # why a search ends, of the reasons that say nothing more themselves
    "MaxTrialsReached": "budget.maxTrials is spent",
    "SpaceExhausted": "every configuration was tried, or is certain to fail",
    "Plateau": "the last trials improved the best by less than budget.plateau asks for",
    "ConfidenceReached": "the search is as sure of its best as budget.plateau.confidence asks for",
    "DeadlineReached": "budget.deadline has passed",
    "GPUHoursSpent": "budget.maxGPUHours is spent",
}
_FOUND = ("Best configuration found", "bold green")
_NOTHING = ("No recommendation", "bold red")
_STOPPED_EARLY = ("Stopped early: best so far", "bold yellow")
_INTERRUPTED = ("Stopped before the end", "bold yellow")
_DECISIVE_CONDITION = {Outcome.SUCCEEDED: "Succeeded", Outcome.STALLED: "Stalled", Outcome.INTERRUPTED: "Ready"}


def conclusion_of(shown: ShownStudy, outcome: Outcome) -> Conclusion | None:
    """Return what an ended study found and what it cost; None if it is still running or never started."""
    best = shown.status.best
    if outcome is Outcome.OPEN or (outcome is Outcome.STALLED and not shown.status.trials):
        return None
    title, style = _title(outcome, has_best=best is not None)
    serving = None if best is None else _serving(shown, best)
    return Conclusion(
        title=title,
        style=style,
        facts=(*_best_facts(shown, best), *_search_facts(shown, outcome), *_where(shown, outcome)),
        serving=serving,
        note="" if best is None or serving is None else _context_note(best),
    )


def _title(outcome: Outcome, *, has_best: bool) -> tuple[str, str]:
    if outcome is Outcome.SUCCEEDED:
        return _FOUND
    if outcome is Outcome.INTERRUPTED:
        return _INTERRUPTED
    return _STOPPED_EARLY if has_best else _NOTHING


def _serving(shown: ShownStudy, best: Best) -> str | None:
    """Return the serving command to copy; None if its arguments are unknown or a terminal would alter its text."""
    if shown.object.document is None or not best.engine_args:
        return None
    model = shown.object.model
    printable = model.isprintable() and all(argument.isprintable() for argument in best.engine_args)
    return render_serving(shown.object.engine, model, best.engine_args) if printable else None


def _context_note(best: Best) -> str:
    if best.max_model_len is None:
        return ""
    length = f"--max-model-len={best.max_model_len}"
    return f"Measured with {length}: longer requests are refused, and a longer context leaves less room for the batch."


def _best_facts(shown: ShownStudy, best: Best | None) -> Iterator[tuple[str, str]]:
    if best is None:
        yield from _busy_machine(shown, None)
        return
    device = shown.device(best.pool)
    pool = next((row for row in shown.status.pools if row.name == best.pool), None)
    yield ("Configuration", shown.configuration(best.pool, best))
    gpu = measured_on(shown, best.pool, best.round)
    yield ("Pool", f"{best.pool}: {gpu}" if gpu is not None else best.pool)
    yield from _throughput(best, pool)
    yield from _busy_machine(shown, best)
    if best.reused_from is not None:
        yield ("Measured by", on_one_line(f"study {best.reused_from}, run {best.run}; this study took its number over"))
    yield (f"Per {device}", f"{_number(best.throughput_per_gpu)} tokens/s")
    if best.cost_per_million_tokens is not None:
        yield ("Cost", f"{_number(best.cost_per_million_tokens)} per million tokens{_price(shown, best.pool)}")
    if best.tokens_per_joule is not None:
        yield ("Energy", f"{_number(best.tokens_per_joule)} tokens per joule")
    if best.seconds_per_output_token is not None:
        yield ("Per sequence", f"{_number(best.seconds_per_output_token)} s for an output token, within the batch")
    if best.metrics:
        yield ("Metrics", _metrics(shown, best.metrics))
    if pool is not None and pool.baseline is not None and pool.round == best.round:
        yield ("Baseline", _against_baseline(shown, pool, pool.baseline))
    if best.tied_with is not None:
        tied = shown.configuration(best.pool, best.tied_with)
        tokens = f"{_number(best.tied_with.throughput)} tokens/s{reused_phrase(best.tied_with.reused_from)}"
        yield ("As good", f"{tied}: {tokens}; the difference is within the noise, so fewer {device}s win")


def _busy_machine(shown: ShownStudy, best: Best | None) -> Iterator[tuple[str, str]]:
    """Yield what took the CPUs of this machine if the repeats of the best, or of a trial without a number, differ."""
    differ = best is not None and float(best.spread) >= LARGE_SPREAD
    if shown.place.load is not None and (differ or any(row.reason == _UNSTABLE for row in shown.newest_rows())):
        yield ("Busy machine", explanation(shown.place.load))


def _throughput(best: Best, pool: PoolStatus | None) -> Iterator[tuple[str, str]]:
    """Yield the throughput with what is known of its noise, and why it, or a better one, is not confirmed."""
    repeats = f" over {best.repeats} repeats" if best.repeats is not None else ""
    how_sure = f"spread {percent(float(best.spread))}{repeats}"
    if best.mode is not None:
        how_sure = certainty(best.interval, best.measured_seconds) or how_sure
    if best.confirmed is None:
        yield ("Throughput", f"{_number(best.throughput)} tokens/s ({how_sure})")
    else:
        yield ("Throughput", _confirmed(best, best.confirmed))
    again = None if pool is None else pool.confirmation
    if again is not None and again.state == NOT_CONFIRMED:
        why = (again.message or again.reason or "").removeprefix("the best is not confirmed: ")
        yield ("Not confirmed", on_one_line(why))
    if again is not None and again.unchecked is not None:
        yield ("Not checked", on_one_line(again.unchecked))


def _confirmed(best: Best, confirmed: Confirmed) -> str:
    interval = "" if confirmed.interval is None else f" ({interval_text(confirmed.interval)})"
    return f"{_number(best.throughput)} tokens/s{interval}, confirmed on {confirmed.loads} fresh loads"


def _number(text: str) -> str:
    return number(float(text))


def _price(shown: ShownStudy, pool: str) -> str:
    """Return the price used to compute a cost; empty if the current spec has none."""
    nodes: list[NodePool] = shown.object.document.spec.node_pools if shown.object.document is not None else []
    price = next((node.price_per_gpu_hour for node in nodes if node.name == pool), None)
    return "" if price is None else f", at {float(price):g} per {shown.device(pool)} and hour"


def _metrics(shown: ShownStudy, metrics: Mapping[str, str]) -> str:
    """Return the extra metrics, with those units that the spec gives."""
    asked = shown.object.document.spec.metrics if shown.object.document is not None else ()
    units = {metric.name: to_metric(metric).unit for metric in asked}
    texts = (f"{name} {_number(text)} {units.get(name, '')}" for name, text in metrics.items())
    return ", ".join(text.rstrip() for text in texts)


def _against_baseline(shown: ShownStudy, pool: PoolStatus, baseline: Baseline) -> str:
    configuration = shown.configuration(pool.name, baseline)
    if pool.improvement_reason == BASELINE_INFEASIBLE:
        return f"{configuration}: cannot work on this hardware ({baseline.reason}), so there is nothing to compare with"
    if baseline.throughput is None:
        return f"{configuration}: not measured in this round{_why_not_measured(shown, pool, baseline)}"
    tokens = f"{configuration}: {_number(baseline.throughput)} tokens/s{reused_phrase(baseline.reused_from)}"
    if pool.improvement_percent is None:
        return tokens
    metric = shown.object.document.spec.objective.metric if shown.object.document is not None else "objective"
    improved = f"{tokens}, improved by {pool.improvement_percent} %"
    if pool.improvement_interval is None:
        return f"{improved} ({metric})"
    low, _, _ = pool.improvement_interval.partition(" to ")
    doubt = ": that may be noise" if low.startswith("-") or low == "0.0" else ""
    return f"{improved} ({pool.improvement_interval} %{doubt}; {metric})"


def _why_not_measured(shown: ShownStudy, pool: PoolStatus, baseline: Baseline) -> str:
    wanted = (pool.name, pool.round, baseline.gpu_count, baseline.batch_size, baseline.extra)
    for row in shown.status.trials:
        if (row.pool, row.round, row.gpu_count, row.batch_size, row.extra) == wanted:
            return f" ({row.reason or row.state})"
    return ""


def _search_facts(shown: ShownStudy, outcome: Outcome) -> Iterator[tuple[str, str]]:
    rows = [row.trials for row in shown.status.pools if row.trials is not None]
    amounts = {state: sum(getattr(row, state, None) or 0 for row in rows) for state in _STATES}
    amounts["stopped"] = _stopped(shown)
    amounts["broken"] = max(0, amounts["broken"] - amounts["stopped"])
    states = ", ".join(f"{amount} {_STATES[state]}" for state, amount in amounts.items() if amount)
    total = sum(row.total for row in rows)
    reused = sum(row.reused or 0 for row in rows)
    others = f" (other studies measured {reused} of them)" if reused else ""
    yield ("Trials", f"{total}: {states}{others}" if total else "none")
    yield from untried_facts(shown)
    condition = shown.object.condition(_DECISIVE_CONDITION[outcome])
    if condition is not None:
        yield ("Ended because", _end(condition.reason))
    yield (SPENT, _spent(shown))


def _end(reason: str) -> str:
    """Return the reason in words, with its name, which the documents and the conditions use."""
    return f"{_ENDS[reason]} ({reason})" if reason in _ENDS else reason


def _stopped(shown: ShownStudy) -> int:
    """Return how many trials of the newest rounds were stopped, which a status counts as broken."""
    return sum(row.state == "Broken" and row.reason in ENDED_ON_REQUEST for row in shown.newest_rows())


def _spent(shown: ShownStudy) -> str:
    hours = float(shown.status.gpu_hours)
    device = shown.device(shown.status.pools[0].name) if shown.status.pools else "GPU"
    spent = f"{number(hours)} {device}-hours" if hours >= 1 else f"{number(hours * 3600)} {device}-seconds"
    return f"{spent} of replaying" if shown.status.simulated else spent


def _where(shown: ShownStudy, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Yield where the user finds the result."""
    publish = shown.object.document.spec.publish if shown.object.document is not None else None
    if shown.place.directory is not None:
        yield ("Files", str(shown.place.directory))
    elif publish is not None and outcome is Outcome.SUCCEEDED:
        yield _published(shown, publish.config_map, shown.object.condition("Published"))


def _published(shown: ShownStudy, config_map: str, condition: Condition | None) -> tuple[str, str]:
    """Return where the operator published a result, and which if it is not the best, or why it did not publish.

    Older operators wrote no condition.
    """
    if condition is None:
        return ("Published", f"in ConfigMap {config_map}; an Event reports success or the error")
    if condition.status != "True":
        return ("Not published", f"{condition.message}; {remedy_for(condition.reason)}")
    best, row = shown.status.best, shown.status.published
    if row is None or best is None or _configuration(row) == _configuration(best):
        return ("Published", f"in ConfigMap {config_map}")
    what = f"{shown.configuration(row.pool, row)} on pool {row.pool}"
    return ("Published", f"in ConfigMap {config_map}: {what}, which stays until another is clearly better")


def _configuration(row: Best) -> tuple[object, ...]:
    return (row.pool, row.gpu_count, row.batch_size, row.extra)
