"""Read Benchmark Reports back into the trials that they were made from, as a user of the format would."""

import json
from collections.abc import Mapping

import yaml
from llmd_benchmark_report import BenchmarkReportV02, yaml_str_to_benchmark_report

from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.analysis.trial_columns import restore_row
from infpop_operator.export.benchmark_reports import INDEX
from infpop_operator.export.jsonl_table import restore_values


def read_reports(files: Mapping[str, bytes]) -> tuple[TrialResultRow, ...]:
    """Return the rows of an export: from a trial's report, or from the index if it has none."""
    rows = []
    for entry in json.loads(files[INDEX])["trials"]:
        file = entry.pop("report")
        rows.append(restore_row(restore_values(entry)) if file is None else _read_report(files[file]))
    return tuple(rows)


def _read_report(content: bytes) -> TrialResultRow:
    """Return the trial of a report, once the package accepts the report."""
    report = yaml_str_to_benchmark_report(content.decode())
    assert isinstance(report, BenchmarkReportV02)
    values = yaml.safe_load(content)["scenario"]["stack"][0]["native"]["config"]["infpop"]
    return restore_row(restore_values(values))
