"""The dashboard "InfPop / Operator": whether it works, what it does, and what stands in its way."""

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
    """Return the dashboard."""
    board = empty_dashboard(
        "InfPop / Operator",
        uid="infpop-operator",
        description="The operator: health, queue, errors, and what it asks of the API server and of Prometheus.",
        since="now-6h",
    )
    board = board.with_variable(some_of("namespace", "Namespace", "label_values(infpop_study_condition, namespace)"))
    return with_rows(board, _ROWS)


def _up() -> stat.Panel:
    text = "Operators that are scraped. There has to be exactly one; two may be one that is scraped twice."
    query = at_end("count(infpop_operator_queue_depth) or on () vector(0)", "")
    return judged(number("Operators", text, query, unit="none", width=4), good_from=1, good_below=2)


def _age() -> stat.Panel:
    text = "Time since a look at a study ended well, or since there was nothing to look at."
    query = at_end("max(infpop_operator_last_pass_age_seconds)", "")
    return judged(number("Last pass", text, query, unit="s", width=4), good_below=_NO_PASS_SECONDS)


def _live_runs() -> stat.Panel:
    text = "Runs that live now, in the chosen namespaces."
    query = at_end(f"sum({best_by(_POOL, 'infpop_study_runs', _CHOSEN)})", "")
    return number("Live runs", text, query, unit="none", width=4)


def _spent() -> stat.Panel:
    text = "GPU-hours of all ended runs of the studies that there are, in the chosen namespaces."
    query = at_end(f"sum({best_by(_POOL, 'infpop_study_gpu_seconds_total', _CHOSEN)}) / 3600", "")
    return number("GPU-hours", text, query, unit="suffix: GPU-h", width=4).decimals(1)


def _held_total() -> stat.Panel:
    text = "GPU-hours that finished runs were held in the shown time until Prometheus had seen their last values."
    query = at_end(or_zero("sum(increase(infpop_held_gpu_seconds_total[$__range])) / 3600"), "")
    return number("GPU-hours held for scrapes", text, query, unit="suffix: GPU-h", width=4).decimals(3)


def _left_out() -> stat.Panel:
    text = "Studies beyond the 1,000 that have series of their own."
    query = at_end("max(infpop_studies_without_series)", "")
    return judged(number("Studies without series", text, query, unit="none", width=4), good_below=1)


def _looks() -> timeseries.Panel:
    text = "Looks at a study that ended, by how. Conflicts are looked at again; the reason of an error is in the log."
    query = over_time(rate_by("result", "infpop_operator_reconciles_total"), "{{result}}")
    return areas("Looks at studies", text, query, unit="ops", width=8)


def _look_seconds() -> timeseries.Panel:
    text = "How long a look at a study took."
    histogram = "infpop_operator_reconcile_seconds"
    return lines("Duration of a look", text, *_quantiles(histogram), unit="s", width=8)


def _queue() -> timeseries.Panel:
    text = "Studies that are due or looked at now."
    return lines("Queue", text, over_time("max(infpop_operator_queue_depth)", "studies"), unit="none", width=8)


def _age_over_time() -> timeseries.Panel:
    text = "Time since a look at a study ended well, or since there was nothing to look at; an alert from 5 minutes on."
    query = over_time("max(infpop_operator_last_pass_age_seconds)", "last pass")
    return lines("Age of the last pass", text, query, unit="s", width=8)


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
    text = 'Requests to the API server; code "none": there was no answer.'
    query = over_time(rate_by("verb, code", "infpop_operator_api_requests_total"), "{{verb}} {{code}}")
    return areas("API requests", text, query, unit="reqps", width=12)


def _failures() -> timeseries.Panel:
    text = "What went wrong: refused or unanswered API requests (conflicts and absent objects are ordinary), and looks."
    refused = rate_by("code", "infpop_operator_api_requests_total", 'code=~"none|4..|5..", code!~"404|409|410"')
    failed = rate_by("result", "infpop_operator_reconciles_total", 'result=~"error|unexpected"')
    return lines(
        "Errors",
        text,
        over_time(or_zero(refused), "API {{code}}", ref="A"),
        over_time(or_zero(failed), "look {{result}}", ref="B"),
        unit="ops",
        width=12,
    )


def _states() -> timeseries.Panel:
    text = "Studies by state, in all namespaces."
    return areas("Studies", text, over_time("max by (state) (infpop_studies)", "{{state}}"), unit="none", width=8)


def _outcomes() -> timeseries.Panel:
    text = "Trials of the newest rounds, by outcome and reason, in the chosen namespaces."
    trials = best_by(f"{_POOL}, outcome, reason", "infpop_study_trials", _CHOSEN)
    query = over_time(f"sum by (outcome, reason) ({trials})", "{{outcome}} {{reason}}")
    return areas("Trials", text, query, unit="none", width=8)


def _unchanged() -> timeseries.Panel:
    text = "For how long nothing changed in studies that go on, the ten longest; an alert from an hour on."
    longest = f"topk(10, max by (namespace, study) (infpop_study_unchanged_seconds{{{_CHOSEN}}}))"
    query = over_time(longest, "{{namespace}}/{{study}}")
    return lines("Unchanged since", text, query, unit="s", width=8)


def _questions() -> timeseries.Panel:
    text = "Requests to Prometheus, those that only ask whether it is there among them: ok, or why there was no answer."
    query = over_time(or_zero(rate_by("outcome", "infpop_prometheus_queries_total")), "{{outcome}}")
    return areas("Prometheus queries", text, query, unit="reqps", width=8)


def _missing() -> timeseries.Panel:
    text = "Ended runs that a source lacked a number of, so that the next source was asked. No trial is lost."
    query = "sum by (source, reason) (increase(infpop_source_missing_total[$__rate_interval]))"
    return areas("Missing numbers", text, over_time(or_zero(query), "{{source}} {{reason}}"), unit="none", width=8)


def _held() -> timeseries.Panel:
    text = "How long finished runs were held for a scrape; about half a scrape interval is as good as it can be."
    return lines("Held for a scrape", text, *_quantiles("infpop_run_held_seconds"), unit="s", width=8)


def _quantiles(histogram: str) -> tuple[Dataquery, ...]:
    return tuple(
        over_time(quantile_of(level, histogram), name, ref=ref)
        for (level, name), ref in zip(_QUANTILES, "ABC", strict=True)
    )


_ROWS: Rows = {
    "Health": (_up, _age, _left_out, _live_runs, _spent, _held_total),
    "Work": (_looks, _look_seconds, _queue, _age_over_time, _processor, _memory),
    "API server and errors": (_requests, _failures),
    "Studies": (_states, _outcomes, _unchanged),
    "Prometheus": (_questions, _missing, _held),
}
