"""What an ended study's object says of its result: the facts of its page's end."""

from collections.abc import Iterator, Mapping

from infpop_operator.api.convert import to_metric
from infpop_operator.api.status_model import Best, PoolStatus
from infpop_operator.cluster.view import View
from infpop_operator.report.conclusion import FOUND, NOTHING, STOPPED_EARLY, Conclusion
from infpop_operator.report.serving import serving_text
from infpop_operator.report.status_page import Outcome
from infpop_operator.report.words import configuration_phrase, number, percent

_STATES = ("Measured", "Infeasible", "Invalid", "Broken", "Running")


def conclusion_of(view: View, outcome: Outcome) -> Conclusion | None:
    """Return what an ended study found and what it cost, None where it never began."""
    best = view.status.best
    if outcome is Outcome.STALLED and not view.status.trials:
        return None
    title, style = FOUND if outcome is Outcome.SUCCEEDED else STOPPED_EARLY if best is not None else NOTHING
    return Conclusion(
        title=title,
        style=style,
        facts=(*_best_facts(view, best), *_search_facts(view), *_published(view, outcome)),
        serving=None if best is None else _serving(view, best),
    )


def _serving(view: View, best: Best) -> str | None:
    """Return what to copy; not a text that shows as another one than it is, nor without arguments that nobody knows."""
    if view.document is None or not best.engine_args:
        return None
    model = view.document.spec.model.name
    printable = model.isprintable() and all(argument.isprintable() for argument in best.engine_args)
    return serving_text(view.document.spec.engine.name, model, best.engine_args) if printable else None


def _best_facts(view: View, best: Best | None) -> Iterator[tuple[str, str]]:
    if best is None:
        return
    device = view.device(best.pool)
    pool = next((row for row in view.status.pools if row.name == best.pool), None)
    yield ("Configuration", view.configuration(best))
    yield ("Pool", f"{best.pool}: {pool.gpu}" if pool is not None and pool.gpu else best.pool)
    yield ("Throughput", f"{number(float(best.throughput))} tokens/s (spread {percent(float(best.spread))})")
    yield (f"Per {device}", f"{number(float(best.throughput_per_gpu))} tokens/s")
    if best.cost_per_million_tokens is not None:
        yield ("Cost", f"{number(float(best.cost_per_million_tokens))} per million tokens")
    if best.tokens_per_joule is not None:
        yield ("Energy", f"{number(float(best.tokens_per_joule))} tokens per joule")
    if best.metrics:
        yield ("Metrics", _metrics(view, best.metrics))
    if pool is not None and pool.baseline is not None:
        yield ("Baseline", _against_baseline(view, pool))


def _metrics(view: View, metrics: Mapping[str, str]) -> str:
    """Return further metrics with their units, as far as the spec tells them."""
    asked = view.document.spec.metrics if view.document is not None else ()
    units = {metric.name: to_metric(metric).unit for metric in asked}
    shown = (f"{name} {number(float(text))} {units.get(name, '')}" for name, text in metrics.items())
    return ", ".join(text.rstrip() for text in shown)


def _against_baseline(view: View, pool: PoolStatus) -> str:
    baseline = pool.baseline
    if baseline is None:
        return ""
    shown = configuration_phrase(baseline.gpu_count, view.device(pool.name), baseline.batch_size, {})
    if baseline.throughput is None:
        return f"{shown}: not measured in this round"
    if pool.improvement_percent is None:
        return f"{shown}: {number(float(baseline.throughput))} tokens/s"
    metric = view.document.spec.objective.metric if view.document is not None else "objective"
    tokens = number(float(baseline.throughput))
    return f"{shown}: {tokens} tokens/s, improved by {pool.improvement_percent} % ({metric})"


def _search_facts(view: View) -> Iterator[tuple[str, str]]:
    rows = [row.trials for row in view.status.pools if row.trials is not None]
    amounts = {state: sum(getattr(row, state.lower()) for row in rows) for state in _STATES}
    states = ", ".join(f"{amount} {state.lower()}" for state, amount in amounts.items() if amount)
    total = sum(row.total for row in rows)
    yield ("Trials", f"{total}: {states}" if total else "none")
    spent = f"{number(float(view.status.gpu_hours))} GPU-hours"
    yield ("Spent", f"{spent} of replaying" if view.status.simulated else spent)


def _published(view: View, outcome: Outcome) -> Iterator[tuple[str, str]]:
    publish = view.document.spec.publish if view.document is not None else None
    if publish is not None and outcome is Outcome.SUCCEEDED:
        yield ("Published", f"in ConfigMap {publish.config_map}; an Event says so, or why not")
