"""An executor that plays runs instead of executing them, on its own clock.

It keeps the promises of the executor port (the port's conformance suite covers it), starts no process and never
blocks: `wait` moves its clock. Like real runs, played runs do not outlive the executor that started them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from factories.adaptive import as_asked
from factories.played_order import is_left_out, skipped
from infpop_operator.core.model import Finished, Lost, Observation, Phase, Run, Running, StartedRun
from infpop_runner.contract import Infeasible, InfeasibleReason, Measured, Provenance, RunResult, RunSpec, TrialResult

Throughput = Callable[[int, int], float | InfeasibleReason]
_REPEATS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """The course of a played run: it takes `seconds`, then has a result or is lost for a reason."""

    seconds: float
    outcome: RunResult | str


Play = Callable[[Run, RunSpec, datetime], Played]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Playing:
    ends_at: datetime
    outcome: RunResult | str


class FakeExecutor:
    """Plays each run with `play`; its clock starts at `now` and only `wait` moves it."""

    def __init__(self, play: Play, *, now: datetime) -> None:
        self._play = play
        self._now = now
        self._playing: dict[str, _Playing] = {}
        self._stopped: set[str] = set()

    def now(self) -> datetime:
        """Return the current time of the executor's own clock."""
        return self._now

    def wait(self, timeout_s: float) -> None:
        """Move the clock to the next end of a run, but by at most `timeout_s`."""
        limit = self._now + timedelta(seconds=timeout_s)
        self._now = min((run.ends_at for run in self._playing.values() if run.ends_at > self._now), default=limit)
        self._now = min(self._now, limit)

    def start(self, run: Run, spec: RunSpec) -> None:
        """Start `run`; do nothing if a run of that name is live."""
        if run.name not in self._playing:
            played = self._play(run, spec, self._now)
            ends_at = self._now + timedelta(seconds=played.seconds)
            self._playing[run.name] = _Playing(ends_at=ends_at, outcome=played.outcome)

    def stop(self, name: str) -> None:
        """End the run now; do nothing if it is unknown or has ended."""
        run = self._playing.get(name)
        if run is not None and run.ends_at > self._now:
            self._stopped.add(name)

    def observe(self, runs: tuple[StartedRun, ...], now: datetime) -> Mapping[str, Observation]:
        """Return the observation of each run, by name. A run that vanished is `Lost`, never missing."""
        return {started.run.name: self._observe(started.run.name, now) for started in runs}

    def _observe(self, name: str, now: datetime) -> Observation:
        run = self._playing.get(name)
        if run is None or name in self._stopped:
            self._playing.pop(name, None)
            return Lost(reason="Interrupted", ended_at=now, counts=False)
        if now < run.ends_at:
            return Running(phase=Phase.MEASURING)
        del self._playing[name]
        if isinstance(run.outcome, str):
            return Lost(reason=run.outcome, ended_at=run.ends_at)
        return Finished(result=run.outcome, ended_at=run.ends_at)


def play_landscape(throughput: Throughput, *, seconds: float = 1.0) -> Play:
    """Return a play in which the result of each trial is `throughput` of its GPU count and batch size, in tokens/s.

    A run with an adaptive measurement has an interval for it, or finds that it is not the best.

    Args:
        throughput: returns a number, or the reason why the configuration cannot work; after `GpuOutOfMemory` the run
            does not reach its larger batches.
        seconds: how long each run takes.
    """

    def play(run: Run, spec: RunSpec, now: datetime) -> Played:
        trials: list[TrialResult] = []
        for trial in spec.trials:
            if is_left_out(trial, trials):
                continue
            found = _result(trial.index, trial.batch_size, throughput(spec.gpu_count, trial.batch_size))
            played = as_asked(found, spec) if isinstance(found, Measured) else found
            trials.append(skipped(trial, trials) or played)
        result = RunResult(
            run=run.name,
            simulated=True,
            trials=tuple(trials),
            load_seconds=0.0,
            provenance=Provenance(engine="simulated"),
            started_at=now,
            ended_at=now + timedelta(seconds=seconds),
        )
        return Played(seconds=seconds, outcome=result)

    return play


def _result(index: int, batch_size: int, outcome: float | InfeasibleReason) -> Measured | Infeasible:
    if isinstance(outcome, str):
        return Infeasible(index=index, batch_size=batch_size, reason=outcome)
    return Measured(
        index=index,
        batch_size=batch_size,
        throughput_tokens_per_second=outcome,
        spread_ratio=0.0,
        repeats=_REPEATS,
        generated_tokens=_REPEATS * batch_size,
        measured_seconds=_REPEATS * batch_size / outcome,
        missing=dict.fromkeys(
            ("batch_seconds_p50", "batch_seconds_p95", "gpu_memory_peak_bytes", "pad_ratio"), "Simulated"
        ),
    )
