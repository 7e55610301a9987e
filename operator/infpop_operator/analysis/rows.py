"""One row per trial: everything that is known of it, as numbers with their units, whatever it was read from.

The report, comparisons, exports and `import infpop` all read these rows. A number that is not known is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from infpop_operator.core.landscape import CellState
from infpop_operator.core.study import Scalar

Interval = tuple[float, float]  # the ends of a 95 % interval
_NOTHING: Mapping[str, Any] = {}  # one for all rows: there may be a million


def _nothing() -> Mapping[str, Any]:
    return _NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResultRow:
    """One trial of a study, or one cell of a recorded landscape.

    Attributes:
        source: where it was read: a path, or `study/NAMESPACE/NAME`; two studies of one name differ in it.
        study: name of the study; of a recorded landscape, the name of its file.
        pool: name of the pool; of a recorded landscape, the GPU model.
        round: number of the round in its pool, from 1.
        trial: number of the trial in its round, from 0, in the order in which trials were proposed.
        gpu_model: GPU model of the round; None: not known, or a CPU.
        device: what `gpu_count` counts: "GPU" or "CPU rank".
        model: the model, as the study names it.
        engine: the engine, as the study names it.
        state: what became of the trial.
        reason: why there is no number, or why it cannot be the best, as a CamelCase word.
        detail: the message of the reason.
        throughput_tokens_per_second: generated tokens per second; of measured trials only.
        at_most_tokens_per_second: of a raced-out trial: what it does not exceed.
        interval_tokens_per_second: 95 % interval of the throughput.
        spread_ratio: (max - min) / median of the repeats.
        seconds_per_output_token: median time of a sequence in its batch / its generated tokens.
        tokens_per_joule: generated tokens per joule; only if exactly one of the study's metrics is in watts.
        price_per_gpu_hour: in the currency of the study.
        measured_seconds: how long it was measured, without load and warm-up.
        load_seconds: how long its engine load took; every trial of the same run has the same.
        gpu_seconds: GPU-seconds of its run, shared equally among the run's trials.
        parameters: number of parameters of the model.
        metrics: the study's own metrics that are known, by name.
        dtype: data type of the weights and activations, as the study names it, such as bfloat16 or auto.
        workload: identifies the prompts and lengths; numbers of different workloads are never compared.
        prompt_tokens_mean: mean number of tokens of a prompt.
        new_tokens_per_sequence: tokens that each sequence generates after its prompt.
        identity: of everything that the number belongs to (hardware, software, model, engine settings, workload, method
            of measuring); numbers of one identity may be compared. None: not recorded.
        software: image, or software with versions, that measured it.
        engine_version: version of the engine.
        simulated: whether the numbers are replayed, not measured.
        started_at: when the trial was measured; without a number or with an older runner, when its run started.
        ended_at: likewise, the end; of a recorded cell, its date.
        confirmed_loads: fresh engine loads whose mean the throughput is; None: not confirmed.
        is_best: whether the study recommends it, in its pool and round.
        objective: the metric for which the study recommends it, as `objective.metric` has it; None: not recorded.
        reused_from: the other study that measured it.
    """

    source: str
    study: str
    pool: str
    round: int = 1
    trial: int
    gpu_model: str | None = None
    device: str = "GPU"
    model: str
    engine: str
    gpu_count: int
    batch_size: int
    extra: Mapping[str, Scalar] = field(default_factory=_nothing)
    state: CellState
    reason: str | None = None
    detail: str = ""
    throughput_tokens_per_second: float | None = None
    at_most_tokens_per_second: float | None = None
    interval_tokens_per_second: Interval | None = None
    spread_ratio: float | None = None
    repeats: int | None = None
    mode: str | None = None
    generated_tokens: int | None = None
    measured_seconds: float | None = None
    load_seconds: float | None = None
    gpu_seconds: float | None = None
    seconds_per_output_token: float | None = None
    tokens_per_joule: float | None = None
    gpu_memory_peak_bytes: int | None = None
    price_per_gpu_hour: float | None = None
    metrics: Mapping[str, float] = field(default_factory=_nothing)
    parameters: int | None = None
    dtype: str | None = None
    workload: str | None = None
    prompt_tokens_mean: float | None = None
    new_tokens_per_sequence: int | None = None
    identity: str | None = None
    software: str | None = None
    engine_version: str | None = None
    gpu_driver: str | None = None
    node: str | None = None
    run: str = ""
    attempts: int = 1
    started_at: datetime | None = None
    ended_at: datetime | None = None
    simulated: bool = False
    confirmed_loads: int | None = None
    is_best: bool = False
    objective: str | None = None
    reused_from: str | None = None

    @property
    def throughput_per_gpu(self) -> float | None:
        """Tokens/s per GPU."""
        number = self.throughput_tokens_per_second
        return None if number is None else number / self.gpu_count

    @property
    def tokens_per_second_per_sequence(self) -> float | None:
        """Tokens/s of one of the sequences that run at the same time."""
        number = self.throughput_tokens_per_second
        return None if number is None else number / self.batch_size

    @property
    def cost_per_million_tokens(self) -> float | None:
        """Price of a million generated tokens, in the currency of `price_per_gpu_hour`."""
        number, price = self.throughput_tokens_per_second, self.price_per_gpu_hour
        return None if number is None or price is None else price * self.gpu_count / (number * 3600) * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResultRow:
    """One round of a pool: why it began, what it found, and how much better that is than before."""

    source: str
    study: str
    pool: str
    round: int
    model: str
    engine: str
    gpu_model: str | None = None
    previous_gpu_model: str | None = None
    reason: str | None = None
    cause: tuple[str, ...] = ()  # what changed from what to what before it began
    opened_at: datetime | None = None
    baseline_tokens_per_second: float | None = None
    best_tokens_per_second: float | None = None
    improvement_percent: float | None = None
    improvement_interval_percent: Interval | None = None
    gpu_hours: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRow:
    """A configuration in the search space of a pool's newest round that has no trial: untried, or ruled out and why."""

    source: str
    study: str
    pool: str
    round: int
    gpu_count: int
    batch_size: int
    extra: Mapping[str, Scalar] = field(default_factory=_nothing)
    state: CellState
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultTable:
    """All that was read from one or several sources; `cells` has the configurations without a trial.

    `recommended` are the trials that the studies recommend, of all their pools, as (source, pool, round, trial).
    `in_progress` names the sources whose study has not ended; `notes` are sentences about what could not be read and
    what the reader must know.
    """

    trials: tuple[TrialResultRow, ...]
    rounds: tuple[RoundResultRow, ...] = ()
    cells: tuple[CellRow, ...] = ()
    recommended: tuple[tuple[str, str, int, int], ...] = ()
    in_progress: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
