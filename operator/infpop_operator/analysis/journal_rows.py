"""Result rows from a study's history: full numbers, every round, and where and with what each trial was measured."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from infpop_operator.analysis.round_subject import new_tokens, pool_status, round_status, shared_fields
from infpop_operator.analysis.rows import Interval, RoundResultRow, TrialResultRow
from infpop_operator.analysis.status_numbers import to_numbers
from infpop_operator.api.status_model import Best, RoundBest
from infpop_operator.api.status_rows import trial_row
from infpop_operator.api.status_values import shown_extra
from infpop_operator.api.study_object import StudyObject
from infpop_operator.core import objective
from infpop_operator.core.confirmation import measured_again
from infpop_operator.core.history import results_of, runs_of, trials_of
from infpop_operator.core.landscape import CellState
from infpop_operator.core.model import EndedRun, Finished, History, Missing, Round, Trial
from infpop_operator.core.recommend import best_of_round, improvement_ratio, measurement
from infpop_operator.core.round_facts import baseline_outcome, reason_of_round
from infpop_operator.core.study import Configuration, Study
from infpop_runner.contract import Measured, RacedOut, RunResult


def journal_rows(
    found: StudyObject, study: Study | None, history: History, source: str
) -> tuple[tuple[TrialResultRow, ...], tuple[RoundResultRow, ...]]:
    """Return the rows of all trials and rounds of a history.

    Args:
        found: the study with its status.
        study: the result of `described_study`; None if this version cannot read the spec: then nothing is judged.
        history: of the study.
        source: where it was read.
    """
    trials: list[TrialResultRow] = []
    rounds: list[RoundResultRow] = []
    for entry in history.rounds:
        of_round = _Round(found, study, history, entry, source)
        trials.extend(of_round.trials())
        rounds.append(of_round.summary())
    return (tuple(trials), tuple(rounds))


class _Round:
    """One round of a history."""

    def __init__(self, found: StudyObject, study: Study | None, history: History, entry: Round, source: str) -> None:
        self._found, self._study, self._history, self._entry = found, study, history, entry
        self._pool = next((pool for pool in study.pools if pool.name == entry.pool), None) if study else None
        self._again = None if study is None else measured_again(study, self._pool, history, entry)
        self._runs = {ended.run.name: ended for ended in runs_of(history.ended, entry)}
        self._shared = shared_fields(found, source, entry.pool, entry.number, entry)
        self._new_tokens = new_tokens(entry, found.document)
        results = [result for result in map(_result, self._runs.values()) if result is not None]
        if any(result.simulated for result in results):  # also where the status, which says so too, is lost
            self._shared["simulated"] = True
        facts = (result.model for result in results)
        self._parameters = next((known.parameters for known in facts if known and known.parameters), None)
        self._best = self._best_trial()

    def trials(self) -> Iterator[TrialResultRow]:
        for trial in trials_of(self._history, self._entry.pool, self._entry.number):
            ended = self._runs.get(trial.run)
            yield TrialResultRow(
                **self._shared,
                **_configuration(trial.configuration),
                **self._why(trial),
                **self._numbers(self._with_own_number(trial)) | self._confirmed(trial),
                **({} if ended is None else _of_run(ended, trial)),
                trial=trial.index,
                state=CellState(trial.state.value),
                parameters=self._parameters,
                new_tokens_per_sequence=self._new_tokens,
                run=trial.run if trial.reused_from is None else trial.reused_from.run,
                attempts=trial.attempts,
                is_best=self._best is not None and self._best.index == trial.index,
                reused_from=None if trial.reused_from is None else trial.reused_from.study,
            )

    def summary(self) -> RoundResultRow:
        entry = self._entry
        earlier = (each for each in self._history.rounds if each.pool == entry.pool and each.number < entry.number)
        before = max(earlier, key=lambda each: each.number, default=None)
        hardware = None if before is None else before.hardware
        return RoundResultRow(
            **{name: self._shared[name] for name in ("source", "study", "pool", "round", "model", "engine")},
            **self._gain(),
            gpu_model=self._shared["gpu_model"],
            previous_gpu_model=None if hardware is None else hardware.gpu_model,
            reason=reason_of_round(entry),
            cause=entry.cause,
            opened_at=entry.opened_at,
            best_tokens_per_second=self._best_tokens(),
            gpu_hours=sum(ended.gpu_seconds for ended in self._runs.values()) / 3600,
        )

    def _best_trial(self) -> Trial | None:
        if self._study is None or self._pool is None:
            return self._best_in_status()
        return best_of_round(self._study, self._pool, self._history, self._entry)

    def _best_in_status(self) -> Trial | None:
        """Return the best that the status names, for a spec that cannot be read: nothing is judged again."""
        kept, place = self._kept_best(), (self._entry.pool, self._entry.number)
        if kept is None:
            return None
        best = (kept.gpu_count, kept.batch_size, kept.extra or {})
        return next((trial for trial in trials_of(self._history, *place) if _place(trial.configuration) == best), None)

    def _kept_best(self) -> Best | RoundBest | None:
        place = (self._entry.pool, self._entry.number)
        kept = pool_status(self._found, *place) or round_status(self._found, *place)
        return None if kept is None else kept.best

    def _confirmed(self, trial: Trial) -> dict[str, Any]:
        """Return the numbers of the fresh loads that the status has of a confirmed best, if nothing is judged again."""
        if self._study is not None or self._best is None or trial.index != self._best.index:
            return {}
        kept = self._kept_best()
        return to_numbers(kept) if isinstance(kept, Best) and kept.confirmed is not None else {}

    def _best_tokens(self) -> float | None:
        """Return the number of the round's best: that of the status, which may be confirmed, if nothing is judged."""
        if self._best is None:
            return None
        kept = self._kept_best() if self._study is None else None
        return _tokens(self._best) if kept is None else float(kept.throughput)

    def _gain(self) -> dict[str, Any]:
        """Return the baseline of the round, and how much better its best is."""
        study, pool, best = self._study, self._pool, self._best
        outcome = baseline_outcome(study, pool, self._history, self._entry) if study and pool else None
        if study is None or pool is None or outcome is None or outcome.measured is None:
            return {}
        gain: dict[str, Any] = {"baseline_tokens_per_second": _tokens(outcome.measured)}
        if best is None:
            return gain
        ratio = improvement_ratio(study, pool, new=best, old=outcome.measured)
        ends: Interval | None = None
        if best.configuration != outcome.configuration:
            ends = objective.improvement_interval(study, (pool, best), (pool, outcome.measured))
        return gain | {
            "improvement_percent": None if ratio is None else ratio * 100,
            "improvement_interval_percent": None if ends is None else (ends[0] * 100, ends[1] * 100),
        }

    def _with_own_number(self, trial: Trial) -> Trial:
        """Return the trial with the number that counts, as `core.recommend.with_own_number` does."""
        again = self._again
        known = () if again is None else (again.winner, again.baseline, *again.fresh)
        return next((each for each in known if each is not None and each.index == trial.index), trial)

    def _why(self, trial: Trial) -> dict[str, Any]:
        """Return why the trial has no number, or why it cannot be the best."""
        if not isinstance(trial.result, Measured):
            return {"reason": trial.reason, "detail": trial.detail}
        lost = None if self._again is None else self._again.lost.get(trial.index)
        if lost is not None:
            return {"reason": lost[0], "detail": lost[1]}
        judged = None if self._study is None else trial_row(self._study, trial)
        return {} if judged is None else {"reason": judged.reason, "detail": judged.message or ""}

    def _numbers(self, trial: Trial) -> dict[str, Any]:
        result = trial.result
        if isinstance(result, RacedOut):
            return {
                "at_most_tokens_per_second": result.at_most_tokens_per_second,
                "generated_tokens": result.generated_tokens,
                "measured_seconds": result.measured_seconds,
            }
        if not isinstance(result, Measured):
            return {}
        seconds, length = result.batch_seconds_p50, self._new_tokens
        study = self._study
        per_joule = None if study is None else objective.tokens_per_joule(study.objective, result, trial.extra_metrics)
        return {
            "throughput_tokens_per_second": result.throughput_tokens_per_second,
            "interval_tokens_per_second": result.interval_tokens_per_second,
            "spread_ratio": result.spread_ratio,
            "repeats": result.repeats,
            "mode": result.mode,
            "generated_tokens": result.generated_tokens,
            "measured_seconds": result.measured_seconds,
            "seconds_per_output_token": None if seconds is None or length is None else seconds / length,
            "gpu_memory_peak_bytes": result.gpu_memory_peak_bytes,
            "tokens_per_joule": per_joule,
            "metrics": _known(trial.extra_metrics),
            "confirmed_loads": None if trial.confirmed is None else trial.confirmed.loads,
        }


