"""Contents of reports from made-up rows."""

from collections.abc import Iterator
from datetime import UTC, datetime

from infpop_operator.analysis.rows import CellRow, ResultTable, TrialResultRow
from infpop_operator.core.landscape import CellState
from infpop_operator.report.report_content import ReportContent

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    '"\' onmouseover="alert(1)',
    "<b>bold</b> <a href='https://example.com'>link</a>",
    "<!-- comment --> &lt; $x_1$ %{y} \u2028",
    "🚀 " + "long-" * 60,
    "=HYPERLINK(1)",
)


def row(**changes: object) -> TrialResultRow:
    """Return a measured trial; keywords replace its fields."""
    fields: dict[str, object] = {
        "source": "results.csv", "study": "results", "pool": "A100", "gpu_model": "A100", "trial": 0, "model": "m-7b",
        "engine": "vllm", "gpu_count": 1, "batch_size": 1, "state": CellState.MEASURED,
        "throughput_tokens_per_second": 100.0,
    }  # fmt: skip
    fields |= changes
    if fields["state"] is not CellState.MEASURED:
        fields["throughput_tokens_per_second"] = None
    return TrialResultRow(**fields)  # type: ignore[arg-type]


def grid(factor: float = 1.0, **changes: object) -> Iterator[TrialResultRow]:
    """Yield a landscape of two GPU counts and three batch sizes whose largest batch does not fit on one GPU."""
    for gpu_count in (1, 2):
        for batch_size in (1, 4, 16):
            does_fit = batch_size < 16 * gpu_count
            yield row(
                gpu_count=gpu_count,
                batch_size=batch_size,
                state=CellState.MEASURED if does_fit else CellState.INFEASIBLE,
                reason=None if does_fit else "GpuOutOfMemory",
                throughput_tokens_per_second=factor * 100 * gpu_count * batch_size**0.5,
                **changes,
            )


def every_state() -> ResultTable:
    """Return a study with one configuration in each state, in the order of its runs."""
    states = [each for each in CellState if each not in {CellState.OUTSIDE, CellState.UNTRIED, CellState.RULED_OUT}]
    trials = tuple(
        row(
            study="s", source="dir", trial=place, gpu_count=2**place, state=state, run=f"r{place}", load_seconds=60.0,
            reason=None if state is CellState.MEASURED else "Because", measured_seconds=20.0, spread_ratio=0.02,
            at_most_tokens_per_second=50.0 if state is CellState.RACED_OUT else None, gpu_seconds=80.0,
            is_best=state is CellState.MEASURED,
        )
        for place, state in enumerate(states)
    )  # fmt: skip
    untried = CellRow(source="dir", study="s", pool="A100", round=1, gpu_count=1, batch_size=4, state=CellState.UNTRIED)
    return ResultTable(trials=trials, cells=(untried,))


def two_of_all() -> ResultTable:
    """Return landscapes of two models on two engines and two GPU models."""
    trials = tuple(
        each
        for model, size in (("a-1b", 2.0), ("b-7b", 1.0))
        for engine, speed in (("hf", 1.0), ("vllm", 4.0))
        for gpu_model, power in (("V100", 1.0), ("A100", 1.5))
        for each in grid(size * speed * power, model=model, engine=engine, gpu_model=gpu_model, pool=gpu_model)
    )
    return ResultTable(trials=trials)


def content(table: ResultTable, **changes: object) -> ReportContent:
    """Return the content of a report."""
    fields: dict[str, object] = {"table": table, "made_at": NOW, "version": "0", "title": "Report"}
    return ReportContent(**(fields | changes))  # type: ignore[arg-type]
