"""Answers of Prometheus from the field: none of them is a number that a run's GPUs have.

The recordings describe each case in words; this file plays the answer that they describe.
"""

import json
from datetime import timedelta
from pathlib import Path

from factories.studies import START
from infpop_operator.adapters.prometheus.answers import Answer, Series
from infpop_operator.adapters.prometheus.validation import to_metric_value
from infpop_operator.core.extra_metrics import PRESETS, Preset
from infpop_operator.core.model import Missing

WINDOW = (START + timedelta(seconds=60), START + timedelta(seconds=90))
# By the recording's id: the preset, the values of the GPUs that answered in the preset's unit, the GPUs of the run.
PLAYED: dict[str, tuple[Preset, tuple[float, ...], int]] = {
    "Q01": ("gpuPower", (300.0, 312.5), 4),
    "Q04": ("gpuMemory", (2147483632 * 1048576.0,), 1),
}
REASONS = {"Q01": "FewerGPUs", "Q04": "Blank"}


def test_answers_from_the_field_are_numbers_or_missing_as_recorded(field: Path) -> None:
    """Every recorded case is played here, and none of them gives a number."""
    cases = {case["id"]: case["want"] for case in json.loads((field / "prometheus.json").read_text())}
    assert cases.keys() == PLAYED.keys()
    assert all(want.startswith("Missing") for want in cases.values())
    assert {case: _value(*PLAYED[case]) for case in cases} == {case: Missing(reason=REASONS[case]) for case in cases}


def _value(preset: Preset, values: tuple[float, ...], gpu_count: int) -> float | Missing:
    at = WINDOW[1].timestamp()
    answer = Answer(kind="vector", series=tuple(Series(labels={}, samples=((at, value),)) for value in values))
    _, unit, across_gpus = PRESETS[preset]
    return to_metric_value(answer, unit, WINDOW, across_gpus=across_gpus, gpu_count=gpu_count)
