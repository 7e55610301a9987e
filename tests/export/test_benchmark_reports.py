"""Benchmark Reports of llm-d: its package accepts them, and they give back the trials that they were made from."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmd_benchmark_report import BenchmarkReportV02, yaml_str_to_benchmark_report

from export.reading_reports import read_reports
from export.trials import FAILED, MEASURED, ROWS
from infpop_operator.analysis.trial_columns import columns_of
from infpop_operator.core.errors import ExportError
from infpop_operator.core.landscape import CellState
from infpop_operator.export.benchmark_reports import INDEX, listed_reports, render_reports

ORIGIN = "/home/user/infpop-results/codellama-7b"
RACED = replace(
    MEASURED,
    trial=6,
    batch_size=2,
    state=CellState.RACED_OUT,
    throughput_tokens_per_second=None,
    reason=None,
    detail="",
)
ROUND = (MEASURED, RACED, replace(FAILED, detail="needs 41 GiB"))


def report_of(files: dict[str, bytes]) -> BenchmarkReportV02:
    """Return the only report, read by the package."""
    (name,) = files.keys() - {INDEX}
    report = yaml_str_to_benchmark_report(files[name].decode())
    assert isinstance(report, BenchmarkReportV02)
    return report


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(ROWS, max_size=3, unique_by=lambda row: row.batch_size).map(tuple))
def test_reports_give_back_their_trials(rows: tuple[object, ...]) -> None:
    """Each report is accepted by the package, and together with the index they are the same rows again."""
    assert read_reports(render_reports(rows, ORIGIN)) == rows  # type: ignore[arg-type]


def test_the_standardized_fields_say_what_was_measured() -> None:
    """A reader that knows nothing of InfPop finds throughput, latency, engine, model and GPUs in the format's units."""
    report = report_of(render_reports((MEASURED,), ORIGIN)).dump()
    assert report["version"] == "0.2.1"
    aggregate = report["results"]["request_performance"]["aggregate"]
    assert aggregate["throughput"] == {"output_token_rate": {"units": "tokens/s", "mean": 1234.5}}
    latency = {"units": "s/token", "mean": 64 / 1234.5, "p50": 0.052}
    assert aggregate["latency"] == {"normalized_time_per_output_token": latency}
    power = report["results"]["observability"]["components"][0]["aggregate"]["power_consumption"]
    assert power == {"units": "Watts", "mean": 1646.0}
    load = report["scenario"]["load"]["standardized"]
    assert (load["source"], load["concurrency"]) == ("sampled", 64)
    assert load["input_seq_len"] == {"distribution": "other", "value": 17.5}
    assert load["output_seq_len"] == {"distribution": "fixed", "value": 5}
    engine = report["scenario"]["stack"][0]["standardized"]
    assert (engine["tool"], engine["tool_version"]) == ("vllm", "0.19.1")
    assert engine["model"] == {"name": "codellama/CodeLlama-7b-hf"}
    assert (engine["accelerator"]["model"], engine["accelerator"]["count"]) == ("NVIDIA-A100-SXM4-40GB", 4)
    assert engine["accelerator"]["parallelism"]["tp"] == 4
    assert report["run"]["time"]["duration"] == "PT180.0S"
    assert report["run"]["time"]["start"] == "2026-01-02T03:04:05.678901Z"
    assert report["run"]["description"].startswith(
        "SIMULATED: codellama/CodeLlama-7b-hf on vllm: 4 GPUs, batch size 64"
    )


def test_what_the_format_has_no_field_for_is_native() -> None:
    """Identity, refusal and spread are under `native`, in the columns of the tables."""
    native = report_of(render_reports((MEASURED,), ORIGIN)).dump()["scenario"]["stack"][0]["native"]
    ours = native["config"]["infpop"]
    assert ours.keys() == {column.name for column in columns_of((MEASURED,))}
    assert ours["reason"] == "SecondsPerOutputTokenAboveBound"
    assert ours["spread_ratio"] == 0.03
    assert ours["interval_low_tokens_per_second"] == 1200.25
    assert ours["workload"] == "5f2c"
    assert native["args"] == MEASURED.extra


def test_a_study_on_cpus_claims_no_accelerator() -> None:
    """Ranks on CPUs are counted as parallelism, not as accelerators."""
    row = replace(MEASURED, device="CPU rank", gpu_model=None, tokens_per_joule=None, seconds_per_output_token=None)
    row = replace(row, prompt_tokens_mean=None)
    report = report_of(render_reports((row,), ORIGIN)).dump()
    accelerator = report["scenario"]["stack"][0]["standardized"]["accelerator"]
    assert (accelerator["model"], accelerator["count"], accelerator["parallelism"]["tp"]) == ("none", 0, 4)
    assert "load" not in report["scenario"]
    assert report["results"].keys() == {"request_performance"}
    assert report["results"]["request_performance"]["aggregate"].keys() == {"throughput"}


def test_the_index_lists_the_trials_without_a_number_and_why() -> None:
    """The format has no infeasible state: such a trial has no report, and its reason is in the index."""
    files = render_reports(ROUND, ORIGIN)
    entries = json.loads(files[INDEX])["trials"]
    assert [entry["why_no_report"] for entry in entries] == [
        None,
        "RacedOut: at most 1300 tokens/s",
        "GpuOutOfMemory: needs 41 GiB",
    ]
    assert [entry["report"] for entry in entries] == [listed_reports(files[INDEX])[0], None, None]
    assert list(files) == [*listed_reports(files[INDEX]), INDEX]
    assert read_reports(files) == ROUND


def test_a_later_export_has_the_same_identifiers() -> None:
    """What became of a trial does not change its identifier; another source and another trial have their own."""
    again = replace(MEASURED, throughput_tokens_per_second=9.0, detail="later", confirmed_loads=None)
    first, same = (report_of(render_reports((row,), ORIGIN)).run.uid for row in (MEASURED, again))
    moved = report_of(render_reports((MEASURED,), "/elsewhere")).run.uid
    other = report_of(render_reports((replace(MEASURED, trial=7),), ORIGIN)).run.uid
    assert first == same
    assert len({first, moved, other}) == 3


def test_workloads_of_one_file_have_identifiers_of_their_own() -> None:
    """Recorded cells have no run, and each workload of a model has its own trial 0."""
    rows = tuple(replace(MEASURED, run="", workload=workload) for workload in ("out 128", "out 256"))
    assert read_reports(render_reports(rows, ORIGIN)) == rows


def test_the_name_of_a_file_is_safe() -> None:
    """No name in a study can leave the directory."""
    (name, _) = render_reports((replace(MEASURED, pool="../../etc/Péter\n"),), ORIGIN)
    assert name.startswith("etc-p-ter-round-2-trial-5-")
    assert "/" not in name


def test_two_trials_of_one_identity_are_refused() -> None:
    """No report is overwritten by another."""
    with pytest.raises(ExportError, match="two trials have this report"):
        render_reports((MEASURED, MEASURED), ORIGIN)


@pytest.mark.parametrize("content", [b"[]", b'{"kind": "other", "trials": []}', b""])
def test_an_index_of_another_program_is_refused(content: bytes) -> None:
    """An export replaces only the reports that an index of InfPop lists."""
    with pytest.raises(ExportError, match=r"landscape.json: is not an index of benchmark reports"):
        listed_reports(content)
