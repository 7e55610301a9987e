"""The dashboard "InfPop / Operator": whether the operator works, what it does, and what fails."""

from grafana_foundation_sdk.builders import stat, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.builders.prometheus import Dataquery

from dashboards.frame import Rows, empty_dashboard, some_of, with_rows
from dashboards.panels import areas, at_end, judged, lines, number, over_time
from dashboards.queries import best_by, or_zero, quantile_of, rate_by

_CHOSEN = 'namespace=~"$namespace"'
_POOL = "namespace, study, pool"
_NO_PASS_SECONDS = 300  # the alert InfPopNoPass
_QUANTILES = ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))


def build_operator_dashboard() -> Dashboard:
    """Return the dashboard "InfPop / Operator"."""
    board = empty_dashboard(
        "InfPop / Operator",
        uid="infpop-operator",
        description="The operator: health, queue, errors, and its requests to the API server and to Prometheus.",
        since="now-6h",
    )
    board = board.with_variable(some_of("namespace", "Namespace", "label_values(infpop_study_condition, namespace)"))
    return with_rows(board, _ROWS)


def _up() -> stat.Panel:
    text = "Scraped operators. There must be exactly one; two may be one operator that Prometheus scrapes twice."
    query = at_end("count(infpop_operator_queue_depth) or on () vector(0)", "")
    return judged(number("Operators", text, query, unit="none", width=4), good_from=1, good_below=2)


def _age() -> stat.Panel:
    text = "Time since the last successful reconcile, or since there was no study to reconcile."
    query = at_end("max(infpop_operator_last_pass_age_seconds)", "")
    return judged(number("Last success", text, query, unit="s", width=4), good_below=_NO_PASS_SECONDS)


def _active_runs() -> stat.Panel:
    text = "Active runs in the selected namespaces."
    query = at_end(f"sum({best_by(_POOL, 'infpop_study_runs', _CHOSEN)})", "")
    return number("Active runs", text, query, unit="none", width=4)


def _spent() -> stat.Panel:
    text = "GPU-hours of the ended runs of all existing studies in the selected namespaces."
    query = at_end(f"sum({best_by(_POOL, 'infpop_study_gpu_seconds_total', _CHOSEN)}) / 3600", "")
    return number("GPU-hours", text, query, unit="suffix: GPU-h", width=4).decimals(1)


def _held_total() -> stat.Panel:
    text = "GPU-hours that finished runs spent waiting for a scrape of their final values, in the selected time range."
    query = at_end(or_zero("sum(increase(infpop_held_gpu_seconds_total[$__range])) / 3600"), "")
    return number("GPU-hours waiting for scrapes", text, query, unit="suffix: GPU-h", width=4).decimals(3)


def _left_out() -> stat.Panel:
    text = "Studies that have no series of their own because there are more than 1,000."
    query = at_end("max(infpop_studies_without_series)", "")
    return judged(number("Studies without series", text, query, unit="none", width=4), good_below=1)


def _reconciles() -> timeseries.Panel:
    text = "Finished reconciles by result. A conflict is retried; the log has the reason of an error."
    query = over_time(rate_by("result", "infpop_operator_reconciles_total"), "{{result}}")
    return areas("Reconciles", text, query, unit="ops", width=8)


def _reconcile_seconds() -> timeseries.Panel:
    text = "Duration of a reconcile of a study."
    histogram = "infpop_operator_reconcile_seconds"
    return lines("Duration of a reconcile", text, *_quantiles(histogram), unit="s", width=8)


def _queue() -> timeseries.Panel:
    text = "Studies that wait for a reconcile or are being reconciled."
    return lines("Queue", text, over_time("max(infpop_operator_queue_depth)", "studies"), unit="none", width=8)


def _age_over_time() -> timeseries.Panel:
    text = "Time since the last successful reconcile, or since there was no study to reconcile. Alerts after 5 minutes."
    query = over_time("max(infpop_operator_last_pass_age_seconds)", "last success")
    return lines("Time since the last success", text, query, unit="s", width=8)


def _processor() -> timeseries.Panel:
    text = "Processor time of the operator's process."
    query = "rate(process_cpu_seconds_total[$__rate_interval])" + _OF_THE_OPERATOR
    return lines("CPU", text, over_time(f"sum({query})", "CPU"), unit="suffix: cores", width=8)


def _memory() -> timeseries.Panel:
    text = "Resident memory of the operator's process."
    query = "process_resident_memory_bytes" + _OF_THE_OPERATOR
    return lines("Memory", text, over_time(f"max({query})", "resident"), unit="bytes", width=8)