def _place(configuration: Configuration) -> tuple[int, int, dict[str, str]]:
    """Return a configuration as a status writes it."""
    return (configuration.gpu_count, configuration.batch_size, shown_extra(configuration))


def _of_run(ended: EndedRun, trial: Trial) -> dict[str, Any]:
    """Return what the run of a trial tells: its load, its cost, its software, and when the trial was measured."""
    result = _result(ended)
    fields: dict[str, Any] = {
        "gpu_seconds": ended.gpu_seconds / len(ended.run.trials),
        "started_at": ended.started_at,
        "ended_at": ended.observation.ended_at,
    }
    if result is None:
        return fields
    if ended.reused_from is not None:  # the run started when the other study measured, not when this one took it over
        fields["started_at"] = result.started_at
    own = next((each for each in results_of(ended) if each.index == trial.index), None)
    if isinstance(own, Measured) and own.window_seconds is not None:
        start, end = (result.started_at + timedelta(seconds=each) for each in own.window_seconds)
        fields |= {"started_at": start, "ended_at": end}
    provenance = result.provenance
    return fields | {
        "load_seconds": result.load_seconds,
        "engine_version": provenance.engine_version,
        "gpu_driver": provenance.driver_version,
        "node": provenance.node,
        "prompt_tokens_mean": provenance.prompt_tokens_mean,
    }


def _result(ended: EndedRun) -> RunResult | None:
    return ended.observation.result if isinstance(ended.observation, Finished) else None


def _configuration(cell: Configuration) -> dict[str, Any]:
    return {"gpu_count": cell.gpu_count, "batch_size": cell.batch_size, "extra": dict(cell.extra)}


def _known(metrics: Mapping[str, float | Missing]) -> dict[str, float]:
    return {name: found for name, found in metrics.items() if not isinstance(found, Missing)}


def _tokens(trial: Trial) -> float:
    return measurement(trial).throughput_tokens_per_second
