"""The dashboard "InfPop / Study": what one study found, on which pools, and what it cost."""

from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.common import BigValueTextMode

from dashboards import queries
from dashboards.frame import Rows, empty_dashboard, one_of, some_of, with_rows
from dashboards.panels import (
    TOKENS_PER_SECOND,
    areas,
    at_end,
    bars,
    columns,
    lines,
    number,
    over_time,
    rows,
    rows_and_columns,
    shown_as,
    step,
)
from dashboards.study_charts import best_so_far, landscape, pools_side_by_side, times_of_runs

_SECONDS_PER_HOUR = 3600


def build_study_dashboard() -> Dashboard:
    """Return the dashboard "InfPop / Study"."""
    board = empty_dashboard(
        "InfPop / Study",
        uid="infpop-study",
        description="One study: its landscape, its search, its trials and its GPU time.",
        since="now-24h",
    )
    board = (
        board.with_variable(one_of("namespace", "Namespace", "label_values(infpop_study_condition, namespace)"))
        .with_variable(one_of("study", "Study", 'label_values(infpop_study_condition{namespace="$namespace"}, study)'))
        .with_variable(some_of("pool", "Pool", f"label_values(infpop_study_runs{{{queries.STUDY}}}, pool)"))
    )
    return with_rows(board, _ROWS)


def _state() -> stat.Panel:
    text = "The conditions of the study that are true now. Ready: it has its result."
    return number("State", text, at_end(queries.conditions(), "{{condition}}"), unit="none", width=6).text_mode(
        BigValueTextMode.NAME
    )


def _best() -> stat.Panel:
    text = "Throughput of the best configuration of each pool's newest round: generated tokens per second."
    query = at_end(queries.best_by("pool", "infpop_study_best_throughput_tokens_per_second"), "{{pool}}")
    return number("Best throughput", text, query, unit=TOKENS_PER_SECOND, width=6)


def _gain() -> stat.Panel:
    text = "How much better the best is than the baseline, by the study's objective."
    query = at_end(queries.best_by("pool", "infpop_study_improvement_ratio"), "{{pool}}")
    return number("Gain over the baseline", text, query, unit="percentunit", width=4).no_value("no baseline")


def _trials() -> stat.Panel:
    text = (
        "Trials of the newest rounds by outcome. Infeasible ones cannot work, raced_out ones ended early because they "
        "were slower than the best; the search learns from both."
    )
    query = at_end(
        f"sum by (outcome) ({queries.best_by('pool, outcome, reason', 'infpop_study_trials')})", "{{outcome}}"
    )
    return number("Trials by outcome", text, query, unit="none", width=5)


def _gpu_hours() -> stat.Panel:
    text = "GPUs times hours of all ended runs of the study, in all rounds."
    return number("GPU-hours", text, at_end(_gpu_hours_by_pool(), "{{pool}}"), unit="suffix: GPU-h", width=3).decimals(
        2
    )


def _gpu_hours_by_pool() -> str:
    return f"{queries.best_by('pool', 'infpop_study_gpu_seconds_total')} / {_SECONDS_PER_HOUR}"


def _what() -> stat.Panel:
    text = "What is tuned: the model and the engine of the study, and the GPU model of each pool's newest round."
    legend = "{{model}} with {{engine}} on {{gpu}} ({{pool}})"
    panel = number("What is tuned", text, at_end(queries.what_is_tuned(), legend), unit="none", width=24)
    return panel.text_mode(BigValueTextMode.NAME)


def _per_gpu() -> stat.Panel:
    text = "Throughput of the best configuration of each pool's newest round, divided by its GPUs."
    query = at_end(queries.best_by("pool", "infpop_study_best_tokens_per_second_per_gpu"), "{{pool}}")
    return number("Throughput per GPU", text, query, unit=TOKENS_PER_SECOND, width=8)


def _cost() -> stat.Panel:
    text = "What a million generated tokens cost with the best configuration, in the currency of pricePerGPUHour."
    query = at_end(queries.best_by("pool", "infpop_study_best_cost_per_million_tokens"), "{{pool}}")
    return number("Cost per million tokens", text, query, unit="none", width=8).no_value("no price per GPU hour")


def _per_joule() -> stat.Panel:
    text = "Tokens that the best configuration generates per joule; needs exactly one metric in watts in spec.metrics."
    query = at_end(queries.best_by("pool", "infpop_study_best_tokens_per_joule"), "{{pool}}")
    return number("Tokens per joule", text, query, unit="none", width=8).no_value("no power metric")


def _pools() -> table.Panel:
    text = "The best configuration of each pool's newest round."
    panel = rows_and_columns(
        "Best of each pool",
        text,
        rows(queries.best_by("pool, gpu_count, batch_size", "infpop_study_best_info"), ref="A"),
        rows(queries.best_by("pool", "infpop_study_best_throughput_tokens_per_second"), ref="B"),
        rows(_gpu_hours_by_pool(), ref="C"),
        width=8,
        height=9,
    )
    names = {
        "pool": "pool",
        "gpu_count": "GPUs",
        "batch_size": "batch size",
        "Value #B": "tokens/s",
        "Value #C": "GPU-h spent",
    }
    panel = panel.with_transformation(step("merge")).with_transformation(columns(names, hidden=["Value #A"]))
    return panel.decimals(1)


