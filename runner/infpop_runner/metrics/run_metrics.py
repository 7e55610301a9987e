"""The metrics of one run, in base units."""

from datetime import datetime
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics

from infpop_runner.contract import Measured, RunSpec, TrialResult, TrialSpec
from infpop_runner.measure import PassOutcome

RunState = Literal["loading", "warm-up", "measuring", "done"]
TrialState = Literal["pending", "warm-up", "measuring", "measured", "infeasible", "invalid", "raced-out", "skipped"]

RUN_LABELS = ("namespace", "study", "pool", "run", "gpu_count")
TRIAL_LABELS = ("namespace", "study", "pool", "run", "trial", "gpu_count", "batch_size")
# Doubling from 5 ms (one decoding step of a small model) to 43 minutes (a large batch of long outputs).
BATCH_SECONDS_BUCKETS = tuple(0.005 * 2**step for step in range(20))


class RunMetrics:
    """The metrics of one run in their own registry, so that metrics of an engine are not served."""

    def __init__(self, spec: RunSpec) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._peak_bytes = 0  # of all trials so far: a smaller batch after a larger one has a smaller peak of its own
        self._run = (spec.namespace, spec.study, spec.pool, spec.run, str(spec.gpu_count))
        self._state = self._gauge("infpop_run_state", "1 for the current state of the run", (*RUN_LABELS, "state"))
        self._start_time = self._gauge(
            "infpop_run_start_time_seconds", "Start time of the run in unix seconds", RUN_LABELS
        )
        self._info = Info(
            "infpop_run", "Engine, engine version and model parameters of the run", RUN_LABELS, registry=self.registry
        )
        self._load_seconds = self._gauge(
            "infpop_model_load_seconds", "Time from the start of the load to a ready engine", RUN_LABELS
        )
        self._memory = self._gauge(
            "infpop_gpu_memory_peak_bytes", "Peak memory in use on any device so far", RUN_LABELS
        )
        self._trial_state = self._gauge(
            "infpop_trial_state", "1 for the current state of the trial", (*TRIAL_LABELS, "state")
        )
        self._throughput = self._gauge(
            "infpop_trial_throughput_tokens_per_second",
            "Generated tokens per second: the median of the repeats, or the estimate of an adaptive measurement",
            TRIAL_LABELS,
        )
        self._spread = self._gauge(
            "infpop_trial_throughput_spread_ratio",
            "(max - min) / median of the repeats, or of equal parts of an adaptive measurement",
            TRIAL_LABELS,
        )
        self._measured_seconds = self._gauge("infpop_trial_measured_seconds", "Measured seconds in all", TRIAL_LABELS)
        self._tokens = Counter(
            "infpop_generated_tokens", "Tokens generated while measuring", TRIAL_LABELS, registry=self.registry
        )
        self._batch_seconds = Histogram(
            "infpop_trial_batch_seconds",
            "Time that a sequence spent in the batch",
            TRIAL_LABELS,
            registry=self.registry,
            buckets=BATCH_SECONDS_BUCKETS,
        )
        self.enter("loading")
        for trial in spec.trials:
            self.enter_trial(trial, "pending")

    def started(self, at: datetime) -> None:
        """Set the start time of the run: of two runs that measured the same, the later one counts."""
        self._start_time.labels(*self._run).set(at.timestamp())

    def enter(self, state: RunState) -> None:
        """Set the state of the run to `state`, and to no other."""
        for name in get_args(RunState):
            self._state.labels(*self._run, name).set(name == state)

    def enter_trial(self, trial: TrialSpec, state: TrialState) -> None:
        """Set the state of the trial to `state`, and to no other."""
        for name in get_args(TrialState):
            self._trial_state.labels(*self._trial(trial.index, trial.batch_size), name).set(name == state)

    def loaded(self, seconds: float, facts: dict[str, str]) -> None:
        """Set the load time, and the facts about what was loaded."""
        self._load_seconds.labels(*self._run).set(seconds)
        self._info.labels(*self._run).info(facts)

    def observe_pass(self, trial: TrialSpec, outcome: PassOutcome) -> None:
        """Count the tokens and sequence times of a timed pass."""
        labels = self._trial(trial.index, trial.batch_size)
        self._tokens.labels(*labels).inc(sum(outcome.generated))
        histogram = self._batch_seconds.labels(*labels)
        for start, end in outcome.intervals or ():
            histogram.observe(end - start)

    def trial_ended(self, result: TrialResult) -> None:
        """Set the trial's outcome, and its numbers if it has any."""
        trial = TrialSpec(index=result.index, batch_size=result.batch_size)
        self.enter_trial(trial, result.outcome)
        if isinstance(result, Measured):
            labels = self._trial(result.index, result.batch_size)
            self._throughput.labels(*labels).set(result.throughput_tokens_per_second)
            self._spread.labels(*labels).set(result.spread_ratio)
            self._measured_seconds.labels(*labels).set(result.measured_seconds)
            if result.gpu_memory_peak_bytes is not None:
                self._peak_bytes = max(self._peak_bytes, result.gpu_memory_peak_bytes)
                self._memory.labels(*self._run).set(self._peak_bytes)

    def _trial(self, index: int, batch_size: int) -> tuple[str, ...]:
        namespace, study, pool, run, gpu_count = self._run
        return (namespace, study, pool, run, str(index), gpu_count, str(batch_size))

    def _gauge(self, name: str, text: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)
