"""Rows of trials, made up: one with every field, one with hardly any, and any at all."""

from datetime import UTC, datetime, timedelta, timezone
from typing import TypeVar

from hypothesis import strategies as st

from infpop_operator.analysis.rows import TrialResultRow
from infpop_operator.core.landscape import CellState
from infpop_operator.core.study import Scalar

T = TypeVar("T")
START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

MEASURED = TrialResultRow(
    source="infpop-results/codellama-7b",
    study="codellama-7b",
    pool="a100",
    round=2,
    trial=5,
    gpu_model="NVIDIA-A100-SXM4-40GB",
    device="GPU",
    model="codellama/CodeLlama-7b-hf",
    engine="vllm",
    gpu_count=4,
    batch_size=64,
    extra={"kv_cache_dtype": "fp8", "max_num_batched_tokens": 8192, "enforce_eager": True, "block": 0.5},
    state=CellState.MEASURED,
    reason="SecondsPerOutputTokenAboveBound",
    detail="0.03 s per token, and the constraint allows 0.02",
    throughput_tokens_per_second=1234.5,
    at_most_tokens_per_second=1300.0,
    interval_tokens_per_second=(1200.25, 1260.75),
    spread_ratio=0.03,
    repeats=3,
    mode="adaptive",
    generated_tokens=5165,
    measured_seconds=31.5,
    load_seconds=77.5,
    gpu_seconds=440.0,
    seconds_per_output_token=0.052,
    tokens_per_joule=0.75,
    gpu_memory_peak_bytes=38_123_456_789,
    price_per_gpu_hour=3.67,
    metrics={"gpuPower": 1646.0, "cpuUsage": 0.0},
    parameters=6_738_546_688,
    dtype="bfloat16",
    workload="5f2c",
    prompt_tokens_mean=17.5,
    new_tokens_per_sequence=5,
    identity="0e9d",
    software="registry.example.com/infpop-runner:0.19.1",
    engine_version="0.19.1",
    gpu_driver="570.1",
    node="node-1",
    run="codellama-7b-0123456789",
    attempts=2,
    started_at=START,
    ended_at=START + timedelta(minutes=3),
    simulated=True,
    confirmed_loads=3,
    is_best=True,
    objective="throughput",
    reused_from="serving/codellama-7b-before",
)
FAILED = TrialResultRow(
    source="landscapes.csv",
    study="landscapes",
    pool="V100",
    trial=0,
    model="Bloom-1b7",
    engine="hf",
    gpu_count=1,
    batch_size=512,
    state=CellState.INFEASIBLE,
    reason="GpuOutOfMemory",
)

_HARD = st.sampled_from(
    ['"', "'", "'=1", "''+", "=1+1", "-5", "5", "1e5", "true", "a,b", "a\r\nb", "\rb", "😀", "\u2028", "\x85", "\ufeff"]
)
TEXTS = st.one_of(_HARD, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63) + 1, 2**63 - 1)
_TIMES = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 - the strategy adds the time zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
_SCALARS: st.SearchStrategy[Scalar] = st.one_of(
    TEXTS, st.just(""), st.sampled_from([1, 1.0, 2**53 + 1]), INTEGERS, NUMBERS, st.booleans()
)


def _maybe(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | strategy


ROWS = st.builds(
    TrialResultRow,
    source=TEXTS,
    study=TEXTS,
    pool=TEXTS,
    round=st.integers(1, 9),
    trial=st.integers(0, 9),
    gpu_model=_maybe(TEXTS),
    device=st.sampled_from(["GPU", "CPU rank"]),
    model=TEXTS,
    engine=TEXTS,
    gpu_count=st.integers(1, 1024),
    batch_size=st.integers(1, 4096),
    extra=st.dictionaries(st.sampled_from(["a", "b.c", "häh"]), _SCALARS),
    state=st.sampled_from(CellState),
    reason=_maybe(TEXTS),
    detail=st.just("") | TEXTS,
    throughput_tokens_per_second=_maybe(NUMBERS),
    at_most_tokens_per_second=_maybe(NUMBERS),
    interval_tokens_per_second=_maybe(st.tuples(NUMBERS, NUMBERS)),
    spread_ratio=_maybe(NUMBERS),
    seconds_per_output_token=_maybe(NUMBERS),
    tokens_per_joule=_maybe(NUMBERS),
    price_per_gpu_hour=_maybe(NUMBERS),
    repeats=_maybe(INTEGERS),
    mode=_maybe(TEXTS),
    generated_tokens=_maybe(INTEGERS),
    gpu_memory_peak_bytes=_maybe(INTEGERS),
    metrics=st.dictionaries(st.sampled_from(["gpuPower", "x"]), NUMBERS),
    parameters=_maybe(INTEGERS),
    dtype=_maybe(TEXTS),
    workload=_maybe(TEXTS),
    prompt_tokens_mean=_maybe(st.floats(0, 1e6, exclude_min=True)),
    new_tokens_per_sequence=_maybe(st.integers(1, 10**6)),
    identity=_maybe(TEXTS),
    software=_maybe(TEXTS),
    run=st.just("") | TEXTS,
    started_at=_maybe(_TIMES),
    ended_at=_maybe(_TIMES),
    simulated=st.booleans(),
    confirmed_loads=_maybe(INTEGERS),
    is_best=st.booleans(),
    objective=_maybe(TEXTS),
)