def _trial_table() -> table.Panel:
    text = (
        "Every trial that Prometheus scraped in the selected time range, with its last scraped state. A run without a "
        "number does not wait for a final scrape: its trials may seem unfinished, or be missing. The status has all."
    )
    panel = rows_and_columns(
        "Trials",
        text,
        rows(queries.trial_states(), ref="A"),
        rows(queries.by_trial("infpop_trial_throughput_tokens_per_second"), ref="B"),
        rows(queries.by_trial("infpop_trial_throughput_spread_ratio"), ref="C"),
        rows(queries.by_trial("infpop_trial_measured_seconds"), ref="D"),
        width=24,
        height=10,
    )
    names = {
        "pool": "pool",
        "gpu_count": "GPUs",
        "batch_size": "batch size",
        "state": "state",
        "Value #B": "tokens/s",
        "Value #C": "spread",
        "Value #D": "measured for",
        "run": "run",
        "trial": "index (from 0)",
    }
    return (
        panel.with_transformation(step("merge"))
        .with_transformation(columns(names, hidden=["Value #A"]))
        .override_by_name("tokens/s", shown_as({"decimals": 1}))
        .override_by_name("spread", shown_as({"unit": "percentunit", "decimals": 1}))
        .override_by_name("measured for", shown_as({"unit": "s"}))
    )


def _spread() -> bargauge.Panel:
    text = (
        "(max - min) / median of a trial's repeats, the 20 largest. A trial above measurement.maxSpread has no number."
    )
    legend = "{{pool}}: {{gpu_count}} GPUs, batch {{batch_size}}"
    query = at_end(f"topk(20, {queries.by_configuration('infpop_trial_throughput_spread_ratio')})", legend)
    return bars("Spread of the repeats", text, query, unit="percentunit", width=12, height=10)


def _utilisation() -> timeseries.Panel:
    text = "How busy the GPUs of each run were, mean over its GPUs; needs the DCGM exporter."
    query = over_time(queries.gpus_of_runs("DCGM_FI_DEV_GPU_UTIL"), "{{pool}}: {{run}}")
    return lines("GPU utilisation", text, query, unit="percent", width=8).max(100)


def _power() -> timeseries.Panel:
    text = "Power draw per GPU of each run, mean over its GPUs; needs the DCGM exporter."
    query = over_time(queries.gpus_of_runs("DCGM_FI_DEV_POWER_USAGE"), "{{pool}}: {{run}}")
    return lines("Power per GPU", text, query, unit="watt", width=8)


def _gpu_hours_over_time() -> timeseries.Panel:
    text = "GPU-hours of the ended runs, stacked by pool."
    return areas("GPU-hours spent", text, over_time(_gpu_hours_by_pool(), "{{pool}}"), unit="suffix: GPU-h", width=8)


def _rounds() -> table.Panel:
    text = (
        "Every round in the study's history. Numbers of different rounds were measured on different hardware or with "
        "another engine, model or workload; the gain of a round is over what was in use before it, measured again in "
        "that round. The status says what changed."
    )
    panel = rows_and_columns(
        "Rounds",
        text,
        rows(queries.best_by("pool, round", "infpop_study_round_best_throughput_tokens_per_second"), ref="A"),
        rows(queries.best_by("pool, round", "infpop_study_round_improvement_ratio"), ref="B"),
        width=12,
        height=8,
    )
    names = {"pool": "pool", "round": "round", "Value #A": "tokens/s", "Value #B": "gain"}
    return (
        panel.with_transformation(step("merge"))
        .with_transformation(columns(names))
        .override_by_name("tokens/s", shown_as({"decimals": 1}))
        .override_by_name("gain", shown_as({"unit": "percentunit", "decimals": 1}))
    )


def _stale() -> stat.Panel:
    text = "How long the result has been out of date: ResultStale says what changed. An alert fires after an hour."
    query = at_end(f"max(infpop_study_result_stale_seconds{{{queries.STUDY}}})", "stale for")
    return number("Result stale for", text, query, unit="s", width=4).height(8).no_value("current")


def _last_change() -> stat.Panel:
    text = "Time since each pool, or what is measured on it, last changed."
    query = at_end(f"time() - {queries.best_by('pool', 'infpop_study_last_change_time_seconds')}", "{{pool}}")
    return number("Last change", text, query, unit="s", width=4).height(8).no_value("unknown")


def _published() -> stat.Panel:
    text = "Time since what the study publishes last changed."
    query = at_end(f"time() - max(infpop_study_published_time_seconds{{{queries.STUDY}}})", "published")
    return number("Last publication", text, query, unit="s", width=4).height(8).no_value("nothing published")


_ROWS: Rows = {
    "Result": (_state, _best, _gain, _trials, _gpu_hours, _what),
    "Per GPU, cost and energy": (_per_gpu, _cost, _per_joule),
    "Landscape": (landscape,),
    "Pools side by side": (pools_side_by_side, _pools),
    "Search": (best_so_far,),
    "Rounds": (_rounds, _stale, _last_change, _published),
    "Trials": (_trial_table, _spread, times_of_runs),
    "GPUs": (_utilisation, _power, _gpu_hours_over_time),
}