_OF_THE_OPERATOR = " and on (job, instance) infpop_operator_queue_depth"


def _requests() -> timeseries.Panel:
    text = 'Requests to the API server; code "none" means no answer.'
    query = over_time(rate_by("verb, code", "infpop_operator_api_requests_total"), "{{verb}} {{code}}")
    return areas("API requests", text, query, unit="reqps", width=12)


def _failures() -> timeseries.Panel:
    text = "Refused or unanswered API requests (conflicts and absent objects are normal), and failed reconciles."
    refused = rate_by("code", "infpop_operator_api_requests_total", 'code=~"none|4..|5..", code!~"404|409|410"')
    failed = rate_by("result", "infpop_operator_reconciles_total", 'result=~"error|unexpected"')
    return lines(
        "Errors",
        text,
        over_time(or_zero(refused), "API {{code}}", ref="A"),
        over_time(or_zero(failed), "reconcile {{result}}", ref="B"),
        unit="ops",
        width=12,
    )


def _states() -> timeseries.Panel:
    text = "Studies by state, in all namespaces."
    return areas("Studies", text, over_time("max by (state) (infpop_studies)", "{{state}}"), unit="none", width=8)


def _outcomes() -> timeseries.Panel:
    text = "Trials of the newest rounds, by outcome and reason, in the selected namespaces."
    trials = best_by(f"{_POOL}, outcome, reason", "infpop_study_trials", _CHOSEN)
    query = over_time(f"sum by (outcome, reason) ({trials})", "{{outcome}} {{reason}}")
    return areas("Trials", text, query, unit="none", width=8)


def _rounds() -> timeseries.Panel:
    text = "Rounds that began or were resumed, by their reason, and changes of what studies publish, of all studies."
    began = over_time(or_zero("sum by (reason, start) (increase(infpop_rounds_total[1h]))"), "{{reason}} {{start}}")
    published = "sum by (reason) (increase(infpop_publications_total[1h]))"
    changed = over_time(or_zero(published), "published: {{reason}}", ref="B")
    return lines("Rounds and publications in an hour", text, began, changed, unit="none", width=12)


def _stale() -> timeseries.Panel:
    text = "How long results have been out of date, the ten longest; an alert fires after an hour without a search."
    longest = f"topk(10, max by (namespace, study) (infpop_study_result_stale_seconds{{{_CHOSEN}}}))"
    return lines("Stale results", text, over_time(longest, "{{namespace}}/{{study}}"), unit="s", width=12)


def _unchanged() -> timeseries.Panel:
    text = "Time without progress of unfinished studies, the ten longest; an alert fires after an hour."
    longest = f"topk(10, max by (namespace, study) (infpop_study_unchanged_seconds{{{_CHOSEN}}}))"
    query = over_time(longest, "{{namespace}}/{{study}}")
    return lines("Time without progress", text, query, unit="s", width=8)


def _questions() -> timeseries.Panel:
    text = "Requests to Prometheus, health checks included: ok, or the reason why there was no answer."
    query = over_time(or_zero(rate_by("outcome", "infpop_prometheus_queries_total")), "{{outcome}}")
    return areas("Prometheus queries", text, query, unit="reqps", width=8)


def _missing() -> timeseries.Panel:
    text = (
        "Ended runs for which a metrics source lacked a number, so that InfPop asked the next source. No trial is lost."
    )
    query = "sum by (source, reason) (increase(infpop_source_missing_total[$__rate_interval]))"
    return areas("Missing numbers", text, over_time(or_zero(query), "{{source}} {{reason}}"), unit="none", width=8)


def _held() -> timeseries.Panel:
    text = "Time that finished runs waited for a scrape; half a scrape interval is the best possible value."
    return lines("Waiting for a scrape", text, *_quantiles("infpop_run_held_seconds"), unit="s", width=8)


def _quantiles(histogram: str) -> tuple[Dataquery, ...]:
    return tuple(
        over_time(quantile_of(level, histogram), name, ref=ref)
        for (level, name), ref in zip(_QUANTILES, "ABC", strict=True)
    )


_ROWS: Rows = {
    "Health": (_up, _age, _left_out, _active_runs, _spent, _held_total),
    "Work": (_reconciles, _reconcile_seconds, _queue, _age_over_time, _processor, _memory),
    "API server and errors": (_requests, _failures),
    "Studies": (_states, _outcomes, _unchanged),
    "Rounds": (_rounds, _stale),
    "Prometheus": (_questions, _missing, _held),
}
