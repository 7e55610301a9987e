"""A measured trial as a Benchmark Report 0.2.1 of llm-d, by the models of its package `llmd-benchmark-report`.

The standardized fields have what the format defines: engine, model, accelerators, time, throughput, time per output
token. The rest, every column of the tables, is under `scenario.stack[0].native.config.infpop`, so that a report can be
read back without loss. What InfPop does not know is left out, and without the length of the prompts so is `load`.

Source: llm-d/llm-d-benchmark, llmd_benchmark_report/schema_v0_2.py.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from math import isfinite
from typing import Any

import yaml
from llmd_benchmark_report import BenchmarkReportV02

from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.analysis.trial_columns import Column, Value, row_values
from infpop_operator.export.jsonl_table import json_value
from infpop_operator.export.trial_identity import round_id, trial_id

VERSION = "0.2.1"
_OURS = "infpop"
_UNKNOWN = "unknown"  # of a required text
_LABEL = "engine"
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def render_report(row: TrialResultRow, columns: Sequence[Column], origin: str) -> bytes:
    """Return the report of a trial that has a throughput, as YAML.

    Args:
        row: the trial.
        columns: of the table that the trial is in.
        origin: an absolute path, or `study/NAMESPACE/NAME`; see `trial_id`.

    Raises:
        ExportError: a value cannot stand in a report.
    """
    text: str = yaml.dump(build_report(row, columns, origin).dump(), Dumper=_DUMPER, sort_keys=False, width=120)
    return text.encode()


def build_report(row: TrialResultRow, columns: Sequence[Column], origin: str) -> BenchmarkReportV02:
    """Return the report of a trial that has a throughput, validated by the package."""
    values = dict(zip([column.name for column in columns], row_values(row, columns), strict=True))
    return BenchmarkReportV02.model_validate(
        {
            "version": VERSION,
            "run": {
                "uid": trial_id(row, origin),
                "eid": round_id(row, origin),
                "time": _time(row),
                "description": _description(row),
                "keywords": ["infpop", row.study, row.pool, *(["simulated"] if row.simulated else [])],
            },
            "scenario": {"stack": [_component(row, values)], "load": _load(row)},
            "results": _results(row),
        }
    )


def _time(row: TrialResultRow) -> dict[str, object] | None:
    if row.started_at is None and row.ended_at is None:
        return None
    return {"start": row.started_at, "end": row.ended_at, "duration": _duration(row.started_at, row.ended_at)}


def _duration(start: datetime | None, end: datetime | None) -> str | None:
    if start is None or end is None or end < start:
        return None
    return f"PT{(end - start).total_seconds()}S"


def _description(row: TrialResultRow) -> str:
    simulated = "SIMULATED: " if row.simulated else ""
    devices = f"{row.gpu_count} {row.device}{'' if row.gpu_count == 1 else 's'}"
    return (
        f"{simulated}{row.model} on {row.engine}: {devices}, batch size {row.batch_size} "
        f"[{row.study}, pool {row.pool}, round {row.round}]"
    )


def _component(row: TrialResultRow, values: dict[str, Value]) -> dict[str, object]:
    configuration = [row.model, row.engine, row.software, row.gpu_model, row.gpu_count, row.batch_size]
    text = json.dumps([*configuration, sorted(row.extra.items())])
    return {
        "metadata": {
            "label": _LABEL,
            "cfg_id": hashlib.sha256(text.encode()).hexdigest()[:32],
            "description": f"batch size {row.batch_size}",
        },
        "standardized": {
            "kind": "inference_engine",
            "tool": row.engine,
            "tool_version": row.engine_version or row.software or _UNKNOWN,
            "role": "replica",
            "replicas": 1,
            "model": {"name": row.model},
            "accelerator": _accelerator(row),
        },
        "native": {
            "args": dict(row.extra) or None,
            "config": {_OURS: {name: json_value(value) for name, value in values.items() if value is not None}},
        },
    }


def _load(row: TrialResultRow) -> dict[str, object] | None:
    """Return the workload; None without the length of its prompts, which the format requires."""
    if row.prompt_tokens_mean is None:
        return None
    workload = row.workload or ""
    source = "random" if workload.startswith("synthetic") else "sampled"
    output = row.new_tokens_per_sequence
    return {
        "metadata": {"cfg_id": hashlib.sha256(workload.encode()).hexdigest()[:32], "description": workload or None},
        "standardized": {
            "tool": "infpop-runner",
            "tool_version": row.software or _UNKNOWN,
            "source": source if workload else _UNKNOWN,
            "input_seq_len": {"distribution": "other", "value": row.prompt_tokens_mean},
            "output_seq_len": None if output is None else {"distribution": "fixed", "value": output},
            "concurrency": row.batch_size,
        },
        "native": {},
    }


def _accelerator(row: TrialResultRow) -> dict[str, object]:
    """Return the GPUs of the trial; an engine on CPUs uses none.

    vLLM splits each layer over its devices, and Hugging Face pipelines place whole layers on them, one stage per GPU.
    """
    splits = {"pp": row.gpu_count} if row.engine.startswith("hf") else {"tp": row.gpu_count}
    if row.device != "GPU":
        return {"model": "none", "count": 0, "parallelism": splits}
    return {"model": row.gpu_model or _UNKNOWN, "count": row.gpu_count, "parallelism": splits}


def _results(row: TrialResultRow) -> dict[str, Any]:
    throughput = row.throughput_tokens_per_second
    aggregate: dict[str, Any] = {"throughput": {"output_token_rate": {"units": "tokens/s", "mean": throughput}}}
    # A sequence shares the throughput with the others of its batch, so this is its mean; the median is measured.
    mean = _ratio(row.batch_size, throughput)
    if row.seconds_per_output_token is not None and mean is not None:
        statistics = {"units": "s/token", "mean": mean, "p50": row.seconds_per_output_token}
        aggregate["latency"] = {"normalized_time_per_output_token": statistics}
    results: dict[str, Any] = {"request_performance": {"aggregate": aggregate}}
    watts = _ratio(throughput, row.tokens_per_joule)
    if watts is not None:
        power = {"power_consumption": {"units": "Watts", "mean": watts}}
        results["observability"] = {"components": [{"component_label": _LABEL, "aggregate": power}]}
    return results


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    """Return the quotient of two known numbers, None if it is not finite."""
    if numerator is None or not denominator or not isfinite(numerator / denominator):
        return None
    return numerator / denominator
