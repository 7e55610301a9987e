"""The dashboard "InfPop / Studies": all studies in one table, each with a link to its own dashboard."""

from grafana_foundation_sdk.builders import bargauge, stat, table
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from dashboards.frame import Rows, empty_dashboard, some_of, with_rows
from dashboards.panels import TOKENS_PER_SECOND, at_end, bars, columns, number, rows, rows_and_columns, shown_as, step
from dashboards.queries import best_by

_CHOSEN = 'namespace=~"$namespace"'
_STUDY = "namespace, study"
_POOL = "namespace, study, pool"
_MOST = 20  # bars of a chart: more cannot be read
# Grafana fills in the fields of the row or the labels of the bar, and the selected time range.
_LINK = "/d/infpop-study?var-datasource=${{datasource}}&var-namespace={0}&var-study={1}&${{__url_time_range}}"
_OF_ROW = _LINK.format("${__data.fields.namespace}", "${__data.fields.study}")
_OF_BAR = _LINK.format("${__field.labels.namespace}", "${__field.labels.study}")


def build_studies_dashboard() -> Dashboard:
    """Return the dashboard "InfPop / Studies"."""
    board = empty_dashboard(
        "InfPop / Studies",
        uid="infpop-studies",
        description="All studies with their state and result; a study's name leads to its own dashboard.",
        since="now-24h",
    )
    board = board.with_variable(some_of("namespace", "Namespace", "label_values(infpop_study_info, namespace)"))
    return with_rows(board, _ROWS)


def _states() -> stat.Panel:
    text = "Studies in the selected namespaces by state."
    query = at_end(f"count by (state) ({best_by(f'{_STUDY}, state', 'infpop_study_info', _CHOSEN)})", "{{state}}")
    return number("By state", text, query, unit="none", width=12)


def _gpu_hours() -> stat.Panel:
    text = "GPUs times hours of all ended runs of these studies."
    query = at_end(f"sum({_hours_of_pools()})", "")
    return number("GPU-hours", text, query, unit="suffix: GPU-h", width=6).decimals(1)


def _left_out() -> stat.Panel:
    text = "Studies of all namespaces without series of their own, or without a landscape, because there are too many."
    query = at_end("max(infpop_studies_without_series) + max(infpop_studies_without_landscape)", "")
    return number("Left out", text, query, unit="none", width=6)


def _hours_of_pools() -> str:
    return f"{best_by(_POOL, 'infpop_study_gpu_seconds_total', _CHOSEN)} / 3600"


def _studies() -> table.Panel:
    text = "Every study, with its highest throughput and gain of all pools. A study's name leads to its dashboard."
    panel = rows_and_columns(
        "Studies",
        text,
        rows(best_by(f"{_STUDY}, model, engine, state", "infpop_study_info", _CHOSEN), ref="A"),
        rows(best_by(_STUDY, "infpop_study_best_throughput_tokens_per_second", _CHOSEN), ref="B"),
        rows(best_by(_STUDY, "infpop_study_improvement_ratio", _CHOSEN), ref="C"),
        rows(f"sum by ({_STUDY}) ({_hours_of_pools()})", ref="D"),
        width=24,
        height=10,
    )
    names = {
        "namespace": "namespace",
        "study": "study",
        "state": "state",
        "model": "model",
        "engine": "engine",
        "Value #B": "tokens/s",
        "Value #C": "gain",
        "Value #D": "GPU-h",
    }
    panel = panel.with_transformation(step("merge")).with_transformation(columns(names, hidden=["Value #A"]))
    return (
        panel.override_by_name("study", _link(_OF_ROW))
        .override_by_name("tokens/s", shown_as({"decimals": 1}))
        .override_by_name("gain", shown_as({"unit": "percentunit", "decimals": 1}))
        .override_by_name("GPU-h", shown_as({"decimals": 2}))
    )


def _pools() -> table.Panel:
    text = (
        "The best configuration of each pool's newest round. A cost is in the currency of the study's pricePerGPUHour: "
        "only studies of one currency can be compared."
    )
    panel = rows_and_columns(
        "Best of each pool",
        text,
        rows(best_by(f"{_POOL}, gpu", "infpop_study_pool_info", _CHOSEN), ref="A"),
        rows(best_by(f"{_POOL}, gpu_count, batch_size", "infpop_study_best_info", _CHOSEN), ref="B"),
        rows(best_by(_POOL, "infpop_study_best_throughput_tokens_per_second", _CHOSEN), ref="C"),
        rows(best_by(_POOL, "infpop_study_best_tokens_per_second_per_gpu", _CHOSEN), ref="D"),
        rows(best_by(_POOL, "infpop_study_best_cost_per_million_tokens", _CHOSEN), ref="E"),
        rows(best_by(_POOL, "infpop_study_best_tokens_per_joule", _CHOSEN), ref="F"),
        width=24,
        height=10,
    )
    names = {
        "namespace": "namespace",
        "study": "study",
        "pool": "pool",
        "gpu": "GPU model",
        "gpu_count": "GPUs",
        "batch_size": "batch size",
        "Value #C": "tokens/s",
        "Value #D": "tokens/s per GPU",
        "Value #E": "cost per million tokens",
        "Value #F": "tokens per joule",
    }
    hidden = ["Value #A", "Value #B"]
    panel = panel.with_transformation(step("merge")).with_transformation(columns(names, hidden=hidden))
    for name in ("tokens/s", "tokens/s per GPU"):
        panel = panel.override_by_name(name, shown_as({"decimals": 1}))
    for name in ("cost per million tokens", "tokens per joule"):
        panel = panel.override_by_name(name, shown_as({"decimals": 2}))
    return panel.override_by_name("study", _link(_OF_ROW))


def _per_gpu() -> bargauge.Panel:
    text = f"Throughput per GPU of the best configuration of each pool, the {_MOST} highest."
    return _chart("Throughput per GPU", text, "infpop_study_best_tokens_per_second_per_gpu", unit=TOKENS_PER_SECOND)


def _cost() -> bargauge.Panel:
    text = f"What a million generated tokens cost with the best configuration of each pool, the {_MOST} lowest."
    return _chart("Cost per million tokens", text, "infpop_study_best_cost_per_million_tokens", pick="bottomk")


def _per_joule() -> bargauge.Panel:
    text = f"Tokens per joule with the best configuration of each pool, the {_MOST} highest."
    return _chart("Tokens per joule", text, "infpop_study_best_tokens_per_joule")


def _chart(title: str, text: str, metric: str, *, unit: str = "none", pick: str = "topk") -> bargauge.Panel:
    query = at_end(f"sort_desc({pick}({_MOST}, {best_by(_POOL, metric, _CHOSEN)}))", "{{study}} ({{pool}})")
    panel = bars(title, text, query, unit=unit, width=8, height=10)
    return panel.override_by_regexp(".*", _link(_OF_BAR))


def _link(url: str) -> list[DynamicConfigValue]:
    return shown_as({"links": [{"title": "Open the study", "url": url}]})


_ROWS: Rows = {
    "Studies": (_states, _gpu_hours, _left_out, _studies),
    "Results": (_pools,),
    "Per GPU, cost and energy": (_per_gpu, _cost, _per_joule),
}
